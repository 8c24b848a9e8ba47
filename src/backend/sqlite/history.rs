//! The history on SQLite, and what shortens the event table.

use super::{Connection, Reads};
use crate::backend::abilities::Piece;
use crate::backend::{Batch, ReadRange, event_id};
use crate::config::Settings;
use crate::model::error::Result;
use crate::model::event::{Event, EventId, TimeTexts, Timestamp};
use crate::model::ident::Ident;
use rusqlite::{ErrorCode, params};

/// The statements of the history and of discarding, with their table names.
pub(super) struct Sql {
    insert: String,
    reads: Reads,
    end: String,
    bound: String,
    cut: String,
    delete: String,
    expire: String,
    first_since: String,
}

impl Sql {
    pub fn new(settings: &Settings) -> Self {
        let table = settings.history_table.quoted('"');
        let queue = settings.event_table.quoted('"');
        let consumers = settings.consumer_table.quoted('"');
        Sql {
            insert: format!("INSERT INTO {table}(id, type, data, ts) VALUES (?1, ?2, ?3, ?4)"),
            reads: Reads::of(&settings.history_table),
            end: format!("SELECT coalesce(max(id), 0) FROM {table}"),
            bound: format!(
                "SELECT CASE WHEN ?1 IS NULL OR max(ident = ?1) THEN \
                 min(min(last_evt_id), (SELECT max(id) - 1 FROM {queue})) END FROM {consumers}"
            ),
            cut: format!(
                "SELECT max(id), count(*) FROM (SELECT id FROM {queue} WHERE id > ?1 AND id <= ?2 \
                 ORDER BY id LIMIT ?3)"
            ),
            delete: format!("DELETE FROM {queue} WHERE id > ?1 AND id <= ?2"),
            expire: format!(
                "DELETE FROM {consumers} WHERE last_time < datetime('now', '-' || ?1 || \
                 ' seconds') AND ident = ?2"
            ),
            first_since: format!(
                "SELECT min(id) FROM {queue} WHERE CASE typeof(ts) WHEN 'integer' THEN ts \
                 ELSE CAST(strftime('%s', ts) AS INTEGER) END >= ?1"
            ),
        }
    }
}

impl Connection {
    pub fn insert_history(&mut self, events: &[Event]) -> Result<bool> {
        let mut statement = self.inner.prepare_cached(&self.sql.history.insert)?;
        let mut times = TimeTexts::default();
        for event in events {
            let inserted = statement.execute(params![
                event.id as i64,
                event.event_type.as_str(),
                event.data.as_str(),
                times.of(event.ts),
            ]);
            match inserted {
                Err(rusqlite::Error::SqliteFailure(why, _))
                    if why.code == ErrorCode::ConstraintViolation
                        && why.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY =>
                {
                    return Ok(false);
                }
                result => result?,
            };
        }
        Ok(true)
    }

    pub fn read_history(&mut self, range: &ReadRange<'_>) -> Result<Batch> {
        let sql = self.sql.clone();
        self.read_rows(&sql.history.reads, range)
    }

    pub fn history_end(&mut self) -> Result<EventId> {
        let mut statement = self.inner.prepare_cached(&self.sql.history.end)?;
        event_id(statement.query_row([], |row| row.get(0))?)
    }

    pub fn discard_bound(&mut self, archiver: Option<&Ident>) -> Result<EventId> {
        let mut statement = self.inner.prepare_cached(&self.sql.history.bound)?;
        let archiver = archiver.map(Ident::as_str);
        let bound: Option<i64> = statement.query_row([archiver], |row| row.get(0))?;
        event_id(bound.unwrap_or(0).max(0))
    }

    pub fn discard_piece(&mut self, after: EventId, up_to: EventId, limit: usize) -> Result<Piece> {
        let mut statement = self.inner.prepare_cached(&self.sql.history.cut)?;
        let params = params![after as i64, up_to as i64, limit as i64];
        let (cut, count): (Option<i64>, i64) =
            statement.query_row(params, |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Piece::whole(after, event_id(cut.unwrap_or(0))?, event_id(count)?))
    }

    /// Deletes the piece, inside a transaction, if everybody has acknowledged it.
    pub fn delete_piece(&mut self, piece: Piece) -> Result<Option<u64>> {
        if self.discard_bound(None)? < piece.cut {
            return Ok(None);
        }
        let mut statement = self.inner.prepare_cached(&self.sql.history.delete)?;
        Ok(Some(statement.execute([piece.after as i64, piece.cut as i64])? as u64))
    }

    pub fn expire(&mut self, seconds: u64, ident: &str) -> Result<bool> {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        self.write(|| {
            let mut statement = self.inner.prepare_cached(&self.sql.history.expire)?;
            Ok(statement.execute(params![seconds, ident])? > 0)
        })
    }

    pub fn first_since(&mut self, ts: Timestamp) -> Result<Option<EventId>> {
        let mut statement = self.inner.prepare_cached(&self.sql.history.first_since)?;
        let id: Option<i64> = statement.query_row([ts.unix()], |row| row.get(0))?;
        id.map(event_id).transpose()
    }
}
