//! What checks ask of PostgreSQL.

use super::{Connection, Params, first, name_grant};
use crate::backend::event_id;
use crate::backend::verify::{Cursor, Place, Strays};
use crate::config::{Settings, TableName};
use crate::model::error::Result;
use crate::model::event::{EventId, MAX_EVENT_ID};
use postgres::Row;

/// The statements, with their table names.
pub(super) struct Sql {
    consumers: String,
    cursors: String,
    queue: Ids,
    history: Ids,
}

struct Ids {
    table: String,
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
                "SELECT id::bigint FROM {table} WHERE id > $1 AND id <= {max} ORDER BY id LIMIT $2"
            ),
            count: format!("SELECT count(*) FROM {table} WHERE id > $1 AND id <= {max}"),
            strays: format!("SELECT id::text {stray} ORDER BY {table}.id LIMIT $1"),
            stray_count: format!("SELECT count(*) {stray}"),
            table,
        }
    }
}

impl Sql {
    pub fn new(settings: &Settings) -> Self {
        let consumers = settings.consumer_table.quoted('"');
        Sql {
            cursors: format!(
                "SELECT ident, last_evt_id::bigint, floor(extract(epoch FROM reg_time))::bigint, \
                 floor(extract(epoch FROM last_time))::bigint FROM {consumers} ORDER BY ident"
            ),
            consumers,
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
    fn check(&mut self, sql: &str, params: Params<'_>, table: &str) -> Result<Vec<Row>> {
        let rows = self.afresh(|connection| connection.fetch(sql, params));
        rows.map_err(|error| name_grant(error, || format!("SELECT on {table}")))
    }

    pub fn cursors(&mut self) -> Result<Vec<Cursor>> {
        let sql = self.sql.clone();
        let rows = self.check(&sql.verify.cursors, &[], &sql.verify.consumers)?;
        rows.iter()
            .map(|row| {
                let last_id: i64 = row.try_get(1)?;
                let (ident, registered, seen) = (row.try_get(0)?, row.try_get(2)?, row.try_get(3)?);
                Ok(Cursor { ident, last_id: last_id.into(), registered, seen })
            })
            .collect()
    }

    pub fn ids(&mut self, place: Place, after: EventId, limit: usize) -> Result<Vec<EventId>> {
        let sql = self.sql.clone();
        let sql = sql.verify.ids(place);
        let rows = self.check(&sql.after, &[&(after as i64), &(limit as i64)], &sql.table)?;
        rows.iter().map(|row| event_id(row.try_get(0)?)).collect()
    }

    pub fn count_after(&mut self, place: Place, after: EventId) -> Result<u64> {
        let sql = self.sql.clone();
        let sql = sql.verify.ids(place);
        event_id(first(&self.check(&sql.count, &[&(after as i64)], &sql.table)?)?.try_get(0)?)
    }

    pub fn strays(&mut self, place: Place, limit: usize) -> Result<Strays> {
        let sql = self.sql.clone();
        let sql = sql.verify.ids(place);
        let count = self.check(&sql.stray_count, &[], &sql.table)?;
        let count = event_id(first(&count)?.try_get(0)?)?;
        Ok(Strays { count, first: self.first_strays(place, limit)? })
    }

    pub fn first_strays(&mut self, place: Place, limit: usize) -> Result<Vec<String>> {
        let sql = self.sql.clone();
        let sql = sql.verify.ids(place);
        let rows = self.check(&sql.strays, &[&(limit as i64)], &sql.table)?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }
}
