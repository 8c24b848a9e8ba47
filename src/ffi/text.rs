//! `fes_text`, and the versions.

use super::{Out, free};
use std::ffi::c_char;

/// The version of what this header declares. Raised when functions are added. Not comparable
/// between SONAMEs.
pub const FES_ABI_VERSION: u32 = 1;

/// What is built into the library: see `fes_features`. Later versions may have further ones.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum fes_feature {
    /// Streams and warehouses in SQLite.
    FES_FEATURE_SQLITE = 1,
    /// Streams and warehouses in PostgreSQL.
    FES_FEATURE_POSTGRES = 2,
    /// Streams and warehouses in MySQL and MariaDB.
    FES_FEATURE_MYSQL = 4,
    /// TLS to servers. Without it every URL that asks for TLS is refused.
    FES_FEATURE_TLS = 8,
}

/// A text that a call made, for example JSON. It does not change.
pub struct fes_text(Vec<u8>);

impl fes_text {
    pub(super) fn new(text: String) -> Self {
        fes_text(terminated(text))
    }
}

/// The bytes with a NUL behind them.
pub(super) fn terminated(text: impl Into<Vec<u8>>) -> Vec<u8> {
    let mut bytes = text.into();
    bytes.push(0);
    bytes
}

/// The start of a [`terminated`] text, and its length if that is wanted.
pub(super) unsafe fn give_text(bytes: Option<&[u8]>, len: *mut usize) -> *const c_char {
    let len = unsafe { Out::optional(len, 0) };
    let Some(bytes) = bytes else { return std::ptr::null() };
    len.set(bytes.len().saturating_sub(1));
    bytes.as_ptr().cast()
}

/// The bytes of a text.
///
/// @param text NULL, or the text, to which the bytes belong
/// @param len NULL, or gets the length in bytes without the NUL
/// @return UTF-8 text, ended by a NUL; NULL for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_text_data(text: *const fes_text, len: *mut usize) -> *const c_char {
    unsafe { give_text(text.as_ref().map(|text| text.0.as_slice()), len) }
}

/// Frees a text.
///
/// @param text NULL, or the text
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_text_free(text: *mut fes_text) {
    unsafe { free(text) };
}

/// The version of the library at run time: compare it with `FES_VERSION`.
///
/// @return a constant text, for example `0.1.0`
#[unsafe(no_mangle)]
pub extern "C" fn fes_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The ABI version of the library at run time.
///
/// @return a number that must not be less than the `FES_ABI_VERSION` that a program was compiled
///   with
#[unsafe(no_mangle)]
pub extern "C" fn fes_abi_version() -> u32 {
    FES_ABI_VERSION
}

/// What is built into the library.
///
/// @return the sum of its `fes_feature`s
#[unsafe(no_mangle)]
pub extern "C" fn fes_features() -> u32 {
    use fes_feature::*;
    let features = [
        (cfg!(feature = "sqlite"), FES_FEATURE_SQLITE),
        (cfg!(feature = "postgres"), FES_FEATURE_POSTGRES),
        (cfg!(feature = "mysql"), FES_FEATURE_MYSQL),
        (cfg!(feature = "tls"), FES_FEATURE_TLS),
    ];
    features.into_iter().filter(|(built, _)| *built).map(|(_, feature)| feature as u32).sum()
}
