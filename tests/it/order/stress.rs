//! Proves order without loss under load: 16 writers with overlapping transactions, rollbacks and
//! all kinds of inserts, against consumers that share one stream. Nothing may be lost, duplicated,
//! out of order or invented, and nobody may starve. A naive reader beside them (`id > cursor`)
//! must lose events where the database allows it: so the stress is known to bite.
//!
//! `FES_STRESS_SECONDS` is the length of a run, `FES_STRESS_SEED` the seed, which a run prints.

use crate::support::Db;
use crate::support::stress::{End, Ledger, Plan, TYPES, Writers};
use futoin_eventstream::{Consumer, DatabaseKind, Event, Want};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// One server at a time: the writers of one are load enough.
static TURN: Mutex<()> = Mutex::new(());

/// What the filtered consumer wants.
const WANTED: [&str; 1] = [TYPES[1]];

/// A consumer that is this late is starving.
const STARVING_MS: f64 = 5_000.0;

on_each_server!(consumers_lose_nothing_beside_overlapping_writers, |db| {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    stress(db, Plan::new(10), false);
});

on_each_server!(consumers_lose_nothing_beside_a_discarder, |db| {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    stress(db, Plan::new(5), true);
});

/// Lets the writers write while two reliable consumers and a LIVE one poll, and beside them either
/// a discarder or the naive reader.
fn stress(db: &Db, plan: Plan, discarding: bool) {
    let stream = db.stream();
    let consumer = |component| stream.consumer("app", component).unwrap();
    let (all, some, live) = (consumer("All"), consumer("Some"), consumer("LIVE"));
    let works = consumer("Works");
    for consumer in [&all, &some, &works] {
        consumer.register().unwrap();
    }
    assert!(live.poll(None, &Want::all()).unwrap().is_empty());

    let end = End::default();
    let [all, some, works, live, beside] = thread::scope(|scope| {
        let writers = Writers::start(db, plan);
        let threads = [
            scope.spawn(|| end.follow(&TYPES, poll(&all, Want::all()))),
            scope.spawn(|| end.follow(&WANTED, poll(&some, Want::types(&WANTED).unwrap()))),
            scope.spawn(|| end.follow(&TYPES, poll_and_work(&works))),
            scope.spawn(|| end.follow(&TYPES, poll(&live, Want::all()))),
            scope.spawn(|| if discarding { discard(db, &end) } else { naive(db, &end) }),
        ];
        end.announce(writers.finish());
        threads.map(|thread| thread.join().unwrap())
    });

    let truth = end.truth().unwrap();
    let run = format!("{}, seed {}", db.server, plan.seed);
    println!("{run}: {truth}");
    let check = |who, ledger, want| {
        let report = truth.check(ledger, want);
        println!("    {who}: {report}");
        report
    };
    let mut reports = vec![
        ("all", check("all", &all, &TYPES)),
        ("filtered", check("filtered", &some, &WANTED)),
        ("works", check("works", &works, &TYPES)),
    ];
    if discarding {
        // LIVE is not waited for.
        let live = check("LIVE", &live, &TYPES);
        assert_eq!(live.duplicated + live.out_of_order + live.phantom, 0, "{run}, LIVE: {live}");
    } else {
        reports.push(("LIVE", check("LIVE", &live, &TYPES)));
        let naive = check("naive", &beside, &TYPES);
        let bites = db.kind != DatabaseKind::Sqlite;
        assert_eq!(naive.lost > 0, bites, "{run}, naive: {naive}");
    }
    for (who, report) in reports {
        report.must_be_clean(&format!("{run}, {who}"));
        assert!(report.lag_ms[2] < STARVING_MS, "{run}, {who} starves: {report}");
    }
}

/// Polls as a consumer does, acknowledging by the next poll.
fn poll(consumer: &Consumer, want: Want) -> impl FnMut(&Ledger) -> Vec<Event> {
    move |ledger| consumer.poll(ledger.last_id(), &want).unwrap()
}

/// Polls small chunks and works on each, as long as it is behind: so the next one is read meanwhile.
fn poll_and_work(consumer: &Consumer) -> impl FnMut(&Ledger) -> Vec<Event> {
    |ledger| {
        let events = consumer.poll_at_most(ledger.last_id(), &Want::all(), 10).unwrap();
        thread::sleep(Duration::from_micros(100 * events.len() as u64));
        events
    }
}

/// The reader that everybody writes first: what is visible after the last id, in order of ids.
fn naive(db: &Db, end: &End) -> Ledger {
    let mut raw = db.raw();
    let row = match db.kind {
        DatabaseKind::Mysql => "CONCAT(id, ' ', data)",
        _ => "id || ' ' || data",
    };
    end.follow_by(&TYPES, |ledger| {
        let cursor = ledger.last_id().unwrap_or(0);
        let rows = raw.texts(&format!(
            "SELECT {row} FROM evt_queue WHERE id > {cursor} ORDER BY id LIMIT 1000"
        ));
        for row in &rows {
            let (id, data) = row.split_once(' ').unwrap();
            ledger.note(id.parse().unwrap(), data);
        }
    })
}

/// Deletes what all registered consumers have acknowledged, but for the highest row.
fn discard(db: &Db, end: &End) -> Ledger {
    let mut raw = db.raw();
    let mut deleted = 0;
    // To the end of the writers, and then until the slowest consumer has acknowledged something.
    let late = Instant::now() + Duration::from_secs(60);
    while end.truth().is_none() || (deleted == 0 && Instant::now() < late) {
        let lowest = raw.number("SELECT MIN(last_evt_id) FROM evt_consumers");
        let highest = raw.number("SELECT COALESCE(MAX(id), 0) FROM evt_queue");
        let upto = lowest.min(highest - 1);
        let old = format!("FROM evt_queue WHERE id <= {upto}");
        // MySQL would lock its way through the whole table, and never reach the end of it while
        // others insert there, if it did not know the number of rows.
        let limit = match db.kind {
            DatabaseKind::Mysql => {
                format!("ORDER BY id LIMIT {}", raw.number(&format!("SELECT count(*) {old}")))
            }
            _ => String::new(),
        };
        raw.exec(&format!("DELETE {old} {limit}"));
        deleted = deleted.max(upto);
        thread::sleep(Duration::from_millis(20));
    }
    assert!(deleted > 0, "nothing was discarded");
    Ledger::default()
}
