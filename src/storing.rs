//! The thread that stores the cursor of a consumer while it reads on: a commit waits for the disk.
//! It is there while polls follow each other, since starting one for each poll costs as much as
//! reading a hundred events.

use crate::error::Result;
use crate::event::EventId;
use crate::line::{Scope, Token};
use crate::worker::panic_error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// With nothing to do for so long, the thread ends.
const IDLE: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce() + Send>;

/// Of one consumer.
#[derive(Default)]
pub(crate) struct Storing(Mutex<Option<Thread>>);

/// Dropping it waits for its end.
struct Thread {
    /// `None` once it is to end.
    jobs: Option<Sender<Job>>,
    handle: Option<JoinHandle<()>>,
}

impl Storing {
    /// Runs `store` on the thread and `work` here, and waits for both. `None` in place of what
    /// `store` gave if the thread was not to be had: then it did not run.
    pub fn beside<T>(
        &self,
        store: impl FnOnce() -> Result<EventId> + Send + 'static,
        work: impl FnOnce() -> T,
    ) -> (Option<Result<EventId>>, T) {
        let (sender, stored) = sync_channel(1);
        let tokens = Token::current();
        let job = Box::new(move || {
            let _scope = Scope::of(tokens);
            let result = catch_unwind(AssertUnwindSafe(store));
            let _ = sender.send(result.unwrap_or_else(|panic| Err(panic_error(&*panic))));
        });
        Thread::give(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), job);
        let worked = work();
        (stored.recv().ok(), worked)
    }
}

impl Thread {
    /// Gives the thread a job, which is dropped if there is none to be had.
    fn give(thread: &mut Option<Thread>, job: Job) {
        let rejected = match thread.as_ref().and_then(|thread| thread.jobs.as_ref()) {
            Some(jobs) => jobs.send(job).err().map(|rejected| rejected.0),
            None => Some(job),
        };
        let Some(job) = rejected else { return };
        *thread = Thread::start().filter(|started| match &started.jobs {
            Some(jobs) => jobs.send(job).is_ok(),
            None => false,
        });
    }

    fn start() -> Option<Thread> {
        let (jobs, receiver) = channel::<Job>();
        let thread = thread::Builder::new().name("fes-cursor".to_owned());
        let handle = thread.spawn(move || run(&receiver)).ok()?;
        Some(Thread { jobs: Some(jobs), handle: Some(handle) })
    }
}

fn run(jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv_timeout(IDLE) {
        job();
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::current;

    #[test]
    fn one_thread_stores_while_polls_follow_each_other_and_ends_afterwards() {
        let storing = Storing::default();
        let (sender, threads) = channel();
        for n in 0..3 {
            let sender = sender.clone();
            let store = move || {
                sender.send(current().id()).unwrap();
                Ok(n)
            };
            let (stored, here) = storing.beside(store, || current().id());
            assert_eq!(stored.unwrap().unwrap(), n);
            assert_ne!(threads.recv().unwrap(), here);
            if n == 0 {
                thread::sleep(IDLE + Duration::from_millis(300));
                let thread = storing.0.lock().unwrap();
                assert!(thread.as_ref().unwrap().handle.as_ref().unwrap().is_finished());
            }
        }
    }

    #[test]
    fn a_panic_while_storing_is_an_error() {
        let (stored, worked) = Storing::default().beside(|| panic!("while storing"), || 7);
        assert!(stored.unwrap().unwrap_err().to_string().contains("while storing"));
        assert_eq!(worked, 7);
    }
}
