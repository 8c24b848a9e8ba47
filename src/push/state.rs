//! How far a subscription is: what waits for it, what was handed out, and what is acknowledged.
//! Data only: no threads, no database.

use super::queue::{Groups, Tail, Taken};
use crate::backend::cursors::Move;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::{Event, EventId};
use crate::model::life::{Anchor, Position};
use crate::read::reader::Reader;
use crate::read::rewind::{Standing, Verdict};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// A group of events handed to a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Counts the deliveries from 0. A gap tells a LIVE subscriber that a group was skipped;
    /// for a reliable one there is none.
    pub seq: u64,
    /// The events, in order of their ids. They are shared with other subscribers.
    pub events: Vec<Arc<Event>>,
}

/// What there is for a subscriber, and how far it is.
pub(super) struct State {
    pub queue: Queue,
    pub next_seq: u64,
    /// Everything up to here was handed out, or is not wanted.
    pub position: EventId,
    /// Handed out and not acknowledged: the seq, and the position after it.
    pub outstanding: VecDeque<(u64, Position)>,
    /// Handed out before the stream was rewound: acknowledging these means nothing.
    pub void: usize,
    /// Everything up to here was acknowledged.
    pub acked: Position,
    /// What is known of it; with the cursor in the database, which was stored then.
    pub standing: Standing,
    pub stored_at: Instant,
    pub delivered: u64,
    /// The stream was rewound: told before any other error.
    pub rewound: Option<Error>,
    pub error: Option<Error>,
    /// The event after `position` that could not be read.
    pub unreadable: Option<EventId>,
    pub errand: Errand,
    pub closed: bool,
}

/// What waits for a subscriber.
pub(super) enum Queue {
    Reliable(Tail),
    /// Events up to this id are older than the subscription and are not delivered.
    Live(Groups, EventId),
}

/// What there is for a subscriber.
pub(super) enum Step {
    Deliver(Delivery),
    Wait,
    /// Read from the database from here on.
    Ask(Position),
}

/// How far the errand of a subscriber is.
#[derive(Default)]
pub(super) enum Errand {
    #[default]
    None,
    Running,
    Done(Found),
}

/// What was read before the tail: all wanted events up to `up_to`.
pub(super) struct Chunk {
    pub events: Vec<Arc<Event>>,
    pub up_to: EventId,
}

/// What an errand found.
pub(super) struct Found {
    /// The doubts before, whether the stream is still the same.
    pub doubts: u64,
    /// `None` if the lease was taken again.
    pub chunk: Result<Option<Chunk>>,
}

impl State {
    /// The state of a subscription that begins where `queue` and `standing` say. `rewound` is told first.
    pub fn new(queue: Queue, standing: Standing, rewound: Option<Error>) -> Self {
        let cursor = standing.stored;
        State {
            position: if let Queue::Live(_, from) = queue { from } else { cursor.id },
            queue,
            next_seq: 0,
            outstanding: VecDeque::new(),
            void: 0,
            acked: cursor,
            standing,
            stored_at: Instant::now(),
            delivered: 0,
            rewound,
            error: None,
            unreadable: None,
            errand: Errand::None,
            closed: false,
        }
    }

    /// Whether it has to read from the database.
    pub fn is_behind(&self) -> bool {
        matches!(&self.queue, Queue::Reliable(tail) if tail.is_ahead_of(self.position))
    }

    /// Whether something may be there for the next caller of `next`.
    pub fn may_deliver(&self) -> bool {
        match &self.queue {
            Queue::Live(groups, _) => !groups.is_empty(),
            Queue::Reliable(tail) => self.is_behind() || !tail.is_empty(),
        }
    }

    /// Whether the cursor is still to be stored.
    pub fn is_due(&self) -> bool {
        self.cursor().0.id > self.standing.stored.id
    }

    pub fn is_gone(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error.kind() == ErrorKind::NotRegistered)
    }

    /// Takes what the errand found, once it was run.
    pub fn take_found(&mut self) -> Option<Found> {
        match std::mem::take(&mut self.errand) {
            Errand::Done(found) => Some(found),
            other => {
                self.errand = other;
                None
            }
        }
    }

    /// The error to tell now, once; but that the consumer is gone is told by every call.
    pub fn take_error(&mut self) -> Option<Error> {
        if self.rewound.is_some() {
            return self.rewound.take();
        }
        if self.is_gone() { self.error.as_ref().map(Error::copy) } else { self.error.take() }
    }

    /// How far the stored cursor may move, and whether events were acknowledged up to there.
    pub fn cursor(&self) -> (Position, bool) {
        let stored = self.standing.stored;
        match &self.queue {
            // Whoever was registered under this name meanwhile begins where it was registered.
            _ if self.is_gone() => (stored, false),
            Queue::Live(..) => (stored, false),
            Queue::Reliable(_)
                if self.outstanding.is_empty()
                    && self.void == 0
                    && self.position > self.acked.id =>
            {
                let at = Position { id: self.position, anchor: self.acked.anchor };
                (at, self.acked.id > stored.id)
            }
            Queue::Reliable(_) => (self.acked, true),
        }
    }

    pub fn move_to(&self, at: Position) -> Move {
        Move { to: at.id, known: self.standing.stored.id, mark: self.standing.mark(at) }
    }

    /// What was read and not handed out may be of the life before, and what nothing of was wanted,
    /// too. What was handed out holds as far as the verdict says.
    pub fn adopt(&mut self, verdict: &Verdict, doubts: u64) {
        self.standing.adopt(verdict, doubts);
        if let Queue::Reliable(tail) = &mut self.queue {
            tail.forget();
        }
        let up_to = verdict.up_to.max(verdict.stored.id);
        self.position = up_to;
        if verdict.rewound.is_some() {
            self.void += std::mem::take(&mut self.outstanding).len();
            self.acked = verdict.stored;
            return;
        }
        for (_, after) in &mut self.outstanding {
            after.id = after.id.min(up_to);
        }
        self.acked.id = self.acked.id.min(up_to);
        if self.acked.id < verdict.stored.id {
            self.acked = verdict.stored;
        }
        if verdict.relearn {
            self.acked.anchor = None;
        }
    }

    pub fn next_step(&mut self, limit: usize, request_max: usize, reader: &Reader) -> Step {
        if self.outstanding.len() + self.void >= request_max {
            return Step::Wait;
        }
        match &mut self.queue {
            Queue::Live(groups, _) => match groups.take() {
                Some((seq, events)) => Step::Deliver(self.deliver(seq, events, reader)),
                None => Step::Wait,
            },
            Queue::Reliable(tail) => match tail.take(self.position, limit) {
                Taken::Behind => Step::Ask(self.standing.position(self.position)),
                Taken::Nothing(up_to) => {
                    self.position = up_to;
                    Step::Wait
                }
                Taken::Events(events, up_to) => {
                    self.position = up_to;
                    Step::Deliver(self.deliver(self.next_seq, events, reader))
                }
            },
        }
    }

    pub fn deliver(&mut self, seq: u64, events: Vec<Arc<Event>>, reader: &Reader) -> Delivery {
        self.next_seq = seq + 1;
        self.delivered += events.len() as u64;
        let anchor = events.last().map(|event| Anchor::of(event));
        reader.gave(&mut self.standing, anchor);
        self.outstanding.push_back((seq, Position { id: self.position, anchor }));
        Delivery { seq, events }
    }
}
