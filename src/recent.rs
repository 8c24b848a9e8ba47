//! What was read a moment ago. Consumers that poll side by side at the end of the stream read each
//! event from the database once: who comes later takes it from here, and reads only what is behind
//! it. Settled events do not change, so what stands here can be old by its age, never wrong.

use crate::event::{Event, EventId};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Read longer ago than this, it is read again.
const AGE: Duration = Duration::from_millis(250);

/// Most events that are kept, and most bytes of their data.
const EVENTS: usize = 4096;
const BYTES: usize = 4 << 20;

/// The last events that the consumers of a stream handle have read.
#[derive(Default)]
pub(crate) struct Recent {
    kept: Mutex<Kept>,
    places: AtomicU64,
}

/// Who polls, among those of a stream handle.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place(u64);

#[derive(Default)]
struct Kept {
    /// Every settled event above this, up to where the last piece ends, stands in the pieces.
    after: EventId,
    pieces: VecDeque<Piece>,
    places: HashMap<Place, Standing>,
}

/// Where a consumer will go on.
struct Standing {
    next: EventId,
    /// When it said so last, and since when it has polled again and again.
    when: Instant,
    since: Instant,
}

#[derive(Clone)]
struct Piece {
    events: Arc<[Event]>,
    bytes: usize,
    upto: EventId,
    read: Instant,
}

/// What of a chunk stands here: every event up to `upto`.
pub(crate) struct Found {
    pub events: Vec<Event>,
    pub bytes: usize,
    pub upto: EventId,
    /// Nothing more fits into the chunk.
    pub full: bool,
}

impl Recent {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more consumer.
    pub fn place(&self) -> Place {
        Place(self.places.fetch_add(1, Ordering::Relaxed))
    }

    /// The events after `after` that stand here, of at most so many events and bytes.
    ///
    /// Only for who has itself read up to there a moment ago, and only what was read since it polls:
    /// from then on nothing behind it is discarded. A newcomer may begin behind events that stand
    /// here and were discarded before it registered; it would get some of them, and a hole.
    pub fn take(&self, place: Place, after: EventId, limit: usize, max_bytes: usize) -> Found {
        let mut kept = self.kept();
        kept.forget_old();
        let behind = kept.pieces.iter().filter(|piece| piece.upto > after);
        let mut pieces: Vec<Piece> = behind.cloned().collect();
        let own = kept.places.get(&place).filter(|own| own.next == after && own.is_fresh());
        let fits = own.is_some_and(|own| pieces.iter().all(|piece| piece.read >= own.since));
        if !fits || kept.after > after {
            pieces.clear();
        }
        drop(kept);
        let mut found = Found { events: Vec::new(), bytes: 0, upto: after, full: false };
        for piece in &pieces {
            let first = piece.events.partition_point(|event| event.id <= after);
            for event in &piece.events[first..] {
                if found.events.len() >= limit || found.bytes >= max_bytes {
                    found.full = true;
                    return found;
                }
                found.upto = event.id;
                found.bytes += event.data.as_str().len();
                found.events.push(event.clone());
            }
            found.upto = piece.upto;
        }
        found.full = found.events.len() >= limit || found.bytes >= max_bytes;
        found
    }

    /// The consumer of this place will go on after `next`.
    pub fn goes_on(&self, place: Place, next: EventId) {
        let mut kept = self.kept();
        kept.places.retain(|_, standing| standing.is_fresh());
        let when = Instant::now();
        let since = kept.places.get(&place).map_or(when, |standing| standing.since);
        kept.places.insert(place, Standing { next, when, since });
    }

    /// The consumer of this place begins anew, or ends.
    pub fn leaves(&self, place: Place) {
        self.kept().places.remove(&place);
    }

    /// These are all events above `after`, up to `upto`, read since `read` from a database that is
    /// still the same. Keeps them if another consumer stands where it will want them.
    pub fn keep(
        &self,
        place: Place,
        after: EventId,
        upto: EventId,
        events: &[Event],
        read: Instant,
    ) {
        let mut kept = self.kept();
        kept.forget_old();
        let from = kept.upto().unwrap_or(after).max(after);
        let near = |next: EventId| next < upto && next + EVENTS as EventId >= after;
        let wanted = kept
            .places
            .iter()
            .any(|(other, standing)| *other != place && standing.is_fresh() && near(standing.next));
        if upto <= from || !wanted {
            return;
        }
        if kept.upto() != Some(from) {
            kept.pieces.clear();
            kept.after = from;
        }
        let first = events.partition_point(|event| event.id <= from);
        let events: Arc<[Event]> = events[first..].into();
        let bytes = events.iter().map(|event| event.data.as_str().len()).sum();
        kept.pieces.push_back(Piece { events, bytes, upto, read });
        while kept.pieces.iter().map(|piece| piece.events.len()).sum::<usize>() > EVENTS
            || kept.pieces.iter().map(|piece| piece.bytes).sum::<usize>() > BYTES
        {
            kept.forget_first();
        }
    }

    pub fn clear(&self) {
        self.kept().pieces.clear();
    }
}

impl Standing {
    fn is_fresh(&self) -> bool {
        self.when.elapsed() < AGE
    }
}

impl Kept {
    fn upto(&self) -> Option<EventId> {
        self.pieces.back().map(|piece| piece.upto)
    }

    fn forget_first(&mut self) {
        if let Some(piece) = self.pieces.pop_front() {
            self.after = piece.upto;
        }
    }

    fn forget_old(&mut self) {
        while self.pieces.front().is_some_and(|piece| piece.read.elapsed() >= AGE) {
            self.forget_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventData, EventType, Timestamp};
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
    fn two() -> (Recent, Place) {
        let recent = Recent::default();
        let (waits, reads) = (recent.place(), recent.place());
        recent.goes_on(waits, 0);
        (recent, reads)
    }

    fn keep(recent: &Recent, place: Place, after: EventId, upto: EventId) {
        recent.keep(place, after, upto, &events(after + 1..=upto, 1), Instant::now());
    }

    /// Somebody who has polled since before everything.
    const WAITS: Place = Place(0);

    /// Takes for somebody who has read up to there.
    fn take(recent: &Recent, after: EventId, limit: usize, max_bytes: usize) -> Found {
        let place = WAITS;
        recent.goes_on(place, after);
        recent.take(place, after, limit, max_bytes)
    }

    fn ids(found: &Found) -> Vec<EventId> {
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
        assert_eq!((found.upto, found.bytes, found.full), (7, 6, false));
    }

    #[test]
    fn a_newcomer_takes_only_what_was_read_since_it_polls() {
        let (recent, reads) = two();
        keep(&recent, reads, 0, 3);
        let newcomer = recent.place();
        for _ in 0..2 {
            assert!(recent.take(newcomer, 3, 100, 100).events.is_empty());
            recent.goes_on(newcomer, 1);
            assert!(recent.take(newcomer, 1, 100, 100).events.is_empty());
            recent.goes_on(newcomer, 3);
            assert!(recent.take(newcomer, 2, 100, 100).events.is_empty());
            recent.clear();
            keep(&recent, reads, 3, 5);
            assert_eq!(ids(&recent.take(newcomer, 3, 100, 100)), [4, 5]);
            recent.leaves(newcomer);
        }
    }

    #[test]
    fn a_chunk_ends_at_its_limits() {
        let (recent, reads) = two();
        keep(&recent, reads, 0, 9);
        for (limit, max_bytes) in [(2, 100), (100, 2)] {
            let found = take(&recent, 3, limit, max_bytes);
            assert_eq!((ids(&found), found.upto, found.full), (vec![4, 5], 5, true));
        }
    }

    #[test]
    fn what_is_not_known_from_the_position_on_is_not_given() {
        let (recent, reads) = two();
        keep(&recent, reads, 4, 6);
        for position in [0, 3, 6, 8] {
            let found = take(&recent, position, 100, 100);
            assert_eq!((found.events.len(), found.upto, found.full), (0, position, false));
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
        assert_eq!((ids(&found), found.upto), (vec![1, 2], 5));
    }

    #[test]
    fn nothing_is_kept_for_who_is_alone_or_far_away() {
        let (recent, reads) = (Recent::default(), Place(7));
        recent.goes_on(reads, 0);
        keep(&recent, reads, 0, 3);
        assert!(take(&recent, 0, 100, 100).events.is_empty());
        recent.goes_on(Place(8), 0);
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
            recent.goes_on(Place(99), after);
            keep(&recent, reads, after, after + 500);
        }
        assert!(
            recent.kept().pieces.iter().map(|piece| piece.events.len()).sum::<usize>() <= EVENTS
        );
        let end = recent.kept().upto().unwrap();
        recent.goes_on(Place(99), end);
        recent.keep(reads, end, end + 2, &events(end + 1..=end + 2, BYTES), Instant::now());
        assert!(recent.kept().pieces.is_empty());
    }
}
