//! `fes_consumer`.

use super::cancel::{fes_cancel_token, limits};
use super::{
    Out, borrow, close, fes_error, fes_events, fes_status, fes_stream, guard, refuse, text, want,
};
use crate::model::event::Timestamp;
use crate::read::consumer::Consumer;
use crate::read::start_at::StartAt;
use std::ffi::c_char;

/// A consumer of a stream, which polls. Any number of threads may use one at once, although one
/// cursor makes sense for one at a time. Close it with `fes_consumer_close`.
pub struct fes_consumer(Consumer);

/// Where a consumer begins.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum fes_start {
    /// With the first event that is still there.
    FES_START_BEGINNING = 0,
    /// With what is committed from now on.
    FES_START_NOW = 1,
    /// With the event of the id `value`, or the next one that is there.
    FES_START_ID = 2,
    /// With the first event of the time `value` (seconds since 1970) or later.
    FES_START_TIME = 3,
}

/// Makes a consumer, and asks no database. The component `LIVE` makes one that never registers and
/// gets what comes from now on.
///
/// @param stream the stream
/// @param user up to 64 characters of printable ASCII without `:`, ended by a NUL; it is copied
/// @param component 1 to 16 letters, digits and `_`, ended by a NUL; it is copied
/// @param out gets the consumer, to be closed with `fes_consumer_close`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_USER`, `FES_INVALID_COMPONENT`, `FES_IDENT_TOO_LONG`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_consumer_open(
    stream: *const fes_stream,
    user: *const c_char,
    component: *const c_char,
    out: *mut *mut fes_consumer,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        let stream = borrow(stream, "stream")?;
        let (user, component) = (text(user, "user")?, text(component, "component")?);
        out.open(fes_consumer(stream.0.consumer(user, component)?));
        Ok(())
    })
}

/// Registers the consumer, to begin with the first event that is still there: from now on no event
/// that it has not acknowledged is discarded. Does nothing if it is registered.
///
/// @param consumer the consumer
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_LIVE_NOT_ALLOWED`, `FES_SECURITY_ERROR`, `FES_NOT_MIGRATED`,
///   those of the database
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_consumer_register(
    consumer: *const fes_consumer,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe { Ok(borrow(consumer, "consumer")?.0.register()?) })
}

/// As `fes_consumer_register`, to begin elsewhere.
///
/// @param consumer the consumer
/// @param start a `fes_start`
/// @param value what `start` says: an id, a time, or nothing
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: those of `fes_consumer_register`; `FES_INVALID_LAST_ID` for an id
///   beyond the next one
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_consumer_register_at(
    consumer: *const fes_consumer,
    start: u32,
    value: i64,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let consumer = borrow(consumer, "consumer")?;
        let bad = || refuse(format!("fes_start {start} does not take the value {value}"));
        let start = match start {
            kind if kind == fes_start::FES_START_BEGINNING as u32 => StartAt::Beginning,
            kind if kind == fes_start::FES_START_NOW as u32 => StartAt::Now,
            kind if kind == fes_start::FES_START_ID as u32 => {
                StartAt::Id(u64::try_from(value).map_err(|_| bad())?)
            }
            kind if kind == fes_start::FES_START_TIME as u32 => {
                StartAt::Time(Timestamp::from_unix(value).ok_or_else(bad)?)
            }
            _ => return Err(bad()),
        };
        Ok(consumer.0.register_at(start)?)
    })
}

/// Forgets the consumer and its cursor.
///
/// @param consumer the consumer
/// @param was_registered NULL, or gets whether there was one
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_LIVE_NOT_ALLOWED`, `FES_SECURITY_ERROR`, those of the database
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_consumer_unregister(
    consumer: *const fes_consumer,
    was_registered: *mut bool,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let was_registered = Out::optional(was_registered, false);
        was_registered.set(borrow(consumer, "consumer")?.0.unregister()?);
        Ok(())
    })
}

/// Gives the next events, and waits for the first one if there are none.
///
/// @param consumer the consumer
/// @param last_id NULL to go on at the stored cursor (or at this LIVE consumer's place), or the id
///   up to which everything is acknowledged by this call
/// @param types an array of `type_count` event types that are wanted, each ended by a NUL; NULL for
///   0
/// @param type_count how many they are, up to 1000; 0 for all events
/// @param limit the most events wanted, 1 or more; no more than the option `max_chunk_events` come, so that
///   `SIZE_MAX` means as many as that
/// @param timeout_ms how many milliseconds to wait at most; 0 asks once, `FES_FOREVER` has no end
/// @param cancel NULL, or a token that ends the wait
/// @param out gets the events, to be freed with `fes_events_free`; an empty batch if there were
///   none in time
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_NOT_REGISTERED`, `FES_SECURITY_ERROR`, `FES_INVALID_LAST_ID`,
///   `FES_INVALID_TYPE`, `FES_INVALID_ARGUMENT`, `FES_UNSAFE_SERVER`, `FES_CANCELLED`, those of the
///   database; `FES_CORRUPT_EVENT` if the next event cannot be read (those before it came first), until it is
///   corrected or passed over by `fes_consumer_skip`; LIVE is told once
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_consumer_poll(
    consumer: *const fes_consumer,
    last_id: *const u64,
    types: *const *const c_char,
    type_count: usize,
    limit: usize,
    timeout_ms: u32,
    cancel: *const fes_cancel_token,
    out: *mut *mut fes_events,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        let consumer = &borrow(consumer, "consumer")?.0;
        let (last_id, want) = (last_id.as_ref().copied(), want(types, type_count)?);
        let (timeout, cancel) = limits(timeout_ms, cancel);
        let events = consumer.poll_for(last_id, &want, limit, timeout, cancel)?;
        out.give(fes_events::new(events.iter(), consumer.checks_json()));
        Ok(())
    })
}

/// Acknowledges every event up to an id. The cursor never moves back.
///
/// @param consumer the consumer
/// @param last_id the id of the last event that was worked on
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_NOT_REGISTERED`, `FES_SECURITY_ERROR`, `FES_INVALID_LAST_ID`,
///   those of the database
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_consumer_acknowledge(
    consumer: *const fes_consumer,
    last_id: u64,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe { Ok(borrow(consumer, "consumer")?.0.acknowledge(last_id)?) })
}

/// Passes over exactly one event, if it is the next one of this reliable consumer and cannot be read:
/// acknowledges it.
///
/// @param consumer the consumer
/// @param id the id of the event, as `fes_error_unreadable` has it for the error of the poll
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT` if another event, or none, is the next one, or if
///   it can be read, and then nothing is acknowledged; those of `fes_consumer_acknowledge`;
///   `FES_LIVE_NOT_ALLOWED`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_consumer_skip(
    consumer: *const fes_consumer,
    id: u64,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe { Ok(borrow(consumer, "consumer")?.0.skip(id).map(|_| ())?) })
}

/// Frees the handle; the consumer stays registered.
///
/// @param consumer NULL, or the consumer
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_consumer_close(consumer: *mut fes_consumer) {
    unsafe { close(consumer, |_| ()) };
}
