//! Adding events, alone, in a transaction, and in commits that threads share.

pub(crate) mod group_commit;
pub(crate) mod transaction;
