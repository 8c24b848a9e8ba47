//! The databases: one `enum` over three blocking drivers, and the pool of their connections.
//!
//! This module and its children are the only ones with SQL. Each of `sqlite`, `postgres` and `mysql` is
//! one dialect, compiled in by the crate feature of its name; what they have in common is the list of
//! operations of [`Connection`], what only some of them have is in [`abilities`]. Which of them are
//! compiled in shows in this file, `connector.rs`, `connection.rs` and `watch.rs`, and nowhere else in
//! this folder. Nothing here knows of delivery.

pub(crate) mod abilities;
pub(crate) mod connection;
pub(crate) mod connector;
pub(crate) mod cursors;
pub(crate) mod doctor;
pub(crate) mod history;
mod ids;
mod kind;
pub(crate) mod lease;
pub(crate) mod migrate;
#[cfg(feature = "mysql")]
pub(crate) mod mysql;
pub(crate) mod pool;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
pub(crate) mod reach;
mod rows;
pub(crate) mod session;
pub(crate) mod sigpipe;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
mod strict_ids;
#[cfg(all(feature = "tls", any(feature = "postgres", feature = "mysql")))]
pub(crate) mod tls;
pub(crate) mod verify;
mod watch;
pub(crate) mod write;

pub(crate) use connection::{Connection, of_insert};
use connection::{direct, each};
pub(crate) use connector::Backend;
use ids::{above_limit, event_id, within_limit};
pub use kind::DatabaseKind;
pub(crate) use rows::{Batch, ConsumerRow, ReadRange, StreamRow};
pub use watch::HolderInfo;
pub(crate) use watch::{Settled, Watch};

/// Notes that the caller came through the C interface: its process may have another SQLite library, but
/// nobody else in it uses ours.
#[cfg(feature = "capi")]
pub(crate) fn nobody_shares_our_sqlite() {
    #[cfg(feature = "sqlite")]
    sqlite::guard::nobody_shares_our_library();
}

/// Whether this thread has come so far with its end that what the driver of PostgreSQL keeps for each
/// thread is gone, as it is in a handler of `atexit` and in the destructor of a static object.
#[cfg(feature = "capi")]
pub(crate) fn thread_is_ending() -> bool {
    #[cfg(feature = "postgres")]
    return postgres::thread_is_ending();
    #[cfg(not(feature = "postgres"))]
    false
}
