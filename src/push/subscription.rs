//! Subscriptions: pushed events, pulled by the caller from a bounded queue.

#[cfg(unix)]
use super::alarm::Alarm;
use super::errand::{Runner, occupied, take_lease};
use super::hub::Hub;
use super::member::Member;
use super::queue::{Groups, Tail};
use super::state::{Delivery, Errand, Found, Queue, State, Step};
use crate::backend::cursors::Move;
use crate::config::Settings;
use crate::model::error::{Error, ErrorKind, Result, fail};
use crate::model::event::EventId;
use crate::model::ident::{Component, Ident, Want};
use crate::read::reader::not_registered;
use crate::read::rewind::Standing;
use crate::sync::line::{GRACE, in_time};
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

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
        let queue = match live {
            true => Queue::Live(Groups::default(), allocated),
            false => Queue::Reliable(Tail::default()),
        };
        let state = State::new(queue, standing, rewound);
        let member = Arc::new(Member::new(ident, want, &settings, state));
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
        Ok(Some(state.deliver(seq, chunk.events, reader)))
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
