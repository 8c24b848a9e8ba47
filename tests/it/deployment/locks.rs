//! Those who add events and those who store cursors through one handle wait for none of the locks that
//! somebody holds on the others' rows.

use crate::support::{Db, Done, Raw};
use futoin_eventstream::{Consumer, DatabaseKind, EventStream, Want};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Scope, sleep};
use std::time::{Duration, Instant};

fn consumer(stream: &EventStream, component: &str) -> Consumer {
    let consumer = stream.consumer("app", component).unwrap();
    consumer.register().unwrap();
    consumer
}

fn stored(db: &Db, component: &str) -> u64 {
    let sql = format!("SELECT last_evt_id FROM evt_consumers WHERE ident = 'app:{component}'");
    db.raw().number(&sql) as u64
}

/// Threads that add events one after the other, until this is dropped.
struct Adding<'a> {
    done: &'a AtomicBool,
    count: &'a AtomicU64,
}

impl<'a> Adding<'a> {
    fn start<'s>(
        scope: &'s Scope<'s, 'a>,
        stream: &'a EventStream,
        (done, count): &'a (AtomicBool, AtomicU64),
    ) -> Self {
        for _ in 0..6 {
            scope.spawn(move || {
                while !done.load(Ordering::Acquire) {
                    stream.add_event("NUMBERED", &1).unwrap();
                    count.fetch_add(1, Ordering::Release);
                }
            });
        }
        Adding { done, count }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    fn wait_for_more(&self, more: u64) {
        let (wanted, start) = (self.count() + more, Instant::now());
        while self.count() < wanted {
            assert!(start.elapsed() < Duration::from_secs(60), "no event is added any more");
            sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Adding<'_> {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
    }
}

/// Locks a consumer's row in an open transaction.
fn lock_cursor(db: &Db, component: &str) -> Raw {
    let mut raw = db.raw();
    raw.exec("BEGIN");
    raw.texts(&format!("SELECT id FROM evt_consumers WHERE ident = 'app:{component}' FOR UPDATE"));
    raw
}

on_servers!(a_locked_cursor_keeps_no_event_waiting, [postgres, postgres18, mariadb, mysql], |db| {
    let (stream, state) = (db.stream(), Default::default());
    let (locked, free) = (consumer(&stream, "Locked"), consumer(&stream, "Free"));
    std::thread::scope(|scope| {
        let adding = Adding::start(scope, &stream, &state);
        adding.wait_for_more(20);
        let first = free.poll_at_most(None, &Want::all(), 1).unwrap()[0].id;
        for consumer in [&locked, &free] {
            consumer.acknowledge(first).unwrap();
        }
        let mut lock = lock_cursor(db, "Locked");
        let acknowledges = scope.spawn(move || locked.acknowledge(first + 5));
        // The events go on, and so does the other consumer.
        for n in 1..=5 {
            adding.wait_for_more(20);
            free.acknowledge(first + n).unwrap();
            assert_eq!(stored(db, "Free"), first + n);
        }
        assert!(!acknowledges.is_finished());
        lock.exec("COMMIT");
        acknowledges.join().unwrap().unwrap();
        assert_eq!(stored(db, "Locked"), first + 5);
    });
});

on_servers!(
    an_event_that_is_held_up_holds_up_no_consumer,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let (stream, state) = (db.stream(), Default::default());
        let consumer = consumer(&stream, "Reader");
        std::thread::scope(|scope| {
            let adding = Adding::start(scope, &stream, &state);
            adding.wait_for_more(50);
            let mut last = consumer.poll_at_most(None, &Want::all(), 2).unwrap()[1].id;
            consumer.acknowledge(last).unwrap();
            // Nobody can insert, everybody can read.
            let mut lock = db.raw();
            match db.kind {
                DatabaseKind::Postgres => {
                    lock.exec("BEGIN");
                    lock.exec("LOCK TABLE evt_queue IN EXCLUSIVE MODE");
                }
                _ => lock.exec("LOCK TABLES evt_queue READ"),
            }
            let before = adding.count();
            for _ in 0..10 {
                last = consumer.poll_at_most(Some(last), &Want::all(), 2).unwrap()[1].id;
                consumer.acknowledge(last).unwrap();
                assert_eq!(stored(db, "Reader"), last);
            }
            // What each of the six had committed before may have been counted since.
            assert!(adding.count() <= before + 6, "the lock held nobody up");
            lock.exec(if db.kind == DatabaseKind::Postgres { "COMMIT" } else { "UNLOCK TABLES" });
            adding.wait_for_more(20);
        });
    }
);

on_each_server!(a_cursor_that_another_handle_moves_too_never_goes_back, |db| {
    let (stream, other, state) = (db.stream(), db.stream(), Default::default());
    let (here, there) = (consumer(&stream, "Reader"), consumer(&other, "Reader"));
    std::thread::scope(|scope| {
        let adding = Adding::start(scope, &stream, &state);
        adding.wait_for_more(100);
        let events = stream.live("all").unwrap().poll_at_most(Some(0), &Want::all(), 90).unwrap();
        for (n, ids) in events.chunks_exact(3).enumerate() {
            // Forward here; far forward there; and here to what is behind it already.
            here.acknowledge(ids[0].id).unwrap();
            there.acknowledge(ids[2].id).unwrap();
            assert_eq!(stored(db, "Reader"), ids[2].id, "round {n}");
            let next = here.poll_at_most(Some(ids[1].id), &Want::all(), 1).unwrap();
            assert_eq!(next[0].id, ids[2].id + 1, "round {n}");
        }
    });
});

/// Locks a row of a consumer, or the whole table of events, for a while, again and again.
fn disturb(db: &Db, rng: &mut StdRng) {
    let mut raw = db.raw();
    let time = Duration::from_millis(rng.random_range(1..250));
    match (db.kind, rng.random_range(0..3)) {
        (DatabaseKind::Sqlite, _) => raw.exec("BEGIN IMMEDIATE"),
        (_, 0 | 1) => raw = lock_cursor(db, &format!("Reader{}", rng.random_range(0..8))),
        (DatabaseKind::Postgres, _) => {
            raw.exec("BEGIN");
            raw.exec("LOCK TABLE evt_queue IN EXCLUSIVE MODE");
        }
        (DatabaseKind::Mysql, _) => raw.exec("LOCK TABLES evt_queue READ"),
    }
    sleep(time);
    if db.kind == DatabaseKind::Mysql {
        raw.exec("UNLOCK TABLES");
    }
    raw.exec("COMMIT");
    sleep(Duration::from_millis(rng.random_range(1..100)));
}

on_each_server!(nothing_is_lost_where_locks_come_and_go, |db| {
    let seed: u64 = std::env::var("FES_STRESS_SEED")
        .map_or_else(|_| rand::random::<u32>().into(), |seed| seed.parse().unwrap());
    println!("FES_STRESS_SEED={seed}");
    let stream = db.stream_with(&[("max_chunk_events", "20")]);
    let (done, added) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let ended = Done(&done);
        let consumers: Vec<_> = (0..8)
            .map(|n| {
                let consumer = consumer(&stream, &format!("Reader{n}"));
                let done = &done;
                scope.spawn(move || {
                    let (mut ids, mut slow) = (Vec::new(), StdRng::seed_from_u64(seed + n));
                    loop {
                        let end = done.load(Ordering::Acquire);
                        let events = consumer.poll(ids.last().copied(), &Want::all()).unwrap();
                        if events.is_empty() && end {
                            return ids;
                        }
                        ids.extend(events.iter().map(|event| event.id));
                        sleep(Duration::from_millis(slow.random_range(0..3)));
                    }
                })
            })
            .collect();
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (stream, added) = (&stream, &added);
                scope.spawn(move || {
                    let start = Instant::now();
                    while start.elapsed() < Duration::from_secs(2) {
                        let id = stream.add_event("NUMBERED", &writer).unwrap();
                        added.lock().unwrap().push(id);
                    }
                })
            })
            .collect();
        let mut rng = StdRng::seed_from_u64(seed);
        while writers.iter().any(|writer| !writer.is_finished()) {
            disturb(db, &mut rng);
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        drop(ended);
        let mut added = added.lock().unwrap();
        added.sort_unstable();
        for consumer in consumers {
            assert!(consumer.join().unwrap() == *added, "lost, duplicated or out of order");
        }
        println!("{} events, 8 consumers: 0 lost, duplicated, out of order", added.len());
    });
});
