//! Where a new consumer begins.

use crate::model::error::Result;
use crate::model::event::{EventId, Timestamp};
use crate::read::consumer::Consumer;

/// Where a consumer begins that is registered by [`Consumer::register_at`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// With the first event that is still there, as [`Consumer::register`].
    Beginning,
    /// With what is committed from now on. While transactions are open that have added events,
    /// what was committed behind those comes, too: it cannot be left out without losing them.
    Now,
    /// With the event of this id, or the next one that is there.
    Id(EventId),
    /// With the first event of this time or later, by the clock of the database; then every event
    /// behind it comes. Reads the whole event table once.
    Time(Timestamp),
}

impl Consumer {
    /// As [`register`](Self::register), beginning at the given place. Does nothing if the consumer
    /// is registered already. What was discarded before does not come back: for that see
    /// [`Warehouse::replay`](crate::Warehouse::replay).
    ///
    /// ```
    /// use futoin_eventstream::{EventStream, StartAt, Want};
    /// # fn main() -> Result<(), futoin_eventstream::Error> {
    /// let stream = EventStream::open("sqlite::memory:")?;
    /// stream.migrate()?;
    /// stream.add_event("OLD", &())?;
    /// let audit = stream.consumer("app", "Audit")?;
    /// audit.register_at(StartAt::Now)?;
    /// stream.add_event("NEW", &())?;
    /// let events = audit.poll(None, &Want::all())?;
    /// assert_eq!(events.len(), 1);
    /// assert_eq!(events[0].event_type, "NEW");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `LiveNotAllowed`, `SecurityError` (option `allow_reliable`), `InvalidLastId` for an id that
    /// lies beyond the next one to be allocated, `UnsafeServer`, and those of the database.
    pub fn register_at(&self, start: StartAt) -> Result<()> {
        self.register_after(|reader, connection| match start {
            StartAt::Beginning => Ok(0),
            StartAt::Now => Ok(reader.look(0)?.0.horizon),
            StartAt::Id(id) => {
                let before = id.saturating_sub(1);
                reader.check_allocated(connection, before, "the id before the first one wanted")?;
                Ok(before)
            }
            StartAt::Time(ts) => {
                // In this order: an event that appears between the two is above the horizon.
                let horizon = reader.look(0)?.0.horizon;
                let first = connection.first_since(ts)?;
                Ok(first.map_or(horizon, |id| horizon.min(id.saturating_sub(1))))
            }
        })
    }
}
