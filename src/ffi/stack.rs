//! Whether a thread of the caller has the stack that a call needs: with too little of it the process would
//! end.

use super::{Done, fes_error};
use crate::model::error::{Error, ErrorKind};
use std::cell::OnceCell;
use std::ops::Range;

/// The least that must be left of a stack, in bytes; `tests/c/stacks.c` measures what calls use. Code that
/// is not optimized uses more.
const LEAST: usize = if cfg!(debug_assertions) { 256 << 10 } else { 48 << 10 };

thread_local! {
    /// The addresses of this thread's stack; empty if they are not known.
    static STACK: OnceCell<Range<usize>> = const { OnceCell::new() };
}

/// Fails if this thread has not enough stack left. On a stack that is not the thread's own, as that of a
/// coroutine, nothing is known, and nothing fails.
pub(super) fn check() -> Done {
    let marker = 0_u8;
    let here = std::ptr::from_ref(&marker).addr();
    let left = STACK.try_with(|stack| {
        let stack = stack.get_or_init(of_this_thread);
        stack.contains(&here).then(|| here - stack.start)
    });
    match left {
        Ok(Some(left)) if left < LEAST => Err(too_small(left)),
        _ => Ok(()),
    }
}

#[cold]
fn too_small(left: usize) -> Box<fes_error> {
    let message = format!(
        "this thread has {} KiB of stack left, and a call needs {} KiB: make its stack larger \
         (pthread_attr_setstacksize), or call from another thread",
        left >> 10,
        LEAST >> 10
    );
    Error::new(ErrorKind::OutOfResources, message).into()
}

#[cfg(target_os = "linux")]
fn of_this_thread() -> Range<usize> {
    use nix::libc;
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut start, mut size) = (std::ptr::null_mut(), 0);
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return 0..0;
        }
        let result =
            libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut start, &raw mut size);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        if result != 0 {
            return 0..0;
        }
    }
    start.addr()..start.addr().saturating_add(size)
}

#[cfg(not(target_os = "linux"))]
fn of_this_thread() -> Range<usize> {
    0..0
}
