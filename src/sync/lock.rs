//! Locking without a word about panics: the data behind every lock of this crate is valid at each
//! step, so a thread that panicked leaves nothing half done.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a panic of a thread that held the lock.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
