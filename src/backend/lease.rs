//! The right to be the only receiver of an ident, across processes.
//!
//! It is something that the server, or the operating system, takes back by itself when its owner
//! dies: an advisory lock of a session of its own on PostgreSQL and MySQL, a lock on a file beside
//! the database on SQLite. No table, no heartbeat, no write; but for a pooler in transaction mode, which
//! keeps no session: see `postgres/lease.rs`.

use super::postgres::session::new_mark;
use super::{Backend, Connection};
use crate::consumer::Ident;
use crate::error::{Error, ErrorKind, Result};
use crate::line::GRACE;
use crate::url::SqliteFile;
use crate::value::Value;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

/// A session that does not answer in this time is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Held until dropped.
pub(crate) enum OwnerLease {
    /// The session that holds the lock.
    Session(Box<Connection>),
    /// A row that is put off at each look, behind a pooler that keeps no sessions.
    Row {
        connection: Box<Connection>,
        ident: String,
        owner: String,
    },
    File(#[expect(dead_code, reason = "the open file is the lock")] File),
    /// A database in memory has no other process.
    Memory,
}

impl OwnerLease {
    /// Takes the lease of `ident` on the stream; `None` while somebody else has it.
    pub fn take(backend: &Backend, ident: &Ident) -> Result<Option<OwnerLease>> {
        if let Backend::Sqlite(connector) = backend {
            return match connector.file() {
                SqliteFile::Memory => Ok(Some(OwnerLease::Memory)),
                SqliteFile::Path(path) => lock_file(path, ident),
            };
        }
        let mut connection = backend.connect()?;
        if let (Backend::Postgres(connector), Connection::Postgres(session)) =
            (backend, &mut connection)
            && connector.is_pooled()
        {
            let (ident, owner) = (ident.as_str().to_owned(), new_mark());
            let taken = session.hold_lease(&ident, &owner)?;
            let connection = Box::new(connection);
            return Ok(taken.then_some(OwnerLease::Row { connection, ident, owner }));
        }
        let taken = match &mut connection {
            Connection::Postgres(session) => session.take_lock(ident.as_str())?,
            other => {
                let rows = other.query(&backend.lease_sql(), &[ident.as_str().into()])?;
                rows.first().and_then(|row| row.first()).and_then(Value::as_i64) == Some(1)
            }
        };
        // Who owns it waits no longer than others wait for his host to be taken for dead.
        connection.limit(backend.call_timeout().map_or(PATIENCE, |limit| limit.min(PATIENCE)))?;
        Ok(taken.then(|| OwnerLease::Session(Box::new(connection))))
    }

    /// Asks whether the session, and with it the lock, is still there; and on the server that the
    /// address leads to by now.
    pub fn is_held(&mut self) -> bool {
        match self {
            OwnerLease::Session(connection) => {
                !connection.is_stale()
                    && match &mut **connection {
                        Connection::Postgres(session) => session.has_lock().unwrap_or(false),
                        other => other.ping().is_ok(),
                    }
            }
            OwnerLease::Row { connection, ident, owner } => match &mut **connection {
                Connection::Postgres(session) => session.hold_lease(ident, owner).unwrap_or(false),
                _ => false,
            },
            OwnerLease::File(_) | OwnerLease::Memory => true,
        }
    }
}

impl Drop for OwnerLease {
    /// Told to release the lock, the server has done so when the next owner asks; the end of a
    /// session it notices some time later.
    fn drop(&mut self) {
        if let OwnerLease::Row { connection, ident, owner } = self
            && let Connection::Postgres(session) = &mut **connection
            && let Err(error) = session.drop_lease(ident, owner)
        {
            log::warn!("futoin-eventstream: the lease of {ident} ends by its time: {error}");
        }
        if let OwnerLease::Session(connection) = self {
            let release = match **connection {
                Connection::Postgres(_) => "SELECT pg_advisory_unlock_all()",
                _ => "SELECT RELEASE_ALL_LOCKS()",
            };
            // A broken session has none any more; nobody waits long for one that hangs.
            let _ = connection.limit(GRACE);
            let _ = connection.script(release);
        }
    }
}

impl Backend {
    /// The statement that tries to take the lock of an ident of this stream on MySQL.
    fn lease_sql(&self) -> String {
        match self {
            Backend::Mysql(connector) => format!(
                "SELECT GET_LOCK(CONCAT('fes:', SHA2(CONCAT('{}', ':', ?), 224)), 0)",
                connector.queue()
            ),
            Backend::Postgres(_) | Backend::Sqlite(_) => String::new(),
        }
    }
}

/// The file stays when the lease ends: removing it would race with the next owner.
fn lock_file(database: &Path, ident: &Ident) -> Result<Option<OwnerLease>> {
    let mut name = database.as_os_str().to_owned();
    name.push(format!("-lease-{}", utf8_percent_encode(ident.as_str(), NON_ALPHANUMERIC)));
    let failed = |why: std::io::Error| {
        Error::new(
            ErrorKind::Database,
            format!("cannot lock {name:?}, the lease of {ident}: {why}"),
        )
    };
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // Whoever may write to the folder could have put a link there, to any file of ours.
        options.mode(0o600).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK);
    }
    let file = options.open(&name).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(OwnerLease::File(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(why)) => Err(failed(why)),
    }
}
