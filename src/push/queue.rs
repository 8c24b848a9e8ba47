//! What waits for a subscriber: bounded by events and by bytes, and what happens at the bound.
//! Data only: no threads, no database.

use crate::model::event::{Event, EventId};
use crate::model::ident::Want;
use std::collections::VecDeque;
use std::sync::Arc;

/// A piece of the stream as the hub read it: all its events above `after`, up to `up_to`.
pub(crate) struct Piece<'a> {
    pub after: EventId,
    pub up_to: EventId,
    pub events: &'a [Arc<Event>],
}

/// Bounds of a queue.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub events: usize,
    pub bytes: usize,
    /// Most events of one delivery.
    pub chunk: usize,
}

fn size(event: &Event) -> usize {
    event.data.as_str().len()
}

/// The tail of the stream for a reliable subscriber. Whoever has read up to `start` finds every
/// wanted event up to `end` here; overflowing it moves `start`, which sends the subscriber back to
/// the database.
#[derive(Default)]
pub(super) struct Tail {
    span: Option<(EventId, EventId)>,
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    pub overflows: u64,
}

/// What a [`Tail`] has for a subscriber.
#[derive(Debug, PartialEq)]
pub(super) enum Taken {
    /// These events, after which it has read up to the id.
    Events(Vec<Arc<Event>>, EventId),
    /// No wanted event up to the id.
    Nothing(EventId),
    /// The subscriber is behind the tail: read from the database.
    Behind,
}

impl Tail {
    /// Adds a piece to the end; one that does not follow starts the tail anew. Whether that is any
    /// news for the subscriber.
    pub fn offer(&mut self, piece: &Piece<'_>, want: &Want, bounds: Bounds) -> bool {
        let before = self.span;
        match &mut self.span {
            Some((_, end)) if *end == piece.after => *end = piece.up_to,
            span => {
                *span = Some((piece.after, piece.up_to));
                self.clear();
            }
        }
        for event in piece.events.iter().filter(|event| want.matches(&event.event_type)) {
            self.bytes += size(event);
            self.events.push_back(event.clone());
        }
        if self.events.len() > bounds.events || self.bytes > bounds.bytes {
            self.overflows += 1;
            self.span = Some((piece.up_to, piece.up_to));
            self.clear();
        }
        self.span != before
    }

    /// The event `id` could not be read: whoever has not passed it has to read from the database,
    /// and meets it there.
    pub fn break_at(&mut self, id: EventId) {
        self.span = Some((id, id));
        self.clear();
    }

    /// Takes at most `limit` events after `position`.
    pub fn take(&mut self, position: EventId, limit: usize) -> Taken {
        let Some((_, end)) = self.span.filter(|_| !self.is_ahead_of(position)) else {
            return Taken::Behind;
        };
        self.drop_read(position);
        let events: Vec<Arc<Event>> = self.events.drain(..limit.min(self.events.len())).collect();
        self.bytes -= events.iter().map(|event| size(event)).sum::<usize>();
        let up_to = match events.last() {
            Some(last) if !self.events.is_empty() => last.id,
            _ => position.max(end),
        };
        self.span = Some((up_to, up_to.max(end)));
        if events.is_empty() { Taken::Nothing(up_to) } else { Taken::Events(events, up_to) }
    }

    /// Whether a subscriber at `position` finds what is next for it in the database only.
    pub fn is_ahead_of(&self, position: EventId) -> bool {
        self.span.is_none_or(|(start, _)| position < start)
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// How far a subscriber at `position` may pass on because nothing of it is wanted.
    pub fn pass(&mut self, position: EventId) -> EventId {
        self.drop_read(position);
        match self.span {
            Some((start, end)) if position >= start && self.events.is_empty() => position.max(end),
            _ => position,
        }
    }

    /// Drops what the subscriber has read from the database meanwhile.
    fn drop_read(&mut self, position: EventId) {
        while self.events.front().is_some_and(|event| event.id <= position) {
            self.bytes -= self.events.pop_front().map_or(0, |event| size(&event));
        }
    }

    /// What is here may be of another stream.
    pub fn forget(&mut self) {
        self.span = None;
        self.clear();
    }

    fn clear(&mut self) {
        self.events = VecDeque::new();
        self.bytes = 0;
    }
}

/// What waits for a LIVE subscriber, in groups that are delivered whole or skipped whole, which
/// shows as a gap of `seq`.
#[derive(Default)]
pub(super) struct Groups {
    groups: VecDeque<Group>,
    next_seq: u64,
    events: usize,
    bytes: usize,
    pub skipped: u64,
}

struct Group {
    seq: u64,
    events: Vec<Arc<Event>>,
    bytes: usize,
}

impl Groups {
    /// Adds the wanted events above `from`, and skips the oldest groups when too much waits.
    /// Whether there was one.
    pub fn offer(&mut self, piece: &Piece<'_>, from: EventId, want: &Want, bounds: Bounds) -> bool {
        let mut news = false;
        let wanted = piece.events.iter().filter(|e| e.id > from && want.matches(&e.event_type));
        for event in wanted {
            if self.groups.back().is_none_or(|group| group.events.len() >= bounds.chunk) {
                self.groups.push_back(Group { seq: self.next_seq, events: Vec::new(), bytes: 0 });
                self.next_seq += 1;
            }
            if let Some(group) = self.groups.back_mut() {
                group.events.push(event.clone());
                group.bytes += size(event);
            }
            news = true;
            self.events += 1;
            self.bytes += size(event);
            while self.groups.len() > 1
                && (self.events > bounds.events || self.bytes > bounds.bytes)
            {
                let skipped = self.pop().map_or(0, |group| group.events.len());
                self.skipped += skipped as u64;
            }
        }
        news
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Takes the oldest group.
    pub fn take(&mut self) -> Option<(u64, Vec<Arc<Event>>)> {
        self.pop().map(|group| (group.seq, group.events))
    }

    fn pop(&mut self) -> Option<Group> {
        let group = self.groups.pop_front()?;
        self.events -= group.events.len();
        self.bytes -= group.bytes;
        Some(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{EventData, EventType, Timestamp};
    use proptest::prelude::*;

    fn event(id: EventId, wanted: bool) -> Arc<Event> {
        Arc::new(Event {
            id,
            event_type: EventType::stored(if wanted { "A" } else { "B" }),
            data: EventData::stored("null".into()),
            ts: Timestamp::from_unix(0).unwrap(),
        })
    }

    fn bounds(events: usize) -> Bounds {
        Bounds { events, bytes: 1 << 20, chunk: 3 }
    }

    #[test]
    fn an_overflow_of_live_skips_whole_groups() {
        let mut groups = Groups::default();
        let events: Vec<_> = (1..=10).map(|id| event(id, true)).collect();
        let piece = Piece { after: 0, up_to: 10, events: &events };
        groups.offer(&piece, 0, &Want::all(), bounds(5));
        let (seq, first) = groups.take().unwrap();
        assert_eq!((seq, first[0].id, groups.skipped), (2, 7, 6));
        assert_eq!(groups.take().unwrap().0, 3);
        assert!(groups.take().is_none());
    }

    #[test]
    fn one_event_above_all_bounds_is_still_delivered_to_live() {
        let mut groups = Groups::default();
        let piece = Piece { after: 0, up_to: 1, events: &[event(1, true)] };
        groups.offer(&piece, 0, &Want::all(), Bounds { events: 0, bytes: 0, chunk: 1 });
        assert_eq!(groups.take().unwrap().1.len(), 1);
    }

    #[test]
    fn a_piece_that_brings_nothing_is_no_news() {
        let want = Want::types(&["A"]).unwrap();
        let (nothing, unwanted, wanted) = ([], [event(4, false)], [event(5, true)]);
        let mut tail = Tail::default();
        let mut offer =
            |after, up_to, events| tail.offer(&Piece { after, up_to, events }, &want, bounds(5));
        assert!(offer(3, 3, &nothing), "it learns where the tail is");
        assert!(!offer(3, 3, &nothing));
        assert!(offer(3, 4, &unwanted), "it may pass on");
        assert!(offer(4, 5, &wanted));
        let mut groups = Groups::default();
        let mut offer = |after, up_to, events| {
            groups.offer(&Piece { after, up_to, events }, 0, &want, bounds(5))
        };
        assert!(!offer(3, 4, &unwanted));
        assert!(offer(4, 5, &wanted));
    }

    proptest! {
        /// However pieces and takes interleave, with overflows or not, a subscriber that reads
        /// from the database when it is told to gets every wanted event once, in order.
        #[test]
        fn a_reliable_subscriber_misses_nothing(
            wanted in proptest::collection::vec(any::<bool>(), 1..200),
            sizes in proptest::collection::vec(0usize..20, 1..50),
            takes in proptest::collection::vec(0usize..4, 1..50),
            start in 0usize..50,
            max in 1usize..30,
        ) {
            let want = Want::types(&["A"]).unwrap();
            let all: Vec<_> =
                wanted.iter().enumerate().map(|(i, w)| event(i as u64 + 1, *w)).collect();
            let highest = all.len() as u64;
            let from_database = |after: u64, up_to: u64| -> Vec<u64> {
                let inside = all.iter().filter(|e| e.id > after && e.id <= up_to);
                inside.filter(|e| want.matches(&e.event_type)).map(|e| e.id).collect()
            };
            let (mut tail, mut read, mut position) = (Tail::default(), start.min(all.len()) as u64, 0);
            let mut got: Vec<u64> = vec![];
            let mut steps = sizes.iter().zip(takes.iter().cycle());
            while position < highest {
                let (size, takes) = steps.next().unwrap_or((&5, &3));
                let up_to = (read + *size as u64).min(highest);
                let events: Vec<_> = all[read as usize..up_to as usize].to_vec();
                tail.offer(&Piece { after: read, up_to, events: &events }, &want, bounds(max));
                read = up_to;
                for _ in 0..*takes {
                    match tail.take(position, 3) {
                        Taken::Events(events, up_to) => {
                            got.extend(events.iter().map(|e| e.id));
                            position = up_to;
                        }
                        Taken::Nothing(up_to) => position = up_to,
                        Taken::Behind => {
                            let up_to = (position + 7).min(read);
                            got.extend(from_database(position, up_to));
                            position = up_to;
                        }
                    }
                }
                prop_assert!(tail.events.len() <= max);
            }
            prop_assert_eq!(got, from_database(0, highest));
        }
    }
}
