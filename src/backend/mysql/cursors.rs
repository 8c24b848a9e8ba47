//! Cursors on MySQL and MariaDB, and what identifies the life of the stream.

use super::Connection;
use crate::backend::cursors::{Cursor, Marks, Move};
use crate::config::{Settings, TableName};
use crate::model::error::{Result, fail};
use crate::model::event::EventId;
use crate::model::ident::Ident;
use crate::model::life::{Life, hash};
use mysql::prelude::Queryable;

/// The statements of cursors, with their table names.
pub(super) struct Sql {
    advance: String,
    advance_marked: String,
    cursor: String,
    cursor_marked: String,
    set_back: String,
    life: String,
    consumers: TableName,
    pub marks: Marks,
}

impl Sql {
    pub fn new(settings: &Settings, database: &str) -> Self {
        let consumers = settings.consumer_table.quoted('`');
        let queue = settings.event_table.quoted('`');
        // Exact, also where the column's collation ignores case; the first half uses the index.
        let exactly = "ident = ? AND ident = ? COLLATE utf8mb4_bin";
        // LAST_INSERT_ID(x) brings x back in the same round trip, 0 if a trigger of the table hides it.
        // The columns change one after the other; nothing is written where the cursor is before what the
        // caller knows of.
        let advance = |mark: &str| {
            format!(
                "UPDATE {consumers} SET {mark}last_time = IF(last_evt_id < ? OR last_time < \
                 UTC_TIMESTAMP() - INTERVAL 10 SECOND, UTC_TIMESTAMP(), last_time), \
                 last_evt_id = LAST_INSERT_ID(1 + IF(last_evt_id < ?, last_evt_id, \
                 GREATEST(last_evt_id, ?))) - 1 WHERE {exactly}"
            )
        };
        let mut table = settings.consumer_table.clone();
        table.schema.get_or_insert_with(|| database.to_owned());
        Sql {
            advance: advance(""),
            advance_marked: advance("mark = IF(last_evt_id >= ? AND last_evt_id < ?, ?, mark), "),
            cursor: format!("SELECT last_evt_id, NULL FROM {consumers} WHERE {exactly}"),
            cursor_marked: format!("SELECT last_evt_id, mark FROM {consumers} WHERE {exactly}"),
            set_back: format!(
                "UPDATE {consumers} SET last_evt_id = ? WHERE {exactly} AND last_evt_id = ?"
            ),
            life: format!(
                "SELECT GREATEST(COALESCE((SELECT MAX(id) FROM {queue}), 0), \
                 COALESCE(t.AUTO_INCREMENT - 1, 0)), CAST(t.CREATE_TIME AS CHAR), \
                 (SELECT CAST(CONCAT_WS('/', c.COLUMN_TYPE, c.CHARACTER_SET_NAME) AS CHAR) FROM \
                 information_schema.COLUMNS c WHERE c.TABLE_SCHEMA = t.TABLE_SCHEMA \
                 AND c.TABLE_NAME = t.TABLE_NAME AND c.COLUMN_NAME = 'data') \
                 FROM information_schema.TABLES t WHERE t.TABLE_SCHEMA = ? AND t.TABLE_NAME = ?"
            ),
            consumers: table,
            marks: Marks::default(),
        }
    }
}

impl Connection {
    pub fn advance(&mut self, ident: &Ident, to: &Move) -> Result<Option<EventId>> {
        self.check_server()?;
        let all = self.sql.clone();
        let sql = &all.cursors;
        let (name, Move { to: next, known, mark }) = (ident.as_str(), to);
        let done = match mark {
            Some(mark) if self.has_marks()? => self
                .client
                .exec_drop(&sql.advance_marked, (known, next, mark, next, known, next, name, name)),
            _ => self.client.exec_drop(&sql.advance, (next, known, next, name, name)),
        };
        done.inspect_err(|_| sql.marks.forget())?;
        self.committed()?;
        let (found, answer) = (self.client.affected_rows() > 0, self.client.last_insert_id());
        match answer {
            0 if found => {
                let row: Option<(EventId, Option<String>)> =
                    self.client.exec_first(&sql.cursor, (name, name))?;
                Ok(row.map(|(id, _)| id))
            }
            _ => Ok(found.then(|| answer.saturating_sub(1))),
        }
    }

    /// Whether the table of consumers has the column.
    fn has_marks(&mut self) -> Result<bool> {
        let all = self.sql.clone();
        let table = &all.cursors.consumers;
        all.cursors.marks.get(|| {
            let count: Option<u64> = self.client.exec_first(
                "SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND \
                 TABLE_NAME = ? AND COLUMN_NAME = 'mark'",
                (&table.schema, &table.name),
            )?;
            Ok(count.unwrap_or(0) > 0)
        })
    }

    pub fn cursor(&mut self, ident: &Ident) -> Result<Option<Cursor>> {
        self.check_server()?;
        let all = self.sql.clone();
        all.cursors.marks.forget();
        let sql = match self.has_marks()? {
            true => &all.cursors.cursor_marked,
            false => &all.cursors.cursor,
        };
        let row: Option<(EventId, Option<String>)> =
            self.client.exec_first(sql, (ident.as_str(), ident.as_str()))?;
        Ok(row.map(|(id, mark)| Cursor::new(id, mark.as_deref())))
    }

    pub fn idents(&mut self) -> Result<Vec<String>> {
        let sql = format!("SELECT ident FROM {}", self.sql.cursors.consumers.quoted('`'));
        Ok(self.client.query(sql)?)
    }

    pub fn set_back(&mut self, ident: &Ident, from: EventId, to: EventId) -> Result<bool> {
        self.check_server()?;
        let all = self.sql.clone();
        let name = ident.as_str();
        self.client.exec_drop(&all.cursors.set_back, (to, name, name, from))?;
        self.committed()?;
        Ok(self.client.affected_rows() > 0)
    }

    pub fn was_asked(&self) -> bool {
        self.life.is_some()
    }

    /// One round trip, but for the first time.
    pub fn life(&mut self) -> Result<Life> {
        let place = match self.life {
            Some(place) => place,
            None => {
                // MySQL would answer from a cache that is a day old; MariaDB has no such variable.
                let fresh = "SET SESSION information_schema_stats_expiry = 0";
                match self.client.query_drop(fresh) {
                    Err(mysql::Error::MySqlError(why)) if why.code == 1193 => {}
                    result => result?,
                }
                let ask = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', \
                           'server_uid')";
                let rows: Vec<(String, String)> = self.client.query(ask)?;
                *self.life.insert(hash(0, rows.first().map_or("", |(_, id)| id)))
            }
        };
        let all = self.sql.clone();
        let row: Option<(EventId, Option<String>, Option<String>)> =
            self.client.exec_first(&all.cursors.life, (&all.table.schema, &all.table.name))?;
        let Some((allocated, created, form)) = row else {
            fail!(NotMigrated, "there is no table {}: run migrate()", all.table);
        };
        let digest = |text: Option<String>| hash(0, text.as_deref().unwrap_or_default());
        Ok(Life { allocated, place, made: 0, moved: digest(created), form: digest(form) })
    }
}
