//! What polls: reliable and LIVE consumers, their cursors, waits and caches, and the history.

mod consumer;
mod live;
mod polling;
mod read_ahead;
mod replay;
mod side_by_side;
mod unregistered;
mod waiting;
