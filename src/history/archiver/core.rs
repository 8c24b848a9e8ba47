//! What an archiver works with: the stream, the warehouse, and how batches get from one to the other.

use crate::backend::cursors::Move;
use crate::history::{HistoryNotice, Warehouse};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::{Event, EventId};
use crate::model::ident::Ident;
use crate::model::life::Position;
use crate::read::reader::{Chunk, Reader};
use crate::read::rewind::{Standing, Verdict};
use crate::sync::runner::Notices;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

/// What its thread and its calls share.
pub struct Core {
    pub reader: Arc<Reader>,
    pub warehouse: Warehouse,
    pub ident: Ident,
    /// Most events of one batch.
    pub batch: usize,
    pub notices: Notices<HistoryNotice>,
    /// Serializes the calls of `run_once` on this handle.
    pub once: Mutex<()>,
    /// The thread that is in `run_once`, which its notices come from.
    pub in_run_once: Mutex<Option<ThreadId>>,
}

impl Core {
    /// Registers, if needed, and finds out where the archiver stands. One that was there is not registered
    /// again at once: a restore has its row away for a moment.
    pub fn resume(&self, standing: &Standing, doubts: u64) -> Result<Verdict> {
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

    pub fn unregistered(&self) -> Error {
        let message = format!("somebody has unregistered {}", self.ident);
        Error::new(ErrorKind::NotRegistered, message)
    }

    /// The next batch; `known` is the stored cursor.
    pub fn read(&self, from: Position, known: EventId) -> Result<Chunk> {
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
    pub fn is_full(&self, events: &[Event]) -> bool {
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
