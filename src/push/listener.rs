//! Wakes the hub at each notification of the server (PostgreSQL, option `notify`).

use crate::backend::Connection;
use crate::model::error::{Error, Result};
use crate::read::reader::Reader;
use crate::sync::worker::{Next, Signal, Task};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What the listener tells the hub.
#[derive(Default)]
pub(super) struct Notices {
    /// LISTEN is active.
    pub listening: AtomicBool,
    /// Set by a notification, cleared by the hub.
    pub came: AtomicBool,
}

/// Wakes the hub at each notification of the server.
pub(super) struct ListenTask {
    pub reader: Arc<Reader>,
    pub hub: Signal,
    pub notices: Arc<Notices>,
    pub connection: Option<Connection>,
    /// When the server was heard last.
    pub heard: Instant,
}

/// After this time without a notification the server is asked for a sign of life.
const LISTEN_REST: Duration = Duration::from_secs(3);
/// The longest wait, after which the thread sees that it is to stop.
const LISTEN_SLICE: Duration = Duration::from_millis(100);

impl Task for ListenTask {
    fn step(&mut self, _: &Signal) -> Result<Next> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let mut connection = self.reader.pool()?.backend().connect()?;
                connection.listen(&self.reader.settings)?;
                self.notices.listening.store(true, Ordering::Release);
                self.hub.wake();
                connection
            }
        };
        if connection.wait_for_notification(LISTEN_SLICE)? {
            self.notices.came.store(true, Ordering::Release);
            self.hub.wake();
            self.heard = Instant::now();
        } else if self.heard.elapsed() >= LISTEN_REST {
            connection.ping()?;
            self.heard = Instant::now();
        }
        self.connection = Some(connection);
        Ok(Next::Again)
    }

    fn patience(&self) -> Option<Duration> {
        self.reader.settings.call_timeout
    }

    fn failed(&mut self, error: Error) {
        self.notices.listening.store(false, Ordering::Release);
        self.hub.wake();
        log::warn!("futoin-eventstream: listening for notifications: {error}");
    }
}
