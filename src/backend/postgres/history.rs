//! The history on PostgreSQL, and what shortens the event table.

use super::{Connection, first, name_grant, read_sql};
use crate::backend::abilities::Piece;
use crate::backend::{Batch, ReadRange, event_id};
use crate::config::Settings;
use crate::model::error::{Error, Result};
use crate::model::event::{Event, EventId, TimeTexts, Timestamp};
use crate::model::ident::Ident;
use postgres::SimpleQueryMessage;
use postgres::error::SqlState;
use std::io::Write;

/// The statements of the history and of discarding, with their table names.
pub(super) struct Sql {
    table: String,
    copy: String,
    read: String,
    read_want: String,
    end: String,
    bound: String,
    cut: String,
    expire: String,
    first_since: String,
}

impl Sql {
    pub fn new(settings: &Settings) -> Self {
        let table = settings.history_table.quoted('"');
        let queue = settings.event_table.quoted('"');
        let consumers = settings.consumer_table.quoted('"');
        let now = "clock_timestamp() AT TIME ZONE 'UTC'";
        let [read, read_want] = read_sql(&table, "$1");
        Sql {
            copy: format!("COPY {table}(id, type, data, ts) FROM STDIN"),
            read,
            read_want,
            end: format!("SELECT coalesce(max(id), 0)::bigint FROM {table}"),
            // LEAST passes over NULL: without a consumer it would say the end of the queue.
            bound: format!(
                "SELECT CASE WHEN count(*) > 0 AND ($1::text IS NULL OR bool_or(ident = $1::text)) \
                 THEN LEAST(min(last_evt_id), (SELECT max(id) - 1 FROM {queue})) END \
                 FROM {consumers}"
            ),
            cut: format!(
                "SELECT max(id), count(*) FROM (SELECT id FROM {queue} WHERE id > $1 ORDER BY id \
                 LIMIT $3) AS oldest WHERE id <= $2"
            ),
            expire: format!(
                "DELETE FROM {consumers} WHERE last_time < {now} - $1::bigint * interval \
                 '1 second' AND ident = $2 RETURNING 1"
            ),
            first_since: format!("SELECT min(id) FROM {queue} WHERE ts >= $1::text::timestamp"),
            table,
        }
    }
}

impl Connection {
    pub fn insert_history(&mut self, events: &[Event]) -> Result<bool> {
        let sql = self.sql.clone();
        let copied = self.copy_history(&sql.history, events);
        if copied.is_err() {
            // The driver has still to take what the server says about the COPY that it gave up.
            let _ = self.driver().simple_query("");
        }
        match copied.map_err(|e| name_grant(e, || format!("INSERT on {}", sql.history.table))) {
            Err(error) if error.sql_state() == Some(SqlState::UNIQUE_VIOLATION.code()) => Ok(false),
            result => result.map(|()| true),
        }
    }

    fn copy_history(&mut self, sql: &Sql, events: &[Event]) -> Result<()> {
        const PIECE: usize = 64 << 10;
        // Behind a pooler the statement lives and dies with this transaction.
        let statement = match self.pooled {
            false => self.statement(&sql.copy)?,
            true => self.driver().prepare(&sql.copy)?,
        };
        let mut writer = self.driver().copy_in(&statement)?;
        let mut text = Vec::with_capacity(2 * PIECE);
        let mut send = |text: &mut Vec<u8>| {
            let sent = writer.write_all(text);
            text.clear();
            // The server's own error comes with `finish`.
            sent.is_ok()
        };
        let mut times = TimeTexts::default();
        for event in events {
            text.extend_from_slice(event.id.to_string().as_bytes());
            text.push(b'\t');
            escape(&mut text, event.event_type.as_str());
            text.push(b'\t');
            escape(&mut text, event.data.as_str());
            text.push(b'\t');
            text.extend_from_slice(times.of(event.ts).as_bytes());
            text.push(b'\n');
            if text.len() >= PIECE && !send(&mut text) {
                break;
            }
        }
        send(&mut text);
        writer.finish()?;
        Ok(())
    }

    pub fn read_history(&mut self, range: &ReadRange<'_>) -> Result<Batch> {
        let sql = self.sql.clone();
        let sql = &sql.history;
        self.read_rows(&sql.read, &sql.read_want, &sql.table, range)
    }

    pub fn history_end(&mut self) -> Result<EventId> {
        let sql = self.sql.clone();
        let grant = || format!("SELECT on {}", sql.history.table);
        let rows = self.run(&sql.history.end, &[], grant)?;
        event_id(first(&rows)?.try_get(0)?)
    }

    pub fn discard_bound(&mut self, archiver: Option<&Ident>) -> Result<EventId> {
        self.check_server()?;
        let sql = self.sql.clone();
        let archiver = archiver.map(Ident::as_str);
        let grant = || format!("SELECT on {} and {}", sql.consumers_table, sql.queue);
        let rows = self.run(&sql.history.bound, &[&archiver], grant)?;
        let bound = rows.first().map(|row| row.try_get::<_, Option<i64>>(0)).transpose()?.flatten();
        event_id(bound.unwrap_or(0).max(0))
    }

    pub fn discard_piece(&mut self, after: EventId, up_to: EventId, limit: usize) -> Result<Piece> {
        let sql = self.sql.clone();
        let grant = || format!("SELECT on {}", sql.queue);
        let params = (after as i64, up_to as i64, limit as i64);
        let rows = self.run(&sql.history.cut, &[&params.0, &params.1, &params.2], grant)?;
        let row = first(&rows)?;
        let cut: Option<i64> = row.try_get(0)?;
        Ok(Piece::whole(after, event_id(cut.unwrap_or(0))?, event_id(row.try_get(1)?)?))
    }

    /// Deletes, in a transaction that [`end_discard`](Self::end_discard) ends.
    pub fn delete_piece(&mut self, piece: Piece) -> Result<Option<u64>> {
        self.prepare_discard()?;
        let queue = &self.sql.queue;
        let delete: String = piece
            .statements()
            .map(|(after, cut)| match self.pooled {
                false => format!("EXECUTE fes_discard({after}, {cut}); "),
                true => format!("DELETE FROM {queue} WHERE id > {after} AND id <= {cut}; "),
            })
            .collect();
        let text = format!("BEGIN; SET LOCAL plan_cache_mode = force_generic_plan; {delete}");
        let grant = format!("SELECT, DELETE on {queue}");
        self.in_transaction = true;
        let deleted = self.driver().simple_query(&text).map(|answer| {
            let done = answer.iter().filter_map(|message| match message {
                SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
                _ => None,
            });
            done.skip(2).sum() // after BEGIN and SET
        });
        match deleted.map_err(Error::from) {
            Ok(rows) => Ok(Some(rows)),
            Err(error) => {
                self.rollback()?;
                Err(name_grant(error, || grant))
            }
        }
    }

    /// A plan that is made anew would look for the lowest id each time, among all that is deleted.
    fn prepare_discard(&mut self) -> Result<()> {
        if !self.discards && !self.pooled {
            let queue = &self.sql.queue;
            let text = format!(
                "PREPARE fes_discard(bigint, bigint) AS \
                 DELETE FROM {queue} WHERE id > $1 AND id <= $2"
            );
            let grant = format!("SELECT, DELETE on {queue}");
            self.execute_batch(&text).map_err(|error| name_grant(error, || grant))?;
            self.discards = true;
        }
        Ok(())
    }

    pub fn expire(&mut self, seconds: u64, ident: &str) -> Result<bool> {
        let sql = self.sql.clone();
        let grant = || format!("SELECT, DELETE on {}", sql.consumers_table);
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        Ok(!self.run(&sql.history.expire, &[&seconds, &ident], grant)?.is_empty())
    }

    pub fn first_since(&mut self, ts: Timestamp) -> Result<Option<EventId>> {
        let sql = self.sql.clone();
        let grant = || format!("SELECT on {}", sql.queue);
        let rows = self.run(&sql.history.first_since, &[&ts.sql_text()], grant)?;
        first(&rows)?.try_get::<_, Option<i64>>(0)?.map(event_id).transpose()
    }
}

/// Writes a value as the text format of COPY wants it.
fn escape(out: &mut Vec<u8>, text: &str) {
    if !text.bytes().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r' | b'\t')) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.push(byte),
        }
    }
}
