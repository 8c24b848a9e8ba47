//! The databases: one `enum` over three blocking drivers, and the pool of their connections.
//!
//! This module and its children are the only ones with SQL. Each child is one dialect; what they
//! have in common is the list of operations of [`Connection`]. Nothing here knows of delivery.

pub(crate) mod cursors;
pub(crate) mod doctor;
pub(crate) mod history;
pub(crate) mod lease;
pub(crate) mod migrate;
pub(crate) mod mysql;
pub(crate) mod pool;
pub(crate) mod postgres;
pub(crate) mod reach;
pub(crate) mod session;
mod sigpipe;
pub(crate) mod sqlite;
mod strict_ids;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod verify;
pub(crate) mod write;

use crate::config::url::Location;
use crate::config::{Settings, TableName};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::{
    Event, EventId, EventType, MAX_EVENT_ID, NewEvent, UnreadableEvent, check_json,
};
use crate::model::ident::{Ident, Want};
use crate::model::life::Anchor;
use crate::model::value::{Rows, Value};
pub(crate) use sigpipe::quietly;
use sigpipe::{Quiet, Silence};
use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

/// Which database a stream lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DatabaseKind {
    /// SQLite, compiled into this library.
    Sqlite,
    /// PostgreSQL 13 and later.
    Postgres,
    /// MySQL 8 and later, MariaDB 10.6 and later.
    Mysql,
}

impl DatabaseKind {
    /// The placeholder of the `n`th bound parameter (from 1) in SQL text: `?`, or `$n` on
    /// PostgreSQL.
    ///
    /// ```
    /// use futoin_eventstream::DatabaseKind;
    /// assert_eq!(DatabaseKind::Postgres.placeholder(2), "$2");
    /// assert_eq!(DatabaseKind::Sqlite.placeholder(2), "?");
    /// ```
    pub fn placeholder(self, n: usize) -> String {
        match self {
            DatabaseKind::Postgres => format!("${n}"),
            DatabaseKind::Sqlite | DatabaseKind::Mysql => "?".to_owned(),
        }
    }

    /// The SQL that adds an event, with placeholders for type and data.
    pub(crate) fn insert_sql(self, settings: &Settings) -> String {
        match self {
            DatabaseKind::Sqlite => sqlite::insert_sql(&settings.event_table),
            DatabaseKind::Postgres => postgres::insert_sql(&settings.event_table),
            DatabaseKind::Mysql => mysql::insert_sql(&settings.event_table),
        }
    }
}

/// A database to connect to: what a stream is opened with.
pub(crate) enum Backend {
    Sqlite(sqlite::Connector),
    Postgres(Arc<postgres::Connector>),
    Mysql(Arc<mysql::Connector>),
}

impl Backend {
    pub fn new(location: Location, settings: Arc<Settings>) -> Result<Self> {
        Ok(match location {
            Location::Sqlite(file) => Backend::Sqlite(sqlite::Connector::new(file, settings)?),
            Location::Postgres(server) => {
                Backend::Postgres(Arc::new(postgres::Connector::new(server, settings)?))
            }
            Location::Mysql(server) => {
                Backend::Mysql(Arc::new(mysql::Connector::new(server, settings)))
            }
        })
    }

    pub fn kind(&self) -> DatabaseKind {
        match self {
            Backend::Sqlite(_) => DatabaseKind::Sqlite,
            Backend::Postgres(_) => DatabaseKind::Postgres,
            Backend::Mysql(_) => DatabaseKind::Mysql,
        }
    }

    /// Whether one connection can read while another one commits.
    pub fn reads_beside_writes(&self) -> bool {
        match self {
            Backend::Sqlite(connector) => connector.has_wal(),
            Backend::Postgres(_) | Backend::Mysql(_) => true,
        }
    }

    /// How often new connections have reached another server than those before; connections from
    /// before that are [stale](Connection::is_stale).
    pub fn generation(&self) -> u64 {
        match self {
            Backend::Mysql(connector) => connector.generation(),
            Backend::Sqlite(_) | Backend::Postgres(_) => 0,
        }
    }

    /// A new connection of its own, outside of any pool.
    pub fn connect(&self) -> Result<Connection> {
        let _silence = self.silence();
        Ok(match self {
            Backend::Sqlite(connector) => Connection::Sqlite(connector.connect()?),
            Backend::Postgres(connector) => Connection::Postgres(Quiet::new(connector.connect()?)),
            Backend::Mysql(connector) => Connection::Mysql(Quiet::new(connector.connect()?)),
        })
    }
}

impl Backend {
    /// For work that may go on after a failed write: trying one address after the other, looking.
    fn silence(&self) -> Option<Silence> {
        (self.kind() != DatabaseKind::Sqlite).then(Silence::begin)
    }

    /// The longest time of a call on a server.
    pub fn call_timeout(&self) -> Option<Duration> {
        match self {
            Backend::Sqlite(_) => None,
            Backend::Postgres(connector) => connector.reach.call_timeout(),
            Backend::Mysql(connector) => connector.reach.call_timeout(),
        }
    }

    /// After so long without a sign of life a host is taken for dead; `None` leaves that to the system.
    fn dead_after(&self) -> Option<Duration> {
        match self {
            Backend::Sqlite(_) => None,
            Backend::Postgres(connector) => connector.reach.dead_after(),
            Backend::Mysql(connector) => connector.reach.dead_after(),
        }
    }

    /// Cuts off, after a moment, what hangs in a call on a server, or while connecting to it.
    pub fn close(&self) {
        match self {
            Backend::Sqlite(_) => {}
            Backend::Postgres(connector) => connector.reach.close(),
            Backend::Mysql(connector) => connector.reach.close(),
        }
    }
}

/// The error of adding an event: what MariaDB's type JSON refuses, which is a CHECK without a name of its own,
/// is data that the table cannot hold.
pub(crate) fn of_insert(error: Error) -> Error {
    match error.sql_state() {
        Some("4025") if error.message().contains(".data` failed") => {
            error.with_kind(ErrorKind::InvalidData)
        }
        _ => error,
    }
}

/// Which events to read: ids in `(after, up_to]`, in order, of the wanted types.
#[derive(Clone, Copy)]
pub(crate) struct ReadRange<'a> {
    pub after: EventId,
    pub up_to: EventId,
    pub want: &'a Want,
    /// At most this many events.
    pub limit: usize,
    /// No further event after this many bytes of data.
    pub max_bytes: usize,
    /// Whether a wanted row whose data is no JSON cannot be read.
    pub check_json: bool,
    /// Whether the event `after` itself is looked at, too, beside the limits: see [`Batch::anchor`].
    pub anchored: bool,
}

impl<'a> ReadRange<'a> {
    /// Everything after an id, without a limit of its own.
    pub fn all(after: EventId, want: &'a Want, settings: &Settings) -> Self {
        ReadRange {
            after,
            up_to: MAX_EVENT_ID,
            want,
            limit: usize::MAX,
            max_bytes: settings.max_chunk_bytes,
            check_json: settings.check_json,
            anchored: false,
        }
    }

    /// The bounds as the signed numbers that every driver binds.
    fn bounds(&self) -> (i64, i64, i64) {
        let clamp = |id: EventId| i64::try_from(id.min(MAX_EVENT_ID)).unwrap_or(i64::MAX);
        let limit = i64::try_from(self.limit).unwrap_or(i64::MAX);
        match self.anchored {
            true => (clamp(self.after) - 1, clamp(self.up_to), limit.saturating_add(1)),
            false => (clamp(self.after), clamp(self.up_to), limit),
        }
    }

    /// Whether a row is wanted, and no event because its data is no JSON.
    fn refuses(&self, event: &Event) -> bool {
        let json = || check_json(event.data.as_str()).is_ok();
        self.check_json && self.want.matches(&event.event_type) && !json()
    }

    /// The types for the SQL filter; `None` without one.
    fn types(&self) -> Option<&[EventType]> {
        self.want.list()
    }
}

/// What a read gave.
#[derive(Default)]
pub(crate) struct Batch {
    pub events: Vec<Event>,
    /// A limit was reached, or a row that cannot be read: there may be more in the range, after `scanned`.
    pub cut: bool,
    /// The last id that was read, wanted or not; 0 if there was none.
    pub scanned: EventId,
    /// The event at which an anchored read began, if it is there.
    pub anchor: Option<Anchor>,
    rows: usize,
    bytes: usize,
}

impl Batch {
    /// Whether another row may be read under the limits of `range`.
    fn wants_more(&mut self, range: &ReadRange<'_>) -> bool {
        self.cut = self.cut || self.rows >= range.limit || self.bytes >= range.max_bytes;
        !self.cut
    }

    /// Takes a row. The type is compared again: some collations ignore case. A row that cannot be
    /// read ends the batch before it, and is an error only where it is the first one.
    fn push(&mut self, range: &ReadRange<'_>, event: Result<Event>) -> Result<()> {
        let event = match event {
            Ok(event) if range.refuses(&event) => {
                let (kind, data) = (event.event_type.as_str(), event.data.as_str());
                Err(UnreadableEvent::no_json(event.id, kind, data, event.ts).error())
            }
            event => event,
        };
        let is_anchor = |id| range.anchored && id == range.after;
        let event = match event {
            Ok(event) if is_anchor(event.id) => {
                self.anchor = Some(Anchor::of(&event));
                return Ok(());
            }
            Ok(event) => event,
            // It was passed over.
            Err(error) if error.unreadable().is_some_and(|row| is_anchor(row.id)) => return Ok(()),
            Err(error) if error.unreadable().is_some() && self.rows > 0 => {
                self.cut = true;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.rows += 1;
        self.scanned = event.id;
        if range.want.matches(&event.event_type) {
            self.bytes += event.data.as_str().len();
            self.events.push(event);
        }
        Ok(())
    }
}

/// A row of the consumer table. Times are seconds since 1970, by the database's clock.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerRow {
    pub ident: String,
    pub last_id: EventId,
    pub registered: i64,
    pub seen: i64,
    /// Events after `last_id`, and the oldest of them.
    pub behind: u64,
    pub oldest: Option<i64>,
}

/// The stream as a whole, at the time of a look.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamRow {
    pub highest: EventId,
    pub now: i64,
}

/// How a settle attempt went.
pub(crate) struct Settled {
    /// Every id up to this, and above `after`, is settled.
    pub horizon: EventId,
    /// The lower end, exclusive, of the range that this result speaks of.
    pub after: EventId,
    /// Committed ids were seen up to this; those above the horizon wait.
    pub visible: EventId,
    /// Only a part of the stream was looked at: looking again from `horizon` goes on.
    pub more: bool,
    /// Why no better evidence could be had, and what helps; `None` if evidence was complete.
    pub blocked: Option<String>,
}

/// Who keeps an id unsettled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderInfo {
    /// The server's name for it: a pid, a thread id, or the name of a prepared transaction.
    pub id: String,
    /// Since when its transaction is open, where the server tells.
    pub since: Option<String>,
    /// Application name, user or host, where the server tells.
    pub application: Option<String>,
}

/// One open connection.
#[allow(clippy::large_enum_variant)] // there are few, and they are seldom moved
pub(crate) enum Connection {
    Sqlite(sqlite::Connection),
    Postgres(Quiet<postgres::Connection>),
    Mysql(Quiet<mysql::Connection>),
}

/// Calls the same method of whichever dialect it is, within the time that a call on a server may take.
macro_rules! each {
    ($self:expr, $connection:ident => $call:expr) => {
        match $self {
            Connection::Sqlite($connection) => $call,
            Connection::Postgres($connection) => {
                let call = $connection.line().call()?;
                call.explain($crate::backend::quietly(|| $call))
            }
            Connection::Mysql($connection) => {
                let call = $connection.line().call()?;
                call.explain($crate::backend::quietly(|| $call))
            }
        }
    };
}

use each;

impl Connection {
    /// From now on each call may take so long.
    pub fn limit(&mut self, limit: Duration) -> Result<()> {
        match self {
            Connection::Sqlite(_) => Ok(()),
            Connection::Postgres(connection) => {
                connection.line().limit(limit);
                Ok(())
            }
            Connection::Mysql(connection) => connection.limit(limit),
        }
    }

    /// Asks the server for a sign of life.
    pub fn ping(&mut self) -> Result<()> {
        each!(self, c => c.ping())
    }

    /// Whether the address leads to another server than it did when this connection was made.
    pub fn is_stale(&self) -> bool {
        match self {
            Connection::Mysql(connection) => connection.is_stale(),
            Connection::Sqlite(_) | Connection::Postgres(_) => false,
        }
    }

    /// Refuses what writes on a replica that takes writes, as only those of MySQL and MariaDB do.
    pub fn check_no_replica(&mut self) -> Result<()> {
        match self {
            Connection::Mysql(c) => {
                let call = c.line().call()?;
                call.explain(quietly(|| c.check_no_replica()))
            }
            Connection::Sqlite(_) | Connection::Postgres(_) => Ok(()),
        }
    }

    /// Starts a transaction that will write.
    pub fn begin(&mut self) -> Result<()> {
        each!(self, c => c.begin())
    }

    pub fn commit(&mut self) -> Result<()> {
        each!(self, c => c.commit())
    }

    pub fn rollback(&mut self) -> Result<()> {
        each!(self, c => c.rollback())
    }

    /// Whether the transaction of `begin` is still there after a statement failed.
    pub fn is_in_transaction(&mut self) -> bool {
        let mut probe = || -> Result<bool> { each!(self, c => Ok(c.is_in_transaction())) };
        probe().unwrap_or(false)
    }

    /// Puts the session back into the state of a new one; `false` where that takes a new connection.
    pub fn reset(&mut self) -> Result<bool> {
        match self {
            // Temporary tables, attached files and pragmas go with the connection.
            Connection::Sqlite(_) => Ok(false),
            Connection::Postgres(c) => {
                let call = c.line().call()?;
                call.explain(quietly(|| c.reset()))
            }
            Connection::Mysql(c) => {
                let call = c.line().call()?;
                call.explain(quietly(|| c.reset()))
            }
        }
    }

    /// Whether the server has told that the caller's SQL changed something of the session.
    pub fn session_is_changed(&self) -> bool {
        matches!(self, Connection::Mysql(c) if c.session_is_changed())
    }

    /// Whether the transaction of `begin` was ended by this statement of the caller's, which succeeded.
    pub fn has_ended_transaction(&mut self, sql: &str) -> Result<bool> {
        match self {
            Connection::Sqlite(c) => Ok(c.has_ended_transaction()),
            Connection::Postgres(c) => {
                let call = c.line().call()?;
                call.explain(quietly(|| c.has_ended_transaction(sql)))
            }
            Connection::Mysql(c) => {
                let call = c.line().call()?;
                call.explain(quietly(|| c.has_ended_transaction(sql)))
            }
        }
    }

    /// The caller's own statement; returns the number of rows it touched.
    pub fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        each!(self, c => c.execute(sql, params))
    }

    /// The caller's own query, all rows at once.
    pub fn query(&mut self, sql: &str, params: &[Value]) -> Result<Rows> {
        each!(self, c => c.query(sql, params))
    }

    /// Runs statements of ours that need no parameters, separated by `;` at line ends.
    pub fn execute_batch(&mut self, sql: &str) -> Result<()> {
        each!(self, c => c.execute_batch(sql))
    }

    /// Adds one event and returns its id.
    pub fn insert_event(&mut self, event: &NewEvent) -> Result<EventId> {
        each!(self, c => c.insert_event(event)).map_err(of_insert)
    }

    /// Runs `work` in a transaction of its own, and undoes it where `work` or the commit fails: the
    /// one place that ends transactions of this library. Where even that fails, whoever holds the
    /// connection drops it, which undoes the transaction: it has an open one, or the error is
    /// `ConnectionLost`. Dropping it is also what happens after a panic.
    pub fn in_transaction<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.begin()?;
        let result = work(self).and_then(|result| self.commit().map(|()| result));
        result.map_err(|error| match self.rollback() {
            Ok(()) => error,
            // PostgreSQL's driver gives up a connection after a COPY that failed.
            Err(_) if error.is_lost() || self.is_closed() => error,
            Err(lost) if lost.is_lost() => lost,
            // Whoever holds the connection sees that, and drops it.
            Err(why) if self.has_open_transaction() => {
                log::warn!("futoin-eventstream: a transaction could not be undone: {why}");
                error
            }
            Err(why) => error
                .context(format!("the transaction could not be undone ({why}) after its failure"))
                .with_kind(ErrorKind::ConnectionLost),
        })
    }

    /// Whether the driver itself has given the connection up.
    pub fn is_closed(&self) -> bool {
        matches!(self, Connection::Postgres(connection) if connection.is_closed())
    }

    /// Whether a transaction is known to be open: such a connection must not be used by others.
    pub fn has_open_transaction(&self) -> bool {
        match self {
            Connection::Sqlite(connection) => connection.has_open_transaction(),
            Connection::Postgres(connection) => connection.has_open_transaction(),
            // The driver keeps what the server says to itself: its failures end with ROLLBACK.
            Connection::Mysql(_) => false,
        }
    }

    /// Adds events in order, inside the caller's transaction.
    pub fn insert_events<E: Borrow<NewEvent>>(&mut self, events: &[E]) -> Result<Vec<EventId>> {
        each!(self, c => c.insert_events(events)).map_err(of_insert)
    }

    /// Registers the consumer with its cursor at `cursor`; does nothing if it is registered.
    pub fn register(&mut self, ident: &Ident, cursor: EventId) -> Result<()> {
        each!(self, c => c.register(ident, cursor))
    }

    /// Whether there was such a consumer.
    pub fn unregister(&mut self, ident: &Ident) -> Result<bool> {
        each!(self, c => c.unregister(ident))
    }

    pub fn read(&mut self, range: &ReadRange<'_>) -> Result<Batch> {
        each!(self, c => c.read(range))
    }

    /// The highest id ever allocated, as far as the server remembers; never too high.
    pub fn highest_allocated(&mut self) -> Result<EventId> {
        each!(self, c => c.highest_allocated())
    }

    /// The consumers in order of their idents.
    pub fn consumers(&mut self) -> Result<Vec<ConsumerRow>> {
        each!(self, c => c.consumers())
    }

    /// A number that changes when another connection commits, where looking at it is nearly free
    /// (SQLite: 2 microseconds).
    pub fn change_counter(&mut self) -> Result<Option<i64>> {
        match self {
            Connection::Sqlite(connection) => connection.change_counter().map(Some),
            Connection::Postgres(_) | Connection::Mysql(_) => Ok(None),
        }
    }

    /// Asks for notifications of new events. PostgreSQL only.
    pub fn listen(&mut self, settings: &Settings) -> Result<()> {
        match self {
            Connection::Postgres(connection) => {
                let call = connection.line().call()?;
                call.explain(quietly(|| connection.listen(&settings.event_table)))
            }
            Connection::Sqlite(_) | Connection::Mysql(_) => Ok(()),
        }
    }

    /// Waits for a notification, at most for this time; whether there was one.
    pub fn wait_for_notification(&mut self, time: Duration) -> Result<bool> {
        match self {
            Connection::Postgres(c) => quietly(|| c.wait_for_notification(time)),
            Connection::Sqlite(_) | Connection::Mysql(_) => Ok(false),
        }
    }

    pub fn stream_row(&mut self) -> Result<StreamRow> {
        each!(self, c => c.stream_row())
    }
}

#[allow(clippy::large_enum_variant)] // there is one for each stream
/// What watches the event table for settled ids: a session of its own beside the pool.
pub(crate) enum Watch {
    /// One writer at a time, ids in commit order: what is visible is settled.
    Sqlite(sqlite::Connection),
    Postgres(Quiet<postgres::Watch>),
    Mysql(Quiet<mysql::Watch>),
}

impl Watch {
    /// Opens the session and checks that the server can keep the order at all.
    pub fn open(backend: &Backend) -> Result<Self> {
        let _silence = backend.silence();
        Ok(match backend {
            Backend::Sqlite(connector) => Watch::Sqlite(connector.connect()?),
            Backend::Postgres(connector) => {
                Watch::Postgres(Quiet::new(postgres::Watch::open(connector)?))
            }
            Backend::Mysql(connector) => Watch::Mysql(Quiet::new(mysql::Watch::open(connector)?)),
        })
    }

    /// Looks how far the ids after `position` are settled by now.
    pub fn settle(&mut self, position: EventId) -> Result<Settled> {
        match self {
            Watch::Sqlite(connection) => {
                let horizon = connection.highest_allocated()?.max(position);
                Ok(Settled { horizon, after: 0, visible: horizon, more: false, blocked: None })
            }
            Watch::Postgres(watch) => with_silence(|| watch.in_time(|w| w.settle(position))),
            Watch::Mysql(watch) => with_silence(|| watch.in_time(|w| w.settle(position))),
        }
    }

    /// Who holds the event table now.
    pub fn holders(&mut self) -> Result<Vec<HolderInfo>> {
        match self {
            Watch::Sqlite(_) => Ok(Vec::new()),
            Watch::Postgres(watch) => with_silence(|| watch.in_time(postgres::Watch::holders)),
            Watch::Mysql(watch) => with_silence(|| watch.in_time(mysql::Watch::holders)),
        }
    }
}

/// As [`quietly`], for work that may hide a failed write.
fn with_silence<T>(work: impl FnOnce() -> T) -> T {
    let _silence = Silence::begin();
    work()
}

/// The failure of an insert whose id lies above the highest one there may be: no poll would give it.
fn above_limit(table: &TableName) -> Error {
    Error::new(
        ErrorKind::UnsafeServer,
        format!(
            "the event was not added: the next id of {table} lies above {MAX_EVENT_ID}, the highest \
             event id, and no consumer would ever get it. Somebody has inserted such an id, or set the \
             counter of the table: give those rows other ids, and set the counter back"
        ),
    )
}

/// Refuses ids, allocated by an insert that is to be undone then, of which one lies above the limit.
fn within_limit(ids: &[EventId]) -> bool {
    ids.iter().all(|id| *id <= MAX_EVENT_ID)
}

/// The lowest id of a consumer table that is free: for one whose ids are still those of the npm package,
/// when all 32,767 were allocated. NULL if all are in use.
fn free_consumer_id(table: &str) -> String {
    format!(
        "(SELECT MIN(a.n) FROM (SELECT 1 AS n UNION ALL SELECT id + 1 FROM {table} \
         WHERE id BETWEEN 1 AND 32766) a WHERE NOT EXISTS (SELECT 1 FROM {table} b \
         WHERE b.id = a.n))"
    )
}

/// How often a free id is looked for again that somebody else took meanwhile.
const FREE_ID_TRIES: usize = 20;

fn no_consumer_id(why: Error) -> Error {
    why.context(
        "the consumer table has no id left, because its ids end at 32,767 and all are in use: run \
         migrate(), which widens them",
    )
    .with_kind(ErrorKind::NotMigrated)
}

/// An id as a driver gave it.
fn event_id(number: i64) -> Result<EventId> {
    EventId::try_from(number).map_err(|_| {
        Error::new(
            ErrorKind::CorruptEvent,
            format!("{number} is not an event id: ids are positive"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::pool::Pool;
    use super::*;
    use crate::config::Options;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_panic_inside_a_transaction_leaves_neither_the_transaction_nor_the_turn() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?busy_timeout_ms=200", folder.path().join("a.db").display());
        let (location, settings) = crate::config::url::parse(&url, &Options::new()).unwrap();
        let settings = Arc::new(settings);
        let pool =
            Pool::open(Backend::new(location, settings.clone()).unwrap(), &settings).unwrap();
        pool.with(|c| migrate::active(c, &settings)).unwrap();
        let event = NewEvent::new("TEST", &1).unwrap();
        let panic = catch_unwind(AssertUnwindSafe(|| {
            pool.with(|c| {
                c.in_transaction(|c| {
                    c.insert_event(&event)?;
                    if true {
                        panic!("a defect");
                    }
                    Ok(())
                })
            })
        }));
        assert!(panic.is_err());
        assert_eq!(pool.with(|c| c.insert_event(&event)).unwrap(), 1);
    }
}
