//! Ids that are allocated, or given, before their INSERT: kept out by `strict_ids`, and found afterwards by
//! the archiver and by `lag` where they are not kept out.

use crate::support::{Db, Raw, everything};
use futoin_eventstream::{
    Archiver, DatabaseKind, Discarder, ErrorKind, Event, EventId, EventStream, HistoryNotice,
    NewEvent, Options, Want, Warehouse,
};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Within this time the archiver finds a late event.
const SOON: Duration = Duration::from_secs(6);

fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<EventId> {
    events.into_iter().map(|event| event.id).collect()
}

fn insert_sql(db: &Db, id: EventId) -> String {
    let now = db.now_sql();
    format!("INSERT INTO evt_queue(id, type, data, ts) VALUES ({id}, 'LATE', '1', {now})")
}

fn warehouse(db: &Db) -> Warehouse {
    let warehouse = Warehouse::open(&db.url).unwrap();
    warehouse.migrate().unwrap();
    warehouse
}

fn archived(warehouse: &Warehouse) -> Vec<EventId> {
    ids(&warehouse.history(1, &Want::all(), 10_000).unwrap())
}

/// An archiver, and what it tells of late events and of other errors.
fn archiver(stream: &EventStream, warehouse: &Warehouse) -> (Archiver, Receiver<String>) {
    let archiver = Archiver::new(stream, warehouse, &Options::new()).unwrap();
    let (sender, told) = channel();
    archiver.on_notice(move |notice| match notice {
        HistoryNotice::WorkerError(error) | HistoryNotice::ReceiverError(error) => {
            let _ = sender.send(format!("{}: {error}", error.kind().name()));
        }
        _ => {}
    });
    (archiver, told)
}

#[track_caller]
fn expect_late(told: &Receiver<String>, id: EventId) {
    let text = told.recv_timeout(SOON).expect("a notice");
    assert!(text.starts_with("LateEvent: ") && text.contains(&format!(" {id}.")), "{text}");
    assert!(text.contains("strict_ids"), "{text}");
}

/// Adds events, then one with a gap of ten ids before it; gives the first id of the gap.
fn with_gap(db: &Db, stream: &EventStream) -> EventId {
    let last = stream.add_event("A", &1).unwrap();
    db.raw().exec(&insert_sql(db, last + 11));
    if db.kind == DatabaseKind::Postgres {
        let next =
            format!("SELECT setval(pg_get_serial_sequence('evt_queue', 'id'), {})", last + 11);
        db.raw().exec(&next);
    }
    stream.add_event("A", &2).unwrap();
    last + 1
}

on_each_server!(a_late_event_is_found_told_and_copied_by_the_archiver, |db| {
    let (stream, warehouse) = (db.stream(), warehouse(db));
    let gap = with_gap(db, &stream);
    let (thread, told) = archiver(&stream, &warehouse);
    thread.start().unwrap();
    let end = Instant::now() + SOON;
    while archived(&warehouse).len() < 3 {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(100));
    db.raw().exec(&insert_sql(db, gap + 2));
    expect_late(&told, gap + 2);
    assert!(archived(&warehouse).contains(&(gap + 2)));
    // Once, and the archiver goes on.
    let last = stream.add_event("A", &3).unwrap();
    db.raw().exec(&insert_sql(db, gap + 1));
    expect_late(&told, gap + 1);
    thread.stop();
    assert_eq!(told.try_recv().ok(), None);
    assert_eq!(archived(&warehouse).last(), Some(&last));
    assert_eq!(archived(&warehouse), ids(&everything(&stream)));

    // One that came while no archiver was at work.
    db.raw().exec(&insert_sql(db, gap + 5));
    let (again, told) = archiver(&stream, &warehouse);
    again.run_once().unwrap();
    expect_late(&told, gap + 5);
    assert_eq!(archived(&warehouse), ids(&everything(&stream)));
    again.run_once().unwrap();
    assert_eq!(told.try_recv().ok(), None);
    // What was discarded, or is in an older history that was moved away, is not late.
    Discarder::new(&stream, &Options::new()).unwrap().run_once().unwrap();
    again.run_once().unwrap();
    db.raw().exec("DELETE FROM evt_history");
    again.run_once().unwrap();
    stream.add_event("A", &4).unwrap();
    again.run_once().unwrap();
    assert_eq!(archived(&warehouse).len(), 1);
    assert_eq!(told.try_recv().ok(), None);
});

on_each_server!(lag_tells_of_late_events, |db| {
    let stream = db.stream();
    stream.consumer("app", "Audit").unwrap().register().unwrap();
    let gap = with_gap(db, &stream);
    assert_eq!(stream.lag().unwrap().warnings, Vec::<String>::new());
    db.raw().exec(&insert_sql(db, gap));
    stream.add_event("A", &3).unwrap();
    for _ in 0..2 {
        let warnings = stream.lag().unwrap().warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(&format!(" {gap}.")), "{warnings:?}");
    }
});

// Transactions that end in any order, are rolled back, or are discarded soon, are not late.
on_each_server!(nothing_is_called_late_that_is_not, |db| {
    let (stream, warehouse) = (db.stream(), warehouse(db));
    let (archiver, told) = archiver(&stream, &warehouse);
    archiver.start().unwrap();
    let options = Options::new().set("poll_period_ms", "50").unwrap();
    let discarder = Discarder::new(&stream, &options).unwrap();
    discarder.start().unwrap();
    let end = Instant::now() + Duration::from_millis(4500);
    std::thread::scope(|scope| {
        for writer in 0..4u64 {
            let stream = &stream;
            scope.spawn(move || {
                for n in 0.. {
                    if Instant::now() > end {
                        return;
                    }
                    let mut tx = stream.begin().unwrap();
                    tx.add_event("A", &n).unwrap();
                    std::thread::sleep(Duration::from_millis((n * 7 + writer) % 13));
                    tx.add_event("A", &n).unwrap();
                    if n % 3 == writer % 3 { tx.rollback().unwrap() } else { tx.commit().unwrap() }
                }
            });
        }
        while Instant::now() < end {
            assert_eq!(stream.lag().unwrap().warnings, Vec::<String>::new());
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    std::thread::sleep(Duration::from_millis(2500));
    archiver.stop();
    discarder.stop();
    assert_eq!(told.try_recv().ok(), None);
});

fn refused(db: &Db, raw: &mut Raw, id: EventId) {
    let refusal = raw.try_exec(&insert_sql(db, id)).expect_err("a refusal");
    let word = if db.kind == DatabaseKind::Postgres { "GENERATED ALWAYS" } else { "strict_ids" };
    let detail = "cannot insert a non-DEFAULT value into column";
    assert!(refusal.contains(word) || refusal.contains(detail), "{refusal}");
}

on_each_server!(strict_ids_refuses_ids_that_are_given_and_nothing_else, |db| {
    let stream = db.stream();
    let consumer = stream.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();
    let before = stream.add_event("A", &1).unwrap();
    let mut raw = db.raw();
    raw.exec(&insert_sql(db, before + 1));
    raw.exec("DELETE FROM evt_queue WHERE type = 'LATE'");
    let role = format!("{}_reader", db.name);
    if db.kind == DatabaseKind::Postgres {
        raw.exec(&format!("CREATE ROLE {role}"));
        raw.exec(&format!("GRANT SELECT ON SEQUENCE evt_queue_id_seq TO {role}"));
        raw.exec("GRANT USAGE ON SEQUENCE evt_queue_id_seq TO PUBLIC");
    }
    let strict = db.stream_with(&[("strict_ids", "true")]);
    strict.migrate().unwrap();
    // Not taken back by who does not ask for it.
    db.stream();
    for stream in [&stream, &strict] {
        let event = NewEvent::new("A", &2).unwrap();
        let mut added = vec![stream.add(&event).unwrap()];
        added.extend(stream.add_events(&[event.clone(), event.clone()]).unwrap());
        added.extend(stream.add_events(&vec![event.clone(); 1500]).unwrap());
        let mut tx = stream.begin().unwrap();
        added.push(tx.add(&event).unwrap());
        tx.commit().unwrap();
        added.push(match &mut raw {
            Raw::Sqlite(own) => stream.add_event_to(own, "A", &1).unwrap(),
            Raw::Postgres(own) => stream.add_event_to(&mut **own, "A", &1).unwrap(),
            Raw::Mysql(own) => stream.add_event_to(&mut **own, "A", &1).unwrap(),
        });
        raw.exec(&db.insert_sql("PLAIN"));
        assert!(added.windows(2).all(|pair| pair[0] < pair[1]) && added[0] > before, "{added:?}");
        for id in [added[0] - 1, added[0], added[added.len() - 1] + 2, 1 << 50] {
            refused(db, &mut raw, id);
        }
    }
    assert_eq!(everything(&stream).len(), 1 + 2 * 1506);
    let events = consumer.poll(None, &Want::all()).unwrap();
    assert_eq!((events[0].id, events.len()), (before, 1000));
    assert_eq!(stream.lag().unwrap().highest_id, everything(&stream).last().unwrap().id);
    if db.kind == DatabaseKind::Postgres {
        let may =
            format!("SELECT has_sequence_privilege('{role}', 'evt_queue_id_seq', 'SELECT')::int");
        assert_eq!(raw.number(&may), 1);
        raw.exec(&format!("DROP OWNED BY {role}"));
        raw.exec(&format!("DROP ROLE {role}"));
    }
});

#[test]
fn the_option_is_one_of_migrate_alone() {
    let db = Db::on("sqlite").unwrap();
    let stream =
        EventStream::open_with(&db.url, &Options::new().set("strict_ids", "true").unwrap())
            .unwrap();
    assert_eq!(crate::support::failure(stream.add_event("A", &1)), ErrorKind::NotMigrated);
    stream.migrate().unwrap();
    let error = stream.begin().unwrap().execute(&insert_sql(&db, 7), &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Constraint);
    assert!(error.to_string().contains("strict_ids"), "{error}");
}
