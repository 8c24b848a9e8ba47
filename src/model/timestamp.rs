//! The time of an event.

use serde::{Serialize, Serializer};
use std::fmt;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

/// When an event was added, by the clock of its database: UTC, whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    pub(super) const LOWEST: i64 = -62_167_219_200; // 0000-01-01T00:00:00Z
    /// 1970-01-01T00:00:00Z.
    pub(crate) const EPOCH: Timestamp = Timestamp(0);
    pub(super) const HIGHEST: i64 = 253_402_300_799; // 9999-12-31T23:59:59Z

    /// Seconds since 1970-01-01T00:00:00Z; `None` outside of the years 0 to 9999.
    ///
    /// ```
    /// use futoin_eventstream::Timestamp;
    /// let ts = Timestamp::from_unix(1_500_000_000).unwrap();
    /// assert_eq!(ts.to_string(), "2017-07-14T02:40:00Z");
    /// ```
    pub fn from_unix(seconds: i64) -> Option<Self> {
        (Self::LOWEST..=Self::HIGHEST).contains(&seconds).then_some(Timestamp(seconds))
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn unix(self) -> i64 {
        self.0
    }

    /// Reads `YYYY-MM-DD HH:MM:SS`, with `T` for the space, a fraction and a `Z` allowed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let number = |from: usize, to: usize| -> Option<u32> {
            bytes
                .get(from..to)?
                .iter()
                .try_fold(0, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u32::from(b - b'0')))
        };
        let separators = (bytes.get(4)?, bytes.get(7)?, bytes.get(10)?, bytes.get(13)?);
        let (b'-', b'-', b' ' | b'T', b':') = separators else { return None };
        if *bytes.get(16)? != b':' {
            return None;
        }
        let rest = text.get(19..)?;
        let rest = rest.strip_suffix('Z').unwrap_or(rest);
        if !rest.is_empty() {
            let fraction = rest.strip_prefix('.')?;
            if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
        }
        Self::from_parts(
            [number(0, 4)?, number(5, 7)?, number(8, 10)?],
            [number(11, 13)?, number(14, 16)?, number(17, 19)?],
        )
    }

    /// As databases write it: `YYYY-MM-DD HH:MM:SS`.
    pub(crate) fn sql_text(self) -> String {
        self.to_string().replace('T', " ").replace('Z', "")
    }

    /// From year, month, day and hour, minute, second.
    pub(crate) fn from_parts(date: [u32; 3], clock: [u32; 3]) -> Option<Self> {
        let [year, month, day] = date;
        let [hour, minute, second] = clock.map(|part| u8::try_from(part).unwrap_or(u8::MAX));
        let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
        let date =
            Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?)
                .ok()?;
        let time = Time::from_hms(hour, minute, second).ok()?;
        Self::from_unix(PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp(self.0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        )
    }
}

/// Timestamps as databases write them. Those of neighbours are often the same.
#[derive(Default)]
pub(crate) struct TimeTexts(Option<(Timestamp, String)>);

impl TimeTexts {
    pub fn of(&mut self, ts: Timestamp) -> &str {
        if self.0.as_ref().is_none_or(|(last, _)| *last != ts) {
            self.0 = Some((ts, ts.sql_text()));
        }
        self.0.as_ref().map_or("", |(_, text)| text)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
