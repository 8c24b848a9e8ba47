//! Rows that are not as they should be: what cannot be read as an event holds up nobody longer than
//! it must, and is never passed over in silence.

mod ids;
mod unreadable;

use crate::support::{Db, Raw, everything, failure};
use futoin_eventstream::{
    Archiver, Consumer, DatabaseKind, ErrorKind, Event, EventId, EventStream, HistoryNotice,
    NewEvent, Notice, Options, PoisonPolicy, ReceiverOptions, ReliableReceiver, Want, Warehouse,
};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<EventId> {
    events.into_iter().map(|event| event.id).collect()
}

fn add(stream: &EventStream, types: &[&str]) -> Vec<EventId> {
    types.iter().map(|event_type| stream.add_event(event_type, &1).unwrap()).collect()
}

fn registered(stream: &EventStream, component: &str) -> Consumer {
    let consumer = stream.consumer("app", component).unwrap();
    consumer.register().unwrap();
    consumer
}

/// Waits until it is so.
#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the option `check_json` finds.
const NO_JSON: (&str, &str) = ("data", "data = '{\"a\": '");

/// A stream that looks whether data is JSON.
fn checking(db: &Db) -> EventStream {
    db.stream_with(&[("check_json", "true")])
}

/// What cannot be read, on each database: a name, the column, and an UPDATE of the table.
fn damages(db: &Db) -> Vec<(&'static str, &'static str)> {
    match db.kind {
        DatabaseKind::Sqlite => vec![
            ("ts", "ts = 'yesterday'"),
            ("ts", "ts = x'FF'"),
            ("data", "data = x'FF41'"),
            ("data", "data = CAST(x'7B22C322' AS TEXT)"),
            ("type", "type = x'FF'"),
            NO_JSON,
        ],
        DatabaseKind::Postgres => vec![
            ("ts", "ts = 'infinity'"),
            ("ts", "ts = '-infinity'"),
            ("ts", "ts = '0044-03-15 12:00:00 BC'"),
            ("ts", "ts = NULL"),
            ("data", "data = NULL"),
            ("type", "type = NULL"),
            NO_JSON,
        ],
        DatabaseKind::Mysql => vec![
            ("ts", "ts = '0000-00-00 00:00:00'"),
            ("ts", "ts = NULL"),
            ("type", "type = NULL"),
            ("data", "data = x'FF41'"),
            NO_JSON,
        ],
    }
}

/// Lets the table take what an application may have made of it.
fn soften(db: &Db) -> Raw {
    let mut raw = db.raw();
    match db.kind {
        DatabaseKind::Sqlite => {}
        DatabaseKind::Postgres => {
            for column in ["type", "data", "ts"] {
                raw.exec(&format!("ALTER TABLE evt_queue ALTER {column} DROP NOT NULL"));
            }
            raw.exec("ALTER TABLE evt_queue ALTER data TYPE text");
        }
        DatabaseKind::Mysql => {
            raw.exec("SET SESSION sql_mode = ''");
            raw.exec(
                "ALTER TABLE evt_queue MODIFY type VARCHAR(16) NULL, MODIFY ts DATETIME NULL, \
                 MODIFY data LONGBLOB NULL",
            );
        }
    }
    raw
}

fn damage(raw: &mut Raw, how: &str, id: EventId) {
    raw.exec(&format!("UPDATE evt_queue SET {how} WHERE id = {id}"));
}

/// Makes a good event of the row again.
fn repair(db: &Db, id: EventId) {
    let now = db.now_sql();
    let values = format!("type = 'B', data = '1', ts = {now}");
    db.raw().exec(&format!("UPDATE evt_queue SET {values} WHERE id = {id}"));
}

fn bad_ts(db: &Db) -> &'static str {
    damages(db)[0].1
}

/// An event of type B that was never readable.
fn insert_bad(db: &Db, raw: &mut Raw) {
    let value = bad_ts(db).trim_start_matches("ts = ");
    raw.exec(&format!("INSERT INTO evt_queue(type, data, ts) VALUES ('B', '1', {value})"));
}

/// An event of type B whose data is no JSON.
fn insert_no_json(db: &Db, raw: &mut Raw) {
    raw.exec(&db.insert_sql("B").replace("'null'", "'{\"a\": '"));
}

/// A receiver of all events that collects their ids and its notices.
fn receive(
    stream: &EventStream,
    component: &str,
    want: Want,
    poison: PoisonPolicy,
) -> (ReliableReceiver, Receiver<EventId>, Receiver<String>) {
    let (sender, received) = channel();
    let (notify, notices) = channel();
    let options = ReceiverOptions::new().poison(poison).want(want).on_notice(move |notice| {
        let _ = match notice {
            Notice::WorkerError(error) => notify.send(error.kind().name()),
            Notice::Skipped { id, event_type, .. } => {
                notify.send(format!("skipped {id} {event_type}"))
            }
            Notice::Stopped => notify.send("stopped".to_owned()),
            _ => Ok(()),
        };
    });
    let receiver = ReliableReceiver::new(stream, "app", component, options, move |delivery| {
        for event in &delivery.events {
            sender.send(event.id)?;
        }
        Ok(())
    })
    .unwrap();
    receiver.start().unwrap();
    (receiver, received, notices)
}

const LIMIT: EventId = futoin_eventstream::MAX_EVENT_ID;

/// Sets what the next id is allocated from: the last id that was allocated.
fn set_counter(db: &Db, last: EventId) {
    let next = last + 1;
    db.raw().exec(&match db.kind {
        DatabaseKind::Sqlite => {
            format!("UPDATE sqlite_sequence SET seq = {last} WHERE name = 'evt_queue'")
        }
        DatabaseKind::Postgres => {
            format!("SELECT setval(pg_get_serial_sequence('evt_queue', 'id'), {last})")
        }
        DatabaseKind::Mysql => format!("ALTER TABLE evt_queue AUTO_INCREMENT = {next}"),
    });
}
