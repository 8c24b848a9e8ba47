//! What the doctor asks of a database: each check by itself, so that one that may not be made leaves the others. The
//! SQL is in each dialect.

use super::abilities::Abilities;
use super::{Connection, direct, each};
use crate::config::Settings;
use crate::model::check::{Check, CheckStatus, Outcome, Seen};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::Timestamp;
use crate::model::value::{Rows, Value};

/// The checks that were made.
#[derive(Default)]
pub(crate) struct Checks(pub Vec<Check>);

impl Checks {
    /// Notes a check. What the database refuses to show is unknown, and says why.
    pub fn add(&mut self, name: &str, outcome: Outcome) {
        let (status, seen, remedy) = outcome.unwrap_or_else(|error| {
            let kind = error.kind().name();
            (CheckStatus::Unknown, format!("cannot be looked at: {error} ({kind})"), None)
        });
        let why = why(name).to_owned();
        self.0.push(Check { name: name.to_owned(), status, seen, why, remedy });
    }
}

/// Why each check matters.
const WHY: &[(&str, &str)] = &[
    ("reachable", "Without the server nothing works."),
    ("version", "Other versions are not tested, and may show locks in another way."),
    (
        "writable",
        "A server that is read-only, or applies the changes of another one, gives events out of order.",
    ),
    (
        "order",
        "Without this evidence a reader would pass over events that commit late; reliable reading is refused.",
    ),
    ("tables", "Nothing works without the tables."),
    ("schema", "Older tables cut long events off, or run out of ids."),
    ("sequence", "Ids must be allocated one by one, in order."),
    ("ids_left", "Above 999999999999999999 no reader gives an event."),
    ("consumer_ids_left", "When they are used up nobody can register."),
    ("ids_outside", "No reader gives these events."),
    (
        "cursors",
        "A cursor above what was allocated passes over the events to come: the stream was restored, or began anew.",
    ),
    ("unreadable", "A row that is no event stops its readers, or is passed over."),
    ("late_events", "Consumers that have passed them will not get them."),
    (
        "row_security",
        "Rows that a policy hides from a consumer, or from the archiver, are passed over.",
    ),
    (
        "pooler",
        "A pooler that changes the session between transactions breaks looks, leases and prepared statements.",
    ),
    (
        "metadata_locks",
        "While the event table is never at rest, events behind a gap would come late without them.",
    ),
    (
        "autocommit",
        "Sessions of other programs that forget COMMIT hold the stream up, and lose their events.",
    ),
    ("sql_mode", "Without STRICT_TRANS_TABLES other programs' events are cut off silently."),
    ("charset", "Other character sets cannot hold every text."),
    ("packet", "Larger events are refused."),
    (
        "durability",
        "A crash of the server can lose events that were acknowledged, and draws their ids again.",
    ),
    (
        "file_system",
        "Locks of network file systems do not keep two writers apart: the database breaks.",
    ),
    (
        "explicit_ids",
        "An event with an id that was allocated before its INSERT, or given, can come late and be lost.",
    ),
    ("triggers", "A trigger on the event table can change, refuse or add events."),
    ("partitions", "Writers to a partition are looked for, too."),
    (
        "open_transactions",
        "Events behind the ids that they hold are not delivered before they end.",
    ),
    (
        "prepared_transactions",
        "They hold the stream up, also after a restart, until somebody ends them.",
    ),
    ("consumers", "Nothing that they have not acknowledged is discarded."),
    ("clock", "Times of events, and expire_after_s, go by the clock of the database."),
    ("tls", "Who can read the network can read the events and the password."),
    (
        "sqlite_library",
        "Two SQLite libraries in one process break each other's locks: acknowledged events vanish.",
    ),
    ("role_generator", "Whoever adds events needs it."),
    ("role_consumer", "Whoever registers, polls and acknowledges needs it."),
    ("role_archiver", "Who copies the stream to the history needs it."),
    ("role_discarder", "Who deletes what everybody has acknowledged needs it."),
    (
        "warehouse",
        "Without it nothing is archived, and with require_archiver nothing is discarded.",
    ),
    ("warehouse_role", "The archiver needs it in the warehouse."),
];

fn why(name: &str) -> &'static str {
    WHY.iter().find(|(other, _)| *other == name).map_or("", |(_, why)| why)
}

/// Where a privilege is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    Queue,
    QueueSequence,
    Consumers,
    ConsumersSequence,
    History,
}

use Object::*;

/// What each role of docs/grants.md needs.
pub(crate) const ROLES: &[(&str, &[(&str, Object)])] = &[
    ("generator", &[("INSERT", Queue), ("USAGE", QueueSequence)]),
    (
        "consumer",
        &[
            ("SELECT", Queue),
            ("SELECT", QueueSequence),
            ("SELECT", Consumers),
            ("INSERT", Consumers),
            ("UPDATE", Consumers),
            ("DELETE", Consumers),
            ("USAGE", ConsumersSequence),
        ],
    ),
    (
        "archiver",
        &[
            ("SELECT", Queue),
            ("SELECT", QueueSequence),
            ("SELECT", Consumers),
            ("INSERT", Consumers),
            ("UPDATE", Consumers),
            ("USAGE", ConsumersSequence),
        ],
    ),
    (
        "discarder",
        &[("SELECT", Consumers), ("UPDATE", Consumers), ("SELECT", Queue), ("DELETE", Queue)],
    ),
];

/// What the archiver needs in the warehouse.
pub(crate) const IN_THE_WAREHOUSE: &[(&str, Object)] = &[("SELECT", History), ("INSERT", History)];

impl Connection {
    /// The checks that only this kind of database has.
    pub fn examine(&mut self, settings: &Settings, checks: &mut Checks) -> Result<()> {
        each!(self, c => {
            c.examine(settings, checks);
            Ok(())
        })
    }

    /// Whether a pooler gives the sessions of one connection to another; `None` where there is no such thing.
    pub fn pooler(&mut self, other: &mut Connection) -> Option<Outcome> {
        let mut check = || -> Result<Option<Seen>> { each!(self, c => c.pooler(other)) };
        check().transpose()
    }

    /// The process of the server that works for this connection; empty where there is no such thing.
    pub fn process(&mut self) -> Result<String> {
        each!(self, c => c.process())
    }

    /// Seconds since 1970 by the database's clock. Needs no right on a table.
    pub fn clock(&mut self) -> Result<i64> {
        let sql = direct!(self, c => c.clock_sql());
        let text = one(self.query(sql, &[])?)?;
        let no_time = |_| Error::new(ErrorKind::Database, format!("the clock says {text:?}"));
        text.parse().map_err(no_time)
    }

    /// The privileges that are missing, as statements that grant them.
    pub fn missing(
        &mut self,
        settings: &Settings,
        needs: &[(&str, Object)],
    ) -> Result<Vec<String>> {
        each!(self, c => c.missing(settings, needs))
    }
}

/// The rows of a query as texts; NULL is the empty one.
pub(super) fn texts(rows: impl IntoIterator<Item = Vec<Value>>) -> Vec<Vec<String>> {
    let text = |value: Value| match value {
        Value::Null => String::new(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text,
        Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
    };
    rows.into_iter().map(|row| row.into_iter().map(text).collect()).collect()
}

/// The only text of a query.
pub(super) fn one(rows: Rows) -> Result<String> {
    let first = texts(rows).into_iter().next().and_then(|row| row.into_iter().next());
    first.ok_or_else(|| Error::new(ErrorKind::Database, "the server returned no row"))
}

/// Seconds since a time that a server wrote as `YYYY-MM-DDTHH:MM:SSZ`.
pub(crate) fn seconds_since(now: i64, since: &str) -> Option<i64> {
    Timestamp::parse(since).map(|at| now - at.unix())
}

/// Transactions that are open for longer than this are told of, in seconds.
pub(crate) const OPEN_FOR_LONG: i64 = 60;
