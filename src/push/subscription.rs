//! Subscriptions: pushed events, pulled by the caller from a bounded queue.

use super::backlog::{Chunk, Request};
use super::hub::Hub;
use super::queue::{Bounds, Groups, Piece, Tail, Taken};
use crate::backend::lease::OwnerLease;
use crate::config::Settings;
use crate::consumer::{Component, Ident, Want};
use crate::error::{Error, ErrorKind, Result, fail};
use crate::event::{Event, EventId};
use std::collections::VecDeque;
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

/// How often a lease is looked after.
const LEASE_LOOK: Duration = Duration::from_secs(3);
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
    bounds: Bounds,
    ack_interval: Duration,
}

struct State {
    queue: Queue,
    next_seq: u64,
    /// Everything up to here was handed out, or is not wanted.
    position: EventId,
    /// Handed out and not acknowledged: the seq, and the position after it.
    outstanding: VecDeque<(u64, EventId)>,
    /// Everything up to here was acknowledged.
    acked: EventId,
    /// The cursor in the database, and when it was stored.
    stored: EventId,
    stored_at: Instant,
    delivered: u64,
    error: Option<Error>,
    /// The event after `position` that could not be read.
    unreadable: Option<EventId>,
    closed: bool,
}

enum Queue {
    Reliable(Tail),
    /// With the id from which on events are new to it.
    Live(Groups, EventId),
}

/// What there is for a subscriber.
enum Step {
    Deliver(Delivery),
    Wait,
    ReadDatabase(EventId),
}

impl Member {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn ident(&self) -> &Ident {
        &self.ident
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
            Queue::Live(groups, from) => groups.offer(piece, *from, &self.want, self.bounds),
        };
        // Waking a thread for nothing at every look is a sixth of what waiting costs.
        if news {
            self.changed.notify_all();
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
        self.changed.notify_all();
    }

    /// The next call of `next` gives this error.
    pub fn fail(&self, error: &Error) {
        self.state().error = Some(error.copy());
        self.changed.notify_all();
    }

    pub fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// The cursor to store now, if it is time to.
    pub fn due(&self) -> Option<EventId> {
        let state = self.state();
        let (cursor, acknowledged) = state.cursor();
        let interval = if acknowledged { self.ack_interval } else { IDLE_STORE };
        (cursor > state.stored && state.stored_at.elapsed() >= interval).then_some(cursor)
    }

    /// The cursor was stored; `found` if the consumer is still registered.
    pub fn stored(&self, cursor: EventId, found: bool) {
        let mut state = self.state();
        state.stored = state.stored.max(cursor);
        state.stored_at = Instant::now();
        drop(state);
        if !found {
            let message = format!("consumer {:?} is not registered any more", self.ident);
            self.fail(&Error::new(ErrorKind::NotRegistered, message));
        }
    }
}

impl State {
    /// How far the stored cursor may move, and whether events were acknowledged up to there.
    fn cursor(&self) -> (EventId, bool) {
        match &self.queue {
            Queue::Live(..) => (self.stored, false),
            Queue::Reliable(_) if self.outstanding.is_empty() && self.position > self.acked => {
                (self.position, self.acked > self.stored)
            }
            Queue::Reliable(_) => (self.acked, true),
        }
    }

    fn next_step(&mut self, limit: usize, request_max: usize) -> Step {
        if self.outstanding.len() >= request_max {
            return Step::Wait;
        }
        match &mut self.queue {
            Queue::Live(groups, _) => match groups.take() {
                Some((seq, events)) => Step::Deliver(self.deliver(seq, events)),
                None => Step::Wait,
            },
            Queue::Reliable(tail) => match tail.take(self.position, limit) {
                Taken::Behind => Step::ReadDatabase(self.position),
                Taken::Nothing(upto) => {
                    self.position = upto;
                    Step::Wait
                }
                Taken::Events(events, upto) => {
                    self.position = upto;
                    Step::Deliver(self.deliver(self.next_seq, events))
                }
            },
        }
    }

    fn deliver(&mut self, seq: u64, events: Vec<Arc<Event>>) -> Delivery {
        self.next_seq = seq + 1;
        self.delivered += events.len() as u64;
        self.outstanding.push_back((seq, self.position));
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
/// delivery goes to one of them, and none waits for another one's time-out. Dropping it stores the cursor and ends the subscription.
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
    /// One `next` looks, or reads, at a time; with the lease of a reliable subscriber.
    turn: Mutex<LeaseState>,
}

struct LeaseState {
    lease: Option<OwnerLease>,
    looked: Instant,
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
        let lease = if live { None } else { Some(take_lease(&hub, &ident)?) };
        let (cursor, drawn) = pool.repeatable(|connection| {
            if live {
                let from = reader.live_start(connection)?;
                return Ok((from, from));
            }
            let drawn = connection.highest_drawn()?;
            let cursor = connection.advance(&ident, 0)?.ok_or_else(|| {
                let message = format!("consumer {ident:?} is not registered: call register()");
                Error::new(ErrorKind::NotRegistered, message)
            })?;
            reader.check_drawn(connection, cursor, "the stored cursor")?;
            Ok((cursor, drawn))
        })?;
        let queue = match live {
            true => Queue::Live(Groups::default(), drawn),
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
            changed: Condvar::new(),
            state: Mutex::new(State {
                queue,
                next_seq: 0,
                position: cursor,
                outstanding: VecDeque::new(),
                acked: cursor,
                stored: cursor,
                stored_at: Instant::now(),
                delivered: 0,
                error: None,
                unreadable: None,
                closed: false,
            }),
        });
        let request_max = match (settings.request_max, live) {
            (0, true) => 2,
            (0, false) => 1,
            (given, _) => given,
        };
        let key = hub.attach(member.clone(), drawn)?;
        let turn = Mutex::new(LeaseState { lease, looked: Instant::now() });
        Ok(Subscription { hub, key, member, request_max, turn })
    }

    /// The key of this consumer, `user:component`.
    pub fn ident(&self) -> &Ident {
        &self.member.ident
    }

    /// Waits up to `timeout` for the next delivery; `None` if there was none, or if `request_max`
    /// deliveries are not acknowledged. A timeout of zero only looks.
    ///
    /// # Errors
    /// `Closed` after [`close`](Self::close) or [`EventStream::close`]; `NotRegistered`;
    /// `Occupied` if the lease was lost to another process; those of the database; `CorruptEvent` if
    /// the next event cannot be read: see [`skip`](Self::skip). After any but
    /// the first the call may be repeated: nothing is lost.
    ///
    /// [`EventStream::close`]: crate::EventStream::close
    pub fn next(&self, timeout: Duration) -> Result<Option<Delivery>> {
        let end = Instant::now() + timeout;
        loop {
            // Given back while this call waits: another one may look, or give up, meanwhile.
            let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            self.look_after_lease(&mut turn)?;
            let step = {
                let mut state = self.member.state();
                if state.closed {
                    fail!(Closed, "the subscription of {} was closed", self.ident());
                }
                if let Some(error) = state.error.take() {
                    return Err(error);
                }
                match state.next_step(self.member.bounds.chunk, self.request_max) {
                    Step::Wait => {
                        let left = end.saturating_duration_since(Instant::now());
                        if left.is_zero() {
                            return Ok(None);
                        }
                        drop(turn);
                        drop(self.member.changed.wait_timeout(state, left.min(LEASE_LOOK)));
                        continue;
                    }
                    step => step,
                }
            };
            match step {
                Step::Deliver(delivery) => return Ok(Some(delivery)),
                Step::ReadDatabase(position) => {
                    if let Some(delivery) = self.read_database(position)? {
                        return Ok(Some(delivery));
                    }
                    if self.member.state().position == position {
                        let left = end.saturating_duration_since(Instant::now());
                        if left.is_zero() {
                            return Ok(None);
                        }
                        drop(turn);
                        let state = self.member.state();
                        drop(self.member.changed.wait_timeout(state, left.min(CATCH_UP_WAIT)));
                    }
                }
                Step::Wait => {}
            }
        }
    }

    /// Reads what is before the tail; `None` if nothing of it is wanted.
    fn read_database(&self, position: EventId) -> Result<Option<Delivery>> {
        let reader = self.hub.reader();
        let want = self.member.want.clone();
        let request = Request { after: position, want, limit: self.member.bounds.chunk };
        let read = || {
            let Request { after, want, limit } = &request;
            let chunk = reader.pool()?.repeatable(|c| reader.read(c, *after, want, *limit))?;
            let events = chunk.events.into_iter().map(Arc::new).collect();
            Ok(Chunk { events, upto: chunk.settled_to })
        };
        let chunk = match self.hub.backlog() {
            Some(backlog) => backlog.get(&request, read),
            None => read(),
        };
        let mut state = self.member.state();
        state.unreadable =
            chunk.as_ref().err().and_then(|error| error.unreadable().map(|row| row.id));
        let chunk = chunk?;
        state.position = chunk.upto;
        if chunk.events.is_empty() {
            return Ok(None);
        }
        let seq = state.next_seq;
        Ok(Some(state.deliver(seq, chunk.events.to_vec())))
    }

    /// Acknowledges the oldest delivery that is not acknowledged.
    ///
    /// # Errors
    /// `InvalidArgument` if there is none.
    pub fn ack(&self) -> Result<()> {
        let mut state = self.member.state();
        let Some((_, position)) = state.outstanding.pop_front() else {
            fail!(InvalidArgument, "{} has no delivery to acknowledge", self.ident());
        };
        state.acked = position;
        drop(state);
        self.member.changed.notify_all();
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
        Ok(())
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
    /// `Closed`, and frees the ident for others. May be called twice, from any thread.
    ///
    /// # Errors
    /// Those of the database when storing the cursor; it is closed all the same.
    pub fn close(&self) -> Result<()> {
        self.member.close();
        self.hub.detach(self.key);
        let (cursor, stored) = {
            let state = self.member.state();
            (state.cursor().0, state.stored)
        };
        let result = match self.hub.reader().pool() {
            Ok(pool) if cursor > stored => pool
                .repeatable(|connection| connection.advance(&self.member.ident, cursor))
                .map(|_| self.member.stored(cursor, true)),
            _ => Ok(()),
        };
        self.turn.lock().unwrap_or_else(PoisonError::into_inner).lease = None;
        result
    }

    /// Every few seconds: is the session that holds the lock of this ident still there?
    fn look_after_lease(&self, state: &mut LeaseState) -> Result<()> {
        let Some(lease) = &mut state.lease else { return Ok(()) };
        if state.looked.elapsed() < LEASE_LOOK {
            return Ok(());
        }
        if !lease.is_held() {
            // The old session must be gone before a new one asks; nobody may be in between.
            *lease = take_lease(&self.hub, &self.member.ident)?;
            self.rewind()?;
        }
        state.looked = Instant::now();
        Ok(())
    }

    /// Another owner may have moved the cursor while the lease was away.
    fn rewind(&self) -> Result<()> {
        let reader = self.hub.reader();
        let ident = &self.member.ident;
        let cursor = reader.pool()?.repeatable(|connection| connection.advance(ident, 0))?;
        if let Some(cursor) = cursor {
            let mut state = self.member.state();
            state.stored = cursor;
            state.acked = state.acked.max(cursor);
            state.position = state.position.max(cursor);
        }
        Ok(())
    }
}

fn take_lease(hub: &Hub, ident: &Ident) -> Result<OwnerLease> {
    let lease = OwnerLease::take(hub.reader().pool()?.backend(), ident)?;
    lease.ok_or_else(|| occupied(ident))
}

fn occupied(ident: &Ident) -> Error {
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
