//! The warehouse: the database with all history.

use super::same::same_json;
use crate::backend::pool::Pool;
use crate::backend::{Backend, Batch, Connection, DatabaseKind, ReadRange, migrate};
use crate::config::location::Location;
use crate::config::url;
use crate::config::{Options, Settings};
use crate::model::error::{Error, ErrorKind, Result, fail};
use crate::model::event::{Event, EventId, shorten};
use crate::model::ident::Want;
use crate::model::ident::check_limit;
use crate::sync::lock::lock;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The database with all history (table `evt_history`), filled by an [`Archiver`]. It may be of
/// another kind than that of the stream, or the same database. Cheap to clone; all clones share one
/// pool of connections.
///
/// Every method may be called from any thread and blocks until the database has answered. Not part
/// of FTN18, which leaves to the application what is done with old events; the table is that of
/// the npm package.
///
/// ```
/// use futoin_eventstream::{Archiver, EventStream, Options, Want, Warehouse};
/// # fn main() -> Result<(), futoin_eventstream::Error> {
/// let stream = EventStream::open("sqlite::memory:")?;
/// let warehouse = Warehouse::open("sqlite::memory:")?;
/// stream.migrate()?;
/// warehouse.migrate()?;
/// let id = stream.add_event("USR_ADD", &"Ann")?;
/// Archiver::new(&stream, &warehouse, &Options::new())?.run_once()?;
/// let events = warehouse.history(1, &Want::all(), 100)?;
/// assert_eq!(events[0].id, id);
/// # Ok(()) }
/// ```
///
/// [`Archiver`]: crate::Archiver
#[derive(Clone)]
pub struct Warehouse {
    kind: DatabaseKind,
    settings: Arc<Settings>,
    /// `None` once closed.
    pool: Arc<Mutex<Option<Pool>>>,
}

impl Warehouse {
    /// Opens the warehouse in the database of `url` (for its forms see [`EventStream::open`]),
    /// with default options. Makes one connection, to see that it can; changes no schema.
    ///
    /// # Errors
    /// `InvalidUrl`, `InvalidOption`, `ConnectFailed`, `ForeignSqlite`.
    ///
    /// [`EventStream::open`]: crate::EventStream::open
    pub fn open(url: &str) -> Result<Self> {
        Self::open_with(url, &Options::new())
    }

    /// Opens the warehouse with options, of which `history_table`, `max_chunk_bytes` and those of
    /// the connections matter; those in the URL win.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(url: &str, options: &Options) -> Result<Self> {
        Self::connect(url::parse(url, options)?)
    }

    /// Opens the warehouse of the environment variables `DB_EVTDWH_TYPE` (`sqlite`, `postgresql`
    /// or `mysql`), `DB_EVTDWH_HOST`, `_PORT`, `_SOCKET`, `_USER`, `_PASS`, `_DB` and `_MAXCONN`,
    /// as the npm package reads them.
    ///
    /// # Errors
    /// As [`open`](Self::open), naming the variable.
    pub fn from_env(options: &Options) -> Result<Self> {
        Self::connect(url::from_env("DB_EVTDWH", options, |name| std::env::var(name).ok())?)
    }

    fn connect((location, settings): (Location, Settings)) -> Result<Self> {
        let settings = Arc::new(settings);
        let backend = Backend::new(location, settings.clone())?;
        let kind = backend.kind();
        let pool = Pool::open(backend, &settings)?;
        Ok(Warehouse { kind, settings, pool: Arc::new(Mutex::new(Some(pool))) })
    }

    /// Which database the warehouse is.
    pub fn kind(&self) -> DatabaseKind {
        self.kind
    }

    /// Makes the table, or brings it up to date. Idempotent; several processes may do it at once;
    /// a table that the npm package made is taken over.
    ///
    /// # Errors
    /// `ForeignSchema` if a table of this name is something else, `NewerSchema` if a newer version
    /// of this library made it, `PermissionDenied`, and those of the database.
    pub fn migrate(&self) -> Result<()> {
        let settings = &self.settings;
        self.pool()?.with(|connection| migrate::warehouse(connection, settings))
    }

    /// The events of the history from `from_id` on (it is the first, if it is there), at most
    /// `limit` of them, in order of their ids. Fewer come when there are no more, or when
    /// `max_chunk_bytes` is reached; go on from the last id plus 1 until none come.
    ///
    /// ```
    /// # use futoin_eventstream::{Error, Event, Want, Warehouse};
    /// fn all(warehouse: &Warehouse, mut with: impl FnMut(Event)) -> Result<(), Error> {
    ///     let mut from = 1;
    ///     loop {
    ///         let events = warehouse.history(from, &Want::all(), 1000)?;
    ///         let Some(last) = events.last() else { return Ok(()) };
    ///         from = last.id + 1;
    ///         events.into_iter().for_each(&mut with);
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for a limit of 0, `NotMigrated`, and those of the database.
    pub fn history(&self, from_id: EventId, want: &Want, limit: usize) -> Result<Vec<Event>> {
        let mut after = from_id.saturating_sub(1);
        loop {
            let batch = self.read(limit, ReadRange::all(after, want, &self.settings))?;
            // Rows may have been passed over that only a collation took for wanted.
            if !batch.cut || !batch.events.is_empty() {
                return Ok(batch.events);
            }
            after = batch.scanned;
        }
    }

    /// Closes the warehouse: idle connections at once, lent ones when their work ends. Every call
    /// on this handle and its clones that comes later is refused. May be called twice.
    pub fn close(&self) {
        let pool = lock(&self.pool).take();
        if let Some(pool) = pool {
            pool.close();
        }
    }

    /// The longest time of a call.
    pub(super) fn call_timeout(&self) -> Option<Duration> {
        self.settings.call_timeout
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn pool(&self) -> Result<Pool> {
        match &*lock(&self.pool) {
            Some(pool) => Ok(pool.clone()),
            None => fail!(Closed, "the warehouse was closed"),
        }
    }

    /// Whether no event is given whose data is no JSON: the option `check_json`.
    pub(crate) fn checks_json(&self) -> bool {
        self.settings.check_json
    }

    /// What the history has of the range.
    pub(crate) fn read(&self, limit: usize, range: ReadRange<'_>) -> Result<Batch> {
        check_limit(limit)?;
        let range = ReadRange { limit, ..range };
        self.pool()?.with_retry(|connection| connection.read_history(&range))
    }

    /// The highest id in the history; 0 if there is none.
    pub(crate) fn end(&self) -> Result<EventId> {
        self.pool()?.with_retry(Connection::history_end)
    }

    /// Puts events, which are in order, into the history, all or none. Those that are there
    /// already are compared.
    ///
    /// # Errors
    /// `HistoryConflict` if one of the same id is there that is not the same.
    pub(super) fn store(&self, events: &[Event]) -> Result<()> {
        if self.insert(events)? {
            return Ok(());
        }
        // Another archiver may be at work on the same events: then more of them come meanwhile.
        for _ in 0..10 {
            let missing = self.missing(events)?;
            if missing.is_empty() || self.insert(&missing)? {
                return Ok(());
            }
        }
        fail!(Conflict, "another archiver keeps writing the same events")
    }

    /// Whether none of the events was there.
    fn insert(&self, events: &[Event]) -> Result<bool> {
        let inserted = self.pool()?.with(|connection| {
            connection.in_transaction(|connection| match connection.insert_history(events)? {
                true => Ok(()),
                false => fail!(HistoryConflict, "an event of the batch is in the history already"),
            })
        });
        match inserted {
            Err(error) if error.kind() == ErrorKind::HistoryConflict => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Which of the events are not there; the others are equal to what is there.
    fn missing(&self, events: &[Event]) -> Result<Vec<Event>> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            return Ok(Vec::new());
        };
        let mut missing = Vec::new();
        let mut rest = events.iter().peekable();
        let mut after = first.id - 1;
        loop {
            let want = Want::all();
            let range = ReadRange::all(after, &want, &self.settings);
            let range = ReadRange { up_to: last.id, check_json: false, ..range };
            let batch = self.read(events.len(), range)?;
            for found in &batch.events {
                while let Some(event) = rest.next_if(|event| event.id < found.id) {
                    missing.push(event.clone());
                }
                if let Some(event) = rest.next_if(|event| event.id == found.id) {
                    compare(event, found)?;
                }
            }
            if !batch.cut {
                missing.extend(rest.cloned());
                return Ok(missing);
            }
            after = batch.scanned;
        }
    }
}

fn compare(event: &Event, found: &Event) -> Result<()> {
    let heads = |event: &Event| (event.id, event.event_type.clone(), event.ts);
    if heads(event) == heads(found) && same_json(event.data.as_str(), found.data.as_str()) {
        return Ok(());
    }
    let show = |event: &Event| {
        let data = shorten(event.data.as_str());
        visible(&format!("{} {} {data}", event.ts, event.event_type))
    };
    Err(Error::new(
        ErrorKind::HistoryConflict,
        format!(
            "event {} is in the history as \"{}\", but in the stream as \"{}\": two streams write \
             to one history, or one of the rows was changed. Correct the wrong one, then start the \
             archiver again",
            event.id,
            show(found),
            show(event)
        ),
    ))
}

/// What a terminal would act on, or not show, is escaped: the database may hold anything.
fn visible(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\'' | '\\' => c.to_string(),
        c => c.escape_debug().to_string(),
    };
    text.chars().map(escaped).collect()
}
