//! The thread of a receiver: subscribes, calls back, and acknowledges.

use super::{Callback, Notice, PoisonPolicy, Receiver, ReceiverOptions, ReceiverStats};
use crate::model::error::{Error, ErrorKind, Result, panic_error};
use crate::model::event::{EventId, EventType};
use crate::model::ident::LIVE;
use crate::push::{Delivery, Subscription, SubscriptionStats, Waiting};
use crate::stream::EventStream;
use crate::sync::lock::lock;
use crate::sync::worker::{Backoff, Next, Signal, Task};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Of the events that were given up, so many are kept.
const MAX_SKIPPED: usize = 1000;

/// A delivery that the callback has not taken yet.
struct Pending {
    delivery: Delivery,
    /// Deliver the first event alone.
    single: bool,
    failures: u32,
}

pub(super) struct ReceiverTask {
    stream: EventStream,
    user: String,
    component: String,
    options: ReceiverOptions,
    callback: Arc<Mutex<Callback>>,
    stats: Arc<Mutex<ReceiverStats>>,
    /// Of earlier subscriptions.
    before: SubscriptionStats,
    subscription: Option<Subscription>,
    pending: Option<Pending>,
    /// The event that could not be read, and how often that was.
    unread: Option<(EventId, u32)>,
    backoff: Backoff,
}

/// The longest wait, after which the thread sees that it is to stop.
const SLICE: Duration = Duration::from_millis(90);

impl ReceiverTask {
    pub fn new(of: &Receiver) -> Self {
        ReceiverTask {
            stream: of.stream.clone(),
            user: of.user.clone(),
            component: of.component.clone(),
            options: of.options.clone(),
            callback: of.callback.clone(),
            stats: of.stats.clone(),
            before: lock(&of.stats).subscription,
            subscription: None,
            pending: None,
            unread: None,
            backoff: Backoff::default(),
        }
    }

    fn notice(&self, notice: Notice) {
        self.options.notices.tell(&notice);
    }

    fn subscribe(&self) -> Result<Subscription> {
        if self.component != LIVE {
            self.stream.consumer(&self.user, &self.component)?.register()?;
        }
        let want = self.options.want.clone();
        let options = &self.options.options;
        let subscription = self.stream.subscribe(&self.user, &self.component, want, options)?;
        self.notice(Notice::Ready);
        Ok(subscription)
    }

    fn note_stats(&self, subscription: &Subscription) {
        let now = subscription.stats();
        lock(&self.stats).subscription = SubscriptionStats {
            delivered: self.before.delivered + now.delivered,
            skipped: self.before.skipped + now.skipped,
            overflows: self.before.overflows + now.overflows,
        };
    }

    /// Somebody has unregistered the consumer, or the database was made anew. By the option
    /// `reregister` it begins again, with the first event that is still there; what was not
    /// acknowledged comes again then. Otherwise the receiver ends: nobody keeps events for it.
    fn unregistered(&mut self, error: Error) -> Result<Next> {
        self.pending = None;
        self.unread = None;
        if let Some(subscription) = self.subscription.take() {
            self.note_stats(&subscription);
            self.before = lock(&self.stats).subscription;
        }
        let settings = self.options.options.over(&self.stream.reader().settings);
        if settings.reregister {
            return Err(error);
        }
        self.notice(Notice::WorkerError(error));
        Ok(Next::Done)
    }

    /// Calls the callback with what is pending; a panic in it is a failure like any other.
    fn call(&self, pending: &Pending) -> std::result::Result<(), String> {
        let first;
        let delivery = match pending.single {
            false => &pending.delivery,
            true => {
                let events = pending.delivery.events[..1].to_vec();
                first = Delivery { seq: pending.delivery.seq, events };
                &first
            }
        };
        let mut callback = lock(&self.callback);
        match catch_unwind(AssertUnwindSafe(|| callback(delivery))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => Err(panic_error(&*panic).to_string()),
        }
    }

    /// The callback took what was pending: acknowledges the delivery once it is all taken.
    fn taken(&mut self, mut pending: Pending) -> Result<Next> {
        self.backoff = Backoff::default();
        if pending.single && pending.delivery.events.len() > 1 {
            pending.delivery.events.remove(0);
            pending.failures = 0;
            self.pending = Some(pending);
        } else if let Some(subscription) = &self.subscription {
            subscription.ack()?;
        }
        Ok(Next::Again)
    }

    /// The callback failed on what is pending.
    fn refused(&mut self, mut pending: Pending, error: String) -> Result<Next> {
        lock(&self.stats).failures += 1;
        self.notice(Notice::ReceiverError(error.clone()));
        pending.failures += 1;
        match self.options.poison {
            PoisonPolicy::Stop => return Ok(Next::Done),
            PoisonPolicy::SkipAfter(limit) if pending.failures >= limit => {
                if pending.single || pending.delivery.events.len() == 1 {
                    self.skip(&pending, error);
                    pending.single = true;
                    return self.taken(pending);
                }
                pending.single = true;
                pending.failures = 0;
            }
            PoisonPolicy::SkipAfter(_) | PoisonPolicy::Retry => {}
        }
        self.pending = Some(pending);
        Ok(Next::Sleep(self.backoff.next()))
    }

    /// The next event cannot be read: as the callback failing on it alone. LIVE goes on behind it.
    fn unreadable(&mut self, error: Error) -> Result<Next> {
        let Some(row) = error.unreadable().filter(|_| self.component != LIVE) else {
            return Err(error);
        };
        let failures = match self.unread {
            Some((id, failures)) if id == row.id => failures + 1,
            _ => 1,
        };
        self.unread = Some((row.id, failures));
        match (self.options.poison, &self.subscription) {
            (PoisonPolicy::Stop, _) => {
                self.notice(Notice::WorkerError(error));
                Ok(Next::Done)
            }
            (PoisonPolicy::SkipAfter(limit), Some(subscription)) if failures >= limit => {
                let id = row.id;
                subscription.skip(id)?;
                self.unread = None;
                self.skipped(id, EventType::stored(&row.type_text()), error.to_string());
                Ok(Next::Again)
            }
            _ => Err(error),
        }
    }

    fn skip(&self, pending: &Pending, error: String) {
        let event = &pending.delivery.events[0];
        self.skipped(event.id, event.event_type.clone(), error);
    }

    fn skipped(&self, id: EventId, event_type: EventType, error: String) {
        let mut stats = lock(&self.stats);
        if stats.skipped.len() >= MAX_SKIPPED {
            stats.skipped.remove(0);
        }
        stats.skipped.push((id, event_type.clone(), error.clone()));
        drop(stats);
        self.notice(Notice::Skipped { id, event_type, error });
    }
}

impl ReceiverTask {
    fn deliver(&mut self) -> Result<Next> {
        let subscription = match self.subscription.take() {
            Some(subscription) => subscription,
            None => self.subscribe()?,
        };
        let subscription = self.subscription.insert(subscription);
        let pending = match self.pending.take() {
            Some(pending) => pending,
            None => {
                // Whoever stops the thread ends what hangs in a call.
                let end = Instant::now().checked_add(SLICE);
                let wait = Waiting { end, patient: true, goes_on: None };
                let delivery = match subscription.next_while(&wait) {
                    Err(error) if error.unreadable().is_some() => return self.unreadable(error),
                    result => result?,
                };
                let Some(delivery) = delivery else { return Ok(Next::Again) };
                let count = delivery.events.len();
                self.notice(Notice::NewEvents(count));
                Pending { delivery, single: false, failures: 0 }
            }
        };
        if let Some(subscription) = &self.subscription {
            self.note_stats(subscription);
        }
        match self.call(&pending) {
            Ok(()) => self.taken(pending),
            Err(error) => self.refused(pending, error),
        }
    }
}

impl Task for ReceiverTask {
    fn step(&mut self, _: &Signal) -> Result<Next> {
        match self.deliver() {
            Err(error) if error.kind() == ErrorKind::NotRegistered => self.unregistered(error),
            result => result,
        }
    }

    fn patience(&self) -> Option<Duration> {
        self.stream.reader().settings.call_timeout
    }

    fn failed(&mut self, error: Error) {
        self.notice(Notice::WorkerError(error));
    }

    fn ended(&mut self, _: &Signal) {
        if let Some(subscription) = self.subscription.take() {
            self.note_stats(&subscription);
            if let Err(error) = subscription.end() {
                self.notice(Notice::WorkerError(error));
            }
        }
        self.notice(Notice::Stopped);
    }
}
