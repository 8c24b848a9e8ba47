//! What many callers want to have written, in one commit.

use super::abilities::Abilities;
use super::cursors::Move;
use super::{Connection, DatabaseKind, each};
use crate::model::error::Result;
use crate::model::event::{EventId, NewEvent};
use crate::model::ident::Ident;
use std::borrow::Borrow;

/// What a caller wants to have written.
#[derive(Clone, Copy)]
pub(crate) enum Change<'a> {
    Event(&'a NewEvent),
    /// A move of the cursor of a consumer.
    Cursor(&'a Ident, &'a Move),
}

/// The id of an event, or where a cursor is now; `None` if there is no such consumer.
pub(crate) type Written = Option<EventId>;

impl Connection {
    /// Writes all or nothing; what became of each, in order.
    pub fn write(&mut self, changes: &[Change<'_>]) -> Result<Vec<Written>> {
        if let [Change::Cursor(ident, to)] = changes {
            return self.advance(ident, to).map(|cursor| vec![cursor]);
        }
        let events = changes.iter().filter_map(|change| match change {
            Change::Event(event) => Some(*event),
            Change::Cursor(..) => None,
        });
        let events: Vec<&NewEvent> = events.collect();
        if events.len() == changes.len() {
            return Ok(self.insert_group(&events)?.into_iter().map(Some).collect());
        }
        self.in_transaction(|connection| {
            let mut ids = connection.insert_events(&events)?.into_iter();
            let written = changes.iter().map(|change| match change {
                Change::Event(_) => Ok(ids.next()),
                Change::Cursor(ident, to) => connection.advance(ident, to),
            });
            written.collect()
        })
    }

    /// Adds events in order, in a transaction of their own: all or none.
    pub fn insert_group<E: Borrow<NewEvent>>(&mut self, events: &[E]) -> Result<Vec<EventId>> {
        match events {
            // On SQLite, BEGIN and COMMIT cost less than RETURNING, which could refuse an id that is
            // too high within the one statement.
            [event] if self.kind() != DatabaseKind::Sqlite => {
                self.insert_event(event.borrow()).map(|id| vec![id])
            }
            _ if each!(self, c => c.inserts_at_once())? => self.insert_events(events),
            _ => self.in_transaction(|connection| connection.insert_events(events)),
        }
    }

    /// Stores the cursor, or returns `None` where the caller should let it join a shared commit: on SQLite, where
    /// all writers wait for one lock. On a server the cursor is written alone, because a cursor row that somebody
    /// has locked must not delay events.
    pub fn advance_alone(&mut self, ident: &Ident, to: &Move) -> Result<Option<Written>> {
        match self.kind() {
            DatabaseKind::Sqlite => each!(self, c => c.cursor_unless_due(ident, to)),
            _ => Ok(Some(self.advance(ident, to)?)),
        }
    }
}
