//! How values and errors of the driver become ours.

use crate::model::error::{Error, ErrorKind};
use crate::model::value::Value;
use rusqlite::ErrorCode;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

pub(super) fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Value::Bool(flag) => ToSqlOutput::Borrowed(ValueRef::Integer(i64::from(*flag))),
            Value::Int(number) => ToSqlOutput::Borrowed(ValueRef::Integer(*number)),
            Value::Uint(number) => ToSqlOutput::Owned(match i64::try_from(*number) {
                Ok(number) => number.into(),
                Err(_) => {
                    let message =
                        format!("{number} is above the integers of SQLite: bind it as text");
                    return Err(rusqlite::Error::ToSqlConversionFailure(message.into()));
                }
            }),
            Value::Real(number) => ToSqlOutput::Borrowed(ValueRef::Real(*number)),
            Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Value::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

impl From<rusqlite::Error> for Error {
    fn from(why: rusqlite::Error) -> Self {
        use ErrorKind::*;
        let text = why.to_string();
        if let rusqlite::Error::ToSqlConversionFailure(_) = why {
            return Error::new(InvalidArgument, text).with_source(why);
        }
        let code = match &why {
            rusqlite::Error::SqliteFailure(failure, _) => Some(*failure),
            rusqlite::Error::SqlInputError { error, .. } => Some(*error),
            _ => None,
        };
        let kind = match code.map(|failure| failure.code) {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Busy,
            Some(ErrorCode::ConstraintViolation) => Constraint,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => PermissionDenied,
            Some(ErrorCode::CannotOpen | ErrorCode::NotADatabase) => ConnectFailed,
            Some(ErrorCode::TooBig) => TooLarge,
            Some(ErrorCode::OutOfMemory) => OutOfResources,
            _ if text.contains("no such table") => NotMigrated,
            _ => Database,
        };
        let message = match kind {
            NotMigrated => format!("{text}: if it is a table of the event stream, run migrate()"),
            _ => text,
        };
        let error = Error::new(kind, message).with_source(why);
        match code {
            Some(failure) => error.with_sql_state(failure.extended_code.to_string()),
            None => error,
        }
    }
}
