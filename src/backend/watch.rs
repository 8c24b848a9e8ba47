//! What watches the event table for settled ids, and what it sees.

use super::Backend;
#[cfg(feature = "mysql")]
use super::mysql;
#[cfg(feature = "postgres")]
use super::postgres;
#[cfg(any(feature = "postgres", feature = "mysql"))]
use super::sigpipe::Quiet;
use super::sigpipe::Silence;
#[cfg(feature = "sqlite")]
use super::sqlite;
use crate::model::error::Result;
use crate::model::event::EventId;

/// How a settle attempt went.
pub(crate) struct Settled {
    /// Every id up to this, and above `after`, is settled.
    pub horizon: EventId,
    /// The lower end, exclusive, of the range that this result speaks of.
    pub after: EventId,
    /// Committed ids were seen up to this; those above the horizon wait.
    pub visible: EventId,
    /// Only a part of the stream was looked at: looking again from `horizon` goes on.
    pub more: bool,
    /// Why no better evidence could be had, and what helps; `None` if evidence was complete.
    pub blocked: Option<String>,
}

/// Who keeps an id unsettled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderInfo {
    /// The server's name for it: a pid, a thread id, or the name of a prepared transaction.
    pub id: String,
    /// Since when its transaction is open, where the server tells.
    pub since: Option<String>,
    /// Application name, user or host, where the server tells.
    pub application: Option<String>,
}

/// What watches the event table for settled ids: a session of its own beside the pool.
#[allow(clippy::large_enum_variant)] // there is one for each stream
pub(crate) enum Watch {
    /// One writer at a time, ids in commit order: what is visible is settled.
    #[cfg(feature = "sqlite")]
    Sqlite(sqlite::Connection),
    #[cfg(feature = "postgres")]
    Postgres(Quiet<postgres::Watch>),
    #[cfg(feature = "mysql")]
    Mysql(Quiet<mysql::Watch>),
}

impl Watch {
    /// Opens the session and checks that the server can keep the order at all.
    pub fn open(backend: &Backend) -> Result<Self> {
        let _silence = backend.silence();
        Ok(match backend {
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(connector) => Watch::Sqlite(connector.connect()?),
            #[cfg(feature = "postgres")]
            Backend::Postgres(connector) => {
                Watch::Postgres(Quiet::new(postgres::Watch::open(connector)?))
            }
            #[cfg(feature = "mysql")]
            Backend::Mysql(connector) => Watch::Mysql(Quiet::new(mysql::Watch::open(connector)?)),
        })
    }

    /// Looks how far the ids after `position` are settled by now.
    pub fn settle(&mut self, position: EventId) -> Result<Settled> {
        match self {
            #[cfg(feature = "sqlite")]
            Watch::Sqlite(connection) => {
                let horizon = connection.highest_allocated()?.max(position);
                Ok(Settled { horizon, after: 0, visible: horizon, more: false, blocked: None })
            }
            #[cfg(feature = "postgres")]
            Watch::Postgres(watch) => with_silence(|| watch.in_time(|w| w.settle(position))),
            #[cfg(feature = "mysql")]
            Watch::Mysql(watch) => with_silence(|| watch.in_time(|w| w.settle(position))),
        }
    }

    /// Who holds the event table now.
    pub fn holders(&mut self) -> Result<Vec<HolderInfo>> {
        match self {
            #[cfg(feature = "sqlite")]
            Watch::Sqlite(_) => Ok(Vec::new()),
            #[cfg(feature = "postgres")]
            Watch::Postgres(watch) => with_silence(|| watch.in_time(postgres::Watch::holders)),
            #[cfg(feature = "mysql")]
            Watch::Mysql(watch) => with_silence(|| watch.in_time(mysql::Watch::holders)),
        }
    }
}

/// As [`quietly`](super::sigpipe::quietly), for work that may hide a failed write.
fn with_silence<T>(work: impl FnOnce() -> T) -> T {
    let _silence = Silence::begin();
    work()
}
