//! The consumers that poll for events (FTN18 section 2.2).

use crate::ahead::{Ahead, Timed};
use crate::backend::Connection;
use crate::consumer::{Component, Ident, Want};
use crate::error::{Error, ErrorKind, Result, fail};
use crate::event::{Event, EventId, UnreadableEvent};
use crate::reader::{Chunk, Reader};
use crate::recent::Place;
use crate::storing::Storing;
use std::sync::{Arc, Mutex, PoisonError};

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
    ident: Ident,
    live: Option<Mutex<LivePosition>>,
    ahead: Ahead,
    storing: Storing,
    place: Place,
}

/// Where a LIVE consumer is.
#[derive(Default)]
struct LivePosition {
    /// The last event that was given or acknowledged, or where it started.
    last: Option<EventId>,
    /// What the last poll learnt if it found nothing.
    barren: Option<Barren>,
}

/// After `after`, up to `upto`, there is no event of `want`: it need not be read again.
struct Barren {
    after: EventId,
    want: Want,
    upto: EventId,
}

impl Consumer {
    pub(crate) fn new(reader: Arc<Reader>, user: &str, component: &str) -> Result<Self> {
        let component = Component::new(component)?;
        let ident = Ident::new(user, &component)?;
        let live = component.is_live().then(Mutex::default);
        let place = reader.place();
        let (ahead, storing) = (Ahead::default(), Storing::default());
        Ok(Consumer { reader, ident, live, ahead, storing, place })
    }

    /// The key of this consumer, `user:component`.
    pub fn ident(&self) -> &Ident {
        &self.ident
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
        self.reader.leaves(self.place);
        self.reader.pool()?.repeatable(|connection| {
            let cursor = cursor(&self.reader, connection)?;
            connection.register(&self.ident, cursor)
        })
    }

    /// Removes the consumer and its cursor; returns whether it was registered. Events that only
    /// it had not acknowledged may be discarded from then on.
    ///
    /// # Errors
    /// As [`register`](Consumer::register).
    pub fn unregister(&self) -> Result<bool> {
        self.check_reliable("unregister")?;
        self.reader.leaves(self.place);
        self.reader.pool()?.once(|connection| connection.unregister(&self.ident))
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
    /// `InvalidLastId` for an id that was never drawn, `UnsafeServer`, and those of the database.
    /// `CorruptEvent` if the next event cannot be read (those before it came first):
    /// [`Error::unreadable`] has its id and its raw content. A reliable consumer gets this error
    /// until the row is corrected or passed over by [`skip`](Consumer::skip); LIVE gets it once.
    pub fn poll(&self, last_id: Option<EventId>, want: &Want) -> Result<Vec<Event>> {
        self.poll_at_most(last_id, want, self.reader.settings.max_chunk_events)
    }

    /// As [`poll`](Consumer::poll), with at most `limit` events (and never more than
    /// `max_chunk_events`).
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
        if limit == 0 {
            fail!(InvalidArgument, "a poll for at most 0 events");
        }
        let limit = limit.min(settings.max_chunk_events);
        match &self.live {
            Some(position) => {
                let mut position = position.lock().unwrap_or_else(PoisonError::into_inner);
                self.poll_live(&mut position, last_id, want, limit)
            }
            None => self.poll_reliable(last_id, want, limit),
        }
    }

    fn poll_reliable(
        &self,
        last_id: Option<EventId>,
        want: &Want,
        limit: usize,
    ) -> Result<Vec<Event>> {
        self.check_reliable("poll")?;
        let mut timed = self.take_read_ahead(last_id, want, limit)?;
        if timed.is_none() {
            timed = self.read_while_storing(last_id, want, limit)?;
        }
        let timed = match timed {
            Some(timed) => timed,
            None => {
                let cursor = self.store(last_id.unwrap_or(0))?;
                self.read_from(cursor, want, limit)?
            }
        };
        self.ahead.given(&self.reader, &timed, want, limit);
        Ok(timed.chunk.events)
    }

    fn read(
        &self,
        connection: &mut Connection,
        after: EventId,
        want: &Want,
        limit: usize,
    ) -> Result<Chunk> {
        self.reader.read_beside(self.place, connection, after, want, limit)
    }

    fn read_from(&self, cursor: EventId, want: &Want, limit: usize) -> Result<Timed> {
        let timed = self.reader.pool()?.repeatable(|connection| {
            let timed = Timed::read(|| self.read(connection, cursor, want, limit))?;
            if timed.chunk.events.is_empty() {
                self.reader.check_idle(connection, cursor, "the stored cursor")?;
            }
            Ok(timed)
        })?;
        if timed.chunk.events.is_empty() && timed.chunk.settled_to > cursor {
            // Nothing wanted up to there: do not read it again.
            self.reader.store(&self.ident, timed.chunk.settled_to)?;
        }
        Ok(timed)
    }

    /// The events that were read while the caller worked, once the cursor is stored. `None` if there
    /// are none, or the stored cursor turned out to be a later one.
    fn take_read_ahead(
        &self,
        last_id: Option<EventId>,
        want: &Want,
        limit: usize,
    ) -> Result<Option<Timed>> {
        let Some(reading) = self.ahead.take(last_id, want, limit) else { return Ok(None) };
        let stored = self.store(last_id.unwrap_or(0))?;
        let timed = reading.wait(&self.reader).filter(|_| last_id == Some(stored));
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
    ) -> Result<Option<Timed>> {
        let pool = self.reader.pool()?;
        let (Some(last_id), true) = (last_id, self.ahead.is_busy() && pool.has_spare()) else {
            return Ok(None);
        };
        // It decides from where is read.
        pool.repeatable(|connection| self.reader.check_drawn(connection, last_id, "last_id"))?;
        let (reader, ident) = (self.reader.clone(), self.ident.clone());
        let (stored, timed) = self.storing.beside(
            move || store(&reader, &ident, last_id),
            || {
                pool.repeatable(|connection| {
                    Timed::read(|| self.read(connection, last_id, want, limit))
                })
            },
        );
        let stored = stored.unwrap_or_else(|| self.store(last_id))?;
        Ok(Some(timed?).filter(|timed| stored == last_id && !timed.chunk.events.is_empty()))
    }

    fn poll_live(
        &self,
        position: &mut LivePosition,
        last_id: Option<EventId>,
        want: &Want,
        limit: usize,
    ) -> Result<Vec<Event>> {
        let (chunk, after) = self.reader.pool()?.repeatable(|connection| {
            let after = match last_id.or(position.last) {
                Some(id) => id,
                None => self.reader.live_start(connection)?,
            };
            self.reader.check_drawn(connection, after, "last_id")?;
            let from = match &position.barren {
                Some(barren) if barren.after == after && barren.want == *want => barren.upto,
                _ => after,
            };
            let chunk = self.read(connection, from, want, limit);
            if chunk.as_ref().is_ok_and(|chunk| chunk.events.is_empty()) {
                self.reader.check_idle(connection, after, "last_id")?;
            }
            match chunk {
                Err(error) if error.unreadable().is_none() => Err(error),
                chunk => Ok((chunk, after)),
            }
        })?;
        let chunk = match chunk {
            Ok(chunk) => chunk,
            // Told once: the next poll goes on behind the row that cannot be read.
            Err(error) => {
                let upto = error.unreadable().map_or(after, |row| row.id);
                position.last = Some(upto);
                position.barren = Some(Barren { after, want: want.clone(), upto });
                return Err(error);
            }
        };
        position.last = Some(chunk.events.last().map_or(after, |event| event.id));
        position.barren = chunk.events.is_empty().then(|| Barren {
            after,
            want: want.clone(),
            upto: chunk.settled_to,
        });
        Ok(chunk.events)
    }

    /// Acknowledges every event up to `last_id`. The cursor never moves back; skipping ahead on
    /// purpose is allowed up to the highest id drawn, and so is passing over one event that cannot
    /// be read. For LIVE it moves this handle's position.
    ///
    /// # Errors
    /// `NotRegistered`, `SecurityError`, `InvalidLastId`, and those of the database.
    pub fn acknowledge(&self, last_id: EventId) -> Result<()> {
        if let Some(position) = &self.live {
            let mut position = position.lock().unwrap_or_else(PoisonError::into_inner);
            self.reader.pool()?.repeatable(|c| self.reader.check_drawn(c, last_id, "last_id"))?;
            position.last = position.last.max(Some(last_id));
            return Ok(());
        }

        self.check_reliable("acknowledge")?;
        self.store(last_id).map(|_| ())
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
            Some(row) if row.id == id => self.store(id).map(|_| row),
            next => {
                let next = next.map_or("readable".to_owned(), |row| format!("event {}", row.id));
                fail!(
                    InvalidArgument,
                    "event {id} is not passed over, because it is not the next event of {} or can \
                     be read: the next one is {next}",
                    self.ident
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
        let cursor = self.store(0)?;
        let pool = self.reader.pool()?;
        match pool.repeatable(|c| self.reader.read(c, cursor, &Want::all(), 1)) {
            Ok(_) => Ok(None),
            Err(error) => error.unreadable().cloned().map(Some).ok_or(error),
        }
    }

    fn store(&self, last_id: EventId) -> Result<EventId> {
        store(&self.reader, &self.ident, last_id)
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
                self.ident
            );
        }
        Ok(())
    }
}

/// Stores the cursor of a consumer and gives where it is now.
fn store(reader: &Reader, ident: &Ident, last_id: EventId) -> Result<EventId> {
    let drawn = |c: &mut Connection| reader.check_drawn(c, last_id, "last_id");
    reader.pool()?.repeatable(drawn)?;
    reader.store(ident, last_id)?.ok_or_else(|| {
        let message = format!("consumer {ident:?} is not registered: call register()");
        Error::new(ErrorKind::NotRegistered, message)
    })
}
