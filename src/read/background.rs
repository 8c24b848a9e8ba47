//! The background thread of a consumer with a backlog. It does two things for the consumer, one at a time:
//! it stores the cursor while the consumer reads on, because a commit waits for the disk, and it reads the
//! next chunk while the consumer works on the last one. The events of that chunk are settled, so they may be
//! stale, but never incorrect.
//!
//! The thread starts with the first job, serves the jobs that follow, and ends after a second without one.
//! Dropping the consumer waits for its end.

use crate::model::error::{Result, panic_error};
use crate::model::event::EventId;
use crate::model::ident::Want;
use crate::model::life::Position;
use crate::read::reader::{Chunk, Reader};
use crate::sync::aside::Aside;
use crate::sync::line::{Scope, Token};
use crate::sync::lock::lock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A prefetched chunk older than this is discarded and read again.
const FRESH: Duration = Duration::from_millis(500);

/// Handing work over to another thread costs about this.
const HAND_OVER: Duration = Duration::from_micros(50);

/// The background thread of one consumer, and what it has prefetched.
pub(crate) struct Background {
    /// Dropped before the thread: what is being read is waited for first.
    state: Mutex<State>,
    thread: Aside,
}

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
    read: Pending<Timed>,
}

impl Default for Background {
    fn default() -> Self {
        Background { state: Mutex::default(), thread: Aside::new("fes-consumer") }
    }
}

impl Background {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Whether the last chunk was a full one, so that the next one probably will be, too, and took
    /// longer to read than another thread takes to begin.
    pub fn is_busy(&self) -> bool {
        self.state().returned.is_some_and(|given| given.is_worth_a_thread())
    }

    /// Runs `store` on the thread and `work` here, and waits for both. `None` in place of what
    /// `store` gave if no thread could be started: then `store` did not run.
    pub fn store_while<T>(
        &self,
        store: impl FnOnce() -> Result<EventId> + Send + 'static,
        work: impl FnOnce() -> T,
    ) -> (Option<Result<EventId>>, T) {
        let tokens = Token::current();
        let stored = Pending::begin(&self.thread, move || {
            let _scope = Scope::of(tokens);
            store()
        });
        let worked = work();
        (stored.and_then(Pending::wait), worked)
    }

    /// Whoever polls calls this first: gives what was prefetched, if it is what is asked for.
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
            // What another call has prefetched meanwhile is no longer wanted.
            let before = state.reading.take();
            state.reading = self.prefetch(reader.clone(), from, want, limit);
            drop(state);
            drop(before);
        }
    }

    fn prefetch(
        &self,
        reader: Arc<Reader>,
        from: Position,
        want: &Want,
        limit: usize,
    ) -> Option<Prefetched> {
        let pool = reader.pool().ok()?;
        if !pool.has_spare() {
            return None;
        }
        let doubts = reader.doubts();
        let wanted = want.clone();
        let read = Pending::begin(&self.thread, move || {
            pool.with(|c| Timed::read(|| reader.read(c, from, &wanted, limit)))
        })?;
        Some(Prefetched { after: from.id, want: want.clone(), limit, doubts, read })
    }
}

impl Prefetched {
    /// The chunk; `None` if it could not be read, or may be of another database. Errors and panics
    /// reappear when the same events are read again.
    pub fn wait(self, reader: &Reader) -> Option<Timed> {
        let Prefetched { doubts, read, .. } = self;
        let timed = read.wait()?.ok()?;
        (reader.doubts() == doubts).then_some(timed)
    }
}

/// What a job of the thread will give. Dropping it waits for the end of the job.
struct Pending<T>(Receiver<Result<T>>);

impl<T: Send + 'static> Pending<T> {
    /// Has the thread do a job; a panic in it becomes an error. `None` if no thread could be started.
    fn begin(
        thread: &Aside,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Option<Pending<T>> {
        let (sender, result) = sync_channel(1);
        let job = move || {
            let result = catch_unwind(AssertUnwindSafe(job));
            let _ = sender.send(result.unwrap_or_else(|panic| Err(panic_error(&*panic))));
        };
        thread.give(job).ok()?;
        Some(Pending(result))
    }

    /// The result of the job. `None` if it was not done, because the thread was ending.
    fn wait(self) -> Option<Result<T>> {
        self.0.recv().ok()
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        // After `wait` there is no sender any more, and this returns at once.
        let _ = self.0.recv();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread::{ThreadId, current};

    #[test]
    fn a_cursor_is_stored_on_another_thread() {
        let (sender, thread) = std::sync::mpsc::channel();
        let store = move || {
            sender.send(current().id()).unwrap();
            Ok(7)
        };
        let (stored, here) = Background::default().store_while(store, || current().id());
        assert_eq!(stored.unwrap().unwrap(), 7);
        assert_ne!(thread.recv().unwrap(), here);
    }

    #[test]
    fn a_panic_while_storing_is_an_error() {
        let (stored, worked) = Background::default().store_while(|| panic!("while storing"), || 7);
        assert!(stored.unwrap().unwrap_err().to_string().contains("while storing"));
        assert_eq!(worked, 7);
    }

    #[test]
    fn one_thread_stores_and_reads_for_a_consumer() {
        let background = Background::default();
        let (sender, threads) = std::sync::mpsc::channel::<ThreadId>();
        for _ in 0..3 {
            let (stores, reads) = (sender.clone(), sender.clone());
            let job = move || {
                stores.send(current().id()).unwrap();
                Ok(1)
            };
            background.store_while(job, || ()).0.unwrap().unwrap();
            let read = Pending::begin(&background.thread, move || {
                reads.send(current().id()).unwrap();
                Ok(())
            });
            read.unwrap().wait().unwrap().unwrap();
        }
        let ids: Vec<ThreadId> = threads.try_iter().collect();
        assert_eq!(ids, [ids[0]; 6]);
        assert_ne!(ids[0], current().id());
    }

    #[test]
    fn a_chunk_that_nobody_takes_is_waited_for() {
        let background = Background::default();
        let done = Arc::new(AtomicBool::new(false));
        let ended = done.clone();
        let read = Pending::begin(&background.thread, move || {
            std::thread::sleep(Duration::from_millis(50));
            ended.store(true, Ordering::Release);
            Ok(())
        });
        drop(read.unwrap());
        assert!(done.load(Ordering::Acquire));
    }
}
