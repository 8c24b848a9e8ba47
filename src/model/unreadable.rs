//! Ids of events, and rows that have one and cannot be read as an event.

/// The id of an event: positive, increasing within a stream, gaps allowed.
pub type EventId = u64;

/// The highest event id that FTN18 allows: 10^18 - 1.
pub const MAX_EVENT_ID: EventId = 999_999_999_999_999_999;

/// A row of the event table, or of the history, that cannot be read as an event: which one it is, and
/// what stands there. An error of kind [`CorruptEvent`](crate::ErrorKind::CorruptEvent) has it:
/// [`Error::unreadable`](crate::Error::unreadable).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableEvent {
    /// Its id.
    pub id: EventId,
    /// The column that cannot be read: `type`, `data` or `ts`.
    pub column: &'static str,
    /// The bytes of the type; `None` for NULL.
    pub event_type: Option<Vec<u8>>,
    /// The bytes of the data; `None` for NULL.
    pub data: Option<Vec<u8>>,
    /// The time stamp, as the database shows it.
    pub ts: String,
}

impl UnreadableEvent {
    /// The type as far as it is text; what is not shows as `\u{fffd}`, and NULL as the empty text.
    pub fn type_text(&self) -> String {
        self.event_type.as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned()
    }

    /// One line that shows all of it: text with escapes, other bytes as `\xff`.
    pub fn show(&self) -> String {
        let bytes = |bytes: &Option<Vec<u8>>| match bytes {
            Some(bytes) => format!("\"{}\"", bytes.escape_ascii()),
            None => "NULL".to_owned(),
        };
        let (event_type, data) = (bytes(&self.event_type), bytes(&self.data));
        format!("id {} type {event_type} data {data} ts {:?}", self.id, self.ts)
    }
}
