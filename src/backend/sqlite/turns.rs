//! Writers of this process take turns: SQLite's own waiting is by sleeping, and unfair.

use crate::error::{Result, fail};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The turns of one stream handle.
#[derive(Default)]
pub(super) struct Turns {
    taken: Mutex<bool>,
    free: Condvar,
}

/// The right to write, until dropped.
pub(super) struct Turn(Arc<Turns>);

impl Turns {
    /// Waits for the turn until the time is over, `patience` after the call began.
    pub fn take(self: &Arc<Self>, until: Instant, patience: Duration) -> Result<Turn> {
        let mut taken = lock(&self.taken);
        while *taken {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                fail!(
                    Busy,
                    "another transaction of this process has been writing for {} ms: end it \
                     first, or raise the option busy_timeout_ms",
                    patience.as_millis()
                );
            }
            taken = self.free.wait_timeout(taken, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *taken = true;
        Ok(Turn(self.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *lock(&self.0.taken) = false;
        self.0.free.notify_one();
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
