//! `EventStream::verify`: nothing is found on a sound stream, also while everybody is at work; and each kind of damage
//! is found, and nothing else.

use crate::support::stress::{Plan, Writers};
use crate::support::{Db, Done, SERVERS};
use futoin_eventstream::{
    Archiver, DatabaseKind, Discarder, Event, EventId, EventStream, FindingKind, NewEvent, Options,
    Verification, VerifyOptions, Want, Warehouse,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A stream and its history.
struct Site<'a> {
    db: &'a Db,
    dwh: Db,
    stream: EventStream,
    warehouse: Warehouse,
    /// Two ids without an event, below the archiver's cursor and above that of the consumer; and two above it.
    holes: [EventId; 2],
}

/// How many events each step of [`Site::new`] adds.
const STEP: usize = 40;

impl<'a> Site<'a> {
    /// Of events some are discarded, some acknowledged by one consumer, some archived, some new.
    fn new(db: &'a Db, dwh: Db) -> Site<'a> {
        let stream = db.stream();
        let warehouse = Warehouse::open(&dwh.url).unwrap();
        warehouse.migrate().unwrap();
        let mut site = Site { db, dwh, stream, warehouse, holes: [0, 0] };
        site.stream.consumer("app", "Audit").unwrap().register().unwrap();
        let first = site.add();
        site.stream.consumer("app", "Audit").unwrap().acknowledge(first[STEP - 10]).unwrap();
        let low = site.hole();
        site.add();
        site.archive();
        Discarder::new(&site.stream, &Options::new()).unwrap().run_once().unwrap();
        let high = site.hole();
        site.add();
        site.holes = [low, high];
        site
    }

    fn add(&self) -> Vec<EventId> {
        let event =
            NewEvent::new("USR_ADD", &serde_json::json!({"name": "Ann", "n": 1.50})).unwrap();
        self.stream.add_events(&vec![event; STEP]).unwrap()
    }

    /// Makes a hole of two ids; the first of them.
    fn hole(&self) -> EventId {
        let last = self.add()[STEP - 1];
        if self.db.kind == DatabaseKind::Sqlite {
            // A transaction that is rolled back gives its ids back.
            let row = format!("({}, 'JUMP', 'null', datetime('now'))", last + 3);
            self.db.raw().exec(&format!("INSERT INTO evt_queue(id, type, data, ts) VALUES {row}"));
        } else {
            let mut tx = self.stream.begin().unwrap();
            tx.add_event("USR_ADD", &1).unwrap();
            tx.add_event("USR_ADD", &1).unwrap();
            tx.rollback().unwrap();
        }
        last + 1
    }

    fn archive(&self) {
        let archiver = Archiver::new(&self.stream, &self.warehouse, &Options::new()).unwrap();
        archiver.run_once().unwrap();
    }

    fn verify(&self) -> Verification {
        let report = self.stream.verify(Some(&self.warehouse), &VerifyOptions::new()).unwrap();
        assert!(report.complete);
        adds_up(&report);
        report
    }

    /// The report has these findings, of these ids, and no others.
    #[track_caller]
    fn finds(&self, wanted: &[(FindingKind, &[i128])]) {
        let report = self.verify();
        let mut found: Vec<(FindingKind, Vec<i128>)> = report
            .findings
            .iter()
            .map(|finding| {
                assert_eq!(finding.count, finding.examples.len() as u64, "{finding:?}");
                let ids = finding.examples.iter().map(|example| example.id.parse().unwrap());
                (finding.kind, ids.collect())
            })
            .collect();
        let mut wanted: Vec<_> = wanted.iter().map(|(kind, ids)| (*kind, ids.to_vec())).collect();
        found.sort_by_key(|(kind, _)| kind.as_str());
        wanted.sort_by_key(|(kind, _)| kind.as_str());
        assert_eq!(found, wanted, "{report:#?}");
    }

    /// An event that is in both places, and not acknowledged by the consumer.
    fn both(&self) -> EventId {
        self.holes[0] + 5
    }

    fn cursor(&self, ident: &str) -> EventId {
        let lag = self.stream.lag().unwrap();
        lag.consumers.iter().find(|consumer| consumer.ident == ident).unwrap().last_id
    }
}

#[track_caller]
fn adds_up(report: &Verification) {
    let sum = report.in_queue + report.in_both + report.in_history;
    let none = report.never_committed + report.gone + report.unsettled;
    assert_eq!(sum + none, report.last + 1 - report.first, "{report:?}");
}

/// Runs `body` with a warehouse of each kind.
fn on_each_pair(db: &Db, body: impl Fn(Site<'_>)) {
    for server in SERVERS {
        // Each test begins with a database of its own.
        let (Some(active), Some(dwh)) = (Db::on(db.server), Db::on(server)) else { continue };
        body(Site::new(&active, dwh));
    }
}

fn with_sqlite(db: &Db) -> Site<'_> {
    Site::new(db, Db::on("sqlite").unwrap())
}

fn with_the_same(db: &Db) -> Site<'_> {
    Site::new(db, Db::on(db.server).unwrap())
}

on_each_server!(a_sound_stream_is_accounted_for_with_each_warehouse, |db| {
    on_each_pair(db, |site| {
        site.finds(&[]);
        let report = site.verify();
        let audit = site.cursor("app:Audit");
        // The steps, and the jumps that SQLite needs for a hole.
        let added = 5 * STEP as u64 + 2 * u64::from(site.db.kind == DatabaseKind::Sqlite);
        assert_eq!(report.in_history, audit, "{report:?}");
        assert_eq!(report.in_queue + report.in_both + report.in_history, added, "{report:?}");
        assert_eq!((report.never_committed, report.gone, report.unsettled), (4, 0, 0));
        assert_eq!((report.first, report.last), (1, report.highest_id));

        let alone = site.stream.verify(None, &VerifyOptions::new()).unwrap();
        assert!(alone.is_clean(), "{alone:#?}");
        assert_eq!((alone.in_history, alone.in_both, alone.gone), (0, 0, audit));
        adds_up(&alone);
    });
});

on_each_server!(a_changed_event_is_found_with_each_warehouse, |db| {
    on_each_pair(db, |site| {
        let id = site.both();
        let mut raw = site.dwh.raw();
        raw.exec(&format!("UPDATE evt_history SET data = '{{\"name\": \"Bob\"}}' WHERE id = {id}"));
        raw.exec(&format!("UPDATE evt_history SET type = 'USR_MOD' WHERE id = {}", id + 1));
        let later = match site.dwh.kind {
            DatabaseKind::Sqlite => "datetime(ts, '+1 seconds')",
            DatabaseKind::Postgres => "ts + interval '1 second'",
            DatabaseKind::Mysql => "ts + INTERVAL 1 SECOND",
        };
        raw.exec(&format!("UPDATE evt_history SET ts = {later} WHERE id = {}", id + 2));
        let ids = [id, id + 1, id + 2].map(i128::from);
        site.finds(&[(FindingKind::Changed, &ids)]);
    });
});

on_each_server!(what_the_history_lost_is_found, |db| {
    let site = with_the_same(db);
    let (id, end) = (site.both(), site.cursor("-internal:ARCHIVER"));
    site.dwh.raw().exec(&format!("DELETE FROM evt_history WHERE id = {id}"));
    site.finds(&[(FindingKind::NotArchived, &[id.into()])]);
    site.dwh.raw().exec(&format!("DELETE FROM evt_history WHERE id = {end}"));
    let lost = [id, end].map(i128::from);
    site.finds(&[(FindingKind::NotArchived, &lost), (FindingKind::HistoryShort, &[end.into()])]);
});

on_each_server!(an_event_that_came_late_is_found, |db| {
    let site = with_sqlite(db);
    let id = site.holes[0];
    let row = format!("({id}, 'LATE', 'null', {})", db.now_sql());
    db.raw().exec(&format!("INSERT INTO evt_queue(id, type, data, ts) VALUES {row}"));
    site.finds(&[(FindingKind::NotArchived, &[id.into()])]);
    // Nothing is known of one that no cursor has passed.
    let row = format!("({}, 'EARLY', 'null', {})", site.holes[1], db.now_sql());
    db.raw().exec(&format!("INSERT INTO evt_queue(id, type, data, ts) VALUES {row}"));
    site.finds(&[(FindingKind::NotArchived, &[id.into()])]);
});

on_each_server!(an_event_that_was_deleted_before_all_had_it_is_found, |db| {
    let site = with_sqlite(db);
    let id = site.both();
    db.raw().exec(&format!("DELETE FROM evt_queue WHERE id = {id}"));
    site.finds(&[(FindingKind::LostFromQueue, &[id.into()])]);
});

on_each_server!(events_that_were_deleted_from_the_start_on_are_found, |db| {
    let site = with_sqlite(db);
    // The consumer is older than the events, by a second of the clock.
    let earlier = match db.kind {
        DatabaseKind::Sqlite => "datetime(reg_time, '-2 seconds')",
        DatabaseKind::Postgres => "reg_time - interval '2 seconds'",
        DatabaseKind::Mysql => "reg_time - INTERVAL 2 SECOND",
    };
    let mut raw = db.raw();
    raw.exec(&format!("UPDATE evt_consumers SET reg_time = {earlier}"));
    site.finds(&[]);
    let cursor = site.cursor("app:Audit");
    raw.exec(&format!("DELETE FROM evt_queue WHERE id <= {}", cursor + 2));
    let ids = [cursor + 1, cursor + 2].map(i128::from);
    site.finds(&[(FindingKind::LostFromQueue, &ids)]);
});

on_each_server!(a_consumer_that_registers_late_makes_no_finding, |db| {
    let site = with_sqlite(db);
    site.stream.consumer("app", "Late").unwrap().register().unwrap();
    site.finds(&[]);
    assert_eq!(site.cursor("app:Late"), 0);
});

on_each_server!(an_event_of_another_stream_in_the_history_is_found, |db| {
    let site = with_the_same(db);
    let (id, beyond) = (site.holes[1], site.stream.lag().unwrap().highest_id + 1000);
    for id in [id, beyond] {
        let row = format!("({id}, 'FOREIGN', 'null', {})", db.now_sql());
        let sql = format!("INSERT INTO evt_history(id, type, data, ts) VALUES {row}");
        site.dwh.raw().exec(&sql);
    }
    site.finds(&[
        (FindingKind::LostFromQueue, &[id.into()]),
        (FindingKind::HistoryBeyond, &[beyond.into()]),
    ]);
});

on_each_server!(a_cursor_above_what_was_allocated_is_found, |db| {
    let site = with_sqlite(db);
    let beyond = site.stream.lag().unwrap().highest_id + 1;
    let sql = format!("UPDATE evt_consumers SET last_evt_id = {beyond} WHERE ident = 'app:Audit'");
    db.raw().exec(&sql);
    site.finds(&[(FindingKind::CursorBeyond, &[beyond.into()])]);
    let alone = site.stream.verify(None, &VerifyOptions::new()).unwrap();
    assert!(alone.finding(FindingKind::CursorBeyond).is_some(), "{alone:#?}");
});

on_each_server!(a_row_that_cannot_be_read_is_found, |db| {
    let site = with_sqlite(db);
    let id = site.both();
    let bad = match db.kind {
        DatabaseKind::Sqlite => "'nonsense'",
        DatabaseKind::Postgres => "'infinity'",
        DatabaseKind::Mysql => "'0000-00-00 00:00:00'",
    };
    let mut raw = db.raw();
    if db.kind == DatabaseKind::Mysql {
        raw.exec("SET SESSION sql_mode = ''");
    }
    raw.exec(&format!("UPDATE evt_queue SET ts = {bad} WHERE id IN ({id}, {})", id + 7));
    let ids = [id, id + 7].map(i128::from);
    site.finds(&[(FindingKind::Unreadable, &ids)]);
});

on_each_server!(ids_that_no_reader_gives_are_found, |db| {
    let site = with_sqlite(db);
    let mut wanted = vec![1_000_000_000_000_000_001_i128];
    if db.kind != DatabaseKind::Mysql {
        wanted.insert(0, -5);
    }
    for id in &wanted {
        let row = format!("({id}, 'STRAY', 'null', {})", db.now_sql());
        db.raw().exec(&format!("INSERT INTO evt_queue(id, type, data, ts) VALUES {row}"));
    }
    site.finds(&[(FindingKind::IdOutside, &wanted)]);
});

on_each_server!(an_id_that_is_there_twice_is_found, |db| {
    let site = with_the_same(db);
    let id = site.both();
    let mut raw = site.dwh.raw();
    match db.kind {
        DatabaseKind::Sqlite => {
            raw.exec("CREATE TABLE copy AS SELECT * FROM evt_history");
            raw.exec("DROP TABLE evt_history");
            raw.exec("ALTER TABLE copy RENAME TO evt_history");
        }
        DatabaseKind::Postgres => {
            raw.exec("ALTER TABLE evt_history DROP CONSTRAINT evt_history_pkey");
        }
        DatabaseKind::Mysql => raw.exec("ALTER TABLE evt_history DROP PRIMARY KEY"),
    }
    raw.exec(&format!("INSERT INTO evt_history SELECT * FROM evt_history WHERE id = {id}"));
    site.finds(&[(FindingKind::Duplicate, &[id.into()])]);
    // Also where the two are in different reads.
    let one_by_one = Options::new().set("max_chunk_bytes", "1").unwrap();
    let warehouse = Warehouse::open_with(&site.dwh.url, &one_by_one).unwrap();
    let report = site.stream.verify(Some(&warehouse), &VerifyOptions::new()).unwrap();
    assert_eq!(report.findings.len(), 1, "{report:#?}");
    assert_eq!(report.finding(FindingKind::Duplicate).unwrap().count, 1);
    adds_up(&report);
});

on_each_server!(a_part_can_be_looked_at_and_a_check_can_be_interrupted, |db| {
    let site = with_sqlite(db);
    let whole = site.verify();
    let mut options = VerifyOptions::new();
    let mut parts = Vec::new();
    // One row for each read.
    let stream = db.stream_with(&[("max_chunk_bytes", "1")]);
    loop {
        let mut chunks = 0;
        let part = stream
            .verify_while(Some(&site.warehouse), &options, |progress| {
                chunks += 1;
                assert!(progress.done <= progress.total);
                chunks < 7
            })
            .unwrap();
        adds_up(&part);
        assert!(part.is_clean(), "{part:#?}");
        options = VerifyOptions::new().from(part.last + 1);
        let complete = part.complete;
        parts.push(part);
        if complete {
            break;
        }
    }
    assert!(parts.len() > 2);
    let sum = |of: fn(&Verification) -> u64| parts.iter().map(of).sum::<u64>();
    assert_eq!(sum(|part| part.in_both), whole.in_both);
    assert_eq!(sum(|part| part.in_history), whole.in_history);
    assert_eq!(sum(|part| part.never_committed), whole.never_committed);

    let (from, to) = (site.holes[0], site.holes[0] + 9);
    let options = VerifyOptions::new().from(from).to(to);
    let part = site.stream.verify(Some(&site.warehouse), &options).unwrap();
    assert_eq!((part.first, part.last, part.never_committed), (from, to, 2), "{part:?}");
    adds_up(&part);
});

on_each_server!(an_open_transaction_is_not_settled_and_no_finding, |db| {
    if db.kind == DatabaseKind::Sqlite {
        return; // whoever writes is alone, and holds nothing up
    }
    let site = with_sqlite(db);
    let mut open = site.stream.begin().unwrap();
    let id = open.add_event("USR_ADD", &1).unwrap();
    site.add();
    let report = site.verify();
    assert!(report.is_clean(), "{report:#?}");
    assert!(report.unsettled > 0 && report.highest_id >= id, "{report:?}");
    open.commit().unwrap();
    let report = site.verify();
    assert_eq!((report.unsettled, report.is_clean()), (0, true), "{report:#?}");
});

on_servers!(json_that_the_warehouse_rewrote_is_equal, [postgres, postgres18], |db| {
    let site = with_the_same(db);
    site.dwh.raw().exec("ALTER TABLE evt_history ALTER COLUMN data TYPE jsonb");
    site.finds(&[]);
});

on_each_server!(nothing_is_found_while_everybody_is_at_work, |db| {
    let plan = Plan::new(4);
    let site = with_the_same(db);
    let (stream, over) = (&site.stream, AtomicBool::new(false));
    let audit = stream.consumer("app", "Audit").unwrap();
    let options = Options::new().set("poll_period_ms", "5").unwrap();
    let discarder = Discarder::new(stream, &options).unwrap();
    let archiver = Archiver::new(stream, &site.warehouse, &Options::new()).unwrap();
    let (committed, looks) = thread::scope(|scope| {
        let ended = Done(&over);
        archiver.start().unwrap();
        discarder.start().unwrap();
        let consumer = scope.spawn(|| {
            let mut last: Option<Event> = None;
            while !over.load(Ordering::Acquire) {
                let events = audit.poll(last.as_ref().map(|e| e.id), &Want::all()).unwrap();
                last = events.into_iter().next_back().or(last);
            }
        });
        let newcomers = scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                let newcomer = stream.consumer("app", "New").unwrap();
                newcomer.register().unwrap();
                newcomer.poll(None, &Want::all()).unwrap();
                thread::sleep(Duration::from_millis(20));
                newcomer.unregister().unwrap();
            }
        });
        let checks = scope.spawn(|| {
            let mut looks = 0;
            while !over.load(Ordering::Acquire) {
                let report = site.verify();
                assert!(report.is_clean(), "{}, seed {}: {report:#?}", db.server, plan.seed);
                looks += 1;
            }
            looks
        });
        let truth = Writers::start(db, plan).finish();
        drop(ended);
        consumer.join().unwrap();
        newcomers.join().unwrap();
        (truth.count(&crate::support::stress::TYPES) as u64, checks.join().unwrap())
    });
    archiver.stop();
    discarder.stop();
    let before = 5 * STEP as u64 + 2 * u64::from(db.kind == DatabaseKind::Sqlite);
    let report = site.verify();
    let there = report.in_queue + report.in_both + report.in_history;
    println!("{}: {looks} checks beside {committed} events", db.server);
    assert!(report.is_clean() && looks > 1, "{report:#?}");
    assert_eq!(there, before + committed, "seed {}: {report:#?}", plan.seed);
});
