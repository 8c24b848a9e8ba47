//! The rows: what ours does, and what the raw driver does instead.

use crate::Plan;
use crate::beside;
use crate::database::{Database, RARE, data};
use crate::raw::Raw;
use crate::table::Row;
use futoin_eventstream::{Archiver, DatabaseKind, Discarder, EventStream, NewEvent, Options, Want};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub const CHUNK: usize = 1000;

/// Runs both sides of a row in turns; each gives events per second.
pub struct Measure<'a> {
    pub plan: &'a Plan,
    pub database: &'a Database,
    rows: &'a mut Vec<Row>,
}

impl Measure<'_> {
    pub fn compare(
        &mut self,
        name: &str,
        at_least: f64,
        mut ours: impl FnMut() -> f64,
        mut raw: impl FnMut() -> f64,
    ) {
        if !self.plan.wants(name) {
            return;
        }
        let mut row = Row {
            database: self.database.name.to_owned(),
            name: name.to_owned(),
            at_least,
            ours: Vec::new(),
            raw: Vec::new(),
        };
        // The first round warms up.
        for round in 0..=self.plan.rounds {
            let (first, second);
            if round % 2 == 0 {
                first = ours();
                second = raw();
            } else {
                second = raw();
                first = ours();
            }
            if round > 0 {
                row.ours.push(first);
                row.raw.push(second);
            }
        }
        row.print();
        self.rows.push(row);
    }
}

pub fn measure(plan: &Plan, database: &Database, rows: &mut Vec<Row>) {
    let mut measure = Measure { plan, database, rows };
    let stream = database.stream();
    adding(&mut measure, &stream);
    beside::adding_beside_consumers(&mut measure, &stream);
    polling(&mut measure, &stream);
    pushing(&mut measure, &stream);
    archiving(&mut measure, &stream);
    discarding(&mut measure, &stream);
    stream.close();
}

/// How often `work` can be done in a second, by one thread for each element of `threads`.
pub fn rate<T: Send>(
    time: Duration,
    threads: &mut [T],
    work: impl Fn(&mut T) -> u64 + Sync,
) -> f64 {
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for own in threads {
            let (stop, done, work) = (&stop, &done, &work);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    done.fetch_add(work(own), Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
    done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

/// Events per second of work on a number of them.
fn timed(work: impl FnOnce() -> u64) -> f64 {
    let start = Instant::now();
    let count = work();
    count as f64 / start.elapsed().as_secs_f64()
}

fn adding(measure: &mut Measure<'_>, stream: &EventStream) {
    let (time, database) = (measure.plan.time, measure.database);
    let text = data(7);
    let event = NewEvent::from_json("USR_MOD", text.as_str()).unwrap();
    database.fill(0, false);
    let mut single = [database.raw()];
    measure.compare(
        "add_event, 1 thread",
        0.90,
        || rate(time, &mut [()], |()| stream.add(&event).map(|_| 1).unwrap()),
        || rate(time, &mut single, |raw| raw.insert("USR_MOD", &text).min(1) as u64),
    );
    let mut many: Vec<Raw> = (0..16).map(|_| database.raw()).collect();
    measure.compare(
        "add_event, 16 threads on one handle",
        if database.kind == DatabaseKind::Sqlite { 8.0 } else { 2.0 },
        || rate(time, &mut [(); 16], |()| stream.add(&event).map(|_| 1).unwrap()),
        || rate(time, &mut many, |raw| raw.insert("USR_MOD", &text).min(1) as u64),
    );
    drop(many);
    let events = vec![event.clone(); 1000];
    let pairs = vec![("USR_MOD".to_owned(), text.clone()); 1000];
    measure.compare(
        "add_events of 1000",
        0.80,
        || rate(time, &mut [()], |()| stream.add_events(&events).unwrap().len() as u64),
        || {
            rate(time, &mut single, |raw| {
                raw.insert_many(&pairs);
                1000
            })
        },
    );
    let raw_transaction = |raw: &mut Raw| {
        raw.begin();
        for _ in 0..100 {
            raw.insert("USR_MOD", &text);
        }
        raw.exec("COMMIT");
        100
    };
    measure.compare(
        "Transaction::add_event x 100",
        0.90,
        || {
            rate(time, &mut [()], |()| {
                let mut tx = stream.begin().unwrap();
                for _ in 0..100 {
                    tx.add(&event).unwrap();
                }
                tx.commit().map(|()| 100).unwrap()
            })
        },
        || rate(time, &mut single, raw_transaction),
    );
    measure.compare(
        "Transaction::add_events of 100",
        0.90,
        || {
            rate(time, &mut [()], |()| {
                let mut tx = stream.begin().unwrap();
                tx.add_events(&events[..100]).unwrap();
                tx.commit().map(|()| 100).unwrap()
            })
        },
        || rate(time, &mut single, raw_transaction),
    );
}

/// Polls everything as a reliable consumer; gives how many events came.
fn poll_all(stream: &EventStream, want: &Want) -> u64 {
    let consumer = stream.consumer("bench", "Poll").unwrap();
    consumer.unregister().unwrap();
    consumer.register().unwrap();
    let (mut last, mut count) = (None, 0);
    loop {
        let events = consumer.poll(last, want).unwrap();
        let Some(event) = events.last() else { return count };
        last = Some(event.id);
        count += events.len() as u64;
    }
}

fn scan_all(raw: &mut Raw, want: Option<&str>) -> u64 {
    scan_and(raw, want, |_, _| {})
}

/// Calls `then` after each chunk, with its last id.
fn scan_and(raw: &mut Raw, want: Option<&str>, then: impl Fn(&mut Raw, i64)) -> u64 {
    let (mut last, mut count) = (0, 0);
    loop {
        let (id, rows) = raw.scan(last, want, CHUNK as i64);
        then(raw, id);
        last = id;
        count += rows as u64;
        if rows < CHUNK {
            return count;
        }
    }
}

/// The rows that share one backlog.
const POLL_ROWS: [&str; 7] = [
    "reliable poll, chunks of 1000",
    "reliable poll / raw read and raw UPDATE of a cursor",
    "reliable poll, want matches 1 %",
    "Python poll / Rust poll",
    "Node.js poll / Rust poll",
    "push to 1 subscriber / poll",
    "poll with 10 % gaps / gap-free poll",
];

fn polling(measure: &mut Measure<'_>, stream: &EventStream) {
    if !POLL_ROWS.iter().any(|row| measure.plan.wants(row)) {
        return;
    }
    let (database, events) = (measure.database, measure.plan.events);
    let mut raw = database.raw();
    database.fill(events, false);
    let [reliable, storing, wanted, .., push, gaps] = POLL_ROWS;
    measure.compare(
        reliable,
        0.75,
        || timed(|| poll_all(stream, &Want::all())),
        || timed(|| scan_all(&mut raw, None)),
    );
    // Not a target: what the raw driver needs for the same promise, one after the other.
    stream.consumer("bench", "Raw").unwrap().register().unwrap();
    measure.compare(
        storing,
        0.0,
        || timed(|| poll_all(stream, &Want::all())),
        || timed(|| scan_and(&mut raw, None, |raw, last| raw.store("bench:Raw", last))),
    );
    stream.consumer("bench", "Raw").unwrap().unregister().unwrap();
    let rare = Want::types(&[RARE]).unwrap();
    measure.compare(
        wanted,
        0.75,
        || timed(|| poll_all(stream, &rare) * 100),
        || timed(|| scan_all(&mut raw, Some(RARE)) * 100),
    );
    polling_elsewhere(measure, stream);
    measure.compare(
        push,
        0.90,
        || timed(|| push_all(stream, events)),
        || timed(|| poll_all(stream, &Want::all())),
    );
    if measure.plan.wants(gaps) {
        // Two tables would be another cache: the rounds of both sides come one after the other.
        let mut free = Vec::new();
        for _ in 0..=measure.plan.rounds {
            free.push(timed(|| poll_all(stream, &Want::all())));
        }
        database.fill(events, true);
        let mut free = free.into_iter();
        measure.compare(
            gaps,
            0.60,
            || timed(|| poll_all(stream, &Want::all())),
            || free.next().unwrap_or(f64::NAN),
        );
    }
}

/// The bindings poll everything in a process of their own, and parse the data. They are measured
/// where tests/run has made them ready.
fn polling_elsewhere(measure: &mut Measure<'_>, stream: &EventStream) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/python/bin/python");
    let node = root.join("bindings/node/build");
    for (language, program, script, ident) in [
        ("Python", python.exists().then_some(python), "python_poll.py", ("app", "Python")),
        ("Node.js", node.exists().then(|| "node".into()), "node_poll.mjs", ("bench", "Node")),
    ] {
        let Some(program) = program else {
            println!("    {language}: left out, because tests/run has not built its binding");
            continue;
        };
        let (url, (user, component)) = (&measure.database.url, ident);
        measure.compare(
            &format!("{language} poll / Rust poll"),
            0.35,
            || {
                stream.consumer(user, component).unwrap().unregister().unwrap();
                let mut command = std::process::Command::new(&program);
                command.arg(root.join("benches").join(script)).args([url, component, "1000"]);
                let output = command.output().unwrap();
                let told: Result<serde_json::Value, _> = serde_json::from_slice(&output.stdout);
                let told = told.unwrap_or_else(|_| {
                    panic!("{language}: {}", String::from_utf8_lossy(&output.stderr))
                });
                told["events"].as_f64().unwrap() / told["seconds"].as_f64().unwrap()
            },
            || timed(|| poll_all(stream, &Want::all())),
        );
    }
}

/// Takes everything as a reliable subscriber that begins at the start.
fn push_all(stream: &EventStream, events: u64) -> u64 {
    let consumer = stream.consumer("bench", "Push").unwrap();
    consumer.unregister().unwrap();
    consumer.register().unwrap();
    let subscription = stream.subscribe("bench", "Push", Want::all(), &Options::new()).unwrap();
    let mut count = 0;
    while count < events {
        if let Some(delivery) = subscription.next(Duration::from_secs(10)).unwrap() {
            count += delivery.events.len() as u64;
            subscription.ack().unwrap();
        }
    }
    count
}

const SUBSCRIBERS: usize = 50;

fn pushing(measure: &mut Measure<'_>, stream: &EventStream) {
    let name = "push to 50 subscribers / 50 x one";
    if !measure.plan.wants(name) {
        return;
    }
    let (database, events) = (measure.database, measure.plan.events / 5);
    let reads = std::cell::Cell::new((0, 0));
    database.fill(events, false);
    measure.compare(
        name,
        0.0,
        || {
            let (rate, statements) = push_to(stream, database, SUBSCRIBERS, events);
            reads.set((statements, reads.get().1));
            rate
        },
        || {
            let (rate, statements) = push_to(stream, database, 1, events);
            reads.set((reads.get().0, statements));
            rate * SUBSCRIBERS as f64
        },
    );
    if database.kind != DatabaseKind::Sqlite {
        let (many, one) = reads.get();
        println!("    statements on the server: {many} for 50 subscribers, {one} for one");
    }
}

/// Subscribers of a backlog, at once: events delivered per second in all, and the statements that
/// the server saw meanwhile.
fn push_to(stream: &EventStream, database: &Database, count: usize, events: u64) -> (f64, i64) {
    let name = |n: usize| format!("Push{n}");
    for n in 0..count {
        let consumer = stream.consumer("bench", &name(n)).unwrap();
        consumer.unregister().unwrap();
        consumer.register().unwrap();
    }
    let subscriptions: Vec<_> = (0..count)
        .map(|n| stream.subscribe("bench", &name(n), Want::all(), &Options::new()).unwrap())
        .collect();
    let mut raw = database.raw();
    let before = statements(&mut raw, database.kind);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for subscription in &subscriptions {
            scope.spawn(move || {
                let mut left = events;
                while left > 0 {
                    if let Some(delivery) = subscription.next(Duration::from_secs(10)).unwrap() {
                        left -= delivery.events.len() as u64;
                        subscription.ack().unwrap();
                    }
                }
            });
        }
    });
    let rate = (events * count as u64) as f64 / start.elapsed().as_secs_f64();
    (rate, statements(&mut raw, database.kind) - before)
}

/// Reads of the event table that the server has counted.
fn statements(raw: &mut Raw, kind: DatabaseKind) -> i64 {
    match kind {
        DatabaseKind::Sqlite => 0,
        DatabaseKind::Postgres => {
            // Sessions tell the statistics about once in a second.
            std::thread::sleep(Duration::from_millis(1500));
            raw.number("SELECT idx_scan FROM pg_stat_user_tables WHERE relname = 'evt_queue'")
        }
        DatabaseKind::Mysql => raw.status("Com_select"),
    }
}

fn archiving(measure: &mut Measure<'_>, stream: &EventStream) {
    let name = "archive / bulk read piped to bulk write";
    if !measure.plan.wants(name) {
        return;
    }
    let (database, events) = (measure.database, measure.plan.events);
    let warehouse = database.warehouse();
    database.fill(events, false);
    let (mut from, mut to) = (database.raw(), Raw::connect(database.kind, &database.warehouse_url));
    measure.compare(
        name,
        0.70,
        || {
            database.clear_history();
            let mut raw = database.raw();
            raw.exec("DELETE FROM evt_consumers");
            let archiver = Archiver::new(stream, &warehouse, &Options::new()).unwrap();
            timed(|| archiver.run_once().unwrap())
        },
        || {
            database.clear_history();
            timed(|| {
                from.archive(&mut to);
                events
            })
        },
    );
    database.clear_history();
    warehouse.close();
}

fn discarding(measure: &mut Measure<'_>, stream: &EventStream) {
    let name = "discard / the same DELETE statements";
    if !measure.plan.wants(name) {
        return;
    }
    let (database, events) = (measure.database, measure.plan.events);
    let mut raw = database.raw();
    measure.compare(
        name,
        0.90,
        || {
            database.fill(events, false);
            let consumer = stream.consumer("bench", "Discard").unwrap();
            consumer.register().unwrap();
            consumer.acknowledge(events).unwrap();
            let discarder = Discarder::new(stream, &Options::new()).unwrap();
            timed(|| discarder.run_once().unwrap())
        },
        || {
            database.fill(events, false);
            timed(|| {
                for after in (0..events as i64).step_by(CHUNK) {
                    raw.delete(after, after + CHUNK as i64);
                }
                events
            })
        },
    );
}
