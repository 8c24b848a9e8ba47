//! One connection of any of the three kinds, and all that is done on it.

use super::abilities::Abilities;
use super::{Batch, ConsumerRow, DatabaseKind, ReadRange, StreamRow};
use crate::config::Settings;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::{EventId, NewEvent};
use crate::model::ident::Ident;
use crate::model::value::{Rows, Value};
use std::borrow::Borrow;
use std::time::Duration;

/// One open connection.
#[allow(clippy::large_enum_variant)] // there are few, and they are seldom moved
pub(crate) enum Connection {
    #[cfg(feature = "sqlite")]
    Sqlite(super::sqlite::Connection),
    #[cfg(feature = "postgres")]
    Postgres(super::sigpipe::Quiet<super::postgres::Connection>),
    #[cfg(feature = "mysql")]
    Mysql(super::sigpipe::Quiet<super::mysql::Connection>),
}

/// Calls the same method of whichever dialect it is, for what asks no server.
macro_rules! direct {
    ($self:expr, $connection:ident => $call:expr) => {
        match $self {
            #[cfg(feature = "sqlite")]
            $crate::backend::Connection::Sqlite($connection) => $call,
            #[cfg(feature = "postgres")]
            $crate::backend::Connection::Postgres($connection) => $call,
            #[cfg(feature = "mysql")]
            $crate::backend::Connection::Mysql($connection) => $call,
        }
    };
}

/// Calls the same method of whichever dialect it is, within the time that a call on a server may take.
macro_rules! each {
    ($self:expr, $connection:ident => $call:expr) => {
        match $self {
            #[cfg(feature = "sqlite")]
            $crate::backend::Connection::Sqlite($connection) => $call,
            #[cfg(feature = "postgres")]
            $crate::backend::Connection::Postgres($connection) => {
                let call = $connection.line().call()?;
                call.explain($crate::backend::sigpipe::quietly(|| $call))
            }
            #[cfg(feature = "mysql")]
            $crate::backend::Connection::Mysql($connection) => {
                let call = $connection.line().call()?;
                call.explain($crate::backend::sigpipe::quietly(|| $call))
            }
        }
    };
}

pub(super) use {direct, each};

impl Connection {
    /// Which database it leads to.
    pub fn kind(&self) -> DatabaseKind {
        match self {
            #[cfg(feature = "sqlite")]
            Connection::Sqlite(_) => DatabaseKind::Sqlite,
            #[cfg(feature = "postgres")]
            Connection::Postgres(_) => DatabaseKind::Postgres,
            #[cfg(feature = "mysql")]
            Connection::Mysql(_) => DatabaseKind::Mysql,
        }
    }

    /// From now on each call may take so long.
    pub fn limit(&mut self, limit: Duration) -> Result<()> {
        direct!(self, c => c.limit(limit))
    }

    /// Asks the server for a sign of life.
    pub fn ping(&mut self) -> Result<()> {
        each!(self, c => c.ping())
    }

    /// Whether the address leads to another server than it did when this connection was made.
    pub fn is_stale(&self) -> bool {
        direct!(self, c => c.is_stale())
    }

    /// Refuses what writes on a replica that takes writes, as only those of MySQL and MariaDB do.
    pub fn check_no_replica(&mut self) -> Result<()> {
        each!(self, c => c.check_no_replica())
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
        each!(self, c => c.reset())
    }

    /// Whether the server has told that the caller's SQL changed something of the session.
    pub fn session_is_changed(&self) -> bool {
        direct!(self, c => c.session_is_changed())
    }

    /// Whether the transaction of `begin` was ended by this statement of the caller's, which succeeded.
    pub fn has_ended_transaction(&mut self, sql: &str) -> Result<bool> {
        each!(self, c => c.has_ended_transaction(sql))
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
        direct!(self, c => c.is_closed())
    }

    /// Whether a transaction is known to be open: such a connection must not be used by others.
    pub fn has_open_transaction(&self) -> bool {
        direct!(self, c => c.has_open_transaction())
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
        direct!(self, c => c.change_counter())
    }

    /// Makes what options want beside the tables, after these were made.
    pub fn end_migration(&mut self, settings: &Settings) -> Result<()> {
        each!(self, c => c.end_migration(settings))
    }

    /// Asks for notifications of new events. PostgreSQL only.
    pub fn listen(&mut self, settings: &Settings) -> Result<()> {
        each!(self, c => c.listen(settings))
    }

    /// Waits for a notification, at most for this time; whether there was one.
    pub fn wait_for_notification(&mut self, time: Duration) -> Result<bool> {
        direct!(self, c => c.wait_for_notification(time))
    }

    pub fn stream_row(&mut self) -> Result<StreamRow> {
        each!(self, c => c.stream_row())
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
