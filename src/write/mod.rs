//! Adding events: alone, many at once, in a transaction, and on the caller's own connection.

pub(crate) mod group_commit;
pub(crate) mod transaction;
pub(crate) mod writer;
