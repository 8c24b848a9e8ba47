//! The history: the [`warehouse`] that keeps all events, the [`archiver`] that copies them there,
//! the [`discarder`] that then shortens the event table, and the [`replay`] that reads both as one
//! stream.

mod archiver;
mod discarder;
mod expiry;
mod latecomers;
mod replay;
mod same;
mod warehouse;

pub use archiver::Archiver;
pub use discarder::Discarder;
pub use replay::Replay;
pub(crate) use same::same_json;
pub use warehouse::Warehouse;

use crate::model::error::{Error, Result};
use crate::model::ident::{Component, INTERNAL_USER, Ident};
use crate::sync::lock::lock;
use crate::sync::worker::{Task, Worker, panic_error};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The component of the archiver, of the user [`INTERNAL_USER`].
const ARCHIVER: &str = "ARCHIVER";

/// `-internal:ARCHIVER`.
pub(crate) fn archiver_ident() -> Result<Ident> {
    Ident::new(INTERNAL_USER, &Component::new(ARCHIVER)?)
}

/// What an [`Archiver`] or a [`Discarder`] tells about its work, from its own thread.
///
/// ```
/// use futoin_eventstream::{Archiver, EventStream, HistoryNotice, Options, Warehouse};
/// # fn main() -> Result<(), futoin_eventstream::Error> {
/// # let (stream, warehouse) = (EventStream::open("sqlite::memory:")?, Warehouse::open("sqlite::memory:")?);
/// let archiver = Archiver::new(&stream, &warehouse, &Options::new())?;
/// archiver.on_notice(|notice| match notice {
///     HistoryNotice::ProcessedEvents(count) => println!("{count} events more in the history"),
///     HistoryNotice::WorkerError(error) | HistoryNotice::ReceiverError(error) => {
///         eprintln!("it will be tried again: {error}")
///     }
///     _ => {}
/// });
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum HistoryNotice {
    /// The archiver has read this many events, and writes them to the history now.
    NewEvents(usize),
    /// This many events are in the history and acknowledged.
    ProcessedEvents(usize),
    /// This many events were deleted from the event table.
    Discarded(u64),
    /// The consumer of this ident was not seen for `expire_after_s`, and was unregistered.
    Expired(String),
    /// It does nothing for now, for this reason. Told once, until it works again.
    Waiting(String),
    /// The library, or the database of the stream, failed; it will be tried again. Of kind
    /// [`LateEvent`](crate::ErrorKind::LateEvent): the archiver has found, and copied, events below
    /// those it had copied before, and goes on.
    WorkerError(Error),
    /// The warehouse failed; it will be tried again.
    ReceiverError(Error),
    /// It has ended: by `stop`, or by an error that trying again cannot help.
    Stopped(Option<Error>),
}

/// How the thread of an [`Archiver`] or a [`Discarder`] fares, for watchdogs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerHealth {
    /// Whether the thread runs.
    pub running: bool,
    /// How long it has been at its present step, such as one batch; `None` while it waits for something to do. Far
    /// more than a step may take means that it hangs.
    pub busy_for: Option<Duration>,
    /// How many steps failed in a row; 0 after one that succeeded.
    pub failures: u32,
}

type OnNotice = Arc<dyn Fn(&HistoryNotice) + Send + Sync>;

/// Who is told what happens.
#[derive(Default)]
struct Notify(Mutex<Option<OnNotice>>);

impl Notify {
    fn set(&self, call: impl Fn(&HistoryNotice) + Send + Sync + 'static) {
        let before = lock(&self.0).replace(Arc::new(call));
        // Not under the lock: what it is dropped with may call this.
        drop(before);
    }

    /// Calls back; a panic there is the caller's, and ends nothing here.
    fn tell(&self, notice: HistoryNotice) {
        let call = lock(&self.0).clone();
        match &notice {
            HistoryNotice::WorkerError(error) | HistoryNotice::ReceiverError(error) => {
                log::warn!("futoin-eventstream: {error}");
            }
            HistoryNotice::Stopped(Some(error)) => log::error!("futoin-eventstream: {error}"),
            _ => {}
        }
        if let Some(call) = call
            && let Err(panic) = catch_unwind(AssertUnwindSafe(|| call(&notice)))
        {
            log::error!("futoin-eventstream: on_notice: {}", panic_error(&*panic));
        }
    }
}

/// A thread that its owner starts and stops, any number of times.
#[derive(Default)]
struct Running(Mutex<Option<Arc<Worker>>>);

impl Running {
    /// Starts the thread, unless it is at work.
    fn start<T: Task>(&self, name: &str, task: impl FnOnce() -> T) -> Result<()> {
        let mut slot = lock(&self.0);
        let at_work = |worker: &Arc<Worker>| worker.is_alive() && !worker.signal().is_stopping();
        if !slot.as_ref().is_some_and(at_work) {
            *slot = Some(Arc::new(Worker::start(name, task())?));
        }
        Ok(())
    }

    /// Asks the thread to end and waits for it; called by the thread itself, it only asks.
    fn stop(&self) {
        let worker = lock(&self.0).clone();
        if let Some(worker) = worker {
            worker.stop();
        }
    }

    /// As [`stop`](Self::stop), but waits no longer than `time`; whether it is done.
    fn stop_within(&self, time: Duration) -> bool {
        let worker = lock(&self.0).clone();
        worker.is_none_or(|worker| worker.stop_within(time))
    }

    /// Whether this is called by the thread itself, from a notice.
    fn is_current(&self) -> bool {
        lock(&self.0).as_ref().is_some_and(|worker| worker.is_current())
    }

    /// Ends calls on servers that the thread is in.
    fn cut(&self) {
        let worker = lock(&self.0).clone();
        if let Some(worker) = worker.filter(|worker| !worker.is_current()) {
            worker.cut();
        }
    }

    fn is_alive(&self) -> bool {
        lock(&self.0).as_ref().is_some_and(|worker| worker.is_alive())
    }

    fn health(&self) -> WorkerHealth {
        let worker = lock(&self.0).clone();
        let Some(worker) = worker.filter(|worker| worker.is_alive()) else {
            return WorkerHealth::default();
        };
        let (busy_for, failures) = worker.signal().health();
        WorkerHealth { running: true, busy_for, failures }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}
