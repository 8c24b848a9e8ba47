//! History and active events as one stream, and where a new consumer begins.

use crate::support::{Db, failure};
use futoin_eventstream::{
    Archiver, Discarder, ErrorKind, Event, EventStream, NewEvent, Options, Replay, StartAt,
    Timestamp, Want, Warehouse,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

fn options(list: &[(&str, &str)]) -> Options {
    list.iter().fold(Options::new(), |options, (name, value)| options.set(name, value).unwrap())
}

/// A warehouse of its own, on the server of the stream.
fn warehouse(db: &Db) -> (Warehouse, Db) {
    let dwh = Db::on(db.server).unwrap();
    let warehouse = Warehouse::open(&dwh.url).unwrap();
    warehouse.migrate().unwrap();
    (warehouse, dwh)
}

fn archive(stream: &EventStream, warehouse: &Warehouse) {
    Archiver::new(stream, warehouse, &Options::new()).unwrap().run_once().unwrap();
}

fn add(stream: &EventStream, event_type: &str, count: usize) -> Vec<u64> {
    let events: Vec<NewEvent> =
        (0..count).map(|n| NewEvent::new(event_type, &n).unwrap()).collect();
    stream.add_events(&events).unwrap()
}

fn ids(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.id).collect()
}

/// All that comes now.
fn drain(replay: &mut Replay, limit: usize) -> Vec<u64> {
    let mut got = Vec::new();
    loop {
        let events = replay.next(limit).unwrap();
        assert!(events.len() <= limit);
        if events.is_empty() {
            return got;
        }
        got.extend(ids(&events));
    }
}

on_each_server!(a_replay_has_no_hole_and_no_duplicate_while_all_is_in_motion, |db| {
    let stream = db.stream();
    let (warehouse, _dwh) = warehouse(db);
    let fast = options(&[
        ("archive_batch", "60"),
        ("limit_at_once", "500"),
        ("poll_period_ms", "1"),
        ("require_archiver", "true"),
    ]);
    add(&stream, "BEFORE", 100);
    let archiver = Archiver::new(&stream, &warehouse, &fast).unwrap();
    let discarder = Discarder::new(&stream, &fast).unwrap();
    archiver.start().unwrap();
    discarder.start().unwrap();
    let writing = AtomicBool::new(true);
    let (mut truth, follower, picky) = thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let (stream, writing) = (&stream, &writing);
                scope.spawn(move || write(stream, writing, writer))
            })
            .collect();
        let follow = |want: Want, limit: usize| {
            let (stream, warehouse, writing) = (&stream, &warehouse, &writing);
            scope.spawn(move || {
                let mut replay = warehouse.replay(stream, 1, &want);
                let mut got = Vec::new();
                while writing.load(Ordering::Relaxed) {
                    got.extend(drain(&mut replay, limit));
                    // Now close to the writers, now so late that all was discarded meanwhile.
                    sleep(Duration::from_millis(got.len() as u64 % 200));
                }
                (replay, got)
            })
        };
        let follower = follow(Want::all(), 37);
        let picky = follow(Want::types(&["ODD"]).unwrap(), 11);
        sleep(Duration::from_millis(1000));
        writing.store(false, Ordering::Relaxed);
        let truth: Vec<Added> =
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        (truth, follower.join().unwrap(), picky.join().unwrap())
    });
    truth.sort_unstable();
    let odd: Vec<u64> = truth.iter().filter(|(_, odd, _)| *odd).map(|(id, ..)| *id).collect();
    let mut all: Vec<u64> = truth.into_iter().map(|(id, ..)| id).collect();
    all.splice(0..0, 1..=100);
    for ((mut replay, mut got), expected) in [(follower, &all), (picky, &odd)] {
        got.extend(drain(&mut replay, 100));
        assert_eq!(&got, expected);
    }
    let middle = all[all.len() / 2];
    let mut late = warehouse.replay(&stream, middle, &Want::all());
    assert_eq!(drain(&mut late, 1000), all[all.len() / 2..]);
    archiver.stop();
    discarder.stop();
    println!("{}: {} events", db.server, all.len());
});

/// The id, whether it is an odd one, and when its COMMIT was sent.
type Added = (u64, bool, Instant);

/// Adds events in transactions, of which some are rolled back.
fn write(stream: &EventStream, writing: &AtomicBool, writer: usize) -> Vec<Added> {
    let mut added = Vec::new();
    let mut round = writer;
    while writing.load(Ordering::Relaxed) {
        round += 1;
        let odd = round.is_multiple_of(5);
        let event_type = if odd { "ODD" } else { "EVEN" };
        let mut tx = stream.begin().unwrap();
        let ids: Vec<u64> =
            (0..round % 7 + 1).map(|n| tx.add_event(event_type, &n).unwrap()).collect();
        sleep(Duration::from_millis(round as u64 % 4));
        if round.is_multiple_of(6) {
            tx.rollback().unwrap();
        } else {
            let sent = Instant::now();
            tx.commit().unwrap();
            added.extend(ids.into_iter().map(|id| (id, odd, sent)));
        }
    }
    added
}

on_each_server!(a_replay_goes_on_where_another_one_ended, |db| {
    let stream = db.stream();
    let (warehouse, _dwh) = warehouse(db);
    add(&stream, "ADDED", 20);
    archive(&stream, &warehouse);
    add(&stream, "ADDED", 20);
    let mut first = warehouse.replay(&stream, 0, &Want::all());
    let got = ids(&first.next(15).unwrap());
    assert_eq!((got.as_slice(), first.position()), ((1..=15).collect::<Vec<_>>().as_slice(), 15));
    let mut second = warehouse.replay(&stream, first.position() + 1, &Want::all());
    assert_eq!(drain(&mut second, 7), (16..=40).collect::<Vec<_>>());
    assert_eq!(drain(&mut second, 7), [0; 0]);
    assert_eq!(add(&stream, "ADDED", 1), drain(&mut second, 7));
    assert_eq!(failure(second.next(0)), ErrorKind::InvalidArgument);
    assert_eq!(second.next(usize::MAX).unwrap(), []);
    let mut all = warehouse.replay(&stream, 0, &Want::all());
    assert_eq!(failure(all.next(0)), ErrorKind::InvalidArgument);
    assert_eq!(drain(&mut all, usize::MAX), (1..=41).collect::<Vec<_>>());
    let mut beyond = warehouse.replay(&stream, 1000, &Want::all());
    assert_eq!(failure(beyond.next(10)), ErrorKind::InvalidLastId);
});

on_each_server!(a_replay_needs_nothing_of_the_event_table_for_what_is_archived, |db| {
    let stream = db.stream();
    let (warehouse, _dwh) = warehouse(db);
    let mut replay = warehouse.replay(&stream, 1, &Want::all());
    add(&stream, "ADDED", 10);
    assert_eq!(drain(&mut replay, 100).len(), 10);
    // The npm package's discarder leaves nothing at all.
    add(&stream, "ADDED", 10);
    archive(&stream, &warehouse);
    db.raw().exec("DELETE FROM evt_queue");
    assert_eq!(drain(&mut replay, 4), (11..=20).collect::<Vec<_>>());
});

// SQLite has one writer at a time.
on_servers!(what_commits_late_comes_in_its_place, [postgres, postgres18, mariadb, mysql], |db| {
    let stream = db.stream();
    let (warehouse, _dwh) = warehouse(db);
    add(&stream, "ADDED", 3);
    let mut open = stream.begin().unwrap();
    open.add_event("LATE", &()).unwrap();
    add(&stream, "ADDED", 3);
    let mut replay = warehouse.replay(&stream, 1, &Want::all());
    assert_eq!(drain(&mut replay, 10), [1, 2, 3]);
    archive(&stream, &warehouse);

    let now = stream.consumer("app", "Now").unwrap();
    now.register_at(StartAt::Now).unwrap();
    let in_time = stream.consumer("app", "InTime").unwrap();
    in_time.register_at(StartAt::Time(Timestamp::from_unix(0).unwrap())).unwrap();
    open.commit().unwrap();
    assert_eq!(drain(&mut replay, 10), [4, 5, 6, 7]);
    assert_eq!(ids(&now.poll(None, &Want::all()).unwrap()), [4, 5, 6, 7]);
    assert_eq!(ids(&in_time.poll(None, &Want::all()).unwrap()), (1..=7).collect::<Vec<_>>());
    archive(&stream, &warehouse);
    assert_eq!(warehouse.history(1, &Want::all(), 10).unwrap().len(), 7);
});

on_each_server!(a_consumer_begins_where_it_is_told, |db| {
    let stream = db.stream();
    let mut raw = db.raw();
    for year in [2001, 2001, 2010, 2010, 2005] {
        raw.exec(&format!(
            "INSERT INTO evt_queue(type, data, ts) VALUES ('DATED', 'null', '{year}-06-01 12:00:00')"
        ));
    }
    let begun = |component: &str, start: StartAt| {
        let consumer = stream.consumer("app", component).unwrap();
        consumer.register_at(start)?;
        consumer.poll(None, &Want::all()).map(|events| ids(&events))
    };
    // 2005-06-01 12:00:00 and a second later.
    let time = |later: i64| StartAt::Time(Timestamp::from_unix(1_117_627_200 + later).unwrap());
    assert_eq!(begun("Beginning", StartAt::Beginning).unwrap(), [1, 2, 3, 4, 5]);
    assert_eq!(begun("Now", StartAt::Now).unwrap(), [0; 0]);
    assert_eq!(begun("Id0", StartAt::Id(0)).unwrap(), [1, 2, 3, 4, 5]);
    assert_eq!(begun("Id4", StartAt::Id(4)).unwrap(), [4, 5]);
    assert_eq!(begun("Id6", StartAt::Id(6)).unwrap(), [0; 0]);
    assert_eq!(failure(begun("Id7", StartAt::Id(7))), ErrorKind::InvalidLastId);
    assert_eq!(begun("Past", time(-1_000_000_000)).unwrap(), [1, 2, 3, 4, 5]);
    assert_eq!(begun("Same", time(0)).unwrap(), [3, 4, 5]);
    assert_eq!(begun("After", time(1)).unwrap(), [3, 4, 5]);
    assert_eq!(begun("Future", time(5_000_000_000)).unwrap(), [0; 0]);
    // Who is registered stays where it is.
    assert_eq!(begun("Now", StartAt::Beginning).unwrap(), [0; 0]);
    let added = add(&stream, "ADDED", 1);
    for component in ["Now", "Id6", "Future"] {
        assert_eq!(begun(component, StartAt::Beginning).unwrap(), added, "{component}");
    }
    let live = stream.live("app").unwrap();
    assert_eq!(failure(live.register_at(StartAt::Now)), ErrorKind::LiveNotAllowed);
});

on_each_server!(a_consumer_that_begins_now_gets_all_that_commits_later, |db| {
    let stream = db.stream();
    let writing = AtomicBool::new(true);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let (stream, writing) = (&stream, &writing);
                scope.spawn(move || write(stream, writing, writer))
            })
            .collect();
        let end = Instant::now() + Duration::from_millis(700);
        let mut late = Vec::new();
        while Instant::now() < end {
            let consumer = stream.consumer("app", &format!("Late{}", late.len())).unwrap();
            consumer.register_at(StartAt::Now).unwrap();
            late.push((consumer, Instant::now()));
            sleep(Duration::from_millis(30));
        }
        writing.store(false, Ordering::Relaxed);
        let mut all: Vec<Added> =
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        all.sort_unstable();
        let all_ids: Vec<u64> = all.iter().map(|(id, ..)| *id).collect();
        for (consumer, since) in late {
            let mut got = ids(&consumer.poll(None, &Want::all()).unwrap());
            while let Some(last) = got.last().copied() {
                let more = ids(&consumer.poll(Some(last), &Want::all()).unwrap());
                if more.is_empty() {
                    break;
                }
                got.extend(more);
            }
            assert!(all_ids.ends_with(&got), "{}: a hole", consumer.ident());
            let due = all.iter().find(|(id, _, sent)| *sent > since && !got.contains(id));
            assert_eq!(due, None, "{}", consumer.ident());
        }
    });
});
