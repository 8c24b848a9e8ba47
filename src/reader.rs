//! Reading settled events, and storing cursors, for all who use one stream handle.

use crate::backend::pool::Pool;
use crate::backend::verify::Place as Table;
use crate::backend::write::{Change, Written};
use crate::backend::{Connection, HolderInfo, ReadRange, Settled, Watch};
use crate::config::Settings;
use crate::consumer::{Ident, Want};
use crate::error::{Error, ErrorKind, Result, fail};
use crate::event::{Event, EventId, MAX_EVENT_ID, NewEvent};
use crate::group::Group;
use crate::hint::Hint;
use crate::late::{LateWindow, WINDOW};
use crate::recent::{Place, Recent};
use crate::settle::Spans;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Reads settled events for all consumers of a stream handle, and writes what is written in shared
/// commits.
///
/// What it keeps (how far the stream is settled, which ids were surely drawn) is derived from the
/// database, and forgotten when a connection breaks: behind it another database may stand now.
pub(crate) struct Reader {
    /// `None` once closed.
    pool: Mutex<Option<Pool>>,
    pub settings: Arc<Settings>,
    /// Rung when this process adds events.
    pub hint: Arc<Hint>,
    group: Group,
    recent: Recent,
    watch: Mutex<Option<Watch>>,
    settled: Mutex<Spans>,
    /// Ids up to this were surely drawn.
    drawn: AtomicU64,
    /// The pool's breaks that `settled` and `drawn` know of.
    breaks: AtomicU64,
    /// What was settled at the last call of [`latecomers`](Self::latecomers), and what was late.
    late: Mutex<(Option<LateWindow>, Vec<EventId>)>,
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
            group: Group::default(),
            recent: Recent::default(),
            watch: Mutex::new(None),
            settled: Mutex::default(),
            drawn: AtomicU64::new(0),
            breaks: AtomicU64::new(0),
            late: Mutex::default(),
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

    /// Adds an event, in a commit that may be shared.
    pub fn add(&self, event: &NewEvent) -> Result<EventId> {
        match self.write(Change::Event(event.clone()))? {
            Written::Event(id) => Ok(id),
            Written::Cursor(_) => fail!(Internal, "a cursor was stored in place of an event"),
        }
    }

    /// Stores the cursor of a consumer, if it is behind `last_id`, and gives where it is now; `None`
    /// if it is not registered.
    pub fn store(&self, ident: &Ident, last_id: EventId) -> Result<Option<EventId>> {
        let alone = self.pool()?.repeatable(|connection| connection.advance_alone(ident, last_id));
        let written = match alone? {
            Some(written) => written,
            None => self.write(Change::Cursor(ident.clone(), last_id))?,
        };
        match written {
            Written::Cursor(cursor) => Ok(cursor),
            Written::Event(_) => fail!(Internal, "an event was added in place of a cursor"),
        }
    }

    /// Nobody may hold a connection of the pool that waits here: it may be the last one, and who
    /// writes for all needs one.
    fn write(&self, change: Change) -> Result<Written> {
        self.group.write(change, |changes| {
            let written = self.pool()?.once(|connection| connection.write(changes))?;
            if changes.iter().any(|change| matches!(change, Change::Event(_))) {
                self.hint.ring();
            }
            Ok(written)
        })
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
        self.read_range(connection, ReadRange { after, upto: MAX_EVENT_ID, want, limit, max_bytes })
    }

    fn read_range(&self, connection: &mut Connection, all: ReadRange<'_>) -> Result<Chunk> {
        if all.want.list().is_some() {
            self.filtered(connection, all)
        } else {
            self.gapless(connection, all)
        }
    }

    /// A place for a consumer that polls.
    pub fn place(&self) -> Place {
        self.recent.place()
    }

    /// The consumer of this place begins anew, or ends.
    pub fn leaves(&self, place: Place) {
        self.recent.leaves(place);
    }

    /// As [`read`](Self::read), for one of several consumers that poll: without a filter, what
    /// another one has read a moment ago is not read again, only what is behind it.
    pub fn read_beside(
        &self,
        place: Place,
        connection: &mut Connection,
        after: EventId,
        want: &Want,
        limit: usize,
    ) -> Result<Chunk> {
        if want.list().is_some() {
            return self.read(connection, after, want, limit);
        }
        let breaks = self.check_breaks();
        let max_bytes = self.settings.max_chunk_bytes;
        let found = self.recent.take(place, after, limit, max_bytes);
        if found.full {
            self.recent.goes_on(place, found.upto);
            return Ok(Chunk { events: found.events, settled_to: found.upto });
        }
        let read = Instant::now();
        let rest = ReadRange {
            after: found.upto,
            upto: MAX_EVENT_ID,
            want,
            limit: limit - found.events.len(),
            max_bytes: max_bytes - found.bytes,
        };
        let chunk = match self.read_range(connection, rest) {
            // What is before the row that cannot be read comes first.
            Err(error) if error.unreadable().is_some() && !found.events.is_empty() => {
                self.recent.goes_on(place, found.upto);
                return Ok(Chunk { events: found.events, settled_to: found.upto });
            }
            result => result?,
        };
        let settled = lock(&self.settled);
        if self.breaks.load(Ordering::Acquire) == breaks {
            self.recent.keep(place, found.upto, chunk.settled_to, &chunk.events, read);
        }
        drop(settled);
        self.recent.goes_on(place, chunk.settled_to);
        let mut events = found.events;
        events.extend(chunk.events);
        Ok(Chunk { events, settled_to: chunk.settled_to })
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
        let batch = match connection.read(&all) {
            Err(error) => return self.before_unreadable(connection, all, horizon, error),
            Ok(batch) => batch,
        };
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
        let limit = all.limit - events.len();
        let rest = match connection.read(&ReadRange { after: last, upto, limit, ..all }) {
            Err(error) if error.unreadable().is_some() && !events.is_empty() => {
                return Ok(Chunk { events, settled_to: last });
            }
            result => result?,
        };
        let settled_to = if rest.cut { rest.scanned } else { upto };
        events.extend(rest.events);
        Ok(Chunk { events, settled_to })
    }

    /// The first row that is visible after `all.after` cannot be read. What may still appear before
    /// it comes first; then it is the error.
    fn before_unreadable(
        &self,
        connection: &mut Connection,
        all: ReadRange<'_>,
        horizon: EventId,
        error: Error,
    ) -> Result<Chunk> {
        let Some(id) = error.unreadable().map(|row| row.id) else { return Err(error) };
        if id <= horizon.max(all.after) + 1 {
            return Err(error);
        }
        let upto = self.settle(all.after)?.horizon;
        if upto <= all.after {
            return Ok(Chunk { events: Vec::new(), settled_to: all.after });
        }
        let batch = connection.read(&ReadRange { upto, ..all })?;
        Ok(Chunk { settled_to: if batch.cut { batch.scanned } else { upto }, events: batch.events })
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
                let batch = match connection.read(&ReadRange { after, upto, limit, ..all }) {
                    Err(error) if error.unreadable().is_some() && !events.is_empty() => {
                        return Ok(Chunk { events, settled_to: after });
                    }
                    result => result?,
                };
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
    pub fn settle(&self, position: EventId) -> Result<Settled> {
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
                Err(error) if error.ends_connection() => {
                    *slot = None;
                    self.forget();
                    if error.kind() != ErrorKind::ConnectionLost {
                        return Err(error);
                    }
                }
                result => return result,
            }
        }
        fail!(ConnectionLost, "the connection broke twice while looking for settled events")
    }

    /// Which events have appeared, since an earlier call, below what was settled then: among the
    /// newest settled ids, after `from` and up to `horizon`. All that were found by this handle, a
    /// thousand at most.
    pub fn latecomers(
        &self,
        connection: &mut Connection,
        from: EventId,
        horizon: EventId,
    ) -> Result<Vec<EventId>> {
        const MOST: usize = 1000;
        let mut slot = lock(&self.late);
        let (window, found) = &mut *slot;
        let start = horizon.saturating_sub(WINDOW).max(from);
        if let Some(known) = window.take_if(|known| known.upto() <= horizon) {
            let mut known = known;
            let present = connection.ids(Table::Queue, known.start(), WINDOW as usize)?;
            found.extend(known.late(&present));
            found.sort_unstable();
            found.truncate(MOST);
        }
        let present = connection.ids(Table::Queue, start, WINDOW as usize)?;
        let present = present.into_iter().filter(|id| *id <= horizon);
        *window = Some(LateWindow::new(start, horizon, present));
        Ok(found.clone())
    }

    fn forget(&self) {
        *lock(&self.settled) = Spans::default();
        lock(&self.late).0 = None;
        self.recent.clear();
        self.drawn.store(0, Ordering::Release);
    }

    /// How far a reader at `position` may read on, as far as is known without a look.
    fn settled_from(&self, position: EventId) -> EventId {
        self.check_breaks();
        lock(&self.settled).upto_from(position)
    }

    /// Forgets what was learnt if a connection broke since; gives how many did.
    fn check_breaks(&self) -> u64 {
        let breaks = self.pool().map_or(0, |pool| pool.breaks());
        let mut settled = lock(&self.settled);
        if self.breaks.swap(breaks, Ordering::AcqRel) != breaks {
            *settled = Spans::default();
            lock(&self.late).0 = None;
            self.recent.clear();
            self.drawn.store(0, Ordering::Release);
        }
        breaks
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
            if let Some(what) = connection.unreachable()? {
                fail!(CorruptEvent, "{what}");
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

    /// Where a LIVE consumer begins that gets what comes from now on: behind the last settled id, so
    /// that it gets the events of transactions that are open now, and with them those that were
    /// committed behind the first of these. Ids that are far below the highest one are not looked at.
    pub fn live_start(&self, connection: &mut Connection) -> Result<EventId> {
        const FAR: EventId = 10_000;
        let highest = connection.highest_drawn()?;
        Ok(self.look(highest.saturating_sub(FAR))?.0.horizon.min(highest))
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
