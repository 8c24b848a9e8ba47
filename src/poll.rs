//! Reading settled events, and the consumers that poll for them (FTN18 section 2.2).

use crate::ahead::{Ahead, Timed};
use crate::backend::pool::Pool;
use crate::backend::{Connection, HolderInfo, ReadRange, Settled, Watch};
use crate::config::Settings;
use crate::consumer::{Component, Ident, Want};
use crate::error::{Error, ErrorKind, Result, fail};
use crate::event::{Event, EventId, MAX_EVENT_ID};
use crate::hint::Hint;
use crate::settle::Spans;
use crate::worker::panic_error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Reads settled events for all consumers of a stream handle.
///
/// What it keeps (how far the stream is settled, which ids were surely drawn) is derived from the
/// database, and forgotten when a connection breaks: behind it another database may stand now.
pub(crate) struct Reader {
    /// `None` once closed.
    pool: Mutex<Option<Pool>>,
    pub settings: Arc<Settings>,
    /// Rung when this process adds events.
    pub hint: Arc<Hint>,
    watch: Mutex<Option<Watch>>,
    settled: Mutex<Spans>,
    /// Ids up to this were surely drawn.
    drawn: AtomicU64,
    /// The pool's breaks that `settled` and `drawn` know of.
    breaks: AtomicU64,
    /// When the server was last asked whether they still hold.
    asked: Mutex<Option<Instant>>,
}

/// How often a reader that finds nothing asks whether ids are drawn again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Settled events, in order.
pub(crate) struct Chunk {
    pub events: Vec<Event>,
    /// Every wanted event up to this id is in `events` or before what was asked for.
    pub settled_to: EventId,
}

impl Reader {
    pub fn new(pool: Pool, settings: Arc<Settings>, hint: Arc<Hint>) -> Self {
        Reader {
            pool: Mutex::new(Some(pool)),
            settings,
            hint,
            watch: Mutex::new(None),
            settled: Mutex::default(),
            drawn: AtomicU64::new(0),
            breaks: AtomicU64::new(0),
            asked: Mutex::default(),
        }
    }

    /// The pool, while the stream is open.
    pub fn pool(&self) -> Result<Pool> {
        match &*lock(&self.pool) {
            Some(pool) => Ok(pool.clone()),
            None => fail!(Closed, "the stream was closed"),
        }
    }

    /// Closes idle connections now, and lent ones when they come back.
    pub fn close(&self) {
        *lock(&self.pool) = None;
        *lock(&self.watch) = None;
    }

    /// The settled events after `after`.
    pub fn read(
        &self,
        connection: &mut Connection,
        after: EventId,
        want: &Want,
        limit: usize,
    ) -> Result<Chunk> {
        let max_bytes = self.settings.max_chunk_bytes;
        let all = ReadRange { after, upto: MAX_EVENT_ID, want, limit, max_bytes };
        if want.list().is_some() {
            self.filtered(connection, all)
        } else {
            self.gapless(connection, all)
        }
    }

    /// Without a filter a missing id shows, and only then the server is asked.
    fn gapless(&self, connection: &mut Connection, all: ReadRange<'_>) -> Result<Chunk> {
        // Before the read: what another consumer's look settles during it may not be in it.
        let horizon = self.settled_from(all.after);
        if horizon >= all.after + all.limit as EventId {
            // So much is known: what is behind it would be read now, and again after a look.
            let batch = connection.read(&ReadRange { upto: horizon, ..all })?;
            if let Some(last) = batch.events.last() {
                self.drawn.fetch_max(last.id, Ordering::AcqRel);
                let settled_to = if batch.cut { batch.scanned } else { horizon };
                return Ok(Chunk { events: batch.events, settled_to });
            }
        }
        let batch = connection.read(&all)?;
        let mut last = all.after;
        let mut events = batch.events;
        let settled = events
            .iter()
            .take_while(|event| {
                let follows = event.id <= horizon.max(last) + 1;
                last = if follows { event.id } else { last };
                follows
            })
            .count();
        // What was seen was drawn; of where the reader stands that is not known.
        let seen = events.last().map_or(0, |event| event.id);
        self.drawn.fetch_max(seen, Ordering::AcqRel);
        if settled == events.len() {
            return Ok(Chunk { events, settled_to: last });
        }
        events.truncate(settled);
        let upto = match self.settle(last) {
            Ok(look) => look.horizon,
            // What is gap-free is delivered; the error shows when there is nothing else to give.
            Err(_) if !events.is_empty() => last,
            Err(error) => return Err(error),
        };
        if upto == last || events.len() >= all.limit {
            return Ok(Chunk { events, settled_to: last });
        }
        // A fresh read: rows of the gap may have appeared since the first one.
        let rest = connection.read(&ReadRange {
            after: last,
            upto,
            limit: all.limit - events.len(),
            ..all
        })?;
        let settled_to = if rest.cut { rest.scanned } else { upto };
        events.extend(rest.events);
        Ok(Chunk { events, settled_to })
    }

    /// With a filter missing ids do not show: what is settled must be known first.
    fn filtered(&self, connection: &mut Connection, all: ReadRange<'_>) -> Result<Chunk> {
        let mut events = Vec::new();
        let mut after = all.after;
        let mut upto = self.settled_from(after);
        let mut more = true;
        loop {
            if after < upto {
                let limit = all.limit - events.len();
                let batch = connection.read(&ReadRange { after, upto, limit, ..all })?;
                events.extend(batch.events);
                if batch.cut {
                    return Ok(Chunk { events, settled_to: batch.scanned });
                }
                after = upto;
            }
            if !more {
                return Ok(Chunk { events, settled_to: after });
            }
            match self.settle(after) {
                Ok(look) => {
                    more = look.more && look.horizon > after;
                    upto = look.horizon.max(self.settled_from(after));
                }
                Err(_) if !events.is_empty() => more = false,
                Err(error) => return Err(error),
            }
        }
    }

    /// Looks at the server, through the session that watches the event table, how far the ids
    /// after `position` are settled.
    fn settle(&self, position: EventId) -> Result<Settled> {
        let breaks = self.breaks.load(Ordering::Acquire);
        self.watching(|watch| {
            let look = watch.settle(position)?;
            let mut settled = lock(&self.settled);
            if self.breaks.load(Ordering::Acquire) == breaks {
                settled.add(look.after, look.horizon);
            }
            Ok(look)
        })
    }

    /// Runs `work` with the watching session, which is opened when it is first needed and again
    /// after it broke.
    fn watching<T>(&self, work: impl Fn(&mut Watch) -> Result<T>) -> Result<T> {
        let mut slot = lock(&self.watch);
        for _ in 0..2 {
            let watch = match &mut *slot {
                Some(watch) => watch,
                None => slot.insert(Watch::open(self.pool()?.backend())?),
            };
            match work(watch) {
                Err(error) if error.kind() == ErrorKind::ConnectionLost => {
                    *slot = None;
                    self.forget();
                }
                result => return result,
            }
        }
        fail!(ConnectionLost, "the connection broke twice while looking for settled events")
    }

    fn forget(&self) {
        *lock(&self.settled) = Spans::default();
        self.drawn.store(0, Ordering::Release);
    }

    /// How far a reader at `position` may read on, as far as is known without a look.
    fn settled_from(&self, position: EventId) -> EventId {
        self.check_breaks();
        lock(&self.settled).upto_from(position)
    }

    fn check_breaks(&self) {
        let breaks = self.pool().map_or(0, |pool| pool.breaks());
        let mut settled = lock(&self.settled);
        if self.breaks.swap(breaks, Ordering::AcqRel) != breaks {
            *settled = Spans::default();
            self.drawn.store(0, Ordering::Release);
        }
    }

    /// As [`check_drawn`](Self::check_drawn), for a reader that found nothing: from time to time
    /// it asks the server again, because ids may be drawn again although no connection broke
    /// (a restore or TRUNCATE under a running application).
    pub fn check_idle(&self, connection: &mut Connection, id: EventId, whose: &str) -> Result<()> {
        let mut asked = lock(&self.asked);
        if asked.is_none_or(|when| when.elapsed() >= ASK_AGAIN) {
            *asked = Some(Instant::now());
            drop(asked);
            if connection.highest_drawn()? < self.drawn.load(Ordering::Acquire) {
                *lock(&self.watch) = None;
                self.forget();
            }
        }
        self.check_drawn(connection, id, whose)
    }

    /// Refuses a cursor above the highest id that was ever drawn.
    pub fn check_drawn(&self, connection: &mut Connection, id: EventId, whose: &str) -> Result<()> {
        self.check_breaks();
        if id <= self.drawn.load(Ordering::Acquire) {
            return Ok(());
        }
        let highest = connection.highest_drawn()?;
        self.drawn.fetch_max(highest, Ordering::AcqRel);
        if id > highest {
            fail!(
                InvalidLastId,
                "{whose} is {id}, but the highest event id ever drawn is {highest}: either the id \
                 is of another stream, or the database was restored or lost its last commits in a \
                 crash, and draws ids again. Compare with the consumer's own state, then \
                 unregister and register it"
            );
        }
        Ok(())
    }

    /// How far the stream is settled by now, from `from` on, and who holds it up.
    pub fn look(&self, from: EventId) -> Result<(Settled, Vec<HolderInfo>)> {
        let mut look = self.settle(self.settled_from(from))?;
        while look.more {
            let before = look.horizon;
            look = self.settle(before)?;
            if look.horizon == before {
                break;
            }
        }
        let holders =
            if look.visible > look.horizon { self.watching(Watch::holders)? } else { Vec::new() };
        Ok((look, holders))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A consumer of a stream: reliable, or `LIVE`. Made by [`EventStream::consumer`].
///
/// A reliable consumer has a cursor in the database: whatever it has acknowledged is never given
/// again, and nothing is skipped. Use one at a time of the same ident. `LIVE` has no row in the
/// database and starts now; its position is kept in this handle. All methods may be called from
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
        Ok(Consumer { reader, ident, live, ahead: Ahead::default() })
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
        self.reader.pool()?.once(|connection| connection.unregister(&self.ident))
    }

    /// The next settled events, at most `max_chunk_events` of them, in order of their ids.
    ///
    /// `last_id` acknowledges every event up to it; `None` goes on after the stored cursor, and so
    /// does an id below it. An empty result means that there is nothing to be had now. Events
    /// behind one whose transaction is still open are kept back until it has ended.
    ///
    /// # Errors
    /// `NotRegistered`, `SecurityError` (options `allow_polling`, `allow_reliable`),
    /// `InvalidLastId` for an id that was never drawn, `UnsafeServer`, and those of the database.
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
            Some(position) => self.poll_live(&mut lock(position), last_id, want, limit),
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
        let pool = self.reader.pool()?;
        let timed = match self.take_read_ahead(&pool, last_id, want, limit)? {
            Some(timed) => timed,
            None => pool.repeatable(|connection| {
                if let Some(timed) =
                    self.read_while_storing(&pool, connection, last_id, want, limit)?
                {
                    return Ok(timed);
                }
                let cursor = self.advance(connection, last_id.unwrap_or(0))?;
                let timed = Timed::read(|| self.reader.read(connection, cursor, want, limit))?;
                if timed.chunk.events.is_empty() {
                    self.reader.check_idle(connection, cursor, "the stored cursor")?;
                    if timed.chunk.settled_to > cursor {
                        // Nothing wanted up to there: do not read it again.
                        connection.advance(&self.ident, timed.chunk.settled_to)?;
                    }
                }
                Ok(timed)
            })?,
        };
        self.ahead.given(&self.reader, &timed, want, limit);
        Ok(timed.chunk.events)
    }

    /// The events that were read while the caller worked, once the cursor is stored. `None` if there
    /// are none, or the stored cursor turned out to be a later one.
    fn take_read_ahead(
        &self,
        pool: &Pool,
        last_id: Option<EventId>,
        want: &Want,
        limit: usize,
    ) -> Result<Option<Timed>> {
        let Some(reading) = self.ahead.take(last_id, want, limit) else { return Ok(None) };
        let stored = pool.repeatable(|c| self.advance(c, last_id.unwrap_or(0)))?;
        let timed = reading.wait(&self.reader).filter(|_| last_id == Some(stored));
        Ok(timed.filter(|timed| !timed.chunk.events.is_empty()))
    }

    /// For a consumer with a backlog that does nothing else: stores the cursor on another connection
    /// while the next events are read, because the commit waits for the disk. `None` where that is
    /// not to be had, there is nothing, or the stored cursor turned out to be a later one.
    fn read_while_storing(
        &self,
        pool: &Pool,
        connection: &mut Connection,
        last_id: Option<EventId>,
        want: &Want,
        limit: usize,
    ) -> Result<Option<Timed>> {
        let (Some(last_id), true) = (last_id, self.ahead.is_busy()) else { return Ok(None) };
        self.reader.check_drawn(connection, last_id, "last_id")?;
        let Some(mut spare) = pool.lend_spare() else { return Ok(None) };
        let (stored, timed) = thread::scope(|scope| {
            let thread = thread::Builder::new().name("fes-cursor".to_owned());
            let storing = thread
                .spawn_scoped(scope, || spare.call(|connection| self.advance(connection, last_id)));
            let Ok(storing) = storing else { return (Ok(0), Ok(None)) };
            let read = || self.reader.read(connection, last_id, want, limit);
            let timed = Timed::read(read).map(Some);
            (storing.join().unwrap_or_else(|panic| Err(panic_error(&*panic))), timed)
        });
        let (stored, timed) = (stored?, timed?);
        Ok(timed.filter(|timed| stored == last_id && !timed.chunk.events.is_empty()))
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
                None => connection.highest_drawn()?,
            };
            self.reader.check_drawn(connection, after, "last_id")?;
            let from = match &position.barren {
                Some(barren) if barren.after == after && barren.want == *want => barren.upto,
                _ => after,
            };
            let chunk = self.reader.read(connection, from, want, limit)?;
            if chunk.events.is_empty() {
                self.reader.check_idle(connection, after, "last_id")?;
            }
            Ok((chunk, after))
        })?;
        position.last = Some(chunk.events.last().map_or(after, |event| event.id));
        position.barren = chunk.events.is_empty().then(|| Barren {
            after,
            want: want.clone(),
            upto: chunk.settled_to,
        });
        Ok(chunk.events)
    }

    /// Acknowledges every event up to `last_id`. The cursor never moves back; skipping ahead on
    /// purpose is allowed up to the highest id drawn. For LIVE it moves this handle's position.
    ///
    /// # Errors
    /// `NotRegistered`, `SecurityError`, `InvalidLastId`, and those of the database.
    pub fn acknowledge(&self, last_id: EventId) -> Result<()> {
        if let Some(position) = &self.live {
            let mut position = lock(position);
            self.reader.pool()?.repeatable(|c| self.reader.check_drawn(c, last_id, "last_id"))?;
            position.last = position.last.max(Some(last_id));
            return Ok(());
        }

        self.check_reliable("acknowledge")?;
        self.reader.pool()?.repeatable(|connection| self.advance(connection, last_id).map(|_| ()))
    }

    /// Stores the cursor and gives where it is now.
    fn advance(&self, connection: &mut Connection, last_id: EventId) -> Result<EventId> {
        self.reader.check_drawn(connection, last_id, "last_id")?;
        connection.advance(&self.ident, last_id)?.ok_or_else(|| {
            let message = format!("consumer {:?} is not registered: call register()", self.ident);
            Error::new(ErrorKind::NotRegistered, message)
        })
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
