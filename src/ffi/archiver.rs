//! `fes_archiver`.

use super::cancel::{fes_cancel_token, limits, wait};
use super::notice::{Teller, fes_on_notice};
use super::options::options;
use super::user::{UserData, fes_on_destroy};
use super::{
    Out, borrow, close, fes_error, fes_options, fes_status, fes_stream, fes_warehouse, guard,
};
use crate::history::Archiver;
use std::ffi::c_void;

/// Copies every event of a stream to the history of a warehouse, exactly once: the consumer
/// `-internal:ARCHIVER`. One works for each stream; another one waits, and takes over. Any number of
/// threads may use the handle at once. Close it with `fes_archiver_close`.
pub struct fes_archiver(Archiver);

/// Makes an archiver, which does nothing yet.
///
/// @param stream the stream
/// @param warehouse the warehouse that gets its history
/// @param options NULL, or options, of which `archive_batch` matters
/// @param out gets the archiver, to be closed with `fes_archiver_close`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_archiver_open(
    stream: *const fes_stream,
    warehouse: *const fes_warehouse,
    options: *const fes_options,
    out: *mut *mut fes_archiver,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        let (stream, warehouse) = (borrow(stream, "stream")?, borrow(warehouse, "warehouse")?);
        out.open(fes_archiver(Archiver::new(&stream.0, &warehouse.0, &self::options(options))?));
        Ok(())
    })
}

/// Sets the notice callback, replacing any previous one.
///
/// @param archiver the archiver
/// @param on_notice what is called with every notice
/// @param user_data what it is called with: the caller's, and usable from another thread until the
///   archiver is closed
/// @param on_destroy NULL, or what is called with `user_data` once nothing needs it any more
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_archiver_set_on_notice(
    archiver: *const fes_archiver,
    on_notice: fes_on_notice,
    user_data: *mut c_void,
    on_destroy: fes_on_destroy,
    err: *mut *mut fes_error,
) -> fes_status {
    let user = UserData::new(user_data, on_destroy);
    guard(err, || unsafe {
        let teller = Teller::new(on_notice, user)?;
        borrow(archiver, "archiver")?.0.on_notice(move |notice| teller.of_history(notice));
        Ok(())
    })
}

/// Starts the archiver's thread; does nothing if it is started. What fails there comes as a notice.
///
/// @param archiver the archiver
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_OUT_OF_RESOURCES` if the system gives no thread
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_archiver_start(
    archiver: *const fes_archiver,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe { Ok(borrow(archiver, "archiver")?.0.start()?) })
}

/// Ends the thread after the batch that it is at, and returns after the last notice. From inside a
/// notice it only asks the thread to end. May be called twice.
///
/// @param archiver the archiver
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT` for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_archiver_stop(
    archiver: *const fes_archiver,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        borrow(archiver, "archiver")?.0.stop();
        Ok(())
    })
}

/// As `fes_archiver_stop`, but waits no longer than it is told.
///
/// @param archiver the archiver
/// @param timeout_ms how many milliseconds to wait at most; 0 only asks it to end, `FES_FOREVER`
///   has no end
/// @param cancel NULL, or a token that ends the wait
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_TIMEOUT`, `FES_CANCELLED` if it is still at work: it was asked to
///   end, and the call may be repeated. `FES_INVALID_ARGUMENT` for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_archiver_stop_for(
    archiver: *const fes_archiver,
    timeout_ms: u32,
    cancel: *const fes_cancel_token,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let archiver = &borrow(archiver, "archiver")?.0;
        Ok(archiver.runner.stop_while(&wait(timeout_ms, cancel))?)
    })
}

/// Whether the thread runs.
///
/// @param archiver NULL, or the archiver
/// @return whether it does; false for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_archiver_is_running(archiver: *const fes_archiver) -> bool {
    super::guard_or(false, || {
        unsafe { archiver.as_ref() }.is_some_and(|archiver| archiver.0.is_running())
    })
}

/// Archives, on this thread, what is settled now.
///
/// @param archiver the archiver
/// @param count NULL, or gets how many events that were
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_OCCUPIED` if another archiver is at work; `FES_INVALID_ARGUMENT`
///   from inside a notice of this archiver; `FES_HISTORY_CONFLICT`, `FES_NOT_MIGRATED`, those of
///   both databases
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_archiver_run_once(
    archiver: *const fes_archiver,
    count: *mut u64,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let count = Out::optional(count, 0);
        count.set(borrow(archiver, "archiver")?.0.run_once()?);
        Ok(())
    })
}

/// As `fes_archiver_run_once`, but begins no batch when its time is over.
///
/// @param archiver the archiver
/// @param timeout_ms after how many milliseconds to end; `FES_FOREVER` has no end
/// @param cancel NULL, or a token that ends it
/// @param count NULL, or gets how many events were archived
/// @param complete NULL, or gets whether all was archived
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: those of `fes_archiver_run_once`; `FES_CANCELLED`, and what was
///   archived before stays so
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_archiver_run_for(
    archiver: *const fes_archiver,
    timeout_ms: u32,
    cancel: *const fes_cancel_token,
    count: *mut u64,
    complete: *mut bool,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let (count, complete) = (Out::optional(count, 0), Out::optional(complete, false));
        let archiver = &borrow(archiver, "archiver")?.0;
        let (timeout, cancel) = limits(timeout_ms, cancel);
        let (number, all) = archiver.run_for(timeout, cancel)?;
        count.set(number);
        complete.set(all);
        Ok(())
    })
}

/// Stops as `fes_archiver_stop`, and frees the handle. Not from inside its notice.
///
/// @param archiver NULL, or the archiver
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_archiver_close(archiver: *mut fes_archiver) {
    unsafe { close(archiver, |_| ()) };
}
