//! The handle of a stream: what an application holds.

use crate::backend::pool::Pool;
use crate::backend::{Backend, DatabaseKind, HolderInfo, migrate, of_insert};
use crate::config::location::Location;
use crate::config::url;
use crate::config::{Options, Settings};
use crate::model::error::{Result, fail};
use crate::model::event::{EventId, NewEvent};
use crate::model::ident::{LIVE, Want};
use crate::push::{Hub, Subscription};
use crate::read::consumer::Consumer;
use crate::read::late::late_error;
use crate::read::reader::Reader;
use crate::read::tail::TailPlace;
use crate::sync::wakeup::Wakeup;
use crate::write::transaction::sealed::Table;
use crate::write::transaction::{EventTarget, Statement, Transaction};
use crate::write::writer::Writer;
use serde::Serialize;
use std::slice::from_ref;
use std::sync::Arc;

/// A stream of events in one database. Cheap to clone; all clones share one pool of connections.
///
/// Every method may be called from any thread and blocks until the database has answered.
///
/// ```
/// use futoin_eventstream::{EventStream, Want};
/// # fn main() -> Result<(), futoin_eventstream::Error> {
/// let stream = EventStream::open("sqlite::memory:")?;
/// stream.migrate()?;
/// let id = stream.add_event("USR_ADD", &serde_json::json!({"name": "Ann"}))?;
/// let live = stream.live("app")?;
/// let events = live.poll(Some(0), &Want::all())?;
/// assert_eq!(events[0].id, id);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct EventStream {
    kind: DatabaseKind,
    settings: Arc<Settings>,
    reader: Arc<Reader>,
    hub: Arc<Hub>,
}

impl EventStream {
    /// Opens the stream in the database of `url`, with default options.
    ///
    /// URLs are `sqlite:file.db`, `sqlite:///absolute/file.db`, `sqlite::memory:`,
    /// `postgres://user:password@host:port/database?sslmode=verify-full&sslrootcert=ca.pem`,
    /// `mysql://user:password@host:port/database?ssl-mode=VERIFY_IDENTITY&ssl-ca=ca.pem`
    /// (also for MariaDB). Parts with special characters are percent-encoded; `socket=/path` in
    /// the query names a Unix socket; any option may stand in the query, too.
    ///
    /// Opening makes one connection, to see that it can, and never changes a schema: see
    /// [`migrate`](Self::migrate).
    ///
    /// # Errors
    /// `InvalidUrl`, `InvalidOption`, `ConnectFailed`, `PermissionDenied`, `ForeignSqlite`.
    pub fn open(url: &str) -> Result<Self> {
        Self::open_with(url, &Options::new())
    }

    /// Opens the stream with options; those in the URL win.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(url: &str, options: &Options) -> Result<Self> {
        Self::connect(url::parse(url, options)?)
    }

    /// Opens the stream of the environment variables `DB_EVT_TYPE` (`sqlite`, `postgresql` or
    /// `mysql`), `DB_EVT_HOST`, `_PORT`, `_SOCKET`, `_USER`, `_PASS`, `_DB` and `_MAXCONN`, as the
    /// npm package reads them.
    ///
    /// # Errors
    /// As [`open`](Self::open), naming the variable.
    pub fn from_env(options: &Options) -> Result<Self> {
        Self::connect(url::from_env("DB_EVT", options, |name| std::env::var(name).ok())?)
    }

    fn connect((location, settings): (Location, Settings)) -> Result<Self> {
        let settings = Arc::new(settings);
        let table = &settings.event_table;
        let backend = Backend::new(location.clone(), settings.clone())?;
        let kind = backend.kind();
        let pool = Pool::open(backend, &settings)?;
        // After the first connection: it makes a SQLite file, which then has one true name.
        let wakeup = location.name().map(|name| Wakeup::of(&format!("{name}/{table}")));
        let writer = Arc::new(Writer::new(&settings, wakeup.unwrap_or_default()));
        let reader = Reader::new(pool, settings.clone(), writer);
        let reader = Arc::new(reader);
        let hub = Arc::new(Hub::new(reader.clone()));
        Ok(EventStream { kind, settings, reader, hub })
    }

    /// What reads settled events, for workers of this library.
    /// A place at the end of the stream, to wait there.
    pub(crate) fn tail_place(&self) -> TailPlace {
        TailPlace::new(self.hub.clone())
    }

    pub(crate) fn reader(&self) -> &Arc<Reader> {
        &self.reader
    }

    /// Which database the stream lives in.
    pub fn kind(&self) -> DatabaseKind {
        self.kind
    }

    /// Makes the tables, or brings them up to date. Idempotent; several processes may do it at
    /// once; tables that the npm package made are taken over. It looks at what is there: a table that
    /// somebody has dropped is made again, beside those that are still there. A new event table begins
    /// with id 1, below the cursors of a consumer table that stayed: those consumers are told that
    /// their stream began anew. A new consumer table has no consumers: each has to register, and
    /// begins with the first event that is there.
    ///
    /// # Errors
    /// `ForeignSchema` if tables of these names are something else, `NewerSchema` if a newer
    /// version of this library made them, `PermissionDenied`, and those of the database.
    pub fn migrate(&self) -> Result<()> {
        let settings = &self.settings;
        let mut lease = self.reader.pool()?.checkout()?;
        // What changed before is told to those who read; what changes now is not taken for such a change.
        let known = lease.call(|connection| self.reader.ask(connection)).is_ok();
        let migrated = lease.call(|connection| migrate::active(connection, settings));
        if known && migrated.is_ok() {
            self.reader.forget_life();
        }
        // A new connection finds the tables, and their schema, when it is made.
        lease.retire();
        migrated
    }

    /// Adds one event and returns its id, after the commit is as durable as the database is set
    /// up to make it. `data` is anything that can be JSON; `&()` gives `null`. One round trip.
    /// Threads that add at the same time share commits: 16 of them are several times as fast as
    /// one, and each still returns after the commit of its own event.
    ///
    /// # Errors
    /// `InvalidType`, `InvalidData`, `TooLarge` before anything is sent; those of the database.
    /// After `ConnectionLost` the event may or may not have been added.
    pub fn add_event<T: Serialize + ?Sized>(&self, event_type: &str, data: &T) -> Result<EventId> {
        self.add(&NewEvent::new(event_type, data)?)
    }

    /// As [`add_event`](Self::add_event), with an event that was made before.
    ///
    /// # Errors
    /// As [`add_event`](Self::add_event).
    pub fn add(&self, event: &NewEvent) -> Result<EventId> {
        self.reader.writer.add(event, || self.reader.pool())
    }

    /// Adds any number of events in one transaction, all or none; returns their ids, which
    /// increase in the order of `events`.
    ///
    /// # Errors
    /// As [`add_event`](Self::add_event); nothing was added then.
    pub fn add_events(&self, events: &[NewEvent]) -> Result<Vec<EventId>> {
        self.reader.writer.add_many(events, || self.reader.pool())
    }

    /// Begins a transaction for the caller's own changes and their events.
    ///
    /// # Errors
    /// Those of the database; `Busy` on SQLite if another writer does not end in time.
    pub fn begin(&self) -> Result<Transaction> {
        let lease = self.reader.pool()?.checkout()?;
        Transaction::begin(lease, self.reader.writer.clone())
    }

    /// Adds an event to the caller's own transaction (or connection) of the driver: see
    /// [`EventTarget`]. The stream's connections are not used.
    ///
    /// ```
    /// use futoin_eventstream::{rusqlite, EventStream};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("app.db");
    /// let stream = EventStream::open(&format!("sqlite://{}", path.display()))?;
    /// stream.migrate()?;
    /// let mut own = rusqlite::Connection::open(&path)?;
    /// let mut tx = own.transaction()?;
    /// tx.execute("CREATE TABLE users(name TEXT)", [])?;
    /// stream.add_event_to(&mut tx, "USR_ADD", &"Ann")?;
    /// tx.commit()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`add_event`](Self::add_event), and `InvalidArgument` if the driver is of another
    /// database than the stream.
    pub fn add_event_to<C: EventTarget, T: Serialize + ?Sized>(
        &self,
        target: &mut C,
        event_type: &str,
        data: &T,
    ) -> Result<EventId> {
        let event = NewEvent::new(event_type, data)?;
        self.reader.writer.check(from_ref(&event))?;
        if C::KIND != self.kind {
            fail!(
                InvalidArgument,
                "the stream is on {:?}, but the connection is of {:?}",
                self.kind,
                C::KIND
            );
        }
        target.insert(&Table(&self.settings.event_table), &event).map_err(of_insert)
    }

    /// The SQL and parameters that add an event, for the caller's own connection of any driver.
    ///
    /// # Errors
    /// `InvalidType`, `InvalidData`, `TooLarge`.
    pub fn statement<T: Serialize + ?Sized>(
        &self,
        event_type: &str,
        data: &T,
    ) -> Result<Statement> {
        self.statement_of(&NewEvent::new(event_type, data)?)
    }

    /// As [`statement`](Self::statement), with an event that was made before.
    ///
    /// # Errors
    /// `TooLarge`.
    pub(crate) fn statement_of(&self, event: &NewEvent) -> Result<Statement> {
        Statement::with_settings(self.kind, event, &self.settings)
    }

    /// The consumer `user:component`. Component `LIVE` gives a [LIVE](Self::live) one.
    ///
    /// # Errors
    /// `InvalidUser`, `InvalidComponent`, `IdentTooLong`.
    pub fn consumer(&self, user: &str, component: &str) -> Result<Consumer> {
        Consumer::new(self.reader.clone(), self.hub.clone(), user, component)
    }

    /// A consumer that never registers and gets what comes from now on.
    ///
    /// # Errors
    /// `InvalidUser`.
    pub fn live(&self, user: &str) -> Result<Consumer> {
        self.consumer(user, LIVE)
    }

    /// Subscribes the consumer `user:component`: what it wants is pushed to it from now on, for a
    /// reliable one after what its stored cursor says. `LIVE` never registers. Of `options`, those
    /// of push count (see [`Options`]), before the stream's own.
    ///
    /// # Errors
    /// `NotRegistered`, `Occupied` if another receiver of this ident is at work here or in another
    /// process, `SecurityError`, `InvalidLastId`, `UnsafeServer`, invalid names, and those of the
    /// database.
    pub fn subscribe(
        &self,
        user: &str,
        component: &str,
        want: Want,
        options: &Options,
    ) -> Result<Subscription> {
        let settings = options.over(&self.settings);
        Subscription::start(self.hub.clone(), user, component, want, settings)
    }

    /// How far each registered consumer is behind, and what holds the stream up. Counts the events
    /// that are waiting, so it costs more the more there are.
    ///
    /// # Errors
    /// `NotMigrated`, `UnsafeServer`, and those of the database.
    pub fn lag(&self) -> Result<Lag> {
        let (rows, stream, unreachable) = self.reader.pool()?.with_retry(|connection| {
            Ok((connection.consumers()?, connection.stream_row()?, connection.unreachable()?))
        })?;
        let lowest = rows.iter().map(|row| row.last_id).min().unwrap_or(0);
        let (look, holders) = self.reader.look(lowest)?;
        let pool = self.reader.pool()?;
        let late = pool.with_retry(|c| {
            self.reader.latecomers(c, look.after, look.horizon.min(stream.highest))
        })?;
        let late = (!late.is_empty()).then(|| {
            let consequence = "Consumers that had passed over them will not get them";
            late_error(&late, consequence).to_string()
        });
        Ok(Lag {
            highest_id: stream.highest,
            first_unsettled: (look.visible > look.horizon).then_some(look.horizon + 1),
            holders,
            blocked: look.blocked,
            warnings: unreachable.into_iter().chain(late).collect(),
            consumers: rows
                .into_iter()
                .map(|row| ConsumerLag {
                    ident: row.ident,
                    last_id: row.last_id,
                    events_behind: row.behind,
                    seconds_behind: row.oldest.map_or(0, |ts| (stream.now - ts).max(0)),
                    seconds_since_seen: (stream.now - row.seen).max(0),
                    seconds_registered: (stream.now - row.registered).max(0),
                })
                .collect(),
        })
    }

    /// Closes the stream: idle connections at once, lent ones when their work ends. Every call on
    /// this handle, its clones and its consumers that comes later is refused. A call that a server
    /// does not answer is cut off after a moment (200 ms). May be called twice.
    pub fn close(&self) {
        self.hub.close();
        self.reader.close();
    }
}

/// How far the consumers of a stream are: see [`EventStream::lag`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The highest event id ever allocated.
    pub highest_id: EventId,
    /// The first id that is not settled, if events wait behind it.
    pub first_unsettled: Option<EventId>,
    /// Whose open transactions keep it unsettled, as far as the server tells.
    pub holders: Vec<HolderInfo>,
    /// What keeps this library from knowing better, and the grant that helps.
    pub blocked: Option<String>,
    /// Rows that consumers do not get, and why: ids that are no event ids, and events that appeared
    /// below ids that were settled at an earlier call of this handle.
    pub warnings: Vec<String>,
    /// The registered consumers in order of their idents.
    pub consumers: Vec<ConsumerLag>,
}

/// How far one registered consumer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerLag {
    /// `user:component`.
    pub ident: String,
    /// Its cursor: it has acknowledged every event up to this.
    pub last_id: EventId,
    /// Events after the cursor, wanted or not.
    pub events_behind: u64,
    /// Age of the oldest of them; 0 if there is none.
    pub seconds_behind: i64,
    /// When it last polled or acknowledged, to about 10 s.
    pub seconds_since_seen: i64,
    /// When it was registered.
    pub seconds_registered: i64,
}
