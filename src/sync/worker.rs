//! The one pattern of every thread of this library: named, woken, stopped, joined.
//!
//! A [`Task`] does its work step by step. An error, or a panic, of a step is reported and the step
//! runs again after a back-off; a thread never dies of it.

use crate::model::error::{Error, Result, panic_error};
use crate::sync::line::{GRACE, Token, no_thread};
use crate::sync::lock::lock;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

/// What a thread does.
pub(crate) trait Task: Send + 'static {
    /// One bounded piece of work.
    fn step(&mut self, signal: &Signal) -> Result<Next>;

    /// A step failed; it will run again after a back-off.
    fn failed(&mut self, error: Error);

    /// The longest time of a call on a server: who stops the thread without a limit waits so long for
    /// one that hangs.
    fn patience(&self) -> Option<Duration> {
        None
    }

    /// The last call, on the same thread, whatever ended it. The signal says by now that the thread stops.
    fn ended(&mut self, _signal: &Signal) {}
}

/// What comes after a step.
pub(crate) enum Next {
    /// The next step at once.
    Again,
    /// The next step after this time, or earlier when woken.
    Sleep(Duration),
    /// No more steps.
    Done,
}

/// How others speak to a thread: wake it, stop it. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Signal(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    woken: bool,
    stopping: bool,
    ended: bool,
    /// When the present step began.
    step: Option<Instant>,
    /// Steps that failed in a row.
    failures: u32,
    /// When the thread was asked to end first.
    asked: Option<Instant>,
}

impl Signal {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.0)
    }

    /// Ends the current or the next [`sleep`](Self::sleep).
    pub fn wake(&self) {
        let mut state = self.state();
        if !state.woken {
            state.woken = true;
            self.0.1.notify_all();
        }
    }

    /// Asks the thread to end.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopping = true;
        state.asked.get_or_insert_with(Instant::now);
        drop(state);
        self.0.1.notify_all();
    }

    pub fn is_stopping(&self) -> bool {
        self.state().stopping
    }

    /// For how long the thread has been asked to end.
    fn asked_since(&self) -> Duration {
        self.state().asked.map_or(Duration::ZERO, |when| when.elapsed())
    }

    /// The thread has finished.
    fn end(&self) {
        self.state().ended = true;
        self.0.1.notify_all();
    }

    fn has_ended(&self) -> bool {
        self.state().ended
    }

    fn step_begins(&self) {
        self.state().step = Some(Instant::now());
    }

    fn step_ends(&self, failed: bool) {
        let mut state = self.state();
        state.step = None;
        state.failures = if failed { state.failures.saturating_add(1) } else { 0 };
    }

    /// Since when it is at its present step (`None` between two), and how many steps failed in a row.
    pub fn health(&self) -> (Option<Duration>, u32) {
        let state = self.state();
        (state.step.map(|at| at.elapsed()), state.failures)
    }

    /// Waits until the thread has done its last, if that takes no longer than `time`.
    fn wait_for_end(&self, time: Duration) -> bool {
        let running = |state: &mut State| !state.ended;
        let result = self.0.1.wait_timeout_while(self.state(), time, running);
        result.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    /// Sleeps until the time is over (false), or somebody wakes or stops the thread (true).
    pub fn sleep(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut state = self.state();
        while !state.woken && !state.stopping {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.0.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.woken = false;
        true
    }
}

/// A running thread. Dropping it stops it.
pub(crate) struct Worker {
    signal: Signal,
    /// Ends the calls on servers that the thread is in.
    token: Token,
    patience: Option<Duration>,
    id: ThreadId,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Worker {
    /// Starts a thread with this name (at most 15 bytes show in `ps`).
    pub fn start(name: &str, mut task: impl Task) -> Result<Worker> {
        let signal = Signal::default();
        let own = signal.clone();
        let (token, patience) = (Token::default(), task.patience());
        let scope = token.clone();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _scope = scope.scope();
                run(&mut task, &own);
                // Also when it ends by itself: it may be started again then.
                own.stop();
                // Takes the task with it: who waits for the end relies on its callbacks being let go.
                let last = catch_unwind(AssertUnwindSafe(|| {
                    let mut task = task;
                    task.ended(&own);
                }));
                if let Err(panic) = last {
                    log::error!("futoin-eventstream: {}", panic_error(&*panic));
                }
                own.end();
            })
            .map_err(|why| no_thread(name, &why))?;
        let id = thread.thread().id();
        Ok(Worker { signal, token, patience, id, thread: Mutex::new(Some(thread)) })
    }

    pub fn signal(&self) -> &Signal {
        &self.signal
    }

    /// Whether the thread has not ended yet.
    pub fn is_alive(&self) -> bool {
        !self.signal.has_ended()
    }

    /// Whether this is called by the thread itself.
    pub fn is_current(&self) -> bool {
        self.id == thread::current().id()
    }

    /// Asks the thread to end and waits for it; called by the thread itself, it only asks. What hangs in
    /// a call on a server is cut off when the time of a call is over.
    pub fn stop(&self) {
        let slice = self.patience.unwrap_or(Duration::from_secs(3600));
        while !self.stop_within(slice) {}
    }

    /// As [`stop`](Self::stop), but what hangs in a call on a server is cut off after a moment.
    pub fn close(&self) {
        if !self.stop_within(GRACE) {
            self.cut();
        }
        self.stop();
    }

    /// Ends the calls on servers that the thread is in, and refuses later ones.
    pub fn cut(&self) {
        self.token.cut();
    }

    /// As [`stop`](Self::stop), but waits no longer than `time`; whether it is done. A thread that
    /// waits, directly or not, for the calling one to end is not waited for either.
    pub fn stop_within(&self, time: Duration) -> bool {
        self.signal.stop();
        if self.is_current() {
            return true;
        }
        let Some(_waiting) = Waiting::begin(self.id) else { return true };
        if !self.signal.wait_for_end(time) {
            if self.patience.is_some_and(|patience| self.signal.asked_since() >= patience) {
                self.cut();
            }
            return false;
        }
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // A panic was caught and reported inside.
            let _ = thread.join();
        }
        true
    }
}

/// Which thread waits for which one to end. Two callbacks that stop each other's thread would wait
/// for ever.
static WAITS: Mutex<Option<HashMap<ThreadId, ThreadId>>> = Mutex::new(None);

/// The calling thread waits for another one, until dropped.
struct Waiting(ThreadId);

impl Waiting {
    /// `None` if `other` already waits for the calling thread.
    fn begin(other: ThreadId) -> Option<Self> {
        let own = thread::current().id();
        let mut waits = WAITS.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = waits.get_or_insert_default();
        let mut last = other;
        while let Some(next) = waits.get(&last) {
            if *next == own {
                return None;
            }
            last = *next;
        }
        waits.insert(own, other);
        Some(Waiting(own))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waits = WAITS.lock().unwrap_or_else(PoisonError::into_inner);
        waits.get_or_insert_default().remove(&self.0);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(task: &mut impl Task, signal: &Signal) {
    let mut backoff = Backoff::default();
    while !signal.is_stopping() {
        signal.step_begins();
        let step = catch_unwind(AssertUnwindSafe(|| task.step(signal)));
        signal.step_ends(!matches!(step, Ok(Ok(_))));
        let error = match step {
            Ok(Ok(Next::Done)) => return,
            Ok(Ok(next)) => {
                backoff = Backoff::default();
                if let Next::Sleep(time) = next {
                    signal.sleep(time);
                }
                continue;
            }
            Ok(Err(error)) => error,
            Err(panic) => panic_error(&*panic),
        };
        let report = catch_unwind(AssertUnwindSafe(|| task.failed(error)));
        if let Err(panic) = report {
            log::error!("futoin-eventstream: {}", panic_error(&*panic));
        }
        signal.sleep(backoff.next());
    }
}

/// Waiting times that double from 50 ms to 10 s, each shortened at random by up to a half, so that
/// many who failed together do not come back together.
#[derive(Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(10);

    pub fn next(&mut self) -> Duration {
        let time = Self::FIRST.saturating_mul(1 << self.failures.min(10)).min(Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        // The standard library's seed of hash tables is all the randomness that is needed.
        let random = RandomState::new().build_hasher().finish() % 1000;
        time.mul_f64(1.0 - random as f64 / 2000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::error::ErrorKind;
    use std::sync::mpsc::{Sender, channel};

    struct Steps(Sender<String>, u32);

    impl Task for Steps {
        fn step(&mut self, _: &Signal) -> Result<Next> {
            self.1 += 1;
            match self.1 {
                1 => panic!("first"),
                2 => Err(Error::new(ErrorKind::Busy, "second")),
                3 => Ok(Next::Sleep(Duration::from_secs(600))),
                _ => Ok(Next::Done),
            }
        }

        fn failed(&mut self, error: Error) {
            self.0.send(error.to_string()).unwrap();
        }

        fn ended(&mut self, _: &Signal) {
            self.0.send("ended".to_owned()).unwrap();
        }
    }

    #[test]
    fn a_panic_and_an_error_are_reported_and_the_thread_goes_on() {
        let (sender, receiver) = channel();
        let worker = Worker::start("steps", Steps(sender, 0)).unwrap();
        assert_eq!(receiver.recv().unwrap(), "a panic was caught: first");
        assert_eq!(receiver.recv().unwrap(), "second");
        thread::sleep(Duration::from_millis(200));
        let start = Instant::now();
        worker.signal().wake();
        assert_eq!(receiver.recv().unwrap(), "ended");
        worker.stop();
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    struct Long(Sender<String>);

    impl Task for Long {
        fn step(&mut self, _: &Signal) -> Result<Next> {
            self.0.send("began".to_owned()).unwrap();
            thread::sleep(Duration::from_millis(300));
            Ok(Next::Done)
        }

        fn failed(&mut self, _: Error) {}
    }

    #[test]
    fn everybody_who_stops_a_thread_waits_for_its_end_or_as_long_as_is_said() {
        let (sender, receiver) = channel();
        let worker = Worker::start("long", Long(sender)).unwrap();
        receiver.recv().unwrap();
        assert!(!worker.stop_within(Duration::from_millis(10)) && worker.is_alive());
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    worker.stop();
                    assert!(!worker.is_alive());
                });
            }
        });
        assert!(worker.stop_within(Duration::ZERO));
    }

    #[test]
    fn back_off_grows_to_its_limit_and_varies() {
        let mut backoff = Backoff::default();
        let times: Vec<Duration> = (0..40).map(|_| backoff.next()).collect();
        assert!(times[0] <= Backoff::FIRST && times[0] >= Backoff::FIRST / 2);
        assert!(times.iter().all(|time| *time <= Backoff::LONGEST));
        assert!(times[30..].iter().all(|time| *time >= Backoff::LONGEST / 2));
        assert!(times[30..].windows(2).any(|pair| pair[0] != pair[1]));
    }
}
