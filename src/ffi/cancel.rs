//! `fes_cancel`, and waiting with a time limit.

use super::{Done, fes_error, free, guard_or};
use crate::error::{Error, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// As a `timeout_ms`: without an end.
pub const FES_FOREVER: u32 = 0xffff_ffff;

/// Ends waits: every call that was given the token returns `FES_CANCELLED` within 30 ms, and so do
/// later ones. Any number of calls may share one. It must not be freed while a call uses it.
pub struct fes_cancel(AtomicBool);

/// The longest time for which a wait does not look at its token.
const SLICE: Duration = Duration::from_millis(25);

/// The wait of one call.
pub(super) struct Wait<'a> {
    end: Option<Instant>,
    cancel: Option<&'a fes_cancel>,
}

impl Wait<'_> {
    pub unsafe fn new(timeout_ms: u32, cancel: *const fes_cancel) -> Self {
        let timeout = Duration::from_millis(u64::from(timeout_ms));
        let end = (timeout_ms != FES_FOREVER).then(|| Instant::now() + timeout);
        Wait { end, cancel: unsafe { cancel.as_ref() } }
    }

    /// Fails if the wait was cancelled.
    pub fn check(&self) -> Done {
        match self.cancel {
            Some(cancel) if cancel.0.load(Ordering::Acquire) => Err(fes_error::cancelled()),
            _ => Ok(()),
        }
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

    /// Waits for the end of a thread that `stop_within` asks to end, slice by slice.
    pub fn for_end(&self, stop_within: impl Fn(Duration) -> bool) -> Done {
        loop {
            let slice = self.slice();
            if stop_within(slice) {
                return Ok(());
            }
            self.check()?;
            if slice.is_zero() {
                let message = "it was asked to end, and is still at work";
                return Err(Error::new(ErrorKind::Timeout, message).into());
            }
        }
    }
}

/// Makes a token, to be freed with `fes_cancel_free`. NULL only after a defect.
#[unsafe(no_mangle)]
pub extern "C" fn fes_cancel_new() -> *mut fes_cancel {
    guard_or(std::ptr::null_mut(), || Box::into_raw(Box::new(fes_cancel(AtomicBool::new(false)))))
}

/// Cancels what waits with this token, for good. May be called from any thread, from a callback
/// and from a signal handler. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_cancel_cancel(cancel: *const fes_cancel) {
    if let Some(cancel) = unsafe { cancel.as_ref() } {
        cancel.0.store(true, Ordering::Release);
    }
}

/// Whether the token was cancelled. May be called from a signal handler. False for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_cancel_is_cancelled(cancel: *const fes_cancel) -> bool {
    unsafe { cancel.as_ref() }.is_some_and(|cancel| cancel.0.load(Ordering::Acquire))
}

/// Frees a token that no call uses any more. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_cancel_free(cancel: *mut fes_cancel) {
    unsafe { free(cancel) };
}
