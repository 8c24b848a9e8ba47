//! Panics are caught at the boundary and become errors of the call: they write nothing to the standard
//! error, which is the program's.

use super::cancellation::NotCancelled;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::thread;

thread_local! {
    /// How many entries of the C interface this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// This thread is in an entry, until dropped.
struct Entry {
    _not_cancelled: NotCancelled,
}

impl Entry {
    fn begin() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Entry { _not_cancelled: NotCancelled::begin() }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Catches a panic of `body`, whose message goes to the log.
pub(super) fn caught<T>(body: impl FnOnce() -> T) -> thread::Result<T> {
    static HOOK: Once = Once::new();
    if !thread::panicking() {
        HOOK.call_once(put_before_the_hook);
    }
    let _entry = Entry::begin();
    catch_unwind(AssertUnwindSafe(body))
}

/// In the shared and in the static library the hook is ours alone. In a Rust program that calls the C
/// interface it is the program's, and goes on to get every panic that is not caught here.
fn put_before_the_hook() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match is_caught_by_us() {
        true => log::error!("futoin-eventstream: {panic}"),
        false => before(panic),
    }));
}

/// The threads of the library catch what their steps panic with, and report it.
fn is_caught_by_us() -> bool {
    DEPTH.try_with(Cell::get).is_ok_and(|depth| depth > 0)
        || thread::current().name().is_some_and(|name| name.starts_with("fes-"))
}
