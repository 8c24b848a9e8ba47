//! The one cache of what was read a moment ago, for all who read through one stream handle: consumers
//! that poll side by side, and subscriptions that catch up side by side. One of them reads a chunk from the
//! database, and the others take it from here.
//!
//! # Invariants
//! Each of them has its tests below, by the same words. `tests/it/read/side_by_side.rs` and
//! `tests/it/push/side_by_side.rs` test them on real databases.
//!
//! 1. **A chunk is whole.** It holds every wanted event above `after` and up to `up_to` that was in the
//!    table when it was read, and all ids up to `up_to` were settled. A settled event does not change, so a
//!    chunk may be stale, but it is never incorrect.
//! 2. **What is taken begins at the position of the reader and has no gap.** A chunk that begins behind
//!    the position, or behind the end of the chunk taken before it, is not taken.
//! 3. **A doubt drops everything.** A connection that broke (the generation of the pool) and a
//!    `StreamRewound` are doubts. A chunk is taken only by a reader that knows of exactly as many doubts as
//!    there were when its read began.
//! 4. **A newcomer gets nothing that was read before it began.** A chunk is taken only by a reader that
//!    began before the read of the chunk did. From its beginning on nothing after its cursor is discarded.
//!    An older chunk may hold some of the events that were discarded before, but not all of them.
//! 5. **What is old is not taken**: see [`POLL_AGE`] and [`CATCH_UP_AGE`].
//! 6. **What is kept is bounded**, by chunks, events and bytes.
//! 7. **Readers that wait for the same chunk share one read.** However that read ends, each of them
//!    goes on.

use crate::model::error::Result;
use crate::model::event::{Event, EventId};
use crate::model::ident::Want;
use crate::sync::lock::lock;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A poll takes no chunk that is older than this, and a consumer that has not polled for so long begins
/// anew.
pub(crate) const POLL_AGE: Duration = Duration::from_millis(250);

/// A subscription that catches up takes no chunk that is older than this; no chunk is kept for longer.
pub(crate) const CATCH_UP_AGE: Duration = Duration::from_secs(1);

/// Most chunks that are kept, most of their events, and most bytes of the data of these.
const CHUNKS: usize = 512;
const EVENTS: usize = 32_000;
const BYTES: usize = 16 << 20;

/// A chunk is worth keeping for a consumer that is no more than so many ids behind it.
const NEAR: EventId = 4096;

/// The chunks that were read last through a stream handle.
#[derive(Default)]
pub(crate) struct SharedChunks {
    state: Mutex<State>,
    /// A read in progress has ended.
    ended: Condvar,
    keys: AtomicU64,
}

#[derive(Default)]
struct State {
    /// In the order in which they were kept.
    chunks: VecDeque<Arc<CachedChunk>>,
    /// The reads in progress that others may wait for.
    reading: Vec<Reading>,
    /// The consumers that poll again and again.
    consumers: HashMap<ConsumerKey, Progress>,
}

/// A consumer that polls, among those of a stream handle.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConsumerKey(u64);

/// Where a consumer will go on.
struct Progress {
    next: EventId,
    /// When it said so last, and since when it has polled again and again.
    when: Instant,
    since: Instant,
}

/// A chunk as it was read: all events of `want` above `after` and up to `up_to`.
#[derive(Clone)]
pub(crate) struct CachedChunk {
    after: EventId,
    up_to: EventId,
    want: Want,
    events: Arc<[Arc<Event>]>,
    /// The bytes of their data.
    bytes: usize,
    /// How many doubts there were when its read began, and when that was.
    doubts: u64,
    read: Instant,
}

/// A read in progress.
#[derive(PartialEq)]
struct Reading {
    after: EventId,
    want: Want,
    doubts: u64,
    read: Instant,
    key: u64,
}

/// What a reader asks for.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub after: EventId,
    pub want: &'a Want,
    pub limit: usize,
    pub max_bytes: usize,
    /// How many doubts the reader knows of.
    pub doubts: u64,
    /// When the reader began. Since then nothing after its cursor was discarded. `None` if nothing is known.
    pub since: Option<Instant>,
    /// The reader takes no chunk that is older than this.
    pub max_age: Duration,
}

/// The cached prefix of the requested chunk: every wanted event up to `up_to`.
pub(crate) struct Prefix<T> {
    pub events: Vec<T>,
    pub bytes: usize,
    pub up_to: EventId,
    /// Nothing more fits into the chunk.
    pub full: bool,
}

impl SharedChunks {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The wanted events after a position that are cached, each of them copied by `copy`.
    pub fn take<T>(&self, request: &Request<'_>, copy: impl Fn(&Arc<Event>) -> T) -> Prefix<T> {
        let hits = self.state().hits(request);
        Prefix::of(&hits, request, copy)
    }

    /// The next wanted events: those that are cached, or else what `read` gives, which is kept for others.
    /// Waits while another reader reads them. `doubts` says how many doubts there are after the read.
    ///
    /// Never call this with a connection of the pool in hand: the reader that is waited for may need one.
    pub fn take_or_read(
        &self,
        request: &Request<'_>,
        read: impl FnOnce() -> Result<CachedChunk>,
        doubts: impl FnOnce() -> u64,
    ) -> Result<Prefix<Arc<Event>>> {
        let mut state = self.state();
        loop {
            let hits = state.hits(request);
            if !hits.is_empty() {
                drop(state);
                return Ok(Prefix::of(&hits, request, Arc::clone));
            }
            if !state.is_being_read(request) {
                break;
            }
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let reading = InProgress { cache: self, key: self.new_key() };
        state.reading.push(Reading {
            after: request.after,
            want: request.want.clone(),
            doubts: request.doubts,
            read: Instant::now(),
            key: reading.key,
        });
        drop(state);
        let chunk = read()?;
        let mut prefix = Prefix::of(&[], request, Arc::clone);
        (prefix.events, prefix.bytes) = (chunk.events.to_vec(), chunk.bytes);
        prefix.up_to = chunk.up_to;
        prefix.full = prefix.is_full(request);
        self.keep(chunk, doubts());
        Ok(prefix)
    }

    /// Keeps a chunk for others, unless there are more `doubts` now than when its read began. A chunk that
    /// ends where it begins is of no use.
    pub fn keep(&self, chunk: CachedChunk, doubts: u64) {
        if chunk.up_to > chunk.after && chunk.doubts == doubts {
            self.state().keep(chunk);
        }
    }

    /// Drops every chunk, because the stream is in doubt, or the last one who would take them has ended.
    pub fn clear(&self) {
        self.state().chunks.clear();
    }

    fn new_key(&self) -> u64 {
        self.keys.fetch_add(1, Ordering::Relaxed)
    }

    /// A key for one more consumer that polls.
    pub fn consumer_key(&self) -> ConsumerKey {
        ConsumerKey(self.new_key())
    }

    /// Since when the consumer has polled again and again, if it goes on where it was a moment ago.
    pub fn since(&self, key: ConsumerKey, after: EventId) -> Option<Instant> {
        let state = self.state();
        let own = state.consumers.get(&key).filter(|own| own.next == after && own.is_fresh());
        own.map(|own| own.since)
    }

    /// The consumer will go on after `next`.
    pub fn record_position(&self, key: ConsumerKey, next: EventId) {
        let mut state = self.state();
        state.consumers.retain(|_, progress| progress.is_fresh());
        let when = Instant::now();
        let since = state.consumers.get(&key).map_or(when, |progress| progress.since);
        state.consumers.insert(key, Progress { next, when, since });
    }

    /// Forgets the consumer, because it registers again or unregisters.
    pub fn forget(&self, key: ConsumerKey) {
        self.state().consumers.remove(&key);
    }

    /// Whether another consumer is at a position from which it will want the events above `after` and
    /// up to `up_to`.
    pub fn is_wanted(&self, key: ConsumerKey, after: EventId, up_to: EventId) -> bool {
        let near = |next: EventId| next < up_to && next + NEAR >= after;
        let state = self.state();
        let mut others = state.consumers.iter().filter(|(other, _)| **other != key);
        up_to > after && others.any(|(_, progress)| near(progress.next) && progress.is_fresh())
    }
}

impl State {
    /// The chunks that have what follows the position, one after the other without a gap, until there is
    /// enough.
    fn hits(&mut self, request: &Request<'_>) -> Vec<Arc<CachedChunk>> {
        let now = Instant::now();
        self.forget_old(now);
        let Some(since) = request.since else { return Vec::new() };
        let (mut at, mut found, mut hits) = (request.after, 0, Vec::new());
        for chunk in &self.chunks {
            if found >= request.limit {
                break;
            }
            let follows = chunk.after <= at && at < chunk.up_to;
            if follows && chunk.may_be_given(request, since, now) {
                found += chunk.events_after(at).len();
                at = chunk.up_to;
                hits.push(chunk.clone());
            }
        }
        hits
    }

    /// Whether another reader reads the chunk, and it may be given to who asks.
    fn is_being_read(&self, request: &Request<'_>) -> bool {
        self.reading.iter().any(|reading| {
            reading.after == request.after
                && reading.doubts == request.doubts
                && request.since.is_some_and(|since| reading.read >= since)
                && reading.want == *request.want
        })
    }

    fn keep(&mut self, chunk: CachedChunk) {
        self.forget_old(Instant::now());
        // Whoever may take the older one may take this one.
        self.chunks.retain(|other| !chunk.replaces(other));
        self.chunks.push_back(Arc::new(chunk));
        // The oldest go first. A reader that is so far behind the others reads for itself.
        while self.chunks.len() > CHUNKS
            || self.chunks.iter().map(|chunk| chunk.events.len()).sum::<usize>() > EVENTS
            || self.chunks.iter().map(|chunk| chunk.bytes).sum::<usize>() > BYTES
        {
            self.chunks.pop_front();
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while self.chunks.front().is_some_and(|chunk| now - chunk.read >= CATCH_UP_AGE) {
            self.chunks.pop_front();
        }
    }
}

impl CachedChunk {
    /// All events that the request wants up to `up_to`. Their read began at `read`, when there were as many
    /// doubts as the request says.
    pub fn new(
        request: &Request<'_>,
        up_to: EventId,
        events: Arc<[Arc<Event>]>,
        read: Instant,
    ) -> Self {
        let bytes = events.iter().map(|event| event.data.as_str().len()).sum();
        let Request { after, want, doubts, .. } = *request;
        CachedChunk { after, up_to, want: want.clone(), events, bytes, doubts, read }
    }

    /// The one rule of safety: invariants 3, 4 and 5.
    fn may_be_given(&self, request: &Request<'_>, since: Instant, now: Instant) -> bool {
        self.doubts == request.doubts
            && self.read >= since
            && now.saturating_duration_since(self.read) < request.max_age
            && self.want == *request.want
    }

    fn replaces(&self, other: &CachedChunk) -> bool {
        self.after <= other.after
            && other.up_to <= self.up_to
            && other.doubts <= self.doubts
            && other.read <= self.read
            && other.want == self.want
    }

    fn events_after(&self, id: EventId) -> &[Arc<Event>] {
        &self.events[self.events.partition_point(|event| event.id <= id)..]
    }
}

impl<T> Prefix<T> {
    fn of(
        hits: &[Arc<CachedChunk>],
        request: &Request<'_>,
        copy: impl Fn(&Arc<Event>) -> T,
    ) -> Self {
        let mut found = Prefix { events: Vec::new(), bytes: 0, up_to: request.after, full: false };
        for chunk in hits {
            for event in chunk.events_after(found.up_to) {
                if found.is_full(request) {
                    found.full = true;
                    return found;
                }
                found.up_to = event.id;
                found.bytes += event.data.as_str().len();
                found.events.push(copy(event));
            }
            found.up_to = chunk.up_to;
        }
        found.full = found.is_full(request);
        found
    }

    fn is_full(&self, request: &Request<'_>) -> bool {
        self.events.len() >= request.limit || self.bytes >= request.max_bytes
    }
}

impl Progress {
    fn is_fresh(&self) -> bool {
        self.when.elapsed() < POLL_AGE
    }
}

/// The guard of a read in progress. Its drop wakes all who wait for it, also after an error or a panic.
struct InProgress<'a> {
    cache: &'a SharedChunks,
    key: u64,
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        self.cache.state().reading.retain(|reading| reading.key != self.key);
        self.cache.ended.notify_all();
    }
}

#[cfg(test)]
mod tests;
