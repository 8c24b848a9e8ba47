//! The right to be the only receiver of an ident, across processes.
//!
//! It is something that the server, or the operating system, takes back by itself when its owner
//! dies: an advisory lock of a session of its own on PostgreSQL and MySQL, a lock on a file beside
//! the database on SQLite. No table and no write; but for a pooler in transaction mode, which keeps no
//! session: see `postgres/lease.rs`.
//!
//! A server does not see that a host is gone, or cut off behind a proxy that lives. So it is told to end
//! a session that holds a lease and says nothing for a while, and a thread of the owner says something
//! well before that, and notices if the lease was lost.

use super::abilities::{Abilities, Hold};
use super::{Backend, Connection, each};
use crate::config::location::SqliteFile;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::ident::Ident;
use crate::sync::line::{self, GRACE};
use crate::sync::worker::{Next, Signal, Task, Worker};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A session that does not answer in this time is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest time between two looks at a lease.
const LOOK: Duration = Duration::from_secs(3);

/// Held until dropped.
pub(crate) enum OwnerLease {
    Server(Kept),
    File(#[expect(dead_code, reason = "the open file is the lock")] File),
    /// A database in memory has no other process.
    Memory,
}

/// A lease of a server, and the thread that looks after it.
pub(crate) struct Kept {
    keeper: Worker,
    lost: Arc<AtomicBool>,
}

impl Drop for Kept {
    /// Gives the lease back. A caller that was told to end at once is waited for no longer.
    fn drop(&mut self) {
        if line::check().is_err() {
            self.keeper.cut();
        }
    }
}

impl OwnerLease {
    /// Takes the lease of `ident` on the stream; `None` while somebody else has it.
    pub fn take(backend: &Backend, ident: &Ident) -> Result<Option<OwnerLease>> {
        match backend.file() {
            Some(SqliteFile::Memory) => return Ok(Some(OwnerLease::Memory)),
            Some(SqliteFile::Path(path)) => return lock_file(path, ident),
            None => {}
        }
        let mut connection = backend.connect()?;
        let Some(hold) = connection.take_lease(ident)? else { return Ok(None) };
        let dead = backend.dead_after();
        let limits = [backend.call_timeout(), dead, Some(PATIENCE)];
        // Whoever owns it notices its loss before the server lets others have it.
        connection.limit(limits.into_iter().flatten().min().unwrap_or(PATIENCE))?;
        if let (Hold::Lock, Some(dead)) = (&hold, dead) {
            connection.end_when_idle(dead * 2)?;
        }
        let lost = Arc::<AtomicBool>::default();
        let keeper = Keeper {
            connection,
            hold,
            every: dead.map_or(LOOK, |dead| LOOK.min(dead / 2)),
            due: false,
            lost: lost.clone(),
        };
        let keeper = Worker::start("fes-lease", keeper)?;
        Ok(Some(OwnerLease::Server(Kept { keeper, lost })))
    }

    /// Whether it was not lost, as far as is known: a session that broke is noticed within seconds.
    pub fn is_held(&self) -> bool {
        match self {
            OwnerLease::Server(kept) => !kept.lost.load(Ordering::Acquire),
            OwnerLease::File(_) | OwnerLease::Memory => true,
        }
    }

    /// When it is dropped, a server that does not answer at once is not waited for.
    pub fn cut(&self) {
        if let OwnerLease::Server(kept) = self {
            kept.keeper.cut();
        }
    }
}

impl Connection {
    /// Takes the lease of an ident; `None` while somebody else has it.
    fn take_lease(&mut self, ident: &Ident) -> Result<Option<Hold>> {
        each!(self, c => c.take_lease(ident))
    }

    /// Whether the lease is still there; puts off its end, if it has one.
    fn keep_lease(&mut self, hold: &Hold) -> Result<bool> {
        each!(self, c => c.keep_lease(hold))
    }

    /// Gives the lease back: told so, the server has done it when the next owner asks; the end of a session
    /// it notices some time later.
    fn release_lease(&mut self, hold: &Hold) -> Result<()> {
        each!(self, c => c.release_lease(hold))
    }

    /// Has the server end the session when nothing is said in it for so long.
    fn end_when_idle(&mut self, time: Duration) -> Result<()> {
        each!(self, c => c.end_when_idle(time))
    }
}

/// Looks after a lease.
struct Keeper {
    connection: Connection,
    hold: Hold,
    /// The time between two looks.
    every: Duration,
    /// It is time for one.
    due: bool,
    lost: Arc<AtomicBool>,
}

impl Keeper {
    fn is_held(&mut self) -> bool {
        if self.connection.is_stale() {
            return false;
        }
        self.connection.keep_lease(&self.hold).unwrap_or_else(|error| {
            log::warn!("futoin-eventstream: a lease is lost: {error}");
            false
        })
    }
}

impl Task for Keeper {
    fn step(&mut self, _: &Signal) -> Result<Next> {
        if std::mem::replace(&mut self.due, true) && !self.is_held() {
            self.lost.store(true, Ordering::Release);
            return Ok(Next::Done);
        }
        Ok(Next::Sleep(self.every))
    }

    /// After a panic nobody knows.
    fn failed(&mut self, error: Error) {
        log::error!("futoin-eventstream: {error}");
        self.lost.store(true, Ordering::Release);
    }

    fn patience(&self) -> Option<Duration> {
        Some(GRACE)
    }

    /// Nobody waits long for a session that hangs; a broken one has no lock any more.
    fn ended(&mut self, _: &Signal) {
        let released =
            self.connection.limit(GRACE).and_then(|()| self.connection.release_lease(&self.hold));
        if let (Err(error), Hold::Row { ident, .. }) = (released, &self.hold) {
            log::warn!("futoin-eventstream: the lease of {ident} ends by its time: {error}");
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
