//! Reading settled events, and storing cursors, for all who use one stream handle.

pub(crate) mod doubt;
mod horizon;
mod latecomers;
mod side_by_side;

use crate::backend::cursors::Move;
use crate::backend::pool::Pool;
use crate::backend::{Batch, Connection, ReadRange, Watch};
use crate::config::Settings;
use crate::model::error::{Error, ErrorKind, Result, fail};
use crate::model::event::{Event, EventId};
use crate::model::ident::{Ident, Want};
use crate::model::life::{Anchor, Life, Position};
use crate::read::late::LateWindow;
use crate::read::rewind::{self, Standing};
use crate::read::shared_chunks::SharedChunks;
use crate::settle::Spans;
use crate::sync::lock::lock;
use crate::write::writer::Writer;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Reads settled events for all consumers of a stream handle, and writes what is written in shared
/// commits.
///
/// What it keeps (how far the stream is settled, which ids were surely allocated) is derived from the
/// database, and forgotten at each *doubt*: a connection broke, so that behind it another database
/// may stand now, or something shows that the stream was rewound. Whoever keeps something of its own
/// notes how many doubts there were, and has it verified when there are more.
pub(crate) struct Reader {
    /// `None` once closed.
    pool: Mutex<Option<Pool>>,
    pub settings: Arc<Settings>,
    pub writer: Arc<Writer>,
    shared_chunks: SharedChunks,
    /// With the doubts that there were when it was opened.
    watch: Mutex<Option<(u64, Watch)>>,
    settled: Mutex<Spans>,
    /// Ids up to this were surely allocated.
    allocated: AtomicU64,
    /// The pool's breaks that are among the doubts.
    breaks: AtomicU64,
    /// What was settled at the last call of [`latecomers`](Self::latecomers), and what was late.
    late: Mutex<(Option<LateWindow>, Vec<EventId>)>,
    doubts: AtomicU64,
    /// The last doubt that came from asking the server, not from a break.
    found_out: AtomicU64,
    asked: Mutex<Asked>,
    /// How often the server was asked, and the last time that it showed the life that is known.
    begun: AtomicU64,
    same: AtomicU64,
    /// When it was asked last for events that cannot be reached.
    looked: Mutex<Option<Instant>>,
    standings: Mutex<HashMap<Ident, Arc<Mutex<Standing>>>>,
}

/// When the server was asked last for its life, and what it said when there were so many doubts.
#[derive(Default)]
struct Asked {
    when: Option<Instant>,
    life: Option<(Life, u64)>,
}

/// How often the server is asked whether the stream is still the same.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Consumers of more idents than this are not remembered beyond their handles.
const MAX_STANDINGS: usize = 1000;

/// Settled events, in order.
pub(crate) struct Chunk {
    pub events: Vec<Event>,
    /// Every wanted event up to this id is in `events` or before what was asked for.
    pub settled_to: EventId,
    /// The last event that was seen, up to there.
    pub anchor: Option<Anchor>,
}

impl Chunk {
    /// `from` is where reading began, with what was seen there.
    fn new(events: Vec<Event>, settled_to: EventId, from: Option<Anchor>) -> Self {
        let anchor = events.last().map(Anchor::of).or(from);
        Chunk { events, settled_to, anchor }
    }

    /// The last of its events.
    pub fn given(&self) -> Option<Anchor> {
        let last = self.events.last().map(|event| event.id);
        self.anchor.filter(|anchor| Some(anchor.id) == last)
    }

    /// Where the reader of this chunk goes on.
    pub fn end(&self) -> Position {
        Position { id: self.settled_to, anchor: self.anchor }
    }
}

impl Reader {
    pub fn new(pool: Pool, settings: Arc<Settings>, writer: Arc<Writer>) -> Self {
        Reader {
            pool: Mutex::new(Some(pool)),
            settings,
            writer,
            shared_chunks: SharedChunks::default(),
            watch: Mutex::new(None),
            settled: Mutex::default(),
            allocated: AtomicU64::new(0),
            breaks: AtomicU64::new(0),
            late: Mutex::default(),
            doubts: AtomicU64::new(0),
            found_out: AtomicU64::new(0),
            asked: Mutex::default(),
            begun: AtomicU64::new(0),
            same: AtomicU64::new(0),
            looked: Mutex::default(),
            standings: Mutex::default(),
        }
    }

    /// The pool, while the stream is open.
    pub fn pool(&self) -> Result<Pool> {
        match &*lock(&self.pool) {
            Some(pool) => Ok(pool.clone()),
            None => fail!(Closed, "the stream was closed"),
        }
    }

    /// Closes idle connections now, and lent ones when they come back.
    pub fn close(&self) {
        let pool = lock(&self.pool).take();
        if let Some(pool) = pool {
            pool.close();
        }
        *lock(&self.watch) = None;
    }

    /// Moves the cursor of a consumer and gives where it is now. `Unsure` if there are more doubts than
    /// the caller knew of, or if the consumer is missing: whether anything was written is not known then.
    pub fn store(&self, ident: &Ident, to: &Move, doubts: u64) -> Result<Stored> {
        let mut lease = self.pool()?.checkout()?;
        let alone = lease.call(|connection| {
            self.ask(connection)?;
            match self.doubts() == doubts {
                true => connection.advance_alone(ident, to).map(Some),
                false => Ok(None),
            }
        });
        drop(lease);
        let cursor = match alone {
            Ok(None) => return Ok(Stored::Unsure),
            Err(error) if error.kind() == ErrorKind::ConnectionLost => return Ok(Stored::Unsure),
            Err(error) => return Err(error),
            Ok(Some(Some(cursor))) => cursor,
            Ok(Some(None)) => self.writer.advance(ident, to, || self.pool())?,
        };
        match cursor {
            Some(cursor) => Ok(Stored::At(cursor)),
            None => {
                self.doubt(false);
                Ok(Stored::Unsure)
            }
        }
    }

    /// The settled events after a position.
    ///
    /// # Errors
    /// `StreamRewound` if another event stands there than the one that was seen: whoever asked has to
    /// be verified, and the error is not for the caller of this library.
    pub fn read(
        &self,
        connection: &mut Connection,
        from: Position,
        want: &Want,
        limit: usize,
    ) -> Result<Chunk> {
        self.ask(connection)?;
        let all = ReadRange { limit, ..ReadRange::all(from.id, want, &self.settings) };
        self.read_range(connection, from, all)
    }

    /// As [`read`](Self::read), for a copy of all events: their data may be any text.
    pub fn read_to_copy(
        &self,
        connection: &mut Connection,
        from: Position,
        limit: usize,
    ) -> Result<Chunk> {
        self.ask(connection)?;
        let want = Want::all();
        let all = ReadRange::all(from.id, &want, &self.settings);
        self.read_range(connection, from, ReadRange { limit, check_json: false, ..all })
    }

    fn read_range(
        &self,
        connection: &mut Connection,
        from: Position,
        all: ReadRange<'_>,
    ) -> Result<Chunk> {
        if all.want.list().is_some() {
            self.filtered(connection, from, all)
        } else {
            self.gapless(connection, from, all)
        }
    }

    /// Reads from the event on that is at the position, if it is there, and compares it.
    fn read_on(
        &self,
        connection: &mut Connection,
        from: Position,
        range: ReadRange<'_>,
    ) -> Result<Batch> {
        let mut batch = connection.read(&ReadRange { anchored: from.id > 0, ..range })?;
        if let (Some(found), Some(known)) = (batch.anchor, from.anchor)
            && known.id == found.id
            && known != found
        {
            self.doubt(true);
            let why = format!("event {} is another one than was read before", found.id);
            return Err(rewind::error(&[why], &[], from.id));
        }
        batch.anchor = batch.anchor.or(from.anchor);
        Ok(batch)
    }

    /// Without a filter a missing id shows, and only then the server is asked.
    fn gapless(
        &self,
        connection: &mut Connection,
        from: Position,
        all: ReadRange<'_>,
    ) -> Result<Chunk> {
        // The horizon is taken before reading. Ids that another consumer settles during the read
        // may be missing from its rows.
        let horizon = self.settled_from(all.after);
        if horizon >= all.after.saturating_add(all.limit as EventId) {
            // A full chunk is already known to be settled. Reading past it would fetch rows that
            // must be read again after settling.
            let batch = self.read_on(connection, from, ReadRange { up_to: horizon, ..all })?;
            if let Some(last) = batch.events.last() {
                self.allocated.fetch_max(last.id, Ordering::AcqRel);
                let settled_to = if batch.cut { batch.scanned } else { horizon };
                return Ok(Chunk::new(batch.events, settled_to, batch.anchor));
            }
        }
        let batch = match self.read_on(connection, from, all) {
            Err(error) => return self.before_unreadable(connection, from, all, horizon, error),
            Ok(batch) => batch,
        };
        let anchor = batch.anchor;
        let mut last = all.after;
        let mut events = batch.events;
        let settled = events
            .iter()
            .take_while(|event| {
                let follows = event.id <= horizon.max(last) + 1;
                last = if follows { event.id } else { last };
                follows
            })
            .count();
        // A row that was seen proves that its id was allocated. The position of the reader proves
        // nothing.
        let seen = events.last().map_or(0, |event| event.id);
        self.allocated.fetch_max(seen, Ordering::AcqRel);
        if settled == events.len() {
            return Ok(Chunk::new(events, last, anchor));
        }
        events.truncate(settled);
        let up_to = match self.settle(last) {
            Ok(look) => look.horizon,
            // What is gap-free is delivered; the error shows when there is nothing else to give.
            Err(_) if !events.is_empty() => last,
            Err(error) => return Err(error),
        };
        if up_to == last || events.len() >= all.limit {
            return Ok(Chunk::new(events, last, anchor));
        }
        // A fresh read: rows of the gap may have appeared since the first one.
        let limit = all.limit - events.len();
        let rest = match connection.read(&ReadRange { after: last, up_to, limit, ..all }) {
            Err(error) if error.unreadable().is_some() && !events.is_empty() => {
                return Ok(Chunk::new(events, last, anchor));
            }
            result => result?,
        };
        let settled_to = if rest.cut { rest.scanned } else { up_to };
        events.extend(rest.events);
        Ok(Chunk::new(events, settled_to, anchor))
    }

    /// The first row that is visible after `all.after` cannot be read. What may still appear before
    /// it comes first; then it is the error.
    fn before_unreadable(
        &self,
        connection: &mut Connection,
        from: Position,
        all: ReadRange<'_>,
        horizon: EventId,
        error: Error,
    ) -> Result<Chunk> {
        let Some(id) = error.unreadable().map(|row| row.id) else { return Err(error) };
        if id <= horizon.max(all.after) + 1 {
            return Err(error);
        }
        let up_to = self.settle(all.after)?.horizon;
        if up_to <= all.after {
            return Ok(Chunk::new(Vec::new(), all.after, from.anchor));
        }
        let batch = connection.read(&ReadRange { up_to, ..all })?;
        let settled_to = if batch.cut { batch.scanned } else { up_to };
        Ok(Chunk::new(batch.events, settled_to, from.anchor))
    }

    /// A filtered read cannot see gaps, so the horizon must be known first.
    fn filtered(
        &self,
        connection: &mut Connection,
        from: Position,
        all: ReadRange<'_>,
    ) -> Result<Chunk> {
        let mut events = Vec::new();
        let mut after = all.after;
        let mut up_to = self.settled_from(after);
        let mut more = true;
        loop {
            if after < up_to {
                let limit = all.limit - events.len();
                let batch = match connection.read(&ReadRange { after, up_to, limit, ..all }) {
                    Err(error) if error.unreadable().is_some() && !events.is_empty() => {
                        return Ok(Chunk::new(events, after, from.anchor));
                    }
                    result => result?,
                };
                events.extend(batch.events);
                if batch.cut {
                    return Ok(Chunk::new(events, batch.scanned, from.anchor));
                }
                after = up_to;
            }
            if !more {
                return Ok(Chunk::new(events, after, from.anchor));
            }
            match self.settle(after) {
                Ok(look) => {
                    more = look.more && look.horizon > after;
                    up_to = look.horizon.max(self.settled_from(after));
                }
                Err(_) if !events.is_empty() => more = false,
                Err(error) => return Err(error),
            }
        }
    }

    /// For a reader that found nothing: from time to time it asks whether there are events with ids
    /// that nobody can be given.
    pub fn check_reachable(&self, connection: &mut Connection) -> Result<()> {
        let mut looked = lock(&self.looked);
        if looked.is_none_or(|when| when.elapsed() >= ASK_AGAIN) {
            *looked = Some(Instant::now());
            drop(looked);
            if let Some(what) = connection.unreachable()? {
                fail!(CorruptEvent, "{what}");
            }
        }
        Ok(())
    }

    /// Refuses a cursor above the highest id that was ever allocated.
    pub fn check_allocated(
        &self,
        connection: &mut Connection,
        id: EventId,
        whose: &str,
    ) -> Result<()> {
        if !self.is_allocated(connection, id)? {
            let highest = connection.highest_allocated()?;
            fail!(
                InvalidLastId,
                "{whose} is {id}, but the highest event id ever allocated is {highest}: either the id \
                 is of another stream, or the database was restored or lost its last commits in a \
                 crash, and allocates ids again. Compare with the consumer's own state, then \
                 unregister and register it"
            );
        }
        Ok(())
    }

    /// Whether the id was ever allocated, or a higher one.
    pub fn is_allocated(&self, connection: &mut Connection, id: EventId) -> Result<bool> {
        self.doubts();
        if id > self.allocated.load(Ordering::Acquire) {
            let highest = connection.highest_allocated()?;
            self.allocated.fetch_max(highest, Ordering::AcqRel);
            return Ok(id <= highest);
        }
        Ok(true)
    }
}

/// What became of a cursor that was to be stored.
pub(crate) enum Stored {
    /// It is here now.
    At(EventId),
    /// The stream is in doubt: verify, and try again.
    Unsure,
}

pub(crate) fn not_registered(ident: &Ident) -> Error {
    let message = format!("consumer {ident:?} is not registered: call register()");
    Error::new(ErrorKind::NotRegistered, message)
}
