//! `fes_stream`.

use super::database::kind_number;
use super::options::options;
use super::{
    Done, Out, array, borrow, close, fes_error, fes_options, fes_status, fes_text, guard, json,
    layout, refuse, shut_down, text,
};
use crate::backend::nobody_shares_our_sqlite;
use crate::model::event::NewEvent;
use crate::stream::{EventStream, Lag};
use serde_json::json as json_value;
use std::ffi::c_char;

/// A stream of events in one database, with its pool of connections. Any number of threads may use
/// one at once. Close it with `fes_stream_close`.
pub struct fes_stream(pub(super) EventStream);

/// An event to be added. Later versions may have more fields, behind these: calls that take an array are
/// told the size of one. Set all fields that you do not name to zero, as C's initializers do.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fes_new_event {
    /// The type, ended by a NUL: 1 to 16 of `A` to `Z` and `_`.
    pub r#type: *const c_char,
    /// JSON text; NULL with a length of 0 means `null`.
    pub data: *const c_char,
    /// Bytes of the data.
    pub data_len: usize,
}

layout!(fes_new_event, 24, r#type: 0, data: 8, data_len: 16);

/// Reads events of a program that knows `size` bytes of each: no less than this version does, and
/// behind that only zeros, which mean nothing.
pub(super) unsafe fn new_events(
    start: *const fes_new_event,
    count: usize,
    size: usize,
) -> Done<Vec<NewEvent>> {
    const KNOWN: usize = size_of::<fes_new_event>();
    if count == 0 {
        return Ok(Vec::new());
    }
    if size < KNOWN || !size.is_multiple_of(align_of::<fes_new_event>()) {
        return Err(refuse(format!("event_size is {size}, not sizeof(fes_new_event)")));
    }
    let bytes = match count.checked_mul(size) {
        Some(bytes) if start.is_aligned() => unsafe { array(start.cast::<u8>(), bytes, "events") }?,
        _ => return Err(refuse(format!("events cannot be an array of {count}"))),
    };
    let read = |record: &[u8]| unsafe {
        if record[KNOWN..].iter().any(|byte| *byte != 0) {
            return Err(refuse(
                "an event has fields that this version of the library does not know",
            ));
        }
        let event = record.as_ptr().cast::<fes_new_event>().read();
        let data = json(event.data, event.data_len)?;
        Ok(NewEvent::from_json(text(event.r#type, "the type of an event")?, data)?)
    };
    bytes.chunks_exact(size).map(read).collect()
}

/// Writes ids to an array of the caller, if there is one.
pub(super) unsafe fn give_ids(place: *mut u64, ids: &[u64]) {
    if !place.is_null() {
        unsafe { place.copy_from_nonoverlapping(ids.as_ptr(), ids.len()) };
    }
}

/// Opens the stream in a database. Makes one connection and changes no schema. Blocks up to the
/// option `connect_timeout_ms`.
///
/// @param url `sqlite:file.db`, `sqlite:///absolute/file.db`, `sqlite::memory:`,
///   `postgres://user:password@host:port/database?sslmode=verify-full` or
///   `mysql://user:password@host:port/database?ssl-mode=VERIFY_IDENTITY`
/// @param options NULL, or options; those in the URL win over them
/// @param out gets the stream, to be closed with `fes_stream_close`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_URL`, `FES_INVALID_OPTION`, `FES_CONNECT_FAILED`;
///   `FES_FOREIGN_SQLITE` if anybody else in this process has the SQLite file open
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_stream_open(
    url: *const c_char,
    options: *const fes_options,
    out: *mut *mut fes_stream,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        nobody_shares_our_sqlite();
        out.open(fes_stream(EventStream::open_with(text(url, "url")?, &self::options(options))?));
        Ok(())
    })
}

/// Opens the stream of the environment variables `DB_EVT_TYPE` (`sqlite`, `postgresql`, `mysql`),
/// `DB_EVT_HOST`, `_PORT`, `_SOCKET`, `_USER`, `_PASS`, `_DB`, `_MAXCONN`. Otherwise as
/// `fes_stream_open`. No other thread may change the environment meanwhile.
///
/// @param options NULL, or options
/// @param out gets the stream, to be closed with `fes_stream_close`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: those of `fes_stream_open`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_stream_from_env(
    options: *const fes_options,
    out: *mut *mut fes_stream,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        nobody_shares_our_sqlite();
        out.open(fes_stream(EventStream::from_env(&self::options(options))?));
        Ok(())
    })
}

/// Closes the stream as `fes_stream_close` does, but the handle stays to be closed: other threads may be
/// inside of calls. Those that wait for a server which does not answer end within 200 ms, waits for events
/// at once, and every later call gives `FES_CLOSED`.
///
/// @param stream NULL, or the stream
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_stream_shutdown(stream: *const fes_stream) {
    unsafe { shut_down(stream, |stream| stream.0.close()) };
}

/// Closes the stream and frees the handle, which no other thread may use any more. Transactions end
/// by themselves; every other handle made from the stream stays to be closed, and gives
/// `FES_CLOSED`. Stop receivers, archivers and discarders before.
///
/// @param stream NULL, or the stream
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_stream_close(stream: *mut fes_stream) {
    unsafe { close(stream, |stream| stream.0.close()) };
}

/// The kind of database that the stream lives in.
///
/// @param stream NULL, or the stream
/// @return a `fes_database_kind`; 0 for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_stream_kind(stream: *const fes_stream) -> u32 {
    unsafe { stream.as_ref() }.map_or(0, |stream| kind_number(stream.0.kind()))
}

/// Makes the tables, or brings them up to date. Idempotent; several processes may do it at once;
/// tables of the npm package are taken over.
///
/// @param stream the stream
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_FOREIGN_SCHEMA`, `FES_NEWER_SCHEMA`, `FES_PERMISSION_DENIED`,
///   those of the database
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_stream_migrate(
    stream: *const fes_stream,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe { Ok(borrow(stream, "stream")?.0.migrate()?) })
}

/// Adds one event, and returns after the commit.
///
/// @param stream the stream
/// @param type the event type, ended by a NUL; it is copied
/// @param data NULL for `null`, or the event data as JSON text; it is copied
/// @param data_len how many bytes `data` has; 0 for NULL
/// @param id NULL, or gets the id
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_TYPE`, `FES_INVALID_DATA`, `FES_TOO_LARGE`,
///   `FES_NOT_MIGRATED`, those of the database. After `FES_CONNECTION_LOST` the event may or may
///   not have been added
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_stream_add_event(
    stream: *const fes_stream,
    r#type: *const c_char,
    data: *const c_char,
    data_len: usize,
    id: *mut u64,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let id = Out::optional(id, 0);
        let stream = borrow(stream, "stream")?;
        let event = NewEvent::from_json(text(r#type, "type")?, json(data, data_len)?)?;
        id.set(stream.0.add(&event)?);
        Ok(())
    })
}

/// Adds events in one transaction, all or none.
///
/// @param stream the stream
/// @param events an array of `count` events; NULL for 0
/// @param count how many they are
/// @param event_size `sizeof(fes_new_event)`
/// @param ids NULL, or an array of `count` that gets the ids, increasing in the order of `events`;
///   after an error it is as it was
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: those of `fes_stream_add_event`; nothing was added then
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_stream_add_events(
    stream: *const fes_stream,
    events: *const fes_new_event,
    count: usize,
    event_size: usize,
    ids: *mut u64,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let stream = borrow(stream, "stream")?;
        give_ids(ids, &stream.0.add_events(&new_events(events, count, event_size)?)?);
        Ok(())
    })
}

/// How far each registered consumer is behind and what holds the stream up, as a JSON object. Ids
/// are strings, as in `fes_events_json`:
/// `{"highest_id":"9","first_unsettled":"8"|null,"holders":[{"id","since","application"}],
/// "blocked":text|null,"warnings":[text],"consumers":[{"ident","last_id","events_behind","seconds_behind",
/// "seconds_since_seen","seconds_registered"}]}`.
///
/// @param stream the stream
/// @param out gets the text, to be freed with `fes_text_free`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_NOT_MIGRATED`, `FES_UNSAFE_SERVER`, those of the database
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_stream_lag_json(
    stream: *const fes_stream,
    out: *mut *mut fes_text,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        let lag = borrow(stream, "stream")?.0.lag()?;
        out.give(fes_text::new(lag_json(&lag).to_string()));
        Ok(())
    })
}

fn lag_json(lag: &Lag) -> serde_json::Value {
    let holders = lag.holders.iter().map(|holder| {
        json_value!({"id": holder.id, "since": holder.since, "application": holder.application})
    });
    let consumers = lag.consumers.iter().map(|consumer| {
        json_value!({
            "ident": consumer.ident,
            "last_id": consumer.last_id.to_string(),
            "events_behind": consumer.events_behind,
            "seconds_behind": consumer.seconds_behind,
            "seconds_since_seen": consumer.seconds_since_seen,
            "seconds_registered": consumer.seconds_registered,
        })
    });
    json_value!({
        "highest_id": lag.highest_id.to_string(),
        "first_unsettled": lag.first_unsettled.map(|id| id.to_string()),
        "holders": holders.collect::<Vec<_>>(),
        "blocked": lag.blocked,
        "warnings": lag.warnings,
        "consumers": consumers.collect::<Vec<_>>(),
    })
}
