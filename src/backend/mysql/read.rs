//! Reading events.

use super::Connection;
use crate::backend::{Batch, ReadRange, event_id};
use crate::model::error::{Error, Result, fail};
use crate::model::event::{Event, EventData, EventId, EventType, Timestamp, UnreadableEvent};
use mysql::prelude::Queryable;
use mysql::{Params, Row, Value as Raw};

impl Connection {
    pub fn read(&mut self, range: &ReadRange<'_>) -> Result<Batch> {
        self.check_server()?;
        let sql = self.sql.clone();
        self.read_rows(&sql.read, range)
    }

    /// Reads events by a statement without filter and order.
    pub(super) fn read_rows(&mut self, all: &str, range: &ReadRange<'_>) -> Result<Batch> {
        let (after, up_to, limit) = range.bounds();
        let mut sql = all.to_owned();
        let mut params: Vec<Raw> = vec![after.into(), up_to.into()];
        if let Some(types) = range.types() {
            // As bytes: the column's collation may ignore case.
            sql.push_str(" AND CAST(type AS BINARY) IN (?");

            sql.push_str(&", ?".repeat(types.len() - 1));
            sql.push(')');
            params.extend(types.iter().map(|name| Raw::from(name.as_str())));
        }
        sql.push_str(" ORDER BY id LIMIT ?");
        params.push(limit.into());
        let mut batch = Batch::default();
        let mut rows = self.client.exec_iter(&sql, Params::Positional(params))?;
        while batch.wants_more(range) {
            let Some(row) = rows.next() else { break };
            batch.push(range, event(row?))?;
        }
        Ok(batch)
    }
}

fn event(row: Row) -> Result<Event> {
    let mut columns = row.unwrap();
    columns.resize(4, Raw::NULL);
    let id = match columns[0] {
        Raw::UInt(id) => id,
        Raw::Int(id) => event_id(id)?,
        _ => {
            fail!(CorruptEvent, "{} is not an event id: ids are positive", columns[0].as_sql(true))
        }
    };
    let unreadable = |columns: Vec<Raw>, column| Err(unreadable(id, &columns, column));
    let ts = match columns[3] {
        Raw::Date(year, month, day, hour, minute, second, _) => Timestamp::from_parts(
            [year.into(), month.into(), day.into()],
            [hour.into(), minute.into(), second.into()],
        ),
        _ => None,
    };
    let event_type = match &columns[1] {
        Raw::Bytes(bytes) => std::str::from_utf8(bytes).ok().map(EventType::stored),
        _ => None,
    };
    let Some(event_type) = event_type else { return unreadable(columns, "type") };
    let Some(ts) = ts else { return unreadable(columns, "ts") };
    let data = match std::mem::replace(&mut columns[2], Raw::NULL) {
        // The npm package's column allows NULL.
        Raw::NULL => "null".to_owned(),
        Raw::Bytes(bytes) => match String::from_utf8(bytes) {
            Ok(data) => data,
            Err(error) => {
                columns[2] = Raw::Bytes(error.into_bytes());
                return unreadable(columns, "data");
            }
        },
        other => {
            columns[2] = other;
            return unreadable(columns, "data");
        }
    };
    Ok(Event { id, event_type, data: EventData::stored(data), ts })
}

fn unreadable(id: EventId, columns: &[Raw], column: &'static str) -> Error {
    let bytes = |value: &Raw| match value {
        Raw::NULL => None,
        Raw::Bytes(bytes) => Some(bytes.clone()),
        other => Some(other.as_sql(true).into_bytes()),
    };
    let ts = columns[3].as_sql(true).trim_matches('\'').to_owned();
    let (event_type, data) = (bytes(&columns[1]), bytes(&columns[2]));
    UnreadableEvent { id, column, event_type, data, ts }.error()
}
