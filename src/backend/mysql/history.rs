//! The history on MySQL and MariaDB, and what shortens the event table.

use super::Connection;
use crate::backend::abilities::Abilities;
use crate::backend::abilities::Piece;
use crate::backend::{Batch, ReadRange};
use crate::config::Settings;
use crate::model::error::{Result, fail};
use crate::model::event::{Event, EventId, TimeTexts, Timestamp};
use crate::model::ident::Ident;
use mysql::prelude::Queryable;
use mysql::{Params, Value as Raw};

/// Rows of one INSERT; full ones share one prepared statement.
const ROWS: usize = 250;

/// A statement stays below this, and below half of what the server accepts.
const MAX_BYTES: usize = 4 << 20;

/// The statements of the history and of discarding, with their table names.
pub(super) struct Sql {
    insert: String,
    read: String,
    end: String,
    bound: String,
    archiver: String,
    bound_locked: String,
    pub(super) any_event: String,
    cut: String,
    delete: String,
    expire: String,
    first_since: String,
}

impl Sql {
    pub fn new(settings: &Settings) -> Self {
        let table = settings.history_table.quoted('`');
        let queue = settings.event_table.quoted('`');
        let consumers = settings.consumer_table.quoted('`');
        let exactly = "ident = ? AND ident = ? COLLATE utf8mb4_bin";
        let stale = "last_time < UTC_TIMESTAMP() - INTERVAL ? SECOND";
        Sql {
            insert: format!("INSERT INTO {table}(id, type, data, ts) VALUES "),
            read: format!("SELECT id, type, data, ts FROM {table} WHERE id > ? AND id <= ?"),
            end: format!("SELECT COALESCE(MAX(id), 0) FROM {table}"),
            bound: format!(
                "SELECT CAST(LEAST(MIN(last_evt_id), (SELECT MAX(id) - 1 FROM {queue})) AS \
                 UNSIGNED) FROM {consumers}"
            ),
            archiver: format!("SELECT 1 FROM {consumers} WHERE {exactly}"),
            bound_locked: format!(
                "SELECT last_evt_id FROM {consumers} ORDER BY last_evt_id LIMIT 1 \
                 LOCK IN SHARE MODE"
            ),
            any_event: format!("SELECT id FROM {queue} LIMIT 1"),
            cut: format!(
                "SELECT MAX(id), COUNT(*) FROM (SELECT id FROM {queue} WHERE id > ? AND id <= ? \
                 ORDER BY id LIMIT ?) oldest"
            ),
            delete: format!("DELETE FROM {queue}"),
            expire: format!("DELETE FROM {consumers} WHERE {exactly} AND {stale}"),
            first_since: format!("SELECT MIN(id) FROM {queue} WHERE ts >= ?"),
        }
    }
}

impl Connection {
    pub fn insert_history(&mut self, events: &[Event]) -> Result<bool> {
        self.refuse_replica()?;
        let limit = self.limits()?.max_allowed_packet;
        let limit_bytes = MAX_BYTES.min(limit / 2);
        let mut rest = events;
        while let Some(first) = rest.first() {
            let size = first.data.as_str().len();
            if size + 1024 > limit {
                fail!(
                    TooLarge,
                    "the data of event {} has {size} bytes, more than the warehouse accepts: its \
                     max_allowed_packet is {limit}",
                    first.id
                );
            }
            let mut bytes = 0;
            let fitting = rest.iter().take(ROWS).take_while(|event| {
                bytes += event.data.as_str().len() + 64;
                bytes <= limit_bytes
            });
            let (now, later) = rest.split_at(fitting.count().max(1));
            if !self.insert_rows(now)? {
                return Ok(false);
            }
            rest = later;
        }
        Ok(true)
    }

    fn insert_rows(&mut self, events: &[Event]) -> Result<bool> {
        // CONVERT: a kept statement would keep the character set that the column had before.
        let row = "(?, ?, CONVERT(? USING utf8mb4), ?)";
        let more = format!(", {row}").repeat(events.len() - 1);
        let sql = format!("{}{row}{more}", self.sql.history.insert);
        let mut times = TimeTexts::default();
        let params = events.iter().flat_map(|event| {
            [
                Raw::from(event.id),
                event.event_type.as_str().into(),
                event.data.as_str().into(),
                times.of(event.ts).into(),
            ]
        });
        match self.client.exec_drop(&sql, Params::Positional(params.collect())) {
            Err(mysql::Error::MySqlError(why)) if why.code == 1062 => Ok(false),
            result => Ok(result.map(|()| true)?),
        }
    }

    pub fn read_history(&mut self, range: &ReadRange<'_>) -> Result<Batch> {
        let sql = self.sql.clone();
        self.read_rows(&sql.history.read, range)
    }

    pub fn history_end(&mut self) -> Result<EventId> {
        let sql = self.sql.clone();
        Ok(self.client.query_first(&sql.history.end)?.unwrap_or(0))
    }

    pub fn discard_bound(&mut self, archiver: Option<&Ident>) -> Result<EventId> {
        self.check_server()?;
        let sql = self.sql.clone();
        if let Some(ident) = archiver {
            let name = ident.as_str();
            let found: Option<u8> = self.client.exec_first(&sql.history.archiver, (name, name))?;
            if found.is_none() {
                return Ok(0);
            }
        }
        let bound: Option<Option<u64>> = self.client.query_first(&sql.history.bound)?;
        Ok(bound.flatten().unwrap_or(0))
    }

    pub fn discard_piece(&mut self, after: EventId, up_to: EventId, limit: usize) -> Result<Piece> {
        self.check_server()?;
        let sql = self.sql.clone();
        let row: Option<(Option<u64>, u64)> =
            self.client.exec_first(&sql.history.cut, (after, up_to, limit))?;
        let (cut, count) = row.unwrap_or_default();
        Ok(Piece::whole(after, cut.unwrap_or(0), count))
    }

    /// Deletes, in the transaction that `begin_discard` began and `end_discard` ends; `None`, and it is ended, if
    /// somebody has not acknowledged the piece. With the number of rows as its limit the deletion does not
    /// look at the row behind, which may be one of an open transaction, and locked. The lock is on the lowest
    /// entry of the index of cursors and on the gap below it, into which whoever registers must put
    /// a row: this takes REPEATABLE READ. What others hold is not waited for long: it costs only
    /// another try.
    pub fn delete_piece(&mut self, piece: Piece) -> Result<Option<u64>> {
        let Piece { cut, count, .. } = piece;
        let delete: String = piece
            .statements()
            .map(|(after, cut)| {
                let delete = &self.sql.history.delete;
                format!("{delete} WHERE id > {after} AND id <= {cut} ORDER BY id LIMIT {count}; ")
            })
            .collect();
        let text = format!("{delete}{}", self.sql.history.bound_locked);
        match self.delete_and_bound(&text) {
            Ok((deleted, bound)) if bound >= cut => Ok(Some(deleted)),
            other => {
                Abilities::end_discard(self, piece, false)?;
                other.map(|_| None)
            }
        }
    }

    /// Runs the statements, of which some delete and the last one asks.
    fn delete_and_bound(&mut self, text: &str) -> Result<(u64, EventId)> {
        let mut answers = self.client.query_iter(text)?;
        let (mut deleted, mut bound) = (0, 0);
        while let Some(answer) = answers.iter() {
            deleted += answer.affected_rows();
            for row in answer {
                bound = row?.get(0).unwrap_or(0);
            }
        }
        Ok((deleted, bound))
    }

    pub fn expire(&mut self, seconds: u64, ident: &str) -> Result<bool> {
        self.check_server()?;
        let sql = self.sql.clone();
        self.client.exec_drop(&sql.history.expire, (ident, ident, seconds))?;
        self.committed()?;
        Ok(self.client.affected_rows() > 0)
    }

    pub fn first_since(&mut self, ts: Timestamp) -> Result<Option<EventId>> {
        let sql = self.sql.clone();
        let id: Option<Option<u64>> =
            self.client.exec_first(&sql.history.first_since, (ts.sql_text(),))?;
        Ok(id.flatten())
    }
}
