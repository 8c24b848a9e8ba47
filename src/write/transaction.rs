//! Adding events in a transaction of ours, or in one of the caller's driver.

#[cfg(feature = "mysql")]
use crate::backend::mysql as my;
use crate::backend::pool::PooledConnection;
#[cfg(feature = "postgres")]
use crate::backend::postgres as pg;
use crate::backend::session::{first_word, transaction_ended};
#[cfg(any(feature = "postgres", feature = "mysql"))]
use crate::backend::sigpipe::quietly;
#[cfg(feature = "sqlite")]
use crate::backend::sqlite;
use crate::backend::{Connection, DatabaseKind};
use crate::config::{Options, Settings, TableName};
use crate::model::error::{ErrorKind, Result, fail};
use crate::model::event::{EventId, NewEvent};
use crate::model::value::{Rows, Value};
use crate::write::writer::{Writer, insert_all};
use serde::Serialize;
use std::slice::from_ref;
use std::sync::Arc;

/// What became of a transaction by the statements in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The caller's own SQL has ended it.
    Ended,
    /// The database undid everything so far when a statement failed.
    Undone,
}

/// A database transaction: the caller's own changes and their events, together or not at all.
/// Made by [`EventStream::begin`]; rolled back when dropped without [`commit`](Self::commit).
///
/// It holds one connection of the stream until it ends. On SQLite it is the only writer meanwhile.
/// It may be moved to another thread, and used by one at a time.
///
/// ```
/// use futoin_eventstream::{EventStream, Value};
/// # fn main() -> Result<(), futoin_eventstream::Error> {
/// let stream = EventStream::open("sqlite::memory:")?;
/// stream.migrate()?;
/// let mut tx = stream.begin()?;
/// tx.execute("CREATE TABLE users(name TEXT)", &[])?;
/// tx.execute("INSERT INTO users(name) VALUES (?)", &["Ann".into()])?;
/// let id = tx.add_event("USR_ADD", &"Ann")?;
/// let rows = tx.query("SELECT name FROM users", &[])?;
/// assert_eq!(rows, [[Value::from("Ann")]]);
/// tx.commit()?;
/// assert_eq!(id, 1);
/// # Ok(()) }
/// ```
///
/// [`EventStream::begin`]: crate::EventStream::begin
pub struct Transaction {
    /// `None` once it has ended.
    connection: Option<PooledConnection>,
    state: State,
    writer: Arc<Writer>,
}

impl Transaction {
    pub(crate) fn begin(mut connection: PooledConnection, writer: Arc<Writer>) -> Result<Self> {
        connection.call(|c| c.begin())?;
        Ok(Transaction { connection: Some(connection), state: State::Open, writer })
    }

    /// Runs `work`, unless it would no longer be in the transaction: some failures make the
    /// database end it, and what is done after that would stand alone.
    fn call<T>(&mut self, work: impl FnOnce(&mut PooledConnection) -> Result<T>) -> Result<T> {
        let Some(connection) = &mut self.connection else {
            fail!(Closed, "the transaction has ended");
        };
        match self.state {
            State::Open => {}
            State::Ended => return Err(transaction_ended()),
            State::Undone => fail!(
                Conflict,
                "the database undid the transaction when a statement in it failed: run it again \
                 from its beginning"
            ),
        }
        let result = work(connection);
        if let Err(error) = &result {
            if error.kind() == ErrorKind::TransactionEnded {
                self.state = State::Ended;
            } else if !connection.is_in_transaction() {
                self.state = State::Undone;
            }
        }
        result
    }

    /// Runs a statement of the caller's, which may change the session, or end the transaction.
    fn call_own<T>(
        &mut self,
        sql: &str,
        work: impl FnOnce(&mut Connection) -> Result<T>,
    ) -> Result<T> {
        self.call(|lease| {
            lease.note_caller_sql(sql);
            lease.call(|connection| {
                let result = work(connection)?;
                match connection.has_ended_transaction(sql)? {
                    false => Ok(result),
                    true => Err(transaction_ended().context(format!(
                        "{} was run by execute() or query()",
                        first_word(sql).to_ascii_uppercase()
                    ))),
                }
            })
        })
    }

    /// Runs the caller's own statement with bound parameters, in the placeholder style of the
    /// database (`?`, or `$1` on PostgreSQL). Returns the number of rows it touched.
    ///
    /// # Errors
    /// Whatever the database says. On PostgreSQL a failed statement dooms the transaction. After
    /// `Conflict` nothing of it is left on any database: run it again from its beginning. MySQL and
    /// MariaDB commit at statements like `CREATE TABLE`: `TransactionEnded` if something was written
    /// before, and else the transaction begins anew behind it. Keep them out of it.
    pub fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        self.call_own(sql, |c| c.execute(sql, params))
    }

    /// Runs the caller's own query and returns all its rows.
    ///
    /// # Errors
    /// As [`execute`](Self::execute). On PostgreSQL, columns of types that [`Value`] does not
    /// know are refused: cast them with `::text`.
    pub fn query(&mut self, sql: &str, params: &[Value]) -> Result<Rows> {
        self.call_own(sql, |c| c.query(sql, params))
    }

    /// Adds an event that lives and dies with this transaction; returns its id.
    ///
    /// # Errors
    /// `InvalidType`, `InvalidData`, `TooLarge`, and those of the database.
    pub fn add_event<T: Serialize + ?Sized>(
        &mut self,
        event_type: &str,
        data: &T,
    ) -> Result<EventId> {
        self.add(&NewEvent::new(event_type, data)?)
    }

    /// As [`add_event`](Self::add_event), with an event that was made before.
    ///
    /// # Errors
    /// `TooLarge`, and those of the database.
    pub fn add(&mut self, event: &NewEvent) -> Result<EventId> {
        self.writer.check(from_ref(event))?;
        self.call(|lease| lease.call(|c| c.insert_event(event)))
    }

    /// Adds many events in order; returns their ids in that order.
    ///
    /// # Errors
    /// As [`add`](Self::add); some events may have been added then: roll back.
    pub fn add_events(&mut self, events: &[NewEvent]) -> Result<Vec<EventId>> {
        self.writer.check(events)?;
        self.call(|lease| lease.call(|c| insert_all(c, events)))
    }

    /// Makes everything durable and visible.
    ///
    /// # Errors
    /// Those of the database, and `Conflict` if it undid the transaction before; the transaction is
    /// over then too. After [`ConnectionLost`](crate::ErrorKind::ConnectionLost) it may or may not
    /// have been committed.
    pub fn commit(mut self) -> Result<()> {
        let writer = self.writer.clone();
        writer.commit(|| self.call(|lease| lease.call_once(|c| c.commit())))?;
        self.connection = None;
        Ok(())
    }

    /// Undoes everything.
    ///
    /// # Errors
    /// Those of the database; the server undoes it anyway when the connection ends.
    pub fn rollback(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(mut connection) = self.connection.take() else { return Ok(()) };
        let result = connection.call(|c| c.rollback());
        if result.is_err() {
            connection.discard();
        }
        result
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            log::warn!("futoin-eventstream: rolling back failed: {error}");
        }
    }
}

/// The SQL and the two bound values that add an event, for the caller's own connection.
///
/// For MySQL and MariaDB the JSON is written in ASCII (`é` as `\u00e9`), which is the same value: so it does
/// not matter which character set the caller's session has.
///
/// ```
/// use futoin_eventstream::{DatabaseKind, NewEvent, Options, Statement};
/// let event = NewEvent::from_json("USR_ADD", r#"{"id":1}"#).unwrap();
/// let statement = Statement::new(DatabaseKind::Mysql, &event, &Options::new()).unwrap();
/// assert_eq!(
///     statement.sql,
///     "INSERT INTO `evt_queue`(type, data, ts) VALUES (?, ?, UTC_TIMESTAMP())"
/// );
/// assert_eq!(statement.params, ["USR_ADD", r#"{"id":1}"#]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// One `INSERT` with the placeholders of the database (`?`, or `$1` and `$2`).
    pub sql: String,
    /// The type and the JSON text, to be bound as text.
    pub params: [String; 2],
}

impl Statement {
    /// Makes the statement for a database of `kind`; of `options`, `event_table` and
    /// `max_event_bytes` matter. Needs no connection.
    ///
    /// # Errors
    /// `TooLarge`.
    pub fn new(kind: DatabaseKind, event: &NewEvent, options: &Options) -> Result<Self> {
        Self::with_settings(kind, event, options.settings())
    }

    pub(crate) fn with_settings(
        kind: DatabaseKind,
        event: &NewEvent,
        settings: &Settings,
    ) -> Result<Self> {
        event.check_size(settings.max_event_bytes)?;
        let data = match kind {
            DatabaseKind::Mysql => event.data.to_ascii(),
            _ => event.data.as_str().to_owned(),
        };
        Ok(Statement {
            sql: kind.insert_sql(&settings.event_table),
            params: [event.event_type.to_string(), data],
        })
    }
}

/// A connection or transaction of a database driver, the caller's own, that events can be added
/// to: the event lives and dies with the caller's transaction.
///
/// Implemented for `rusqlite::{Connection, Transaction, Savepoint}`,
/// `postgres::{Client, Transaction}` and `mysql::{Conn, PooledConn, Transaction}` of the versions
/// that this crate re-exports. Use it through [`EventStream::add_event_to`].
///
/// [`EventStream::add_event_to`]: crate::EventStream::add_event_to
pub trait EventTarget: sealed::Sealed {}

pub(crate) mod sealed {
    use super::*;

    pub trait Sealed {
        #[doc(hidden)]
        const KIND: DatabaseKind;
        #[doc(hidden)]
        fn insert(&mut self, table: &Table<'_>, event: &NewEvent) -> Result<EventId>;
    }

    /// The event table, opaque outside of the crate.
    pub struct Table<'a>(pub(crate) &'a TableName);
}

use sealed::Table;

macro_rules! event_target {
    ($kind:ident: $($driver:ty),+ => |$target:ident, $table:ident, $event:ident| $insert:expr) => {$(
        impl EventTarget for $driver {}
        impl sealed::Sealed for $driver {
            const KIND: DatabaseKind = DatabaseKind::$kind;
            fn insert(&mut self, table: &Table<'_>, $event: &NewEvent) -> Result<EventId> {
                let ($target, $table) = (self, table.0);
                $insert
            }
        }
    )+};
}

#[cfg(feature = "sqlite")]
event_target!(Sqlite: rusqlite::Connection, rusqlite::Transaction<'_>, rusqlite::Savepoint<'_> =>
    |target, table, event| sqlite::insert_event(target, table, event));
#[cfg(feature = "postgres")]
event_target!(Postgres: postgres::Client, postgres::Transaction<'_> =>
    |target, table, event| quietly(|| pg::insert_event(target, table, event)));
#[cfg(feature = "mysql")]
event_target!(Mysql: mysql::Conn, mysql::Transaction<'_> =>
    |target, table, event| quietly(|| my::insert_event_for_caller(target, table, event)));
#[cfg(feature = "mysql")]
event_target!(Mysql: mysql::PooledConn =>
    |target, table, event| quietly(|| my::insert_event_for_caller(target.as_mut(), table, event)));
