//! Reading settled events in order, and storing cursors.

pub(crate) mod background;
pub(crate) mod consumer;
pub(crate) mod late;
pub(crate) mod reader;
pub(crate) mod rewind;
pub(crate) mod shared_chunks;
pub(crate) mod start_at;
pub(crate) mod tail;

use crate::model::error::{Result, fail};

/// Refuses to read at most 0 events, which is a mistake of the caller's arithmetic.
pub(crate) fn check_limit(limit: usize) -> Result<()> {
    match limit {
        0 => fail!(InvalidArgument, "the limit must be at least 1 event"),
        _ => Ok(()),
    }
}
