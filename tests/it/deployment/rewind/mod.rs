//! A stream that was rewound: a restore, a failover that lost commits, a table made anew. Nothing that
//! is there afterwards is passed over, no cursor is written over one that went back, and everybody is
//! told once.

mod lives;
mod readers;
mod receivers;

use crate::support::Db;
use futoin_eventstream::{
    Archiver, Consumer, DatabaseKind, Discarder, ErrorKind, Event, EventStream, HistoryNotice,
    Notice, Options, ReceiverOptions, ReliableReceiver, Want, Warehouse,
};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Waits until it is so, for 20 s at most.
#[track_caller]
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Adds events with data of their own: `life` and a number.
fn add(stream: &EventStream, life: &str, count: usize) -> Vec<u64> {
    (0..count).map(|n| stream.add_event("ADDED", &format!("{life} {n}")).unwrap()).collect()
}

fn cursor(db: &Db, ident: &str) -> u64 {
    let of = format!("FROM evt_consumers WHERE ident = '{ident}'");
    let sql = format!("SELECT coalesce(max(last_evt_id), 0) {of}");
    db.raw().number(&sql) as u64
}

/// Keeps the state of both tables, to be restored later.
fn dump(db: &Db) {
    let mut raw = db.raw();
    for table in ["evt_queue", "evt_consumers"] {
        raw.exec(&format!("CREATE TABLE dump_{table} AS SELECT * FROM {table}"));
    }
}

/// Brings back the state that was kept, ids included, in one go where the database can.
fn restore(db: &Db) {
    let mut raw = db.raw();
    raw.exec("BEGIN");
    for table in ["evt_queue", "evt_consumers"] {
        raw.exec(&format!("DELETE FROM {table}"));
        raw.exec(&format!("INSERT INTO {table} SELECT * FROM dump_{table}"));
    }
    let last = raw.number("SELECT coalesce(max(id), 0) FROM evt_queue");
    match db.kind {
        DatabaseKind::Sqlite => {
            raw.exec(&format!("UPDATE sqlite_sequence SET seq = {last} WHERE name = 'evt_queue'"));
        }
        DatabaseKind::Postgres => {
            raw.exec(&format!(
                "SELECT setval('evt_queue_id_seq', greatest({last}, 1), {last} > 0)"
            ));
        }
        DatabaseKind::Mysql => {}
    }
    raw.exec("COMMIT");
    if db.kind == DatabaseKind::Mysql {
        raw.exec(&format!("ALTER TABLE evt_queue AUTO_INCREMENT = {}", last + 1));
    }
}

/// Drops the event table and makes it anew; the consumers stay.
fn recreate(db: &Db) {
    let mut raw = db.raw();
    match db.kind {
        DatabaseKind::Sqlite => {
            let sql = raw.texts("SELECT sql FROM sqlite_master WHERE name = 'evt_queue'").remove(0);
            raw.exec("DROP TABLE evt_queue");
            raw.exec(&sql);
        }
        DatabaseKind::Postgres => raw.exec(
            "CREATE TABLE anew (id bigserial PRIMARY KEY, type varchar(16) NOT NULL, \
             data json NOT NULL, ts timestamp NOT NULL); DROP TABLE evt_queue; \
             ALTER TABLE anew RENAME TO evt_queue; \
             ALTER SEQUENCE anew_id_seq RENAME TO evt_queue_id_seq",
        ),
        DatabaseKind::Mysql => {
            raw.exec("CREATE TABLE anew LIKE evt_queue");
            raw.exec("DROP TABLE evt_queue");
            raw.exec("RENAME TABLE anew TO evt_queue");
        }
    }
}

/// A receiver that notes what it gets, and the kinds of its errors.
struct Noting {
    receiver: ReliableReceiver,
    got: Arc<Mutex<Vec<Event>>>,
    errors: Arc<Mutex<Vec<(ErrorKind, String)>>>,
}

impl Noting {
    fn start(stream: &EventStream, component: &str, options: &[(&str, &str)]) -> Noting {
        let got = Arc::<Mutex<Vec<Event>>>::default();
        let errors = Arc::<Mutex<Vec<(ErrorKind, String)>>>::default();
        let (mine, noted) = (got.clone(), errors.clone());
        let options = options
            .iter()
            .fold(Options::new(), |options, (name, value)| options.set(name, value).unwrap());
        let options = ReceiverOptions::new().options(options).on_notice(move |notice| {
            if let Notice::WorkerError(error) = notice {
                noted.lock().unwrap().push((error.kind(), error.to_string()));
            }
        });
        let receiver = ReliableReceiver::new(stream, "app", component, options, move |delivery| {
            mine.lock().unwrap().extend(delivery.events.iter().map(|event| (**event).clone()));
            Ok(())
        });
        let receiver = receiver.unwrap();
        receiver.start().unwrap();
        Noting { receiver, got, errors }
    }

    fn ids(&self) -> Vec<u64> {
        self.got.lock().unwrap().iter().map(|event| event.id).collect()
    }

    fn of(&self, life: &str) -> Vec<u64> {
        of(&self.got.lock().unwrap(), life)
    }

    fn rewound(&self) -> usize {
        let errors = self.errors.lock().unwrap();
        errors.iter().filter(|(kind, _)| *kind == ErrorKind::StreamRewound).count()
    }
}

/// The ids of the events of a life.
fn of(events: &[Event], life: &str) -> Vec<u64> {
    let begin = format!("\"{life} ");
    let events = events.iter().filter(|event| event.data.as_str().starts_with(&begin));
    events.map(|event| event.id).collect()
}

/// Polls to the end as a caller does that keeps its last id over errors; counts those of rewinds.
fn drain(consumer: &Consumer, last: &mut Option<u64>, want: &Want) -> (Vec<Event>, usize) {
    let (mut got, mut rewound) = (Vec::new(), 0);
    loop {
        match consumer.poll(*last, want) {
            Ok(events) if events.is_empty() => return (got, rewound),
            Ok(events) => {
                *last = events.last().map(|event| event.id);
                got.extend(events);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StreamRewound, "{error}");
                assert!(error.is_retriable());
                rewound += 1;
                assert!(rewound < 5, "told again and again: {error}");
            }
        }
    }
}
