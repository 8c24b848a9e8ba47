//! What checks ask of MySQL and MariaDB.

use super::Connection;
use crate::backend::verify::{Cursor, Place, Strays};
use crate::config::{Settings, TableName};
use crate::model::error::Result;
use crate::model::event::{EventId, MAX_EVENT_ID};
use mysql::prelude::Queryable;

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
        let table = table.quoted('`');
        let max = MAX_EVENT_ID;
        let stray = format!("FROM {table} WHERE id < 1 OR id > {max}");
        Ids {
            after: format!(
                "SELECT id FROM {table} WHERE id > ? AND id <= {max} ORDER BY id LIMIT ?"
            ),
            count: format!("SELECT count(*) FROM {table} WHERE id > ? AND id <= {max}"),
            strays: format!("SELECT CAST(id AS CHAR) {stray} ORDER BY {table}.id LIMIT ?"),
            stray_count: format!("SELECT count(*) {stray}"),
        }
    }
}

impl Sql {
    pub fn new(settings: &Settings) -> Self {
        let consumers = settings.consumer_table.quoted('`');
        Sql {
            cursors: format!(
                "SELECT ident, CAST(last_evt_id AS CHAR), \
                 TIMESTAMPDIFF(SECOND, '1970-01-01', reg_time), \
                 TIMESTAMPDIFF(SECOND, '1970-01-01', last_time) FROM {consumers} ORDER BY ident"
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
        let sql = self.sql.clone();
        type Row = (String, String, Option<i64>, Option<i64>);
        let rows: Vec<Row> = self.client.query(&sql.verify.cursors)?;
        let cursor = |(ident, last_id, registered, seen): Row| {
            // A number of 64 bits.
            Cursor { ident, last_id: last_id.parse().unwrap_or(-1), registered, seen }
        };
        Ok(rows.into_iter().map(cursor).collect())
    }

    pub fn ids(&mut self, place: Place, after: EventId, limit: usize) -> Result<Vec<EventId>> {
        let sql = self.sql.clone();
        Ok(self.client.exec(&sql.verify.ids(place).after, (after, limit))?)
    }

    pub fn count_after(&mut self, place: Place, after: EventId) -> Result<u64> {
        let sql = self.sql.clone();
        Ok(self.client.exec_first(&sql.verify.ids(place).count, (after,))?.unwrap_or(0))
    }

    pub fn strays(&mut self, place: Place, limit: usize) -> Result<Strays> {
        let sql = self.sql.clone();
        let sql = sql.verify.ids(place);
        let count = self.client.query_first(&sql.stray_count)?.unwrap_or(0);
        Ok(Strays { count, first: self.first_strays(place, limit)? })
    }

    pub fn first_strays(&mut self, place: Place, limit: usize) -> Result<Vec<String>> {
        let sql = self.sql.clone();
        Ok(self.client.exec(&sql.verify.ids(place).strays, (limit,))?)
    }
}
