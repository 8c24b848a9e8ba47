//! Proves order without loss for one interleaving after the other: whoever draws an id, and
//! however its transaction goes on, events behind it are kept back until it has ended, and come in
//! order then; and nothing else delays them.
//!
//! All tests look with three readers that share a stream: one of all events, one with a filter,
//! and LIVE.

mod crash;
mod delays;
mod ends;
mod late_events;
mod positions;
mod sessions;
mod slow;
mod stress;
mod tables;

use crate::support::{Db, Raw, failure};
use futoin_eventstream::{Consumer, DatabaseKind, ErrorKind, EventStream, Want};
use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

/// Much longer than it takes to notice that a transaction has ended.
const SOON: Duration = Duration::from_secs(5);
/// What counts as "at once", on a machine that runs many tests.
const PROMPT: Duration = Duration::from_secs(1);
/// How long a writer of these tests stays open.
const LONG: Duration = Duration::from_secs(3);

/// The types of events: the filtered reader wants the first only.
const TYPE: &str = "ORDER_A";
const OTHER_TYPE: &str = "ORDER_B";

/// Three readers of a stream, in one test thread.
struct Readers {
    readers: Vec<Reader>,
}

struct Reader {
    name: &'static str,
    consumer: Consumer,
    want: Want,
    last: Cell<Option<u64>>,
}

impl Readers {
    fn new(stream: &EventStream) -> Readers {
        let filter = Want::types(&[TYPE]).unwrap();
        let readers = [("All", Want::all()), ("Filtered", filter), ("LIVE", Want::all())];
        let readers = readers.map(|(name, want)| {
            let consumer = stream.consumer("app", name).unwrap();
            if consumer.is_live() {
                assert!(consumer.poll(None, &want).unwrap().is_empty());
            } else {
                consumer.register().unwrap();
            }
            Reader { name, consumer, want, last: Cell::new(None) }
        });
        Readers { readers: readers.into() }
    }

    /// Each gets exactly these next, in this order, and soon.
    #[track_caller]
    fn get(&self, ids: &[u64]) {
        self.get_within(ids, SOON);
    }

    #[track_caller]
    fn get_within(&self, ids: &[u64], time: Duration) {
        self.get_some(ids, ids, time);
    }

    /// As [`get`](Self::get), where the filtered reader wants less.
    #[track_caller]
    fn get_some(&self, ids: &[u64], wanted: &[u64], time: Duration) {
        let end = Instant::now() + time;
        for reader in &self.readers {
            let expected = if reader.want.names().is_some() { wanted } else { ids };
            let mut got = Vec::new();
            while got.len() < expected.len() && Instant::now() < end {
                got.extend(reader.poll());
                thread::sleep(Duration::from_millis(5));
            }
            assert_eq!(got, expected, "{} within {time:?}", reader.name);
        }
    }

    /// None of them gets anything, for a while.
    #[track_caller]
    fn get_nothing(&self) {
        for _ in 0..4 {
            for reader in &self.readers {
                let got = reader.poll();
                assert!(got.is_empty(), "{}: {got:?}", reader.name);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Reader {
    /// The ids of the next events, which the next poll acknowledges.
    fn poll(&self) -> Vec<u64> {
        let events = self.consumer.poll(self.last.get(), &self.want).unwrap();
        if let Some(event) = events.last() {
            self.last.set(Some(event.id));
        }
        events.iter().map(|event| event.id).collect()
    }
}

/// Adds an event by plain SQL and returns its id.
fn insert(db: &Db, raw: &mut Raw) -> u64 {
    insert_type(db, raw, TYPE)
}

fn insert_type(db: &Db, raw: &mut Raw, event_type: &str) -> u64 {
    raw.exec(&db.insert_sql(event_type));
    let id = match db.kind {
        DatabaseKind::Sqlite => raw.number("SELECT last_insert_rowid()"),
        DatabaseKind::Postgres => raw.number("SELECT lastval()"),
        DatabaseKind::Mysql => raw.number("SELECT LAST_INSERT_ID()"),
    };
    id as u64
}

/// Adds many events by one statement.
fn insert_many(db: &Db, raw: &mut Raw, count: usize) {
    let sql = db.insert_sql(TYPE);
    let (insert, row) = sql.split_once("VALUES ").unwrap();
    raw.exec(&format!("{insert} VALUES {}", vec![row; count].join(", ")));
}

/// Draws an id that never appears.
fn burn(db: &Db, raw: &mut Raw) {
    raw.exec("BEGIN");
    insert(db, raw);
    raw.exec("ROLLBACK");
}

/// The server's name of the session.
fn session(db: &Db, raw: &mut Raw) -> i64 {
    raw.number(match db.kind {
        DatabaseKind::Mysql => "SELECT CONNECTION_ID()",
        _ => "SELECT pg_backend_pid()",
    })
}

/// Waits until something is so.
#[track_caller]
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !so() {
        assert!(Instant::now() < end, "not within {SOON:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Tries a statement until it succeeds.
#[track_caller]
fn exec_soon(raw: &mut Raw, sql: &str) {
    until(sql, || raw.try_exec(sql).is_ok());
}

/// A statement that runs in a session and a thread of its own, when this returns.
fn in_background(db: &Db, sql: String) -> thread::JoinHandle<()> {
    let mut raw = db.raw();
    if db.kind == DatabaseKind::Mysql {
        // Fewer locks, in whose way others would have to wait.
        raw.exec("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED");
    }
    let thread = thread::spawn(move || {
        raw.texts(&sql);
    });
    thread::sleep(Duration::from_millis(150));
    thread
}

// Transactions that end.

/// Lets a late commit into a part of the event table be waited for.
fn late_commit_into(db: &Db, part: &str) {
    let readers = Readers::new(&db.stream());
    let (mut slow, mut fast) = (db.raw(), db.raw());
    slow.exec("BEGIN");
    slow.exec(&db.insert_sql(TYPE).replace("evt_queue", part));
    let behind = insert(db, &mut fast);
    readers.get_nothing();
    slow.exec("COMMIT");
    readers.get(&[behind - 1, behind]);
}
