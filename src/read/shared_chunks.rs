//! What was read a moment ago. Consumers that poll side by side at the end of the stream read each
//! event from the database once: a later one takes it from here, and reads only what comes after it.
//! Settled events do not change, so an entry may be stale, but it is never incorrect.

use crate::model::event::{Event, EventId};
use crate::sync::lock::lock;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Entries older than this are not served.
const AGE: Duration = Duration::from_millis(250);

/// Most events that are window, and most bytes of their data.
const EVENTS: usize = 4096;
const BYTES: usize = 4 << 20;

/// The last events that the consumers of a stream handle have read.
#[derive(Default)]
pub(crate) struct SharedChunks {
    window: Mutex<Window>,
    consumers: AtomicU64,
}

/// Who polls, among those of a stream handle.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConsumerKey(u64);

#[derive(Default)]
struct Window {
    /// Every settled event above this, up to where the last chunk ends, stands in the chunks.
    after: EventId,
    chunks: VecDeque<CachedChunk>,
    consumers: HashMap<ConsumerKey, Progress>,
}

/// Where a consumer will go on.
struct Progress {
    next: EventId,
    /// When it said so last, and since when it has polled again and again.
    when: Instant,
    since: Instant,
}

#[derive(Clone)]
struct CachedChunk {
    events: Arc<[Event]>,
    bytes: usize,
    up_to: EventId,
    read: Instant,
}

/// The cached prefix of the requested chunk: every event up to `up_to`.
pub(crate) struct Prefix {
    pub events: Vec<Event>,
    pub bytes: usize,
    pub up_to: EventId,
    /// Nothing more fits into the chunk.
    pub full: bool,
}

impl SharedChunks {
    fn window(&self) -> MutexGuard<'_, Window> {
        lock(&self.window)
    }

    /// A key for one more consumer.
    pub fn consumer_key(&self) -> ConsumerKey {
        ConsumerKey(self.consumers.fetch_add(1, Ordering::Relaxed))
    }

    /// The events after `after` that stand here, of at most so many events and bytes.
    ///
    /// A hit requires that this consumer itself read up to `after` less than [`AGE`] ago, and that
    /// the chunk was read after the consumer began to poll: from then on nothing after its cursor
    /// is discarded. A consumer that registered later could be given events that were already
    /// discarded, followed by a gap.
    pub fn take(&self, key: ConsumerKey, after: EventId, limit: usize, max_bytes: usize) -> Prefix {
        let mut window = self.window();
        window.forget_old();
        let behind = window.chunks.iter().filter(|chunk| chunk.up_to > after);
        let mut chunks: Vec<CachedChunk> = behind.cloned().collect();
        let own = window.consumers.get(&key).filter(|own| own.next == after && own.is_fresh());
        let fits = own.is_some_and(|own| chunks.iter().all(|chunk| chunk.read >= own.since));
        if !fits || window.after > after {
            chunks.clear();
        }
        drop(window);
        let mut found = Prefix { events: Vec::new(), bytes: 0, up_to: after, full: false };
        for chunk in &chunks {
            let first = chunk.events.partition_point(|event| event.id <= after);
            for event in &chunk.events[first..] {
                if found.events.len() >= limit || found.bytes >= max_bytes {
                    found.full = true;
                    return found;
                }
                found.up_to = event.id;
                found.bytes += event.data.as_str().len();
                found.events.push(event.clone());
            }
            found.up_to = chunk.up_to;
        }
        found.full = found.events.len() >= limit || found.bytes >= max_bytes;
        found
    }

    /// The consumer of this key will go on after `next`.
    pub fn record_position(&self, key: ConsumerKey, next: EventId) {
        let mut window = self.window();
        window.consumers.retain(|_, progress| progress.is_fresh());
        let when = Instant::now();
        let since = window.consumers.get(&key).map_or(when, |progress| progress.since);
        window.consumers.insert(key, Progress { next, when, since });
    }

    /// Forgets the consumer, because it registers again or unregisters.
    pub fn forget(&self, key: ConsumerKey) {
        self.window().consumers.remove(&key);
    }

    /// Keeps `events`, which are all events above `after` and up to `up_to`, if another consumer is
    /// at a position where it will want them. They were read no earlier than `read`, and no
    /// connection broke since.
    pub fn keep(
        &self,
        key: ConsumerKey,
        after: EventId,
        up_to: EventId,
        events: &[Event],
        read: Instant,
    ) {
        let mut window = self.window();
        window.forget_old();
        let from = window.up_to().unwrap_or(after).max(after);
        let near = |next: EventId| next < up_to && next + EVENTS as EventId >= after;
        let wanted = window
            .consumers
            .iter()
            .any(|(other, progress)| *other != key && progress.is_fresh() && near(progress.next));
        if up_to <= from || !wanted {
            return;
        }
        if window.up_to() != Some(from) {
            window.chunks.clear();
            window.after = from;
        }
        let first = events.partition_point(|event| event.id <= from);
        let events: Arc<[Event]> = events[first..].into();
        let bytes = events.iter().map(|event| event.data.as_str().len()).sum();
        window.chunks.push_back(CachedChunk { events, bytes, up_to, read });
        while window.chunks.iter().map(|chunk| chunk.events.len()).sum::<usize>() > EVENTS
            || window.chunks.iter().map(|chunk| chunk.bytes).sum::<usize>() > BYTES
        {
            window.forget_first();
        }
    }

    pub fn clear(&self) {
        self.window().chunks.clear();
    }
}

impl Progress {
    fn is_fresh(&self) -> bool {
        self.when.elapsed() < AGE
    }
}

impl Window {
    fn up_to(&self) -> Option<EventId> {
        self.chunks.back().map(|chunk| chunk.up_to)
    }

    fn forget_first(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            self.after = chunk.up_to;
        }
    }

    fn forget_old(&mut self) {
        while self.chunks.front().is_some_and(|chunk| chunk.read.elapsed() >= AGE) {
            self.forget_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{EventData, EventType, Timestamp};
    use std::ops::RangeInclusive;
    use std::thread::sleep;

    fn events(ids: RangeInclusive<EventId>, size: usize) -> Vec<Event> {
        let event = |id| Event {
            id,
            event_type: EventType::stored("A"),
            data: EventData::stored("x".repeat(size)),
            ts: Timestamp::from_unix(0).unwrap(),
        };
        ids.map(event).collect()
    }

    /// Somebody who waits at 0, and somebody who reads.
    fn two() -> (SharedChunks, ConsumerKey) {
        let recent = SharedChunks::default();
        let (waits, reads) = (recent.consumer_key(), recent.consumer_key());
        recent.record_position(waits, 0);
        (recent, reads)
    }

    fn keep(recent: &SharedChunks, key: ConsumerKey, after: EventId, up_to: EventId) {
        recent.keep(key, after, up_to, &events(after + 1..=up_to, 1), Instant::now());
    }

    /// Somebody who has polled since before everything.
    const WAITS: ConsumerKey = ConsumerKey(0);

    /// Takes for somebody who has read up to there.
    fn take(recent: &SharedChunks, after: EventId, limit: usize, max_bytes: usize) -> Prefix {
        let key = WAITS;
        recent.record_position(key, after);
        recent.take(key, after, limit, max_bytes)
    }

    fn ids(found: &Prefix) -> Vec<EventId> {
        found.events.iter().map(|event| event.id).collect()
    }

    #[test]
    fn pieces_that_follow_or_overlap_are_taken_as_one() {
        let (recent, reads) = two();
        keep(&recent, reads, 0, 3);
        keep(&recent, reads, 3, 5);
        keep(&recent, reads, 4, 7);
        let found = take(&recent, 1, 100, 100);
        assert_eq!(ids(&found), [2, 3, 4, 5, 6, 7]);
        assert_eq!((found.up_to, found.bytes, found.full), (7, 6, false));
    }

    #[test]
    fn a_newcomer_takes_only_what_was_read_since_it_polls() {
        let (recent, reads) = two();
        keep(&recent, reads, 0, 3);
        let newcomer = recent.consumer_key();
        for _ in 0..2 {
            assert!(recent.take(newcomer, 3, 100, 100).events.is_empty());
            recent.record_position(newcomer, 1);
            assert!(recent.take(newcomer, 1, 100, 100).events.is_empty());
            recent.record_position(newcomer, 3);
            assert!(recent.take(newcomer, 2, 100, 100).events.is_empty());
            recent.clear();
            keep(&recent, reads, 3, 5);
            assert_eq!(ids(&recent.take(newcomer, 3, 100, 100)), [4, 5]);
            recent.forget(newcomer);
        }
    }

    #[test]
    fn a_chunk_ends_at_its_limits() {
        let (recent, reads) = two();
        keep(&recent, reads, 0, 9);
        for (limit, max_bytes) in [(2, 100), (100, 2)] {
            let found = take(&recent, 3, limit, max_bytes);
            assert_eq!((ids(&found), found.up_to, found.full), (vec![4, 5], 5, true));
        }
    }

    #[test]
    fn what_is_not_known_from_the_position_on_is_not_given() {
        let (recent, reads) = two();
        keep(&recent, reads, 4, 6);
        for position in [0, 3, 6, 8] {
            let found = take(&recent, position, 100, 100);
            assert_eq!((found.events.len(), found.up_to, found.full), (0, position, false));
        }
        // Behind a hole there is a new beginning.
        keep(&recent, reads, 8, 9);
        assert!(take(&recent, 4, 100, 100).events.is_empty());
        assert_eq!(ids(&take(&recent, 8, 100, 100)), [9]);
    }

    #[test]
    fn a_missing_id_that_is_settled_is_passed_over() {
        let (recent, reads) = two();
        recent.keep(reads, 0, 5, &events(1..=2, 1), Instant::now());
        let found = take(&recent, 0, 100, 100);
        assert_eq!((ids(&found), found.up_to), (vec![1, 2], 5));
    }

    #[test]
    fn nothing_is_kept_for_who_is_alone_or_far_away() {
        let (recent, reads) = (SharedChunks::default(), ConsumerKey(7));
        recent.record_position(reads, 0);
        keep(&recent, reads, 0, 3);
        assert!(take(&recent, 0, 100, 100).events.is_empty());
        recent.record_position(ConsumerKey(8), 0);
        let far = EVENTS as EventId + 1;
        keep(&recent, reads, far, far + 3);
        assert!(take(&recent, far, 100, 100).events.is_empty());
    }

    #[test]
    fn what_is_old_or_of_another_database_is_forgotten() {
        let (recent, reads) = two();
        recent.keep(reads, 0, 2, &events(1..=2, 1), Instant::now() - AGE);
        keep(&recent, reads, 2, 4);
        assert!(take(&recent, 0, 100, 100).events.is_empty());
        assert_eq!(ids(&take(&recent, 2, 100, 100)), [3, 4]);
        recent.clear();
        assert!(take(&recent, 2, 100, 100).events.is_empty());
        keep(&recent, reads, 0, 2);
        sleep(AGE);
        assert!(take(&recent, 0, 100, 100).events.is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (recent, reads) = two();
        for after in (0..3 * EVENTS as EventId).step_by(500) {
            recent.record_position(ConsumerKey(99), after);
            keep(&recent, reads, after, after + 500);
        }
        assert!(
            recent.window().chunks.iter().map(|chunk| chunk.events.len()).sum::<usize>() <= EVENTS
        );
        let end = recent.window().up_to().unwrap();
        recent.record_position(ConsumerKey(99), end);
        recent.keep(reads, end, end + 2, &events(end + 1..=end + 2, BYTES), Instant::now());
        assert!(recent.window().chunks.is_empty());
    }
}
