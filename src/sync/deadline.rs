//! Ends calls that take longer than they may, from outside.
//!
//! The MySQL driver limits each read and each write of its socket, but not a whole call: a server, or
//! something between, that sends a byte now and then would keep a call for ever. One thread for each
//! [`Deadlines`] shuts down the socket of a call whose time is over. It sleeps as long as no call can be
//! over: while the limit is 30 s, an idle stream wakes it twice a minute.

use crate::model::error::{Error, Result};
use crate::sync::line::{Line, Watch, micros, moment};
use crate::sync::lock::lock;
use crate::sync::worker::{Next, Signal, Task, Worker};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

/// Without a connection there is nothing to end.
const IDLE: Duration = Duration::from_secs(3600);
/// A call is ended by its own reads first, where they see that its time is over: their error says more.
const SLACK: Duration = Duration::from_millis(20);

/// The thread that ends calls; dropping it ends the thread.
pub(crate) struct Deadlines {
    _worker: Worker,
    watched: Arc<Watched>,
}

/// The lines whose calls are ended.
#[derive(Default)]
pub(crate) struct Watched {
    lines: Mutex<Vec<Weak<Line>>>,
    /// The thread looks at the lines no later than this, in microseconds of [`micros`].
    next_look: AtomicU64,
    signal: OnceLock<Signal>,
}

impl Deadlines {
    pub fn start() -> Result<Self> {
        let watched = Arc::<Watched>::default();
        let worker = Worker::start("fes-deadline", watched.clone())?;
        let _ = watched.signal.set(worker.signal().clone());
        watched.look_now();
        Ok(Deadlines { _worker: worker, watched })
    }

    /// From now on calls on this line are ended in time.
    pub fn watch(&self, line: &Arc<Line>) {
        lock(&self.watched.lines).push(Arc::downgrade(line));
        line.watched_by(self.watched.clone());
        self.watched.look_now();
    }
}

impl Watched {
    fn look_now(&self) {
        if let Some(signal) = self.signal.get() {
            signal.wake();
        }
    }
}

impl Watch for Watched {
    fn call_begins(&self, until: u64) {
        if until < self.next_look.load(Ordering::Acquire) {
            self.look_now();
        }
    }

    fn limit_changed(&self) {
        self.look_now();
    }
}

impl Task for Arc<Watched> {
    fn step(&mut self, _: &Signal) -> Result<Next> {
        let mut lines = lock(&self.lines);
        lines.retain(|line| line.strong_count() > 0);
        let lines: Vec<Arc<Line>> = lines.iter().filter_map(Weak::upgrade).collect();
        let now = Instant::now();
        let shortest = lines.iter().filter_map(|line| line.shortest()).min();
        // A call that begins during this look ends no earlier, or wakes this thread.
        let latest = now + shortest.unwrap_or(IDLE);
        self.next_look.store(micros(latest), Ordering::Release);
        let mut next = latest;
        for line in &lines {
            match line.until().map(|until| until + SLACK) {
                Some(end) if end <= now => line.end_call(),
                Some(end) => next = next.min(end),
                None => {}
            }
        }
        self.next_look.fetch_min(micros(next), Ordering::AcqRel);
        drop(lines);
        let next = moment(self.next_look.load(Ordering::Acquire));
        Ok(Next::Sleep(next.saturating_duration_since(Instant::now())))
    }

    fn failed(&mut self, error: Error) {
        log::warn!("futoin-eventstream: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::error::ErrorKind;
    use std::sync::mpsc::channel;

    const LONG: Duration = Duration::from_secs(60);

    /// A line whose end is told to a channel, and the channel.
    fn line(limit: Duration) -> (Arc<Line>, std::sync::mpsc::Receiver<()>) {
        let (line, (ended, ends)) = (Line::new(Some(limit)), channel());
        line.shutdown_by(move || {
            let _ = ended.send(());
        });
        (line, ends)
    }

    #[test]
    fn a_call_is_ended_when_its_time_is_over_and_that_is_told() {
        let deadlines = Deadlines::start().unwrap();
        let (line, ends) = line(Duration::from_millis(50));
        deadlines.watch(&line);
        for _ in 0..3 {
            let start = Instant::now();
            let call = line.call().unwrap();
            ends.recv_timeout(LONG).unwrap();
            assert!(start.elapsed() >= Duration::from_millis(50));
            let lost = Error::new(ErrorKind::ConnectionLost, "gone");
            let error = call.explain::<()>(Err(lost)).unwrap_err();
            assert!(error.to_string().contains("call_timeout_ms"), "{error}");
            drop(call);
            line.mend();
        }
    }

    #[test]
    fn a_call_that_ends_in_time_is_left_alone() {
        let deadlines = Deadlines::start().unwrap();
        let (line, ends) = line(LONG);
        deadlines.watch(&line);
        for _ in 0..1000 {
            drop(line.call().unwrap());
        }
        let _other = line.call_within(Some(Duration::from_secs(50))).unwrap();
        assert!(ends.recv_timeout(Duration::from_millis(100)).is_err());
    }

    #[test]
    fn a_call_with_less_time_than_the_others_is_ended_in_its_own_time() {
        let deadlines = Deadlines::start().unwrap();
        let (line, ends) = line(LONG);
        deadlines.watch(&line);
        std::thread::sleep(Duration::from_millis(50)); // the thread sleeps for a minute by now
        let _call = line.call_within(Some(Duration::from_millis(50))).unwrap();
        ends.recv_timeout(LONG / 2).unwrap();
    }

    #[test]
    fn a_shorter_limit_holds_from_the_next_call_on() {
        let deadlines = Deadlines::start().unwrap();
        let (line, ends) = line(LONG);
        deadlines.watch(&line);
        std::thread::sleep(Duration::from_millis(50));
        line.limit(Duration::from_millis(50));
        let _call = line.call().unwrap();
        ends.recv_timeout(LONG / 2).unwrap();
    }
}
