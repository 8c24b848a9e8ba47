//! Events: id, type, data and timestamp (FTN18 section 2.1), and what is checked before one is added.

use crate::model::error::{Error, ErrorKind, Result, fail};
pub(crate) use crate::model::timestamp::TimeTexts;
pub use crate::model::timestamp::Timestamp;
pub use crate::model::unreadable::{EventId, MAX_EVENT_ID, UnreadableEvent};
use compact_str::CompactString;
use serde::{Deserialize, Serialize, Serializer, de::IgnoredAny};
use serde_json::value::RawValue;
use std::fmt;

/// The longest event type, in bytes.
pub const MAX_TYPE_LEN: usize = 16;

/// The type of an event. New ones are `^[A-Z_]{1,16}$`; what plain SQL wrote is given as it is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventType(CompactString);

impl EventType {
    /// Checks `text` against `^[A-Z_]{1,16}$`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidType`], naming the text.
    ///
    /// ```
    /// use futoin_eventstream::EventType;
    /// assert_eq!(EventType::new("USR_ADD").unwrap().as_str(), "USR_ADD");
    /// assert!(EventType::new("usr").is_err());
    /// ```
    pub fn new(text: &str) -> Result<Self> {
        let valid = (1..=MAX_TYPE_LEN).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        if !valid {
            fail!(
                InvalidType,
                "event type {:?} is not 1 to 16 upper case letters or underscores",
                shorten(text)
            );
        }
        Ok(EventType(text.into()))
    }

    /// A type as it stands in the table, whoever wrote it.
    pub(crate) fn stored(text: &str) -> Self {
        EventType(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq<str> for EventType {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for EventType {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

/// The data of an event: JSON text, kept byte for byte as it was written.
///
/// ```
/// use futoin_eventstream::EventData;
/// let data = EventData::from_json(r#"{"amount": 12345678901234567890, "rate": 1.0}"#).unwrap();
/// assert_eq!(data.as_str(), r#"{"amount": 12345678901234567890, "rate": 1.0}"#);
/// let value: serde_json::Value = data.parse().unwrap();
/// assert_eq!(value["rate"], 1.0);
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EventData(String);

impl EventData {
    /// Takes JSON text as it is, after checking that it is one JSON value.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] with the place of the first mistake.
    pub fn from_json(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        if text.is_empty() {
            fail!(
                InvalidData,
                "event data is an empty text, which is not JSON: null says that there is none"
            );
        }
        match check_json(&text) {
            Ok(()) => Ok(EventData(text)),
            Err(why) => {
                fail!(InvalidData, "event data {:?} is not JSON: {why}", shorten(&text))
            }
        }
    }

    /// Writes `value` as JSON text.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] if `value` cannot be JSON, for example a map with keys that are
    /// not strings.
    pub fn from_value<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        serde_json::to_string(value).map(EventData).map_err(|why| {
            Error::new(ErrorKind::InvalidData, format!("event data cannot be JSON: {why}"))
        })
    }

    /// Text as it stands in the table, whoever wrote it.
    pub(crate) fn stored(text: String) -> Self {
        EventData(text)
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same JSON, with escapes for what is not ASCII, which stands inside of strings only.
    pub(crate) fn to_ascii(&self) -> String {
        let mut out = String::with_capacity(self.0.len());
        for c in self.0.chars() {
            if c.is_ascii() {
                out.push(c);
                continue;
            }
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
        out
    }

    /// The JSON text, without a copy.
    pub fn into_string(self) -> String {
        self.0
    }

    /// Reads the text into a value of the caller's type.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] if the text does not fit `T` (or, where plain SQL wrote it into
    /// a text column, if it is no JSON).
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        serde_json::from_str(&self.0).map_err(|why| {
            Error::new(
                ErrorKind::InvalidData,
                format!("event data {:?} is not what was expected: {why}", shorten(&self.0)),
            )
        })
    }
}

impl fmt::Display for EventData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Written as the JSON value it is, not as a string of it.
impl Serialize for EventData {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let raw: &RawValue =
            serde_json::from_str(self.0.trim()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// One event of a stream, as a consumer gets it.
///
/// Serialises as `{"id": "1", "type": "USR_ADD", "data": ..., "ts": "2017-07-14T02:40:00Z"}`, the
/// form of FTN18 (the id is a string there, because JSON readers round large numbers).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The id, unique and increasing in the stream.
    pub id: EventId,
    /// The type.
    pub event_type: EventType,
    /// The JSON data.
    pub data: EventData,
    /// When it was added.
    pub ts: Timestamp,
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = serializer.serialize_struct("Event", 4)?;
        out.serialize_field("id", &self.id.to_string())?;
        out.serialize_field("type", self.event_type.as_str())?;
        out.serialize_field("data", &self.data)?;
        out.serialize_field("ts", &self.ts)?;
        out.end()
    }
}

impl UnreadableEvent {
    /// An event whose data is no JSON.
    pub(crate) fn no_json(id: EventId, event_type: &str, data: &str, ts: Timestamp) -> Self {
        let bytes = |text: &str| Some(text.as_bytes().to_vec());
        let (event_type, data) = (bytes(event_type), bytes(data));
        UnreadableEvent { id, column: "data", event_type, data, ts: ts.to_string() }
    }

    /// The error that names it.
    pub(crate) fn error(self) -> Error {
        let id = self.id;
        let bytes = if self.column == "type" { &self.event_type } else { &self.data };
        let what = match (self.column, bytes.as_deref().map(str::from_utf8)) {
            ("ts", _) => format!("its ts is {:?}, which is no date and time", shorten(&self.ts)),
            (column, None) => format!("its {column} is NULL"),
            ("data", Some(Ok(text))) if check_json(text).is_err() => {
                format!("its data {:?} is not JSON", shorten(text))
            }
            (column, _) => format!("its {column} is not UTF-8 text"),
        };
        let message = format!(
            "event {id} cannot be read: {what}. Correct it with UPDATE, or pass over this one: \
             skip({id}), in a shell `fes skip`"
        );
        Error::new(ErrorKind::CorruptEvent, message).with_unreadable(self)
    }
}

/// An event to be added: a checked type and checked data.
///
/// ```
/// use futoin_eventstream::NewEvent;
/// use serde_json::json;
/// let a = NewEvent::new("USR_ADD", &json!({"id": 1})).unwrap();
/// let b = NewEvent::from_json("USR_ADD", r#"{"id":1}"#).unwrap();
/// assert_eq!(a, b);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The type.
    pub event_type: EventType,
    /// The JSON data; `null` where there is nothing to say.
    pub data: EventData,
}

impl NewEvent {
    /// An event whose data is `data` written as JSON. `&()` gives `null`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidType`], [`ErrorKind::InvalidData`].
    pub fn new<T: Serialize + ?Sized>(event_type: &str, data: &T) -> Result<Self> {
        Ok(NewEvent { event_type: EventType::new(event_type)?, data: EventData::from_value(data)? })
    }

    /// An event whose data is the JSON text `json`, stored as it is.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidType`], [`ErrorKind::InvalidData`].
    pub fn from_json(event_type: &str, json: impl Into<String>) -> Result<Self> {
        Ok(NewEvent { event_type: EventType::new(event_type)?, data: EventData::from_json(json)? })
    }

    /// Refuses data of more than `limit` bytes.
    pub(crate) fn check_size(&self, limit: usize) -> Result<()> {
        let size = self.data.as_str().len();
        if size > limit {
            fail!(
                TooLarge,
                "the data of a {} event has {size} bytes, more than the {limit} that the option \
                 max_event_bytes allows",
                self.event_type
            );
        }
        Ok(())
    }
}

/// Whether the text is one JSON value; plain SQL can put anything into a text column.
pub(crate) fn check_json(text: &str) -> serde_json::Result<()> {
    serde_json::from_str::<IgnoredAny>(text).map(|_| ())
}

/// The first 60 characters of `text`, for messages.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn data_is_kept_byte_for_byte() {
        for text in [
            "null",
            " [1.0, 1e400, 12345678901234567890]",
            r#"{"b":1,"a":2,"b":3}"#,
            r#""\u0000\ud83d\ude00\ud800😀""#,
        ] {
            assert_eq!(EventData::from_json(text).unwrap().as_str(), text);
        }
        let empty = EventData::from_json("").unwrap_err();
        assert!(empty.message().contains("null says that there is none"), "{empty}");
        for text in ["", "{", "nul", "1 2", "'a'", "\"\u{1}\"", "[1,]", "NaN"] {
            assert_eq!(EventData::from_json(text).unwrap_err().kind(), ErrorKind::InvalidData);
        }
    }

    #[test]
    fn what_is_not_ascii_can_be_escaped() {
        let data = EventData::from_json("{\"é\": \"\\u00e9 😀 \\\\\"}").unwrap();
        assert_eq!(data.to_ascii(), "{\"\\u00e9\": \"\\u00e9 \\ud83d\\ude00 \\\\\"}");
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
        assert!(EventData::from_json(deep).is_ok());
    }

    #[test]
    fn an_event_serialises_as_ftn18_says() {
        let event = Event {
            id: 999_999_999_999_999_999,
            event_type: EventType::stored("A"),
            data: EventData::stored(" 1.0".into()),
            ts: Timestamp::from_unix(0).unwrap(),
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"id":"999999999999999999","type":"A","data":1.0,"ts":"1970-01-01T00:00:00Z"}"#
        );
    }

    #[test]
    fn timestamps_of_every_stored_form_are_read() {
        let expected = Timestamp::from_unix(1_500_000_000);
        for text in ["2017-07-14 02:40:00", "2017-07-14T02:40:00Z", "2017-07-14 02:40:00.999999"] {
            assert_eq!(Timestamp::parse(text), expected, "{text}");
        }
        for text in [
            "",
            "2017-07-14",
            "2017-13-14 02:40:00",
            "2017-07-14 02:40:61",
            "x".repeat(19).as_str(),
            "2017-07-14 02:40:00+02",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn only_types_of_the_pattern_are_accepted(text in "[A-Z_a-z0-9é]{0,20}") {
            let valid = !text.is_empty() && text.len() <= 16
                && text.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            prop_assert_eq!(EventType::new(&text).is_ok(), valid);
        }

        #[test]
        fn every_second_prints_and_reads_back(seconds in Timestamp::LOWEST..=Timestamp::HIGHEST) {
            let ts = Timestamp::from_unix(seconds).unwrap();
            prop_assert_eq!(Timestamp::parse(&ts.to_string()), Some(ts));
        }

        #[test]
        fn any_text_is_checked_without_a_panic(text in ".{0,200}") {
            let ours = EventData::from_json(text.clone()).is_ok();
            let reference = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            prop_assert!(ours || !reference);
        }
    }
}
