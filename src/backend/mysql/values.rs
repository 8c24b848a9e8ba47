//! How values and errors of the driver become ours.

use crate::model::error::{Error, ErrorKind};
use crate::model::value::{Rows, Value};
use mysql::prelude::Queryable;
use mysql::{Conn, DriverError, Params, Row, Value as Raw};

pub(super) fn positional(params: &[Value]) -> Params {
    if params.is_empty() {
        return Params::Empty;
    }
    let convert = |value: &Value| match value {
        Value::Null => Raw::NULL,
        Value::Bool(flag) => Raw::Int(i64::from(*flag)),
        Value::Int(number) => Raw::Int(*number),
        Value::Uint(number) => Raw::UInt(*number),
        Value::Real(number) => Raw::Double(*number),
        Value::Text(text) => Raw::Bytes(text.clone().into_bytes()),
        Value::Bytes(bytes) => Raw::Bytes(bytes.clone()),
    };
    Params::Positional(params.iter().map(convert).collect())
}

/// The first result of a query.
pub(super) fn fetch(client: &mut Conn, sql: &str, params: &[Value]) -> mysql::Result<Rows> {
    let mut result = client.exec_iter(sql, positional(params))?;
    let names =
        result.columns().as_ref().iter().map(|column| column.name_str().into_owned()).collect();
    let cells = |row: Row| row.unwrap().into_iter().map(value).collect();
    let rows = result.by_ref().map(|row| row.map(cells)).collect::<mysql::Result<_>>()?;
    Ok(Rows::new(names, rows))
}

pub(super) fn value(raw: Raw) -> Value {
    match raw {
        Raw::NULL => Value::Null,
        Raw::Int(number) => Value::Int(number),
        Raw::UInt(number) => i64::try_from(number).map_or(Value::Uint(number), Value::Int),
        Raw::Float(number) => Value::Real(number.into()),
        Raw::Double(number) => Value::Real(number),
        Raw::Bytes(bytes) => String::from_utf8(bytes)
            .map_or_else(|error| Value::Bytes(error.into_bytes()), Value::Text),
        date => Value::Text(date.as_sql(true).trim_matches('\'').to_owned()),
    }
}

impl From<mysql::Error> for Error {
    fn from(why: mysql::Error) -> Self {
        use mysql::Error::*;
        let kind = match &why {
            // "Parameter ... is longer than 'max_allowed_packet' bytes" has no number of its own.
            MySqlError(error)
                if error.code == 1105 && error.message.contains("max_allowed_packet") =>
            {
                ErrorKind::TooLarge
            }
            MySqlError(error) if is_read_only(error) => ErrorKind::ConnectionLost,
            MySqlError(error) => kind_of(error.code),
            DriverError(error) => match error {
                self::DriverError::PacketTooLarge => ErrorKind::TooLarge,
                self::DriverError::CouldNotConnect(_) => ErrorKind::ConnectFailed,
                self::DriverError::Timeout | self::DriverError::ConnectTimeout => {
                    ErrorKind::Timeout
                }
                self::DriverError::MismatchedStmtParams(..) | self::DriverError::MixedParams => {
                    ErrorKind::InvalidArgument
                }
                _ => ErrorKind::Database,
            },
            IoError(_) | CodecError(_) => ErrorKind::ConnectionLost,
            #[cfg(feature = "tls")]
            TlsError(_) => ErrorKind::ConnectFailed,
            _ => ErrorKind::Database,
        };
        let hint = match &why {
            MySqlError(error) if is_read_only(error) => {
                ": it may be a replica by now, so this connection is given up"
            }
            MySqlError(error) if error.code == 1146 => {
                ": if it is a table of the event stream, run migrate()"
            }
            MySqlError(error) if matches!(error.code, 1366 | 1406 | 3988) => {
                ": if it is a column of the event stream, run migrate(), which widens it"
            }
            _ => "",
        };
        let code = match &why {
            MySqlError(error) => Some(error.code.to_string()),
            _ => None,
        };
        let lasting =
            matches!(&why, MySqlError(error) if matches!(error.code, 1045 | 1049 | 1130 | 1698));
        // Without the names that the driver's types have.
        let text = match &why {
            MySqlError(error) => format!("{} (error {})", error.message, error.code),
            IoError(error) => error.to_string(),
            DriverError(error) => error.to_string(),
            why => why.to_string(),
        };
        let error = Error::new(kind, format!("{text}{hint}")).with_source(why);
        let error = if lasting { error.lasting() } else { error };
        match code {
            Some(code) => error.with_sql_state(code),
            None => error,
        }
    }
}

/// Whether the whole server takes no writes, as a replica does: the address may lead to another one
/// by now. The number 1290 stands for other options, too.
fn is_read_only(error: &mysql::MySqlError) -> bool {
    match error.code {
        1290 => error.message.contains("read-only") || error.message.contains("read_only"),
        1836 | 1874 => true,
        _ => false,
    }
}

/// The server's error numbers; MySQL and MariaDB share them but for the last ones.
fn kind_of(code: u16) -> ErrorKind {
    use ErrorKind::*;
    match code {
        1146 | 1051 => NotMigrated,
        1044 | 1142 | 1143 | 1227 | 1290 | 1370 => PermissionDenied,
        1040 | 1045 | 1049 | 1129 | 1130 | 1203 | 1226 | 1698 => ConnectFailed,
        1205 | 3572 => Busy,
        1213 => Conflict,
        1022 | 1048 | 1062 | 1216 | 1217 | 1451 | 1452 | 1557 | 3819 | 4025 => Constraint,
        1264 | 1265 | 1366 | 1406 | 3140 | 3988 => InvalidData,
        1118 | 1153 | 3157 => TooLarge,
        1053 | 1077 | 1079 | 1152 | 1158..=1161 | 1184 | 1927 | 3169 | 4031 => ConnectionLost,
        1317 | 1969 | 3024 => Timeout,
        _ => Database,
    }
}
