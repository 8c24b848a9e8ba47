//! PostgreSQL: ids are allocated from a sequence, seen at commit. READ COMMITTED throughout.

mod abilities;
mod check;
mod connect;
mod cursors;
mod dial;
pub(crate) mod doctor;
mod evidence;
mod history;
pub(crate) mod lease;
pub(crate) mod session;
mod sql;
mod statements;
mod values;
mod verify;
mod watch;

use crate::backend::ids::{FREE_ID_TRIES, no_consumer_id};
use crate::backend::session::{first_word, transaction_ended};
use crate::backend::{
    Batch, ConsumerRow, DatabaseKind, ReadRange, StreamRow, above_limit, event_id, within_limit,
};
use crate::config::TableName;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::{
    Event, EventData, EventId, EventType, NewEvent, Timestamp, UnreadableEvent,
};
use crate::model::ident::Ident;
use crate::model::value::{Rows, Value};
use crate::sync::line::Line;
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::ToSql;
use postgres::{Client, Row, SimpleQueryMessage, Statement};
use sql::{ABOVE_LIMIT, Sql, read_sql, returning_id};
use statements::typed;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use values::{EPOCH, Micros, RawBytes, RawText, Text};

pub(crate) use connect::Connector;
pub(crate) use watch::Watch;

/// Whether the end of this thread has come so far that what the driver keeps for each thread is gone.
#[cfg(feature = "capi")]
pub(crate) fn thread_is_ending() -> bool {
    let gone = |why: tokio::runtime::TryCurrentError| why.is_thread_local_destroyed();
    tokio::runtime::Handle::try_current().is_err_and(gone)
}

/// The error of an insert, which says so where the id was the reason.
fn insert_error(error: Error, table: &TableName) -> Error {
    let by_id = error.sql_state() == Some("22P02") && error.message().contains(ABOVE_LIMIT);
    if by_id { above_limit(table) } else { error }
}

/// One open connection.
pub(crate) struct Connection {
    client: Client,
    sql: Arc<Sql>,
    prepared: HashMap<String, Statement>,
    /// What is known of the event table, from the first insert on.
    target: Option<Arc<Target>>,
    /// The statement that discards is prepared.
    discards: bool,
    /// The sequence of the ids, as it was when the life was looked at.
    life: Option<String>,
    in_transaction: bool,
    /// When the server was last seen to keep the order.
    checked: Option<Instant>,
    /// What makes the settings of its session.
    settings: Arc<str>,
    line: Arc<Line>,
    /// A pooler in transaction mode is between: each transaction may meet another session.
    pooled: bool,
    /// What marks the session as ours; empty behind such a pooler.
    mark: String,
}

impl Drop for Connection {
    /// The driver says good-bye next, to a server that may hang.
    fn drop(&mut self) {
        self.line.last_words();
    }
}

/// What an insert must know of the event table as it is on this server.
struct Target {
    /// Whether the role may read the ids it draws.
    returning: bool,
    /// The sequence of the ids.
    sequence: String,
    /// The insert of many rows, with casts to the types of the columns.
    insert_many: String,
}

const MAX_PREPARED: usize = 100;

/// Whether the transaction is the one that `begin` has started.
const IS_OPEN: &str = "coalesce(current_setting('fes.transaction', true), '') = 'open'";

impl Connection {
    /// How long its calls may take.
    pub fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// The driver's connection, for looks.
    pub fn driver(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Runs `work`, and once more where a column was altered since its statements were prepared.
    /// In a transaction, which such a failure dooms, the caller has to start again.
    fn afresh<T>(&mut self, work: impl Fn(&mut Self) -> Result<T>) -> Result<T> {
        let error = match work(self) {
            Err(error) if matches!(error.sql_state(), Some("0A000" | "42804")) => error,
            result => return result,
        };
        self.prepared.clear();
        self.target = None;
        if self.in_transaction { Err(error.with_kind(ErrorKind::Conflict)) } else { work(self) }
    }

    /// Runs one of our statements; a missing privilege is named as `grant`.
    fn run(
        &mut self,
        sql: &str,
        params: Params<'_>,
        grant: impl FnOnce() -> String,
    ) -> Result<Vec<Row>> {
        let queue = self.sql.queue.clone();
        self.fetch(sql, params).map_err(|error| match error.message().contains("row-level") {
            true => self.explain_hidden(error, &queue),
            false => name_grant(error, grant),
        })
    }

    pub fn ping(&mut self) -> Result<()> {
        Ok(self.client.check_connection()?)
    }

    /// The setting lives as long as this transaction, and neither in a later one nor in the next one
    /// of a chain: so it tells whether the transaction is still this one.
    pub fn begin(&mut self) -> Result<()> {
        self.client.batch_execute(match self.pooled {
            false => "BEGIN; SET LOCAL fes.transaction = 'open'",
            // The session has the settings of whoever was there before.
            true => {
                "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL fes.transaction = \
                 'open'; SET LOCAL row_security = off; SET LOCAL timezone = 'UTC'"
            }
        })?;
        self.in_transaction = true;
        Ok(())
    }

    /// A transaction in which a statement failed would answer COMMIT with a silent rollback, and one
    /// that the caller's own SQL has ended with a warning: the statement before it fails then.
    pub fn commit(&mut self) -> Result<()> {
        let sql = format!("SELECT 1 / ({IS_OPEN})::int; COMMIT");
        let committed = self.client.simple_query(&sql).map_err(Error::from);
        if let Err(error) = committed {
            return Err(match error.sql_state() {
                Some(state) if state == SqlState::IN_FAILED_SQL_TRANSACTION.code() => {
                    error.context("nothing was committed, because a statement failed before")
                }
                Some(state) if state == SqlState::DIVISION_BY_ZERO.code() => transaction_ended(),
                _ => error,
            });
        }
        self.in_transaction = false;
        Ok(())
    }

    /// Whether the transaction of `begin` was ended by this statement of the caller's, which
    /// succeeded. The server is asked only after statements that can do that.
    pub fn has_ended_transaction(&mut self, sql: &str) -> Result<bool> {
        let may_end = ["commit", "end", "rollback", "abort", "prepare", "begin", "start"];
        if !may_end.contains(&first_word(sql).as_str()) {
            return Ok(false);
        }
        let answer = self.client.simple_query(&format!("SELECT {IS_OPEN}"))?;
        let open = answer.iter().any(
            |message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("t")),
        );
        Ok(!open)
    }

    pub fn rollback(&mut self) -> Result<()> {
        self.client.batch_execute("ROLLBACK")?;
        self.in_transaction = false;
        Ok(())
    }

    /// The server itself refuses whatever comes after a failure.
    pub fn is_in_transaction(&mut self) -> bool {
        true
    }

    pub fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|value| value as _).collect();
        self.afresh(|connection| connection.touch(sql, &params))
    }

    pub fn query(&mut self, sql: &str, params: &[Value]) -> Result<Rows> {
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|value| value as _).collect();
        let rows = self.afresh(|connection| connection.fetch(sql, &params))?;
        let columns = self.column_names(sql, &rows)?;
        let rows = rows
            .iter()
            .map(|row| (0..row.len()).map(|index| Ok(row.try_get(index)?)).collect())
            .collect::<Result<_>>()?;
        Ok(Rows::new(columns, rows))
    }

    pub fn execute_batch(&mut self, sql: &str) -> Result<()> {
        Ok(self.client.batch_execute(sql)?)
    }

    pub fn insert_event(&mut self, event: &NewEvent) -> Result<EventId> {
        let inserted = self.afresh(|connection| connection.try_insert(event));
        inserted.map_err(|error| insert_error(error, &self.sql.table))
    }

    fn try_insert(&mut self, event: &NewEvent) -> Result<EventId> {
        let target = self.target()?;
        let sql = self.sql.clone();
        let params: Params<'_> = &[&Text(event.event_type.as_str()), &Text(event.data.as_str())];
        let rows = if target.returning {
            self.run(&sql.insert_returning, params, || target.grant(&sql))?
        } else {
            self.run(&sql.insert, params, || target.grant(&sql))?;
            self.run("SELECT currval($1::text::regclass)", &[&target.sequence], String::new)?
        };
        let id = first_id(&rows)?;
        if !within_limit(&[id]) {
            // A role that may not read what it wrote cannot be kept from it in the statement; `migrate`
            // keeps the sequence from giving such an id.
            return Err(above_limit(&sql.table)
                .context(format!("id {id} was allocated, and stays until somebody deletes it")));
        }
        Ok(id)
    }

    /// Whether [`insert_events`](Self::insert_events) is a single statement.
    pub fn inserts_at_once(&mut self) -> Result<bool> {
        Ok(self.target()?.returning)
    }

    pub fn insert_events<E: Borrow<NewEvent>>(&mut self, events: &[E]) -> Result<Vec<EventId>> {
        let inserted = self.afresh(|connection| connection.try_insert_many(events));
        inserted.map_err(|error| insert_error(error, &self.sql.table))
    }

    fn try_insert_many<E: Borrow<NewEvent>>(&mut self, events: &[E]) -> Result<Vec<EventId>> {
        let target = self.target()?;
        let events = events.iter().map(E::borrow);
        if !target.returning {
            return events.map(|event| self.try_insert(event)).collect();
        }

        let types: Vec<&str> = events.clone().map(|event| event.event_type.as_str()).collect();
        let data: Vec<&str> = events.map(|event| event.data.as_str()).collect();
        let sql = self.sql.clone();
        let rows = self.run(&target.insert_many, &[&types, &data], || target.grant(&sql))?;
        let mut ids =
            rows.iter().map(|row| event_id(row.try_get(0)?)).collect::<Result<Vec<_>>>()?;
        // Allocated one after the other by this statement, so in order they belong to the events.
        ids.sort_unstable();
        Ok(ids)
    }

    fn target(&mut self) -> Result<Arc<Target>> {
        if let Some(target) = &self.target {
            return Ok(target.clone());
        }
        let queue = self.sql.queue.clone();
        let rows = self.fetch(
            "SELECT has_column_privilege($1::text, 'id', 'SELECT'), \
             coalesce(pg_get_serial_sequence($1::text, 'id'), ''), \
             (SELECT format_type(atttypid, NULL) FROM pg_attribute \
              WHERE attrelid = $1::text::regclass AND attname = 'type'), \
             (SELECT format_type(atttypid, NULL) FROM pg_attribute \
              WHERE attrelid = $1::text::regclass AND attname = 'data')",
            &[&queue],
        )?;
        let row = first(&rows)?;
        let (type_type, data_type): (String, String) = (row.try_get(2)?, row.try_get(3)?);
        let target = Arc::new(Target {
            returning: row.try_get(0)?,
            sequence: row.try_get(1)?,
            insert_many: format!(
                "INSERT INTO {queue}(type, data, ts) SELECT t::{type_type}, d::{data_type}, \
                 clock_timestamp() AT TIME ZONE 'UTC' \
                 FROM unnest($1::text[], $2::text[]) AS e(t, d) {}",
                returning_id()
            ),
        });
        self.target = Some(target.clone());
        Ok(target)
    }

    pub fn register(&mut self, ident: &Ident, cursor: EventId) -> Result<()> {
        let sql = self.sql.clone();
        let grant =
            || format!("SELECT, INSERT on {} and USAGE on its sequence", sql.consumers_table);
        let mut result = self.run(&sql.register, &[&ident.as_str(), &(cursor as i64)], grant);
        for _ in 0..FREE_ID_TRIES {
            match result {
                // The sequence, or the column, is at its end; or somebody took the free id.
                Err(error) if matches!(error.sql_state(), Some("2200H" | "22003" | "23505")) => {
                    let params: Params<'_> = &[&ident.as_str(), &(cursor as i64)];
                    result = self.run(&sql.register_free, params, grant);
                }
                Err(error) if error.sql_state() == Some("23502") => {
                    return Err(no_consumer_id(error));
                }
                result => return result.map(|_| ()),
            }
        }
        result.map(|_| ())
    }

    pub fn unregister(&mut self, ident: &Ident) -> Result<bool> {
        let sql = self.sql.clone();
        let grant = || format!("SELECT, DELETE on {}", sql.consumers_table);
        let count = self.touch(&sql.unregister, &[&ident.as_str()]);
        Ok(count.map_err(|error| name_grant(error, grant))? > 0)
    }

    pub fn read(&mut self, range: &ReadRange<'_>) -> Result<Batch> {
        self.check_server()?;
        let sql = self.sql.clone();
        self.read_rows(&sql.read, &sql.read_want, &sql.queue, range).map_err(check::of_standby)
    }

    /// Reads events of a table by one of two statements, without and with a filter.
    fn read_rows(
        &mut self,
        all: &str,
        filtered: &str,
        table: &str,
        range: &ReadRange<'_>,
    ) -> Result<Batch> {
        let (after, up_to, limit) = range.bounds();
        let names: Vec<&str>;
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&after, &up_to, &limit];
        let text = match range.types() {
            None => all,
            Some(types) => {
                names = types.iter().map(EventType::as_str).collect();
                params.push(&names);
                filtered
            }
        };
        let read = |connection: &mut Self| -> Result<Batch> {
            let mut rows = if connection.pooled {
                connection.client.query_typed_raw(text, typed(&params))?
            } else {
                let statement = connection.statement(text)?;
                connection.client.query_raw(&statement, params.iter().copied())?
            };
            let mut batch = Batch::default();
            while batch.wants_more(range) {
                let Some(row) = rows.next()? else { break };
                batch.push(range, event(&row))?;
            }
            Ok(batch)
        };
        self.afresh(read).map_err(|error| match error.message().contains("row-level") {
            true => self.explain_hidden(error, table),
            false => name_grant(error, || format!("SELECT on {table}")),
        })
    }

    pub fn highest_allocated(&mut self) -> Result<EventId> {
        let sql = self.sql.clone();
        let find = "SELECT pg_get_serial_sequence($1::text, 'id')";
        let rows = self.run(find, &[&sql.queue], String::new)?;
        let sequence: Option<String> = first(&rows)?.try_get(0)?;
        let Some(sequence) = sequence else { return Err(no_sequence(&sql.queue)) };
        let allocated = format!("SELECT {} FROM {sequence}", watch::ALLOCATED);
        let rows = self.run(&allocated, &[], || format!("SELECT on {sequence}"))?;
        first_id(&rows)
    }

    pub fn consumers(&mut self) -> Result<Vec<ConsumerRow>> {
        let sql = self.sql.clone();
        let grant = || format!("SELECT on {} and {}", sql.consumers_table, sql.queue);
        let rows = self.run(&sql.consumers, &[], grant)?;
        rows.iter()
            .map(|row| {
                Ok(ConsumerRow {
                    ident: row.try_get(0)?,
                    last_id: event_id(row.try_get(1)?)?,
                    registered: row.try_get(2)?,
                    seen: row.try_get(3)?,
                    behind: event_id(row.try_get(4)?)?,
                    oldest: row.try_get(5)?,
                })
            })
            .collect()
    }

    pub fn stream_row(&mut self) -> Result<StreamRow> {
        let rows = self.fetch("SELECT extract(epoch FROM now())::bigint", &[])?;
        Ok(StreamRow { now: first(&rows)?.try_get(0)?, highest: self.highest_allocated()? })
    }
}

impl Target {
    fn grant(&self, sql: &Sql) -> String {
        format!("INSERT on {} and USAGE on {}", sql.queue, self.sequence)
    }
}

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

fn no_sequence(queue: &str) -> Error {
    Error::new(
        ErrorKind::UnsafeServer,
        format!(
            "the ids of {queue} are not allocated from a sequence that the column owns: run migrate()"
        ),
    )
}

/// Names the privilege that helps against a refusal.
fn name_grant(error: Error, grant: impl FnOnce() -> String) -> Error {
    if error.kind() != ErrorKind::PermissionDenied {
        return error;
    }
    match grant() {
        grant if grant.is_empty() => error,
        grant => error.context(format!("the database user needs {grant}")),
    }
}

fn first(rows: &[Row]) -> Result<&Row> {
    rows.first().ok_or_else(|| Error::new(ErrorKind::Internal, "the server returned no row"))
}

fn first_id(rows: &[Row]) -> Result<EventId> {
    event_id(first(rows)?.try_get(0)?)
}

/// Adds an event on any client of the driver, the caller's own too.
pub(crate) fn insert_event<C: postgres::GenericClient>(
    client: &mut C,
    table: &TableName,
    event: &NewEvent,
) -> Result<EventId> {
    let sql = format!("{} {}", DatabaseKind::Postgres.insert_sql(table), returning_id());
    let row = client
        .query_one(&sql, &[&Text(event.event_type.as_str()), &Text(event.data.as_str())])
        .map_err(|why| {
            let queue = table.quoted('"');
            let grant = || format!("INSERT and SELECT (id) on {queue}, and USAGE on its sequence");
            insert_error(name_grant(why.into(), grant), table)
        })?;
    event_id(row.try_get(0)?)
}

fn event(row: &Row) -> Result<Event> {
    let id = event_id(row.try_get(0)?)?;
    let Ok(RawText(event_type)) = row.try_get(1) else { return Err(unreadable(id, row, "type")) };
    let Ok(RawText(data)) = row.try_get(2) else { return Err(unreadable(id, row, "data")) };
    let ts = row.try_get(3).ok().and_then(|Micros(micros)| {
        Timestamp::from_unix(micros.div_euclid(1_000_000).saturating_add(EPOCH))
    });
    let Some(ts) = ts else { return Err(unreadable(id, row, "ts")) };
    let (event_type, data) = (EventType::stored(event_type), EventData::stored(data.to_owned()));
    Ok(Event { id, event_type, data, ts })
}

fn unreadable(id: EventId, row: &Row, column: &'static str) -> Error {
    let bytes = |index| {
        row.try_get::<_, Option<RawBytes<'_>>>(index)
            .ok()
            .flatten()
            .map(|RawBytes(raw)| raw.to_vec())
    };
    let ts = match row.try_get::<_, Option<Micros>>(3) {
        Ok(Some(Micros(i64::MAX))) => "infinity".to_owned(),
        Ok(Some(Micros(i64::MIN))) => "-infinity".to_owned(),
        Ok(Some(Micros(micros))) => format!("{micros} microseconds after 2000-01-01"),
        Ok(None) => "NULL".to_owned(),
        Err(_) => bytes(3).unwrap_or_default().escape_ascii().to_string(),
    };
    UnreadableEvent { id, column, event_type: bytes(1), data: bytes(2), ts }.error()
}
