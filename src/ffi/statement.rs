//! `fes_statement`: adding an event on the caller's own connection of any driver.

use super::database::kind_number;
use super::options::options;
use super::stream::fes_stream;
use super::text::{give_text, terminated};
use super::{Out, borrow, fes_error, fes_options, fes_status, free, guard, json, refuse, text};
use crate::backend::DatabaseKind;
use crate::model::event::NewEvent;
use crate::write::transaction::Statement;
use std::ffi::c_char;

/// The SQL of an `INSERT` and its two parameters. Belongs to the caller, who frees it with
/// `fes_statement_free`. It does not change.
pub struct fes_statement {
    sql: Vec<u8>,
    params: [Vec<u8>; 2],
}

impl From<Statement> for fes_statement {
    fn from(statement: Statement) -> Self {
        let params = statement.params.map(terminated);
        fes_statement { sql: terminated(statement.sql), params }
    }
}

/// Makes the statement that adds an event, for the caller's own connection and driver: the event
/// lives and dies with the transaction that it is run in. Needs no stream and no connection.
///
/// @param kind the `fes_database_kind` of the connection
/// @param type the event type, ended by a NUL
/// @param data NULL for `null`, or the event data as JSON text
/// @param data_len how many bytes `data` has; 0 for NULL
/// @param options NULL, or options, of which `event_table` and `max_event_bytes` matter
/// @param out gets the statement, to be freed with `fes_statement_free`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_TYPE`, `FES_INVALID_DATA`, `FES_TOO_LARGE`,
///   `FES_INVALID_ARGUMENT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_event_statement(
    kind: u32,
    r#type: *const c_char,
    data: *const c_char,
    data_len: usize,
    options: *const fes_options,
    out: *mut *mut fes_statement,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        let kind = [DatabaseKind::Sqlite, DatabaseKind::Postgres, DatabaseKind::Mysql]
            .into_iter()
            .find(|known| kind_number(*known) == kind)
            .ok_or_else(|| refuse(format!("there is no fes_database_kind {kind}")))?;
        let event = NewEvent::from_json(text(r#type, "type")?, json(data, data_len)?)?;
        out.give(Statement::new(kind, &event, &self::options(options))?.into());
        Ok(())
    })
}

/// As `fes_event_statement`, for the database and the options of a stream.
///
/// @param stream the stream
/// @param type the event type, ended by a NUL
/// @param data NULL for `null`, or the event data as JSON text
/// @param data_len how many bytes `data` has; 0 for NULL
/// @param out gets the statement, to be freed with `fes_statement_free`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_TYPE`, `FES_INVALID_DATA`, `FES_TOO_LARGE`,
///   `FES_INVALID_ARGUMENT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_stream_statement(
    stream: *const fes_stream,
    r#type: *const c_char,
    data: *const c_char,
    data_len: usize,
    out: *mut *mut fes_statement,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        let stream = borrow(stream, "stream")?;
        let event = NewEvent::from_json(text(r#type, "type")?, json(data, data_len)?)?;
        out.give(stream.0.statement_of(&event)?.into());
        Ok(())
    })
}

/// The SQL, with the placeholders of the database: `?`, or `$1` and `$2` on PostgreSQL.
///
/// @param statement NULL, or the statement, to which the text belongs
/// @param len NULL, or gets the bytes of the text without the NUL
/// @return the SQL, ended by a NUL; NULL for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_statement_sql(
    statement: *const fes_statement,
    len: *mut usize,
) -> *const c_char {
    unsafe { give_text(statement.as_ref().map(|statement| statement.sql.as_slice()), len) }
}

/// A parameter of the statement, to be bound as text.
///
/// @param statement NULL, or the statement, to which the text belongs
/// @param index which one: 0 is the type, 1 the JSON
/// @param len NULL, or gets the bytes of the text without the NUL
/// @return the parameter, ended by a NUL; NULL if there is none
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_statement_param(
    statement: *const fes_statement,
    index: usize,
    len: *mut usize,
) -> *const c_char {
    unsafe {
        let param = statement.as_ref().and_then(|statement| statement.params.get(index));
        give_text(param.map(Vec::as_slice), len)
    }
}

/// Frees a statement.
///
/// @param statement NULL, or the statement
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_statement_free(statement: *mut fes_statement) {
    unsafe { free(statement) };
}
