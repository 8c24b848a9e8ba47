//! `fes_discarder`.

use super::cancel::{fes_cancel_token, limits, wait};
use super::notice::{Teller, fes_on_notice};
use super::options::options;
use super::user::{UserData, fes_on_destroy};
use super::{Out, borrow, close, fes_error, fes_options, fes_status, fes_stream, guard};
use crate::history::Discarder;
use std::ffi::c_void;

/// Deletes from the event table what every registered consumer has acknowledged; nothing, while
/// nobody is registered. Any number of them may run, and any number of threads may use the handle at
/// once. Close it with `fes_discarder_close`.
pub struct fes_discarder(Discarder);

/// Makes a discarder, which does nothing yet.
///
/// @param stream the stream
/// @param options NULL, or options, of which `limit_at_once`, `poll_period_ms`, `require_archiver`
///   and `expire_after_s` matter
/// @param out gets the discarder, to be closed with `fes_discarder_close`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_discarder_open(
    stream: *const fes_stream,
    options: *const fes_options,
    out: *mut *mut fes_discarder,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        let stream = borrow(stream, "stream")?;
        out.open(fes_discarder(Discarder::new(&stream.0, &self::options(options))?));
        Ok(())
    })
}

/// Sets the notice callback, replacing any previous one.
///
/// @param discarder the discarder
/// @param on_notice what is called with every notice
/// @param user_data what it is called with: the caller's, and usable from another thread until the
///   discarder is closed
/// @param on_destroy NULL, or what is called with `user_data` once nothing needs it any more
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_discarder_set_on_notice(
    discarder: *const fes_discarder,
    on_notice: fes_on_notice,
    user_data: *mut c_void,
    on_destroy: fes_on_destroy,
    err: *mut *mut fes_error,
) -> fes_status {
    let user = UserData::new(user_data, on_destroy);
    guard(err, || unsafe {
        let teller = Teller::new(on_notice, user)?;
        borrow(discarder, "discarder")?.0.on_notice(move |notice| teller.of_history(notice));
        Ok(())
    })
}

/// Starts the discarder's thread; does nothing if it is started. What fails there comes as a notice.
///
/// @param discarder the discarder
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_OUT_OF_RESOURCES` if the system gives no thread
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_discarder_start(
    discarder: *const fes_discarder,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe { Ok(borrow(discarder, "discarder")?.0.start()?) })
}

/// Ends the thread after the statement that it is at, and returns after the last notice. From
/// inside a notice it only asks the thread to end. May be called twice.
///
/// @param discarder the discarder
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT` for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_discarder_stop(
    discarder: *const fes_discarder,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        borrow(discarder, "discarder")?.0.stop();
        Ok(())
    })
}

/// As `fes_discarder_stop`, but waits no longer than it is told.
///
/// @param discarder the discarder
/// @param timeout_ms how many milliseconds to wait at most; 0 only asks it to end, `FES_FOREVER`
///   has no end
/// @param cancel NULL, or a token that ends the wait
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_TIMEOUT`, `FES_CANCELLED` if it is still at work: it was asked to
///   end, and the call may be repeated. `FES_INVALID_ARGUMENT` for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_discarder_stop_for(
    discarder: *const fes_discarder,
    timeout_ms: u32,
    cancel: *const fes_cancel_token,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let discarder = &borrow(discarder, "discarder")?.0;
        Ok(discarder.runner.stop_while(&wait(timeout_ms, cancel))?)
    })
}

/// Whether the thread runs.
///
/// @param discarder NULL, or the discarder
/// @return whether it does; false for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_discarder_is_running(discarder: *const fes_discarder) -> bool {
    super::guard_or(false, || {
        unsafe { discarder.as_ref() }.is_some_and(|discarder| discarder.0.is_running())
    })
}

/// Discards, on this thread, all that may be discarded now.
///
/// @param discarder the discarder
/// @param count NULL, or gets how many events that were
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_NOT_MIGRATED`, `FES_PERMISSION_DENIED`, those of the database
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_discarder_run_once(
    discarder: *const fes_discarder,
    count: *mut u64,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let count = Out::optional(count, 0);
        count.set(borrow(discarder, "discarder")?.0.run_once()?);
        Ok(())
    })
}

/// As `fes_discarder_run_once`, but begins no statement when its time is over.
///
/// @param discarder the discarder
/// @param timeout_ms after how many milliseconds to end; `FES_FOREVER` has no end
/// @param cancel NULL, or a token that ends it
/// @param count NULL, or gets how many events were discarded
/// @param complete NULL, or gets whether all was discarded
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: those of `fes_discarder_run_once`; `FES_CANCELLED`, and what was
///   discarded before stays so
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_discarder_run_for(
    discarder: *const fes_discarder,
    timeout_ms: u32,
    cancel: *const fes_cancel_token,
    count: *mut u64,
    complete: *mut bool,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let (count, complete) = (Out::optional(count, 0), Out::optional(complete, false));
        let discarder = &borrow(discarder, "discarder")?.0;
        let (timeout, cancel) = limits(timeout_ms, cancel);
        let (number, all) = discarder.run_for(timeout, cancel)?;
        count.set(number);
        complete.set(all);
        Ok(())
    })
}

/// Stops as `fes_discarder_stop`, and frees the handle. Not from inside its notice.
///
/// @param discarder NULL, or the discarder
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_discarder_close(discarder: *mut fes_discarder) {
    unsafe { close(discarder, |_| ()) };
}
