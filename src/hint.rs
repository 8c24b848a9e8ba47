//! Hints that something was added: they make readers of this process prompt. A lost one costs
//! nothing, because readers look by themselves from time to time.

use crate::worker::Signal;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Rings the readers of one database, whichever handle of this process they belong to.
#[derive(Default)]
pub(crate) struct Hint {
    bells: Mutex<HashMap<u64, Signal>>,
    anybody: AtomicBool,
}

/// A reader's wish to be woken, until dropped.
pub(crate) struct Listening {
    hint: Arc<Hint>,
    key: u64,
}

impl Hint {
    /// The hint of the database of this name, shared by all who ask for it.
    pub fn of(name: &str) -> Arc<Hint> {
        static ALL: Mutex<Option<HashMap<String, Weak<Hint>>>> = Mutex::new(None);
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let all = all.get_or_insert_default();
        all.retain(|_, hint| hint.strong_count() > 0);
        if let Some(hint) = all.get(name).and_then(Weak::upgrade) {
            return hint;
        }
        let hint = Arc::new(Hint::default());
        all.insert(name.to_owned(), Arc::downgrade(&hint));
        hint
    }

    /// Says that an event was committed. Costs one load when nobody listens.
    pub fn ring(&self) {
        if self.anybody.load(Ordering::Acquire) {
            self.bells
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .values()
                .for_each(Signal::wake);
        }
    }

    /// Wakes `signal` from now on.
    pub fn listen(self: &Arc<Self>, signal: Signal) -> Listening {
        static KEYS: AtomicU64 = AtomicU64::new(0);
        let key = KEYS.fetch_add(1, Ordering::Relaxed);
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.insert(key, signal);
        self.anybody.store(true, Ordering::Release);
        Listening { hint: self.clone(), key }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut bells = self.hint.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.remove(&self.key);
        self.hint.anybody.store(!bells.is_empty(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn handles_of_one_database_share_a_hint() {
        let (a, b, other) = (Hint::of("db"), Hint::of("db"), Hint::of("other"));
        let signal = Signal::default();
        let listening = a.listen(signal.clone());
        other.ring();
        assert!(!signal.sleep(Duration::from_millis(1)));
        b.ring();
        assert!(signal.sleep(Duration::from_secs(60)));
        drop(listening);
        b.ring();
        assert!(!signal.sleep(Duration::from_millis(1)));
    }
}
