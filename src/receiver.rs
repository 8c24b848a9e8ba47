//! Receivers: a [`Subscription`](crate::Subscription) with a thread that calls back.

mod task;

use crate::config::Options;
use crate::model::error::{Error, Result, fail};
use crate::model::event::{EventId, EventType};
use crate::model::ident::{LIVE, Want};
use crate::push::{Delivery, SubscriptionStats};
use crate::stream::EventStream;
use crate::sync::lock::lock;
use crate::sync::runner::{Notices, Runner, runner_methods};
use std::sync::{Arc, Mutex};
use task::ReceiverTask;

/// What a callback gives back: `Ok` acknowledges the delivery, an error brings it again.
pub type CallbackResult = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

type Callback = Box<dyn FnMut(&Delivery) -> CallbackResult + Send>;

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
#[derive(Clone, Default)]
pub struct ReceiverOptions {
    want: Want,
    poison: PoisonPolicy,
    notices: Notices<Notice>,
    options: Options,
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
    pub fn on_notice(self, call: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        self.notices.set(call);
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

/// What both kinds of receivers are.
pub(crate) struct Receiver {
    stream: EventStream,
    user: String,
    component: String,
    options: ReceiverOptions,
    callback: Arc<Mutex<Callback>>,
    stats: Arc<Mutex<ReceiverStats>>,
    pub runner: Runner,
}

impl Receiver {
    pub fn new(
        stream: &EventStream,
        user: &str,
        component: &str,
        options: ReceiverOptions,
        on_events: impl FnMut(&Delivery) -> CallbackResult + Send + 'static,
    ) -> Result<Self> {
        // Says now what is wrong with the names.
        stream.consumer(user, component)?;
        Ok(Receiver {
            stream: stream.clone(),
            user: user.to_owned(),
            component: component.to_owned(),
            options,
            callback: Arc::new(Mutex::new(Box::new(on_events))),
            stats: Arc::default(),
            runner: Runner::default(),
        })
    }

    pub fn start(&self) -> Result<()> {
        self.runner.start("fes-receiver", || ReceiverTask::new(self))
    }

    pub fn stats(&self) -> ReceiverStats {
        lock(&self.stats).clone()
    }
}

macro_rules! receiver {
    ($(#[$doc:meta])* $name:ident, ($($component:ident: &str)?), $given:expr, $live:literal) => {
        $(#[$doc])*
        pub struct $name {
            receiver: Receiver,
        }

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
                let receiver = Receiver::new(stream, user, $given, options, on_events)?;
                Ok($name { receiver })
            }

            /// Starts the thread, which registers where that is needed, and subscribes; errors of
            /// that come as [`Notice::WorkerError`], and it is tried again. Only if the consumer is
            /// unregistered while the receiver is at work, it ends (see [`Notice::Stopped`]). Does nothing if it is started; one that is about to end is waited for, and begins anew.
            ///
            /// # Errors
            /// `OutOfResources` if the system gives no thread.
            pub fn start(&self) -> Result<()> {
                self.receiver.start()
            }

            runner_methods!(receiver.runner);

            /// What was done since the receiver was made.
            pub fn stats(&self) -> ReceiverStats {
                self.receiver.stats()
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
