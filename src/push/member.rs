//! The part of a subscription that the hub sees.

#[cfg(unix)]
use super::alarm::Alarm;
use super::queue::{Bounds, Piece};
use super::state::{Errand, Found, Queue, State};
use crate::backend::Connection;
use crate::backend::cursors::Move;
use crate::config::Settings;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::EventId;
use crate::model::ident::{Ident, Want};
use crate::model::life::Position;
use crate::read::reader::Reader;
use crate::read::reader::doubt::MISSED;
use crate::read::rewind::Asks;
use crate::sync::lock::lock;
#[cfg(unix)]
use std::sync::OnceLock;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A cursor that moves past unwanted events only is stored this often.
const IDLE_STORE: Duration = Duration::from_secs(1);

/// The part of a subscription that the hub sees.
pub(super) struct Member {
    pub ident: Ident,
    pub want: Want,
    pub state: Mutex<State>,
    pub changed: Condvar,
    /// The descriptor for a caller that waits in an event loop.
    #[cfg(unix)]
    pub alarm: OnceLock<Alarm>,
    pub bounds: Bounds,
    pub ack_interval: Duration,
    /// When it came.
    pub since: Instant,
}

impl Member {
    pub fn new(ident: Ident, want: Want, settings: &Settings, state: State) -> Self {
        let (events, bytes) = (settings.queue_max, settings.queue_max_bytes);
        Member {
            ident,
            want,
            state: Mutex::new(state),
            changed: Condvar::new(),
            #[cfg(unix)]
            alarm: OnceLock::new(),
            bounds: Bounds { events, bytes, chunk: settings.max_chunk_events },
            ack_interval: settings.ack_interval,
            since: Instant::now(),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Has everybody who waits for a delivery look.
    pub fn wake(&self) {
        self.changed.notify_all();
        self.alarm();
    }

    /// Has the event loop look.
    pub fn alarm(&self) {
        #[cfg(unix)]
        if let Some(alarm) = self.alarm.get() {
            alarm.raise();
        }
    }

    /// There is nothing to look for now; the state must not change meanwhile.
    pub fn rest(&self, _: &State) {
        #[cfg(unix)]
        if let Some(alarm) = self.alarm.get() {
            alarm.silence();
        }
    }

    pub fn ident(&self) -> &Ident {
        &self.ident
    }

    pub fn want(&self) -> &Want {
        &self.want
    }

    /// Most events of a delivery.
    pub fn chunk(&self) -> usize {
        self.bounds.chunk
    }

    /// When it came.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// The errand was run.
    pub fn found(&self, found: Found) {
        self.state().errand = Errand::Done(found);
        self.wake();
    }

    /// Waits until no errand is running, no longer than `time`; whether that is so.
    pub fn wait_for_errand(&self, time: Duration) -> bool {
        let running = |state: &mut State| matches!(state.errand, Errand::Running);
        let waited = self.changed.wait_timeout_while(self.state(), time, running);
        !matches!(waited.unwrap_or_else(PoisonError::into_inner).0.errand, Errand::Running)
    }

    /// It has got, or passed over, everything up to here.
    pub fn position(&self) -> EventId {
        self.state().position
    }

    /// Takes a piece of the tail from the hub.
    pub fn offer(&self, piece: &Piece<'_>) {
        let mut state = self.state();
        let position = state.position;
        let news = match &mut state.queue {
            Queue::Reliable(tail) => {
                let news = tail.offer(piece, &self.want, self.bounds);
                state.position = tail.pass(position);
                news
            }
            Queue::Live(groups, from) => {
                let news = groups.offer(piece, *from, &self.want, self.bounds);
                *from = piece.up_to.max(*from);
                news
            }
        };
        // Waking a thread for nothing at every look is a sixth of what waiting costs.
        if news {
            self.wake();
        } else if state.is_behind() {
            // It found nothing in the database and rests; there is more up to the tail.
            self.alarm();
        }
    }

    /// The hub passes over the event `id`, which cannot be read. A reliable subscriber meets it when
    /// it reads from the database, if it wants it; a LIVE one is told once.
    pub fn pass_over(&self, id: EventId, error: &Error) {
        let mut state = self.state();
        match &mut state.queue {
            Queue::Reliable(tail) => tail.break_at(id),
            Queue::Live(_, from) if id > *from => state.error = Some(error.copy()),
            Queue::Live(..) => {}
        }
        self.wake();
    }

    /// The next call of `next` gives this error.
    pub fn fail(&self, error: &Error) {
        let mut state = self.state();
        if error.kind() == ErrorKind::StreamRewound {
            state.rewound = Some(error.copy());
        } else if !state.is_gone() {
            state.error = Some(error.copy());
        }
        drop(state);
        self.wake();
    }

    /// Whether the cursor is still to be stored.
    pub fn is_due(&self) -> bool {
        self.state().is_due()
    }

    pub fn close(&self) {
        self.state().closed = true;
        self.wake();
    }

    /// Where the cursor is to be stored now, if it is time to, and how; nothing before it was verified when
    /// there were so many doubts.
    pub fn due(&self, doubts: u64) -> Option<(Position, Move)> {
        let state = self.state();
        if state.standing.seen != Some(doubts) {
            return None;
        }
        let (at, acknowledged) = state.cursor();
        let interval = if acknowledged { self.ack_interval } else { IDLE_STORE };
        let due = at.id > state.standing.stored.id && state.stored_at.elapsed() >= interval;
        due.then(|| (at, state.move_to(at)))
    }

    /// The cursor was to be moved to `at`; it is at `cursor` now, if it is there. Whether all is well: it did
    /// not go back, and is not missing.
    pub fn stored(&self, at: Position, cursor: Option<EventId>, asks: Asks) -> bool {
        let mut state = self.state();
        state.stored_at = Instant::now();
        let known = state.standing.stored.id;
        match cursor.filter(|cursor| *cursor >= known) {
            Some(cursor) => state.standing.moved(at, cursor, asks),
            None => return false,
        }
        true
    }

    /// Sees to it that a reliable member stands in the stream as it is now.
    pub fn verify(&self, reader: &Reader, connection: &mut Connection, doubts: u64) -> Result<()> {
        let state = self.state();
        let (standing, live) = (state.standing.clone(), matches!(state.queue, Queue::Live(..)));
        let ended = state.is_gone();
        drop(state);
        if standing.seen == Some(doubts) || ended {
            return Ok(());
        }
        let verdict = match live {
            true => None,
            false => reader.verify(connection, &self.ident, &standing, doubts)?,
        };
        let mut state = self.state();
        match verdict {
            Some(verdict) => {
                state.adopt(&verdict, doubts);
                state.rewound = verdict.rewound.or(state.rewound.take());
            }
            None if live => state.standing.seen = Some(doubts),
            // A restore has its row away for a moment: it is looked for again.
            None => {
                let since = *state.standing.missed.get_or_insert_with(Instant::now);
                if since.elapsed() < MISSED {
                    return Ok(());
                }
                state.standing.seen = Some(doubts);
                drop(state);
                self.unregistered();
                return Ok(());
            }
        }
        drop(state);
        self.wake();
        Ok(())
    }

    /// The stream was rewound: a LIVE member goes on after `from`.
    pub fn rewind_live(&self, at: EventId, error: &Error) {
        let mut state = self.state();
        if let Queue::Live(_, from) = &mut state.queue {
            *from = at;
            drop(state);
            self.fail(error);
        }
    }

    /// From where on it needs what is read; a LIVE member needs only what is new.
    pub fn needs(&self) -> Option<EventId> {
        let state = self.state();
        matches!(state.queue, Queue::Reliable(_)).then_some(state.position)
    }

    /// The consumer was found to be registered no more: the subscription has ended.
    pub fn unregistered(&self) {
        let message = format!(
            "consumer {:?} is not registered any more: somebody has unregistered it, or the \
             database was made anew. Subscribe again after register(), which begins with the first \
             event that is still there",
            self.ident
        );
        self.fail(&Error::new(ErrorKind::NotRegistered, message));
    }
}
