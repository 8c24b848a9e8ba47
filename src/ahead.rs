//! Reading ahead: while a consumer with a backlog works on what it got, the next events are read.
//! They are settled, so they can only come late, never wrong.

use crate::consumer::Want;
use crate::error::Result;
use crate::event::EventId;
use crate::life::Position;
use crate::reader::{Chunk, Reader};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Who asks again later than this gets what is read then.
const FRESH: Duration = Duration::from_millis(500);

/// Handing work over to another thread costs about this.
const HAND_OVER: Duration = Duration::from_micros(50);

/// What one consumer has under way.
#[derive(Default)]
pub(crate) struct Ahead(Mutex<State>);

#[derive(Default)]
struct State {
    /// The last full chunk that was given away.
    gave: Option<Given>,
    /// The consumer asks again soon, but not so soon that there would be nothing to gain: events
    /// that another thread has read are slower to use, because they are in its cache and memory.
    worth: bool,
    reading: Option<Reading>,
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
pub(crate) struct Reading {
    after: EventId,
    want: Want,
    limit: usize,
    /// The doubts before: behind another connection another database may stand now.
    doubts: u64,
    /// `None` once joined.
    thread: Option<JoinHandle<Result<Timed>>>,
}

impl Ahead {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the last chunk was a full one, so that the next one probably will be, too, and took
    /// longer to read than another thread takes to begin.
    pub fn is_busy(&self) -> bool {
        self.state().gave.is_some_and(|given| given.is_worth_a_thread())
    }

    /// Whoever polls calls this first: gives what is read ahead, if it is what is asked for.
    pub fn take(&self, last_id: Option<EventId>, want: &Want, limit: usize) -> Option<Reading> {
        let mut state = self.state();
        let worked = state.gave.map(|given| given.when.elapsed());
        let fresh = worked.is_some_and(|time| time < FRESH);
        state.worth = state.gave.zip(worked).is_some_and(|(given, time)| {
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

    /// These events are given away now. Reads those after them, if it was a full chunk, that is
    /// worth it, and a connection is free.
    pub fn given(&self, reader: &Arc<Reader>, timed: &Timed, want: &Want, limit: usize) {
        let events = &timed.chunk.events;
        let full = events.last().filter(|_| events.len() >= limit).map(|event| event.id);
        let full = full.map(|id| Position { id, anchor: timed.chunk.anchor });
        let mut state = self.state();
        let given = |at: Position| Given { when: Instant::now(), took: timed.took, last: at.id };
        state.gave = full.map(given);
        if let (Some(from), true) = (full, state.worth) {
            state.reading = Reading::begin(reader.clone(), from, want, limit);
        }
    }
}

impl Reading {
    fn begin(reader: Arc<Reader>, from: Position, want: &Want, limit: usize) -> Option<Reading> {
        let pool = reader.pool().ok()?;
        if !pool.has_spare() {
            return None;
        }
        let doubts = reader.doubts();
        let wanted = want.clone();
        let thread = thread::Builder::new().name("fes-ahead".to_owned());
        let thread = thread
            .spawn(move || pool.once(|c| Timed::read(|| reader.read(c, from, &wanted, limit))))
            .ok()?;
        Some(Reading { after: from.id, want: want.clone(), limit, doubts, thread: Some(thread) })
    }

    /// The chunk; `None` if it could not be read, or may be of another database.
    pub fn wait(mut self, reader: &Reader) -> Option<Timed> {
        let timed = self.thread.take()?.join().ok()?.ok()?;
        (reader.doubts() == self.doubts).then_some(timed)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // An error, or a panic, shows to who reads the same events next.
            let _ = thread.join();
        }
    }
}
