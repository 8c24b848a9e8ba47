//! What a check was asked for, and what it found.

use crate::model::event::{EventId, MAX_EVENT_ID};
use serde::{Serialize, Serializer};
use std::fmt;

/// What [`EventStream::verify`](crate::EventStream::verify) looks at.
///
/// ```
/// use futoin_eventstream::VerifyOptions;
/// let options = VerifyOptions::new().from(1_000).to(2_000).examples(5);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyOptions {
    pub(super) from: EventId,
    pub(super) to: EventId,
    pub(super) examples: usize,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        VerifyOptions { from: 1, to: MAX_EVENT_ID, examples: 20 }
    }
}

impl VerifyOptions {
    /// All ids, and 20 examples of each finding.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first id to be accounted for (1).
    pub fn from(mut self, id: EventId) -> Self {
        self.from = id.max(1);
        self
    }

    /// The last id to be accounted for; by default the highest one that was allocated.
    pub fn to(mut self, id: EventId) -> Self {
        self.to = id.min(MAX_EVENT_ID);
        self
    }

    /// How many ids of each finding to name at most.
    pub fn examples(mut self, count: usize) -> Self {
        self.examples = count;
        self
    }
}

/// How far a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyProgress {
    /// Ids that are accounted for.
    pub done: u64,
    /// Ids that will be.
    pub total: u64,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// The event is in the event table and in the history, but they differ in type, data or second.
    Changed,
    /// The event is in the event table, the archiver's cursor has passed it, and the history does not have it: it was
    /// committed late, below ids that were settled (an explicit id, an id allocated before its INSERT), or the history has
    /// lost it.
    NotArchived,
    /// The event is in the history and no more in the event table, although a consumer has not acknowledged it: it was
    /// deleted by another hand than the discarder's, or the history has the event of another stream.
    LostFromQueue,
    /// The history has ids above the highest that was ever allocated: the event table was restored or began anew.
    HistoryBeyond,
    /// A cursor is above the highest id that was ever allocated, or is no id.
    CursorBeyond,
    /// The archiver has acknowledged more than the history has: the history has lost its end.
    HistoryShort,
    /// An id is there twice: the table has no primary key.
    Duplicate,
    /// An id below 1 or above the highest that may be: no reader gives its event.
    IdOutside,
    /// A row that cannot be read as an event.
    Unreadable,
}

impl FindingKind {
    /// The kind's name in JSON, for example `not_archived`.
    pub fn as_str(self) -> &'static str {
        match self {
            FindingKind::Changed => "changed",
            FindingKind::NotArchived => "not_archived",
            FindingKind::LostFromQueue => "lost_from_queue",
            FindingKind::HistoryBeyond => "history_beyond",
            FindingKind::CursorBeyond => "cursor_beyond",
            FindingKind::HistoryShort => "history_short",
            FindingKind::Duplicate => "duplicate",
            FindingKind::IdOutside => "id_outside",
            FindingKind::Unreadable => "unreadable",
        }
    }

    /// What it means, in one sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            FindingKind::Changed => "the history has another event of the same id",
            FindingKind::NotArchived => {
                "the archiver has passed it and the history does not have it: it was committed \
                 below ids that were settled before, or the history has lost it"
            }
            FindingKind::LostFromQueue => {
                "it is in the history and gone from the event table, although a consumer has not \
                 acknowledged it"
            }
            FindingKind::HistoryBeyond => {
                "the history has ids above the highest that was ever allocated: the event table was \
                 restored or began anew"
            }
            FindingKind::CursorBeyond => {
                "the cursor of a consumer is above the highest id that was ever allocated"
            }
            FindingKind::HistoryShort => {
                "the archiver has acknowledged more than the history has: the history has lost \
                 its end"
            }
            FindingKind::Duplicate => "the id is there twice: the table has no primary key",
            FindingKind::IdOutside => {
                "the id is below 1 or above 999999999999999999: no reader gives its event"
            }
            FindingKind::Unreadable => "the row cannot be read as an event",
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One id (or cursor) of a [`Finding`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Example {
    /// The id, as the database has it.
    pub id: String,
    /// What was seen there.
    pub detail: String,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// How often.
    pub count: u64,
    /// The first ones.
    pub examples: Vec<Example>,
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = serializer.serialize_struct("Finding", 4)?;
        out.serialize_field("kind", self.kind.as_str())?;
        out.serialize_field("meaning", self.kind.meaning())?;
        out.serialize_field("count", &self.count)?;
        out.serialize_field("examples", &self.examples)?;
        out.end()
    }
}

/// What [`EventStream::verify`](crate::EventStream::verify) found. The six counts make up the ids from `first` to
/// `last`. Serialises as a JSON object of these fields, with ids as strings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// The first id that was looked at.
    pub first: EventId,
    /// The last one; `first - 1` if there was none.
    pub last: EventId,
    /// The highest id that was allocated when it began.
    pub highest_id: EventId,
    /// Whether all that was asked for was looked at.
    pub complete: bool,
    /// Events that are only in the event table.
    pub in_queue: u64,
    /// Events that are in the event table and in the history.
    pub in_both: u64,
    /// Events that are only in the history: discarded after everybody had them.
    pub in_history: u64,
    /// Ids without an event whose transaction was rolled back.
    pub never_committed: u64,
    /// Ids without an event that every consumer has passed, and that no history tells of: discarded or rolled back.
    pub gone: u64,
    /// Ids whose transaction may still be open.
    pub unsettled: u64,
    /// Why no better evidence for what is settled could be had, and what helps.
    pub blocked: Option<String>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Verification {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// The finding of a kind.
    pub fn finding(&self, kind: FindingKind) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.kind == kind)
    }
}

impl Serialize for Verification {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = serializer.serialize_struct("Verification", 12)?;
        out.serialize_field("first", &self.first.to_string())?;
        out.serialize_field("last", &self.last.to_string())?;
        out.serialize_field("highest_id", &self.highest_id.to_string())?;
        out.serialize_field("complete", &self.complete)?;
        out.serialize_field("in_queue", &self.in_queue)?;
        out.serialize_field("in_both", &self.in_both)?;
        out.serialize_field("in_history", &self.in_history)?;
        out.serialize_field("never_committed", &self.never_committed)?;
        out.serialize_field("gone", &self.gone)?;
        out.serialize_field("unsettled", &self.unsettled)?;
        out.serialize_field("blocked", &self.blocked)?;
        out.serialize_field("findings", &self.findings)?;
        out.end()
    }
}

/// Collects what is wrong.
pub(super) struct Findings {
    /// Of each kind.
    most: usize,
    found: Vec<Finding>,
}

impl Findings {
    pub fn new(most: usize) -> Self {
        Findings { most, found: Vec::new() }
    }

    pub fn add(
        &mut self,
        kind: FindingKind,
        id: impl fmt::Display,
        detail: impl FnOnce() -> String,
    ) {
        let most = self.most;
        let finding = self.of(kind);
        finding.count += 1;
        if finding.examples.len() < most {
            finding.examples.push(Example { id: id.to_string(), detail: detail() });
        }
    }

    /// Adds `more` that are not named.
    pub fn add_unnamed(&mut self, kind: FindingKind, more: u64) {
        if more > 0 {
            self.of(kind).count += more;
        }
    }

    fn of(&mut self, kind: FindingKind) -> &mut Finding {
        let at = match self.found.iter().position(|finding| finding.kind == kind) {
            Some(at) => at,
            None => {
                self.found.push(Finding { kind, count: 0, examples: Vec::new() });
                self.found.len() - 1
            }
        };
        &mut self.found[at]
    }

    pub fn list(self) -> Vec<Finding> {
        self.found
    }
}
