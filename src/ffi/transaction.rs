//! `fes_tx`.

use super::stream::{fes_new_event, fes_stream, give_ids, new_events};
use super::value::{fes_rows, fes_value, values};
use super::{Done, Out, borrow, close, fes_error, fes_status, guard, json, text};
use crate::model::error::{Error, ErrorKind};
use crate::model::event::NewEvent;
use crate::sync::lock::lock;
use crate::write::transaction::Transaction;
use std::ffi::c_char;
use std::sync::Mutex;

/// A database transaction: the caller's own changes and their events, together or not at all. It
/// holds one connection of the stream until it ends; on SQLite it is the only writer meanwhile.
/// Threads that use one at once wait for each other. Free it with `fes_tx_free`.
pub struct fes_tx(Mutex<Option<Transaction>>);

/// Runs `work` in the transaction, while it has not ended.
unsafe fn within<T>(
    tx: *const fes_tx,
    work: impl FnOnce(&mut Transaction) -> crate::Result<T>,
) -> Done<T> {
    let mut slot = lock(&unsafe { borrow(tx, "tx") }?.0);
    Ok(work(slot.as_mut().ok_or_else(ended)?)?)
}

/// Takes the transaction out, to end it.
unsafe fn take(tx: *const fes_tx) -> Done<Transaction> {
    Ok(lock(&unsafe { borrow(tx, "tx") }?.0).take().ok_or_else(ended)?)
}

fn ended() -> Error {
    Error::new(ErrorKind::Closed, "the transaction has ended")
}

/// Begins a transaction. On SQLite it waits for other writers, up to the option `busy_timeout_ms`;
/// for a connection, up to `connect_timeout_ms`.
///
/// @param stream the stream
/// @param out gets the transaction, to be freed with `fes_tx_free`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_BUSY`, those of the database
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_stream_begin(
    stream: *const fes_stream,
    out: *mut *mut fes_tx,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        out.open(fes_tx(Mutex::new(Some(borrow(stream, "stream")?.0.begin()?))));
        Ok(())
    })
}

/// Runs the caller's own statement.
///
/// @param tx the transaction
/// @param sql the statement, ended by a NUL, in the placeholders of the database (`?`, or `$1` on
///   PostgreSQL)
/// @param params an array of `count` values to be bound; NULL for 0
/// @param count how many they are
/// @param rows NULL, or gets the number of rows that were touched
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: whatever the database says; `FES_CLOSED` after the end. On PostgreSQL
///   a failed statement dooms the transaction. After `FES_CONFLICT` nothing of it is left on any
///   database
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_tx_execute(
    tx: *const fes_tx,
    sql: *const c_char,
    params: *const fes_value,
    count: usize,
    rows: *mut u64,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let rows = Out::optional(rows, 0);
        let (sql, params) = (text(sql, "sql")?, values(params, count)?);
        rows.set(within(tx, |tx| tx.execute(sql, &params))?);
        Ok(())
    })
}

/// Runs the caller's own query, and gives all its rows.
///
/// @param tx the transaction
/// @param sql the query, ended by a NUL, in the placeholders of the database (`?`, or `$1` on
///   PostgreSQL)
/// @param params an array of `count` values to be bound; NULL for 0
/// @param count how many they are
/// @param out gets the rows, to be freed with `fes_rows_free`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: as `fes_tx_execute`. On PostgreSQL, columns of unknown types are
///   refused: cast them to `text`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_tx_query(
    tx: *const fes_tx,
    sql: *const c_char,
    params: *const fes_value,
    count: usize,
    out: *mut *mut fes_rows,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        let (sql, params) = (text(sql, "sql")?, values(params, count)?);
        out.give(fes_rows::new(within(tx, |tx| tx.query(sql, &params))?));
        Ok(())
    })
}

/// Adds an event that lives and dies with the transaction.
///
/// @param tx the transaction
/// @param type the event type, ended by a NUL; it is copied
/// @param data NULL for `null`, or the event data as JSON text; it is copied
/// @param data_len how many bytes `data` has; 0 for NULL
/// @param id NULL, or gets the id
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_TYPE`, `FES_INVALID_DATA`, `FES_TOO_LARGE`, `FES_CLOSED`,
///   those of the database
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_tx_add_event(
    tx: *const fes_tx,
    r#type: *const c_char,
    data: *const c_char,
    data_len: usize,
    id: *mut u64,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let id = Out::optional(id, 0);
        let event = NewEvent::from_json(text(r#type, "type")?, json(data, data_len)?)?;
        id.set(within(tx, |tx| tx.add(&event))?);
        Ok(())
    })
}

/// Adds events that live and die with the transaction.
///
/// @param tx the transaction
/// @param events an array of `count` events; NULL for 0
/// @param count how many they are
/// @param event_size `sizeof(fes_new_event)`
/// @param ids NULL, or an array of `count` that gets the ids, increasing in the order of `events`;
///   after an error it is as it was
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: as `fes_tx_add_event`; some events may have been added then: roll back
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_tx_add_events(
    tx: *const fes_tx,
    events: *const fes_new_event,
    count: usize,
    event_size: usize,
    ids: *mut u64,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let events = new_events(events, count, event_size)?;
        give_ids(ids, &within(tx, |tx| tx.add_events(&events))?);
        Ok(())
    })
}

/// Makes everything durable and visible. The transaction has ended then, also after an error; it is
/// still to be freed.
///
/// @param tx the transaction
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: those of the database; `FES_CONFLICT` if it undid the transaction
///   before; `FES_CLOSED` if it has ended. After `FES_CONNECTION_LOST` it may or may not have been
///   committed
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_tx_commit(tx: *const fes_tx, err: *mut *mut fes_error) -> fes_status {
    guard(err, || unsafe { Ok(take(tx)?.commit()?) })
}

/// Undoes everything. The transaction has ended then; it is still to be freed.
///
/// @param tx the transaction
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: those of the database, which undoes it anyway; `FES_CLOSED` if it has
///   ended
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_tx_rollback(
    tx: *const fes_tx,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe { Ok(take(tx)?.rollback()?) })
}

/// Frees a transaction; one that has not ended is rolled back.
///
/// @param tx NULL, or the transaction
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_tx_free(tx: *mut fes_tx) {
    unsafe { close(tx, |_| ()) };
}
