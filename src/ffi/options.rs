//! `fes_options`.

use super::{Done, borrow, fes_error, fes_status, free, guard, guard_or, text};
use crate::config::Options;
use crate::sync::lock::lock;
use std::ffi::c_char;
use std::sync::Mutex;

/// Options that differ from their defaults. Every call that takes one copies it, so it may be
/// freed, or changed for the next call, at once. `docs/options.md` lists the options.
pub struct fes_options(Mutex<Options>);

/// The options of a caller; NULL means all defaults.
pub(super) unsafe fn options(options: *const fes_options) -> Options {
    unsafe { options.as_ref() }.map_or_else(Options::new, |options| lock(&options.0).clone())
}

/// Makes options with all defaults.
///
/// @return the options, to be freed with `fes_options_free`; NULL only after a defect
#[unsafe(no_mangle)]
pub extern "C" fn fes_options_new() -> *mut fes_options {
    guard_or(std::ptr::null_mut(), || {
        Box::into_raw(Box::new(fes_options(Mutex::new(Options::new()))))
    })
}

/// Sets an option.
///
/// @param options the options
/// @param key the name of the option, ended by a NUL; it is copied
/// @param value its value as text, ended by a NUL; it is copied
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_INVALID_OPTION` for an unknown key (the message lists all) or a
///   value that makes no sense; `FES_INVALID_ARGUMENT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_options_set(
    options: *mut fes_options,
    key: *const c_char,
    value: *const c_char,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        let mut options = lock(&borrow(options, "options")?.0);
        let changed = options.clone().set(text(key, "key")?, text(value, "value")?)?;
        *options = changed;
        Ok(()) as Done
    })
}

/// Frees options.
///
/// @param options NULL, or the options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_options_free(options: *mut fes_options) {
    unsafe { free(options) };
}
