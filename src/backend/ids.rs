//! The limits of ids, of events and of consumers.

use crate::config::TableName;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::{EventId, MAX_EVENT_ID};

/// The failure of an insert whose id lies above the highest one there may be: no poll would give it.
pub(super) fn above_limit(table: &TableName) -> Error {
    Error::new(
        ErrorKind::UnsafeServer,
        format!(
            "the event was not added: the next id of {table} lies above {MAX_EVENT_ID}, the highest \
             event id, and no consumer would ever get it. Somebody has inserted such an id, or set the \
             counter of the table: give those rows other ids, and set the counter back"
        ),
    )
}

/// Refuses ids, allocated by an insert that is to be undone then, of which one lies above the limit.
pub(super) fn within_limit(ids: &[EventId]) -> bool {
    ids.iter().all(|id| *id <= MAX_EVENT_ID)
}

/// The lowest id of a consumer table that is free: for one whose ids are still those of the npm package,
/// when all 32,767 were allocated. NULL if all are in use.
pub(super) fn free_consumer_id(table: &str) -> String {
    format!(
        "(SELECT MIN(a.n) FROM (SELECT 1 AS n UNION ALL SELECT id + 1 FROM {table} \
         WHERE id BETWEEN 1 AND 32766) a WHERE NOT EXISTS (SELECT 1 FROM {table} b \
         WHERE b.id = a.n))"
    )
}

/// How often a free id is looked for again that somebody else took meanwhile.
pub(super) const FREE_ID_TRIES: usize = 20;

pub(super) fn no_consumer_id(why: Error) -> Error {
    why.context(
        "the consumer table has no id left, because its ids end at 32,767 and all are in use: run \
         migrate(), which widens them",
    )
    .with_kind(ErrorKind::NotMigrated)
}

/// An id as a driver gave it.
pub(super) fn event_id(number: i64) -> Result<EventId> {
    EventId::try_from(number).map_err(|_| {
        Error::new(
            ErrorKind::CorruptEvent,
            format!("{number} is not an event id: ids are positive"),
        )
    })
}
