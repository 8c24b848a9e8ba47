//! What ends a wait: its limit of time, and a token that another thread cancels.

use crate::model::error::{Error, ErrorKind, Result};
use crate::sync::line::{GRACE, Token};
use crate::sync::lock::lock;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Ends waits. Every call that was given the token fails with
/// [`Cancelled`](ErrorKind::Cancelled) within 30 ms after [`cancel`](Self::cancel), and so do later
/// ones; within 200 ms where a server does not answer, whose connection is given up then.
///
/// Any number of calls may share a token. Cheap to clone; a clone is the same token. All methods may
/// be called from any thread.
///
/// ```
/// use futoin_eventstream::{CancelToken, ErrorKind, EventStream, Want};
/// use std::time::Duration;
/// # fn main() -> Result<(), futoin_eventstream::Error> {
/// let stream = EventStream::open("sqlite::memory:")?;
/// stream.migrate()?;
/// let audit = stream.consumer("app", "Audit")?;
/// audit.register()?;
/// let token = CancelToken::new();
/// let other = token.clone();
/// let thread = std::thread::spawn(move || other.cancel());
/// let ended = audit.poll_for(None, &Want::all(), usize::MAX, Duration::MAX, Some(&token));
/// assert_eq!(ended.unwrap_err().kind(), ErrorKind::Cancelled);
/// # thread.join().unwrap();
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct CancelToken(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// All that a signal handler touches.
    cancelled: Arc<AtomicBool>,
    watch: Watch,
}

/// What ends calls in flight. A signal handler cannot, so a thread looks at the flag for it.
#[derive(Default)]
struct Watch {
    shared: Arc<Watched>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Watched {
    state: Mutex<Watching>,
    changed: Condvar,
    token: Token,
}

#[derive(Default)]
struct Watching {
    calls: usize,
    /// The thread looks at nothing for now.
    resting: bool,
    ended: bool,
}

/// With no call for so long, the thread that watches rests.
const REST: Duration = Duration::from_secs(1);

/// The longest time for which a wait does not look at its token.
const SLICE: Duration = Duration::from_millis(25);

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels what waits with this token, for good. Touches nothing but an atomic flag, so that it
    /// may be called from a signal handler.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Release);
    }

    /// Whether the token was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// Runs a call that is ended when the token is cancelled. Where the system gives no thread, it is
    /// ended by its own limit of time only.
    fn watch<T>(&self, work: impl FnOnce() -> T) -> T {
        let Inner { cancelled, watch } = &*self.0;
        let shared = &watch.shared;
        let mut thread = lock(&watch.thread);
        if thread.is_none() {
            let (cancelled, shared) = (cancelled.clone(), shared.clone());
            let builder = std::thread::Builder::new().name("fes-cancel".to_owned());
            *thread = builder.spawn(move || shared.look(&cancelled)).ok();
        }
        drop(thread);
        let mut state = shared.state();
        state.calls += 1;
        if state.resting {
            shared.changed.notify_all();
        }
        drop(state);
        let _scope = shared.token.scope();
        let result = work();
        shared.state().calls -= 1;
        result
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CancelToken({})", self.is_cancelled())
    }
}

impl Watched {
    fn state(&self) -> MutexGuard<'_, Watching> {
        lock(&self.state)
    }

    fn look(&self, cancelled: &AtomicBool) {
        let mut idle = Instant::now();
        let mut state = self.state();
        while !state.ended {
            if cancelled.load(Ordering::Acquire) {
                // A healthy call may end by itself.
                let ended = |state: &mut Watching| state.calls > 0 && !state.ended;
                let waited = self.changed.wait_timeout_while(state, GRACE, ended);
                drop(waited.unwrap_or_else(PoisonError::into_inner).0);
                self.token.cut();
                return;
            }
            if state.calls > 0 {
                idle = Instant::now();
            }
            state.resting = idle.elapsed() >= REST;
            let time = if state.resting { Duration::from_secs(3600) } else { SLICE };
            let waited = self.changed.wait_timeout(state, time);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.resting {
                state.resting = false;
                idle = Instant::now();
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.watch.shared.state().ended = true;
        self.watch.shared.changed.notify_all();
        let thread = lock(&self.watch.thread).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// The wait of one call.
pub(crate) struct Wait<'a> {
    end: Option<Instant>,
    cancel: Option<&'a CancelToken>,
}

impl<'a> Wait<'a> {
    /// A time that is too long for the clock has no end.
    pub fn new(timeout: Duration, cancel: Option<&'a CancelToken>) -> Self {
        Wait { end: Instant::now().checked_add(timeout), cancel }
    }

    /// When it ends; `None`: never.
    pub fn end(&self) -> Option<Instant> {
        self.end
    }

    /// Fails if the wait was cancelled.
    pub fn check(&self) -> Result<()> {
        match self.cancel {
            Some(cancel) if cancel.is_cancelled() => Err(cancelled()),
            _ => Ok(()),
        }
    }

    /// The time until the token is to be looked at, or the end; zero when it is over.
    pub fn slice(&self) -> Duration {
        self.pause(SLICE)
    }

    /// For how long to wait for something that comes at the latest after `time`: no longer than until
    /// the end, or until the token is to be looked at. Zero when the wait is over.
    pub fn pause(&self, time: Duration) -> Duration {
        let most = if self.cancel.is_some() { time.min(SLICE) } else { time };
        let left = self.end.map(|end| end.saturating_duration_since(Instant::now()));
        left.map_or(most, |left| left.min(most))
    }

    /// Whether its time is over.
    pub fn is_over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }

    /// Whether neither the token nor the time has ended the wait.
    pub fn goes_on(&self) -> bool {
        self.check().is_ok() && !self.is_over()
    }

    /// Waits for the end of a thread that `stop_within` asks to end, slice by slice. When the time is
    /// over, or the wait is cancelled, `cut` ends the call on a server in which the thread may hang; not
    /// if there was no time at all.
    pub fn for_end(&self, stop_within: impl Fn(Duration) -> bool, cut: impl Fn()) -> Result<()> {
        let asks_only = self.is_over();
        loop {
            if stop_within(self.slice()) {
                return Ok(());
            }
            if self.goes_on() {
                continue;
            }
            if !asks_only {
                cut();
                if stop_within(GRACE) {
                    return Ok(());
                }
            }
            self.check()?;
            let message = "stop was requested, but the worker is still running";
            return Err(Error::new(ErrorKind::Timeout, message));
        }
    }

    /// Runs a call on a server, which ends soon after the token is cancelled, also where it hangs.
    pub fn run<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(cancel) = self.cancel else { return work() };
        let result = cancel.watch(work);
        if result.is_err() {
            self.check()?;
        }
        result
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the wait was cancelled")
}
