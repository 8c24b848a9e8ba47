//! `fes_cancel_token`, and waiting with a time limit.

use super::{Done, fes_error, free, guard_or};
use crate::error::{Error, ErrorKind};
use crate::line::{GRACE, Token};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// As a `timeout_ms`: without an end.
pub const FES_FOREVER: u32 = 0xffff_ffff;

/// Ends waits: every call that was given the token returns `FES_CANCELLED` within 30 ms, and so do
/// later ones; within 200 ms where a server does not answer, whose connection is given up. Any number
/// of calls may share one. It must not be freed while a call uses it.
pub struct fes_cancel_token {
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

impl fes_cancel_token {
    /// Runs a call that is ended when the token is cancelled. Where the system gives no thread, it is
    /// ended by its own limit of time only.
    fn watch<T>(&self, work: impl FnOnce() -> T) -> T {
        let shared = &self.watch.shared;
        let mut thread = self.watch.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let (cancelled, shared) = (self.cancelled.clone(), shared.clone());
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

impl Watched {
    fn state(&self) -> MutexGuard<'_, Watching> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Drop for fes_cancel_token {
    fn drop(&mut self) {
        self.watch.shared.state().ended = true;
        self.watch.shared.changed.notify_all();
        let thread = self.watch.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// The longest time for which a wait does not look at its token.
const SLICE: Duration = Duration::from_millis(25);

/// The wait of one call.
pub(super) struct Wait<'a> {
    end: Option<Instant>,
    cancel: Option<&'a fes_cancel_token>,
}

impl Wait<'_> {
    pub unsafe fn new(timeout_ms: u32, cancel: *const fes_cancel_token) -> Self {
        let timeout = Duration::from_millis(u64::from(timeout_ms));
        let end = (timeout_ms != FES_FOREVER).then(|| Instant::now() + timeout);
        Wait { end, cancel: unsafe { cancel.as_ref() } }
    }

    /// Fails if the wait was cancelled.
    pub fn check(&self) -> Done {
        match self.cancel {
            Some(cancel) if cancel.cancelled.load(Ordering::Acquire) => Err(fes_error::cancelled()),
            _ => Ok(()),
        }
    }

    /// When it ends; `None`: never.
    pub fn end(&self) -> Option<Instant> {
        self.end
    }

    /// The time until the token is to be looked at, or the end; zero when it is over.
    pub fn slice(&self) -> Duration {
        let left = self.end.map(|end| end.saturating_duration_since(Instant::now()));
        left.map_or(SLICE, |left| left.min(SLICE))
    }

    /// Whether neither the token nor the time has ended the wait.
    pub fn goes_on(&self) -> bool {
        self.check().is_ok() && !self.slice().is_zero()
    }

    /// Waits for the end of a thread that `stop_within` asks to end, slice by slice. When the time is over,
    /// or the wait is cancelled, `cut` ends the call on a server in which the thread may hang; not if there
    /// was no time at all.
    pub fn for_end(&self, stop_within: impl Fn(Duration) -> bool, cut: impl Fn()) -> Done {
        let asks_only = self.slice().is_zero();
        loop {
            let slice = self.slice();
            if stop_within(slice) {
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
            return Err(Error::new(ErrorKind::Timeout, message).into());
        }
    }

    /// Runs a call on a server, which ends soon after the token is cancelled, also where it hangs.
    pub fn run<T>(&self, work: impl FnOnce() -> crate::error::Result<T>) -> Done<T> {
        let Some(cancel) = self.cancel else { return Ok(work()?) };
        let result = cancel.watch(work);
        if result.is_err() {
            self.check()?;
        }
        Ok(result?)
    }
}

/// Makes a token.
///
/// @return the token, to be freed with `fes_cancel_token_free`; NULL only after a defect
#[unsafe(no_mangle)]
pub extern "C" fn fes_cancel_token_new() -> *mut fes_cancel_token {
    guard_or(std::ptr::null_mut(), || {
        let cancelled = Arc::new(AtomicBool::new(false));
        Box::into_raw(Box::new(fes_cancel_token { cancelled, watch: Watch::default() }))
    })
}

/// Cancels what waits with this token, for good. May be called from any thread, from a callback and
/// from a signal handler.
///
/// @param cancel NULL, or the token
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_cancel_token_cancel(cancel: *const fes_cancel_token) {
    if let Some(cancel) = unsafe { cancel.as_ref() } {
        cancel.cancelled.store(true, Ordering::Release);
    }
}

/// Whether the token was cancelled. May be called from a signal handler.
///
/// @param cancel NULL, or the token
/// @return whether it was; false for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_cancel_token_is_cancelled(cancel: *const fes_cancel_token) -> bool {
    unsafe { cancel.as_ref() }.is_some_and(|cancel| cancel.cancelled.load(Ordering::Acquire))
}

/// Frees a token that no call uses any more.
///
/// @param cancel NULL, or the token
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_cancel_token_free(cancel: *mut fes_cancel_token) {
    unsafe { free(cancel) };
}
