//! The discarder: what every consumer has acknowledged goes, and nothing else.

use crate::support::{Db, Done, everything};
use futoin_eventstream::{
    Archiver, Consumer, DatabaseKind, Discarder, Event, EventStream, HistoryNotice, NewEvent,
    Options, Want, Warehouse,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

fn options(list: &[(&str, &str)]) -> Options {
    list.iter().fold(Options::new(), |options, (name, value)| options.set(name, value).unwrap())
}

fn discarder(stream: &EventStream, list: &[(&str, &str)]) -> Discarder {
    Discarder::new(stream, &options(list)).unwrap()
}

fn registered(stream: &EventStream, component: &str) -> Consumer {
    let consumer = stream.consumer("app", component).unwrap();
    consumer.register().unwrap();
    consumer
}

/// Adds events, of one transaction, and gives the id of the last one.
fn add(stream: &EventStream, count: usize) -> u64 {
    let events: Vec<NewEvent> = (0..count).map(|n| NewEvent::new("ADDED", &n).unwrap()).collect();
    *stream.add_events(&events).unwrap().last().unwrap()
}

fn ids(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.id).collect()
}

/// Collects what a discarder tells.
fn listen(discarder: &Discarder) -> Arc<Mutex<Vec<String>>> {
    let notices = Arc::new(Mutex::new(Vec::new()));
    let list = notices.clone();
    discarder.on_notice(move |notice| list.lock().unwrap().push(format!("{notice:?}")));
    notices
}

on_each_server!(nothing_goes_while_nobody_is_registered, |db| {
    let stream = db.stream();
    add(&stream, 10);
    assert_eq!(discarder(&stream, &[]).run_once().unwrap(), 0);
    assert_eq!(everything(&stream).len(), 10);
});

on_each_server!(what_the_slowest_consumer_has_acknowledged_goes_in_small_statements, |db| {
    let stream = db.stream();
    let (fast, slow) = (registered(&stream, "Fast"), registered(&stream, "Slow"));
    let last = add(&stream, 50);
    let discarder = discarder(&stream, &[("limit_at_once", "7")]);
    let notices = listen(&discarder);
    fast.acknowledge(last).unwrap();
    assert_eq!(discarder.run_once().unwrap(), 0);
    slow.acknowledge(20).unwrap();
    assert_eq!(discarder.run_once().unwrap(), 20);
    assert_eq!(*notices.lock().unwrap(), ["Discarded(7)", "Discarded(7)", "Discarded(6)"]);
    assert_eq!(ids(&slow.poll(None, &Want::all()).unwrap()), (21..=50).collect::<Vec<_>>());
});

on_each_server!(the_highest_event_always_stays, |db| {
    let stream = db.stream();
    let audit = registered(&stream, "Audit");
    let last = add(&stream, 10);
    audit.acknowledge(last).unwrap();
    let discarder = discarder(&stream, &[]);
    assert_eq!(discarder.run_once().unwrap(), 9);
    assert_eq!(discarder.run_once().unwrap(), 0);
    assert_eq!(ids(&everything(&stream)), [last]);
});

// An application may have to delete a single event, for example for a person's right to be forgotten.
on_each_server!(an_event_that_was_deleted_by_hand_at_a_cursor_holds_nothing_up, |db| {
    let stream = db.stream();
    let audit = registered(&stream, "Audit");
    add(&stream, 20);
    assert_eq!(audit.poll_at_most(None, &Want::all(), 10).unwrap().len(), 10);
    audit.acknowledge(10).unwrap();
    db.raw().exec("DELETE FROM evt_queue WHERE id = 10");
    let discarder = discarder(&stream, &[]);
    assert_eq!(discarder.run_once().unwrap(), 9);
    assert_eq!(audit.poll(Some(10), &Want::all()).unwrap().len(), 10);
});

on_each_server!(without_the_archiver_nothing_goes_where_it_is_required, |db| {
    let stream = db.stream();
    let audit = registered(&stream, "Audit");
    // Not it, by a hair.
    stream.consumer("internal", "ARCHIVER").unwrap().register().unwrap();
    let last = add(&stream, 10);
    audit.acknowledge(last).unwrap();
    stream.consumer("internal", "ARCHIVER").unwrap().acknowledge(last).unwrap();
    let discarder = discarder(&stream, &[("require_archiver", "true")]);
    assert_eq!(discarder.run_once().unwrap(), 0);

    let dwh = Db::on(db.server).unwrap();
    let warehouse = Warehouse::open(&dwh.url).unwrap();
    warehouse.migrate().unwrap();
    Archiver::new(&stream, &warehouse, &Options::new()).unwrap().run_once().unwrap();
    assert_eq!(discarder.run_once().unwrap(), 9);
    assert_eq!(warehouse.history(1, &Want::all(), 100).unwrap().len(), 10);
});

on_each_server!(an_open_transaction_behind_the_cursor_holds_nothing_up, |db| {
    let stream = db.stream();
    let audit = registered(&stream, "Audit");
    let last = add(&stream, 10);
    // SQLite has one writer at a time.
    let open = (db.kind != DatabaseKind::Sqlite).then(|| {
        let mut open = stream.begin().unwrap();
        open.add_event("OPEN", &()).unwrap();
        open
    });
    add(&stream, 10);
    audit.acknowledge(last).unwrap();
    let start = Instant::now();
    assert_eq!(discarder(&stream, &[]).run_once().unwrap(), 10);
    assert!(start.elapsed() < Duration::from_millis(800), "{:?}", start.elapsed());
    if let Some(open) = open {
        open.commit().unwrap();
    }
    let rest = ids(&audit.poll(None, &Want::all()).unwrap());
    let expected = if db.kind == DatabaseKind::Sqlite { 10 } else { 11 };
    assert_eq!(rest.len(), expected);
});

// A deletion hangs at a locked row, which shows it in the middle.
on_servers!(
    who_registers_during_a_deletion_gets_all_that_was_there,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let stream = db.stream();
        let audit = registered(&stream, "Audit");
        let last = add(&stream, 100);
        audit.acknowledge(last).unwrap();
        let discarder = discarder(&stream, &[]);
        let mut raw = db.raw();
        raw.exec("BEGIN");
        raw.texts("SELECT id FROM evt_queue WHERE id = 50 FOR UPDATE");
        thread::scope(|scope| {
            let deletion = scope.spawn(|| discarder.run_once());
            sleep(Duration::from_millis(200));
            let late = registered(&stream, "Late");
            let mut got = ids(&late.poll_at_most(None, &Want::all(), 10).unwrap());
            raw.exec("ROLLBACK");
            assert_eq!(deletion.join().unwrap().unwrap(), 0);
            let more = late.poll(got.last().copied(), &Want::all()).unwrap();
            got.extend(ids(&more));
            assert_eq!(got, (1..=100).collect::<Vec<_>>());
        });
    }
);

on_each_server!(consumers_that_come_and_go_beside_a_discarder_miss_nothing, |db| {
    let stream = db.stream();
    let fast = registered(&stream, "Fast");
    let other = db.stream();
    let discarder = discarder(&other, &[("limit_at_once", "200"), ("poll_period_ms", "1")]);
    discarder.start().unwrap();
    let (done, written) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let end = Done(&done);
        // One writer, and no rollback: the ids have no gap.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let last = add(&stream, 100);
                fast.acknowledge(last).unwrap();
                written.store(last, Ordering::Relaxed);
            }
        });
        let until = Instant::now() + Duration::from_millis(1500);
        let mut rounds = 0;
        while Instant::now() < until || rounds < 6 {
            let late = registered(&stream, &format!("Late{rounds}"));
            let mut got = ids(&late.poll_at_most(None, &Want::all(), 5).unwrap());
            for _ in 0..3 {
                let more = late.poll_at_most(got.last().copied(), &Want::all(), 50).unwrap();
                got.extend(ids(&more));
            }
            let jump = got.windows(2).find(|pair| pair[1] != pair[0] + 1);
            assert_eq!(jump, None, "round {rounds}");
            late.unregister().unwrap();
            rounds += 1;
        }
        drop(end);
        println!("{}: {rounds} rounds", db.server);
        assert!(rounds > 5, "{rounds} rounds");
    });
    discarder.stop();
    // Its thread has discarded some of them meanwhile.
    assert!(discarder.run_once().unwrap() < written.into_inner() - 1);
    assert_eq!(everything(&stream).len(), 1);
});

on_each_server!(consumers_that_were_not_seen_for_long_are_unregistered_if_asked_for, |db| {
    let stream = db.stream();
    let (dead, alive) = (registered(&stream, "Dead"), registered(&stream, "Alive"));
    stream.consumer("-internal", "ARCHIVER").unwrap().register().unwrap();
    let last = add(&stream, 10);
    db.raw().exec(
        "UPDATE evt_consumers SET last_time = '2001-01-01 00:00:00' WHERE ident <> 'app:Alive'",
    );
    assert_eq!(discarder(&stream, &[]).run_once().unwrap(), 0);

    let discarder = discarder(&stream, &[("expire_after_s", "3600")]);
    let notices = listen(&discarder);
    assert_eq!(discarder.run_once().unwrap(), 0);
    assert_eq!(*notices.lock().unwrap(), ["Expired(\"app:Dead\")"]);
    let left: Vec<String> = stream.lag().unwrap().consumers.into_iter().map(|c| c.ident).collect();
    assert_eq!(left, ["-internal:ARCHIVER", "app:Alive"]);
    assert_eq!(
        crate::support::failure(dead.acknowledge(last)),
        futoin_eventstream::ErrorKind::NotRegistered
    );
    alive.acknowledge(last).unwrap();
});

on_each_server!(it_works_by_itself_and_stops_at_once, |db| {
    let stream = db.stream();
    let audit = registered(&stream, "Audit");
    let lazy = discarder(&stream, &[]);
    let eager = discarder(&stream, &[("poll_period_ms", "5"), ("limit_at_once", "10")]);
    let gone = Arc::new(Mutex::new(0));
    for discarder in [&lazy, &eager] {
        let sum = gone.clone();
        discarder.on_notice(move |notice| {
            if let HistoryNotice::Discarded(count) = notice {
                *sum.lock().unwrap() += count;
            }
        });
    }
    lazy.start().unwrap();
    eager.start().unwrap();
    eager.start().unwrap();
    for _ in 0..3 {
        let last = add(&stream, 50);
        audit.acknowledge(last).unwrap();
        let start = Instant::now();
        while everything(&stream).len() > 1 {
            assert!(start.elapsed() < Duration::from_secs(10));
            sleep(Duration::from_millis(5));
        }
    }
    assert!(lazy.is_running());
    let start = Instant::now();
    lazy.stop();
    eager.stop();
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(!lazy.is_running() && !eager.is_running());
    assert_eq!(*gone.lock().unwrap(), 149);
});

/// How long the tests below let consumers be away.
const HOUR: (&str, &str) = ("expire_after_s", "3600");

fn idents(stream: &EventStream) -> Vec<String> {
    stream.lag().unwrap().consumers.into_iter().map(|c| c.ident).collect()
}

/// As after a jump of the clock by a day: everybody was last seen a day earlier.
fn jump(db: &Db, whom: &str) {
    let earlier = match db.kind {
        DatabaseKind::Sqlite => "datetime(last_time, '-1 day')",
        DatabaseKind::Postgres => "last_time - interval '1 day'",
        DatabaseKind::Mysql => "last_time - INTERVAL 1 DAY",
    };
    db.raw().exec(&format!("UPDATE evt_consumers SET last_time = {earlier} WHERE {whom}"));
}

on_each_server!(a_jump_of_the_clock_unregisters_nobody, |db| {
    let stream = db.stream();
    let works = registered(&stream, "Works");
    registered(&stream, "Slow");
    let running = discarder(&stream, &[HOUR]);
    assert_eq!(running.run_once().unwrap(), 0);
    jump(db, "1 = 1");
    running.run_once().unwrap();
    // One of them comes again, by the new clock; the other one is at work.
    works.acknowledge(add(&stream, 10)).unwrap();
    running.run_once().unwrap();
    assert_eq!(idents(&stream), ["app:Slow", "app:Works"]);

    // A discarder that has just begun knows no better, but that nobody at all was seen.
    jump(db, "ident = 'app:Works'");
    let fresh = discarder(&stream, &[HOUR]);
    let notices = listen(&fresh);
    fresh.run_once().unwrap();
    fresh.run_once().unwrap();
    assert_eq!(idents(&stream), ["app:Slow", "app:Works"]);
    let notices = notices.lock().unwrap();
    assert!(notices.len() == 1 && notices[0].contains("no consumer at all"), "{notices:?}");
});
