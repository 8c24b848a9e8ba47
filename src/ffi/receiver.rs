//! `fes_receiver`.

use super::cancel::{fes_cancel_token, wait};
use super::notice::{Teller, fes_on_notice};
use super::options::options;
use super::user::{UserData, fes_on_destroy};
use super::{
    Done, Out, borrow, close, fes_error, fes_events, fes_options, fes_status, fes_stream, guard,
    refuse, text, want,
};
use crate::push::Delivery;
use crate::receiver::{CallbackResult, PoisonPolicy, Receiver, ReceiverOptions};
use crate::stream::EventStream;
use crate::sync::lock::lock;
use std::ffi::{c_char, c_void};
use std::sync::{Arc, Mutex};

/// Called with every delivery, from the receiver's own thread, one at a time. May call every function
/// but `fes_receiver_close` of its own receiver; `fes_receiver_stop` of it returns at once there, and
/// the call is the last. Where two callbacks stop each other's receiver at the same time, the second
/// one does not wait. No C++ exception may leave it.
///
/// @param user the `user_data` of `fes_receiver_open`
/// @param seq the delivery's number, from 0; a gap tells a LIVE receiver that a group was skipped
/// @param events the events, which end with the call
/// @return 0 to acknowledge, anything else to get the same events again: `fes_events_refuse` tells why
pub type fes_on_events =
    Option<unsafe extern "C" fn(user: *mut c_void, seq: u64, events: *const fes_events) -> i32>;

/// What a receiver does about events that its callback fails on, again and again.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum fes_poison_policy {
    /// Brings them again for ever, with a back-off. The default: nothing passes unprocessed.
    FES_POISON_RETRY = 0,
    /// Stops the receiver at the first failure; the cursor stays before the delivery.
    FES_POISON_STOP = 1,
    /// After `count` failures brings the events one by one, and skips one that fails `count` times
    /// alone, with `FES_NOTICE_SKIPPED`.
    FES_POISON_SKIP_AFTER = 2,
}

/// A consumer that is called back from a thread of its own. Made by `fes_receiver_open`, set up by
/// `fes_receiver_set_...`, begun by `fes_receiver_start`, ended by `fes_receiver_stop` and
/// `fes_receiver_close`. Any number of threads may use one at once.
pub struct fes_receiver {
    stream: EventStream,
    user: String,
    component: String,
    on_events: Arc<OnEvents>,
    options: Mutex<ReceiverOptions>,
    made: Mutex<Option<Arc<Receiver>>>,
}

struct OnEvents {
    checked: bool,
    call: unsafe extern "C" fn(*mut c_void, u64, *const fes_events) -> i32,
    user: UserData,
}

impl OnEvents {
    fn call(&self, delivery: &Delivery) -> CallbackResult {
        let events = fes_events::new(delivery.events.iter().map(|event| &**event), self.checked);
        match unsafe { (self.call)(self.user.get(), delivery.seq, &events) } {
            0 => Ok(()),
            code => {
                let why = events.refusal();
                Err(why.unwrap_or_else(|| format!("the callback returned {code}")).into())
            }
        }
    }
}

impl fes_receiver {
    /// Changes the settings, which count from the first start on.
    fn set(&self, change: impl FnOnce(ReceiverOptions) -> ReceiverOptions) -> Done {
        // Held until it is done: a start at the same time comes before, or after.
        let made = lock(&self.made);
        if made.is_some() {
            return Err(refuse("the receiver was started: set it up before"));
        }
        let before = lock(&self.options).clone();
        let before = std::mem::replace(&mut *lock(&self.options), change(before));
        drop(made);
        // What it was set with is destroyed by the caller's function, which may call this.
        drop(before);
        Ok(())
    }

    fn made(&self) -> Done<Arc<Receiver>> {
        let mut slot = lock(&self.made);
        if let Some(receiver) = &*slot {
            return Ok(receiver.clone());
        }
        let options = lock(&self.options).clone();
        let (stream, user, call) = (&self.stream, &self.user, self.on_events.clone());
        let on_events = move |delivery: &Delivery| call.call(delivery);
        let receiver = Receiver::new(stream, user, &self.component, options, on_events)?;
        Ok(slot.insert(Arc::new(receiver)).clone())
    }

    fn current(&self) -> Option<Arc<Receiver>> {
        lock(&self.made).clone()
    }
}

/// Makes a receiver, which registers itself when it is started; `LIVE` makes one that gets what
/// comes while it runs.
///
/// @param stream the stream
/// @param user the user of the consumer, as of `fes_consumer_open`
/// @param component its component
/// @param on_events what is called with every delivery
/// @param user_data what it is called with: the caller's, and usable from another thread until
///   `fes_receiver_stop` or `fes_receiver_close` has returned
/// @param on_destroy NULL, or what is called with `user_data` once nothing needs it any more
/// @param out gets the receiver, to be closed with `fes_receiver_close`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: those of `fes_consumer_open`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_receiver_open(
    stream: *const fes_stream,
    user: *const c_char,
    component: *const c_char,
    on_events: fes_on_events,
    user_data: *mut c_void,
    on_destroy: fes_on_destroy,
    out: *mut *mut fes_receiver,
    err: *mut *mut fes_error,
) -> fes_status {
    let user_data = UserData::new(user_data, on_destroy);
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        let stream = borrow(stream, "stream")?.0.clone();
        let (user, component) = (text(user, "user")?, text(component, "component")?);
        let call = on_events.ok_or_else(|| refuse("on_events is NULL"))?;
        let checked = stream.consumer(user, component)?.checks_json();
        out.open(fes_receiver {
            stream,
            user: user.to_owned(),
            component: component.to_owned(),
            on_events: Arc::new(OnEvents { checked, call, user: user_data }),
            options: Mutex::default(),
            made: Mutex::default(),
        });
        Ok(())
    })
}

/// The event types to receive, all if not set; before the first start.
///
/// @param receiver the receiver
/// @param types an array of `type_count` event types, each ended by a NUL; NULL for 0
/// @param type_count how many they are, up to 1000; 0 for all events
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_TYPE`, `FES_INVALID_ARGUMENT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_receiver_set_want(
    receiver: *const fes_receiver,
    types: *const *const c_char,
    type_count: usize,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let want = want(types, type_count)?;
        borrow(receiver, "receiver")?.set(|options| options.want(want))
    })
}

/// Options of push for this receiver; before the first start.
///
/// @param receiver the receiver
/// @param options NULL, or options
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_receiver_set_options(
    receiver: *const fes_receiver,
    options: *const fes_options,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let new = self::options(options);
        borrow(receiver, "receiver")?.set(|options| options.options(new))
    })
}

/// What to do about events that the callback fails on; before the first start.
///
/// @param receiver the receiver
/// @param poison a `fes_poison_policy`
/// @param count 1 or more for `FES_POISON_SKIP_AFTER`, else 0
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_receiver_set_poison(
    receiver: *const fes_receiver,
    poison: u32,
    count: u32,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let poison = match (poison, count) {
            (kind, 0) if kind == fes_poison_policy::FES_POISON_RETRY as u32 => PoisonPolicy::Retry,
            (kind, 0) if kind == fes_poison_policy::FES_POISON_STOP as u32 => PoisonPolicy::Stop,
            (kind, 1..) if kind == fes_poison_policy::FES_POISON_SKIP_AFTER as u32 => {
                PoisonPolicy::SkipAfter(count)
            }
            _ => {
                return Err(refuse(format!("there is no fes_poison_policy {poison} with {count}")));
            }
        };
        borrow(receiver, "receiver")?.set(|options| options.poison(poison))
    })
}

/// Who is told how the receiver fares; before the first start.
///
/// @param receiver the receiver
/// @param on_notice what is called with every notice
/// @param user_data what it is called with, as of `fes_receiver_open`
/// @param on_destroy NULL, or what is called with `user_data` once nothing needs it any more
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_receiver_set_on_notice(
    receiver: *const fes_receiver,
    on_notice: fes_on_notice,
    user_data: *mut c_void,
    on_destroy: fes_on_destroy,
    err: *mut *mut fes_error,
) -> fes_status {
    let user = UserData::new(user_data, on_destroy);
    guard(err, || unsafe {
        let teller = Teller::new(on_notice, user)?;
        borrow(receiver, "receiver")?
            .set(|options| options.on_notice(move |notice| teller.of_receiver(notice)))
    })
}

/// Starts the thread, which registers where that is needed, and subscribes; does nothing if it is
/// started. What fails there comes as a notice, and is tried again. May be called again after a stop.
///
/// @param receiver the receiver
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_CLOSED`; `FES_OUT_OF_RESOURCES` if the system gives no thread
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_receiver_start(
    receiver: *const fes_receiver,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe { Ok(borrow(receiver, "receiver")?.made()?.start()?) })
}

/// Stops, and returns after the last callback, which it waits for without a limit. From inside a
/// callback of this receiver it returns at once, and that call is the last. May be called twice.
///
/// @param receiver the receiver
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT` for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_receiver_stop(
    receiver: *const fes_receiver,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        if let Some(made) = borrow(receiver, "receiver")?.current() {
            made.runner.stop();
        }
        Ok(())
    })
}

/// As `fes_receiver_stop`, but waits no longer than it is told.
///
/// @param receiver the receiver
/// @param timeout_ms how many milliseconds to wait at most; 0 only asks it to end, `FES_FOREVER`
///   has no end
/// @param cancel NULL, or a token that ends the wait
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_TIMEOUT`, `FES_CANCELLED` if the last callback has not returned:
///   the receiver was asked to end, and the call may be repeated. `FES_INVALID_ARGUMENT` for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_receiver_stop_for(
    receiver: *const fes_receiver,
    timeout_ms: u32,
    cancel: *const fes_cancel_token,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let Some(made) = borrow(receiver, "receiver")?.current() else { return Ok(()) };
        Ok(made.runner.stop_while(&wait(timeout_ms, cancel))?)
    })
}

/// Whether the thread runs.
///
/// @param receiver NULL, or the receiver
/// @return whether it does; false for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_receiver_is_running(receiver: *const fes_receiver) -> bool {
    super::guard_or(false, || {
        let made = unsafe { receiver.as_ref() }.and_then(fes_receiver::current);
        made.is_some_and(|made| made.runner.is_running())
    })
}

/// What was done since the receiver was opened.
///
/// @param receiver the receiver
/// @param delivered NULL, or gets how many events were handed out
/// @param skipped NULL, or gets how many were skipped because too many waited (LIVE)
/// @param overflows NULL, or gets how often the queue was too small, so that events were read from
///   the database (reliable)
/// @param failures NULL, or gets how many callbacks failed
/// @param given_up NULL, or gets how many events `FES_NOTICE_SKIPPED` told of, up to 1000
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_receiver_stats(
    receiver: *const fes_receiver,
    delivered: *mut u64,
    skipped: *mut u64,
    overflows: *mut u64,
    failures: *mut u64,
    given_up: *mut u64,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let places = [delivered, skipped, overflows, failures, given_up]
            .map(|place| Out::optional(place, 0));
        let made = borrow(receiver, "receiver")?.current();
        let stats = made.map(|made| made.stats()).unwrap_or_default();
        let queue = stats.subscription;
        let numbers = [
            queue.delivered,
            queue.skipped,
            queue.overflows,
            stats.failures,
            stats.skipped.len() as u64,
        ];
        for (place, number) in places.into_iter().zip(numbers) {
            place.set(number);
        }
        Ok(())
    })
}

/// Stops as `fes_receiver_stop`, and frees the handle, which no other thread may use any more. Not
/// from inside a callback of this receiver.
///
/// @param receiver NULL, or the receiver
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_receiver_close(receiver: *mut fes_receiver) {
    unsafe { close(receiver, |_| ()) };
}
