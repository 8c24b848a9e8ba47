//! Commits that concurrent callers share. Of the threads that write at once one *leads*: it writes
//! its own event and those of all who wait, in one transaction; each of them returns after that
//! commit. A single caller becomes leader at once, at no extra cost.
//!
//! Two leaders at once were slower, on every server: the commits are smaller, and the server joins
//! what waits for its disk anyway.

use crate::backend::cursors::Move;
use crate::backend::write::{Change, Written};
use crate::model::error::{Error, ErrorKind, Result, fail};
use crate::model::event::NewEvent;
use crate::model::ident::Ident;
use crate::sync::lock::lock;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most changes of one commit, and most bytes of event data (but at least one change).
const MAX_CHANGES: usize = 64;
const MAX_BYTES: usize = 256 << 10;

/// A leader waits for those who were in the last commit to come back, but no longer than this part
/// of the time that a commit takes, and never longer than this time.
const GATHER_PART: u32 = 4;
const GATHER_MOST: Duration = Duration::from_millis(1);

/// The callers that write through one stream.
#[derive(Default)]
pub(crate) struct GroupCommit {
    state: Mutex<State>,
    /// Signalled when a caller queues up.
    joined: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Waiter>>,
    /// Somebody leads.
    has_leader: bool,
    /// The number of changes in the last commit, and how long it took.
    size: usize,
    took: Duration,
}

/// A caller who waits.
struct Waiter {
    change: Waiting,
    outcome: Mutex<Option<Outcome>>,
    signalled: Condvar,
}

/// The change of a caller who waits, which the thread of the leader writes.
enum Waiting {
    Event(NewEvent),
    Cursor(Ident, Move),
}

impl Waiting {
    fn of(change: Change<'_>) -> Self {
        match change {
            Change::Event(event) => Waiting::Event(event.clone()),
            Change::Cursor(ident, to) => Waiting::Cursor(ident.clone(), to.clone()),
        }
    }

    fn change(&self) -> Change<'_> {
        match self {
            Waiting::Event(event) => Change::Event(event),
            Waiting::Cursor(ident, to) => Change::Cursor(ident, to),
        }
    }
}

/// What a leader tells who waits.
enum Outcome {
    Lead,
    Done(Result<Written>),
}

impl GroupCommit {
    /// Writes the change by `write`, which writes many, all or none, and gives what became of them,
    /// in order; it may be called for the changes of other callers, too.
    pub fn write(
        &self,
        change: Change<'_>,
        write: impl Fn(&[Change<'_>]) -> Result<Vec<Written>>,
    ) -> Result<Written> {
        let mut state = lock(&self.state);
        if !state.has_leader {
            state.has_leader = true;
            return Lead { group: self, others: Vec::new() }.write(state, change, write);
        }
        let change = Waiting::of(change);
        let waiter = Waiter { change, outcome: Mutex::default(), signalled: Condvar::new() };
        let waiter = Arc::new(waiter);
        state.waiting.push_back(waiter.clone());
        self.joined.notify_all();
        drop(state);
        match waiter.wait() {
            Outcome::Done(result) => result,
            Outcome::Lead => {
                let state = lock(&self.state);
                Lead { group: self, others: Vec::new() }.write(state, waiter.change.change(), write)
            }
        }
    }
}

impl Waiter {
    fn wait(&self) -> Outcome {
        let mut outcome = lock(&self.outcome);
        loop {
            match outcome.take() {
                Some(outcome) => return outcome,
                None => {
                    outcome = self.signalled.wait(outcome).unwrap_or_else(PoisonError::into_inner)
                }
            }
        }
    }

    fn signal(&self, outcome: Outcome) {
        *lock(&self.outcome) = Some(outcome);
        self.signalled.notify_one();
    }
}

/// The turn of a leader. Its drop, even during a panic, answers every follower and passes the lead
/// on.
struct Lead<'a> {
    group: &'a GroupCommit,
    others: Vec<Arc<Waiter>>,
}

impl Lead<'_> {
    fn write(
        mut self,
        mut state: MutexGuard<'_, State>,
        own: Change<'_>,
        write: impl Fn(&[Change<'_>]) -> Result<Vec<Written>>,
    ) -> Result<Written> {
        if state.size > 1 {
            state = self.gather(state);
        }
        let mut bytes = size(own);
        while let Some(waiter) = state.waiting.front() {
            bytes += size(waiter.change.change());
            if self.others.len() + 1 >= MAX_CHANGES || bytes > MAX_BYTES {
                break;
            }
            self.others.extend(state.waiting.pop_front());
        }
        drop(state);
        let start = Instant::now();
        let waiters = self.others.clone();
        let others = waiters.iter().map(|waiter| waiter.change.change());
        let changes: Vec<Change<'_>> = std::iter::once(own).chain(others).collect();
        let mut results = write_each(&changes, &write).into_iter();
        let result = results.next().unwrap_or_else(nothing);
        let mut state = lock(&self.group.state);
        state.size = changes.len();
        state.took = start.elapsed();
        drop(state);
        for (waiter, result) in self.others.drain(..).zip(results) {
            waiter.signal(Outcome::Done(result));
        }
        result
    }

    /// Waits a little until as many callers have queued up as the last commit had.
    fn gather<'s>(&self, mut state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        let expected = state.size.min(MAX_CHANGES);
        let end = Instant::now() + (state.took / GATHER_PART).min(GATHER_MOST);
        while state.waiting.len() + 1 < expected {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.group.joined.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        // This is empty except after a panic in `write`.
        for waiter in self.others.drain(..) {
            waiter.signal(Outcome::Done(nothing()));
        }
        let mut state = lock(&self.group.state);
        match state.waiting.pop_front() {
            Some(next) => {
                drop(state);
                next.signal(Outcome::Lead);
            }
            None => state.has_leader = false,
        }
    }
}

/// The bytes of event data.
fn size(change: Change<'_>) -> usize {
    match change {
        Change::Event(event) => event.data.as_str().len(),
        Change::Cursor(..) => 0,
    }
}

/// Writes all. If the database rejects one change, the batch is bisected so that only that change
/// fails.
fn write_each(
    changes: &[Change<'_>],
    write: &impl Fn(&[Change<'_>]) -> Result<Vec<Written>>,
) -> Vec<Result<Written>> {
    match write(changes) {
        Ok(written) => written.into_iter().map(Ok).collect(),
        Err(error) if changes.len() > 1 && is_of_one(&error) => {
            let (first, second) = changes.split_at(changes.len() / 2);
            [write_each(first, write), write_each(second, write)].into_iter().flatten().collect()
        }
        Err(error) => {
            let copies: Vec<_> = changes[1..].iter().map(|_| Err(error.copy())).collect();
            std::iter::once(Err(error)).chain(copies).collect()
        }
    }
}

/// Whether the error may be about one of many changes, so that the others can be written.
fn is_of_one(error: &Error) -> bool {
    use ErrorKind::*;
    matches!(error.kind(), InvalidData | TooLarge | Constraint | Database | InvalidArgument)
}

fn nothing() -> Result<Written> {
    fail!(Internal, "the thread that was to write this failed; it may have been written")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::EventId;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    use std::thread;

    fn event(data: &str) -> NewEvent {
        NewEvent::new("TEST", data).unwrap()
    }

    fn data<'a>(change: &Change<'a>) -> &'a str {
        match change {
            Change::Event(event) => event.data.as_str(),
            Change::Cursor(..) => "a cursor",
        }
    }

    fn id(written: Result<Written>) -> EventId {
        written.unwrap().unwrap()
    }

    /// What stands for a database: gives ids in order, slowly; refuses events with the data `bad`.
    #[derive(Default)]
    struct Table {
        rows: Mutex<Vec<String>>,
        commits: AtomicUsize,
    }

    impl Table {
        fn write(&self, changes: &[Change<'_>]) -> Result<Vec<Written>> {
            thread::sleep(Duration::from_millis(2));
            if changes.iter().any(|change| data(change) == "\"bad\"") {
                fail!(Constraint, "bad");
            }
            self.commits.fetch_add(1, Ordering::Relaxed);
            let mut rows = lock(&self.rows);
            let first = rows.len() as EventId + 1;
            rows.extend(changes.iter().map(|change| data(change).to_owned()));
            Ok((first..first + changes.len() as EventId).map(Some).collect())
        }
    }

    #[test]
    fn everybody_gets_the_id_of_the_own_event_and_commits_are_shared() {
        let (group, table) = (GroupCommit::default(), Table::default());
        thread::scope(|scope| {
            for caller in 0..16 {
                let (group, table) = (&group, &table);
                scope.spawn(move || {
                    for n in 0..20 {
                        let mine = event(&format!("{caller}/{n}"));
                        let id = id(group.write(Change::Event(&mine), |all| table.write(all)));
                        assert_eq!(lock(&table.rows)[id as usize - 1], mine.data.as_str());
                    }
                });
            }
        });
        let commits = table.commits.into_inner();
        assert_eq!(lock(&table.rows).len(), 320);
        assert!(commits < 200, "{commits} commits of 320 events");
    }

    #[test]
    fn an_event_that_is_refused_fails_only_its_caller() {
        let (group, table, failed) = (GroupCommit::default(), Table::default(), AtomicU64::new(0));
        thread::scope(|scope| {
            for caller in 0..12 {
                let (group, table, failed) = (&group, &table, &failed);
                scope.spawn(move || {
                    for _ in 0..10 {
                        let bad = caller % 4 == 0;
                        let event = event(if bad { "bad" } else { "good" });
                        let result = group.write(Change::Event(&event), |all| table.write(all));
                        assert_eq!(result.is_err(), bad);
                        failed.fetch_add(u64::from(bad), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!((lock(&table.rows).len(), failed.into_inner()), (90, 30));
    }

    #[test]
    fn a_failure_of_the_connection_is_told_to_all_and_nothing_is_tried_twice() {
        let group = GroupCommit::default();
        let tried = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let lost = group.write(Change::Event(&event("x")), |all| {
                        tried.fetch_add(all.len(), Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(5));
                        fail!(ConnectionLost, "gone")
                    });
                    assert_eq!(lost.err().unwrap().kind(), ErrorKind::ConnectionLost);
                });
            }
        });
        assert_eq!(tried.into_inner(), 8);
    }

    #[test]
    fn a_leader_that_panics_leaves_nobody_waiting() {
        let group = GroupCommit::default();
        let signalled = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let call = || {
                        group.write(Change::Event(&event("x")), |_| {
                            thread::sleep(Duration::from_millis(5));
                            panic!("a defect")
                        })
                    };
                    if let Ok(result) = catch_unwind(AssertUnwindSafe(call)) {
                        assert_eq!(result.err().unwrap().kind(), ErrorKind::Internal);
                    }
                    signalled.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(signalled.into_inner(), 8);
        assert_eq!(id(group.write(Change::Event(&event("x")), |_| Ok(vec![Some(7)]))), 7);
    }

    #[test]
    fn a_commit_has_bounded_events_and_bytes() {
        let (group, largest) = (GroupCommit::default(), AtomicUsize::new(0));
        let big = event(&"x".repeat(MAX_BYTES / 3));
        thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    id(group.write(Change::Event(&big), |all| {
                        largest.fetch_max(all.len(), Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(3));
                        Ok(all.iter().map(|_| Some(1)).collect())
                    }))
                });
            }
        });
        assert!((1..=2).contains(&largest.into_inner()));
    }
}
