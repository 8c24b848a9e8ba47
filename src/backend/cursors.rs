//! Cursors as they are stored, and how they move: forward, and never over one that was moved back.

use super::{Connection, direct, each};
use crate::model::error::Result;
use crate::model::event::EventId;
use crate::model::ident::Ident;
use crate::model::life::{Life, Mark};
use std::sync::atomic::{AtomicU8, Ordering};

/// A cursor in the database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    pub id: EventId,
    /// What was written beside it; `None` if nothing was, or somebody else moved the cursor since.
    pub mark: Option<Mark>,
}

impl Cursor {
    pub fn new(id: EventId, mark: Option<&str>) -> Self {
        Cursor { id, mark: mark.and_then(Mark::parse).filter(|mark| mark.cursor == id) }
    }
}

/// A move of a cursor.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    /// Forward to here, never back.
    pub to: EventId,
    /// Not if the cursor is before this: there it was when it was seen last.
    pub known: EventId,
    /// What to write beside it, where the table has a place for that.
    pub mark: Option<String>,
}

impl Move {
    /// Leaves the cursor where it is: says where that is, and that its consumer is alive.
    pub fn none() -> Self {
        Move { to: 0, known: 0, mark: None }
    }
}

/// Whether the table of consumers has the column `mark`.
#[derive(Default)]
pub(crate) struct Marks(AtomicU8);

impl Marks {
    pub fn get(&self, ask: impl FnOnce() -> Result<bool>) -> Result<bool> {
        match self.0.load(Ordering::Relaxed) {
            0 => {
                let has = ask()?;
                self.0.store(1 + u8::from(has), Ordering::Relaxed);
                Ok(has)
            }
            known => Ok(known == 2),
        }
    }

    /// Asks again: the table may have been migrated, or an older one restored.
    pub fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl Connection {
    /// Moves the stored cursor and returns where it is now, which is before `to.known` if somebody
    /// moved it back: then nothing was written. `None` if nobody of this ident is registered.
    pub fn advance(&mut self, ident: &Ident, to: &Move) -> Result<Option<EventId>> {
        each!(self, c => c.advance(ident, to))
    }

    /// The stored cursor, and what stands beside it.
    pub fn cursor(&mut self, ident: &Ident) -> Result<Option<Cursor>> {
        each!(self, c => c.cursor(ident))
    }

    /// Who is registered.
    pub fn idents(&mut self) -> Result<Vec<String>> {
        each!(self, c => c.idents())
    }

    /// Moves the cursor back to `to`, if it is at `from`; whether it was.
    pub fn set_back(&mut self, ident: &Ident, from: EventId, to: EventId) -> Result<bool> {
        each!(self, c => c.set_back(ident, from, to))
    }

    /// Whether this connection was asked for the life of the stream.
    pub fn was_asked(&self) -> bool {
        direct!(self, c => c.was_asked())
    }

    /// What identifies the life of the stream.
    pub fn life(&mut self) -> Result<Life> {
        each!(self, c => c.life())
    }
}
