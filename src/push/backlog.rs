//! Chunks of the backlog, for subscriptions that catch up side by side: one of them reads a chunk
//! from the database, the others take it from here. Bounded, and empty when nobody catches up.

use crate::model::error::Result;
use crate::model::event::{Event, EventId};
use crate::model::ident::Want;
use crate::sync::lock::lock;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most chunks that are kept, and most bytes of their data.
const CHUNKS: usize = 32;
const BYTES: usize = 16 << 20;

/// A chunk is forgotten after this time.
const AGE: Duration = Duration::from_secs(1);

/// What a chunk was read for.
#[derive(Clone, PartialEq)]
pub(crate) struct Request {
    pub after: EventId,
    pub want: Want,
    pub limit: usize,
    /// How many doubts there were whether the stream is still the same.
    pub doubts: u64,
}

/// A chunk that was read: all wanted events after a position, up to `up_to`.
#[derive(Clone)]
pub(crate) struct Chunk {
    pub events: Arc<[Arc<Event>]>,
    pub up_to: EventId,
}

impl Chunk {
    fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.data.as_str().len()).sum()
    }
}

/// The chunks of a stream handle.
#[derive(Default)]
pub(crate) struct Backlog {
    slots: Mutex<Vec<Slot>>,
    /// A chunk came, or will not come.
    changed: Condvar,
}

struct Slot {
    request: Request,
    /// `None` while somebody reads it.
    chunk: Option<Chunk>,
    bytes: usize,
    /// When its read began.
    made: Instant,
}

impl Backlog {
    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        lock(&self.slots)
    }

    /// Gives the chunk from here, or else by `read`. Only full chunks are cached: a short chunk
    /// ends at the end of the stream and may grow. A chunk that was read before the last doubt, or
    /// before the subscription of the caller began, is not given: it may have some of the events that
    /// were discarded before that, but not all of them.
    pub fn get(
        &self,
        request: &Request,
        since: Instant,
        read: impl FnOnce() -> Result<Chunk>,
    ) -> Result<Chunk> {
        let mut slots = self.slots();
        slots.retain(|slot| {
            let current = slot.request.doubts >= request.doubts && slot.made.elapsed() < AGE;
            slot.chunk.is_none() || current
        });
        while let Some(slot) = slots.iter().find(|slot| slot.request == *request) {
            match &slot.chunk {
                Some(chunk) if slot.made >= since => return Ok(chunk.clone()),
                // Read before it came: others may still have it.
                Some(_) => {
                    drop(slots);
                    return read();
                }
                None => {}
            }
            slots = self.changed.wait(slots).unwrap_or_else(PoisonError::into_inner);
        }
        slots.push(Slot { request: request.clone(), chunk: None, bytes: 0, made: Instant::now() });
        drop(slots);
        let reading = Reading { backlog: self, request };
        let chunk = read()?;
        if chunk.events.len() >= request.limit {
            reading.keep(&chunk);
        }
        Ok(chunk)
    }

    pub fn clear(&self) {
        self.slots().retain(|slot| slot.chunk.is_none());
    }
}

/// The guard of a read in progress. Its drop wakes all waiters, also after an error or a panic.
struct Reading<'a> {
    backlog: &'a Backlog,
    request: &'a Request,
}

impl Reading<'_> {
    fn keep(&self, chunk: &Chunk) {
        let mut slots = self.backlog.slots();
        if let Some(slot) = slots.iter_mut().find(|slot| slot.request == *self.request) {
            (slot.chunk, slot.bytes) = (Some(chunk.clone()), chunk.bytes());
        }
        // The oldest go first; a subscriber that far behind reads for itself.
        while slots.iter().filter(|slot| slot.chunk.is_some()).count() > CHUNKS
            || slots.iter().map(|slot| slot.bytes).sum::<usize>() > BYTES
        {
            let Some(oldest) = slots.iter().position(|slot| slot.chunk.is_some()) else { break };
            slots.remove(oldest);
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.backlog.slots().retain(|slot| slot.chunk.is_some() || slot.request != *self.request);
        self.backlog.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::error::{Error, ErrorKind};
    use crate::model::event::{EventData, EventType, Timestamp};

    fn chunk(count: usize, size: usize) -> Chunk {
        let event = |id| Event {
            id,
            event_type: EventType::stored("A"),
            data: EventData::stored("x".repeat(size)),
            ts: Timestamp::from_unix(0).unwrap(),
        };
        let events: Vec<_> = (1..=count as EventId).map(|id| Arc::new(event(id))).collect();
        Chunk { events: events.into(), up_to: count as EventId }
    }

    /// Somebody who came before everything.
    fn early() -> Instant {
        Instant::now() - Duration::from_secs(60)
    }

    fn request(after: EventId) -> Request {
        Request { after, want: Want::all(), limit: 2, doubts: 0 }
    }

    #[test]
    fn many_who_ask_at_once_read_once() {
        let backlog = Backlog::default();
        let reads = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let read = || {
                        reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(20));
                        Ok(chunk(2, 1))
                    };
                    assert_eq!(backlog.get(&request(0), early(), read).unwrap().events.len(), 2);
                });
            }
        });
        assert_eq!(reads.into_inner(), 1);
    }

    #[test]
    fn another_position_another_filter_and_the_end_are_read_again() {
        let backlog = Backlog::default();
        backlog.get(&request(0), early(), || Ok(chunk(2, 1))).unwrap();
        let filtered = Request { want: Want::types(&["A"]).unwrap(), ..request(0) };
        for other in [request(1), filtered, Request { limit: 3, ..request(0) }] {
            assert!(backlog.get(&other, early(), || Ok(chunk(0, 0))).unwrap().events.is_empty());
        }
        // Not full: it was the end then, and need not be now.
        assert_eq!(backlog.get(&request(1), early(), || Ok(chunk(2, 1))).unwrap().events.len(), 2);
        assert_eq!(
            backlog.get(&request(0), early(), || panic!("it is there")).unwrap().events.len(),
            2
        );
    }

    #[test]
    fn after_a_failure_the_next_one_reads() {
        let backlog = Backlog::default();
        let failed = backlog.get(&request(0), early(), || Err(Error::new(ErrorKind::Busy, "no")));
        assert_eq!(failed.err().unwrap().kind(), ErrorKind::Busy);
        assert_eq!(backlog.get(&request(0), early(), || Ok(chunk(2, 1))).unwrap().up_to, 2);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let backlog = Backlog::default();
        for after in 0..100 {
            backlog.get(&request(after), early(), || Ok(chunk(2, 1))).unwrap();
        }
        assert_eq!(backlog.slots().len(), CHUNKS);
        backlog.get(&request(100), early(), || Ok(chunk(2, BYTES / 2))).unwrap();
        assert_eq!(backlog.slots().len(), 1);
        backlog.clear();
        assert!(backlog.slots().is_empty());
    }
}
