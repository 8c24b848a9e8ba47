//! Prefetching: while a consumer with a backlog works on what it got, the next events are read.
//! They are settled, so they may be stale, but never incorrect.

use crate::model::error::Result;
use crate::model::event::EventId;
use crate::model::ident::Want;
use crate::model::life::Position;
use crate::read::reader::{Chunk, Reader};
use crate::sync::lock::lock;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A prefetched chunk older than this is discarded and read again.
const FRESH: Duration = Duration::from_millis(500);

/// Handing work over to another thread costs about this.
const HAND_OVER: Duration = Duration::from_micros(50);

/// The prefetch state of one consumer.
#[derive(Default)]
pub(crate) struct Prefetch(Mutex<State>);

#[derive(Default)]
struct State {
    /// The last full chunk that was given away.
    returned: Option<Given>,
    /// Whether prefetching pays: the consumer returns within [`FRESH`], but works at least half as
    /// long as a read takes. Events that another thread has read are slower to use, because they
    /// are in its cache and memory.
    pays_off: bool,
    reading: Option<Prefetched>,
}

/// A full chunk that was given away: when, the time that its read took, and its last event.
#[derive(Clone, Copy)]
struct Given {
    when: Instant,
    took: Duration,
    last: EventId,
}

impl Given {
    /// Whether its read took longer than handing the next one over to another thread.
    fn is_worth_a_thread(&self) -> bool {
        self.took > HAND_OVER
    }
}

/// A chunk, and how long it took to read it.
pub(crate) struct Timed {
    pub chunk: Chunk,
    pub took: Duration,
}

impl Timed {
    pub fn read(read: impl FnOnce() -> Result<Chunk>) -> Result<Timed> {
        let start = Instant::now();
        read().map(|chunk| Timed { chunk, took: start.elapsed() })
    }
}

/// The next chunk, while it is read and afterwards. Dropping it waits for the end of the read.
pub(crate) struct Prefetched {
    after: EventId,
    want: Want,
    limit: usize,
    /// The number of doubts when the read began. After a reconnect the URL may lead to another
    /// database.
    doubts: u64,
    /// `None` once joined.
    thread: Option<JoinHandle<Result<Timed>>>,
}

impl Prefetch {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// Whether the last chunk was a full one, so that the next one probably will be, too, and took
    /// longer to read than another thread takes to begin.
    pub fn is_busy(&self) -> bool {
        self.state().returned.is_some_and(|given| given.is_worth_a_thread())
    }

    /// Whoever polls calls this first: gives what is read ahead, if it is what is asked for.
    pub fn take(&self, last_id: Option<EventId>, want: &Want, limit: usize) -> Option<Prefetched> {
        let mut state = self.state();
        let worked = state.returned.map(|given| given.when.elapsed());
        let fresh = worked.is_some_and(|time| time < FRESH);
        state.pays_off = state.returned.zip(worked).is_some_and(|(given, time)| {
            let goes_on = last_id == Some(given.last);
            goes_on && fresh && time > given.took / 2 && given.is_worth_a_thread()
        });
        let reading = state.reading.take();
        drop(state);
        reading.filter(|reading| {
            fresh
                && last_id == Some(reading.after)
                && reading.limit == limit
                && reading.want == *want
        })
    }

    /// Called when a chunk is returned to the consumer. Begins to read the next one if this one was
    /// full, prefetching pays, and a connection is free.
    pub fn returned(&self, reader: &Arc<Reader>, timed: &Timed, want: &Want, limit: usize) {
        let events = &timed.chunk.events;
        let full = events.last().filter(|_| events.len() >= limit).map(|event| event.id);
        let full = full.map(|id| Position { id, anchor: timed.chunk.anchor });
        let mut state = self.state();
        let given = |at: Position| Given { when: Instant::now(), took: timed.took, last: at.id };
        state.returned = full.map(given);
        if let (Some(from), true) = (full, state.pays_off) {
            state.reading = Prefetched::begin(reader.clone(), from, want, limit);
        }
    }
}

impl Prefetched {
    fn begin(reader: Arc<Reader>, from: Position, want: &Want, limit: usize) -> Option<Prefetched> {
        let pool = reader.pool().ok()?;
        if !pool.has_spare() {
            return None;
        }
        let doubts = reader.doubts();
        let wanted = want.clone();
        let thread = thread::Builder::new().name("fes-prefetch".to_owned());
        let thread = thread
            .spawn(move || pool.with(|c| Timed::read(|| reader.read(c, from, &wanted, limit))))
            .ok()?;
        Some(Prefetched { after: from.id, want: want.clone(), limit, doubts, thread: Some(thread) })
    }

    /// The chunk; `None` if it could not be read, or may be of another database.
    pub fn wait(mut self, reader: &Reader) -> Option<Timed> {
        let timed = self.thread.take()?.join().ok()?.ok()?;
        (reader.doubts() == self.doubts).then_some(timed)
    }
}

impl Drop for Prefetched {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Errors and panics reappear when the same events are read again.
            let _ = thread.join();
        }
    }
}
