//! The invariants of the cache, by their numbers.

use super::*;
use crate::model::error::{Error, ErrorKind};
use crate::model::event::{EventData, EventType, Timestamp};
use std::ops::RangeInclusive;
use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;
use std::thread::sleep;

fn events(ids: RangeInclusive<EventId>, size: usize) -> Arc<[Arc<Event>]> {
    let event = |id| Event {
        id,
        event_type: EventType::stored("A"),
        data: EventData::stored("x".repeat(size)),
        ts: Timestamp::from_unix(0).unwrap(),
    };
    ids.map(|id| Arc::new(event(id))).collect()
}

/// A reader that began before everything.
fn early() -> Instant {
    Instant::now() - Duration::from_secs(60)
}

static ALL: std::sync::LazyLock<Want> = std::sync::LazyLock::new(Want::all);

/// What such a reader asks for at a position.
fn at(after: EventId) -> Request<'static> {
    Request {
        after,
        want: &ALL,
        limit: 100,
        max_bytes: 100,
        doubts: 0,
        since: Some(early()),
        max_age: CATCH_UP_AGE,
    }
}

/// All events above `after` and up to `up_to`, as they were read at a time.
fn chunk_of(after: EventId, up_to: EventId, read: Instant) -> CachedChunk {
    CachedChunk::new(&at(after), up_to, events(after + 1..=up_to, 1), read)
}

fn chunk(after: EventId, up_to: EventId) -> CachedChunk {
    chunk_of(after, up_to, Instant::now())
}

fn with(chunks: impl IntoIterator<Item = (EventId, EventId)>) -> SharedChunks {
    let cache = SharedChunks::default();
    chunks.into_iter().for_each(|(after, up_to)| cache.keep(chunk(after, up_to), 0));
    cache
}

fn take(cache: &SharedChunks, request: &Request<'_>) -> Prefix<EventId> {
    cache.take(request, |event| event.id)
}

fn ids(cache: &SharedChunks, request: &Request<'_>) -> Vec<EventId> {
    take(cache, request).events
}

// 1. A chunk is whole.

#[test]
fn a_chunk_ends_at_the_limits_of_who_asks() {
    let cache = with([(0, 9)]);
    for request in [Request { limit: 2, ..at(3) }, Request { max_bytes: 2, ..at(3) }] {
        let found = take(&cache, &request);
        assert_eq!((found.events, found.up_to, found.full), (vec![4, 5], 5, true));
    }
}

#[test]
fn a_missing_id_that_is_settled_is_passed_over() {
    let cache = SharedChunks::default();
    cache.keep(CachedChunk::new(&at(0), 5, events(1..=2, 1), Instant::now()), 0);
    let found = take(&cache, &at(0));
    assert_eq!((found.events, found.up_to, found.full), (vec![1, 2], 5, false));
}

#[test]
fn what_was_read_with_another_filter_is_not_given() {
    let cache = with([(0, 3)]);
    let filtered = Want::types(&["A"]).unwrap();
    assert!(ids(&cache, &Request { want: &filtered, ..at(0) }).is_empty());
    let read = Request { want: &filtered, ..at(3) };
    cache.keep(CachedChunk::new(&read, 5, events(4..=4, 1), Instant::now()), 0);
    assert_eq!(ids(&cache, &at(0)), [1, 2, 3]);
    assert_eq!((ids(&cache, &read), take(&cache, &read).up_to), (vec![4], 5));
}

// 2. What is taken begins at the position of the reader and has no gap.

#[test]
fn pieces_that_follow_or_overlap_are_taken_as_one() {
    let cache = with([(0, 3), (3, 5), (4, 7)]);
    let found = take(&cache, &at(1));
    assert_eq!(found.events, [2, 3, 4, 5, 6, 7]);
    assert_eq!((found.up_to, found.bytes, found.full), (7, 6, false));
}

#[test]
fn what_is_not_known_from_the_position_on_is_not_given() {
    let cache = with([(4, 6), (8, 9)]);
    for position in [0, 3, 6, 9] {
        let found = take(&cache, &at(position));
        assert_eq!((found.events.len(), found.up_to, found.full), (0, position, false));
    }
    assert_eq!((ids(&cache, &at(4)), ids(&cache, &at(8))), (vec![5, 6], vec![9]));
}

#[test]
fn a_value_goes_through_unchanged_and_once() {
    // Whatever pieces are cached, whoever reads what is missing gets each event once and in order.
    let cache = with([(2, 4), (4, 9), (12, 15), (3, 6)]);
    for start in 0..15 {
        let (mut position, mut got) = (start, Vec::new());
        while position < 15 {
            let found = take(&cache, &Request { limit: 3, ..at(position) });
            got.extend(found.events);
            position = found.up_to;
            if !found.full && position < 15 {
                position += 1;
                got.push(position);
            }
        }
        assert_eq!(got, (start + 1..=15).collect::<Vec<_>>());
    }
}

// 3. A doubt drops everything.

#[test]
fn what_was_read_before_a_doubt_is_not_given_after_it_nor_the_contrary() {
    let cache = with([(0, 3)]);
    let doubtful = Request { doubts: 1, ..at(0) };
    assert!(ids(&cache, &doubtful).is_empty());
    cache.keep(CachedChunk::new(&doubtful, 3, events(1..=3, 1), Instant::now()), 1);
    assert_eq!(ids(&cache, &doubtful), [1, 2, 3]);
    assert!(ids(&cache, &at(0)).is_empty());
    cache.clear();
    assert!(ids(&cache, &doubtful).is_empty());
}

#[test]
fn what_was_read_while_a_doubt_came_up_is_not_kept() {
    let cache = SharedChunks::default();
    cache.keep(chunk(0, 3), 1);
    let read = cache.take_or_read(&at(3), || Ok(chunk(3, 5)), || 1).unwrap();
    assert_eq!(read.up_to, 5);
    assert!(cache.state().chunks.is_empty());
}

// 4. A newcomer gets nothing that was read before it began.

#[test]
fn a_newcomer_takes_only_what_was_read_since_it_began() {
    let cache = with([(0, 3)]);
    let newcomer = Request { since: Some(Instant::now()), ..at(0) };
    assert!(ids(&cache, &newcomer).is_empty());
    let read = cache.take_or_read(&newcomer, || Ok(chunk(0, 2)), || 0).unwrap();
    assert_eq!(read.up_to, 2);
    // The older one ends later, and stays for the others.
    assert_eq!((ids(&cache, &newcomer), ids(&cache, &at(0))), (vec![1, 2], vec![1, 2, 3]));
    assert!(ids(&cache, &Request { since: None, ..at(0) }).is_empty());
}

#[test]
fn a_newcomer_does_not_wait_for_a_read_that_began_before_it() {
    let cache = SharedChunks::default();
    let read = || {
        let newcomer = Request { since: Some(Instant::now()), ..at(0) };
        let own = cache.take_or_read(&newcomer, || Ok(chunk(0, 2)), || 0).unwrap();
        assert_eq!(own.up_to, 2);
        Ok(chunk(0, 3))
    };
    assert_eq!(cache.take_or_read(&at(0), read, || 0).unwrap().up_to, 3);
}

#[test]
fn a_consumer_begins_with_its_first_poll_and_anew_after_a_break() {
    let cache = SharedChunks::default();
    let (key, start) = (cache.consumer_key(), Instant::now());
    assert!(cache.since(key, 0).is_none());
    // On a machine under load it may have been away for too long when it is asked for.
    let begin = |_| {
        cache.record_position(key, 1);
        cache.since(key, 1)
    };
    let since = (0..50).find_map(begin).unwrap();
    assert!(since >= start);
    cache.record_position(key, 3);
    assert!(cache.since(key, 3).is_none_or(|later| later == since));
    assert!(cache.since(key, 2).is_none(), "it is elsewhere");
    cache.forget(key);
    assert!(cache.since(key, 3).is_none());
    cache.record_position(key, 3);
    sleep(POLL_AGE);
    assert!(cache.since(key, 3).is_none());
    cache.record_position(key, 3);
    assert!(cache.since(key, 3).is_none_or(|later| later > since));
}

// 5. What is old is not taken.

#[test]
fn what_is_too_old_for_who_asks_is_not_given() {
    let cache = SharedChunks::default();
    cache.keep(chunk_of(0, 2, Instant::now() - POLL_AGE), 0);
    let poll = Request { max_age: POLL_AGE, ..at(0) };
    assert!(ids(&cache, &poll).is_empty());
    cache.keep(chunk_of(2, 4, Instant::now() - CATCH_UP_AGE), 0);
    assert!(ids(&cache, &at(2)).is_empty());
    cache.keep(chunk(0, 2), 0);
    assert_eq!(ids(&cache, &at(0)), [1, 2]);
    sleep(CATCH_UP_AGE);
    assert!(ids(&cache, &at(0)).is_empty());
    assert!(cache.state().chunks.is_empty());
}

// 6. What is kept is bounded.

#[test]
fn chunks_are_wanted_only_by_another_consumer_that_is_near() {
    let cache = SharedChunks::default();
    let (reads, waits) = (cache.consumer_key(), cache.consumer_key());
    cache.record_position(reads, 0);
    assert!(!cache.is_wanted(reads, 0, 3), "it is alone");
    // On a machine under load it may have been away for too long when it is asked for.
    let is_wanted = |next, after, up_to| {
        (0..50).any(|_| {
            cache.record_position(waits, next);
            cache.is_wanted(reads, after, up_to)
        })
    };
    assert!(is_wanted(0, 0, 3));
    assert!(!is_wanted(0, 3, 3), "nothing was read");
    assert!(!is_wanted(3, 0, 3), "it has passed");
    assert!(is_wanted(0, NEAR, NEAR + 3));
    assert!(!is_wanted(0, NEAR + 1, NEAR + 3), "it is far away");
}

#[test]
fn the_oldest_chunks_go_first() {
    let many = CHUNKS as EventId + 10;
    let cache = with((0..many).map(|after| (after, after + 1)));
    assert!(cache.state().chunks.len() <= CHUNKS);
    assert!(ids(&cache, &at(0)).is_empty());
    let large = EVENTS as EventId / 2;
    let cache = with((0..3).map(|n| (n * large, n * large + large)));
    assert_eq!(cache.state().chunks.len(), 2);
    let huge =
        |after| CachedChunk::new(&at(after), after + 2, events(1..=2, BYTES / 2), Instant::now());
    cache.keep(huge(0), 0);
    assert_eq!(cache.state().chunks.len(), 1);
    cache.keep(huge(2), 0);
    assert_eq!(cache.state().chunks.len(), 1);
}

#[test]
fn a_chunk_takes_the_place_of_those_that_it_contains() {
    let cache = with([(0, 2), (2, 4), (0, 4), (0, 4)]);
    assert_eq!(cache.state().chunks.len(), 1);
    assert_eq!(ids(&cache, &at(0)), [1, 2, 3, 4]);
    cache.keep(chunk(4, 4), 0);
    assert_eq!(cache.state().chunks.len(), 1, "nothing was read");
}

// 7. Readers that wait for the same chunk share one read.

#[test]
fn many_who_ask_at_once_read_once() {
    let (cache, reads) = (SharedChunks::default(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let read = || {
                    reads.fetch_add(1, Ordering::Relaxed);
                    sleep(Duration::from_millis(20));
                    Ok(chunk(0, 2))
                };
                let found = cache.take_or_read(&at(0), read, || 0).unwrap();
                assert_eq!((found.events.len(), found.up_to), (2, 2));
            });
        }
    });
    assert_eq!(reads.into_inner(), 1);
}

#[test]
fn the_end_of_the_stream_is_read_again() {
    let cache = SharedChunks::default();
    for _ in 0..2 {
        let found = cache.take_or_read(&at(5), || Ok(chunk(5, 5)), || 0).unwrap();
        assert_eq!((found.events.len(), found.up_to), (0, 5));
    }
    // What has come meanwhile is there, and what follows it is read.
    assert_eq!(cache.take_or_read(&at(5), || Ok(chunk(5, 7)), || 0).unwrap().up_to, 7);
    assert_eq!(cache.take_or_read(&at(5), || panic!("it is there"), || 0).unwrap().up_to, 7);
    assert_eq!(cache.take_or_read(&at(7), || Ok(chunk(7, 9)), || 0).unwrap().up_to, 9);
}

#[test]
fn after_a_failure_or_a_panic_of_the_reader_the_next_one_reads() {
    let cache = SharedChunks::default();
    let failed = cache.take_or_read(&at(0), || Err(Error::new(ErrorKind::Busy, "no")), || 0);
    assert_eq!(failed.err().unwrap().kind(), ErrorKind::Busy);
    let both = Barrier::new(2);
    std::thread::scope(|scope| {
        let fails = scope.spawn(|| {
            let read = || {
                both.wait();
                sleep(Duration::from_millis(50));
                panic!("while reading")
            };
            cache.take_or_read(&at(0), read, || 0).is_ok()
        });
        both.wait();
        assert_eq!(cache.take_or_read(&at(0), || Ok(chunk(0, 2)), || 0).unwrap().up_to, 2);
        assert!(fails.join().is_err());
    });
    assert!(cache.state().reading.is_empty());
}
