//! The operations on the history, and on what shortens the event table; the SQL is in each dialect.

use super::{Batch, Connection, ReadRange, each};
use crate::consumer::Ident;
use crate::error::Result;
use crate::event::{Event, EventId, Timestamp};

/// What to discard.
pub(crate) struct Discard<'a> {
    /// Everything up to this is gone already.
    pub after: EventId,
    /// At most this many events.
    pub limit: usize,
    /// Who must be registered, or nothing is discarded.
    pub archiver: Option<&'a Ident>,
}

/// What was discarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Discarded {
    pub events: u64,
    /// Everything up to this is gone.
    pub upto: EventId,
}

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

    /// Unregisters consumers other than `keep` that were not seen for this time; their idents.
    pub fn expire(&mut self, seconds: u64, keep: &Ident) -> Result<Vec<String>> {
        each!(self, c => c.expire(seconds, keep))
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
    /// put a row into the consumer table. The lock is held for two round trips, on a table that
    /// no writer of events touches.
    pub fn discard(&mut self, order: &Discard<'_>) -> Result<Discarded> {
        let nothing = Discarded { events: 0, upto: order.after };
        let bound = each!(self, c => c.discard_bound(order.archiver, false))?;
        if bound <= order.after {
            return Ok(nothing);
        }
        let (cut, count) = each!(self, c => c.discard_cut(order.after, bound, order.limit))?;
        if count == 0 {
            return Ok(nothing);
        }
        let done = each!(self, c => c.begin_discard()).and_then(|()| {
            let events = each!(self, c => c.delete_events(order.after, cut, count))?;
            Ok((events, each!(self, c => c.discard_bound(order.archiver, true))?))
        });
        let result = match done {
            Ok((events, bound)) if bound >= cut => {
                self.commit().map(|()| Discarded { events, upto: cut })
            }
            Ok(_) => self.rollback().map(|()| nothing),
            Err(error) => {
                let _ = self.rollback();
                Err(error)
            }
        };
        let ended = each!(self, c => c.end_discard());
        result.and_then(|discarded| ended.map(|()| discarded))
    }
}
