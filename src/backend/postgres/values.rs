//! How values and errors of the driver become ours.

use crate::model::error::{Error, ErrorKind};
use crate::model::value::Value;
use postgres::types::private::BytesMut;
use postgres::types::{Format, FromSql, IsNull, ToSql, Type};
use std::error::Error as StdError;

/// 2000-01-01, from which PostgreSQL counts, in seconds since 1970.
pub(super) const EPOCH: i64 = 946_684_800;

type BoxError = Box<dyn StdError + Sync + Send>;

/// A text parameter for a column of any type that has a text form (varchar, an enum, json).
#[derive(Debug)]
pub(super) struct Text<'a>(pub &'a str);

impl ToSql for Text<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> std::result::Result<IsNull, BoxError> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    postgres::types::to_sql_checked!();
}

/// A column whose binary form is its text: text, varchar, json, an enum; jsonb after its version.
pub(super) struct RawText<'a>(pub &'a str);

impl<'a> FromSql<'a> for RawText<'a> {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> std::result::Result<Self, BoxError> {
        let raw = if *ty == Type::JSONB { raw.get(1..).unwrap_or_default() } else { raw };
        Ok(RawText(std::str::from_utf8(raw)?))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// The bytes of any column.
pub(super) struct RawBytes<'a>(pub &'a [u8]);

impl<'a> FromSql<'a> for RawBytes<'a> {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> std::result::Result<Self, BoxError> {
        Ok(RawBytes(if *ty == Type::JSONB { raw.get(1..).unwrap_or_default() } else { raw }))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A `timestamp`, with or without time zone: microseconds since 2000.
pub(super) struct Micros(pub i64);

impl<'a> FromSql<'a> for Micros {
    fn from_sql(_: &Type, raw: &'a [u8]) -> std::result::Result<Self, BoxError> {
        Ok(Micros(i64::from_be_bytes(raw.try_into()?)))
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::TIMESTAMP | Type::TIMESTAMPTZ)
    }
}

/// Parameters go as text, so that the server reads them as whatever type the statement wants.
impl ToSql for Value {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> std::result::Result<IsNull, BoxError> {
        let text = match self {
            Value::Null => return Ok(IsNull::Yes),
            Value::Bool(flag) => flag.to_string(),
            Value::Int(number) => number.to_string(),
            Value::Uint(number) => number.to_string(),
            Value::Real(number) => number.to_string(),
            Value::Text(text) => {
                out.extend_from_slice(text.as_bytes());
                return Ok(IsNull::No);
            }
            Value::Bytes(bytes) => {
                bytes.iter().fold(String::from("\\x"), |hex, byte| hex + &format!("{byte:02x}"))
            }
        };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    postgres::types::to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> std::result::Result<Self, BoxError> {
        Ok(match *ty {
            Type::BOOL => Value::Bool(bool::from_sql(ty, raw)?),
            Type::INT2 => Value::Int(i16::from_sql(ty, raw)?.into()),
            Type::INT4 => Value::Int(i32::from_sql(ty, raw)?.into()),
            Type::INT8 => Value::Int(i64::from_sql(ty, raw)?),
            Type::OID => Value::Int(u32::from_sql(ty, raw)?.into()),
            Type::FLOAT4 => Value::Real(f32::from_sql(ty, raw)?.into()),
            Type::FLOAT8 => Value::Real(f64::from_sql(ty, raw)?),
            Type::BYTEA => Value::Bytes(raw.to_vec()),
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::JSON | Type::JSONB => {
                Value::Text(RawText::from_sql(ty, raw)?.0.to_owned())
            }
            _ => {
                return Err(
                    format!("a column of type {ty}: write column::text in the query").into()
                );
            }
        })
    }

    fn from_sql_null(_: &Type) -> std::result::Result<Self, BoxError> {
        Ok(Value::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl From<postgres::Error> for Error {
    fn from(why: postgres::Error) -> Self {
        let Some(db) = why.as_db_error() else {
            if let Some(broken) = broken(&why) {
                return Error::new(ErrorKind::ConnectionLost, broken).with_source(why);
            }
            let reason = why.source().map(|source| format!(": {source}")).unwrap_or_default();
            let transport =
                why.is_closed() || why.source().is_some_and(|s| s.is::<std::io::Error>());
            let kind = if transport { ErrorKind::ConnectionLost } else { ErrorKind::Database };
            let hint = match reason.contains("password missing") {
                true => ": give it in the URL, or by the variable PGPASSWORD; .pgpass is not read",
                false => "",
            };
            return Error::new(kind, format!("{why}{reason}{hint}")).with_source(why);
        };
        let kind = kind_of(db.code().code());
        let detail = db.detail().map(|text| format!(" ({text})")).unwrap_or_default();
        let hint = match kind {
            ErrorKind::UnsafeServer => {
                ": the server is a standby or was made read-only: use the primary \
                 (target_session_attrs=read-write in the URL finds it among several hosts)"
            }
            ErrorKind::NotMigrated => ": if it is a table of the event stream, run migrate()",
            _ => "",
        };
        let message = format!("{}{detail}{hint}", db.message());
        let error = Error::new(kind, message).with_sql_state(db.code().code());
        let code = db.code().code();
        let lasting = code == "3D000" || code.starts_with("28");
        (if lasting { error.lasting() } else { error }).with_source(why)
    }
}

/// What broke a connection that is not made yet: the driver calls all of it a TLS handshake.
fn broken(why: &postgres::Error) -> Option<String> {
    let io = why.source()?.downcast_ref::<std::io::Error>()?;
    let tls = io.get_ref().is_some_and(|_| io.kind() == std::io::ErrorKind::InvalidData);
    (!tls && why.to_string().contains("TLS handshake")).then(|| match io.kind() {
        std::io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
        _ => format!("the connection broke: {io}"),
    })
}

fn kind_of(sql_state: &str) -> ErrorKind {
    use ErrorKind::*;
    match sql_state {
        "42P01" | "3F000" => NotMigrated,
        // A standby: the address may lead to the primary by now.
        "25006" => UnsafeServer,
        "42501" => PermissionDenied,
        "40001" | "40P01" => Conflict,
        "55P03" => Busy,
        "57014" => Timeout,
        "57P01" | "57P02" | "57P03" | "25P03" | "57P05" => ConnectionLost,
        "3D000" | "53300" => ConnectFailed,
        code => match &code[..code.len().min(2)] {
            "08" => ConnectionLost,
            "22" => InvalidData,
            "28" => ConnectFailed,
            "23" => Constraint,
            "54" => TooLarge,
            _ => Database,
        },
    }
}
