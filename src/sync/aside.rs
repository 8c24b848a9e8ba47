//! A thread beside a caller. It works while the caller does other work, or does not want to wait for the
//! end. The thread stays while jobs follow each other, because starting one for each job costs as much as
//! reading a hundred events.

use crate::sync::lock::lock;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// With nothing to do for so long, the thread ends.
const IDLE: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce() + Send>;

/// The thread of one owner, which does one job after the other. Dropping it waits for its end.
pub(crate) struct Aside {
    name: &'static str,
    thread: Mutex<Option<Thread>>,
}

struct Thread {
    /// `None` once it is to end.
    jobs: Option<Sender<Job>>,
    handle: Option<JoinHandle<()>>,
}

impl Aside {
    /// The thread will have this name (at most 15 bytes show in `ps`).
    pub fn new(name: &'static str) -> Self {
        Aside { name, thread: Mutex::default() }
    }

    /// Has a job done, which must not panic. Where the system gives no thread it is given back.
    pub fn give(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Job> {
        let mut thread = lock(&self.thread);
        let given = |thread: &Option<Thread>, job| match thread.as_ref() {
            Some(Thread { jobs: Some(jobs), .. }) => jobs.send(job).map_err(|back| back.0),
            _ => Err(job),
        };
        given(&thread, Box::new(job)).or_else(|job| {
            *thread = Thread::start(self.name);
            given(&thread, job)
        })
    }
}

impl Thread {
    fn start(name: &str) -> Option<Thread> {
        let (jobs, receiver) = channel::<Job>();
        let thread = thread::Builder::new().name(name.to_owned());
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
    fn one_thread_works_while_jobs_follow_each_other_and_ends_afterwards() {
        let aside = Aside::new("test");
        let (sender, threads) = channel();
        let mut seen = Vec::new();
        for n in 0..3 {
            let sender = sender.clone();
            assert!(aside.give(move || sender.send(current().id()).unwrap()).is_ok());
            seen.push(threads.recv().unwrap());
            if n == 1 {
                thread::sleep(IDLE + Duration::from_millis(300));
                let thread = aside.thread.lock().unwrap();
                assert!(thread.as_ref().unwrap().handle.as_ref().unwrap().is_finished());
            }
        }
        assert!(seen[0] == seen[1] && seen[1] != seen[2] && seen[0] != current().id());
    }
}
