//! SQLite: one writer at a time and AUTOINCREMENT, so ids are in commit order and never reused.

mod abilities;
mod cursors;
pub(crate) mod doctor;
pub(crate) mod guard;
mod history;
mod sql;
mod turns;
mod values;
mod verify;

use crate::backend::reach::has_descriptors;
use crate::backend::{
    Batch, ConsumerRow, ReadRange, StreamRow, above_limit, event_id, within_limit,
};
use crate::config::location::SqliteFile;
use crate::config::settings::Synchronous;
use crate::config::{Settings, TableName};
use crate::model::error::{Error, ErrorKind, Result, fail};
use crate::model::event::{
    Event, EventData, EventId, EventType, NewEvent, Timestamp, UnreadableEvent,
};
use crate::model::ident::Ident;
use crate::model::value::{Rows, Value};
use crate::sync::lock::lock;
use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{ErrorCode, OpenFlags, Row, params, params_from_iter};
use sql::{Reads, Sql, insert_returning_sql};
use std::borrow::Borrow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use turns::{Turn, Turns};
use values::value;

/// What connections to one database are made from.
pub(crate) struct Connector {
    file: SqliteFile,
    /// The name that SQLite opens.
    name: String,
    settings: Arc<Settings>,
    sql: Arc<Sql>,
    turns: Arc<Turns>,
    /// A database in memory lives as long as a connection to it.
    _anchor: Mutex<Option<rusqlite::Connection>>,
}

impl Connector {
    pub fn new(file: SqliteFile, settings: Arc<Settings>) -> Result<Self> {
        static MEMORIES: AtomicU64 = AtomicU64::new(0);
        let name = match &file {
            SqliteFile::Path(path) => path.to_string_lossy().into_owned(),
            // The "memdb" file system shares a named database between connections.
            SqliteFile::Memory => {
                format!("file:/fes-{}?vfs=memdb", MEMORIES.fetch_add(1, Ordering::Relaxed))
            }
        };
        let connector = Connector {
            sql: Arc::new(Sql::new(&settings)),
            turns: Arc::new(Turns::default()),
            _anchor: Mutex::new(None),
            file,
            name,
            settings,
        };
        if connector.file == SqliteFile::Memory {
            let anchor = connector.open()?;
            connector.prepare(&anchor).map_err(|why| connector.cannot_open(why))?;
            *lock(&connector._anchor) = Some(anchor);
        }
        Ok(connector)
    }

    /// In memory there is no write-ahead log.
    pub fn has_wal(&self) -> bool {
        self.file != SqliteFile::Memory
    }

    pub fn connect(&self) -> Result<Connection> {
        let (inner, opened) = match &self.file {
            SqliteFile::Memory => (self.open()?, None),
            SqliteFile::Path(path) => {
                guard::open(path, self.settings.allow_foreign_sqlite, || {
                    self.make_or_refuse(path)?;
                    self.open()
                })?
            }
        };
        let connection = Connection {
            inner,
            opened,
            sql: self.sql.clone(),
            turns: self.turns.clone(),
            patience: self.settings.busy_timeout,
            turn: None,
        };
        self.prepare(&connection.inner).map_err(|why| self.cannot_open(why))?;
        Ok(connection)
    }

    /// Makes a file that does not exist, unless the option says that it must.
    fn make_or_refuse(&self, path: &Path) -> Result<()> {
        if self.settings.create {
            make_private(path);
        } else if !path.exists() {
            let message = format!(
                "there is no SQLite file {path:?}, and the option create is false: correct the path, \
                 or make it by migrate() with create=true (in a shell: fes migrate)"
            );
            return Err(Error::new(ErrorKind::ConnectFailed, message).lasting());
        }
        Ok(())
    }

    fn open(&self) -> Result<rusqlite::Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let more = match self.file {
            SqliteFile::Memory => OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_CREATE,
            SqliteFile::Path(_) if self.settings.create => OpenFlags::SQLITE_OPEN_CREATE,
            SqliteFile::Path(_) => OpenFlags::empty(),
        };
        rusqlite::Connection::open_with_flags(&self.name, flags | more)
            .map_err(|why| self.cannot_open(why))
    }

    fn cannot_open(&self, why: rusqlite::Error) -> Error {
        let error = Error::from(why).context(format!("cannot open SQLite file {:?}", self.name));
        if error.is_retriable() && error.kind() != ErrorKind::ConnectFailed {
            return error;
        }
        match has_descriptors(4) {
            Err(none) => none.context(error),
            Ok(()) => error.with_kind(ErrorKind::ConnectFailed).lasting(),
        }
    }

    fn prepare(&self, connection: &rusqlite::Connection) -> rusqlite::Result<()> {
        connection.busy_timeout(self.settings.busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(32);
        // Otherwise SQLite prepares a statement with `LIMIT ?` anew whenever the limit is bound.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        if self.has_wal() {
            self.switch_to_wal(connection)?;
            let synchronous = match self.settings.sqlite_synchronous {
                Synchronous::Full => "FULL",
                Synchronous::Normal => "NORMAL",
            };
            connection.pragma_update(None, "synchronous", synchronous)?;
        }
        // The SQLite that is compiled in has other defaults than most of those that applications know.
        connection.pragma_update(None, "foreign_keys", self.settings.sqlite_foreign_keys)?;
        connection.pragma_update(None, "recursive_triggers", false)
    }

    /// For this switch SQLite does not wait, however long it is told to: another process that opens
    /// the same new file, or uses it, makes it fail at once.
    fn switch_to_wal(&self, connection: &rusqlite::Connection) -> rusqlite::Result<()> {
        let end = Instant::now() + self.settings.busy_timeout;
        loop {
            let switched = connection
                .query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0))
                .and_then(|mode| match mode.as_str() {
                    "wal" => Ok(()),
                    _ => connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())),
                });
            match switched {
                Err(rusqlite::Error::SqliteFailure(why, _))
                    if matches!(why.code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
                        && Instant::now() < end =>
                {
                    std::thread::sleep(Duration::from_millis(2));
                }
                result => return result,
            }
        }
    }
}

/// Makes the file, if there is none, for its owner alone: events are nobody else's business, and a
/// file that SQLite makes can be read by all. Those beside it get the same rights. Where it cannot be
/// made, SQLite says why.
fn make_private(path: &Path) {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // Nobody has a new file open whose locks closing it could break.
    let _ = options.open(path);
}

/// One open connection.
pub(crate) struct Connection {
    inner: rusqlite::Connection,
    /// Dropped after `inner`.
    opened: Option<guard::Opened>,
    sql: Arc<Sql>,

    turns: Arc<Turns>,
    patience: Duration,
    /// Held from `begin` to the end of the transaction.
    turn: Option<Turn>,
}

impl Connection {
    /// The turn for a single statement; none is needed inside a transaction.
    fn turn(&self, until: Instant) -> Result<Option<Turn>> {
        if self.turn.is_some() { Ok(None) } else { self.turns.take(until, self.patience).map(Some) }
    }

    /// The end of all waiting of a call that begins now, whatever it waits for.
    fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }

    /// A file that is replaced shows on each connection.
    pub fn was_asked(&self) -> bool {
        true
    }

    pub fn ping(&mut self) -> Result<()> {
        self.check_file()
    }

    /// Runs a single statement that writes.
    fn write<T>(&self, work: impl Fn() -> Result<T>) -> Result<T> {
        let until = self.deadline();
        match self.turn(until)? {
            Some(_turn) => {
                let done = self.patiently(until, work)?;
                self.check_file().map(|()| done)
            }
            None => work(),
        }
    }

    /// Refuses a file that another one was put in the place of: what is written there is not in the
    /// database. One call of `stat`; the file is not opened, since closing it would drop its locks.
    pub(super) fn check_file(&self) -> Result<()> {
        if let (Some(opened), Some(path)) = (&self.opened, self.inner.path())
            && !opened.is_at(std::path::Path::new(path))
        {
            fail!(
                ConnectionLost,
                "the SQLite file {path:?} was replaced or removed while it was open: what was written \
                 last went to a file that has no name any more, and is not in the database. What \
                 comes next uses the file that is there now"
            );
        }
        Ok(())
    }

    /// Runs what takes SQLite's write lock. SQLite itself would wait up to 100 ms between two
    /// tries, and hardly ever get the lock beside busy writers of other processes.
    fn patiently<T>(&self, until: Instant, work: impl Fn() -> Result<T>) -> Result<T> {
        self.inner.busy_timeout(Duration::from_millis(1))?;
        let result = loop {
            match work() {
                Err(error) if error.kind() == ErrorKind::Busy && Instant::now() < until => {}
                result => break result,
            }
        };
        self.inner.busy_timeout(self.patience)?;
        result
    }

    /// Runs a statement that is prepared once.
    fn run(&self, sql: &str) -> Result<()> {
        self.inner.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    pub fn begin(&mut self) -> Result<()> {
        let until = self.deadline();
        let turn = self.turns.take(until, self.patience)?;
        self.patiently(until, || self.run("BEGIN IMMEDIATE"))?;
        self.turn = Some(turn);
        Ok(())
    }

    /// Whether the transaction of `begin` was ended by a statement of the caller's. The turn to write
    /// is given back then.
    pub fn has_ended_transaction(&mut self, _: &str) -> Result<bool> {
        let ended = self.turn.is_some() && self.inner.is_autocommit();
        if ended {
            self.turn = None;
        }
        Ok(ended)
    }

    pub fn commit(&mut self) -> Result<()> {
        self.run("COMMIT")?;
        self.turn = None;
        self.check_file()
    }

    pub fn rollback(&mut self) -> Result<()> {
        // A failed statement may have ended the transaction already.
        let result =
            if self.inner.is_autocommit() { Ok(()) } else { self.inner.execute_batch("ROLLBACK") };
        self.turn = None;
        Ok(result?)
    }

    /// `ON CONFLICT ROLLBACK`, a full disk and a few other failures end it.
    pub fn is_in_transaction(&mut self) -> bool {
        !self.inner.is_autocommit()
    }

    pub fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        let count = self.inner.prepare_cached(sql)?.execute(params_from_iter(params))?;
        Ok(count as u64)
    }

    pub fn query(&mut self, sql: &str, params: &[Value]) -> Result<Rows> {
        let mut statement = self.inner.prepare_cached(sql)?;
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let rows = statement.query_map(params_from_iter(params), |row| {
            (0..columns.len()).map(|index| Ok(value(row.get_ref(index)?))).collect()
        })?;
        let rows = rows.collect::<rusqlite::Result<_>>()?;
        Ok(Rows::new(columns, rows))
    }

    pub fn execute_batch(&mut self, sql: &str) -> Result<()> {
        Ok(self.inner.execute_batch(sql)?)
    }

    /// In the transaction that is open.
    pub fn insert_event(&mut self, event: &NewEvent) -> Result<EventId> {
        let ids = self.insert_events(&[event])?;
        ids.first().copied().ok_or_else(|| Error::new(ErrorKind::Internal, "no id of an event"))
    }

    /// Whether [`insert_events`](Self::insert_events) is a single statement.
    pub fn inserts_at_once(&mut self) -> Result<bool> {
        Ok(false)
    }

    pub fn insert_events<E: Borrow<NewEvent>>(&mut self, events: &[E]) -> Result<Vec<EventId>> {
        let mut insert = self.inner.prepare_cached(&self.sql.insert)?;
        let ids = events.iter().map(|event| {
            let NewEvent { event_type, data } = event.borrow();
            insert.execute([event_type.as_str(), data.as_str()])?;
            event_id(self.inner.last_insert_rowid())
        });
        let ids = ids.collect::<Result<Vec<_>>>()?;
        if !within_limit(&ids) {
            // The caller may commit its transaction all the same.
            let delete = format!("DELETE FROM {} WHERE id = ?", self.sql.queue.quoted('"'));
            for id in &ids {
                self.inner.prepare_cached(&delete)?.execute([*id as i64])?;
            }
            return Err(above_limit(&self.sql.queue));
        }
        Ok(ids)
    }

    pub fn register(&mut self, ident: &Ident, cursor: EventId) -> Result<()> {
        self.write(|| {
            let mut statement = self.inner.prepare_cached(&self.sql.register)?;
            statement.execute(params![ident.as_str(), cursor as i64])?;
            Ok(())
        })
    }

    pub fn unregister(&mut self, ident: &Ident) -> Result<bool> {
        self.write(|| {
            Ok(self.inner.prepare_cached(&self.sql.unregister)?.execute([ident.as_str()])? > 0)
        })
    }

    pub fn read(&mut self, range: &ReadRange<'_>) -> Result<Batch> {
        let sql = self.sql.clone();
        self.read_rows(&sql.reads, range)
    }

    fn read_rows(&mut self, reads: &Reads, range: &ReadRange<'_>) -> Result<Batch> {
        let (after, up_to, limit) = range.bounds();
        let mut batch = Batch::default();
        let mut statement;
        let mut rows = match range.types() {
            None => {
                statement = self.inner.prepare_cached(&reads.all)?;
                statement.query(params![after, up_to, limit])?
            }
            Some([one]) => {
                statement = self.inner.prepare_cached(&reads.one_type)?;
                statement.query(params![after, up_to, limit, one.as_str()])?
            }
            Some(types) => {
                statement = self.inner.prepare_cached(&reads.types)?;
                let names: Vec<&str> = types.iter().map(EventType::as_str).collect();
                let names = serde_json::json!(names).to_string();
                statement.query(params![after, up_to, limit, names])?
            }
        };
        while batch.wants_more(range) {
            let Some(row) = rows.next()? else { break };
            batch.push(range, event(row))?;
        }
        Ok(batch)
    }

    pub fn highest_allocated(&mut self) -> Result<EventId> {
        let id = self.inner.prepare_cached(&self.sql.highest)?.query_row([], |row| row.get(0))?;
        event_id(id)
    }

    pub fn consumers(&mut self) -> Result<Vec<ConsumerRow>> {
        let mut statement = self.inner.prepare_cached(&self.sql.consumers)?;
        let rows = statement.query_map([], |row| {
            Ok(ConsumerRow {
                ident: row.get(0)?,
                last_id: row.get::<_, i64>(1)?.unsigned_abs(),
                registered: row.get::<_, Option<i64>>(2)?.unwrap_or_default(),
                seen: row.get::<_, Option<i64>>(3)?.unwrap_or_default(),
                behind: row.get::<_, i64>(4)?.unsigned_abs(),
                oldest: row.get(5)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub fn stream_row(&mut self) -> Result<StreamRow> {
        let now =
            self.inner.query_row("SELECT CAST(strftime('%s') AS INTEGER)", [], |row| row.get(0))?;
        Ok(StreamRow { highest: self.highest_allocated()?, now })
    }
}

/// Adds an event on the caller's own connection, in its transaction if there is one.
pub(crate) fn insert_event(
    connection: &rusqlite::Connection,
    table: &TableName,
    event: &NewEvent,
) -> Result<EventId> {
    let mut statement = connection.prepare_cached(&insert_returning_sql(table))?;
    let mut insert = || -> rusqlite::Result<i64> {
        let mut rows = statement.query([event.event_type.as_str(), event.data.as_str()])?;
        let id = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?.get(0)?;
        // The step after the last row is what commits, and says whether that failed.
        rows.next()?;
        Ok(id)
    };
    match insert() {
        Err(why) if why.to_string().contains("integer overflow") => Err(above_limit(table)),
        result => event_id(result?),
    }
}

fn event(row: &Row<'_>) -> Result<Event> {
    let id = event_id(row.get(0)?)?;
    let unreadable = |column| Err(unreadable(id, row, column));
    let Some(event_type) = text(row.get_ref(1)?) else { return unreadable("type") };
    let Some(data) = text(row.get_ref(2)?) else { return unreadable("data") };
    let ts = match row.get_ref(3)? {
        ValueRef::Text(bytes) => Timestamp::parse(&String::from_utf8_lossy(bytes)),
        // What plain SQL wrote with unixepoch().
        ValueRef::Integer(seconds) => Timestamp::from_unix(seconds),
        _ => None,
    };
    let Some(ts) = ts else { return unreadable("ts") };
    let (event_type, data) = (EventType::stored(event_type), EventData::stored(data.to_owned()));
    Ok(Event { id, event_type, data, ts })
}

/// Text, or bytes that are text.
fn text(value: ValueRef<'_>) -> Option<&str> {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

fn unreadable(id: EventId, row: &Row<'_>, column: &'static str) -> Error {
    let bytes = |index| match row.get_ref(index) {
        Ok(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => Some(bytes.to_vec()),
        Ok(ValueRef::Integer(number)) => Some(number.to_string().into_bytes()),
        Ok(ValueRef::Real(number)) => Some(number.to_string().into_bytes()),
        _ => None,
    };
    let ts = bytes(3).map_or("NULL".into(), |ts| String::from_utf8_lossy(&ts).into_owned());
    UnreadableEvent { id, column, event_type: bytes(1), data: bytes(2), ts }.error()
}
