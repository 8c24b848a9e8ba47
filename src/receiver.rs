//! Receivers: a [`Subscription`] with a thread that calls back.

use crate::config::Options;
use crate::model::error::{Error, ErrorKind, Result, fail};
use crate::model::event::{EventId, EventType};
use crate::model::ident::{LIVE, Want};
use crate::push::{Delivery, Subscription, SubscriptionStats, Waiting};
use crate::stream::EventStream;
use crate::sync::lock::lock;
use crate::sync::worker::{Backoff, Next, Signal, Task, Worker, panic_error};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What a callback gives back: `Ok` acknowledges the delivery, an error brings it again.
pub type CallbackResult = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

type Callback = Box<dyn FnMut(&Delivery) -> CallbackResult + Send>;
type OnNotice = Arc<dyn Fn(&Notice) + Send + Sync>;

/// What a receiver does about events that its callback fails on, again and again, and about those
/// that cannot be read from the database (`CorruptEvent`, told as a [`Notice::WorkerError`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PoisonPolicy {
    /// Bring them again for ever, with a back-off. The default: nothing passes unprocessed.
    #[default]
    Retry,
    /// Stop the receiver at the first failure; the cursor stays before the delivery.
    Stop,
    /// After this many failures deliver the events of the group one by one, and skip one that
    /// fails this many times alone, with a [`Notice::Skipped`].
    SkipAfter(u32),
}

/// What a receiver tells about itself, from its own thread.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice {
    /// Registered and subscribed: events come from now on.
    Ready,
    /// A delivery of this many events came, before the callback sees it.
    NewEvents(usize),
    /// The database, or the library, failed; it will be tried again.
    WorkerError(Error),
    /// The callback failed, with this message; the events will come again.
    ReceiverError(String),
    /// An event was given up, by [`PoisonPolicy::SkipAfter`].
    Skipped {
        /// Its id.
        id: EventId,
        /// Its type.
        event_type: EventType,
        /// The callback's last error.
        error: String,
    },
    /// The receiver has ended: by `stop`, by [`PoisonPolicy::Stop`], or after a [`Notice::WorkerError`] of
    /// kind `NotRegistered`, because its consumer was unregistered by somebody (the option
    /// `reregister` registers it again instead).
    Stopped,
}

/// Settings of one receiver.
///
/// ```
/// use futoin_eventstream::{PoisonPolicy, ReceiverOptions, Want};
/// let options = ReceiverOptions::new()
///     .want(Want::types(&["USR_ADD"]).unwrap())
///     .poison(PoisonPolicy::SkipAfter(5))
///     .on_notice(|notice| eprintln!("{notice:?}"));
/// ```
#[derive(Clone)]
pub struct ReceiverOptions {
    want: Want,
    poison: PoisonPolicy,
    on_notice: OnNotice,
    options: Options,
}

impl Default for ReceiverOptions {
    fn default() -> Self {
        ReceiverOptions {
            want: Want::all(),
            poison: PoisonPolicy::default(),
            on_notice: Arc::new(|_| {}),
            options: Options::new(),
        }
    }
}

impl ReceiverOptions {
    /// All events, retried for ever, no notices.
    pub fn new() -> Self {
        Self::default()
    }

    /// The event types to receive.
    pub fn want(mut self, want: Want) -> Self {
        self.want = want;
        self
    }

    /// What to do about events that the callback fails on.
    pub fn poison(mut self, poison: PoisonPolicy) -> Self {
        self.poison = poison;
        self
    }

    /// Called for every [`Notice`], from the receiver's thread. Must not block for long.
    pub fn on_notice(mut self, call: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        self.on_notice = Arc::new(call);
        self
    }

    /// Options of the subscription (`queue_max`, `request_max`, ...) other than the stream's.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }
}

/// What a receiver has done since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiverStats {
    /// Of its subscriptions.
    pub subscription: SubscriptionStats,
    /// Failures of the callback.
    pub failures: u64,
    /// Events given up: id, type, last error; the last 1000 of them.
    pub skipped: Vec<(EventId, EventType, String)>,
}

const MAX_SKIPPED: usize = 1000;

/// What both kinds of receivers are made of.
struct Core {
    stream: EventStream,
    user: String,
    component: String,
    options: ReceiverOptions,
    callback: Arc<Mutex<Callback>>,
    stats: Arc<Mutex<ReceiverStats>>,
    worker: Mutex<Option<Arc<Worker>>>,
}

impl Core {
    fn new(
        stream: &EventStream,
        user: &str,
        component: &str,
        options: ReceiverOptions,
        callback: Callback,
    ) -> Result<Self> {
        // Says now what is wrong with the names.
        stream.consumer(user, component)?;
        Ok(Core {
            stream: stream.clone(),
            user: user.to_owned(),
            component: component.to_owned(),
            options,
            callback: Arc::new(Mutex::new(callback)),
            stats: Arc::default(),
            worker: Mutex::new(None),
        })
    }

    fn start(&self) -> Result<()> {
        let before = lock(&self.worker).clone();
        let mut slot = match &before {
            // Not under the lock: the last callback may call stop, too.
            Some(worker) if worker.signal().is_stopping() => {
                worker.stop();
                lock(&self.worker)
            }
            _ => lock(&self.worker),
        };
        let is_new = slot.as_ref().map(Arc::as_ptr) == before.as_ref().map(Arc::as_ptr);
        if !is_new || slot.as_ref().is_some_and(|worker| !worker.signal().is_stopping()) {
            fail!(InvalidArgument, "the receiver {}:{} is started", self.user, self.component);
        }
        let task = ReceiverTask {
            stream: self.stream.clone(),
            user: self.user.clone(),
            component: self.component.clone(),
            options: self.options.clone(),
            callback: self.callback.clone(),
            stats: self.stats.clone(),
            before: lock(&self.stats).subscription,
            subscription: None,
            pending: None,
            unread: None,
            backoff: Backoff::default(),
        };
        *slot = Some(Arc::new(Worker::start("fes-receiver", task)?));
        Ok(())
    }

    fn stop(&self) {
        // Not under the lock: the callback that is waited for may call stop, too.
        let worker = lock(&self.worker).clone();
        if let Some(worker) = worker {
            worker.stop();
        }
    }

    fn stop_within(&self, time: Duration) -> bool {
        let worker = lock(&self.worker).clone();
        worker.is_none_or(|worker| worker.stop_within(time))
    }

    fn cut(&self) {
        let worker = lock(&self.worker).clone();
        if let Some(worker) = worker.filter(|worker| !worker.is_current()) {
            worker.cut();
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A delivery that the callback has not taken yet.
struct Pending {
    delivery: Delivery,
    /// Deliver the first event alone.
    single: bool,
    failures: u32,
}

struct ReceiverTask {
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
    fn notice(&self, notice: Notice) {
        (self.options.on_notice)(&notice);
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
                (self.options.on_notice)(&Notice::NewEvents(count));
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

    fn ended(&mut self, signal: &Signal) {
        // Also when it ended by itself: it may be started again then.
        signal.stop();
        if let Some(subscription) = self.subscription.take() {
            self.note_stats(&subscription);
            if let Err(error) = subscription.end() {
                self.notice(Notice::WorkerError(error));
            }
        }
        self.notice(Notice::Stopped);
    }
}

macro_rules! receiver {
    ($(#[$doc:meta])* $name:ident, ($($component:ident: &str)?), $given:expr, $live:literal) => {
        $(#[$doc])*
        pub struct $name(Core);

        impl $name {
            /// Makes the receiver; [`start`](Self::start) starts it. `on_events` is called from
            /// the receiver's own thread, one delivery at a time.
            ///
            /// # Errors
            /// `InvalidUser`, `InvalidComponent`, `IdentTooLong`, `LiveNotAllowed`, `Closed`.
            pub fn new(
                stream: &EventStream,
                user: &str,
                $($component: &str,)?
                options: ReceiverOptions,
                on_events: impl FnMut(&Delivery) -> CallbackResult + Send + 'static,
            ) -> Result<Self> {
                if ($given == LIVE) != $live {
                    fail!(LiveNotAllowed, "LIVE is no reliable consumer: use LiveReceiver");
                }
                Core::new(stream, user, $given, options, Box::new(on_events)).map($name)
            }

            /// Starts the thread, which registers where that is needed, and subscribes; errors of
            /// that come as [`Notice::WorkerError`], and it is tried again. Only if the consumer is
            /// unregistered while the receiver is at work, it ends (see [`Notice::Stopped`]).
            ///
            /// # Errors
            /// `InvalidArgument` if it is started.
            pub fn start(&self) -> Result<()> {
                self.0.start()
            }

            /// Stops, and returns after the last call of `on_events`: at once when idle (within
            /// 100 ms), and if a server does not answer, after `call_timeout_ms` at the latest. From
            /// inside a callback it returns at once, and that call is the last. May be called twice,
            /// and from any thread; then the receiver may be started again.
            pub fn stop(&self) {
                self.0.stop()
            }

            /// As [`stop`](Self::stop), but waits no longer than `time` (and 200 ms): then what hangs in
            /// a call on a server is cut off. Whether it has ended; if not, `on_events` is still at
            /// work.
            pub fn stop_for(&self, time: Duration) -> bool {
                crate::sync::worker::stop_for(time, |time| self.0.stop_within(time), || self.0.cut())
            }

            /// As [`stop_for`](Self::stop_for), but cuts nothing off.
            pub(crate) fn stop_within(&self, time: Duration) -> bool {
                self.0.stop_within(time)
            }

            /// Ends calls on servers that the thread is in.
            pub(crate) fn cut(&self) {
                self.0.cut()
            }

            /// What was done since the receiver was made.
            pub fn stats(&self) -> ReceiverStats {
                lock(&self.0.stats).clone()
            }
        }
    };
}

receiver!(
    /// A reliable consumer that is called back: every committed event it wants, in order, at
    /// least once, also across restarts of the process and of the server.
    ///
    /// ```
    /// use futoin_eventstream::{EventStream, ReceiverOptions, ReliableReceiver};
    /// # fn main() -> Result<(), futoin_eventstream::Error> {
    /// let stream = EventStream::open("sqlite::memory:")?;
    /// stream.migrate()?;
    /// let (sender, received) = std::sync::mpsc::channel();
    /// let options = ReceiverOptions::new();
    /// let audit = ReliableReceiver::new(&stream, "app", "Audit", options, move |delivery| {
    ///     Ok(sender.send(delivery.events.len())?)
    /// })?;
    /// audit.start()?;
    /// stream.add_event("USR_ADD", &1)?;
    /// assert_eq!(received.recv().unwrap(), 1);
    /// audit.stop();
    /// # Ok(()) }
    /// ```
    ReliableReceiver, (component: &str), component, false
);

receiver!(
    /// A LIVE consumer that is called back: what comes from now on; the oldest is skipped when it
    /// cannot follow, which shows as a gap of `seq`.
    ///
    /// ```
    /// use futoin_eventstream::{EventStream, LiveReceiver, Notice, ReceiverOptions};
    /// # fn main() -> Result<(), futoin_eventstream::Error> {
    /// let stream = EventStream::open("sqlite::memory:")?;
    /// stream.migrate()?;
    /// let (ready, is_ready) = std::sync::mpsc::channel();
    /// let (sender, received) = std::sync::mpsc::channel();
    /// let options = ReceiverOptions::new().on_notice(move |notice| {
    ///     if let Notice::Ready = notice {
    ///         let _ = ready.send(());
    ///     }
    /// });
    /// let live = LiveReceiver::new(&stream, "app", options, move |delivery| {
    ///     Ok(sender.send(delivery.events[0].id)?)
    /// })?;
    /// live.start()?;
    /// is_ready.recv().unwrap();
    /// let id = stream.add_event("USR_ADD", &1)?;
    /// assert_eq!(received.recv().unwrap(), id);
    /// live.stop();
    /// # Ok(()) }
    /// ```
    LiveReceiver, (), LIVE, true
);
