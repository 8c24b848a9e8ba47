//! Waiting at the end of the stream. Whoever waits for the next event asks the database no more than
//! whoever is pushed to: the thread that reads the end of the stream for all wakes it.

use crate::model::error::Result;
use crate::model::event::Event;
use crate::model::ident::Want;
use crate::sync::cancel::Wait;
use crate::sync::lock::lock;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Events that were not wanted are acknowledged so often, by asking again.
const PASSED: Duration = Duration::from_secs(1);

/// So often a wait asks again although nothing came: the consumer may be registered no more.
const ASK_AGAIN: Duration = Duration::from_secs(3);

/// A wait that is shorter than this is not worth a thread that reads the end of the stream.
const SHORT: Duration = Duration::from_millis(50);

/// What reads the end of the stream, and wakes those who wait there.
pub(crate) trait Tail: Send + Sync {
    /// Keeps the thread that reads there until [`release`](Self::release).
    fn hold(&self) -> Result<()>;
    fn release(&self);
    /// Wakes the waiter, from now on, whenever something comes that it wants; gives its key.
    fn attach(&self, waiter: Arc<Waiter>) -> u64;
    fn detach(&self, key: u64);
}

/// A wait for the next event.
pub(crate) struct Waiter {
    want: Want,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Something that is wanted came, or it is not known what did.
    woken: bool,
    /// Something came that is not wanted.
    passed: bool,
}

impl Waiter {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// These events have come.
    pub fn offer(&self, events: &[Arc<Event>]) {
        if events.iter().any(|event| self.want.matches(&event.event_type)) {
            self.wake();
        } else if !events.is_empty() {
            self.state().passed = true;
        }
    }

    /// Has it ask the database.
    pub fn wake(&self) {
        self.state().woken = true;
        self.changed.notify_all();
    }

    /// Waits until there is a reason to ask the database. False if the time of the wait is over.
    fn sleep(&self, wait: &Wait<'_>) -> Result<bool> {
        let start = Instant::now();
        let mut state = self.state();
        loop {
            wait.check()?;
            let slept = start.elapsed();
            if state.woken || slept >= ASK_AGAIN || (state.passed && slept >= PASSED) {
                return Ok(true);
            }
            let pause = wait.pause(PASSED);
            if pause.is_zero() {
                return Ok(false);
            }
            let waited = self.changed.wait_timeout(state, pause);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A place at the end of the stream, for one who reads it.
pub(crate) struct TailPlace {
    tail: Arc<dyn Tail>,
    /// Whether the thread that reads there is kept. It is from the first wait on.
    held: Mutex<bool>,
}

impl TailPlace {
    pub fn new(tail: Arc<dyn Tail>) -> Self {
        TailPlace { tail, held: Mutex::new(false) }
    }

    /// Asks by `ask` until it gives events, or the wait is over.
    pub fn wait_for(
        &self,
        want: &Want,
        wait: &Wait<'_>,
        mut ask: impl FnMut() -> Result<Vec<Event>>,
    ) -> Result<Vec<Event>> {
        let mut attached = self.is_held().then(|| self.attach(want));
        loop {
            wait.check()?;
            if let Some(attached) = &attached {
                // Before it asks: what comes from here on wakes it.
                *attached.waiter.state() = State::default();
            }
            let events = wait.run(&mut ask)?;
            if !events.is_empty() || wait.is_over() {
                return Ok(events);
            }
            match &attached {
                Some(attached) if attached.waiter.sleep(wait)? => {}
                Some(_) => return Ok(events),
                None if self.hold_for(wait)? => attached = Some(self.attach(want)),
                None => nap(wait),
            }
        }
    }

    fn attach(&self, want: &Want) -> Attached<'_> {
        let waiter =
            Waiter { want: want.clone(), state: Mutex::default(), changed: Condvar::new() };
        Attached::new(&*self.tail, Arc::new(waiter))
    }

    fn is_held(&self) -> bool {
        *lock(&self.held)
    }

    /// Sees to it that somebody reads the end of the stream; false if that is not worth it.
    fn hold_for(&self, wait: &Wait<'_>) -> Result<bool> {
        let mut held = lock(&self.held);
        if !*held {
            let end = Instant::now() + SHORT;
            if wait.end().is_some_and(|time| time < end) {
                return Ok(false);
            }
            self.tail.hold()?;
            *held = true;
        }
        Ok(true)
    }
}

impl Drop for TailPlace {
    fn drop(&mut self) {
        if *self.held.get_mut().unwrap_or_else(PoisonError::into_inner) {
            self.tail.release();
        }
    }
}

/// Sleeps until the end of a short wait.
fn nap(wait: &Wait<'_>) {
    while wait.goes_on() {
        std::thread::sleep(wait.slice());
    }
}

/// A waiter that is woken until this is dropped.
struct Attached<'a> {
    tail: &'a dyn Tail,
    waiter: Arc<Waiter>,
    key: u64,
}

impl<'a> Attached<'a> {
    fn new(tail: &'a dyn Tail, waiter: Arc<Waiter>) -> Self {
        let key = tail.attach(waiter.clone());
        Attached { tail, waiter, key }
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.tail.detach(self.key);
    }
}
