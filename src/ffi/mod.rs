//! The C boundary: `include/futoin_eventstream.h` is made from the files of this folder, which only
//! translate. Here is what they share: the guard around every entry, and the ways in and out.
//!
//! This is the only place with `unsafe`, all of it of these kinds: a pointer of the caller is read
//! (after a check for NULL), a place of the caller is written, a handle becomes a `Box` again.
#![allow(unsafe_code, non_camel_case_types)]
// The caller's obligations are documented in the header, which is made from the same comments.
#![allow(clippy::missing_safety_doc, clippy::too_many_arguments)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod app;
mod archiver;
mod cancel;
mod cancellation;
mod checks;
mod consumer;
mod database;
mod discarder;
mod error;
mod events;
mod log;
mod notice;
mod options;
mod panics;
mod receiver;
mod stack;
mod statement;
mod stream;
mod subscription;
mod text;
mod transaction;
mod user;
mod value;
mod warehouse;

pub use app::*;
pub use archiver::*;
pub use cancel::*;
pub use checks::*;
pub use consumer::*;
pub use database::*;
pub use discarder::*;
pub use error::*;
pub use events::*;
pub use log::*;
pub use notice::*;
pub use options::*;
pub use receiver::*;
pub use statement::*;
pub use stream::*;
pub use subscription::*;
pub use text::*;
pub use transaction::*;
pub use user::*;
pub use value::*;
pub use warehouse::*;

use crate::model::error::{Error, ErrorKind};
use crate::model::ident::Want;
use std::ffi::{CStr, c_char};

use std::thread;

/// Asserts where the fields of a structure are, in order, on machines of 64 bits; `tests/c` asserts
/// the same of the header.
macro_rules! layout {
    ($name:ident, $size:literal, $($field:ident: $offset:literal),+) => {
        #[cfg(target_pointer_width = "64")]
        const _: () = assert!(
            size_of::<$name>() == $size
                && align_of::<$name>() == 8
                $(&& std::mem::offset_of!($name, $field) == $offset)+
        );
    };
}
use layout;

/// What the body of an entry gives.
type Done<T = ()> = Result<T, Box<fes_error>>;

/// Runs the body of an entry. Nothing unwinds into C: a panic becomes `FES_PANIC`.
fn guard(err: *mut *mut fes_error, body: impl FnOnce() -> Done) -> fes_status {
    let err = unsafe { Out::optional(err, std::ptr::null_mut()) };
    let result = match log::is_inside() {
        true => Err(refuse("on_log must call no function of the library that can fail")),
        false => stack::check().and_then(|()| {
            caught(body).unwrap_or_else(|panic| Err(fes_error::from_panic(&*panic)))
        }),
    };
    match result {
        Ok(()) => fes_status::FES_OK,
        Err(error) => {
            let code = error.code;
            if err.is_wanted() {
                err.set(Box::into_raw(error));
            }
            code
        }
    }
}

/// As [`guard`], for an entry that cannot fail: a panic gives `otherwise`.
fn guard_or<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    caught(body).unwrap_or(otherwise)
}

/// Runs the body of an entry and catches its panic; on another thread if this one has too little stack
/// left, or has come so far with its end that what the driver of PostgreSQL keeps for each thread is gone,
/// as it is in a handler of `atexit` and in the destructor of a static object.
fn caught<T>(body: impl FnOnce() -> T) -> thread::Result<T> {
    match stack::check().is_err() || crate::backend::thread_is_ending() {
        false => panics::caught(body),
        true => beside(Lent(body)),
    }
}

/// What is used by another thread while its owner waits.
struct Lent<T>(T);

unsafe impl<T> Send for Lent<T> {}

impl<T> Lent<T> {
    fn take(self) -> T {
        self.0
    }
}

/// Without a thread nothing is done: a handle stays open then, until the process is gone.
fn beside<T, F: FnOnce() -> T>(body: Lent<F>) -> thread::Result<T> {
    let _not_cancelled = cancellation::NotCancelled::begin();
    thread::scope(|scope| {
        let run = move || panics::caught(|| Lent(body.take()()));
        match thread::Builder::new().name("fes-exit".to_owned()).spawn_scoped(scope, run) {
            Ok(running) => running.join().flatten().map(Lent::take),
            Err(why) => {
                let message = format!("no thread for a call at the end of this one: {why}");
                Err(Box::new(message) as Box<dyn std::any::Any + Send>)
            }
        }
    })
}

/// An argument makes no sense.
fn refuse(message: impl Into<String>) -> Box<fes_error> {
    Error::new(ErrorKind::InvalidArgument, message).into()
}

/// A place of the caller for a result: empty until the call succeeds.
struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Empties the place; NULL is refused.
    unsafe fn required(place: *mut T, empty: T, name: &str) -> Done<Self> {
        if place.is_null() {
            return Err(refuse(format!("{name} is NULL")));
        }
        Ok(unsafe { Self::optional(place, empty) })
    }

    /// Empties the place; NULL means that nobody wants to know.
    unsafe fn optional(place: *mut T, empty: T) -> Self {
        if !place.is_null() {
            unsafe { place.write(empty) };
        }
        Out(place)
    }

    fn is_wanted(&self) -> bool {
        !self.0.is_null()
    }

    fn set(self, value: T) {
        if self.is_wanted() {
            unsafe { self.0.write(value) };
        }
    }
}

impl<T> Out<*mut T> {
    /// A place for a handle, which is the caller's from then on.
    unsafe fn handle(place: *mut *mut T) -> Done<Self> {
        unsafe { Self::required(place, std::ptr::null_mut(), "out") }
    }

    /// Gives what is nothing but memory, to be freed by [`free`].
    fn give(self, value: T) {
        self.set(Box::into_raw(Box::new(value)));
    }

    /// Gives what has connections or threads behind it, to be closed by [`close`].
    fn open(self, value: T) {
        let held = Held { value, process: std::process::id() };
        self.set(Box::into_raw(Box::new(held)).cast());
    }
}

/// What stands at a handle with connections or threads behind it. The value is at its beginning, so
/// that a pointer to this is one to the value.
#[repr(C)]
struct Held<T> {
    value: T,
    /// The process that opened it.
    process: u32,
}

/// Takes back a handle that [`Out::open`] gave: runs `end`, and drops it. In a child of fork nothing is
/// done: the threads to wait for are not there, and the connections belong to the parent.
unsafe fn close<T>(handle: *mut T, end: impl FnOnce(&T)) {
    if !unsafe { is_own(handle) } {
        return;
    }
    guard_or((), || {
        let held = unsafe { Box::from_raw(handle.cast::<Held<T>>()) };
        end(&held.value);
    });
}

/// As [`close`], but the handle stays the caller's.
unsafe fn shut_down<T>(handle: *const T, end: impl FnOnce(&T)) {
    if unsafe { is_own(handle) } {
        guard_or((), || end(unsafe { &*handle }));
    }
}

/// Whether there is a handle, and this process opened it.
unsafe fn is_own<T>(handle: *const T) -> bool {
    let held = unsafe { handle.cast::<Held<T>>().as_ref() };
    held.is_some_and(|held| held.process == std::process::id())
}

/// Borrows a handle for the time of a call.
unsafe fn borrow<'a, T>(handle: *const T, name: &str) -> Done<&'a T> {
    unsafe { handle.as_ref() }.ok_or_else(|| refuse(format!("{name} is NULL")))
}

/// Takes back from the caller what [`Out::give`] gave, and drops it.
unsafe fn free<T>(handle: *mut T) {
    guard_or((), || {
        if !handle.is_null() {
            drop(unsafe { Box::from_raw(handle) });
        }
    });
}

/// A NUL-terminated text of the caller.
unsafe fn text<'a>(start: *const c_char, name: &str) -> Done<&'a str> {
    if start.is_null() {
        return Err(refuse(format!("{name} is NULL")));
    }
    utf8(unsafe { CStr::from_ptr(start) }.to_bytes(), name)
}

/// A text of the caller with its length.
unsafe fn text_of<'a>(start: *const c_char, len: usize, name: &str) -> Done<&'a str> {
    utf8(unsafe { array(start.cast::<u8>(), len, name) }?, name)
}

fn utf8<'a>(bytes: &'a [u8], name: &str) -> Done<&'a str> {
    std::str::from_utf8(bytes).map_err(|why| refuse(format!("{name} is not UTF-8: {why}")))
}

/// A copy of the JSON text of the caller; none is `null`.
unsafe fn json(data: *const c_char, len: usize) -> Done<String> {
    match data.is_null() && len == 0 {
        true => Ok("null".to_owned()),
        false => copied(unsafe { text_of(data, len, "data") }?),
    }
}

/// A copy of a text that may be long. Where the system gives no memory for that, the call fails.
fn copied(text: &str) -> Done<String> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len()).map_err(no_memory)?;
    copy.push_str(text);
    Ok(copy)
}

fn no_memory(why: std::collections::TryReserveError) -> Error {
    Error::new(ErrorKind::OutOfResources, format!("the process has no memory for this: {why}"))
}

/// An array of the caller. Empty, it may be NULL.
unsafe fn array<'a, T>(start: *const T, count: usize, name: &str) -> Done<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if start.is_null() {
        return Err(refuse(format!("{name} is NULL, but {count} long")));
    }
    if !start.is_aligned() || count.checked_mul(size_of::<T>()).is_none_or(|n| n > MAX_ARRAY) {
        return Err(refuse(format!("{name} cannot be an array of {count}")));
    }
    Ok(unsafe { std::slice::from_raw_parts(start, count) })
}

/// No array of a caller has more bytes than this.
const MAX_ARRAY: usize = isize::MAX as usize;

/// The event types that a consumer wants; none means all.
unsafe fn want(types: *const *const c_char, count: usize) -> Done<Want> {
    if count == 0 {
        return Ok(Want::all());
    }
    if count > 1000 {
        return Err(refuse(format!("want has {count} types, not at most 1000")));
    }
    let types = unsafe { array(types, count, "want") }?
        .iter()
        .map(|name| unsafe { text(*name, "a type of want") })
        .collect::<Done<Vec<&str>>>()?;
    Ok(Want::types(&types)?)
}
