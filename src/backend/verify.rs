//! What only checks ask for: the stored cursors as they are, ids without their events, and ids that no reader would
//! ever give. The SQL is in each dialect.

use super::{Connection, each};
use crate::model::error::Result;
use crate::model::event::{EventId, MAX_EVENT_ID};

/// Where events are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The event table.
    Queue,
    /// The history, in the warehouse.
    History,
}

/// A registered consumer.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    pub ident: String,
    /// As it is stored, whatever it is.
    pub last_id: i128,
    /// When it was registered, in whole seconds since 1970 by the database's clock, rounded down.
    pub registered: Option<i64>,
    /// When it last polled or acknowledged, likewise.
    pub seen: Option<i64>,
}

/// Ids that are no event ids: below 1, or above the highest that may be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strays {
    pub count: u64,
    /// The first ones, as the database writes them.
    pub first: Vec<String>,
}

impl Connection {
    /// The consumers in order of their idents, without counting what waits for them.
    pub fn cursors(&mut self) -> Result<Vec<Cursor>> {
        each!(self, c => c.cursors())
    }

    /// The first ids above `after`, at most `limit`, in order; one that is there twice comes twice.
    pub fn ids(&mut self, place: Place, after: EventId, limit: usize) -> Result<Vec<EventId>> {
        each!(self, c => c.ids(place, after, limit))
    }

    /// How many ids there are above `after`, up to the highest that may be.
    pub fn count_after(&mut self, place: Place, after: EventId) -> Result<u64> {
        each!(self, c => c.count_after(place, after))
    }

    /// The ids that are no event ids, of which the first `limit` are given.
    pub fn strays(&mut self, place: Place, limit: usize) -> Result<Strays> {
        each!(self, c => c.strays(place, limit))
    }

    /// What is wrong with the event table where it has ids that no consumer would ever be given. Two
    /// searches by the primary key.
    pub fn unreachable(&mut self) -> Result<Option<String>> {
        let first = each!(self, c => c.first_strays(Place::Queue, 3))?;
        Ok((!first.is_empty()).then(|| {
            format!(
                "the event table has events that no consumer ever gets, because their ids are not \
                 between 1 and {MAX_EVENT_ID}: {}{}. Give them other ids, or delete them",
                first.join(", "),
                if first.len() < 3 { "" } else { " and maybe others" }
            )
        }))
    }
}
