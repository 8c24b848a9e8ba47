//! What a stream is made of: events, idents, values and errors, and where a reader stands.

pub(crate) mod check;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod ident;
pub(crate) mod life;
pub(crate) mod timestamp;
pub(crate) mod unreadable;
pub(crate) mod value;
