//! `fes_cancel_token`, and waiting with a time limit.

use super::{free, guard_or};
use crate::sync::cancel::{CancelToken, Wait};
use std::time::Duration;

/// The value of `timeout_ms` for no time limit.
pub const FES_FOREVER: u32 = 0xffff_ffff;

/// Ends waits: every call that was given the token returns `FES_CANCELLED` within 30 ms, and so do
/// later ones; within 200 ms where a server does not answer, whose connection is given up. Any number
/// of calls may share one. It must not be freed while a call uses it.
pub struct fes_cancel_token(CancelToken);

/// The wait of a call with these arguments.
pub(super) unsafe fn wait<'a>(timeout_ms: u32, cancel: *const fes_cancel_token) -> Wait<'a> {
    let (timeout, cancel) = unsafe { limits(timeout_ms, cancel) };
    Wait::new(timeout, cancel)
}

/// A limit of time, and what ends a wait before.
pub(super) unsafe fn limits<'a>(
    timeout_ms: u32,
    cancel: *const fes_cancel_token,
) -> (Duration, Option<&'a CancelToken>) {
    let timeout = match timeout_ms {
        FES_FOREVER => Duration::MAX,
        time => Duration::from_millis(u64::from(time)),
    };
    (timeout, unsafe { cancel.as_ref() }.map(|cancel| &cancel.0))
}

/// Makes a token.
///
/// @return the token, to be freed with `fes_cancel_token_free`; NULL only after a defect
#[unsafe(no_mangle)]
pub extern "C" fn fes_cancel_token_new() -> *mut fes_cancel_token {
    guard_or(std::ptr::null_mut(), || Box::into_raw(Box::new(fes_cancel_token(CancelToken::new()))))
}

/// Cancels what waits with this token, for good. May be called from any thread, from a callback and
/// from a signal handler.
///
/// @param cancel NULL, or the token
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_cancel_token_cancel(cancel: *const fes_cancel_token) {
    if let Some(cancel) = unsafe { cancel.as_ref() } {
        cancel.0.cancel();
    }
}

/// Whether the token was cancelled. May be called from a signal handler.
///
/// @param cancel NULL, or the token
/// @return whether it was; false for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_cancel_token_is_cancelled(cancel: *const fes_cancel_token) -> bool {
    unsafe { cancel.as_ref() }.is_some_and(|cancel| cancel.0.is_cancelled())
}

/// Frees a token that no call uses any more.
///
/// @param cancel NULL, or the token
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_cancel_token_free(cancel: *mut fes_cancel_token) {
    unsafe { free(cancel) };
}
