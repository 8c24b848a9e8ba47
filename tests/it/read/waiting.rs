//! Waiting for events in a poll: `Consumer::poll_for`, `Replay::next_for`.

use crate::support::stress::Plan;
use crate::support::{Db, Done, everything, failure};
use futoin_eventstream::{
    CancelToken, Consumer, ErrorKind, EventStream, Options, Result, Want, Warehouse,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

fn registered(stream: &EventStream, component: &str) -> Consumer {
    let consumer = stream.consumer("app", component).unwrap();
    consumer.register().unwrap();
    consumer
}

/// The ids that a wait gives, and how long it took.
fn wait(consumer: &Consumer, last: Option<u64>, want: &Want) -> (Vec<u64>, Duration) {
    let start = Instant::now();
    let events = consumer.poll_for(last, want, usize::MAX, LONG, None).unwrap();
    (events.iter().map(|event| event.id).collect(), start.elapsed())
}

fn add_in(db: &Db, time: Duration, event_type: &'static str) -> thread::JoinHandle<u64> {
    let other = EventStream::open(&db.url).unwrap();
    thread::spawn(move || {
        sleep(time);
        other.add_event(event_type, &1).unwrap()
    })
}

on_each_server!(a_waiting_poll_gets_the_event_that_comes, |db| {
    let stream = db.stream();
    let audit = registered(&stream, "Audit");
    for round in 0..2 {
        // In the last round the thread that reads the end of the stream has rested.
        let before = if round == 0 { 200 } else { 1400 };
        let adding = add_in(db, Duration::from_millis(before), "USR_ADD");
        let (ids, _) = wait(&audit, None, &Want::all());
        assert_eq!(ids, [adding.join().unwrap()]);
        audit.acknowledge(ids[0]).unwrap();
    }
});

on_each_server!(a_waiting_poll_with_a_filter_passes_over_the_rest_and_moves_the_cursor, |db| {
    let stream = db.stream();
    let audit = registered(&stream, "Audit");
    let others = add_in(db, Duration::from_millis(200), "OTHER");
    let wanted = add_in(db, Duration::from_millis(2000), "USR_ADD");
    let want = Want::types(&["USR_ADD"]).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| wait(&audit, None, &want).0);
        let other = others.join().unwrap();
        let end = Instant::now() + LONG;
        let cursor = || stream.lag().unwrap().consumers[0].last_id;
        while cursor() < other {
            assert!(Instant::now() < end, "the cursor stays at {}", cursor());
            sleep(Duration::from_millis(100));
        }
        assert_eq!(waiting.join().unwrap(), [wanted.join().unwrap()]);
    });
});

on_each_server!(a_live_consumer_waits_for_what_is_new, |db| {
    let stream = db.stream();
    stream.add_event("OLD", &1).unwrap();
    let live = stream.live("app").unwrap();
    assert!(live.poll(None, &Want::all()).unwrap().is_empty());
    let adding = add_in(db, Duration::from_millis(300), "NEW");
    assert_eq!(wait(&live, None, &Want::all()).0, [adding.join().unwrap()]);
});

on_each_server!(a_wait_ends_with_its_time_its_token_or_an_error, |db| {
    let stream = db.stream();
    let audit = registered(&stream, "Audit");
    for time in [0, 30, 300] {
        let time = Duration::from_millis(time);
        let start = Instant::now();
        assert!(audit.poll_for(None, &Want::all(), 1, time, None).unwrap().is_empty());
        assert!(start.elapsed() >= time);
    }
    let token = CancelToken::new();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let ended = audit.poll_for(None, &Want::all(), 1, Duration::MAX, Some(&token));
                assert_eq!(failure(ended), ErrorKind::Cancelled);
            });
        }
        sleep(Duration::from_millis(300));
        token.cancel();
    });
    let ended = audit.poll_for(None, &Want::all(), 1, LONG, Some(&token));
    assert_eq!(failure(ended), ErrorKind::Cancelled);
    assert_eq!(
        failure(audit.poll_for(None, &Want::all(), 0, LONG, None)),
        ErrorKind::InvalidArgument
    );
    thread::scope(|scope| {
        let waiting = scope.spawn(|| audit.poll_for(None, &Want::all(), 1, LONG, None));
        sleep(Duration::from_millis(300));
        let other = EventStream::open(&db.url).unwrap();
        assert!(other.consumer("app", "Audit").unwrap().unregister().unwrap());
        assert_eq!(failure(waiting.join().unwrap()), ErrorKind::NotRegistered);
    });
    let audit = registered(&stream, "Audit");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| audit.poll_for(None, &Want::all(), 1, LONG, None));
        sleep(Duration::from_millis(300));
        stream.close();
        assert_eq!(failure(waiting.join().unwrap()), ErrorKind::Closed);
    });
});

on_each_server!(a_replay_waits_for_the_next_event, |db| {
    let stream = db.stream();
    let warehouse = Warehouse::open(&db.url).unwrap();
    warehouse.migrate().unwrap();
    let first = stream.add_event("OLD", &1).unwrap();
    let mut replay = warehouse.replay(&stream, 1, &Want::all());
    let events = replay.next_for(10, LONG, None).unwrap();
    assert_eq!(events[0].id, first);
    let none = replay.next_for(10, Duration::from_millis(200), None).unwrap();
    assert!(none.is_empty());
    let adding = add_in(db, Duration::from_millis(300), "NEW");
    let events = replay.next_for(10, LONG, None).unwrap();
    assert_eq!(events[0].id, adding.join().unwrap());
    let token = CancelToken::new();
    token.cancel();
    assert_eq!(failure(replay.next_for(10, LONG, Some(&token))), ErrorKind::Cancelled);
});

// A subscription that begins while the thread rests, and one that ends beside a waiting poll.
on_each_server!(subscriptions_and_waiting_polls_share_a_thread, |db| {
    let stream = db.stream();
    let audit = registered(&stream, "Audit");
    let none = audit.poll_for(None, &Want::all(), 1, Duration::from_millis(300), None).unwrap();
    assert!(none.is_empty());
    sleep(Duration::from_millis(1200));
    let live = stream.subscribe("app", "LIVE", Want::all(), &Options::new()).unwrap();
    let first = stream.add_event("A", &1).unwrap();
    let delivery = live.next(LONG).unwrap().expect("an event");
    assert_eq!(delivery.events[0].id, first);
    drop(live);
    let adding = add_in(db, Duration::from_millis(300), "B");
    let second = adding.thread().id();
    assert_ne!(second, thread::current().id());
    assert_eq!(wait(&audit, None, &Want::all()).0, [first]);
    let second = adding.join().unwrap();
    assert_eq!(wait(&audit, Some(first), &Want::all()).0, [second]);
});

/// Transactions of the database, as the server counts them.
fn transactions(db: &Db) -> i64 {
    let sql = "SELECT CAST(xact_commit + xact_rollback AS TEXT) FROM pg_stat_database \
               WHERE datname = current_database()";
    // The server counts a session's transactions up to a second later.
    sleep(Duration::from_millis(1500));
    db.raw().texts(sql)[0].parse().unwrap()
}

on_servers!(a_waiting_poll_costs_what_a_waiting_subscription_costs, [postgres, postgres18], |db| {
    let stream = db.stream();
    let audit = registered(&stream, "Audit");
    let time = Duration::from_secs(3);
    let measure = |work: &dyn Fn()| {
        let before = transactions(db);
        work();
        transactions(db) - before
    };
    let costs_the_same = || {
        let subscribed = measure(&|| {
            let push = stream.subscribe("app", "Audit", Want::all(), &Options::new()).unwrap();
            assert!(push.next(time).unwrap().is_none());
        });
        let polled = measure(&|| {
            assert!(audit.poll_for(None, &Want::all(), 1, time, None).unwrap().is_empty());
        });
        println!("{}: {polled} transactions, a subscription {subscribed}", db.server);
        // A few for the beginning, and one question in three seconds.
        polled <= subscribed + subscribed / 4 + 15
    };
    // A busy machine may hold up either of the two.
    assert!((0..5).any(|_| costs_the_same()), "a waiting poll costs more than a subscription");
});

// Writers whose transactions overlap and roll back, and readers that only ever wait.
on_each_server!(waiting_polls_lose_nothing_beside_overlapping_transactions, |db| {
    let Plan { seed, length } = Plan::new(2);
    println!("{}: FES_STRESS_SEED={seed}", db.server);
    let stream = db.stream();
    let all = registered(&stream, "All");
    let some = registered(&stream, "Some");
    let done = AtomicBool::new(false);
    let time = length;
    let write = |n: u64| -> Result<()> {
        let mut random = StdRng::seed_from_u64(seed + n);
        let writer = db.stream();
        let end = Instant::now() + time;
        while Instant::now() < end {
            let mut tx = writer.begin()?;
            for _ in 0..random.random_range(1..4) {
                tx.add_event(if random.random_bool(0.2) { "RARE" } else { "OFTEN" }, &n)?;
            }
            if db.server != "sqlite" {
                sleep(Duration::from_millis(random.random_range(0..40)));
            }
            if random.random_bool(0.2) {
                tx.rollback()?
            } else {
                tx.commit()?
            }
            sleep(Duration::from_millis(random.random_range(0..60)));
        }
        Ok(())
    };
    let read = |consumer: &Consumer, want: Want| {
        let mut ids: Vec<u64> = Vec::new();
        loop {
            let ended = done.load(Ordering::Acquire);
            let most = Duration::from_millis(if ended { 0 } else { 400 });
            let last = ids.last().copied();
            let events = consumer.poll_for(last, &want, 7, most, None).unwrap();
            if events.is_empty() && ended {
                return ids;
            }
            ids.extend(events.iter().map(|event| event.id));
        }
    };
    thread::scope(|scope| {
        let ended = Done(&done);
        let rare = Want::types(&["RARE"]).unwrap();
        let readers = [scope.spawn(|| read(&all, Want::all())), scope.spawn(|| read(&some, rare))];
        let writers: Vec<_> = (0..4).map(|n| scope.spawn(move || write(n))).collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap().unwrap());
        drop(ended);
        let [every, rare] = readers.map(|reader| reader.join().unwrap());
        let events = everything(&stream);
        let ids = |of: &str| -> Vec<u64> {
            let wanted = events.iter().filter(|event| of.is_empty() || event.event_type == of);
            wanted.map(|event| event.id).collect()
        };
        assert_eq!(every, ids(""), "all");
        assert_eq!(rare, ids("RARE"), "rare");
    });
});
