//! The consumers that poll for events (FTN18 section 2.2).

mod cursor;
mod live;

use self::cursor::Cursor;
use self::live::LivePosition;
use crate::backend::Connection;
use crate::model::error::{ErrorKind, Result, fail};
use crate::model::event::{Event, EventId, UnreadableEvent};
use crate::model::ident::check_limit;
use crate::model::ident::{Component, Ident, Want};
use crate::model::life::Position;
use crate::read::background::{Background, Timed};
use crate::read::reader::doubt::{TRIES, broke_again};
use crate::read::reader::{Chunk, Reader};
use crate::read::rewind::Standing;
use crate::read::shared_chunks::ConsumerKey;
use crate::read::tail::{Tail, TailPlace};
use crate::sync::cancel::{CancelToken, Wait};
use crate::sync::lock::lock;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A consumer of a stream: reliable, or `LIVE`. Made by [`EventStream::consumer`].
///
/// A reliable consumer has a cursor in the database: whatever it has acknowledged is never given
/// again, and nothing is skipped. Use one at a time of the same ident. `LIVE` has no row in the
/// database and starts now, with the events of transactions that are open now and what was committed
/// behind the first of these; its position is kept in this handle. All methods may be called from
/// any thread.
///
/// ```
/// use futoin_eventstream::{EventStream, Want};
/// # fn main() -> Result<(), futoin_eventstream::Error> {
/// let stream = EventStream::open("sqlite::memory:")?;
/// stream.migrate()?;
/// let audit = stream.consumer("app", "Audit")?;
/// audit.register()?;
/// stream.add_event("USR_ADD", &"Ann")?;
/// let events = audit.poll(None, &Want::all())?;
/// assert_eq!(events[0].event_type, "USR_ADD");
/// // The next poll acknowledges; so does `acknowledge`.
/// assert!(audit.poll(Some(events[0].id), &Want::all())?.is_empty());
/// # Ok(()) }
/// ```
///
/// [`EventStream::consumer`]: crate::EventStream::consumer
pub struct Consumer {
    reader: Arc<Reader>,
    cursor: Cursor,
    live: Option<Mutex<LivePosition>>,
    background: Background,
    key: ConsumerKey,
    tail: TailPlace,
}

impl Consumer {
    /// `tail` reads the end of the stream while this consumer waits there.
    pub(crate) fn new(
        reader: Arc<Reader>,
        tail: Arc<dyn Tail>,
        user: &str,
        component: &str,
    ) -> Result<Self> {
        let component = Component::new(component)?;
        let ident = Ident::new(user, &component)?;
        let live = component.is_live().then(Mutex::default);
        let key = reader.consumer_key();
        let background = Background::default();
        let cursor = Cursor { standing: reader.standing(&ident), ident };
        let tail = TailPlace::new(tail);
        Ok(Consumer { reader, cursor, live, background, key, tail })
    }

    /// The key of this consumer, `user:component`.
    pub fn ident(&self) -> &Ident {
        &self.cursor.ident
    }

    /// Whether this is a LIVE consumer.
    pub fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Registers the consumer with its cursor before the first event that is still there.
    /// Does nothing if it is registered already.
    ///
    /// # Errors
    /// `LiveNotAllowed`, `SecurityError` (option `allow_reliable`), and those of the database.
    pub fn register(&self) -> Result<()> {
        self.register_after(|_, _| Ok(0))
    }

    /// Registers the consumer with the cursor that `cursor` finds.
    pub(crate) fn register_after(
        &self,
        cursor: impl Fn(&Reader, &mut Connection) -> Result<EventId>,
    ) -> Result<()> {
        self.check_reliable("register")?;
        self.reader.forget(self.key);
        self.reader.pool()?.with_retry(|connection| {
            let cursor = cursor(&self.reader, connection)?;
            connection.register(&self.cursor.ident, cursor)
        })
    }

    /// Removes the consumer and its cursor; returns whether it was registered. Events that only
    /// it had not acknowledged may be discarded from then on.
    ///
    /// # Errors
    /// As [`register`](Consumer::register).
    pub fn unregister(&self) -> Result<bool> {
        self.check_reliable("unregister")?;
        self.reader.forget(self.key);
        let ident = &self.cursor.ident;
        let was_there = self.reader.pool()?.with(|connection| connection.unregister(ident));
        *lock(&self.cursor.standing) = Standing::default();
        was_there
    }

    /// The next settled events, at most `max_chunk_events` of them, in order of their ids.
    ///
    /// `last_id` acknowledges every event up to it; `None` goes on after the stored cursor, and so
    /// does an id below it. An empty result means that there is nothing to be had now. Events
    /// behind one whose transaction is still open are kept back until it has ended.
    ///
    /// For a consumer that gets full chunks, and works on them between its polls, the next chunk is
    /// read meanwhile on another connection, and kept for half a second.
    /// Without a filter, what another consumer of the same stream handle has read in the last quarter
    /// of a second is copied, and only what is behind it is read.
    ///
    /// # Errors
    /// `NotRegistered`, `SecurityError` (options `allow_polling`, `allow_reliable`),
    /// `InvalidLastId` for an id that was never allocated, `UnsafeServer`, and those of the database.
    /// `CorruptEvent` if the next event cannot be read (those before it came first):
    /// [`Error::unreadable`](crate::Error::unreadable) has its id and its raw content. A reliable consumer gets this error
    /// until the row is corrected or passed over by [`skip`](Consumer::skip); LIVE gets it once.
    /// `StreamRewound`, once, if the stream lost events or began anew (a restore, a failover that lost
    /// commits, TRUNCATE): the next poll goes on after the cursor as it is then. An id from before
    /// that acknowledges nothing.
    pub fn poll(&self, last_id: Option<EventId>, want: &Want) -> Result<Vec<Event>> {
        self.poll_at_most(last_id, want, self.reader.settings.max_chunk_events)
    }

    /// As [`poll`](Consumer::poll), with at most `limit` events, and never more than
    /// `max_chunk_events`: `usize::MAX` gives as many as that.
    ///
    /// # Errors
    /// As [`poll`](Consumer::poll), and `InvalidArgument` for a limit of 0.
    pub fn poll_at_most(
        &self,
        last_id: Option<EventId>,
        want: &Want,
        limit: usize,
    ) -> Result<Vec<Event>> {
        let settings = &self.reader.settings;
        if !settings.allow_polling {
            fail!(SecurityError, "polling is switched off by the option allow_polling");
        }
        check_limit(limit)?;
        let limit = limit.min(settings.max_chunk_events);
        match &self.live {
            Some(position) => lock(position).poll(&self.reader, self.key, last_id, want, limit),
            None => self.poll_reliable(last_id, want, limit),
        }
    }

    /// As [`poll_at_most`](Self::poll_at_most), but waits for the first event, up to `timeout`; zero
    /// asks once, `Duration::MAX` has no end. Gives no event if none came in time.
    ///
    /// Waiting costs what a waiting [`Subscription`](crate::Subscription) costs: one thread of the
    /// stream handle reads the end of the stream for all who wait there, and wakes this call when an
    /// event comes that it wants. The thread begins with the first wait, and stays until this
    /// `Consumer` is dropped; it asks the database nothing while nobody waits. Events of other types
    /// are acknowledged once a second.
    ///
    /// ```
    /// use futoin_eventstream::{EventStream, Want};
    /// use std::time::Duration;
    /// # fn main() -> Result<(), futoin_eventstream::Error> {
    /// let stream = EventStream::open("sqlite::memory:")?;
    /// stream.migrate()?;
    /// let audit = stream.consumer("app", "Audit")?;
    /// audit.register()?;
    /// let writer = stream.clone();
    /// let thread = std::thread::spawn(move || writer.add_event("USR_ADD", &"Ann"));
    /// let events = audit.poll_for(None, &Want::all(), 10, Duration::from_secs(10), None)?;
    /// assert_eq!(events[0].event_type, "USR_ADD");
    /// # thread.join().unwrap()?;
    /// # Ok(()) }
    /// ```
    ///
    /// The time bounds the wait for an event. A server that does not answer is bounded by the option
    /// `call_timeout_ms`, and by the token.
    ///
    /// # Errors
    /// As [`poll_at_most`](Self::poll_at_most), and `Cancelled` if the token ended the wait.
    pub fn poll_for(
        &self,
        last_id: Option<EventId>,
        want: &Want,
        limit: usize,
        timeout: Duration,
        cancel: Option<&CancelToken>,
    ) -> Result<Vec<Event>> {
        let wait = Wait::new(timeout, cancel);
        self.tail.wait_for(want, &wait, || self.poll_at_most(last_id, want, limit))
    }

    fn poll_reliable(
        &self,
        last_id: Option<EventId>,
        want: &Want,
        limit: usize,
    ) -> Result<Vec<Event>> {
        self.check_reliable("poll")?;
        for _ in 0..TRIES {
            let doubts = self.cursor.verified(&self.reader)?;
            let last_id = lock(&self.cursor.standing).fresh(last_id);
            let timed = match self.poll_once(last_id, want, limit, doubts) {
                // Somebody else has to find out what this means.
                Err(error) if error.kind() == ErrorKind::StreamRewound => continue,
                result => result?,
            };
            let Some(timed) = timed.filter(|_| self.reader.doubts() == doubts) else { continue };
            self.reader.gave(&mut lock(&self.cursor.standing), timed.chunk.given());
            self.background.returned(&self.reader, &timed, want, limit);
            return Ok(timed.chunk.events);
        }
        Err(broke_again())
    }

    /// `None` if the stream came into doubt meanwhile.
    fn poll_once(
        &self,
        last_id: Option<EventId>,
        want: &Want,
        limit: usize,
        doubts: u64,
    ) -> Result<Option<Timed>> {
        if let Some(timed) = self.take_prefetched(last_id, want, limit, doubts)? {
            return Ok(Some(timed));
        }
        if let Some(timed) = self.read_while_storing(last_id, want, limit, doubts)? {
            return Ok(Some(timed));
        }
        match self.cursor.store(&self.reader, last_id.unwrap_or(0), doubts)? {
            Some(cursor) => self.read_from(cursor, want, limit, doubts),
            None => Ok(None),
        }
    }

    fn read(
        &self,
        connection: &mut Connection,
        from: Position,
        want: &Want,
        limit: usize,
    ) -> Result<Chunk> {
        self.reader.read_beside(self.key, connection, from, want, limit)
    }

    fn read_from(
        &self,
        cursor: EventId,
        want: &Want,
        limit: usize,
        doubts: u64,
    ) -> Result<Option<Timed>> {
        let from = self.cursor.position(cursor);
        let timed = self.reader.pool()?.with_retry(|connection| {
            let timed = Timed::read(|| self.read(connection, from, want, limit))?;
            if timed.chunk.events.is_empty() {
                if !self.reader.is_allocated(connection, cursor)? {
                    self.reader.doubt(false);
                }
                self.reader.check_reachable(connection)?;
            }
            Ok(timed)
        })?;
        if self.reader.doubts() != doubts {
            return Ok(None);
        }
        let chunk = &timed.chunk;
        if chunk.events.is_empty() && chunk.settled_to > cursor {
            // Nothing wanted up to there: do not read it again.
            self.cursor.move_to(&self.reader, chunk.end(), doubts)?;
        }
        Ok(Some(timed))
    }

    /// The events that were read while the caller worked, once the cursor is stored. `None` if there
    /// are none, or the stored cursor turned out to be a later one.
    fn take_prefetched(
        &self,
        last_id: Option<EventId>,
        want: &Want,
        limit: usize,
        doubts: u64,
    ) -> Result<Option<Timed>> {
        let Some(reading) = self.background.take(last_id, want, limit) else { return Ok(None) };
        let stored = self.cursor.store(&self.reader, last_id.unwrap_or(0), doubts)?;
        let timed = reading.wait(&self.reader).filter(|_| stored.is_some() && last_id == stored);
        Ok(timed.filter(|timed| !timed.chunk.events.is_empty()))
    }

    /// For a consumer with a backlog that does nothing else: stores the cursor while the next events
    /// are read, because the commit waits for the disk. `None` where another connection for that is
    /// not to be had, there is nothing, or the stored cursor turned out to be a later one.
    fn read_while_storing(
        &self,
        last_id: Option<EventId>,
        want: &Want,
        limit: usize,
        doubts: u64,
    ) -> Result<Option<Timed>> {
        let pool = self.reader.pool()?;
        let (Some(last_id), true) = (last_id, self.background.is_busy() && pool.has_spare()) else {
            return Ok(None);
        };
        // Validated first, because reading starts at this id.
        if !pool.with_retry(|connection| self.reader.is_allocated(connection, last_id))? {
            return Ok(None);
        }
        let from = self.cursor.position(last_id);
        let (reader, cursor) = (self.reader.clone(), self.cursor.clone());
        let (stored, timed) = self.background.store_while(
            move || cursor.store(&reader, last_id, doubts).map(|stored| stored.unwrap_or(0)),
            || {
                pool.with_retry(|connection| {
                    Timed::read(|| self.read(connection, from, want, limit))
                })
            },
        );
        let stored = match stored {
            Some(stored) => stored?,
            None => self.cursor.store(&self.reader, last_id, doubts)?.unwrap_or(0),
        };
        Ok(Some(timed?).filter(|timed| stored == last_id && !timed.chunk.events.is_empty()))
    }

    /// Acknowledges every event up to `last_id`. The cursor never moves back; skipping ahead on
    /// purpose is allowed up to the highest id allocated, and so is passing over one event that cannot
    /// be read. For LIVE it moves this handle's position.
    ///
    /// An id that was given before the stream was rewound acknowledges nothing.
    ///
    /// # Errors
    /// `NotRegistered`, `SecurityError`, `InvalidLastId`, `StreamRewound` (as
    /// [`poll`](Consumer::poll)), and those of the database.
    pub fn acknowledge(&self, last_id: EventId) -> Result<()> {
        if let Some(position) = &self.live {
            return lock(position).acknowledge(&self.reader, last_id);
        }
        self.check_reliable("acknowledge")?;
        self.store(Some(last_id)).map(|_| ())
    }

    /// Passes over exactly the event `id`, if it is the next one of this reliable consumer and
    /// cannot be read: acknowledges it. Gives what stands in its row.
    ///
    /// ```
    /// use futoin_eventstream::{ErrorKind, EventStream, Want};
    /// # fn main() -> Result<(), futoin_eventstream::Error> {
    /// let stream = EventStream::open("sqlite::memory:")?;
    /// stream.migrate()?;
    /// let audit = stream.consumer("app", "Audit")?;
    /// audit.register()?;
    /// let mut tx = stream.begin()?;
    /// tx.execute("INSERT INTO evt_queue(type, data, ts) VALUES ('A', '1', 'yesterday')", &[])?;
    /// tx.commit()?;
    /// let error = audit.poll(None, &Want::all()).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::CorruptEvent);
    /// let row = audit.skip(error.unreadable().unwrap().id)?;
    /// assert_eq!((row.id, row.ts.as_str()), (1, "yesterday"));
    /// assert!(audit.poll(None, &Want::all())?.is_empty());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` if another event, or none, is the next one, or if it can be read; then
    /// nothing is acknowledged. Otherwise as [`acknowledge`](Consumer::acknowledge).
    pub fn skip(&self, id: EventId) -> Result<UnreadableEvent> {
        match self.next_unreadable()? {
            Some(row) if row.id == id => self.store(Some(id)).map(|_| row),
            next => {
                let next = next.map_or("readable".to_owned(), |row| format!("event {}", row.id));
                fail!(
                    InvalidArgument,
                    "event {id} is not passed over, because it is not the next event of {} or can \
                     be read: the next one is {next}",
                    self.cursor.ident
                )
            }
        }
    }

    /// The next event of this reliable consumer, if it cannot be read.
    ///
    /// # Errors
    /// As [`poll`](Consumer::poll), but for `CorruptEvent`.
    pub fn next_unreadable(&self) -> Result<Option<UnreadableEvent>> {
        self.check_reliable("pass over an event")?;
        let cursor = Position::at(self.store(None)?);
        let pool = self.reader.pool()?;
        match pool.with_retry(|c| self.reader.read(c, cursor, &Want::all(), 1)) {
            Ok(_) => Ok(None),
            Err(error) => error.unreadable().cloned().map(Some).ok_or(error),
        }
    }

    /// Stores the cursor, unless the id is of before the stream was rewound; gives where it is.
    fn store(&self, last_id: Option<EventId>) -> Result<EventId> {
        for _ in 0..TRIES {
            let doubts = self.cursor.verified(&self.reader)?;
            let last_id = lock(&self.cursor.standing).fresh(last_id).unwrap_or(0);
            if let Some(cursor) = self.cursor.store(&self.reader, last_id, doubts)? {
                return Ok(cursor);
            }
        }
        Err(broke_again())
    }

    /// Whether no event is given whose data is no JSON: the option `check_json`.
    pub(crate) fn checks_json(&self) -> bool {
        self.reader.settings.check_json
    }

    fn check_reliable(&self, doing: &str) -> Result<()> {
        if self.is_live() {
            fail!(LiveNotAllowed, "the component LIVE cannot {doing}: it has no cursor");
        }
        if !self.reader.settings.allow_reliable {
            fail!(
                SecurityError,
                "consumer {:?} cannot {doing}: reliable consumers are switched off by the option \
                 allow_reliable",
                self.cursor.ident
            );
        }
        Ok(())
    }
}
