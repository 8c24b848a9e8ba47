//! What connections are made from.

use super::abilities::ConnectorAbilities;
#[cfg(feature = "mysql")]
use super::mysql;
#[cfg(feature = "postgres")]
use super::postgres;
use super::reach::Reach;
#[cfg(any(feature = "postgres", feature = "mysql"))]
use super::sigpipe::Quiet;
use super::sigpipe::Silence;
#[cfg(feature = "sqlite")]
use super::sqlite;
use super::{Connection, DatabaseKind};
use crate::config::Settings;
use crate::config::location::{Location, SqliteFile};
use crate::model::error::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::time::Duration;

/// A database to connect to: what a stream is opened with.
pub(crate) enum Backend {
    #[cfg(feature = "sqlite")]
    Sqlite(sqlite::Connector),
    #[cfg(feature = "postgres")]
    Postgres(Arc<postgres::Connector>),
    #[cfg(feature = "mysql")]
    Mysql(Arc<mysql::Connector>),
}

/// Calls the same method of whichever dialect it is.
macro_rules! of_each {
    ($self:expr, $connector:ident => $call:expr) => {
        match $self {
            #[cfg(feature = "sqlite")]
            Backend::Sqlite($connector) => $call,
            #[cfg(feature = "postgres")]
            Backend::Postgres($connector) => $call,
            #[cfg(feature = "mysql")]
            Backend::Mysql($connector) => $call,
        }
    };
}

impl Backend {
    /// # Errors
    /// `InvalidUrl` for a database whose driver is not compiled in.
    pub fn new(location: Location, settings: Arc<Settings>) -> Result<Self> {
        match location {
            #[cfg(feature = "sqlite")]
            Location::Sqlite(file) => Ok(Backend::Sqlite(sqlite::Connector::new(file, settings)?)),
            #[cfg(feature = "postgres")]
            Location::Postgres(server) => {
                Ok(Backend::Postgres(Arc::new(postgres::Connector::new(server, settings)?)))
            }
            #[cfg(feature = "mysql")]
            Location::Mysql(server) => {
                Ok(Backend::Mysql(Arc::new(mysql::Connector::new(server, settings))))
            }
            #[allow(unreachable_patterns)] // unless a feature is off
            other => Err(left_out(&other)),
        }
    }

    pub fn kind(&self) -> DatabaseKind {
        match self {
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(_) => DatabaseKind::Sqlite,
            #[cfg(feature = "postgres")]
            Backend::Postgres(_) => DatabaseKind::Postgres,
            #[cfg(feature = "mysql")]
            Backend::Mysql(_) => DatabaseKind::Mysql,
        }
    }

    /// A new connection of its own, outside of any pool.
    pub fn connect(&self) -> Result<Connection> {
        let _silence = self.silence();
        Ok(match self {
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(connector) => Connection::Sqlite(connector.connect()?),
            #[cfg(feature = "postgres")]
            Backend::Postgres(connector) => Connection::Postgres(Quiet::new(connector.connect()?)),
            #[cfg(feature = "mysql")]
            Backend::Mysql(connector) => Connection::Mysql(Quiet::new(connector.connect()?)),
        })
    }

    /// Whether one connection can read while another one commits.
    pub fn reads_beside_writes(&self) -> bool {
        of_each!(self, connector => connector.reads_beside_writes())
    }

    /// How often new connections have reached another server than those before; connections from
    /// before that are [stale](Connection::is_stale).
    pub fn generation(&self) -> u64 {
        of_each!(self, connector => connector.generation())
    }

    /// The file of the database; `None` on a server.
    pub fn file(&self) -> Option<&SqliteFile> {
        of_each!(self, connector => connector.file())
    }

    /// How the server is reached; `None` where there is none.
    fn reach(&self) -> Option<&Reach> {
        of_each!(self, connector => connector.reach())
    }

    /// For work that may go on after a failed write: trying one address after the other, looking.
    pub(super) fn silence(&self) -> Option<Silence> {
        self.reach().map(|_| Silence::begin())
    }

    /// The longest time of a call on a server.
    pub fn call_timeout(&self) -> Option<Duration> {
        self.reach()?.call_timeout()
    }

    /// After so long without a sign of life a host is taken for dead; `None` leaves that to the system.
    pub fn dead_after(&self) -> Option<Duration> {
        self.reach()?.dead_after()
    }

    /// Cuts off, after a moment, what hangs in a call on a server, or while connecting to it.
    pub fn close(&self) {
        if let Some(reach) = self.reach() {
            reach.close();
        }
    }
}

/// The error of a URL whose driver is not compiled in.
fn left_out(location: &Location) -> Error {
    let (what, feature) = match location {
        Location::Sqlite(_) => ("SQLite", "sqlite"),
        Location::Postgres(_) => ("PostgreSQL", "postgres"),
        Location::Mysql(_) => ("MySQL and MariaDB", "mysql"),
    };
    let text = format!("this build has no driver for {what}: enable the crate feature `{feature}`");
    Error::new(ErrorKind::InvalidUrl, text)
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::backend::migrate;
    use crate::backend::pool::Pool;
    use crate::config::Options;
    use crate::model::event::NewEvent;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_panic_inside_a_transaction_leaves_neither_the_transaction_nor_the_turn() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?busy_timeout_ms=200", folder.path().join("a.db").display());
        let (location, settings) = crate::config::url::parse(&url, &Options::new()).unwrap();
        let settings = Arc::new(settings);
        let pool =
            Pool::open(Backend::new(location, settings.clone()).unwrap(), &settings).unwrap();
        pool.with(|c| migrate::active(c, &settings)).unwrap();
        let event = NewEvent::new("TEST", &1).unwrap();
        let panic = catch_unwind(AssertUnwindSafe(|| {
            pool.with(|c| {
                c.in_transaction(|c| {
                    c.insert_event(&event)?;
                    if true {
                        panic!("a defect");
                    }
                    Ok(())
                })
            })
        }));
        assert!(panic.is_err());
        assert_eq!(pool.with(|c| c.insert_event(&event)).unwrap(), 1);
    }
}
