//! Adding events, on connections of ours and of the caller.

use super::{Connection, Limits};
use crate::backend::{above_limit, within_limit};
use crate::config::TableName;
use crate::model::error::{Error, ErrorKind, Result, fail};
use crate::model::event::{EventId, NewEvent};
use mysql::prelude::Queryable;
use mysql::{Conn, Params, Value as Raw};
use std::borrow::Borrow;

/// Events below this size fit into the smallest packet that servers are set to.
const SURELY_FITS: usize = 512 << 10;

/// The same for statements that are kept: one with a plain `?` would keep the character set that
/// the column had when it was prepared.
pub(super) fn insert_rows_sql(table: &TableName, rows: usize) -> String {
    insert_converted_sql(table, "?", "?", rows)
}

fn insert_converted_sql(table: &TableName, event_type: &str, data: &str, rows: usize) -> String {
    let row = format!("({event_type}, CONVERT({data} USING utf8mb4), UTC_TIMESTAMP())");
    let more = format!(", {row}").repeat(rows.saturating_sub(1));
    format!("INSERT INTO {}(type, data, ts) VALUES {row}{more}", table.quoted('`'))
}

impl Connection {
    pub(super) fn limits(&mut self) -> Result<Limits> {
        if !self.state.is_changed()
            && let Some(limits) = self.limits
        {
            return Ok(limits);
        }
        let row: Option<(usize, u64)> = self
            .client
            .query_first("SELECT @@max_allowed_packet, @@session.auto_increment_increment")?;
        let (max_allowed_packet, auto_increment_increment) = row.unwrap_or((16 << 20, 1));
        let limits = Limits { max_allowed_packet, auto_increment_increment };
        self.limits = Some(limits);
        Ok(limits)
    }

    fn check_size(&mut self, event: &NewEvent) -> Result<()> {
        let size = event.data.as_str().len();
        if size > SURELY_FITS {
            let limit = self.limits()?.max_allowed_packet;
            if size + 1024 > limit {
                fail!(
                    TooLarge,
                    "the data of a {} event has {size} bytes, more than the server accepts: its \
                     max_allowed_packet is {limit}",
                    event.event_type
                );
            }
        }
        Ok(())
    }

    pub fn insert_event(&mut self, event: &NewEvent) -> Result<EventId> {
        self.check_size(event)?;
        self.refuse_replica()?;
        let sql = self.sql.clone();
        if self.state.is_changed() {
            return self.insert_for_caller(event);
        }
        let id = insert_event(&mut self.client, &sql.insert, event)?;
        self.committed()?;
        undo_above_limit(&mut self.client, &sql.table, &[id])?;
        Ok(id)
    }

    /// In a transaction in which the caller has changed the session: it may be as any session of the
    /// caller's own, and a temporary table may stand in front of the event table.
    fn insert_for_caller(&mut self, event: &NewEvent) -> Result<EventId> {
        let sql = self.sql.clone();
        let show = format!("SHOW CREATE TABLE {}", sql.table.quoted('`'));
        // Who may only insert is not shown the table itself, but is shown what it has made.
        let shown = self.client.query_first::<(String, String), _>(&show).map_err(Error::from);
        match shown {
            Ok(Some((_, text))) if text.starts_with("CREATE TEMPORARY") => fail!(
                ForeignSchema,
                "a temporary table of this transaction stands in front of the event table {}: the \
                 event would be lost with it. Drop it, or give it another name",
                sql.table
            ),
            Err(lost) if lost.ends_connection() => return Err(lost),
            _ => {}
        }
        let id = insert_event_for_caller(&mut self.client, &sql.table, event)?;
        self.committed()?;
        Ok(id)
    }

    /// Whether [`insert_events`](Self::insert_events) is a single statement.
    pub fn inserts_at_once(&mut self) -> Result<bool> {
        Ok(true)
    }

    pub fn insert_events<E: Borrow<NewEvent>>(&mut self, events: &[E]) -> Result<Vec<EventId>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        for event in events {
            self.check_size(event.borrow())?;
        }
        self.refuse_replica()?;
        if self.state.is_changed() {
            return events.iter().map(|event| self.insert_for_caller(event.borrow())).collect();
        }
        let sql = insert_rows_sql(&self.sql.table, events.len());
        let params = events
            .iter()
            .map(E::borrow)
            .flat_map(|event| [event.event_type.as_str().into(), event.data.as_str().into()])
            .collect();
        self.client.exec_drop(&sql, Params::Positional(params))?;
        self.committed()?;
        // The server draws the ids of one such statement without others in between.
        let first = self.client.last_insert_id();
        let step = self.limits()?.auto_increment_increment;
        let last = first.saturating_add((events.len() as u64 - 1).saturating_mul(step));
        let ids: Vec<EventId> = (first..=last).step_by(step.max(1) as usize).collect();
        undo_above_limit(&mut self.client, &self.sql.table, &ids)?;
        Ok(ids)
    }
}

/// Adds an event on any connection of the driver, the caller's own too.
pub(crate) fn insert_event<C: Queryable + LastInsertId>(
    client: &mut C,
    sql: &str,
    event: &NewEvent,
) -> Result<EventId> {
    insert_text(client, sql, event, event.data.as_str())
}

fn insert_text<C: Queryable + LastInsertId>(
    client: &mut C,
    sql: &str,
    event: &NewEvent,
    data: &str,
) -> Result<EventId> {
    match client.exec_drop(sql, (event.event_type.as_str(), data)) {
        Ok(()) => Ok(client.last_insert_id()),
        Err(why) => Err(drop_spoilt(client, sql, why)),
    }
}

/// Deletes events that were just added, where an id of them lies above the limit. The server knows
/// the id only when the row is there, so that a crash in between leaves a row; but nobody was told
/// that it was added, and polls and `lag` tell that it is there.
fn undo_above_limit<C: Queryable>(
    client: &mut C,
    table: &TableName,
    ids: &[EventId],
) -> Result<()> {
    if within_limit(ids) {
        return Ok(());
    }
    let places = vec!["?"; ids.len()].join(", ");
    let delete = format!("DELETE FROM {} WHERE id IN ({places})", table.quoted('`'));
    let params = ids.iter().map(|id| Raw::from(*id)).collect();
    match client.exec_drop(&delete, Params::Positional(params)) {
        Ok(()) => Err(above_limit(table)),
        Err(why) => Err(above_limit(table).context(format!(
            "the rows with the ids {ids:?} are there, and cannot be deleted ({why})"
        ))),
    }
}

/// After a parameter above `max_allowed_packet` the server refuses the prepared statement for ever:
/// then the one that the driver keeps is closed.
pub(super) fn drop_spoilt<C: Queryable>(client: &mut C, sql: &str, why: mysql::Error) -> Error {
    let error = Error::from(why);
    if error.kind() == ErrorKind::TooLarge
        && let Ok(statement) = client.prep(sql)
    {
        let _ = client.close(statement);
    }
    error
}

/// Adds an event on a connection of the caller's own. Its session may be one that cuts off what
/// does not fit: then it is made strict for this statement. Or one that takes our text for latin1,
/// or would make latin1 of it: then the text goes there as hexadecimal digits.
pub(crate) fn insert_event_for_caller<C: Queryable + LastInsertId>(
    client: &mut C,
    table: &TableName,
    event: &NewEvent,
) -> Result<EventId> {
    const REFUSED_NULL: &str = "1048";
    const UTF8: &str = "@@character_set_client = 'utf8mb4' AND \
                        @@character_set_connection = 'utf8mb4'";
    let event_type = format!("IF(@@SESSION.sql_mode LIKE '%STRICT%' AND {UTF8}, ?, NULL)");
    let sql = insert_converted_sql(table, &event_type, "?", 1);

    let checked = |client: &mut C, id| undo_above_limit(client, table, &[id]).map(|()| id);
    match insert_event(client, &sql, event) {
        Err(error) if error.sql_state() == Some(REFUSED_NULL) => {}
        result => return result.and_then(|id| checked(client, id)),
    }
    let session: Option<(String, bool)> =
        client.query_first(format!("SELECT @@SESSION.sql_mode, {UTF8}"))?;
    let (mode, utf8) = session.unwrap_or_default();
    client.query_drop("SET SESSION sql_mode = CONCAT(@@SESSION.sql_mode, ',STRICT_ALL_TABLES')")?;
    let result = if utf8 {
        insert_event(client, &insert_rows_sql(table, 1), event)
    } else {
        let digits: String = event.data.as_str().bytes().map(|b| format!("{b:02x}")).collect();
        insert_text(client, &insert_converted_sql(table, "?", "UNHEX(?)", 1), event, &digits)
    };
    client.exec_drop("SET SESSION sql_mode = ?", (mode,))?;
    result.and_then(|id| checked(client, id))
}

/// What a connection and a transaction of the driver have in common besides queries.
pub(crate) trait LastInsertId {
    fn last_insert_id(&self) -> EventId;
}

macro_rules! last_insert_id {
    ($($type:ty),*) => {$(
        impl LastInsertId for $type {
            fn last_insert_id(&self) -> EventId {
                Self::last_insert_id(self).into_id()
            }

        }
    )*};
}
last_insert_id!(Conn, mysql::Transaction<'_>);

/// The driver gives `u64` from a connection and `Option<u64>` from a transaction.
trait IntoId {
    fn into_id(self) -> EventId;
}

impl IntoId for u64 {
    fn into_id(self) -> EventId {
        self
    }
}

impl IntoId for Option<u64> {
    fn into_id(self) -> EventId {
        self.unwrap_or_default()
    }
}
