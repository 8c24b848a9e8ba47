//! `fes_value` and `fes_rows`: values of the caller's own SQL.

use super::text::{give_text, terminated};
use super::{Done, array, copied, free, layout, no_memory, refuse, text_of};
use crate::model::value::{Rows, Value};
use std::ffi::c_char;

/// The kinds of a `fes_value`.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum fes_value_kind {
    /// SQL `NULL`.
    FES_VALUE_NULL = 0,
    /// A boolean: `number` is 0 or 1.
    FES_VALUE_BOOL = 1,
    /// A signed integer: `number`.
    FES_VALUE_INT = 2,
    /// An unsigned integer: `number` holds its bits, `(int64_t)value`.
    FES_VALUE_UINT = 3,
    /// A floating point number: `real`.
    FES_VALUE_REAL = 4,
    /// UTF-8 text: `bytes` and `len`. On PostgreSQL it may stand for any type with a text form.
    FES_VALUE_TEXT = 5,
    /// Bytes: `bytes` and `len`.
    FES_VALUE_BYTES = 6,
}

use fes_value_kind::*;

/// One SQL value: a bound parameter, or a column of a row. What its kind does not name is ignored.
/// This structure stays as it is: later versions may have further kinds.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fes_value {
    /// A `fes_value_kind`.
    pub kind: u32,
    /// Of a boolean or an integer.
    pub number: i64,
    /// Of a floating point number.
    pub real: f64,
    /// Of a text or bytes. In a row a NUL follows.
    pub bytes: *const c_char,
    /// Bytes of a text or bytes.
    pub len: usize,
}

layout!(fes_value, 40, kind: 0, number: 8, real: 16, bytes: 24, len: 32);

/// Copies parameters of the caller.
pub(super) unsafe fn values(start: *const fes_value, count: usize) -> Done<Vec<Value>> {
    unsafe { array(start, count, "params") }?.iter().map(|value| unsafe { read(value) }).collect()
}

unsafe fn read(value: &fes_value) -> Done<Value> {
    let number = value.number;
    Ok(match value.kind {
        kind if kind == FES_VALUE_NULL as u32 => Value::Null,
        kind if kind == FES_VALUE_BOOL as u32 => Value::Bool(number != 0),
        kind if kind == FES_VALUE_INT as u32 => Value::Int(number),
        kind if kind == FES_VALUE_UINT as u32 => Value::Uint(number.cast_unsigned()),
        kind if kind == FES_VALUE_REAL as u32 => Value::Real(value.real),
        kind if kind == FES_VALUE_TEXT as u32 => {
            Value::Text(copied(unsafe { text_of(value.bytes, value.len, "a parameter") }?)?)
        }
        kind if kind == FES_VALUE_BYTES as u32 => {
            let bytes = unsafe { array(value.bytes.cast::<u8>(), value.len, "a parameter") }?;
            let mut copy = Vec::new();
            copy.try_reserve_exact(bytes.len()).map_err(no_memory)?;
            copy.extend_from_slice(bytes);
            Value::Bytes(copy)
        }
        kind => return Err(refuse(format!("there is no fes_value_kind {kind}"))),
    })
}

/// The rows of a query. Belongs to the caller, who frees it with `fes_rows_free`. It does not
/// change, so any number of threads may read it.
pub struct fes_rows {
    /// The names of the columns, each with a NUL behind it.
    columns: Vec<Vec<u8>>,
    rows: Vec<Vec<fes_value>>,
    /// What the pointers of `rows` point to.
    _texts: Vec<Vec<u8>>,
}

impl fes_rows {
    pub(super) fn new(rows: Rows) -> Self {
        let columns = rows.columns().iter().cloned().map(terminated).collect();
        let mut texts = Vec::new();
        let mut row =
            |row: Vec<Value>| row.into_iter().map(|value| give(value, &mut texts)).collect();
        let rows = rows.into_iter().map(&mut row).collect();
        fes_rows { columns, rows, _texts: texts }
    }
}

fn give(value: Value, texts: &mut Vec<Vec<u8>>) -> fes_value {
    let mut out = fes_value {
        kind: FES_VALUE_NULL as u32,
        number: 0,
        real: 0.0,
        bytes: std::ptr::null(),
        len: 0,
    };
    let (kind, bytes) = match value {
        Value::Null => return out,
        Value::Bool(flag) => {
            out.number = flag.into();
            (FES_VALUE_BOOL, None)
        }
        Value::Int(number) => {
            out.number = number;
            (FES_VALUE_INT, None)
        }
        Value::Uint(number) => {
            out.number = number.cast_signed();
            (FES_VALUE_UINT, None)
        }
        Value::Real(number) => {
            out.real = number;
            (FES_VALUE_REAL, None)
        }
        Value::Text(text) => (FES_VALUE_TEXT, Some(text.into_bytes())),
        Value::Bytes(bytes) => (FES_VALUE_BYTES, Some(bytes)),
    };
    out.kind = kind as u32;
    if let Some(mut bytes) = bytes {
        out.len = bytes.len();
        bytes.push(0);
        out.bytes = bytes.as_ptr().cast();
        texts.push(bytes);
    }
    out
}

/// How many rows there are.
///
/// @param rows NULL, or the rows
/// @return their number; 0 for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_rows_count(rows: *const fes_rows) -> usize {
    unsafe { rows.as_ref() }.map_or(0, |rows| rows.rows.len())
}

/// How many columns the rows have.
///
/// @param rows NULL, or the rows
/// @return their number, also if there is no row (0 then on PostgreSQL with `pooler=transaction`); 0
///   for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_rows_columns(rows: *const fes_rows) -> usize {
    unsafe { rows.as_ref() }.map_or(0, |rows| rows.columns.len())
}

/// The name of a column, as the database gives it.
///
/// @param rows NULL, or the rows, to which the name belongs
/// @param column which column, from 0
/// @param len NULL, or gets the bytes of the name without its NUL
/// @return the name, in UTF-8 and with a NUL at its end; NULL if there is no such column
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_rows_column_name(
    rows: *const fes_rows,
    column: usize,
    len: *mut usize,
) -> *const c_char {
    let name = unsafe { rows.as_ref() }.and_then(|rows| rows.columns.get(column));
    unsafe { give_text(name.map(Vec::as_slice), len) }
}

/// One value of the rows.
///
/// @param rows NULL, or the rows, to which the value belongs
/// @param row which row, from 0
/// @param column which column, from 0
/// @return the value; NULL if there is none
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_rows_get(
    rows: *const fes_rows,
    row: usize,
    column: usize,
) -> *const fes_value {
    let row = unsafe { rows.as_ref() }.and_then(|rows| rows.rows.get(row));
    row.and_then(|row| row.get(column)).map_or(std::ptr::null(), |value| value)
}

/// Frees rows, with all values of them.
///
/// @param rows NULL, or the rows
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_rows_free(rows: *mut fes_rows) {
    unsafe { free(rows) };
}
