//! The replay: all of history, and then the active events, as one stream.

use super::Warehouse;
use crate::backend::ReadRange;
use crate::model::error::{ErrorKind, Result};
use crate::model::event::{Event, EventId};
use crate::model::ident::Want;
use crate::model::ident::check_limit;
use crate::model::life::{Anchor, Life, Position};
use crate::read::reader::Reader;
use crate::read::tail::TailPlace;
use crate::stream::EventStream;
use crate::sync::cancel::{CancelToken, Wait};
use std::sync::Arc;
use std::time::Duration;

/// Reads the history of a warehouse and goes on with the active events of its stream, in order of
/// their ids, without a hole or a duplicate where the two meet, also while an archiver and a
/// discarder are at work. Made by [`Warehouse::replay`].
///
/// It keeps its position in this handle only, and registers nothing: what was given is not
/// acknowledged, and not kept back from a discarder. It relies on the archiver: events that were
/// discarded without one (`require_archiver=false`) are in neither place. One thread uses it at a
/// time; it may be moved to another.
///
/// ```
/// use futoin_eventstream::{Archiver, Discarder, EventStream, Options, Want, Warehouse};
/// # fn main() -> Result<(), futoin_eventstream::Error> {
/// let stream = EventStream::open("sqlite::memory:")?;
/// let warehouse = Warehouse::open("sqlite::memory:")?;
/// stream.migrate()?;
/// warehouse.migrate()?;
/// stream.add_event("OLD", &1)?;
/// stream.add_event("OLD", &2)?;
/// Archiver::new(&stream, &warehouse, &Options::new())?.run_once()?;
/// Discarder::new(&stream, &Options::new())?.run_once()?;
/// stream.add_event("NEW", &3)?;
///
/// let mut replay = warehouse.replay(&stream, 1, &Want::all());
/// let mut ids = Vec::new();
/// loop {
///     let events = replay.next(100)?;
///     if events.is_empty() {
///         break; // all for now; later calls give what comes later
///     }
///     ids.extend(events.into_iter().map(|event| event.id));
/// }
/// assert_eq!(ids, [1, 2, 3]);
/// # Ok(()) }
/// ```
pub struct Replay {
    reader: Arc<Reader>,
    warehouse: Warehouse,
    want: Want,
    /// Everything up to this was given.
    position: EventId,
    /// Where the caller let it begin.
    begin: EventId,
    /// The last active event that was given.
    anchor: Option<Anchor>,
    /// The stream as it was when there were so many doubts whether it is still the same.
    seen: Option<(u64, Option<Life>)>,
    /// The end of the history was met: the active events come first.
    at_tail: bool,
    tail: Arc<TailPlace>,
}

impl Warehouse {
    /// All events of `stream` from `from_id` on, archived or not: see [`Replay`]. The warehouse
    /// must be the one of this stream. Asks no database yet.
    pub fn replay(&self, stream: &EventStream, from_id: EventId, want: &Want) -> Replay {
        Replay {
            reader: stream.reader().clone(),
            warehouse: self.clone(),
            want: want.clone(),
            position: from_id.saturating_sub(1),
            begin: from_id.saturating_sub(1),
            anchor: None,
            seen: None,
            at_tail: false,
            tail: Arc::new(stream.tail_place()),
        }
    }
}

impl Replay {
    /// The id up to which everything was given (or was not wanted). To go on later, or in another
    /// process, begin at this plus 1.
    pub fn position(&self) -> EventId {
        self.position
    }

    /// Whether no event is given whose data is no JSON: the option `check_json`.
    pub(crate) fn checks_json(&self) -> bool {
        self.reader.settings.check_json && self.warehouse.checks_json()
    }

    /// The next events, at most `limit` of them (and of `max_chunk_bytes`). None means that there
    /// are no more now.
    ///
    /// # Errors
    /// `InvalidArgument` for a limit of 0, `InvalidLastId` if the position is above the highest id
    /// that was ever allocated, `NotMigrated`, `UnsafeServer`, and those of both databases. The next
    /// call goes on at the same position. `StreamRewound`, once, if the stream lost events or began
    /// anew: the next call goes on at the position or the highest id allocated, whichever is lower.
    pub fn next(&mut self, limit: usize) -> Result<Vec<Event>> {
        loop {
            if let Some(events) = self.look(limit)? {
                return Ok(events);
            }
        }
    }

    /// As [`next`](Self::next), but waits for the first event, up to `timeout`; zero looks
    /// once, `Duration::MAX` has no end. Gives no event if none came in time; more may be there
    /// then behind what was not wanted: [`position`](Self::position) moves on. Waiting costs what it
    /// costs in [`Consumer::poll_for`](crate::Consumer::poll_for).
    ///
    /// # Errors
    /// As [`next`](Self::next), and `Cancelled` if the token ended the wait; the next
    /// call goes on at the same position.
    pub fn next_for(
        &mut self,
        limit: usize,
        timeout: Duration,
        cancel: Option<&CancelToken>,
    ) -> Result<Vec<Event>> {
        let wait = Wait::new(timeout, cancel);
        let (tail, want) = (self.tail.clone(), self.want.clone());
        tail.wait_for(&want, &wait, || {
            loop {
                match self.look(limit)? {
                    Some(events) => return Ok(events),
                    None if !wait.goes_on() => return Ok(Vec::new()),
                    None => {}
                }
            }
        })
    }

    /// One bounded piece of it: `None` if what was read was not wanted, and more may be there.
    pub(crate) fn look(&mut self, limit: usize) -> Result<Option<Vec<Event>>> {
        check_limit(limit)?;
        let (before, live) = (self.position, self.at_tail);
        let events = if live { self.live(limit)? } else { self.history(limit)? };
        Ok((!events.is_empty() || (live && self.position == before)).then_some(events))
    }

    /// An event is in the history only when all before it are: the archiver writes in order. So
    /// what is found there has no hole, whatever is in the event table.
    fn history(&mut self, limit: usize) -> Result<Vec<Event>> {
        let settings = self.warehouse.settings();
        let range = ReadRange::all(self.position, &self.want, settings);
        let batch = self.warehouse.read(limit, range)?;
        self.position = self.position.max(batch.scanned);
        self.at_tail = !batch.cut && batch.events.is_empty();
        Ok(batch.events)
    }

    /// Says once that the stream was rewound.
    fn verify(&mut self, doubts: u64) -> Result<()> {
        let life = match self.seen {
            None => {
                self.seen = Some((doubts, None));
                return Ok(());
            }
            Some((seen, _)) if seen == doubts => return Ok(()),
            Some((_, life)) => life,
        };
        let at = Position { id: self.position, anchor: self.anchor };
        let (now, life, rewound) = self.reader.pool()?.with_retry(|connection| {
            self.reader.verify_unregistered(connection, at, life, doubts)
        })?;
        (self.position, self.anchor, self.seen) = (now.id, now.anchor, Some((doubts, Some(life))));
        rewound.map_or(Ok(()), Err)
    }

    /// The active events first, the history then: what was discarded before the first read was
    /// archived before it, so it is found by the second one.
    fn live(&mut self, limit: usize) -> Result<Vec<Event>> {
        let doubts = self.reader.doubts();
        self.verify(doubts)?;
        let after = self.position;
        let from = Position { id: after, anchor: self.anchor };
        let chunk = self.reader.pool()?.with_retry(|connection| {
            let chunk = self.reader.read(connection, from, &self.want, limit)?;
            if chunk.events.is_empty() && !self.reader.is_allocated(connection, after)? {
                if after == self.begin {
                    let whose = "the position of the replay";
                    self.reader.check_allocated(connection, after, whose)?;
                }
                self.reader.doubt(false);
            }
            Ok(chunk)
        });
        let chunk = match chunk {
            Err(error) if error.kind() == ErrorKind::StreamRewound => return self.live(limit),
            result => result?,
        };
        if self.reader.doubts() != doubts {
            return self.live(limit);
        }
        self.anchor = chunk.anchor;
        self.seen = Some((doubts, self.reader.life()));
        if chunk.settled_to == after {
            // Not even the newest event is there: the npm package's discarder leaves none.
            return self.history(limit);
        }
        let has_no_gap = chunk.events.len() as u64 == chunk.settled_to - after;
        if has_no_gap {
            self.position = chunk.settled_to;
            return Ok(chunk.events);
        }
        let range = ReadRange::all(after, &self.want, self.warehouse.settings());
        let batch = self.warehouse.read(limit, ReadRange { up_to: chunk.settled_to, ..range })?;
        let up_to = if batch.cut { batch.scanned } else { chunk.settled_to };
        let mut events = merge(batch.events, chunk.events, up_to);
        self.position = up_to;
        if events.len() > limit {
            events.truncate(limit);
            self.position = events.last().map_or(up_to, |event| event.id);
        }
        // The history had a full chunk for this range, so reading continues there.
        self.at_tail = !batch.cut;
        Ok(events)
    }
}

/// The events of both lists up to `up_to`, each once, in order.
fn merge(archived: Vec<Event>, active: Vec<Event>, up_to: EventId) -> Vec<Event> {
    // Where both have one, the active one: an archived one may be of before the stream was rewound.
    let mut events = active;
    events.extend(archived);
    events.retain(|event| event.id <= up_to);
    events.sort_by_key(|event| event.id);
    events.dedup_by_key(|event| event.id);
    events
}
