//! `fes_log_set`: where the library's log goes.

use super::error::c_text;
use super::user::{UserData, fes_on_destroy};
use super::{fes_error, fes_status, guard, refuse};
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::sync::{OnceLock, PoisonError, RwLock};

/// How bad it is.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum fes_log_level {
    /// Nothing at all.
    FES_LOG_OFF = 0,
    /// Something was given up.
    FES_LOG_ERROR = 1,
    /// Something failed and will be tried again.
    FES_LOG_WARN = 2,
    /// What an operator may want to know.
    FES_LOG_INFO = 3,
    /// What a developer may want to know, of TLS and the pool of connections, too.
    FES_LOG_DEBUG = 4,
    /// Everything of the library's own.
    FES_LOG_TRACE = 5,
}

/// Called with every message of the level that was asked for, from any thread, also from several at
/// once. No message of any level shows event data, parameters, statements or passwords; what the
/// database drivers say is left out, because it does. It must not block for long, and must close and
/// free nothing. Functions that return a `fes_status` give `FES_INVALID_ARGUMENT` there and do nothing;
/// those of tokens, statuses and errors may be called.
///
/// @param user the `user_data` of `fes_log_set`
/// @param level a `fes_log_level`
/// @param message the text, ended by a NUL; it ends with the call
pub type fes_on_log =
    Option<unsafe extern "C" fn(user: *mut c_void, level: u32, message: *const c_char)>;

struct Sink {
    call: unsafe extern "C" fn(*mut c_void, u32, *const c_char),
    user: UserData,
}

/// Who gets the log. Held for reading during a call of it.
static SINK: RwLock<Option<Sink>> = RwLock::new(None);
/// Whether the log of this process comes here.
static INSTALLED: OnceLock<bool> = OnceLock::new();

thread_local! {
    /// Whether this thread is inside of a sink.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside of `on_log`: a call from there could wait for what its caller holds.
pub(super) fn is_inside() -> bool {
    INSIDE.get()
}

struct Logger;

impl Log for Logger {
    /// Only who is known to say nothing of what is written and read: the driver of PostgreSQL shows
    /// statements with their parameters.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let name = metadata.target().split("::").next().unwrap_or_default();
        match name {
            "futoin_eventstream" => true,
            // On its way through TLS everything shows at the finest level.
            "r2d2" | "rustls" => metadata.level() <= Level::Debug,
            _ => false,
        }
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) || INSIDE.replace(true) {
            return;
        }
        if let Some(sink) = &*SINK.read().unwrap_or_else(PoisonError::into_inner) {
            let message = c_text(&record.args().to_string());
            unsafe { (sink.call)(sink.user.get(), record.level() as u32, message.as_ptr()) };
        }
        INSIDE.set(false);
    }

    fn flush(&self) {}
}

/// Sends the library's log to a callback, in place of where it went before; at first it goes
/// nowhere. One for the process. Returns after the last call of the one before.
///
/// @param on_log NULL for nowhere, or what is called with every message
/// @param user_data what it is called with: the caller's, and usable from every thread
/// @param on_destroy NULL, or what is called with `user_data` once nothing needs it any more
/// @param level a `fes_log_level`, up to which messages are wanted
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT` for a level that is none, or in a Rust program
///   that has a logger of its own
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_log_set(
    on_log: fes_on_log,
    user_data: *mut c_void,
    on_destroy: fes_on_destroy,
    level: u32,
    err: *mut *mut fes_error,
) -> fes_status {
    let user = UserData::new(user_data, on_destroy);
    guard(err, || {
        let filter = LevelFilter::iter()
            .nth(level as usize)
            .ok_or_else(|| refuse(format!("there is no fes_log_level {level}")))?;
        if !INSTALLED.get_or_init(|| log::set_logger(&Logger).is_ok()) {
            return Err(refuse("this program has a logger of its own"));
        }
        let filter = if on_log.is_some() { filter } else { LevelFilter::Off };
        let sink = on_log.map(|call| Sink { call, user });
        let before =
            std::mem::replace(&mut *SINK.write().unwrap_or_else(PoisonError::into_inner), sink);
        log::set_max_level(filter);
        drop(before);
        Ok(())
    })
}
