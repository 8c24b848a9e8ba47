//! SIGINT and SIGTERM ask for an orderly end; the second one ends the process at once.

use crate::failure::{Failure, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a waiting thread looks for a signal.
pub const SLICE: Duration = Duration::from_millis(50);

/// Whether a signal has come.
#[derive(Clone)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Watches for signals from now on.
    pub fn on_signals() -> Result<Stop> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset, and sets it.
            flag::register_conditional_shutdown(signal, 130, stop.clone())
                .and_then(|_| flag::register(signal, stop.clone()))
                .map_err(|why| Failure::Other(format!("cannot watch for signals: {why}")))?;
        }
        Ok(Stop(stop))
    }

    /// Asked by SIGHUP, which ends nothing from now on, to tell how it is.
    pub fn on_hangup() -> Result<Arc<AtomicBool>> {
        let asked = Arc::new(AtomicBool::new(false));
        flag::register(SIGHUP, asked.clone())
            .map_err(|why| Failure::Other(format!("cannot watch for signals: {why}")))?;
        Ok(asked)
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails once a signal has come.
    pub fn check(&self) -> Result {
        if self.is_set() { Err(Failure::Interrupted) } else { Ok(()) }
    }

    /// Waits for this time, or until a signal comes.
    pub fn wait(&self, time: Duration) {
        let end = Instant::now() + time;
        while !self.is_set() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(SLICE));
        }
    }
}
