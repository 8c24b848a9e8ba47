//! The one place for adding events: one, in a commit that callers share; many, in a transaction of their
//! own; and what every way of adding has in common. Cursors that join such a commit come here, too.

use super::group_commit::GroupCommit;
use crate::backend::Connection;
use crate::backend::cursors::Move;
use crate::backend::pool::Pool;
use crate::backend::write::{Change, Written};
use crate::config::Settings;
use crate::model::error::{Result, fail};
use crate::model::event::{EventId, NewEvent};
use crate::model::ident::Ident;
use crate::sync::wakeup::{Wakeup, WakeupSubscription};
use crate::sync::worker::Signal;
use std::slice::from_ref;
use std::sync::Arc;

/// One statement adds at most this many events, or bytes of data: it fits into the smallest packet
/// that MySQL servers are set to (1 MiB).
const MAX_ROWS: usize = 1000;
const MAX_BYTES: usize = 512 << 10;

/// Adds events to one stream. Each call is given how to get the pool, which is refused once the stream is
/// closed.
pub(crate) struct Writer {
    max_event_bytes: usize,
    wakeup: Arc<Wakeup>,
    group_commit: GroupCommit,
}

impl Writer {
    /// `wakeup` reaches those who read the stream in this process.
    pub fn new(settings: &Settings, wakeup: Arc<Wakeup>) -> Self {
        let max_event_bytes = settings.max_event_bytes;
        Writer { max_event_bytes, wakeup, group_commit: GroupCommit::default() }
    }

    /// Wakes `signal` whenever events were added, until the subscription is dropped.
    pub fn wakes(&self, signal: Signal) -> WakeupSubscription {
        self.wakeup.subscribe(signal)
    }

    /// Refuses events that are too large, before anything is sent.
    pub fn check(&self, events: &[NewEvent]) -> Result<()> {
        events.iter().try_for_each(|event| event.check_size(self.max_event_bytes))
    }

    /// Runs a commit of events, and wakes those who wait for them.
    pub fn commit<T>(&self, commit: impl FnOnce() -> Result<T>) -> Result<T> {
        let committed = commit()?;
        self.wakeup.notify();
        Ok(committed)
    }

    /// Adds one event, in a commit that may be shared.
    pub fn add(&self, event: &NewEvent, pool: impl Fn() -> Result<Pool>) -> Result<EventId> {
        self.check(from_ref(event))?;
        match self.write(Change::Event(event), pool)? {
            Some(id) => Ok(id),
            None => fail!(Internal, "the database gave no id for an event"),
        }
    }

    /// Adds events in order, all or none, by as few round trips as can be.
    pub fn add_many(
        &self,
        events: &[NewEvent],
        pool: impl Fn() -> Result<Pool>,
    ) -> Result<Vec<EventId>> {
        self.check(events)?;
        let pool = pool()?;
        match split(events) {
            ([], _) => Ok(Vec::new()),
            (all, []) => self.commit(|| pool.with(|connection| connection.insert_group(all))),
            _ => {
                let insert = |connection: &mut Connection| {
                    connection.in_transaction(|connection| insert_all(connection, events))
                };
                self.commit(|| pool.with(insert))
            }
        }
    }

    /// Moves the cursor of a consumer, in a commit that may be shared with those who add events. Gives
    /// where it is now; `None` if there is no such consumer.
    pub fn advance(
        &self,
        ident: &Ident,
        to: &Move,
        pool: impl Fn() -> Result<Pool>,
    ) -> Result<Option<EventId>> {
        self.write(Change::Cursor(ident, to), pool)
    }

    /// Never call this with a connection of the pool in hand: it may be the last one, and the leader needs
    /// one.
    fn write(&self, change: Change<'_>, pool: impl Fn() -> Result<Pool>) -> Result<Written> {
        self.group_commit.write(change, |changes| {
            let write = || pool()?.with(|connection| connection.write(changes));
            match changes.iter().any(|change| matches!(change, Change::Event(_))) {
                true => self.commit(write),
                false => write(),
            }
        })
    }
}

/// The first events, as many as fit into one statement, but at least one; and the others.
fn split(events: &[NewEvent]) -> (&[NewEvent], &[NewEvent]) {
    let mut bytes = 0;
    let fitting = events.iter().take(MAX_ROWS).take_while(|event| {
        bytes += event.data.as_str().len();
        bytes <= MAX_BYTES
    });
    events.split_at(fitting.count().max(1).min(events.len()))
}

/// Adds events in order, inside a transaction, in statements of bounded size.
pub(super) fn insert_all(connection: &mut Connection, events: &[NewEvent]) -> Result<Vec<EventId>> {
    let mut ids = Vec::with_capacity(events.len());
    let mut rest = events;
    while !rest.is_empty() {
        let (now, later) = split(rest);
        ids.extend(connection.insert_events(now)?);
        rest = later;
    }
    Ok(ids)
}
