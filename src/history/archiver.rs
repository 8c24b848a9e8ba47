//! The archiver: copies the stream to the history, and then acknowledges it.

use super::latecomers::Latecomers;
use super::{HistoryNotice, Notify, Running, Warehouse, WorkerHealth, archiver_ident};
use crate::backend::Connection;
use crate::backend::cursors::Move;
use crate::backend::lease::OwnerLease;
use crate::config::Options;
use crate::model::error::{Error, ErrorKind, Result, fail};
use crate::model::event::{Event, EventId};
use crate::model::ident::Ident;
use crate::model::life::{Anchor, Position};
use crate::read::reader::{Chunk, Reader, Stored};
use crate::read::rewind::{Standing, Verdict};
use crate::stream::EventStream;
use crate::sync::cancel::{CancelToken, Wait};
use crate::sync::line::{Scope, Token};
use crate::sync::lock::lock;
use crate::sync::worker::{Next, Signal, Task, panic_error, stop_for};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// The pause after a short batch, so that the next write has more events.
const GATHER: Duration = Duration::from_millis(20);
/// The longest wait for new events.
const LONGEST_IDLE: Duration = Duration::from_millis(500);
/// While batch follows batch, the cursor is stored this often.
const ACKNOWLEDGE: Duration = Duration::from_millis(100);
/// How often a lease that another one has is asked for.
const LEASE_LOOK: Duration = Duration::from_secs(1);

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
    running: Running,
}

pub(super) struct Core {
    pub reader: Arc<Reader>,
    pub warehouse: Warehouse,
    ident: Ident,
    /// Most events of one batch.
    batch: usize,
    pub notify: Notify,
    /// Serializes the calls of `run_once` on this handle.
    once: Mutex<()>,
    /// The thread that is in `run_once`, which its notices come from.
    runner: Mutex<Option<ThreadId>>,
}

/// This thread is in `run_once`, until dropped.
struct Runner<'a>(&'a Mutex<Option<ThreadId>>);

impl<'a> Runner<'a> {
    fn enter(slot: &'a Mutex<Option<ThreadId>>) -> Self {
        *lock(slot) = Some(thread::current().id());
        Runner(slot)
    }
}

impl Drop for Runner<'_> {
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
            notify: Notify::default(),
            once: Mutex::new(()),
            runner: Mutex::new(None),
        };
        Ok(Archiver { core: Arc::new(core), running: Running::default() })
    }

    /// Calls `call` for every [`HistoryNotice`], from the archiver's thread (or that of
    /// [`run_once`](Self::run_once)), in place of what was set before. It must not block for long.
    pub fn on_notice(&self, call: impl Fn(&HistoryNotice) + Send + Sync + 'static) {
        self.core.notify.set(call);
    }

    /// Starts the archiver's thread; does nothing if it is at work.
    ///
    /// # Errors
    /// `OutOfResources` if the system gives no thread. What happens later comes as a notice.
    pub fn start(&self) -> Result<()> {
        self.running.start("fes-archiver", || Pass::new(self.core.clone()))
    }

    /// Ends the thread (a server that does not answer is waited for as long as `call_timeout_ms`), after the batch that it is at. When it returns no notice comes any more.
    /// Called from a notice, it only asks the thread to end.
    pub fn stop(&self) {
        self.running.stop();
    }

    /// As [`stop`](Self::stop), but waits no longer than `time` (and 200 ms): then what hangs in a call
    /// on a server is cut off, and done again by the next one. Whether it has ended; if not, a notice
    /// is still at work.
    pub fn stop_for(&self, time: Duration) -> bool {
        stop_for(time, |time| self.stop_within(time), || self.cut())
    }

    /// As [`stop_for`](Self::stop_for), but cuts nothing off.
    pub(crate) fn stop_within(&self, time: Duration) -> bool {
        self.running.stop_within(time)
    }

    /// Ends calls on servers that the thread is in.
    pub(crate) fn cut(&self) {
        self.running.cut();
    }

    /// Whether the thread runs.
    pub fn is_running(&self) -> bool {
        self.running.is_alive()
    }

    /// How the thread fares. Asks no database.
    pub fn health(&self) -> WorkerHealth {
        self.running.health()
    }

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
        let wait = Wait::new(timeout, cancel);
        let (count, complete) = wait.run(|| self.run_while(|| wait.goes_on()))?;
        if !complete {
            wait.check()?;
        }
        Ok((count, complete))
    }

    /// As [`run_once`](Self::run_once), a batch at a time as long as `go_on` says so; tells, too,
    /// whether all was archived.
    pub(crate) fn run_while(&self, go_on: impl Fn() -> bool) -> Result<(u64, bool)> {
        if self.running.is_current() || *lock(&self.core.runner) == Some(thread::current().id()) {
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
        let _runner = Runner::enter(&self.core.runner);
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

impl Core {
    /// Registers, if needed, and finds out where the archiver stands. One that was there is not registered
    /// again at once: a restore has its row away for a moment.
    fn resume(&self, standing: &Standing, doubts: u64) -> Result<Verdict> {
        if standing.life.is_some() {
            let verdict = self.reader.find(&self.ident, standing, doubts)?;
            return verdict.ok_or_else(|| self.unregistered());
        }
        self.reader.pool()?.with_retry(|connection| {
            connection.register(&self.ident, 0)?;
            connection.advance(&self.ident, &Move::none())?;
            let verdict = self.reader.verify(connection, &self.ident, standing, doubts)?;
            verdict.ok_or_else(|| self.unregistered())
        })
    }

    fn unregistered(&self) -> Error {
        let message = format!("somebody has unregistered {}", self.ident);
        Error::new(ErrorKind::NotRegistered, message)
    }

    /// The next batch; `known` is the stored cursor.
    fn read(&self, from: Position, known: EventId) -> Result<Chunk> {
        self.reader.pool()?.with_retry(|connection| {
            let chunk = self.reader.read_to_copy(connection, from, self.batch)?;
            if chunk.events.is_empty() {
                // Shows that it is alive, and finds out that ids are allocated again.
                let cursor = connection.advance(&self.ident, &Move::none())?;
                let stands = match cursor.filter(|cursor| *cursor >= known) {
                    Some(cursor) => self.reader.is_allocated(connection, from.id.max(cursor))?,
                    None => false,
                };
                if !stands {
                    self.reader.doubt(false);
                }
                self.reader.check_reachable(connection)?;
            }
            Ok(chunk)
        })
    }

    /// Whether the batch was ended by a limit, so that more may be there.
    fn is_full(&self, events: &[Event]) -> bool {
        let bytes: usize = events.iter().map(|event| event.data.as_str().len()).sum();
        events.len() >= self.batch || bytes >= self.reader.settings.max_chunk_bytes
    }

    /// Puts events into the history, or the first of them where not all can be; returns how many.
    pub fn store(&self, events: &[Event]) -> Result<usize> {
        use ErrorKind::*;
        match self.warehouse.store(events) {
            Ok(()) => Ok(events.len()),
            Err(error)
                if error.is_retriable()
                    || matches!(
                        error.kind(),
                        HistoryConflict | Closed | NotMigrated | PermissionDenied | Internal
                    ) =>
            {
                Err(error)
            }
            // One of them is what the warehouse refuses: what is before it is archived.
            Err(_) if events.len() > 1 => self.store(&events[..events.len() / 2]),
            Err(error) => {
                let id = events.first().map_or(0, |event| event.id);
                Err(error.context(format!("event {id} cannot be archived")))
            }
        }
    }
}

/// An archiver at work, and what it remembers between batches.
struct Pass {
    core: Arc<Core>,
    lease: Option<OwnerLease>,
    /// The last event that is in the history; `None` if that has to be found out.
    after: Option<Position>,
    /// What is known of its cursor.
    standing: Standing,
    /// The sizes of the batches that are in the history and not acknowledged yet, since when.
    unacknowledged: (Vec<usize>, Instant),
    latecomers: Latecomers,
    /// What was read while the batch before was written.
    ahead: Option<Chunk>,
    /// Which side the current operation talks to; it decides the kind of error notice.
    at_warehouse: bool,
    waiting: bool,
    /// The end was told.
    stopped: bool,
    idle: Duration,
}

impl Pass {
    fn new(core: Arc<Core>) -> Self {
        Pass {
            core,
            lease: None,
            after: None,
            standing: Standing::default(),
            unacknowledged: (Vec::new(), Instant::now()),
            latecomers: Latecomers::new(),
            ahead: None,
            at_warehouse: false,
            waiting: false,
            stopped: false,
            idle: GATHER,
        }
    }

    /// Whether nobody else archives this stream.
    fn is_owner(&mut self) -> Result<bool> {
        self.at_warehouse = false;
        if let Some(lease) = &self.lease {
            if lease.is_held() {
                return Ok(true);
            }
            // The old session must be gone before a new one asks.
            self.lease = None;
            self.forget();
        }
        let pool = self.core.reader.pool()?;
        self.lease = OwnerLease::take(pool.backend(), &self.core.ident)?;
        Ok(self.lease.is_some())
    }

    /// Whatever went wrong: what is in the history, and acknowledged, is to be asked again.
    fn forget(&mut self) {
        self.after = None;
        self.unacknowledged.0.clear();
        self.latecomers.forget();
        self.ahead = None;
    }

    /// Looks for events that appeared below those that are in the history. Not where the stream is in
    /// doubt: they may be of another life of it.
    fn look_for_latecomers(&mut self, now: bool) -> Result<()> {
        let core = self.core.clone();
        let Some(after) = self.after else { return Ok(()) };
        if self.standing.seen != Some(core.reader.doubts()) {
            return Ok(());
        }
        match now {
            true => self.latecomers.look(&core, after.id),
            false => self.latecomers.look_sometimes(&core, after.id),
        }
    }

    /// Archives the next batch; returns how many events that were, `None` if the stream came into
    /// doubt, so that this is to be done again.
    fn batch(&mut self) -> Result<Option<usize>> {
        let core = self.core.clone();
        self.at_warehouse = false;
        let doubts = core.reader.doubts();
        if self.standing.seen != Some(doubts) {
            self.forget();
        }
        let after = match self.after {
            Some(after) => after,
            None => self.resume(doubts)?,
        };
        let known = self.standing.stored.id;
        let (after, chunk) = match self.ahead.take() {
            Some(chunk) => (after, Ok(chunk)),
            None => self.read_after(after),
        };
        let chunk = match chunk {
            Err(error) if error.kind() == ErrorKind::StreamRewound => return Ok(None),
            result => result?,
        };
        if core.reader.doubts() != doubts {
            return Ok(None);
        }
        let Some(last) = chunk.events.last().map(|event| event.id) else {
            // The batch before was full, and yet the last one.
            return Ok(self.acknowledge()?.then_some(0));
        };
        let end = Position { id: last, anchor: chunk.anchor };
        core.notify.tell(HistoryNotice::NewEvents(chunk.events.len()));
        let read_on = core.is_full(&chunk.events);
        self.at_warehouse = true;
        let (stored, ahead) = thread::scope(|scope| {
            let reading = read_on.then(|| {
                let thread = thread::Builder::new().name("fes-archive-rd".to_owned());
                let (tokens, core) = (Token::current(), &core);
                let read = move || {
                    let _scope = Scope::of(tokens);
                    core.read(end, known)
                };
                thread.spawn_scoped(scope, read).ok()
            });
            let stored = core.store(&chunk.events);
            // An error of reading on is met again by the next batch.
            let ahead = reading
                .flatten()
                .map(|thread| thread.join().unwrap_or_else(|panic| Err(panic_error(&*panic))).ok());
            (stored, ahead.flatten())
        });
        let count = stored?;
        self.at_warehouse = false;
        let stored = &chunk.events[..count];
        let done = stored
            .last()
            .map_or(after, |event| Position { id: event.id, anchor: Some(Anchor::of(event)) });
        self.latecomers.stored(stored.iter().map(|event| event.id), done.id);
        core.reader.gave(&mut self.standing, done.anchor);
        self.after = Some(done);
        self.ahead = ahead.filter(|_| done.id == last);
        if self.unacknowledged.0.is_empty() {
            self.unacknowledged.1 = Instant::now();
        }
        self.unacknowledged.0.push(count);
        if self.ahead.is_none() || self.unacknowledged.1.elapsed() >= ACKNOWLEDGE {
            self.acknowledge()?;
        }
        Ok(Some(count))
    }

    /// Reads the next batch, behind events that cannot be read where the cursor was moved past them:
    /// somebody has decided that the history is to lack them.
    fn read_after(&mut self, mut after: Position) -> (Position, Result<Chunk>) {
        let known = self.standing.stored.id;
        loop {
            match self.core.read(after, known) {
                Err(error) => match error.unreadable() {
                    Some(row) if row.id <= known => {
                        after = Position::at(row.id);
                        self.latecomers.stored([row.id].into_iter(), row.id);
                    }
                    _ => return (after, Err(error)),
                },
                chunk => return (after, chunk),
            }
        }
    }

    /// Stores the cursor. It need not follow every batch: what is in the history and not
    /// acknowledged would be compared, not written again. `false` if the stream came into doubt:
    /// nothing is acknowledged then before it was verified.
    fn acknowledge(&mut self) -> Result<bool> {
        let batches = std::mem::take(&mut self.unacknowledged.0);
        let (Some(done), Some(doubts), false) =
            (self.after, self.standing.seen, batches.is_empty())
        else {
            return Ok(true);
        };
        let core = self.core.clone();
        let (known, mark) = (self.standing.stored.id, self.standing.mark(done));
        match core.reader.store(&core.ident, &Move { to: done.id, known, mark }, doubts)? {
            Stored::At(cursor) if cursor >= known => {
                self.standing.moved(done, cursor, core.reader.asks());
            }
            Stored::At(_) => {
                // Somebody has moved it back.
                core.reader.doubt(false);
                return Ok(false);
            }
            Stored::Unsure => return Ok(false),
        }
        for count in batches {
            core.notify.tell(HistoryNotice::ProcessedEvents(count));
        }
        Ok(true)
    }

    /// Where to go on: after the cursor, or earlier if the warehouse has lost its last commits (it
    /// crashed with commits that do not wait for the disk, or was restored): what the event table
    /// still has of them is archived again. An empty history begins at the cursor: it is a new one
    /// after the old one was moved away.
    fn resume(&mut self, doubts: u64) -> Result<Position> {
        let verdict = self.core.resume(&self.standing, doubts).inspect_err(|error| {
            if error.kind() == ErrorKind::NotRegistered {
                self.standing = Standing::default();
            }
        })?;
        self.standing.adopt(&verdict, doubts);
        if let Some(error) = verdict.rewound {
            return Err(error);
        }
        let cursor = verdict.stored;
        self.at_warehouse = true;
        let end = self.core.warehouse.end()?;
        self.at_warehouse = false;
        let after = if end > 0 && end < cursor.id { Position::at(end) } else { cursor };
        self.after = Some(after);
        Ok(after)
    }
}

impl Task for Pass {
    fn step(&mut self, _: &Signal) -> Result<Next> {
        if !self.is_owner()? {
            if !self.waiting {
                self.waiting = true;
                let why = "another archiver of this stream is at work; this one takes over when \
                           that one ends";
                self.core.notify.tell(HistoryNotice::Waiting(why.to_owned()));
            }
            return Ok(Next::Sleep(LEASE_LOOK));
        }
        self.waiting = false;
        let batch = self.batch().and_then(|count| {
            self.look_for_latecomers(false)?;
            Ok(count)
        });
        match batch {
            Ok(None) => Ok(Next::Again),
            Ok(Some(0)) => {
                self.idle = (self.idle * 2).min(LONGEST_IDLE);
                Ok(Next::Sleep(self.idle))
            }
            Ok(Some(_)) => {
                self.idle = GATHER;
                Ok(if self.ahead.is_some() { Next::Again } else { Next::Sleep(GATHER) })
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::HistoryConflict | ErrorKind::Closed) =>
            {
                self.stopped = true;
                self.core.notify.tell(HistoryNotice::Stopped(Some(error)));
                Ok(Next::Done)
            }
            Err(error) => Err(error),
        }
    }

    fn patience(&self) -> Option<Duration> {
        // Of the stream and of the warehouse.
        let times = [self.core.reader.settings.call_timeout, self.core.warehouse.call_timeout()];
        times.into_iter().collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    fn failed(&mut self, error: Error) {
        self.forget();
        let notice = match self.at_warehouse {
            true => HistoryNotice::ReceiverError(error),
            false => HistoryNotice::WorkerError(error),
        };
        self.core.notify.tell(notice);
    }

    fn ended(&mut self, signal: &Signal) {
        if let Err(error) = self.acknowledge() {
            // The next one finds these events in the history.
            log::warn!("futoin-eventstream: storing the archiver's cursor: {error}");
        }
        self.lease = None;
        if signal.is_stopping() && !self.stopped {
            self.core.notify.tell(HistoryNotice::Stopped(None));
        }
    }
}
