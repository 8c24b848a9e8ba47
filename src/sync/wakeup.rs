//! Wake-ups: hints that something was added. They make readers of this process prompt. A lost one costs
//! nothing, because readers look by themselves from time to time.

use crate::sync::lock::lock;
use crate::sync::worker::Signal;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Wakes the readers of one database, whichever handle of this process they belong to.
#[derive(Default)]
pub(crate) struct Wakeup {
    subscribers: Mutex<HashMap<u64, Signal>>,
    has_subscriber: AtomicBool,
}

/// A subscription to wake-ups, which ends when dropped.
pub(crate) struct WakeupSubscription {
    wakeup: Arc<Wakeup>,
    key: u64,
}

impl Wakeup {
    /// The wake-ups of the database of this name, shared by all who ask for it.
    pub fn of(name: &str) -> Arc<Wakeup> {
        static ALL: Mutex<Option<HashMap<String, Weak<Wakeup>>>> = Mutex::new(None);
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let all = all.get_or_insert_default();
        all.retain(|_, wakeup| wakeup.strong_count() > 0);
        if let Some(wakeup) = all.get(name).and_then(Weak::upgrade) {
            return wakeup;
        }
        let wakeup = Arc::new(Wakeup::default());
        all.insert(name.to_owned(), Arc::downgrade(&wakeup));
        wakeup
    }

    /// Says that an event was committed. Costs one load when there is no subscriber.
    pub fn notify(&self) {
        if self.has_subscriber.load(Ordering::Acquire) {
            lock(&self.subscribers).values().for_each(Signal::wake);
        }
    }

    /// Wakes `signal` from now on.
    pub fn subscribe(self: &Arc<Self>, signal: Signal) -> WakeupSubscription {
        static KEYS: AtomicU64 = AtomicU64::new(0);
        let key = KEYS.fetch_add(1, Ordering::Relaxed);
        let mut subscribers = lock(&self.subscribers);
        subscribers.insert(key, signal);
        self.has_subscriber.store(true, Ordering::Release);
        WakeupSubscription { wakeup: self.clone(), key }
    }
}

impl Drop for WakeupSubscription {
    fn drop(&mut self) {
        let mut subscribers = lock(&self.wakeup.subscribers);
        subscribers.remove(&self.key);
        self.wakeup.has_subscriber.store(!subscribers.is_empty(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn handles_of_one_database_share_a_hint() {
        let (a, b, other) = (Wakeup::of("db"), Wakeup::of("db"), Wakeup::of("other"));
        let signal = Signal::default();
        let subscription = a.subscribe(signal.clone());
        other.notify();
        assert!(!signal.sleep(Duration::from_millis(1)));
        b.notify();
        assert!(signal.sleep(Duration::from_secs(60)));
        drop(subscription);
        b.notify();
        assert!(!signal.sleep(Duration::from_millis(1)));
    }
}
