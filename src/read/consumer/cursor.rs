//! The cursor of a reliable consumer.

use crate::backend::Connection;
use crate::backend::cursors::Move;
use crate::model::error::Result;
use crate::model::event::EventId;
use crate::model::ident::Ident;
use crate::model::life::Position;
use crate::read::reader::{Reader, Stored, not_registered};
use crate::read::rewind::{self, Standing};
use crate::sync::lock::lock;
use std::sync::{Arc, Mutex};

/// The cursor of a reliable consumer, and what is known of it.
#[derive(Clone)]
pub(super) struct Cursor {
    pub ident: Ident,
    pub standing: Arc<Mutex<Standing>>,
}

impl Cursor {
    /// Sees to it that the consumer stands in the stream as it is now; gives the doubts that there
    /// are. Says once that the stream was rewound.
    pub fn verified(&self, reader: &Reader) -> Result<u64> {
        let doubts = reader.doubts();
        let known = lock(&self.standing);
        if known.seen == Some(doubts) {
            return Ok(doubts);
        }
        let standing = known.clone();
        drop(known);
        let Some(verdict) = reader.find(&self.ident, &standing, doubts)? else {
            lock(&self.standing).forget();
            return Err(not_registered(&self.ident));
        };
        lock(&self.standing).adopt(&verdict, doubts);
        verdict.rewound.map_or(Ok(doubts), Err)
    }

    /// What is known of the position.
    pub fn position(&self, id: EventId) -> Position {
        lock(&self.standing).position(id)
    }

    /// Stores the cursor and gives where it is now; `None` if the stream is in doubt.
    pub fn store(&self, reader: &Reader, last_id: EventId, doubts: u64) -> Result<Option<EventId>> {
        let allocated = |connection: &mut Connection| {
            reader.ask(connection)?;
            let due = lock(&self.standing).due_for_comparison();
            for anchor in due {
                if rewind::is_another(connection, anchor)? {
                    reader.doubt(true);
                    return Ok(());
                }
            }
            let known = lock(&self.standing).has_given(last_id);
            if known && !reader.is_allocated(connection, last_id)? {
                reader.doubt(false);
                return Ok(());
            }
            reader.check_allocated(connection, last_id, "last_id")
        };
        reader.pool()?.with_retry(allocated)?;
        let at = lock(&self.standing).position(last_id);
        self.move_to(reader, at, doubts)
    }

    /// As [`store`](Self::store), for a position that is surely one of the stream.
    pub fn move_to(&self, reader: &Reader, at: Position, doubts: u64) -> Result<Option<EventId>> {
        let standing = lock(&self.standing);
        let known = standing.stored.id;
        let mark = (at.id > known).then(|| standing.mark(at)).flatten();
        drop(standing);
        match reader.store(&self.ident, &Move { to: at.id, known, mark }, doubts)? {
            Stored::Unsure => Ok(None),
            Stored::At(cursor) if cursor < known => {
                // Somebody has moved it back.
                reader.doubt(false);
                Ok(None)
            }
            Stored::At(cursor) => {
                lock(&self.standing).moved(at, cursor, reader.asks());
                Ok(Some(cursor))
            }
        }
    }
}
