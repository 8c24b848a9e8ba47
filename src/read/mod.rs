//! Reading settled events in order, and storing cursors.

pub(crate) mod background;
pub(crate) mod consumer;
pub(crate) mod late;
pub(crate) mod reader;
pub(crate) mod rewind;
pub(crate) mod shared_chunks;
pub(crate) mod start_at;
pub(crate) mod tail;
