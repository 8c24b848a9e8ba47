//! What is read of the tables: events in a range, consumers, the stream as a whole.

use crate::config::Settings;
use crate::model::error::Result;
use crate::model::event::{Event, EventId, EventType, MAX_EVENT_ID, UnreadableEvent, check_json};
use crate::model::ident::Want;
use crate::model::life::Anchor;

/// Which events to read: ids in `(after, up_to]`, in order, of the wanted types.
#[derive(Clone, Copy)]
pub(crate) struct ReadRange<'a> {
    pub after: EventId,
    pub up_to: EventId,
    pub want: &'a Want,
    /// At most this many events.
    pub limit: usize,
    /// No further event after this many bytes of data.
    pub max_bytes: usize,
    /// Whether a wanted row whose data is no JSON cannot be read.
    pub check_json: bool,
    /// Whether the event `after` itself is looked at, too, beside the limits: see [`Batch::anchor`].
    pub anchored: bool,
}

impl<'a> ReadRange<'a> {
    /// Everything after an id, without a limit of its own.
    pub fn all(after: EventId, want: &'a Want, settings: &Settings) -> Self {
        ReadRange {
            after,
            up_to: MAX_EVENT_ID,
            want,
            limit: usize::MAX,
            max_bytes: settings.max_chunk_bytes,
            check_json: settings.check_json,
            anchored: false,
        }
    }

    /// The bounds as the signed numbers that every driver binds.
    pub(super) fn bounds(&self) -> (i64, i64, i64) {
        let clamp = |id: EventId| i64::try_from(id.min(MAX_EVENT_ID)).unwrap_or(i64::MAX);
        let limit = i64::try_from(self.limit).unwrap_or(i64::MAX);
        match self.anchored {
            true => (clamp(self.after) - 1, clamp(self.up_to), limit.saturating_add(1)),
            false => (clamp(self.after), clamp(self.up_to), limit),
        }
    }

    /// Whether a row is wanted, and no event because its data is no JSON.
    fn refuses(&self, event: &Event) -> bool {
        let json = || check_json(event.data.as_str()).is_ok();
        self.check_json && self.want.matches(&event.event_type) && !json()
    }

    /// The types for the SQL filter; `None` without one.
    pub(super) fn types(&self) -> Option<&[EventType]> {
        self.want.list()
    }
}

/// What a read gave.
#[derive(Default)]
pub(crate) struct Batch {
    pub events: Vec<Event>,
    /// A limit was reached, or a row that cannot be read: there may be more in the range, after `scanned`.
    pub cut: bool,
    /// The last id that was read, wanted or not; 0 if there was none.
    pub scanned: EventId,
    /// The event at which an anchored read began, if it is there.
    pub anchor: Option<Anchor>,
    rows: usize,
    bytes: usize,
}

impl Batch {
    /// Whether another row may be read under the limits of `range`.
    pub(super) fn wants_more(&mut self, range: &ReadRange<'_>) -> bool {
        self.cut = self.cut || self.rows >= range.limit || self.bytes >= range.max_bytes;
        !self.cut
    }

    /// Takes a row. The type is compared again: some collations ignore case. A row that cannot be
    /// read ends the batch before it, and is an error only where it is the first one.
    pub(super) fn push(&mut self, range: &ReadRange<'_>, event: Result<Event>) -> Result<()> {
        let event = match event {
            Ok(event) if range.refuses(&event) => {
                let (kind, data) = (event.event_type.as_str(), event.data.as_str());
                Err(UnreadableEvent::no_json(event.id, kind, data, event.ts).error())
            }
            event => event,
        };
        let is_anchor = |id| range.anchored && id == range.after;
        let event = match event {
            Ok(event) if is_anchor(event.id) => {
                self.anchor = Some(Anchor::of(&event));
                return Ok(());
            }
            Ok(event) => event,
            // It was passed over.
            Err(error) if error.unreadable().is_some_and(|row| is_anchor(row.id)) => return Ok(()),
            Err(error) if error.unreadable().is_some() && self.rows > 0 => {
                self.cut = true;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.rows += 1;
        self.scanned = event.id;
        if range.want.matches(&event.event_type) {
            self.bytes += event.data.as_str().len();
            self.events.push(event);
        }
        Ok(())
    }
}

/// A row of the consumer table. Times are seconds since 1970, by the database's clock.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerRow {
    pub ident: String,
    pub last_id: EventId,
    pub registered: i64,
    pub seen: i64,
    /// Events after `last_id`, and the oldest of them.
    pub behind: u64,
    pub oldest: Option<i64>,
}

/// The stream as a whole, at the time of a look.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamRow {
    pub highest: EventId,
    pub now: i64,
}
