//! The pool of a stream's connections. It has no thread of its own: whoever needs a connection that is
//! not there makes it, in the scope of its own limits.
//!
//! A connection is validated at checkout only if it was idle for [`REST`], or another one of the
//! pool broke since it was used. So a busy stream pays no extra round trip, and a stream on a
//! restarted server does not notice.

use super::session::may_change_session;
use super::{Backend, Connection};
use crate::config::Settings;
use crate::model::error::{Error, ErrorKind, Result};
use crate::sync::line;
use crate::sync::lock::lock;
use crate::sync::worker::Backoff;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A connection that was idle longer than this is validated at checkout.
const REST: Duration = Duration::from_millis(500);

/// The longest time for which who waits does not look whether it is told to end.
const SLICE: Duration = Duration::from_millis(25);

/// The pool of connections to one database.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    backend: Backend,
    max: usize,
    patience: Duration,
    state: Mutex<State>,
    /// A connection, or a place for one, came back.
    came: Condvar,
    generation: AtomicU64,
}

#[derive(Default)]
struct State {
    idle: Vec<Slot>,
    /// Connections that are lent, and those that are being made.
    taken: usize,
    /// Threads that wait for a connection or a place: without one there is nobody to wake.
    waiting: usize,
    /// When a connection of this pool was last seen to be broken.
    trouble: Option<Instant>,
    /// Why no connection could be made, since the last one that could.
    reason: Option<Error>,
    closed: bool,
}

struct Slot {
    connection: Connection,
    used: Instant,
}

impl Pool {
    /// Makes the pool, after one connection has shown that the database can be reached.
    pub fn open(backend: Backend, settings: &Settings) -> Result<Self> {
        backend.connect()?;
        Ok(Pool(Arc::new(Shared {
            backend,
            max: settings.max_connections as usize,
            patience: settings.connect_timeout,
            state: Mutex::default(),
            came: Condvar::new(),
            generation: AtomicU64::new(0),
        })))
    }

    pub fn backend(&self) -> &Backend {
        &self.0.backend
    }

    /// How often connections of this pool were seen to break, or another server to be reached: what
    /// was learnt before may be wrong since.
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire) + self.0.backend.generation()
    }

    /// Lends a connection that was alive a moment ago.
    pub fn checkout(&self) -> Result<PooledConnection> {
        let end = Instant::now() + self.0.patience;
        loop {
            let mut lease = self.0.get(end)?;
            if lease.is_stale() {
                lease.discard();
                continue;
            }
            if lease.seems_alive() || lease.call(Connection::ping).is_ok() {
                return Ok(lease);
            }
            lease.discard();
            line::check()?;
        }
    }

    /// Whether two connections are free and can work in parallel.
    pub fn has_spare(&self) -> bool {
        self.0.state().taken + 2 <= self.0.max && self.0.backend.reads_beside_writes()
    }

    /// Runs an idempotent operation, a second time if the connection turns out to be broken.
    pub fn with_retry<T>(&self, work: impl Fn(&mut Connection) -> Result<T>) -> Result<T> {
        match self.checkout()?.call(&work) {
            // What was waited for in vain is not tried again: its time is over.
            Err(error) if error.ends_connection() && error.kind() != ErrorKind::Timeout => {
                self.checkout()?.call(&work)
            }
            result => result,
        }
    }

    /// Runs what must not run twice.
    pub fn with<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        self.checkout()?.call_once(work)
    }

    /// Ends idle connections now, and lent ones when they come back; a call that hangs is cut off after a
    /// moment.
    pub fn close(&self) {
        let mut state = self.0.state();
        state.closed = true;
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        drop(idle);
        self.0.came.notify_all();
        self.0.backend.close();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// An idle connection, or a new one, or one that comes back until `end`.
    fn get(self: &Arc<Self>, end: Instant) -> Result<PooledConnection> {
        let mut backoff = Backoff::default();
        let (mut again, mut failure) = (Instant::now(), None);
        let mut state = self.state();
        loop {
            if state.closed {
                return Err(Error::new(
                    ErrorKind::Closed,
                    "the stream or the warehouse was closed",
                ));
            }
            if let Some(slot) = state.idle.pop() {
                state.taken += 1;
                return Ok(PooledConnection::of(slot, self.clone()));
            }
            let now = Instant::now();
            if state.taken < self.max && now >= again {
                state.taken += 1;
                drop(state);
                let error = match Place(self).fill() {
                    Ok(lease) => return Ok(lease),
                    Err(error) => error,
                };
                log::warn!("futoin-eventstream: connecting failed: {error}");
                state = self.state();
                state.reason = Some(error.copy());
                if !error.is_retriable() || error.is_lost() || Instant::now() >= end {
                    return Err(error);
                }
                again = Instant::now() + backoff.next();
                failure = Some(error);
            } else if now >= end {
                return Err(failure.unwrap_or_else(|| self.none_to_be_had(&state)));
            } else {
                let until = if again > now { again.min(end) } else { end };
                state = self.wait_on(state, until - now)?;
            }
        }
    }

    /// Waits until something comes back, for a moment at most.
    fn wait_on<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        time: Duration,
    ) -> Result<MutexGuard<'a, State>> {
        state.waiting += 1;
        let waited = self.came.wait_timeout(state, time.min(SLICE));
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.waiting -= 1;
        line::check()?;
        Ok(state)
    }

    /// Gives a place back, and wakes a thread that waits for one.
    fn free_place(&self, mut state: MutexGuard<'_, State>) {
        state.taken -= 1;
        let somebody_waits = state.waiting > 0;
        drop(state);
        if somebody_waits {
            self.came.notify_one();
        }
    }

    fn none_to_be_had(&self, state: &State) -> Error {
        let mut message = format!(
            "no connection was free within {} ms: all {} of max_connections are in use",
            self.patience.as_millis(),
            self.max
        );
        if let Some(reason) = &state.reason {
            message.push_str(&format!(", and the last attempt to open one failed: {reason}"));
        }
        Error::new(ErrorKind::ConnectFailed, message)
    }
}

/// A place for a connection, which is given back unless the connection is made.
struct Place<'a>(&'a Arc<Shared>);

impl Place<'_> {
    fn fill(self) -> Result<PooledConnection> {
        let connection = self.0.backend.connect()?;
        let shared = self.0.clone();
        std::mem::forget(self);
        shared.state().reason = None;
        let slot = Slot { connection, used: Instant::now() };
        Ok(PooledConnection::of(slot, shared))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.free_place(self.0.state());
    }
}

/// A connection lent from the pool, which gets it back on drop.
pub(crate) struct PooledConnection {
    /// `None` only while it is dropped.
    slot: Option<Slot>,
    shared: Arc<Shared>,
    broken: bool,
    /// The caller's SQL may have changed the session.
    touched: bool,
}

impl PooledConnection {
    fn of(slot: Slot, shared: Arc<Shared>) -> Self {
        PooledConnection { slot: Some(slot), shared, broken: false, touched: false }
    }

    /// Runs `work` and notes whether the connection broke.
    pub fn call<T>(&mut self, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let result = work(self);
        if let Err(error) = &result
            && error.ends_connection()
        {
            self.discard();
        }
        result
    }

    /// As [`call`](Self::call), for a write: if the connection breaks, nobody knows what became of it.
    pub fn call_once<T>(&mut self, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        self.call(work).map_err(Error::of_unknown_fate)
    }

    /// Keeps the pool from lending this connection again.
    pub fn discard(&mut self) {
        self.broken = true;
        self.shared.generation.fetch_add(1, Ordering::AcqRel);
        self.shared.state().trouble = Some(Instant::now());
    }

    fn slot(&self) -> &Slot {
        self.slot.as_ref().expect("a lent connection is there until it is dropped")
    }

    /// Notes that a statement of the caller's runs on this connection. If it may change the session,
    /// the session is reset before the connection is lent again.
    pub fn note_caller_sql(&mut self, sql: &str) {
        self.touched |= may_change_session(sql);
    }

    /// Closes the connection when it comes back, although nothing is wrong with it.
    pub fn retire(&mut self) {
        self.broken = true;
    }

    fn reset_if_touched(&mut self) {
        let panics = std::thread::panicking();
        if self.broken || panics || !(self.touched || self.session_is_changed()) {
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
        let trouble = self.shared.state().trouble;
        let used = self.slot().used;
        used.elapsed() < REST && trouble.is_none_or(|when| when < used)
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        self.reset_if_touched();
        let Some(mut slot) = self.slot.take() else { return };
        slot.used = Instant::now();
        let mut state = self.shared.state();
        // After a panic nobody knows in which state it is.
        let spoilt = std::thread::panicking() || slot.connection.has_open_transaction();
        if self.broken || state.closed || spoilt {
            drop(state);
            // Before its place is free: the server may count connections, too.
            drop(slot);
            state = self.shared.state();
        } else {
            state.idle.push(slot);
        }
        self.shared.free_place(state);
    }
}

impl Deref for PooledConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.slot().connection
    }
}

impl DerefMut for PooledConnection {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.slot.as_mut().expect("a lent connection is there until it is dropped").connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Options;

    #[test]
    fn who_waits_in_vain_is_told_why_the_last_connection_could_not_be_made() {
        let options = Options::new().set("max_connections", "1").unwrap();
        let options = options.set("connect_timeout_ms", "50").unwrap();
        let (location, settings) = crate::config::url::parse("sqlite::memory:", &options).unwrap();
        let backend = Backend::new(location, Arc::new(settings.clone())).unwrap();
        let pool = Pool::open(backend, &settings).unwrap();
        let _lease = pool.checkout().unwrap();
        let text = || pool.checkout().map(|_| ()).unwrap_err().to_string();
        assert!(text().contains("within 50 ms: all 1 of max_connections"), "{}", text());
        pool.0.state().reason = Some(Error::new(ErrorKind::ConnectFailed, "db:5432: refused"));
        assert!(text().ends_with("failed: db:5432: refused"), "{}", text());
    }
}
