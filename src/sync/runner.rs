//! The one runner of archivers, discarders and receivers: a thread that its owner starts and stops, any
//! number of times, and the callback that is told how it fares.

use crate::model::error::{Result, panic_error};
use crate::sync::cancel::{CancelToken, Wait};
use crate::sync::line::GRACE;
use crate::sync::lock::lock;
use crate::sync::worker::{Task, Worker};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How the thread of an [`Archiver`](crate::Archiver), a [`Discarder`](crate::Discarder) or a receiver
/// fares, for watchdogs.
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

/// A thread that its owner starts and stops, any number of times. Dropping it stops the thread.
#[derive(Default)]
pub(crate) struct Runner(Mutex<Option<Arc<Worker>>>);

impl Runner {
    /// Starts the thread. Does nothing while it runs and was not asked to end; waits for the end of one
    /// that was, unless the thread itself calls this.
    pub fn start<T: Task>(&self, name: &str, task: impl FnOnce() -> T) -> Result<()> {
        let mut ended = None;
        loop {
            let mut slot = lock(&self.0);
            match &*slot {
                Some(worker) if !worker.signal().is_stopping() => return Ok(()),
                Some(worker) if !ended.as_ref().is_some_and(|ended| Arc::ptr_eq(ended, worker)) => {
                    let worker = worker.clone();
                    // The last callback of that thread may need the lock.
                    drop(slot);
                    worker.stop();
                    ended = Some(worker);
                }
                _ => {
                    *slot = Some(Arc::new(Worker::start(name, task())?));
                    return Ok(());
                }
            }
        }
    }

    /// Asks the thread to end and waits for it; called by the thread itself, it only asks.
    pub fn stop(&self) {
        if let Some(worker) = self.worker() {
            worker.stop();
        }
    }

    /// As [`stop`](Self::stop), but waits no longer than `time`, and then a moment for the end of a call
    /// on a server that it cuts off. Whether the thread has ended.
    pub fn stop_for(&self, time: Duration) -> bool {
        const SLICE: Duration = Duration::from_millis(500);
        let mut left = time;
        while left > SLICE {
            if self.stop_within(SLICE) {
                return true;
            }
            left -= SLICE;
        }
        self.stop_within(left) || {
            self.cut();
            self.stop_within(GRACE)
        }
    }

    /// As [`stop_for`](Self::stop_for), with a wait that may be cancelled. Without any time it only asks the
    /// thread to end, and cuts nothing off.
    pub fn stop_while(&self, wait: &Wait<'_>) -> Result<()> {
        wait.for_end(|time| self.stop_within(time), || self.cut())
    }

    /// Asks the thread to end, and waits for it no longer than `time`. Whether it has ended.
    pub fn stop_within(&self, time: Duration) -> bool {
        self.worker().is_none_or(|worker| worker.stop_within(time))
    }

    /// Ends the calls on servers that the thread is in.
    pub fn cut(&self) {
        if let Some(worker) = self.worker().filter(|worker| !worker.is_current()) {
            worker.cut();
        }
    }

    /// Whether the thread runs.
    pub fn is_running(&self) -> bool {
        self.worker().is_some_and(|worker| worker.is_alive())
    }

    /// Whether this is called by the thread itself, from a callback.
    pub fn is_current(&self) -> bool {
        self.worker().is_some_and(|worker| worker.is_current())
    }

    /// How the thread fares.
    pub fn health(&self) -> WorkerHealth {
        let Some(worker) = self.worker().filter(|worker| worker.is_alive()) else {
            return WorkerHealth::default();
        };
        let (busy_for, failures) = worker.signal().health();
        WorkerHealth { running: true, busy_for, failures }
    }

    /// Whoever waits for the thread must not hold the lock: its last callback may need it.
    fn worker(&self) -> Option<Arc<Worker>> {
        lock(&self.0).clone()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Works on the calling thread: calls `work` with whether it is to go on, until the time is over or the
/// token is cancelled. `work` gives how many events it has done, and whether that is all.
pub(crate) fn run_for(
    timeout: Duration,
    cancel: Option<&CancelToken>,
    work: impl FnOnce(&dyn Fn() -> bool) -> Result<(u64, bool)>,
) -> Result<(u64, bool)> {
    let wait = Wait::new(timeout, cancel);
    let (count, complete) = wait.run(|| work(&|| wait.goes_on()))?;
    if !complete {
        wait.check()?;
    }
    Ok((count, complete))
}

/// The callback that is told how a thread fares.
pub(crate) struct Notices<N>(Mutex<Option<OnNotice<N>>>);

type OnNotice<N> = Arc<dyn Fn(&N) + Send + Sync>;

impl<N> Notices<N> {
    /// Calls `call` from the next notice on, in place of what was set before.
    pub fn set(&self, call: impl Fn(&N) + Send + Sync + 'static) {
        let before = lock(&self.0).replace(Arc::new(call));
        // Not under the lock: the drop of a callback is the caller's code, which may call this.
        drop(before);
    }

    /// Calls back. A panic of the callback is logged, and ends nothing here.
    pub fn tell(&self, notice: &N) {
        let call = lock(&self.0).clone();
        if let Some(call) = call
            && let Err(panic) = catch_unwind(AssertUnwindSafe(|| call(notice)))
        {
            log::error!("futoin-eventstream: on_notice: {}", panic_error(&*panic));
        }
    }
}

impl<N> Default for Notices<N> {
    fn default() -> Self {
        Notices(Mutex::new(None))
    }
}

impl<N> Clone for Notices<N> {
    fn clone(&self) -> Self {
        Notices(Mutex::new(lock(&self.0).clone()))
    }
}

/// The public methods of what has a runner in this field: stopping, and how the thread fares.
macro_rules! runner_methods {
    ($($field:ident).+) => {
        /// Ends the thread after what it is at: a batch, a statement, a call of `on_events`. Waits for
        /// that; a server that does not answer is waited for as long as `call_timeout_ms`. When it
        /// returns, no callback comes any more. Called from inside a callback it only asks the thread to
        /// end. May be called twice, and from any thread; then the thread may be started again.
        pub fn stop(&self) {
            self.$($field).+.stop();
        }

        /// As [`stop`](Self::stop), but waits no longer than `time` (and 200 ms): then what hangs in a
        /// call on a server is cut off, and done again after the next start. Whether the thread has
        /// ended; if not, a callback is still at work.
        pub fn stop_for(&self, time: std::time::Duration) -> bool {
            self.$($field).+.stop_for(time)
        }

        /// Whether the thread runs.
        pub fn is_running(&self) -> bool {
            self.$($field).+.is_running()
        }

        /// How the thread fares. Asks no database.
        pub fn health(&self) -> crate::WorkerHealth {
            self.$($field).+.health()
        }
    };
}
pub(crate) use runner_methods;
