//! `fes_warehouse` and `fes_replay`.

use super::cancel::{fes_cancel_token, limits};
use super::database::kind_number;
use super::options::options;
use super::{
    Out, borrow, close, fes_error, fes_events, fes_options, fes_status, fes_stream, guard,
    guard_or, shut_down, text, want,
};
use crate::backend::nobody_shares_our_sqlite;
use crate::history::{Replay, Warehouse};
use crate::sync::lock::lock;
use std::ffi::c_char;
use std::sync::Mutex;

/// The database that keeps all history; it may be of another kind than the stream's. Any number of
/// threads may use one at once. Close it with `fes_warehouse_close`.
pub struct fes_warehouse(pub(super) Warehouse);

/// Reads all history and goes on with the active events, as one stream. Threads that use one at once
/// wait for each other. Close it with `fes_replay_close`.
pub struct fes_replay(Mutex<Replay>);

/// Opens the warehouse in a database. Changes no schema.
///
/// @param url where it is: see `fes_stream_open`
/// @param options NULL, or options; those in the URL win over them
/// @param out gets the warehouse, to be closed with `fes_warehouse_close`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_URL`, `FES_INVALID_OPTION`, `FES_CONNECT_FAILED`,
///   `FES_FOREIGN_SQLITE`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_warehouse_open(
    url: *const c_char,
    options: *const fes_options,
    out: *mut *mut fes_warehouse,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        nobody_shares_our_sqlite();
        out.open(fes_warehouse(Warehouse::open_with(text(url, "url")?, &self::options(options))?));
        Ok(())
    })
}

/// Opens the warehouse of the environment variables `DB_EVTDWH_TYPE` and so on: see
/// `fes_stream_from_env`.
///
/// @param options NULL, or options
/// @param out gets the warehouse, to be closed with `fes_warehouse_close`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: those of `fes_warehouse_open`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_warehouse_from_env(
    options: *const fes_options,
    out: *mut *mut fes_warehouse,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        nobody_shares_our_sqlite();
        out.open(fes_warehouse(Warehouse::from_env(&self::options(options))?));
        Ok(())
    })
}

/// The kind of database that the warehouse lives in.
///
/// @param warehouse NULL, or the warehouse
/// @return a `fes_database_kind`; 0 for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_warehouse_kind(warehouse: *const fes_warehouse) -> u32 {
    unsafe { warehouse.as_ref() }.map_or(0, |warehouse| kind_number(warehouse.0.kind()))
}

/// Makes the table, or brings it up to date. Idempotent; several processes may do it at once.
///
/// @param warehouse the warehouse
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_FOREIGN_SCHEMA`, `FES_NEWER_SCHEMA`, `FES_PERMISSION_DENIED`,
///   those of the database
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_warehouse_migrate(
    warehouse: *const fes_warehouse,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe { Ok(borrow(warehouse, "warehouse")?.0.migrate()?) })
}

/// Gives archived events.
///
/// @param warehouse the warehouse
/// @param from_id the first id that is wanted
/// @param types an array of `type_count` event types that are wanted, each ended by a NUL; NULL for
///   0
/// @param type_count how many they are, up to 1000; 0 for all events
/// @param limit the most events wanted, 1 or more
/// @param out gets the events, to be freed with `fes_events_free`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_NOT_MIGRATED`, `FES_INVALID_TYPE`, `FES_INVALID_ARGUMENT`, those
///   of the database
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_warehouse_history(
    warehouse: *const fes_warehouse,
    from_id: u64,
    types: *const *const c_char,
    type_count: usize,
    limit: usize,
    out: *mut *mut fes_events,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        let (warehouse, want) = (borrow(warehouse, "warehouse")?, want(types, type_count)?);
        let events = warehouse.0.history(from_id, &want, limit)?;
        out.give(fes_events::new(events.iter(), warehouse.0.checks_json()));
        Ok(())
    })
}

/// Closes the warehouse as `fes_warehouse_close` does, but the handle stays to be closed: see
/// `fes_stream_shutdown`.
///
/// @param warehouse NULL, or the warehouse
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_warehouse_shutdown(warehouse: *const fes_warehouse) {
    unsafe { shut_down(warehouse, |warehouse| warehouse.0.close()) };
}

/// Closes the warehouse and frees the handle, which no other thread may use any more. Archivers and
/// replays of it give `FES_CLOSED`.
///
/// @param warehouse NULL, or the warehouse
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_warehouse_close(warehouse: *mut fes_warehouse) {
    unsafe { close(warehouse, |warehouse| warehouse.0.close()) };
}

/// Begins to read all events of a stream, archived or not. Registers nothing, and asks no database
/// yet.
///
/// @param warehouse the warehouse of this stream
/// @param stream the stream
/// @param from_id the first id that is wanted
/// @param types an array of `type_count` event types that are wanted, each ended by a NUL; NULL for
///   0
/// @param type_count how many they are, up to 1000; 0 for all events
/// @param out gets the replay, to be closed with `fes_replay_close`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_TYPE`, `FES_INVALID_ARGUMENT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_replay_open(
    warehouse: *const fes_warehouse,
    stream: *const fes_stream,
    from_id: u64,
    types: *const *const c_char,
    type_count: usize,
    out: *mut *mut fes_replay,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        let (warehouse, stream) = (borrow(warehouse, "warehouse")?, borrow(stream, "stream")?);
        let want = want(types, type_count)?;
        let replay = warehouse.0.replay(&stream.0, from_id, &want);
        out.open(fes_replay(Mutex::new(replay)));
        Ok(())
    })
}

/// Gives the next events.
///
/// @param replay the replay
/// @param limit the most events wanted, 1 or more
/// @param out gets the events, to be freed with `fes_events_free`; an empty batch if there are no
///   more now
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`, `FES_INVALID_LAST_ID`, `FES_NOT_MIGRATED`,
///   `FES_UNSAFE_SERVER`, those of both databases. The next call goes on at the same place
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_replay_next(
    replay: *const fes_replay,
    limit: usize,
    out: *mut *mut fes_events,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        let mut replay = lock(&borrow(replay, "replay")?.0);
        let events = replay.next(limit)?;
        out.give(fes_events::new(events.iter(), replay.checks_json()));
        Ok(())
    })
}

/// As `fes_replay_next`, but waits for the first event.
///
/// @param replay the replay
/// @param limit the most events wanted, 1 or more
/// @param timeout_ms how many milliseconds to wait at most; 0 looks once, `FES_FOREVER` has no end
/// @param cancel NULL, or a token that ends the wait
/// @param out gets the events, to be freed with `fes_events_free`; an empty batch if there was none
///   in time, although more may be there behind what was not wanted: `fes_replay_position` moves on
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: those of `fes_replay_next`; `FES_CANCELLED`. The next call goes on at
///   the same place
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_replay_next_for(
    replay: *const fes_replay,
    limit: usize,
    timeout_ms: u32,
    cancel: *const fes_cancel_token,
    out: *mut *mut fes_events,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        let (timeout, cancel) = limits(timeout_ms, cancel);
        let mut replay = lock(&borrow(replay, "replay")?.0);
        let events = replay.next_for(limit, timeout, cancel)?;
        out.give(fes_events::new(events.iter(), replay.checks_json()));
        Ok(())
    })
}

/// How far the replay has come.
///
/// @param replay NULL, or the replay
/// @return the id up to which everything was given, or was not wanted; 0 for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_replay_position(replay: *const fes_replay) -> u64 {
    guard_or(0, || unsafe { replay.as_ref() }.map_or(0, |replay| lock(&replay.0).position()))
}

/// Frees the replay.
///
/// @param replay NULL, or the replay
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_replay_close(replay: *mut fes_replay) {
    unsafe { close(replay, |_| ()) };
}
