//! Writers of this process take turns: SQLite's own waiting is by sleeping, and unfair.

use crate::model::error::{Result, fail};
use crate::sync::lock::lock;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The turns of one stream handle.
#[derive(Default)]
pub(super) struct Turns {
    state: Mutex<State>,
    free: Condvar,
}

#[derive(Default)]
struct State {
    taken: bool,
    waiting: usize,
}

/// The right to write, until dropped.
pub(super) struct Turn(Arc<Turns>);

impl Turns {
    /// Waits for the turn until the time is over, `patience` after the call began.
    pub fn take(self: &Arc<Self>, until: Instant, patience: Duration) -> Result<Turn> {
        let mut state = lock(&self.state);
        while state.taken {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                fail!(
                    Busy,
                    "another transaction of this process has been writing for {} ms: end it \
                     first, or raise the option busy_timeout_ms",
                    patience.as_millis()
                );
            }
            state.waiting += 1;
            state = self.free.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
        state.taken = true;
        Ok(Turn(self.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.taken = false;
        let somebody_waits = state.waiting > 0;
        drop(state);
        if somebody_waits {
            self.0.free.notify_one();
        }
    }
}
