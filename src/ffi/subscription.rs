//! `fes_subscription`.

use super::cancel::{fes_cancel_token, wait};
use super::options::options;
use super::{
    Done, Out, borrow, close, fes_error, fes_events, fes_options, fes_status, fes_stream, guard,
    text, want,
};
use crate::push::{Subscription, Waiting};
use std::ffi::{c_char, c_int};

/// A consumer that is pushed to: a thread of the stream fills a bounded queue, and
/// `fes_subscription_next` takes from it. Threads that call `next` on one at once take turns: each
/// delivery goes to one of them. Close it with `fes_subscription_close`.
pub struct fes_subscription(Subscription);

/// Subscribes a consumer. A reliable one must be registered, and gets everything after its cursor,
/// in order; `LIVE` gets what comes from now on, and skips the oldest when more than the option
/// `queue_max` events wait.
///
/// @param stream the stream
/// @param user the user of the consumer, as of `fes_consumer_open`
/// @param component its component
/// @param types an array of `type_count` event types that are wanted, each ended by a NUL; NULL for
///   0
/// @param type_count how many they are, up to 1000; 0 for all events
/// @param options NULL, or options, of which those of push matter
/// @param out gets the subscription, to be closed with `fes_subscription_close`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_NOT_REGISTERED`; `FES_OCCUPIED` if another receiver of this
///   consumer is at work; `FES_SECURITY_ERROR`, `FES_INVALID_LAST_ID`, `FES_UNSAFE_SERVER`, those
///   of `fes_consumer_open` and of the database
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_stream_subscribe(
    stream: *const fes_stream,
    user: *const c_char,
    component: *const c_char,
    types: *const *const c_char,
    type_count: usize,
    options: *const fes_options,
    out: *mut *mut fes_subscription,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        let stream = borrow(stream, "stream")?;
        let (user, component) = (text(user, "user")?, text(component, "component")?);
        let (want, options) = (want(types, type_count)?, self::options(options));
        out.open(fes_subscription(stream.0.subscribe(user, component, want, &options)?));
        Ok(())
    })
}

/// Waits for the next delivery.
///
/// @param subscription the subscription
/// @param timeout_ms how many milliseconds to wait at most; 0 only looks, `FES_FOREVER` has no end
/// @param cancel NULL, or a token that ends the wait
/// @param out gets the events of the delivery, to be freed with `fes_events_free`; NULL if there
///   was none, or if as many deliveries as the option `request_max` are not acknowledged
/// @param seq NULL, or gets the delivery's number, from 0; a gap tells a LIVE subscriber that a
///   group was skipped
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_CLOSED`, `FES_CANCELLED`, `FES_NOT_REGISTERED`, `FES_OCCUPIED`,
///   those of the database; `FES_CORRUPT_EVENT` if the next event cannot be read: see
///   `fes_subscription_skip`. After any but `FES_CLOSED` the call may be repeated: nothing is lost
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_subscription_next(
    subscription: *const fes_subscription,
    timeout_ms: u32,
    cancel: *const fes_cancel_token,
    out: *mut *mut fes_events,
    seq: *mut u64,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let seq = Out::optional(seq, 0);
        let out = Out::handle(out)?;
        let subscription = &borrow(subscription, "subscription")?.0;
        let wait = wait(timeout_ms, cancel);
        wait.check()?;
        let is_wanted = || wait.check().is_ok();
        let goes_on = (!cancel.is_null()).then_some(&is_wanted as &dyn Fn() -> bool);
        let waiting = Waiting { end: wait.end(), patient: false, goes_on };
        let delivery = wait.run(|| subscription.next_while(&waiting))?;
        if let Some(delivery) = delivery {
            seq.set(delivery.seq);
            let events = delivery.events.iter().map(|event| &**event);
            out.give(fes_events::new(events, subscription.checks_json()));
            return Ok(());
        }
        Ok(wait.check()?)
    })
}

/// Gives a descriptor for event loops (poll, epoll, libuv, GLib, asyncio), so that no thread has to wait:
/// it is readable while a delivery may wait, or an error is to be told.
///
/// - When it is readable, call `fes_subscription_next` with a time of 0 until it gives no events: only
///   then it is not readable any more, until there is more. It may be readable with nothing there, and is
///   never unreadable with something there.
/// - While as many deliveries as the option `request_max` are not acknowledged there is nothing to be had;
///   `fes_subscription_ack` makes it readable if more waits.
/// - It is level-triggered. After an error it stays readable: wait a moment before the next call, as one
///   does without it. After `FES_CLOSED` and `FES_NOT_REGISTERED` it stays so for good.
/// - It belongs to the subscription, and is the same at each call: do not read, write or close it, and take
///   it out of the loop before `fes_subscription_close`, which closes it.
/// - With a backlog a call may take as long as a read from the database, on a server up to 150 ms: what is
///   read then makes the descriptor readable. Calls also look whether another receiver took the consumer's
///   place; without one that is told with what comes next.
///
/// @param subscription the subscription
/// @param fd gets the descriptor (an eventfd on Linux, a socket elsewhere); -1 after a failure
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_OUT_OF_RESOURCES` if the process has no descriptor left;
///   `FES_INVALID_ARGUMENT`, also on systems without such descriptors
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_subscription_fd(
    subscription: *const fes_subscription,
    fd: *mut c_int,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let fd = Out::required(fd, -1, "fd")?;
        let subscription = &borrow(subscription, "subscription")?.0;
        fd.set(descriptor(subscription)?);
        Ok(())
    })
}

#[cfg(unix)]
fn descriptor(subscription: &Subscription) -> Done<c_int> {
    use std::os::fd::AsRawFd;
    Ok(subscription.fd()?.as_raw_fd())
}

#[cfg(not(unix))]
fn descriptor(_: &Subscription) -> Done<c_int> {
    Err(super::refuse("this system has no descriptors for event loops"))
}

/// Acknowledges the oldest delivery that is not acknowledged; the cursor is stored within the
/// option `ack_interval_ms`.
///
/// @param subscription the subscription
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT` if there is none
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_subscription_ack(
    subscription: *const fes_subscription,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe { Ok(borrow(subscription, "subscription")?.0.ack()?) })
}

/// Passes over the event that the last error `FES_CORRUPT_EVENT` of `fes_subscription_next` has named
/// because it cannot be read. It counts as acknowledged once everything before it is. A LIVE
/// subscriber is told once, and has nothing to pass over.
///
/// @param subscription the subscription
/// @param id the id of the event, as `fes_error_unreadable` has it
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT` if another event, or none, is the one that could
///   not be read
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_subscription_skip(
    subscription: *const fes_subscription,
    id: u64,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe { Ok(borrow(subscription, "subscription")?.0.skip(id)?) })
}

/// What was done so far.
///
/// @param subscription the subscription
/// @param delivered NULL, or gets how many events were handed out
/// @param skipped NULL, or gets how many were skipped because too many waited (LIVE)
/// @param overflows NULL, or gets how often the queue was too small, so that events were read from
///   the database (reliable)
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_subscription_stats(
    subscription: *const fes_subscription,
    delivered: *mut u64,
    skipped: *mut u64,
    overflows: *mut u64,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let places = [delivered, skipped, overflows].map(|place| Out::optional(place, 0));
        let stats = borrow(subscription, "subscription")?.0.stats();
        for (place, number) in
            places.into_iter().zip([stats.delivered, stats.skipped, stats.overflows])
        {
            place.set(number);
        }
        Ok(())
    })
}

/// Ends the subscription: stores the cursor (an error of that is logged; events may come again
/// then), frees the consumer's name for others, and frees the handle, which no other thread may use
/// any more: end its `fes_subscription_next` with a cancel token first.
///
/// @param subscription NULL, or the subscription
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_subscription_close(subscription: *mut fes_subscription) {
    unsafe { close(subscription, |_| ()) };
}
