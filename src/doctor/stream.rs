//! The checks that every database has.

use super::{Check, CheckStatus, DoctorOptions};
use crate::backend::doctor::{Checks, IN_THE_WAREHOUSE, OPEN_FOR_LONG, ROLES, seconds_since};
use crate::backend::verify::Place;
use crate::backend::{Connection, Watch, migrate};
use crate::history::{Warehouse, archiver_ident};
use crate::model::check::{Outcome, failure, ok, warning};
use crate::model::error::{ErrorKind, Result};
use crate::model::event::MAX_EVENT_ID;
use crate::read::reader::Reader;
use crate::stream::{EventStream, Lag};
use crate::verify::{FindingKind, VerifyOptions};
use std::time::{SystemTime, UNIX_EPOCH};

/// So many ids at the end of the stream are compared with the history.
const RECENT: u64 = 10_000;
/// Consumers that are this far behind, or were not seen for so long (s), are told of.
const BEHIND: u64 = 100_000;
const UNSEEN: i64 = 86_400;
/// Clocks that differ by more than this (s).
const SKEW: i64 = 5;

pub(super) fn examine(
    stream: &EventStream,
    warehouse: Option<&Warehouse>,
    options: &DoctorOptions,
) -> Result<Vec<Check>> {
    let reader = stream.reader();
    let pool = reader.pool()?;
    let mut checks = Checks::default();
    let mut connection = match pool.backend().connect() {
        Ok(connection) => connection,
        Err(error) => return Ok(vec![Check::unreachable(&error)]),
    };
    checks.add("reachable", ok(format!("{:?}", stream.kind())));
    connection.examine(&reader.settings, &mut checks)?;
    if let Some(outcome) =
        pool.backend().connect().map(|mut c| connection.pooler(&mut c)).transpose()
    {
        checks.add("pooler", outcome.and_then(|outcome| outcome));
    }
    let tables = tables(&mut connection);
    let there = matches!(tables, Ok((CheckStatus::Ok, ..)));
    checks.add("tables", tables);
    if there {
        checks.add("schema", schema(&mut connection, reader));
    }
    for (role, needs) in ROLES {
        let (looked_at, must) = options.wants(role);
        if looked_at {
            let missing = connection.missing(&reader.settings, needs);
            checks.add(&format!("role_{role}"), rights(missing, must));
        }
    }
    checks.add("clock", clock(&mut connection));
    if there {
        checks.add("order", order(reader));
        checks.add("ids_left", ids_left(&mut connection));
        checks.add("ids_outside", ids_outside(&mut connection));
        checks.add("cursors", cursors(&mut connection));
        checks.add("unreadable", unreadable(reader, &mut connection));
        let lag = stream.lag();
        checks.add("consumers", consumers(&lag));
        checks.add("open_transactions", open_transactions(&lag, connection.clock()));
    }
    if let Some(warehouse) = warehouse {
        checks.add("warehouse", self::warehouse(warehouse));
        checks.add("warehouse_role", warehouse_rights(warehouse, options.wants("archiver").1));
        if there {
            checks.add("late_events", late_events(stream, warehouse));
        }
    }
    Ok(checks.0)
}

fn tables(connection: &mut Connection) -> Outcome {
    let events = connection.ids(Place::Queue, MAX_EVENT_ID - 1, 1).map(drop);
    let looks = [("event", events), ("consumer", connection.cursors().map(drop))];
    for (name, look) in looks {
        match look {
            Ok(()) => {}
            // Without the right nothing is known.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(error),
            Err(error) => {
                let seen = format!("the {name} table: {error} ({})", error.kind().name());
                return failure(seen, "migrate(), or the options event_table and consumer_table");
            }
        }
    }
    ok("the event table and the consumer table are there")
}

fn schema(connection: &mut Connection, reader: &Reader) -> Outcome {
    let pending = migrate::pending(connection, &reader.settings)?;
    if pending.is_empty() {
        return ok("the tables are up to date");
    }
    warning(
        format!("the steps {} were not run", pending.join(", ")),
        "migrate(), by the owner of the tables",
    )
}

fn rights(missing: Result<Vec<String>>, must: bool) -> Outcome {
    let missing = missing?;
    if missing.is_empty() {
        return ok("has all its rights");
    }
    let seen = format!("{} rights are missing", missing.len());
    let remedy = missing.join("; ");
    if must { failure(seen, remedy) } else { warning(seen, remedy) }
}

fn clock(connection: &mut Connection) -> Outcome {
    let before = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    judge_skew(connection.clock()? - before.cast_signed())
}

fn judge_skew(skew: i64) -> Outcome {
    if skew.abs() <= SKEW {
        return ok("the clocks of the database and of this machine agree");
    }
    warning(
        format!("the clock of the database differs by {skew} s from the one here"),
        "time synchronisation (NTP) on both machines",
    )
}

/// Opens a watch of its own, as the first reader does, and looks.
fn order(reader: &Reader) -> Outcome {
    let look = || {
        let mut watch = Watch::open(reader.pool()?.backend())?;
        watch.settle(0)
    };
    match look() {
        Ok(look) => match look.blocked {
            None => ok("the server shows who may still add events"),
            Some(why) => warning(why, "the grant that stands there"),
        },
        Err(error) if error.kind() == ErrorKind::UnsafeServer => {
            failure(error.to_string(), "what the error says")
        }
        Err(error) => Err(error),
    }
}

fn ids_left(connection: &mut Connection) -> Outcome {
    let allocated = connection.highest_allocated()?;
    let seen = format!("{allocated} of {MAX_EVENT_ID}");
    if allocated < MAX_EVENT_ID / 10 * 9 {
        return ok(seen);
    }
    failure(seen, "a new event table, after all consumers have read this one")
}

fn ids_outside(connection: &mut Connection) -> Outcome {
    let strays = connection.strays(Place::Queue, 5)?;
    if strays.count == 0 {
        return ok("none");
    }
    failure(
        format!("{} events, such as {}", strays.count, strays.first.join(", ")),
        "add them again without an id, and DELETE these rows",
    )
}

fn cursors(connection: &mut Connection) -> Outcome {
    let cursors = connection.cursors()?;
    let allocated = i128::from(connection.highest_allocated()?);
    let wrong = cursors.iter().find(|cursor| !(0..=allocated).contains(&cursor.last_id));
    match wrong {
        None => ok(format!("{} of them, up to {allocated}", cursors.len())),
        Some(cursor) => failure(
            format!("{} is at {}, but {allocated} was allocated", cursor.ident, cursor.last_id),
            "compare with the consumer's own state, then unregister and register it",
        ),
    }
}

/// A sample: the first events and the last ones.
fn unreadable(reader: &Reader, connection: &mut Connection) -> Outcome {
    let last = connection.highest_allocated()?.min(MAX_EVENT_ID);
    let report = |from, to| {
        let options = VerifyOptions::new().from(from).to(to).examples(3);
        crate::verify::scan_queue(reader, &options)
    };
    let first = connection.ids(Place::Queue, 0, 1)?.first().copied().unwrap_or(1);
    for (from, to) in [(first, first + 1000), (last.saturating_sub(1000).max(1), last)] {
        if let Some(finding) = report(from, to)?.finding(FindingKind::Unreadable) {
            let details: Vec<&str> =
                finding.examples.iter().map(|example| example.detail.as_str()).collect();
            return failure(details.join("; "), "correct the column that the message names");
        }
    }
    ok("none among the first and the last 1000")
}

fn consumers(lag: &Result<Lag>) -> Outcome {
    let lag = lag.as_ref().map_err(crate::model::error::Error::copy)?;
    let late = lag.consumers.iter().find(|consumer| {
        consumer.events_behind > BEHIND
            || consumer.seconds_since_seen > UNSEEN && consumer.events_behind > 0
    });
    match late {
        None => ok(format!("{} of them", lag.consumers.len())),
        Some(consumer) => warning(
            format!(
                "{} is {} events behind, and was last seen {} s ago",
                consumer.ident, consumer.events_behind, consumer.seconds_since_seen
            ),
            "start it, or unregister it (expire_after_s does so by itself)",
        ),
    }
}

fn open_transactions(lag: &Result<Lag>, now: Result<i64>) -> Outcome {
    let lag = lag.as_ref().map_err(crate::model::error::Error::copy)?;
    let now = now?;
    let old = lag.holders.iter().find(|holder| {
        let since = holder.since.as_deref().and_then(|since| seconds_since(now, since));
        since.is_some_and(|age| age > OPEN_FOR_LONG)
    });
    match (lag.first_unsettled, old) {
        (Some(id), Some(holder)) => warning(
            format!(
                "{} ({}) has been open since {}, and holds up everything from id {id} on",
                holder.id,
                holder.application.as_deref().unwrap_or("unknown"),
                holder.since.as_deref().unwrap_or("unknown"),
            ),
            "end that transaction (pg_terminate_backend, KILL), and find out why it stays open",
        ),
        (None, _) => ok("none holds the stream up"),
        (Some(_), None) => ok("some are at work, none for long as far as the server tells"),
    }
}

fn warehouse(warehouse: &Warehouse) -> Outcome {
    match warehouse.end() {
        Ok(end) => ok(format!("{:?}, up to event {end}", warehouse.kind())),
        Err(error) => {
            let seen = format!("{error} ({})", error.kind().name());
            failure(seen, "migrate() of the warehouse, or what the error says")
        }
    }
}

fn warehouse_rights(warehouse: &Warehouse, must: bool) -> Outcome {
    let settings = warehouse.settings();
    let missing =
        warehouse.pool()?.with_retry(|connection| connection.missing(settings, IN_THE_WAREHOUSE));
    rights(missing, must)
}

/// Those of the last events that the archiver has passed, but that the history does not have.
fn late_events(stream: &EventStream, warehouse: &Warehouse) -> Outcome {
    let cursors = stream.reader().pool()?.with_retry(|connection| connection.cursors())?;
    let archiver = archiver_ident()?;
    let Some(cursor) = cursors.iter().find(|cursor| cursor.ident == archiver.as_str()) else {
        return ok("nothing is archived yet");
    };
    let to = u64::try_from(cursor.last_id).unwrap_or(0);
    let options = VerifyOptions::new().from(to.saturating_sub(RECENT)).to(to).examples(5);
    let report = stream.verify(Some(warehouse), &options)?;
    match report.finding(FindingKind::NotArchived) {
        None => ok(format!("none among the last {RECENT} ids that were archived")),
        Some(finding) => {
            let ids: Vec<&str> = finding.examples.iter().map(|it| it.id.as_str()).collect();
            failure(
                format!("{} events, such as {}", finding.count, ids.join(", ")),
                "`fes verify` names all; hand them to the consumers, and let the database allocate ids at the INSERT",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::HolderInfo;

    fn status(outcome: Outcome) -> CheckStatus {
        outcome.unwrap().0
    }

    #[test]
    fn clocks_may_differ_by_five_seconds_in_both_directions() {
        assert_eq!([-5, 0, 5].map(judge_skew).map(status), [CheckStatus::Ok; 3]);
        assert_eq!([-6, 6].map(judge_skew).map(status), [CheckStatus::Warning; 2]);
    }

    #[test]
    fn a_transaction_is_told_of_when_it_holds_the_stream_up_for_more_than_a_minute() {
        let held = |since: Option<&str>, first_unsettled| {
            let holder = HolderInfo {
                id: "4711".to_owned(),
                since: since.map(str::to_owned),
                application: Some("batch".to_owned()),
            };
            let lag = Ok(Lag {
                highest_id: 9,
                first_unsettled,
                holders: vec![holder],
                blocked: None,
                warnings: Vec::new(),
                consumers: Vec::new(),
            });
            let now = crate::model::event::Timestamp::parse("2026-01-01T00:02:00Z").unwrap().unix();
            open_transactions(&lag, Ok(now)).unwrap()
        };
        let (old, seen, remedy) = held(Some("2026-01-01T00:00:30Z"), Some(7));
        assert_eq!(old, CheckStatus::Warning);
        assert!(seen.contains("4711 (batch)") && seen.contains("from id 7 on"), "{seen}");
        assert!(remedy.unwrap().contains("pg_terminate_backend"));
        assert_eq!(held(Some("2026-01-01T00:01:30Z"), Some(7)).0, CheckStatus::Ok);
        assert_eq!(held(Some("2026-01-01T00:00:30Z"), None).0, CheckStatus::Ok);
        assert_eq!(held(None, Some(7)).0, CheckStatus::Ok);
    }
}
