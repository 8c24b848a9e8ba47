//! One archiver at work: reads a batch, writes it to the history, and acknowledges it.

use super::GATHER;
use super::core::Core;
use crate::backend::cursors::Move;
use crate::backend::lease::OwnerLease;
use crate::history::HistoryNotice;
use crate::history::latecomers::Latecomers;
use crate::model::error::{Error, ErrorKind, Result, panic_error};
use crate::model::life::{Anchor, Position};
use crate::read::reader::{Chunk, Stored};
use crate::read::rewind::Standing;
use crate::sync::line::{Scope, Token};
use crate::sync::worker::{Next, Signal, Task};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// The longest wait for new events.
const LONGEST_IDLE: Duration = Duration::from_millis(500);
/// While batch follows batch, the cursor is stored this often.
const ACKNOWLEDGE: Duration = Duration::from_millis(100);
/// How often a lease that another one has is asked for.
const LEASE_LOOK: Duration = Duration::from_secs(1);

/// An archiver at work, and what it remembers between batches.
pub(super) struct Pass {
    core: Arc<Core>,
    lease: Option<OwnerLease>,
    /// The last event that is in the history; `None` if that has to be found out.
    pub after: Option<Position>,
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
    /// What ended it, if that was an error.
    fatal: Option<Error>,
    idle: Duration,
}

impl Pass {
    pub fn new(core: Arc<Core>) -> Self {
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
            fatal: None,
            idle: GATHER,
        }
    }

    /// Whether nobody else archives this stream.
    pub fn is_owner(&mut self) -> Result<bool> {
        self.at_warehouse = false;
        if let Some(lease) = &self.lease {
            if lease.is_held() {
                return Ok(true);
            }
            // End the old session first: while the server counts it as the owner, a new one is refused.
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
    pub fn look_for_latecomers(&mut self, now: bool) -> Result<()> {
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
    pub fn batch(&mut self) -> Result<Option<usize>> {
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
        core.notices.report(HistoryNotice::NewEvents(chunk.events.len()));
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
    pub fn acknowledge(&mut self) -> Result<bool> {
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
            core.notices.report(HistoryNotice::ProcessedEvents(count));
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
                self.core.notices.report(HistoryNotice::Waiting(why.to_owned()));
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
                self.fatal = Some(error);
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
        self.core.notices.report(notice);
    }

    fn ended(&mut self, _: &Signal) {
        if let Err(error) = self.acknowledge() {
            // The next one finds these events in the history.
            log::warn!("futoin-eventstream: storing the archiver's cursor: {error}");
        }
        self.lease = None;
        self.core.notices.report(HistoryNotice::Stopped(self.fatal.take()));
    }
}
