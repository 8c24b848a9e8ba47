//! Push: subscriptions and receivers, on every server. Nothing lost, nothing twice, nothing out of
//! order, whatever queue overflows, callback fails or connection breaks.

mod support;

use futoin_eventstream::{
    DatabaseKind, Delivery, ErrorKind, EventStream, LiveReceiver, NewEvent, Options, PoisonPolicy,
    ReceiverOptions, ReliableReceiver, Subscription, Want,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};
use support::Db;

const LONG: Duration = Duration::from_secs(20);

fn add(stream: &EventStream, count: u64) -> Vec<u64> {
    let events: Vec<_> = (0..count).map(|n| NewEvent::new("A", &n).unwrap()).collect();
    stream.add_events(&events).unwrap()
}

fn ids(delivery: &Delivery) -> Vec<u64> {
    delivery.events.iter().map(|event| event.id).collect()
}

/// Takes and acknowledges deliveries until there were `count` events.
fn collect(subscription: &Subscription, count: usize) -> Vec<u64> {
    let mut got = Vec::new();
    while got.len() < count {
        let delivery = subscription.next(LONG).unwrap().expect("a delivery");
        got.extend(ids(&delivery));
        subscription.ack().unwrap();
    }
    got
}

/// Waits until `condition` holds.
fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn cursor(db: &Db, ident: &str) -> i64 {
    db.raw().number(&format!("SELECT last_evt_id FROM evt_consumers WHERE ident = '{ident}'"))
}

fn subscribe(stream: &EventStream, component: &str, options: &[(&str, &str)]) -> Subscription {
    if component != "LIVE" {
        stream.consumer("app", component).unwrap().register().unwrap();
    }
    let options = options.iter().fold(Options::new(), |o, (k, v)| o.set(k, v).unwrap());
    stream.subscribe("app", component, Want::all(), &options).unwrap()
}

/// Options of a receiver whose notices can be waited for.
fn noticed(options: ReceiverOptions) -> (ReceiverOptions, Receiver<String>) {
    let (sender, receiver) = channel();
    let options = options.on_notice(move |notice| {
        let _ = sender.send(format!("{notice:?}"));
    });
    (options, receiver)
}

fn wait_for(notices: &Receiver<String>, text: &str) -> String {
    let start = Instant::now();
    let mut others = Vec::new();
    while start.elapsed() < LONG {
        match notices.recv_timeout(LONG) {
            Ok(notice) if notice.contains(text) => return notice,
            Ok(notice) => others.push(notice),
            Err(_) => break,
        }
    }
    panic!("no notice {text}, but {others:?}");
}

on_each_server!(history_comes_first_and_the_live_tail_follows_without_a_seam, |db| {
    let stream = db.stream_with(&[("max_chunk_events", "7")]);
    let mut expected = add(&stream, 100);
    let subscription = subscribe(&stream, "Seam", &[]);
    let writer = stream.clone();
    let adding = std::thread::spawn(move || -> Vec<u64> {
        (0..40).flat_map(|n| add(&writer, n % 5 + 1)).collect()
    });
    let got = collect(&subscription, 100 + 120);
    expected.extend(adding.join().unwrap());
    assert_eq!(got, expected);
    let last = *got.last().unwrap();
    drop(subscription);
    assert_eq!(cursor(db, "app:Seam"), last as i64);
    let again = subscribe(&stream, "Seam", &[]);
    assert!(again.next(Duration::from_millis(50)).unwrap().is_none());
});

on_each_server!(deliveries_are_numbered_and_wait_for_their_acknowledgement, |db| {
    let stream = db.stream_with(&[("max_chunk_events", "2")]);
    add(&stream, 6);
    let subscription = subscribe(&stream, "Acks", &[]);
    assert_eq!(subscription.ack().unwrap_err().kind(), ErrorKind::InvalidArgument);
    let first = subscription.next(LONG).unwrap().unwrap();
    assert_eq!((first.seq, ids(&first)), (0, vec![1, 2]));
    assert!(subscription.next(Duration::from_millis(30)).unwrap().is_none());
    subscription.ack().unwrap();
    assert_eq!(subscription.next(LONG).unwrap().unwrap().seq, 1);
    // Not acknowledged: it comes again to the next subscription.
    close(db, &subscription, 2);
    assert_eq!(subscription.next(LONG).unwrap_err().kind(), ErrorKind::Closed);
    let again = subscribe(&stream, "Acks", &[("request_max", "2")]);
    assert_eq!(ids(&again.next(LONG).unwrap().unwrap()), [3, 4]);
    assert_eq!(ids(&again.next(LONG).unwrap().unwrap()), [5, 6]);
    again.ack().unwrap();
    close(db, &again, 4);
});

/// Closes it, which stores the cursor: at once, or, where that takes longer than a moment, behind the call.
fn close(db: &Db, subscription: &Subscription, at: i64) {
    let ident = subscription.ident().as_str();
    match subscription.close() {
        Err(error) if error.kind() == ErrorKind::Timeout => {
            until("the cursor is stored", || cursor(db, ident) == at);
        }
        result => result.unwrap(),
    }
    assert_eq!(cursor(db, ident), at);
}

on_each_server!(the_cursor_is_stored_soon_after_the_acknowledgement, |db| {
    let stream = db.stream();
    let subscription = subscribe(&stream, "Store", &[("ack_interval_ms", "10")]);
    let id = stream.add_event("A", &1).unwrap();
    collect(&subscription, 1);
    until("the cursor is stored", || cursor(db, "app:Store") == id as i64);
});

on_each_server!(a_reliable_subscriber_whose_queue_overflows_loses_nothing, |db| {
    let stream = db.stream_with(&[("max_chunk_events", "10")]);
    let subscription = subscribe(&stream, "Slow", &[("queue_max", "25")]);
    let mut expected = add(&stream, 1);
    let mut got = collect(&subscription, 1);
    for _ in 0..3 {
        let before = subscription.stats().overflows;
        expected.extend(add(&stream, 200));
        until("the queue overflows", || subscription.stats().overflows > before);
        got.extend(collect(&subscription, 200));
    }
    assert_eq!(got, expected);
    assert_eq!(subscription.stats().delivered, 601);
});

on_each_server!(live_gets_what_comes_from_now_on_and_skips_when_it_cannot_follow, |db| {
    let stream = db.stream_with(&[("max_chunk_events", "10")]);
    add(&stream, 5);
    let live = subscribe(&stream, "LIVE", &[("queue_max", "25")]);
    let first = stream.add_event("A", &()).unwrap();
    let delivery = live.next(LONG).unwrap().unwrap();
    assert_eq!((delivery.seq, ids(&delivery)), (0, vec![first]));
    live.ack().unwrap();
    let all = add(&stream, 200);
    until("the queue overflows", || live.stats().skipped >= 170);
    let mut got = Vec::new();
    let mut seqs = Vec::new();
    while got.last() != all.last() {
        let delivery = live.next(LONG).unwrap().unwrap();
        seqs.push(delivery.seq);
        got.extend(ids(&delivery));
        live.ack().unwrap();
    }
    assert!(seqs[0] > 1, "a gap shows: {seqs:?}");
    assert!(seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    assert_eq!(got.len() as u64 + live.stats().skipped, 200);
    assert_eq!(got, all[all.len() - got.len()..]);
});

on_each_server!(each_subscriber_gets_what_it_wants, |db| {
    let stream = db.stream();
    for component in ["Odd", "Even"] {
        stream.consumer("app", component).unwrap().register().unwrap();
    }
    let want = |name: &str| Want::types(&[name]).unwrap();
    let options = Options::new();
    let odd = stream.subscribe("app", "Odd", want("ODD"), &options).unwrap();
    let even = stream.subscribe("app", "Even", want("EVEN"), &options).unwrap();
    let mut expected = (vec![], vec![]);
    for n in 0..50u32 {
        let id = stream.add_event(if n % 2 == 1 { "ODD" } else { "EVEN" }, &n).unwrap();
        if n % 2 == 1 { expected.0.push(id) } else { expected.1.push(id) }
    }
    assert_eq!((collect(&odd, 25), collect(&even, 25)), expected);
    // The cursor passes what is not wanted.
    let last = stream.add_event("OTHER", &()).unwrap();
    until("the cursor passed it", || cursor(db, "app:Odd") == last as i64);
});

on_each_server!(two_hundred_subscribers_share_one_stream, |db| {
    let stream = db.stream();
    let all: Vec<Subscription> = (0..200).map(|_| subscribe(&stream, "LIVE", &[])).collect();
    let expected = add(&stream, 50);
    for subscription in &all {
        assert_eq!(collect(subscription, 50), expected);
    }
});

on_each_server!(one_ident_has_one_receiver_at_a_time, |db| {
    let stream = db.stream();
    let other = EventStream::open(&db.url).unwrap();
    let subscription = subscribe(&stream, "One", &[]);
    for stream in [&stream, &other] {
        let refused = stream.subscribe("app", "One", Want::all(), &Options::new());
        let error = refused.err().expect("an error");
        assert_eq!((error.kind(), error.is_retriable()), (ErrorKind::Occupied, true));
        assert!(error.to_string().contains("app:One"));
    }
    subscribe(&other, "Two", &[]).close().unwrap();
    subscription.close().unwrap();
    until("the ident is free", || {
        other.subscribe("app", "One", Want::all(), &Options::new()).is_ok()
    });
});

#[test]
fn a_database_in_memory_has_one_receiver_of_an_ident_too() {
    let stream = EventStream::open("sqlite::memory:").unwrap();
    stream.migrate().unwrap();
    let first = subscribe(&stream, "One", &[]);
    let again = || stream.subscribe("app", "One", Want::all(), &Options::new());
    assert_eq!(again().err().map(|error| error.kind()), Some(ErrorKind::Occupied));
    first.close().unwrap();
    assert!(again().is_ok());
}

/// Holds a lease until it is killed, when this program is run again for that.
#[test]
fn child_that_holds_a_lease() {
    let Ok(url) = std::env::var("FES_CHILD_LEASE_URL") else { return };
    let stream = EventStream::open(&url).unwrap();
    let subscription = stream.subscribe("app", "Dead", Want::all(), &Options::new()).unwrap();
    println!("holding");
    let _ = subscription.next(Duration::from_secs(60));
}

on_each_server!(the_lease_of_a_killed_process_ends_by_itself, |db| {
    use std::io::BufRead;
    let stream = db.stream();
    stream.consumer("app", "Dead").unwrap().register().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_holds_a_lease", "--nocapture"])
        .env("FES_CHILD_LEASE_URL", &db.url)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(child.stdout.take().unwrap());
    assert!(output.lines().any(|line| line.unwrap().contains("holding")));
    let subscribe = || stream.subscribe("app", "Dead", Want::all(), &Options::new());
    assert_eq!(subscribe().err().map(|error| error.kind()), Some(ErrorKind::Occupied));
    child.kill().unwrap();
    child.wait().unwrap();
    until("the lease has ended", || subscribe().is_ok());
});

on_each_server!(a_receiver_registers_by_itself_and_gets_every_event, |db| {
    let stream = db.stream();
    let before = add(&stream, 3);
    let (options, notices) = noticed(ReceiverOptions::new());
    let (sender, received) = channel();
    let receiver = ReliableReceiver::new(&stream, "app", "Auto", options, move |delivery| {
        ids(delivery).into_iter().try_for_each(|id| Ok(sender.send(id)?))
    })
    .unwrap();
    receiver.start().unwrap();
    wait_for(&notices, "Ready");
    assert_eq!(receiver.start().unwrap_err().kind(), ErrorKind::InvalidArgument);
    let mut expected = before;
    expected.extend(add(&stream, 20));
    let mut got: Vec<u64> = (0..23).map(|_| received.recv_timeout(LONG).unwrap()).collect();
    wait_for(&notices, "NewEvents");
    receiver.stop();
    receiver.stop();
    wait_for(&notices, "Stopped");
    // And again, from where it was.
    expected.extend(add(&stream, 5));
    receiver.start().unwrap();
    got.extend((0..5).map(|_| received.recv_timeout(LONG).unwrap()));
    receiver.stop();
    assert_eq!(got, expected);
    assert_eq!(receiver.stats().subscription.delivered, 28);
    assert_eq!(cursor(db, "app:Auto"), *expected.last().unwrap() as i64);
});

on_each_server!(a_failing_callback_gets_the_same_events_again, |db| {
    let stream = db.stream();
    let expected = add(&stream, 3);
    let (options, notices) = noticed(ReceiverOptions::new());
    let (sender, received) = channel();
    let mut calls = 0;
    let receiver = ReliableReceiver::new(&stream, "app", "Fails", options, move |delivery| {
        calls += 1;
        sender.send((delivery.seq, ids(delivery)))?;
        match calls {
            1 => Err("not yet".into()),
            2 => panic!("not even now"),
            _ => Ok(()),
        }
    })
    .unwrap();
    receiver.start().unwrap();
    for _ in 0..3 {
        assert_eq!(received.recv_timeout(LONG).unwrap(), (0, expected.clone()));
    }
    assert!(wait_for(&notices, "ReceiverError").contains("not yet"));
    assert!(wait_for(&notices, "ReceiverError").contains("not even now"));
    until("the cursor is stored", || cursor(db, "app:Fails") == 3);
    receiver.stop();
    assert_eq!(receiver.stats().failures, 2);
});

on_each_server!(a_poison_event_is_skipped_alone_and_never_silently, |db| {
    let stream = db.stream();
    let all = add(&stream, 5);
    let options = ReceiverOptions::new().poison(PoisonPolicy::SkipAfter(2));
    let (options, notices) = noticed(options);
    let (sender, received) = channel();
    let receiver = ReliableReceiver::new(&stream, "app", "Poison", options, move |delivery| {
        if ids(delivery).contains(&3) {
            return Err("three is bad".into());
        }
        ids(delivery).into_iter().try_for_each(|id| Ok(sender.send(id)?))
    })
    .unwrap();
    receiver.start().unwrap();
    let got: Vec<u64> = (0..4).map(|_| received.recv_timeout(LONG).unwrap()).collect();
    assert_eq!(got, [all[0], all[1], all[3], all[4]]);
    assert!(wait_for(&notices, "Skipped").contains("three is bad"));
    until("the cursor is stored", || cursor(db, "app:Poison") == 5);
    receiver.stop();
    let skipped = receiver.stats().skipped;
    assert_eq!(skipped.len(), 1);
    assert_eq!((skipped[0].0, skipped[0].2.as_str()), (3, "three is bad"));
});

on_each_server!(a_receiver_that_shall_stop_at_poison_stops, |db| {
    let stream = db.stream();
    add(&stream, 2);
    let (options, notices) = noticed(ReceiverOptions::new().poison(PoisonPolicy::Stop));
    let receiver =
        ReliableReceiver::new(&stream, "app", "Stops", options, |_| Err("no".into())).unwrap();
    receiver.start().unwrap();
    wait_for(&notices, "Stopped");
    assert_eq!(cursor(db, "app:Stops"), 0);
    // It may be started again, and then it fails again.
    receiver.start().unwrap();
    wait_for(&notices, "Stopped");
});

on_each_server!(stop_returns_after_the_last_callback_and_soon, |db| {
    let stream = db.stream();
    let (options, notices) = noticed(ReceiverOptions::new());
    let inside = Arc::new(AtomicBool::new(false));
    let busy = inside.clone();
    let receiver = ReliableReceiver::new(&stream, "app", "Stop", options, move |_| {
        busy.store(true, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(300));
        busy.store(false, Ordering::SeqCst);
        Ok(())
    })
    .unwrap();
    receiver.start().unwrap();
    wait_for(&notices, "Ready");
    // Idle, from several threads at once.
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| receiver.stop());
        }
    });
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    // Busy.
    receiver.start().unwrap();
    stream.add_event("A", &()).unwrap();
    until("the callback runs", || inside.load(Ordering::SeqCst));
    receiver.stop();
    assert!(!inside.load(Ordering::SeqCst));
});

on_each_server!(a_callback_may_stop_its_own_receiver, |db| {
    let stream = db.stream();
    let (options, notices) = noticed(ReceiverOptions::new());
    let own: Arc<Mutex<Option<Arc<ReliableReceiver>>>> = Arc::default();
    let calls = Arc::new(AtomicU64::new(0));
    let (itself, count) = (own.clone(), calls.clone());
    let receiver = ReliableReceiver::new(&stream, "app", "Self", options, move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let receiver = itself.lock().unwrap().clone();
        receiver.unwrap().stop();
        Ok(())
    })
    .unwrap();
    let receiver = Arc::new(receiver);
    *own.lock().unwrap() = Some(receiver.clone());
    receiver.start().unwrap();
    wait_for(&notices, "Ready");
    stream.add_event("A", &()).unwrap();
    wait_for(&notices, "Stopped");
    stream.add_event("A", &()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(cursor(db, "app:Self"), 1);
    receiver.start().unwrap();
    wait_for(&notices, "Stopped");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    *own.lock().unwrap() = None;
});

on_each_server!(a_live_receiver_gets_new_events_and_leaves_no_row, |db| {
    let stream = db.stream();
    add(&stream, 3);
    let (options, notices) = noticed(ReceiverOptions::new());
    let (sender, received) = channel();
    let live = LiveReceiver::new(&stream, "app", options, move |delivery| {
        ids(delivery).into_iter().try_for_each(|id| Ok(sender.send(id)?))
    })
    .unwrap();
    live.start().unwrap();
    wait_for(&notices, "Ready");
    for id in add(&stream, 10) {
        assert_eq!(received.recv_timeout(LONG).unwrap(), id);
    }
    live.stop();
    assert_eq!(db.raw().number("SELECT count(*) FROM evt_consumers"), 0);
    let reliable =
        ReliableReceiver::new(&stream, "app", "LIVE", ReceiverOptions::new(), |_| Ok(()));
    assert_eq!(reliable.err().unwrap().kind(), ErrorKind::LiveNotAllowed);
});

on_each_server!(an_unregistered_or_closed_subscription_says_so, |db| {
    let stream = db.stream();
    let refused = stream.subscribe("app", "Nobody", Want::all(), &Options::new());
    assert_eq!(refused.err().unwrap().kind(), ErrorKind::NotRegistered);
    let subscription = subscribe(&stream, "Gone", &[("ack_interval_ms", "1")]);
    stream.consumer("app", "Gone").unwrap().unregister().unwrap();
    stream.add_event("A", &()).unwrap();
    collect(&subscription, 1);
    assert_eq!(subscription.next(LONG).unwrap_err().kind(), ErrorKind::NotRegistered);
    let waiting = subscribe(&stream, "Waits", &[]);
    collect(&waiting, 1);
    let ready = Barrier::new(2);
    std::thread::scope(|scope| {
        let next = scope.spawn(|| {
            ready.wait();
            waiting.next(LONG)
        });
        ready.wait();
        std::thread::sleep(Duration::from_millis(50));
        stream.close();
        assert_eq!(next.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    });
    let error = stream.subscribe("app", "Waits", Want::all(), &Options::new()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Closed);
});

on_servers!(
    broken_connections_are_replaced_and_nothing_is_lost,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let stream = db.stream();
        let (options, notices) = noticed(ReceiverOptions::new());
        let (sender, received) = channel();
        let receiver = ReliableReceiver::new(&stream, "app", "Break", options, move |delivery| {
            ids(delivery).into_iter().try_for_each(|id| Ok(sender.send(id)?))
        })
        .unwrap();
        receiver.start().unwrap();
        wait_for(&notices, "Ready");
        for round in 0..5 {
            let mut writer = db.raw();
            for _ in 0..20 {
                writer.exec(&db.insert_sql("A"));
            }
            if round % 2 == 0 {
                kill_sessions_of_the_library(db);
            }
        }
        let got: Vec<u64> = (0..100).map(|_| received.recv_timeout(LONG).unwrap()).collect();
        let mut once = got.clone();
        once.dedup();
        // At least once: what was not acknowledged when the connection broke may come again.
        once.sort_unstable();
        once.dedup();
        let rest: Vec<u64> = received.try_iter().collect();
        once.extend(rest);
        once.sort_unstable();
        once.dedup();
        assert_eq!(once, (1..=once.len() as u64).collect::<Vec<_>>());
        receiver.stop();
    }
);

/// Kills every session of this database whose client is this library, not the test's own.
fn kill_sessions_of_the_library(db: &Db) {
    let mut raw = db.raw();
    match db.kind {
        DatabaseKind::Postgres => {
            raw.texts(
                "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name = 'futoin-eventstream'",
            );
        }
        _ => {
            let ids = raw.texts(&format!(
                "SELECT CAST(ID AS CHAR) FROM information_schema.PROCESSLIST \
                 WHERE DB = '{}' AND COMMAND = 'Sleep' AND ID <> CONNECTION_ID()",
                db.name
            ));
            for id in ids {
                let _ = raw.try_exec(&format!("KILL {id}"));
            }
        }
    }
}

on_servers!(notifications_of_the_server_wake_readers, [postgres, postgres18], |db| {
    let stream =
        db.stream_with(&[("notify", "true"), ("sleep_min_ms", "3000"), ("sleep_max_ms", "3000")]);
    stream.migrate().unwrap();
    let subscription = subscribe(&stream, "Notify", &[]);
    assert!(subscription.next(Duration::from_millis(300)).unwrap().is_none());
    let mut writer = db.raw();
    let start = Instant::now();
    writer.exec(&db.insert_sql("A"));
    assert_eq!(ids(&subscription.next(LONG).unwrap().unwrap()), [1]);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
});

// Nobody is told of a rollback: what waited for it is found by looking.
on_servers!(
    an_event_behind_a_rollback_comes_without_a_notification,
    [postgres, postgres18],
    |db| {
        let stream = db.stream_with(&[("notify", "true")]);
        stream.migrate().unwrap();
        let subscription = subscribe(&stream, "Rollback", &[]);
        let (mut open, mut other) = (db.raw(), db.raw());
        open.exec("BEGIN");
        open.exec(&db.insert_sql("A"));
        other.exec(&db.insert_sql("B"));
        assert!(subscription.next(Duration::from_millis(2500)).unwrap().is_none());
        open.exec("ROLLBACK");
        assert_eq!(ids(&subscription.next(LONG).unwrap().unwrap()), [2]);
    }
);

on_servers!(ids_that_are_allocated_again_are_told_to_subscribers, [postgres, postgres18], |db| {
    let stream = db.stream();
    let subscription = subscribe(&stream, "Reset", &[]);
    add(&stream, 10);
    collect(&subscription, 10);
    db.raw().exec("DELETE FROM evt_queue; SELECT setval('evt_queue_id_seq', 3)");
    assert_eq!(subscription.next(LONG).unwrap_err().kind(), ErrorKind::StreamRewound);
});

on_each_server!(an_idle_subscription_writes_nothing, |db| {
    let stream = db.stream();
    let subscription = subscribe(&stream, "Idle", &[("ack_interval_ms", "1")]);
    let id = stream.add_event("A", &()).unwrap();
    collect(&subscription, 1);
    until("the cursor is stored", || cursor(db, "app:Idle") == id as i64);
    let seen = "SELECT last_time FROM evt_consumers WHERE ident = 'app:Idle'";
    let before = db.raw().texts(seen);
    // A cursor update would change the row's time after a second.
    assert!(subscription.next(Duration::from_millis(2500)).unwrap().is_none());
    assert_eq!(db.raw().texts(seen), before);
});
