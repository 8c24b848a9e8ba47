//! Subscriptions: pushed events, pulled by the caller from a bounded queue.

use super::alarm::Alarm;
use super::errand::{Errand, Found, Runner, take_lease};
use super::hub::Hub;
use super::queue::{Bounds, Groups, Piece, Tail, Taken};
use crate::backend::Connection;
use crate::backend::cursors::Move;
use crate::config::Settings;
use crate::model::error::{Error, ErrorKind, Result, fail};
use crate::model::event::{Event, EventId};
use crate::model::ident::{Component, Ident, Want};
use crate::model::life::{Anchor, Position};
use crate::read::reader::doubt::MISSED;
use crate::read::reader::{Reader, not_registered};
use crate::read::rewind::{Asks, Standing, Verdict};
use crate::sync::line::{GRACE, in_time};
#[cfg(unix)]
use crate::sync::lock::lock;
use std::collections::VecDeque;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(unix)]
use std::sync::OnceLock;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A group of events handed to a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Counts the deliveries from 0. A gap tells a LIVE subscriber that a group was skipped;
    /// for a reliable one there is none.
    pub seq: u64,
    /// The events, in order of their ids. They are shared with other subscribers.
    pub events: Vec<Arc<Event>>,
}

/// What a subscription has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionStats {
    /// Events handed out (again, if they were handed out again).
    pub delivered: u64,
    /// LIVE: events skipped because too many waited.
    pub skipped: u64,
    /// Reliable: how often the queue overflowed, so that events were read from the database.
    pub overflows: u64,
}

/// The longest time for which a subscriber does not look whether its lease was lost.
const LEASE_LOOK: Duration = Duration::from_secs(3);
/// How long it does not look whether its caller still waits, where the caller may give up.
const CALLER_LOOK: Duration = Duration::from_millis(25);
/// The wait of a subscriber that has met neither new events in the database nor the tail.
const CATCH_UP_WAIT: Duration = Duration::from_millis(5);
/// A cursor that moves past unwanted events only is stored this often.
const IDLE_STORE: Duration = Duration::from_secs(1);

/// The part of a subscription that the hub sees.
pub(crate) struct Member {
    ident: Ident,
    want: Want,
    state: Mutex<State>,
    changed: Condvar,
    /// The descriptor for a caller that waits in an event loop.
    #[cfg(unix)]
    alarm: OnceLock<Alarm>,
    bounds: Bounds,
    ack_interval: Duration,
    /// When it came.
    since: Instant,
}

struct State {
    queue: Queue,
    next_seq: u64,
    /// Everything up to here was handed out, or is not wanted.
    position: EventId,
    /// Handed out and not acknowledged: the seq, and the position after it.
    outstanding: VecDeque<(u64, Position)>,
    /// Handed out before the stream was rewound: acknowledging these means nothing.
    void: usize,
    /// Everything up to here was acknowledged.
    acked: Position,
    /// What is known of it; with the cursor in the database, which was stored then.
    standing: Standing,
    stored_at: Instant,
    delivered: u64,
    /// The stream was rewound: told before any other error.
    rewound: Option<Error>,
    error: Option<Error>,
    /// The event after `position` that could not be read.
    unreadable: Option<EventId>,
    errand: Errand,
    closed: bool,
}

enum Queue {
    Reliable(Tail),
    /// Events up to this id are older than the subscription and are not delivered.
    Live(Groups, EventId),
}

/// What there is for a subscriber.
enum Step {
    Deliver(Delivery),
    Wait,
    /// Read from the database from here on.
    Ask(Position),
}

impl Member {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Has everybody who waits for a delivery look.
    fn wake(&self) {
        self.changed.notify_all();
        self.alarm();
    }

    /// Has the event loop look.
    fn alarm(&self) {
        #[cfg(unix)]
        if let Some(alarm) = self.alarm.get() {
            alarm.raise();
        }
    }

    /// There is nothing to look for now; the state must not change meanwhile.
    fn rest(&self, _: &State) {
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
    fn is_due(&self) -> bool {
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
    fn unregistered(&self) {
        let message = format!(
            "consumer {:?} is not registered any more: somebody has unregistered it, or the \
             database was made anew. Subscribe again after register(), which begins with the first \
             event that is still there",
            self.ident
        );
        self.fail(&Error::new(ErrorKind::NotRegistered, message));
    }
}

impl State {
    /// Whether it has to read from the database.
    fn is_behind(&self) -> bool {
        matches!(&self.queue, Queue::Reliable(tail) if tail.is_ahead_of(self.position))
    }

    /// Whether something may be there for the next caller of `next`.
    fn may_deliver(&self) -> bool {
        match &self.queue {
            Queue::Live(groups, _) => !groups.is_empty(),
            Queue::Reliable(tail) => self.is_behind() || !tail.is_empty(),
        }
    }

    /// Whether the cursor is still to be stored.
    fn is_due(&self) -> bool {
        self.cursor().0.id > self.standing.stored.id
    }

    fn is_gone(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error.kind() == ErrorKind::NotRegistered)
    }

    /// Takes what the errand found, once it was run.
    fn take_found(&mut self) -> Option<Found> {
        match std::mem::take(&mut self.errand) {
            Errand::Done(found) => Some(found),
            other => {
                self.errand = other;
                None
            }
        }
    }

    /// The error to tell now, once; but that the consumer is gone is told by every call.
    fn take_error(&mut self) -> Option<Error> {
        if self.rewound.is_some() {
            return self.rewound.take();
        }
        if self.is_gone() { self.error.as_ref().map(Error::copy) } else { self.error.take() }
    }

    /// How far the stored cursor may move, and whether events were acknowledged up to there.
    fn cursor(&self) -> (Position, bool) {
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

    fn move_to(&self, at: Position) -> Move {
        Move { to: at.id, known: self.standing.stored.id, mark: self.standing.mark(at) }
    }

    /// What was read and not handed out may be of the life before, and what nothing of was wanted,
    /// too. What was handed out holds as far as the verdict says.
    fn adopt(&mut self, verdict: &Verdict, doubts: u64) {
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

    fn next_step(&mut self, limit: usize, request_max: usize, reader: &Reader) -> Step {
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

    fn deliver(&mut self, seq: u64, events: Vec<Arc<Event>>, reader: &Reader) -> Delivery {
        self.next_seq = seq + 1;
        self.delivered += events.len() as u64;
        let anchor = events.last().map(|event| Anchor::of(event));
        reader.gave(&mut self.standing, anchor);
        self.outstanding.push_back((seq, Position { id: self.position, anchor }));
        Delivery { seq, events }
    }
}

/// A consumer that is pushed to. Made by [`EventStream::subscribe`].
///
/// [`next`](Self::next) gives deliveries, [`ack`](Self::ack) acknowledges them in order. Reliable:
/// first what is after the stored cursor, then the live tail, nothing left out and nothing twice;
/// up to `request_max` (1) deliveries without an ack; the cursor is stored after the ack, within
/// `ack_interval_ms`. LIVE: what comes from now on, up to `request_max` (2) without an ack; the
/// oldest is skipped when more than `queue_max` events wait.
///
/// Everything may be called from any thread. Threads that call `next` at once take turns: each
/// delivery goes to one of them, and none waits for another one's time-out. Dropping it stores the
/// cursor and ends the subscription.
///
/// ```
/// use futoin_eventstream::{EventStream, Options, Want};
/// use std::time::Duration;
/// # fn main() -> Result<(), futoin_eventstream::Error> {
/// let stream = EventStream::open("sqlite::memory:")?;
/// stream.migrate()?;
/// stream.consumer("app", "Audit")?.register()?;
/// stream.add_event("USR_ADD", &1)?;
/// let subscription = stream.subscribe("app", "Audit", Want::all(), &Options::new())?;
/// let delivery = subscription.next(Duration::from_secs(10))?.expect("an event is there");
/// assert_eq!((delivery.seq, delivery.events.len()), (0, 1));
/// subscription.ack()?;
/// assert!(subscription.next(Duration::ZERO)?.is_none());
/// # Ok(()) }
/// ```
///
/// [`EventStream::subscribe`]: crate::EventStream::subscribe
pub struct Subscription {
    hub: Arc<Hub>,
    key: u64,
    member: Arc<Member>,
    request_max: usize,
    runner: Runner,
}

/// How long a caller waits for a delivery.
pub(crate) struct Waiting<'a> {
    /// `None`: without an end.
    pub end: Option<Instant>,
    /// Somebody else ends what hangs in a call on a server, so that the end need not be kept then.
    pub patient: bool,
    /// Whether the caller goes on to wait; looked at every 25 ms.
    pub goes_on: Option<&'a dyn Fn() -> bool>,
}

impl Subscription {
    pub(crate) fn start(
        hub: Arc<Hub>,
        user: &str,
        component: &str,
        want: Want,
        settings: Settings,
    ) -> Result<Self> {
        let component = Component::new(component)?;
        let ident = Ident::new(user, &component)?;
        let reader = hub.reader().clone();
        let pool = reader.pool()?;
        let live = component.is_live();
        if !live && !settings.allow_reliable {
            fail!(
                SecurityError,
                "consumer {ident:?} cannot subscribe: reliable consumers are switched off by the \
                 option allow_reliable"
            );
        }
        if !live && hub.has(&ident) {
            return Err(occupied(&ident));
        }
        if !live {
            // Before the lease, which would leave its file behind for nobody.
            pool.with_retry(|connection| {
                connection
                    .advance(&ident, &Move::none())?
                    .map(|_| ())
                    .ok_or_else(|| not_registered(&ident))
            })?;
        }
        let lease = if live { None } else { Some(take_lease(&hub, &ident)?) };
        let doubts = reader.doubts();
        let mut standing = Standing::default();
        standing.seen = Some(doubts);
        let (allocated, verdict) = pool.with_retry(|connection| {
            if live {
                return Ok((reader.live_start(connection)?, None));
            }
            let allocated = connection.highest_allocated()?;
            connection.advance(&ident, &Move::none())?;
            let verdict = reader.verify(connection, &ident, &standing, doubts)?;
            Ok((allocated, Some(verdict.ok_or_else(|| not_registered(&ident))?)))
        })?;
        let rewound = verdict.and_then(|verdict| {
            standing.adopt(&verdict, doubts);
            verdict.rewound
        });
        let cursor = standing.stored;
        let queue = match live {
            true => Queue::Live(Groups::default(), allocated),
            false => Queue::Reliable(Tail::default()),
        };
        let member = Arc::new(Member {
            ident,
            want,
            bounds: Bounds {
                events: settings.queue_max,
                bytes: settings.queue_max_bytes,
                chunk: settings.max_chunk_events,
            },
            ack_interval: settings.ack_interval,
            since: Instant::now(),
            changed: Condvar::new(),
            #[cfg(unix)]
            alarm: OnceLock::new(),
            state: Mutex::new(State {
                queue,
                next_seq: 0,
                position: if live { allocated } else { cursor.id },
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
            }),
        });
        let request_max = match (settings.request_max, live) {
            (0, true) => 2,
            (0, false) => 1,
            (given, _) => given,
        };
        let key = hub.attach(member.clone(), allocated)?;
        let kind = pool.backend().kind();
        let runner = Runner::new(hub.clone(), member.clone(), lease, kind, &settings);
        Ok(Subscription { hub, key, member, request_max, runner })
    }

    /// The key of this consumer, `user:component`.
    pub fn ident(&self) -> &Ident {
        &self.member.ident
    }

    /// Waits up to `timeout` for the next delivery; `None` if there was none, or if `request_max`
    /// deliveries are not acknowledged. A timeout of zero only looks.
    ///
    /// # Errors
    /// `Closed` after [`close`](Self::close) or [`EventStream::close`]; `NotRegistered`,
    /// from then on by every call, if somebody has unregistered the consumer: subscribe anew;
    /// `Occupied` if the lease was lost to another process; `StreamRewound`, once, if the stream lost
    /// events or began anew (a restore, a failover that lost commits, TRUNCATE): what comes next is
    /// after the cursor as it is then, and acknowledging a delivery from before that does nothing;
    /// those of the database; `CorruptEvent` if the next event cannot be read: see
    /// [`skip`](Self::skip). After any but the first the call may be repeated: nothing is lost.
    ///
    /// [`EventStream::close`]: crate::EventStream::close
    pub fn next(&self, timeout: Duration) -> Result<Option<Delivery>> {
        let end = Instant::now().checked_add(timeout);
        self.next_while(&Waiting { end, patient: false, goes_on: None })
    }

    /// As [`next`](Self::next), for a caller that may give up before the end.
    pub(crate) fn next_while(&self, wait: &Waiting<'_>) -> Result<Option<Delivery>> {
        // A look is waited for as long as a healthy server may take for it.
        let look_end = Instant::now() + GRACE;
        let slice = wait.goes_on.map_or(LEASE_LOOK, |_| CALLER_LOOK);
        let mut state = self.member.state();
        loop {
            if state.closed {
                fail!(Closed, "the subscription of {} was closed", self.ident());
            }
            if let Some(error) = state.take_error() {
                return Err(error);
            }
            let (mut pause, mut idle) = (slice, true);
            let before = state.position;
            match state.take_found() {
                Some(found) => {
                    if let Some(delivery) = self.take_found(&mut state, found)? {
                        return Ok(Some(delivery));
                    }
                    // Neither new events in the database nor the tail.
                    pause = if state.position == before { CATCH_UP_WAIT } else { Duration::ZERO };
                    // The hub has it look again, as long as it is behind.
                    idle = state.position == before && state.is_behind();
                }
                None => match self.step(&mut state) {
                    Step::Deliver(delivery) => return Ok(Some(delivery)),
                    Step::Wait => {}
                    Step::Ask(from) => {
                        state.errand = Errand::Running;
                        drop(state);
                        self.runner.run(from, wait.end.filter(|_| !wait.patient));
                        state = self.member.state();
                        continue;
                    }
                },
            }
            let busy = pause.is_zero() || matches!(state.errand, Errand::Running);
            let end = wait.end.map(|end| if busy { end.max(look_end) } else { end });
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) || !wait.goes_on.is_none_or(|on| on()) {
                if idle {
                    self.member.rest(&state);
                }
                return Ok(None);
            }
            let time = left.map_or(pause, |left| left.min(pause));
            let waited = self.member.changed.wait_timeout(state, time);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What is to be done now.
    fn step(&self, state: &mut State) -> Step {
        let reader = self.hub.reader();
        if matches!(state.errand, Errand::Running) {
            return Step::Wait;
        }
        if self.runner.has_lost_lease() {
            return Step::Ask(state.standing.position(state.position));
        }
        if state.standing.seen != Some(reader.doubts()) {
            self.hub.wake();
            return Step::Wait;
        }
        state.next_step(self.member.bounds.chunk, self.request_max, reader)
    }

    /// Hands out what was read before the tail; `None` if nothing of it is wanted, or the stream came
    /// into doubt.
    fn take_found(&self, state: &mut State, found: Found) -> Result<Option<Delivery>> {
        let (reader, doubts) = (self.hub.reader(), found.doubts);
        let chunk = match found.chunk {
            Err(error) if error.kind() == ErrorKind::StreamRewound => return Ok(None),
            Err(error) if self.runner.has_lost_lease() => return Err(error),
            chunk => chunk,
        };
        if state.standing.seen != Some(doubts) || reader.doubts() != doubts {
            return Ok(None);
        }
        state.unreadable =
            chunk.as_ref().err().and_then(|error| error.unreadable().map(|row| row.id));
        let Some(chunk) = chunk? else { return Ok(None) };
        state.position = chunk.up_to;
        if chunk.events.is_empty() {
            return Ok(None);
        }
        let seq = state.next_seq;
        Ok(Some(state.deliver(seq, chunk.events.to_vec(), reader)))
    }

    /// Acknowledges the oldest delivery that is not acknowledged.
    ///
    /// # Errors
    /// `InvalidArgument` if there is none.
    pub fn ack(&self) -> Result<()> {
        let mut state = self.member.state();
        if state.void > 0 {
            state.void -= 1;
        } else {
            let Some((_, position)) = state.outstanding.pop_front() else {
                fail!(InvalidArgument, "{} has no delivery to acknowledge", self.ident());
            };
            if state.acked.id <= position.id {
                state.acked = position;
            }
        }
        let more = state.may_deliver();
        drop(state);
        self.member.changed.notify_all();
        if more {
            self.member.alarm();
        }
        Ok(())
    }

    /// Passes over the event `id`, which [`next`](Self::next) has named in its last error of kind
    /// `CorruptEvent` because it cannot be read. It counts as acknowledged once everything before it
    /// is. For a LIVE subscriber there is nothing to do: it is told once.
    ///
    /// # Errors
    /// `InvalidArgument` if another event, or none, is the one that could not be read.
    pub fn skip(&self, id: EventId) -> Result<()> {
        let mut state = self.member.state();
        if state.unreadable != Some(id) {
            fail!(
                InvalidArgument,
                "event {id} is not the next one of {}, or it can be read: it is not passed over",
                self.ident()
            );
        }
        state.unreadable = None;
        state.position = state.position.max(id);
        drop(state);
        self.member.alarm();
        Ok(())
    }

    /// A descriptor for event loops (`poll`, `epoll`, tokio's `AsyncFd`), so that no thread has to wait. It
    /// is readable while a delivery may wait, or an error is to be told: call [`next`](Self::next) with a
    /// time of zero until it gives `None`; then it is not readable until there is more. Readable with
    /// nothing there is possible, the contrary is not. While as many deliveries as `request_max` are not
    /// acknowledged there is nothing to be had; [`ack`](Self::ack) makes it readable where more waits.
    ///
    /// Level-triggered. After an error it stays readable: wait a moment before the next call, as
    /// without it; after `Closed` and `NotRegistered` it stays so for good. It belongs to the subscription:
    /// neither read, write nor close it, and take it out of the loop before the subscription is dropped.
    ///
    /// # Errors
    /// `OutOfResources` if the process has no descriptor left.
    #[cfg(unix)]
    pub fn fd(&self) -> Result<BorrowedFd<'_>> {
        let slot = &self.member.alarm;
        if let Some(alarm) = slot.get() {
            return Ok(alarm.as_fd());
        }
        let made = Alarm::new().map_err(|why| {
            let message = format!("no descriptor for the event loop of {}: {why}", self.ident());
            Error::new(ErrorKind::OutOfResources, message)
        })?;
        Ok(slot.get_or_init(|| made).as_fd())
    }

    /// Whether no event is given whose data is no JSON: the option `check_json`.
    pub(crate) fn checks_json(&self) -> bool {
        self.hub.reader().settings.check_json
    }

    /// What was done so far.
    pub fn stats(&self) -> SubscriptionStats {
        let state = self.member.state();
        let (skipped, overflows) = match &state.queue {
            Queue::Reliable(tail) => (0, tail.overflows),
            Queue::Live(groups, _) => (groups.skipped, 0),
        };
        SubscriptionStats { delivered: state.delivered, skipped, overflows }
    }

    /// Iterates over deliveries without an end; asking for the next one acknowledges the one
    /// before. Ends after an error that repeating does not mend, or [`close`](Self::close).
    pub fn deliveries(&self) -> Deliveries<'_> {
        Deliveries { subscription: self, unacknowledged: false, ended: false }
    }

    /// Ends the subscription: stores the cursor, wakes a waiting [`next`](Self::next), which gives
    /// `Closed`, and frees the ident for others. A server that does not answer is waited for no longer than
    /// a moment (200 ms). May be called twice, from any thread.
    ///
    /// # Errors
    /// Those of the database when storing the cursor, `Timeout` if that takes too long; it is closed all
    /// the same.
    pub fn close(&self) -> Result<()> {
        self.member.close();
        self.hub.detach(self.key);
        let result = match self.member.is_due() {
            false => Ok(()),
            // Not cut off: on a slow network it still gets there.
            true => {
                let (hub, member) = (self.hub.clone(), self.member.clone());
                in_time("fes-store", GRACE, move || store(&hub, &member))
            }
        };
        self.runner.end(result.is_err());
        result
    }

    /// As [`close`](Self::close), in the time of its thread.
    pub(crate) fn end(&self) -> Result<()> {
        self.member.close();
        self.hub.detach(self.key);
        let result = store(&self.hub, &self.member);
        self.runner.end(false);
        result
    }
}

/// Stores the cursor, on a connection on which it was verified where that is needed; does nothing if the
/// stream was closed.
fn store(hub: &Hub, member: &Member) -> Result<()> {
    let reader = hub.reader();
    let Ok(pool) = reader.pool() else { return Ok(()) };
    if !member.is_due() {
        return Ok(());
    }
    let at = pool.with_retry(|connection| {
        member.verify(reader, connection, reader.doubts())?;
        let state = member.state();
        let (at, to) = (state.cursor().0, state.move_to(state.cursor().0));
        let due = state.is_due();
        drop(state);
        let cursor = due.then(|| connection.advance(&member.ident, &to)).transpose()?;
        Ok(cursor.flatten().map(|cursor| (at, cursor)))
    })?;
    if let Some((at, cursor)) = at {
        member.stored(at, Some(cursor), reader.asks());
    }
    Ok(())
}

pub(super) fn occupied(ident: &Ident) -> Error {
    Error::new(
        ErrorKind::Occupied,
        format!(
            "another receiver of {ident:?} is at work, in this process or another one: there can \
             be one at a time. Stop it first, or use another component"
        ),
    )
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            log::warn!("futoin-eventstream: storing the cursor of {}: {error}", self.ident());
        }
    }
}

/// Iterator over the deliveries of a [`Subscription`]: see [`Subscription::deliveries`].
pub struct Deliveries<'a> {
    subscription: &'a Subscription,
    unacknowledged: bool,
    ended: bool,
}

impl Iterator for Deliveries<'_> {
    type Item = Result<Delivery>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if std::mem::take(&mut self.unacknowledged)
            && let Err(error) = self.subscription.ack()
        {
            return Some(Err(error));
        }
        loop {
            match self.subscription.next(Duration::from_secs(3600)) {
                Ok(None) => {}
                Ok(Some(delivery)) => {
                    self.unacknowledged = true;
                    return Some(Ok(delivery));
                }
                Err(error) if error.kind() == ErrorKind::Closed => {
                    self.ended = true;
                    return None;
                }
                Err(error) => {
                    self.ended = !error.is_retriable();
                    return Some(Err(error));
                }
            }
        }
    }
}
