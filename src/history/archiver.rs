//! The archiver: copies the stream to the history, and then acknowledges it.

pub(super) mod core;
mod pass;

use super::{HistoryNotice, Warehouse, archiver_ident};
use crate::backend::Connection;
use crate::config::Options;
use crate::model::error::{Result, fail};
use crate::stream::EventStream;
use crate::sync::cancel::CancelToken;
use crate::sync::lock::lock;
use crate::sync::runner::{Notices, Runner, run_for, runner_methods};
use core::Core;
use pass::Pass;
use std::sync::{Arc, Mutex, TryLockError};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// The pause after a short batch, so that the next write has more events.
const GATHER: Duration = Duration::from_millis(20);

/// Copies every event of a stream to the history of a [`Warehouse`]: the reliable consumer
/// `-internal:ARCHIVER`, which registers itself.
///
/// Each event is in the history **exactly once**, however the process, the servers or the
/// connections break: a batch is committed there first, acknowledged then, and compared where it
/// is there already. The next batch is read while one is written; broken connections are made
/// again. Every two seconds it compares the newest 10,000 ids with what it has copied: an event that
/// appeared among them later, because its id was allocated or given before its INSERT, is copied, too, and
/// told as an error of kind `LateEvent`.
///
/// There is one archiver for each stream. If another one is started by mistake, it waits, tells
/// why, and takes over when the first one ends. All methods may be called from any thread; dropping
/// it stops it.
///
/// FTN18 knows it as a reliable consumer of section 2.2; it may take turns with the archiver of
/// the npm package (not at the same time: that one knows no lease).
///
/// ```
/// use futoin_eventstream::{Archiver, EventStream, Options, Want, Warehouse};
/// # fn main() -> Result<(), futoin_eventstream::Error> {
/// let stream = EventStream::open("sqlite::memory:")?;
/// let warehouse = Warehouse::open("sqlite::memory:")?;
/// stream.migrate()?;
/// warehouse.migrate()?;
/// let archiver = Archiver::new(&stream, &warehouse, &Options::new())?;
/// archiver.start()?;
/// stream.add_event("USR_ADD", &"Ann")?;
/// while warehouse.history(1, &Want::all(), 1)?.is_empty() {
///     std::thread::sleep(std::time::Duration::from_millis(10));
/// }
/// archiver.stop();
/// # Ok(()) }
/// ```
pub struct Archiver {
    core: Arc<Core>,
    pub(crate) runner: Runner,
}

/// This thread is in `run_once`, until dropped.
struct InRunOnce<'a>(&'a Mutex<Option<ThreadId>>);

impl<'a> InRunOnce<'a> {
    fn enter(slot: &'a Mutex<Option<ThreadId>>) -> Self {
        *lock(slot) = Some(thread::current().id());
        InRunOnce(slot)
    }
}

impl Drop for InRunOnce<'_> {
    fn drop(&mut self) {
        *lock(self.0) = None;
    }
}

impl Archiver {
    /// Makes an archiver, which does nothing before [`start`](Self::start) or
    /// [`run_once`](Self::run_once). Of `options`, `archive_batch` matters, and `max_chunk_bytes`
    /// of the stream.
    ///
    /// # Errors
    /// None for now.
    pub fn new(stream: &EventStream, warehouse: &Warehouse, options: &Options) -> Result<Self> {
        let reader = stream.reader().clone();
        let core = Core {
            batch: options.over(&reader.settings).archive_batch,
            reader,
            warehouse: warehouse.clone(),
            ident: archiver_ident()?,
            notices: Notices::default(),
            once: Mutex::new(()),
            in_run_once: Mutex::new(None),
        };
        Ok(Archiver { core: Arc::new(core), runner: Runner::default() })
    }

    /// Calls `call` for every [`HistoryNotice`], from the archiver's thread (or that of
    /// [`run_once`](Self::run_once)), in place of what was set before. It must not block for long.
    pub fn on_notice(&self, call: impl Fn(&HistoryNotice) + Send + Sync + 'static) {
        self.core.notices.set(call);
    }

    /// Starts the archiver's thread; does nothing if it is started. One that is about to end is waited
    /// for, and a new one begins.
    ///
    /// # Errors
    /// `OutOfResources` if the system gives no thread. What happens later comes as a notice.
    pub fn start(&self) -> Result<()> {
        self.runner.start("fes-archiver", || Pass::new(self.core.clone()))
    }

    runner_methods!(runner);

    /// Archives, on this thread, what is settled now; returns how many events that were.
    ///
    /// # Errors
    /// `Occupied` if another archiver is at work, here or in another process; `HistoryConflict` if
    /// the history has another event of the same id; `InvalidArgument` from inside a notice of this
    /// archiver; `StreamRewound`, once, if the stream lost events or began anew: the next call goes on
    /// after the cursor as it is then; `NotMigrated`, and those of both databases.
    pub fn run_once(&self) -> Result<u64> {
        self.run_while(|| true).map(|(count, _)| count)
    }

    /// As [`run_once`](Self::run_once), but begins no batch when `timeout` is over; `Duration::MAX` has
    /// no end. Gives how many events were archived, and whether that is all.
    ///
    /// # Errors
    /// As [`run_once`](Self::run_once), and `Cancelled` if the token ended it: what was archived before
    /// stays so.
    pub fn run_for(&self, timeout: Duration, cancel: Option<&CancelToken>) -> Result<(u64, bool)> {
        run_for(timeout, cancel, |go_on| self.run_while(go_on))
    }

    /// As [`run_once`](Self::run_once), a batch at a time as long as `go_on` says so; tells, too,
    /// whether all was archived.
    fn run_while(&self, go_on: impl Fn() -> bool) -> Result<(u64, bool)> {
        if self.runner.is_current() || *lock(&self.core.in_run_once) == Some(thread::current().id())
        {
            fail!(
                InvalidArgument,
                "run_once was called by on_notice of the same archiver, which is at work on a batch: \
                 call it from another thread, or when the notice has returned"
            );
        }
        let _once = loop {
            match self.core.once.try_lock() {
                Ok(once) => break once,
                Err(TryLockError::Poisoned(once)) => break once.into_inner(),
                Err(TryLockError::WouldBlock) if !go_on() => return Ok((0, false)),
                Err(TryLockError::WouldBlock) => thread::sleep(GATHER),
            }
        };
        let _in_run_once = InRunOnce::enter(&self.core.in_run_once);
        let mut pass = Pass::new(self.core.clone());
        if !pass.is_owner()? {
            fail!(Occupied, "another archiver of this stream is at work");
        }
        let until = self.core.reader.pool()?.with_retry(Connection::highest_allocated)?;
        let mut total = 0;
        let mut complete = false;
        while !complete && go_on() {
            let count = match pass.batch() {
                Ok(Some(count)) => count,
                Ok(None) => continue,
                Err(error) => {
                    // What is in the history is acknowledged all the same, if that can be done.
                    let _ = pass.acknowledge();
                    return Err(error);
                }
            };
            total += count as u64;
            complete = count == 0 || pass.after.is_some_and(|after| after.id >= until);
            // Where the stream is in doubt it goes on after the stored cursor.
            complete = complete && pass.acknowledge()?;
        }
        pass.acknowledge()?;
        pass.look_for_latecomers(true)?;
        Ok((total, complete))
    }
}
