//! What checks ask of SQLite.

use super::Connection;
use crate::backend::event_id;
use crate::backend::verify::{Cursor, Place, Strays};
use crate::config::{Settings, TableName};
use crate::model::error::Result;
use crate::model::event::{EventId, MAX_EVENT_ID};
use rusqlite::params;

/// The statements, with their table names.
pub(super) struct Sql {
    cursors: String,
    queue: Ids,
    history: Ids,
}

struct Ids {
    after: String,
    count: String,
    strays: String,
    stray_count: String,
}

impl Ids {
    fn of(table: &TableName) -> Self {
        let table = table.quoted('"');
        let max = MAX_EVENT_ID;
        let stray = format!("FROM {table} WHERE id < 1 OR id > {max}");
        Ids {
            after: format!(
                "SELECT id FROM {table} WHERE id > ?1 AND id <= {max} ORDER BY id LIMIT ?2"
            ),
            count: format!("SELECT count(*) FROM {table} WHERE id > ?1 AND id <= {max}"),
            strays: format!("SELECT CAST(id AS TEXT) {stray} ORDER BY id LIMIT ?1"),
            stray_count: format!("SELECT count(*) {stray}"),
        }
    }
}

impl Sql {
    pub fn new(settings: &Settings) -> Self {
        let consumers = settings.consumer_table.quoted('"');
        Sql {
            cursors: format!(
                "SELECT ident, last_evt_id, CAST(strftime('%s', reg_time) AS INTEGER), \
                 CAST(strftime('%s', last_time) AS INTEGER) FROM {consumers} ORDER BY ident"
            ),
            queue: Ids::of(&settings.event_table),
            history: Ids::of(&settings.history_table),
        }
    }

    fn ids(&self, place: Place) -> &Ids {
        match place {
            Place::Queue => &self.queue,
            Place::History => &self.history,
        }
    }
}

impl Connection {
    pub fn cursors(&mut self) -> Result<Vec<Cursor>> {
        let mut statement = self.inner.prepare_cached(&self.sql.verify.cursors)?;
        let rows = statement.query_map([], |row| {
            let last_id: i64 = row.get(1)?;
            let (registered, seen) = (row.get(2)?, row.get(3)?);
            Ok(Cursor { ident: row.get(0)?, last_id: last_id.into(), registered, seen })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub fn ids(&mut self, place: Place, after: EventId, limit: usize) -> Result<Vec<EventId>> {
        let mut statement = self.inner.prepare_cached(&self.sql.verify.ids(place).after)?;
        let rows = statement.query_map(params![after as i64, limit as i64], |row| row.get(0))?;
        rows.map(|id| event_id(id?)).collect()
    }

    pub fn count_after(&mut self, place: Place, after: EventId) -> Result<u64> {
        let mut statement = self.inner.prepare_cached(&self.sql.verify.ids(place).count)?;
        let count: i64 = statement.query_row([after as i64], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    pub fn strays(&mut self, place: Place, limit: usize) -> Result<Strays> {
        let sql = self.sql.clone();
        let sql = sql.verify.ids(place);
        let count: i64 = self.inner.query_row(&sql.stray_count, [], |row| row.get(0))?;
        let first = self.first_strays(place, limit)?;
        Ok(Strays { count: count.unsigned_abs(), first })
    }

    pub fn first_strays(&mut self, place: Place, limit: usize) -> Result<Vec<String>> {
        let mut statement = self.inner.prepare_cached(&self.sql.verify.ids(place).strays)?;
        let first = statement.query_map([limit as i64], |row| row.get(0))?;
        Ok(first.collect::<rusqlite::Result<_>>()?)
    }
}
