//! The pool of a stream: `r2d2` over [`Connection`], with no thread that outlives it.
//!
//! A connection is looked at before it is lent only where that may matter (it rested for a while,
//! or another one of the pool broke since it was used), so that a busy stream pays no extra round
//! trip, and a stream on a restarted server does not notice.

use super::session::may_change_session;
use super::{Backend, Connection};
use crate::config::Settings;
use crate::error::{Error, ErrorKind, Result};
use r2d2::ManageConnection;
use scheduled_thread_pool::ScheduledThreadPool;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A connection that rested longer than this is looked at before it is lent.
const REST: Duration = Duration::from_millis(500);

/// The pool of connections to one database.
#[derive(Clone)]
pub(crate) struct Pool {
    inner: r2d2::Pool<Manager>,
    shared: Arc<Shared>,
}

struct Shared {
    backend: Backend,
    /// When a connection of this pool was last seen to be broken, and how often that was.
    trouble: Mutex<Option<Instant>>,
    breaks: AtomicU64,
}

impl Pool {
    /// Makes the pool, after one connection has shown that the database can be reached.
    pub fn open(backend: Backend, settings: &Settings) -> Result<Self> {
        backend.connect()?;
        let shared =
            Arc::new(Shared { backend, trouble: Mutex::new(None), breaks: AtomicU64::new(0) });
        // r2d2's own default pool has three threads, which stay for half a minute after the end.
        let threads = Arc::new(
            ScheduledThreadPool::builder().num_threads(1).thread_name_pattern("fes-pool").build(),
        );
        let inner = r2d2::Pool::builder()
            .max_size(settings.max_connections)
            .min_idle(Some(0))
            .idle_timeout(None)
            .max_lifetime(None)
            .test_on_check_out(false)
            .connection_timeout(settings.connect_timeout)
            .error_handler(Box::new(LogErrors))
            .thread_pool(threads)
            .build_unchecked(Manager(shared.clone()));
        Ok(Pool { inner, shared })
    }

    pub fn backend(&self) -> &Backend {
        &self.shared.backend
    }

    /// How often connections of this pool were seen to break, or another server to be reached: what
    /// was learnt before may be wrong since.
    pub fn breaks(&self) -> u64 {
        self.shared.breaks.load(Ordering::Acquire) + self.shared.backend.generation()
    }

    /// Lends a connection that was alive a moment ago.
    pub fn lend(&self) -> Result<Lease> {
        loop {
            let slot = self.inner.get().map_err(|why| {
                Error::new(ErrorKind::ConnectFailed, format!("no connection to be had: {why}"))
            })?;
            let mut lease = Lease { slot, shared: self.shared.clone(), touched: false };
            if lease.is_stale() {
                lease.discard();
                continue;
            }
            if lease.seems_alive() || lease.call(Connection::ping).is_ok() {
                return Ok(lease);
            }
        }
    }

    /// Whether two connections are to be had at once, and one would not keep the other one waiting.
    pub fn has_spare(&self) -> bool {
        let state = self.inner.state();
        let lent = state.connections - state.idle_connections;
        lent + 2 <= self.inner.max_size() && self.shared.backend.reads_beside_writes()
    }

    /// Runs what only reads, or may run twice: once more if the connection turns out to be broken.
    pub fn repeatable<T>(&self, work: impl Fn(&mut Connection) -> Result<T>) -> Result<T> {
        match self.lend()?.call(&work) {
            Err(error) if error.ends_connection() => self.lend()?.call(&work),
            result => result,
        }
    }

    /// Runs what must not run twice.
    pub fn once<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        self.lend()?.call(work)
    }
}

/// A connection lent from the pool, which gets it back on drop.
pub(crate) struct Lease {
    slot: r2d2::PooledConnection<Manager>,
    shared: Arc<Shared>,
    /// The caller's SQL may have changed the session.
    touched: bool,
}

impl Lease {
    /// Runs `work` and notes whether the connection broke. After a panic nobody knows what state it
    /// is in: then it counts as broken, too.
    pub fn call<T>(&mut self, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let broken = std::mem::replace(&mut self.slot.broken, true);
        let result = work(&mut self.slot.connection);
        self.slot.broken = broken;
        if let Err(error) = &result
            && error.ends_connection()
        {
            self.discard();
        }
        result
    }

    /// Keeps the pool from lending this connection again.
    pub fn discard(&mut self) {
        self.slot.broken = true;
        self.shared.breaks.fetch_add(1, Ordering::AcqRel);
        *self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Notes that a statement of the caller's runs on this connection. If it may change the session,
    /// the session is reset before the connection is lent again.
    pub fn note_caller_sql(&mut self, sql: &str) {
        self.touched |= may_change_session(sql);
    }

    /// Closes the connection when it comes back, although nothing is wrong with it.
    pub fn retire(&mut self) {
        self.slot.broken = true;
    }

    fn reset_if_touched(&mut self) {
        if self.slot.broken || !(self.touched || self.slot.connection.session_is_changed()) {
            return;
        }
        match self.call(Connection::reset) {
            Ok(true) => {}
            Ok(false) => self.retire(),
            Err(error) => {
                log::warn!("futoin-eventstream: a used connection cannot be reset: {error}");
                self.retire();
            }
        }
    }

    fn seems_alive(&self) -> bool {
        let trouble = *self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        self.slot.used.elapsed() < REST && trouble.is_none_or(|when| when < self.slot.used)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.reset_if_touched();
        self.slot.used = Instant::now();
    }
}

impl Deref for Lease {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.slot.connection
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.slot.connection
    }
}

struct Manager(Arc<Shared>);

struct Slot {
    connection: Connection,
    used: Instant,
    broken: bool,
}

impl ManageConnection for Manager {
    type Connection = Slot;
    type Error = Error;

    fn connect(&self) -> Result<Slot> {
        let connection = self.0.backend.connect()?;
        Ok(Slot { connection, used: Instant::now(), broken: false })
    }

    fn is_valid(&self, slot: &mut Slot) -> Result<()> {
        slot.connection.ping()
    }

    fn has_broken(&self, slot: &mut Slot) -> bool {
        slot.broken || slot.connection.has_open_transaction()
    }
}

#[derive(Debug)]
struct LogErrors;

impl r2d2::HandleError<Error> for LogErrors {
    fn handle_error(&self, error: Error) {
        log::warn!("futoin-eventstream: connecting failed: {error}");
    }
}
