//! `fes_app`.

use super::cancel::{fes_cancel_token, wait};
use super::notice::{Teller, fes_on_notice};
use super::options::options;
use super::user::{UserData, fes_on_destroy};
use super::{
    Out, borrow, close, fes_error, fes_options, fes_status, fes_stream, fes_warehouse, guard,
    refuse, text,
};
use crate::app::ServiceApp;
use crate::backend::nobody_shares_our_sqlite;
use std::ffi::{c_char, c_void};
use std::time::Duration;

/// Stream, archiver and discarder from one configuration. Any number of threads may use one at once.
/// Close it with `fes_app_close`.
pub struct fes_app(ServiceApp);

/// Opens a stream and, where one is wanted, a warehouse. The archiver is there with a warehouse,
/// unless `enable_archiver` is false; the discarder with `enable_discarder`. Starts nothing.
///
/// @param url where the stream is: see `fes_stream_open`
/// @param warehouse_url NULL, or where the warehouse is
/// @param options NULL, or options of both; those in a URL win over them
/// @param out gets the app, to be closed with `fes_app_close`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: those of `fes_stream_open`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_app_open(
    url: *const c_char,
    warehouse_url: *const c_char,
    options: *const fes_options,
    out: *mut *mut fes_app,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        let url = text(url, "url")?;
        let warehouse = match warehouse_url.is_null() {
            true => None,
            false => Some(text(warehouse_url, "warehouse_url")?),
        };
        nobody_shares_our_sqlite();
        out.open(fes_app(ServiceApp::open(url, warehouse, &self::options(options))?));
        Ok(())
    })
}

/// Opens both of the environment, the warehouse if `DB_EVTDWH_TYPE` is set: see
/// `fes_stream_from_env`.
///
/// @param options NULL, or options of both
/// @param out gets the app, to be closed with `fes_app_close`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: those of `fes_stream_open`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_app_from_env(
    options: *const fes_options,
    out: *mut *mut fes_app,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        nobody_shares_our_sqlite();
        out.open(fes_app(ServiceApp::from_env(&self::options(options))?));
        Ok(())
    })
}

/// Gives another handle of the app's stream. Its `fes_stream_close` closes the stream for the app,
/// too: close it after the app, or when the app is not needed any more.
///
/// @param app the app
/// @param out gets the stream, to be closed with `fes_stream_close`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_app_stream(
    app: *const fes_app,
    out: *mut *mut fes_stream,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        out.open(fes_stream(borrow(app, "app")?.0.stream().clone()));
        Ok(())
    })
}

/// As `fes_app_stream`, for the warehouse.
///
/// @param app the app
/// @param out gets the warehouse, to be closed with `fes_warehouse_close`
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`, also if the app has no warehouse
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_app_warehouse(
    app: *const fes_app,
    out: *mut *mut fes_warehouse,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let out = Out::handle(out)?;
        let warehouse = borrow(app, "app")?.0.warehouse();
        let warehouse =
            warehouse.ok_or_else(|| refuse("the app was opened without a warehouse"))?;
        out.open(fes_warehouse(warehouse.clone()));
        Ok(())
    })
}

/// Makes the tables of the stream and of the warehouse, or brings them up to date.
///
/// @param app the app
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: those of `fes_stream_migrate`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_app_migrate(
    app: *const fes_app,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe { Ok(borrow(app, "app")?.0.migrate()?) })
}

/// Who is told how archiver and discarder fare, from their threads, which may call at once.
///
/// @param app the app
/// @param on_notice what is called with every notice
/// @param user_data what it is called with: the caller's, and usable from other threads until the
///   app is closed
/// @param on_destroy NULL, or what is called with `user_data` once nothing needs it any more
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_app_set_on_notice(
    app: *const fes_app,
    on_notice: fes_on_notice,
    user_data: *mut c_void,
    on_destroy: fes_on_destroy,
    err: *mut *mut fes_error,
) -> fes_status {
    let user = UserData::new(user_data, on_destroy);
    guard(err, || unsafe {
        let teller = Teller::new(on_notice, user)?;
        borrow(app, "app")?.0.on_notice(move |notice| teller.of_history(notice));
        Ok(())
    })
}

/// Starts archiver and discarder; does nothing to one that is started.
///
/// @param app the app
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_OUT_OF_RESOURCES` if the system gives no thread
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_app_start(
    app: *const fes_app,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe { Ok(borrow(app, "app")?.0.start()?) })
}

/// Stops the discarder after its statement, then the archiver after its batch, and returns after
/// the last notice. They may be started again. From inside a notice it only asks the thread of that
/// notice to end.
///
/// @param app the app
/// @param timeout_ms how many milliseconds to wait at most; 0 only asks, `FES_FOREVER` has no end
/// @param cancel NULL, or a token that ends the wait
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_TIMEOUT`, `FES_CANCELLED` if one of them is still at work: the
///   call may be repeated. `FES_INVALID_ARGUMENT` for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_app_stop_for(
    app: *const fes_app,
    timeout_ms: u32,
    cancel: *const fes_cancel_token,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let app = &borrow(app, "app")?.0;
        let wait = wait(timeout_ms, cancel);
        let discarder = app.discarder().map(|discarder| &discarder.runner);
        let both = [discarder, app.archiver().map(|archiver| &archiver.runner)];
        let runners = || both.into_iter().flatten();
        // Both are asked to end before the first one is waited for.
        runners().for_each(|runner| _ = runner.stop_within(Duration::ZERO));
        let ended = |time| runners().all(|runner| runner.stop_within(time));
        let cut = || runners().for_each(|runner| runner.cut());
        Ok(wait.for_end(ended, cut)?)
    })
}

/// Stops the discarder, then the archiver after the batch that it is at, closes stream and
/// warehouse, and frees the handle. Returns after the last notice. Not from inside a notice.
///
/// @param app NULL, or the app
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_app_close(app: *mut fes_app) {
    unsafe { close(app, |_| ()) };
}
