//! The life of a stream, and what identifies it. A database that was restored to an older state, a
//! standby that took over without the last commits, a table that was truncated: the ids are allocated
//! again, and a cursor of the life before means nothing. This module has the words for that; what
//! follows from them is the business of [`crate::read::rewind`].

use crate::model::event::{Event, EventId};
use std::fmt;

/// An event that was there: another one under the same id is a sign of another life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub id: EventId,
    /// Of its type and time.
    pub head: u32,
    /// Of its data as text.
    pub data: u32,
}

impl Anchor {
    pub fn of(event: &Event) -> Anchor {
        let head = hash(event.ts.unix() as u64, event.event_type.as_str());
        // A digest of much data would cost more than reading it: its length and its ends will do.
        let data = event.data.as_str().as_bytes();
        let rest = data.len().saturating_sub(END).max(END.min(data.len()));
        let data = digest(digest(START, &data[..END.min(data.len())]), &data[rest..])
            .wrapping_add(data.len() as u64);
        Anchor { id: event.id, head, data: fold(data) }
    }
}

/// What is known of a position in the stream: everything up to `id` was passed, and an event before
/// it, or just there, was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub id: EventId,
    pub anchor: Option<Anchor>,
}

impl Position {
    /// A position of which nothing else is known.
    pub fn at(id: EventId) -> Position {
        Position { id, anchor: None }
    }
}

/// What the server shows of a life without a privilege. The numbers are digests, which may only be
/// compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    /// The highest id allocated.
    pub allocated: EventId,
    /// The server, and its history: system identifier and timeline, or the uuid of the server.
    pub place: u32,
    /// The database, the table and the counter of its ids: other ones were made anew.
    pub made: u32,
    /// What a TRUNCATE changes, but maintenance does, too: the file of the table, its time stamp.
    pub moved: u32,
    /// The type of the column `data`: after another one the same event may have another text.
    pub form: u32,
}

impl Life {
    /// Whether anything changed since `before` that calls for a close look.
    pub fn differs(&self, before: &Life) -> bool {
        let tokens = |life: &Life| (life.place, life.made, life.moved, life.form);
        tokens(self) != tokens(before) || self.allocated < before.allocated
    }

    /// Whether all that changed since `before` is what maintenance changes, and nothing else. That
    /// can be told only where the server shows apart what was made anew.
    pub fn is_maintained(&self, before: &Life) -> bool {
        let tokens = |life: &Life| (life.place, life.made);
        self.made != 0 && tokens(self) == tokens(before) && self.allocated >= before.allocated
    }

    /// What changed since `before`, in words.
    pub fn changes(&self, before: &Life) -> Vec<String> {
        let mut changes = Vec::new();
        if self.allocated < before.allocated {
            changes.push(format!(
                "the highest id allocated went back from {} to {}",
                before.allocated, self.allocated
            ));
        }
        if self.place != before.place {
            changes.push("the server, or its timeline, is another one".to_owned());
        }
        if self.made != before.made {
            changes.push("the event table, or the counter of its ids, was made anew".to_owned());
        }
        if self.moved != before.moved && self.made == before.made {
            changes.push("the event table was rewritten".to_owned());
        }
        changes
    }
}

/// What stands beside a stored cursor for who reads it later: which event was there, in which life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Where the cursor was. It is of no use where somebody else has moved the cursor since.
    pub cursor: EventId,
    pub anchor: Option<Anchor>,
    pub life: Life,
}

/// The form of the text.
const VERSION: &str = "1";

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Life { allocated, place, made, moved, form } = self.life;
        write!(f, "{VERSION} {} {allocated} {place:x} {made:x} {moved:x} {form:x}", self.cursor)?;
        match self.anchor {
            Some(Anchor { id, head, data }) => write!(f, " {id} {head:x} {data:x}"),
            None => Ok(()),
        }
    }
}

impl Mark {
    /// Reads the text; `None` for anything that is not one.
    pub fn parse(text: &str) -> Option<Mark> {
        let mut words = text.strip_prefix(VERSION)?.strip_prefix(' ')?.split(' ');
        let (cursor, allocated) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let mut hex = || u32::from_str_radix(words.next()?, 16).ok();
        let life = Life { allocated, place: hex()?, made: hex()?, moved: hex()?, form: hex()? };
        let anchor = match words.next() {
            None => None,
            Some(id) => {
                let mut hex = || u32::from_str_radix(words.next()?, 16).ok();
                Some(Anchor { id: id.parse().ok()?, head: hex()?, data: hex()? })
            }
        };
        Some(Mark { cursor, anchor, life })
    }
}

/// Of longer data only so much of the beginning and of the end is looked at, in bytes.
const END: usize = 16 << 10;

/// A digest of a number and a text. It stands in databases, so that it never changes (FNV-1a).
pub(crate) fn hash(number: u64, text: &str) -> u32 {
    fold(digest(digest(START, &number.to_le_bytes()), text.as_bytes()))
}

const START: u64 = 0xcbf2_9ce4_8422_2325;

fn digest(start: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(start, step)
}

fn fold(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let life = Life { allocated: 12, place: 1, made: u32::MAX, moved: 3, form: 0 };
        let anchor = Some(Anchor { id: 999_999_999_999_999_999, head: 5, data: 0xabcdef01 });
        for anchor in [anchor, None] {
            let mark = Mark { cursor: 999_999_999_999_999_999, anchor, life };
            let text = mark.to_string();
            assert!(text.len() <= 160, "{text}");
            assert_eq!(Mark::parse(&text), Some(mark));
        }
        for text in
            ["", "1", "1 ", "2 5 5 1 1 1 1", "1 5 5 1 1 1", "1 x 5 1 1 1 1", "1 5 5 1 1 1 1 7"]
        {
            assert_eq!(Mark::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn digests_stay_what_they_are() {
        assert_eq!(hash(0, "USR_ADD"), 0x2ef1_66b2);
        assert_ne!(hash(1, "a"), hash(0, "a"));
        assert_ne!(hash(0, "ab"), hash(0, "ba"));
    }
}
