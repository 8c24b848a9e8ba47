//! The operations on the history, and on what shortens the event table; the SQL is in each dialect.

use super::abilities::{Abilities, Piece};
use super::{Batch, Connection, DatabaseKind, ReadRange, each};
use crate::model::error::Result;
use crate::model::event::{Event, EventId, Timestamp};
use crate::model::ident::Ident;

/// What to discard.
#[derive(Clone, Copy)]
pub(crate) struct Discard<'a> {
    /// The result of the previous pass.
    pub known: Discarded,
    /// At most this many events.
    pub limit: usize,
    /// Who must be registered, or nothing is discarded.
    pub archiver: Option<&'a Ident>,
    /// Whether cursors mean what they meant when they were verified: asked in the transaction, when nobody
    /// can make the event table anew any more.
    pub holds: &'a dyn Fn(&mut Connection) -> Result<bool>,
}

/// What was discarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Discarded {
    pub events: u64,
    /// Everything up to this is gone.
    pub up_to: EventId,
    /// Everybody had acknowledged everything up to this; 0 if that has to be asked.
    pub bound: EventId,
    /// No id was missing among the last ones: probably none is among the next ones.
    pub dense: bool,
}

/// On a server, whose disk and round trip cost more than a deletion: most events of one transaction
/// that has several statements, which are 16 at most.
const TOGETHER: u64 = 10_000;

impl Connection {
    /// Adds events to the history, inside the caller's transaction. `false`, after which that has
    /// to be rolled back: one of their ids is there already.
    pub fn insert_history(&mut self, events: &[Event]) -> Result<bool> {
        each!(self, c => c.insert_history(events))
    }

    pub fn read_history(&mut self, range: &ReadRange<'_>) -> Result<Batch> {
        each!(self, c => c.read_history(range))
    }

    /// The highest id in the history; 0 if there is none.
    pub fn history_end(&mut self) -> Result<EventId> {
        each!(self, c => c.history_end())
    }

    /// The lowest id of an event that is there with a time stamp of `ts` or later.
    pub fn first_since(&mut self, ts: Timestamp) -> Result<Option<EventId>> {
        each!(self, c => c.first_since(ts))
    }

    /// Unregisters a consumer, if it was not seen for this time; whether it was there.
    pub fn expire(&mut self, seconds: u64, ident: &str) -> Result<bool> {
        each!(self, c => c.expire(seconds, ident))
    }

    /// Deletes the oldest events, as far as every registered consumer has acknowledged them, and
    /// never the one with the highest id: after a restart some servers would draw that id again.
    ///
    /// What is deleted is settled (a cursor stands behind it), so nothing can appear among it.
    ///
    /// **Who registers meanwhile** has its cursor before the first event that is still there, and
    /// must get every one from there on. A statement that reads the lowest cursor and deletes does
    /// not see to that: a consumer can register after the cursors were read, be given the first
    /// doomed events, which everybody sees until the commit, and then miss the others. So the
    /// cursors are read again after the deletion, under a lock that keeps registrations out until
    /// the commit. Whoever registered before the lock is seen, and the deletion undone; whoever
    /// comes after it registers after the commit, when the events are not there any more. This
    /// holds for consumers of other libraries, too, and wherever they begin, since all of them
    /// put a row into the consumer table. The lock is held for two round trips at most, on a table
    /// that no writer of events touches. That is also why the bound need not be asked each time.
    pub fn discard(&mut self, order: &Discard<'_>) -> Result<Discarded> {
        let Discarded { up_to: after, bound, dense, .. } = order.known;
        let nothing = Discarded { up_to: after, ..Discarded::default() };
        let bound = match bound > after {
            true => bound,
            false => each!(self, c => c.discard_bound(order.archiver))?,
        };
        if bound <= after {
            return Ok(nothing);
        }
        let limit = order.limit as u64;
        let together = match self.kind() {
            DatabaseKind::Sqlite => 1,
            _ => (TOGETHER.min(bound - after - 1) / limit).clamp(1, 16),
        };
        let cut = after + limit * together;
        let piece = match dense && cut < bound {
            true => Piece { after, cut, step: limit, count: limit },
            false => each!(self, c => c.discard_piece(after, bound, order.limit))?,
        };
        if piece.count == 0 {
            return Ok(nothing);
        }
        let discarded = match self.kind() {
            // Nothing to lock: whoever writes is alone.
            DatabaseKind::Sqlite => {
                self.in_transaction(|connection| match (order.holds)(connection)? {
                    true => connection.delete_piece(piece),
                    false => Ok(None),
                })
            }
            _ => self.discard_on_server(piece, order),
        };
        match discarded? {
            None => Ok(nothing),
            Some(0) if dense => {
                let known = Discarded { dense: false, ..order.known };
                self.discard(&Discard { known, ..*order })
            }
            Some(events) => {
                let dense = events == piece.cut - after;
                Ok(Discarded { events, up_to: piece.cut, bound, dense })
            }
        }
    }

    fn delete_piece(&mut self, piece: Piece) -> Result<Option<u64>> {
        each!(self, c => c.delete_piece(piece))
    }

    fn discard_on_server(&mut self, piece: Piece, order: &Discard<'_>) -> Result<Option<u64>> {
        // MySQL and MariaDB show only the second in which a table was made anew, so the last event of a cursor
        // is compared, too: before it is deleted, and in the transaction that keeps TRUNCATE off until its end.
        let is_kept = each!(self, c => c.begin_discard())?;
        let before = if is_kept { (order.holds)(self) } else { Ok(true) };
        if !matches!(before, Ok(true)) {
            each!(self, c => c.end_discard(piece, false))?;
            return before.map(|_| None);
        }
        let Some(deleted) = self.delete_piece(piece)? else { return Ok(None) };
        let holds = if is_kept { Ok(true) } else { (order.holds)(self) };
        let commit = matches!(holds, Ok(true));
        let mut end = || each!(self, c => c.end_discard(piece, commit));
        let done = end();
        Ok((holds? && done?).then_some(deleted))
    }
}
