//! A server that goes silent: every call ends in its time, and all goes on when the path is healed.

use crate::support::proxy::{Mode, Proxy};
use crate::support::{Db, failure};
use futoin_eventstream::{
    Archiver, Discarder, ErrorKind, EventStream, Options, ReceiverOptions, ReliableReceiver, Want,
    Warehouse,
};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The longest time of a call in these tests; a call that takes much longer waits for ever.
const LIMIT: Duration = Duration::from_millis(500);
const LATE: Duration = Duration::from_millis(15_000);

/// What a call gives on a path that was healed. A busy machine may take longer than [`LIMIT`] for a healthy call.
#[track_caller]
fn healed<T>(call: impl Fn() -> futoin_eventstream::Result<T>) -> T {
    let start = Instant::now();
    loop {
        match call() {
            Err(error) if error.is_retriable() && start.elapsed() < LATE => {}
            result => return result.unwrap(),
        }
    }
}

/// A stream through a proxy, with its tables made.
fn through(proxy: &Proxy, db: &Db) -> EventStream {
    db.stream().close();
    let options = [("call_timeout_ms", "500"), ("connect_timeout_ms", "500")];
    let options = options.iter().fold(Options::new(), |o, (k, v)| o.set(k, v).unwrap());
    EventStream::open_with(&proxy.url(&db.url), &options).unwrap()
}

/// Runs what must fail, but not before its time, and not much later.
#[track_caller]
fn in_time<T: std::fmt::Debug>(
    what: &str,
    call: impl FnOnce() -> futoin_eventstream::Result<T>,
) -> futoin_eventstream::Error {
    let start = Instant::now();
    let error = call().expect_err(what);
    let took = start.elapsed();
    assert!(took >= LIMIT - Duration::from_millis(50) && took < LATE, "{what}: {took:?}: {error}");
    error
}

on_servers!(
    the_proxy_of_these_tests_does_what_it_says,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let proxy = Proxy::before(&db.url);
        db.stream().close();
        let url = proxy.url(&db.url);
        let stream = EventStream::open(&format!("{url}?connect_timeout_ms=1000")).unwrap();
        stream.add_event("A", &1).unwrap();
        proxy.set(Mode::Slow(Duration::from_millis(100)));
        let start = Instant::now();
        stream.add_event("A", &2).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(200));
        proxy.set(Mode::Reset);
        assert_eq!(failure(stream.add_event("A", &3)), ErrorKind::ConnectionLost);
        proxy.set(Mode::Refuse);
        assert_eq!(failure(stream.add_event("A", &4)), ErrorKind::ConnectFailed);
        proxy.set(Mode::Forward);
        stream.add_event("A", &5).unwrap();
        assert!(proxy.accepted() >= 2 && proxy.open() >= 1);
        let events = stream.live("app").unwrap().poll(Some(0), &Want::all()).unwrap();
        let data: Vec<&str> = events.iter().map(|event| event.data.as_str()).collect();
        assert_eq!(data, ["1", "2", "5"]);
    }
);

on_servers!(
    every_call_on_a_silent_server_ends_in_its_time_and_works_again_afterwards,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let proxy = Proxy::before(&db.url);
        let stream = through(&proxy, db);
        let consumer = stream.consumer("app", "Audit").unwrap();
        healed(|| consumer.register());
        let mut ids = vec![healed(|| stream.add_event("A", &1))];
        assert!(!healed(|| consumer.poll(None, &Want::all())).is_empty());
        let want = Want::types(&["A"]).unwrap();
        let mut silent =
            |what: &str, kind: ErrorKind, call: &dyn Fn() -> futoin_eventstream::Result<()>| {
                // With a connection in the pool that was alive a moment ago, and the session that watches.
                healed(|| stream.lag());
                healed(|| consumer.poll(None, &want));
                proxy.set(Mode::Silent);
                let error = in_time(what, call);
                assert_eq!(error.kind(), kind, "{what}: {error}");
                assert!(error.is_retriable(), "{what}: {error}");
                if kind == ErrorKind::ConnectionLost {
                    assert!(error.to_string().contains("may or may not"), "{what}: {error}");
                }
                proxy.set(Mode::Forward);
                let start = Instant::now();
                ids.push(healed(|| stream.add_event("A", &what)));
                assert!(start.elapsed() < LATE, "{what}: healed");
            };
        use ErrorKind::{ConnectionLost, Timeout};
        let event = futoin_eventstream::NewEvent::new("A", &0).unwrap();
        silent("add_event", ConnectionLost, &|| stream.add_event("A", &0).map(drop));
        silent("add_events", ConnectionLost, &|| {
            stream.add_events(std::slice::from_ref(&event)).map(drop)
        });
        silent("begin", Timeout, &|| stream.begin().map(drop));
        silent("poll", Timeout, &|| consumer.poll(None, &Want::all()).map(drop));
        silent("a filtered poll", Timeout, &|| consumer.poll(None, &want).map(drop));
        silent("acknowledge", Timeout, &|| consumer.acknowledge(1));
        silent("register", Timeout, &|| consumer.register());
        silent("unregister", ConnectionLost, &|| {
            stream.consumer("app", "Nobody").unwrap().unregister().map(drop)
        });
        silent("lag", Timeout, &|| stream.lag().map(drop));
        silent("migrate", Timeout, &|| stream.migrate());
        silent("subscribe", Timeout, &|| {
            stream.subscribe("app", "Audit", Want::all(), &Options::new()).map(drop)
        });
        let got: Vec<u64> =
            crate::support::everything(&stream).iter().map(|event| event.id).collect();
        assert!(ids.iter().all(|id| got.contains(id)), "{ids:?} are not all in {got:?}");
    }
);

on_servers!(
    a_call_ends_in_its_time_though_the_server_says_something_now_and_then,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let proxy = Proxy::before(&db.url);
        let stream = through(&proxy, db);
        let consumer = stream.consumer("app", "Audit").unwrap();
        healed(|| consumer.register());
        let events: Vec<_> =
            (0..500).map(|n| futoin_eventstream::NewEvent::new("A", &n).unwrap()).collect();
        db.stream().add_events(&events).unwrap();
        let live = stream.live("app").unwrap();
        for _ in 0..3 {
            // Each byte comes soon enough, but all of them would take minutes.
            proxy.set(Mode::Drip(LIMIT / 10));
            let error = in_time("poll", || live.poll(Some(0), &Want::all()));
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            assert!(error.to_string().contains("call_timeout_ms"), "{error}");
            proxy.set(Mode::Forward);
            assert_eq!(healed(|| live.poll(Some(0), &Want::all())).len(), 500);
        }
        // A busy connection is not ended by the time of earlier calls.
        let start = Instant::now();
        while start.elapsed() < LIMIT * 3 {
            healed(|| live.poll(Some(0), &Want::all()));
        }
        assert_eq!(healed(|| consumer.poll(None, &Want::all())).len(), 500);
    }
);

on_servers!(
    a_transaction_on_a_silent_server_ends_in_its_time,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let proxy = Proxy::before(&db.url);
        let stream = through(&proxy, db);
        let mut tx = stream.begin().unwrap();
        tx.add_event("A", &1).unwrap();
        proxy.set(Mode::Silent);
        assert_eq!(in_time("add_event", || tx.add_event("A", &2)).kind(), ErrorKind::Timeout);
        let start = Instant::now();
        drop(tx);
        assert!(start.elapsed() < LIMIT, "a rollback over a broken connection");
        // The server, too, finds out that nobody is there any more: its transaction holds events up.
        proxy.cut();
        proxy.set(Mode::Forward);
        let mut tx = stream.begin().unwrap();
        let id = tx.add_event("A", &3).unwrap();
        // The commit reaches the server, its answer does not come back.
        proxy.set(Mode::Mute);
        let error = in_time("commit", || tx.commit());
        assert_eq!(error.kind(), ErrorKind::ConnectionLost);
        assert!(error.to_string().contains("may or may not"), "{error}");
        proxy.set(Mode::Forward);
        let start = Instant::now();
        let all = || crate::support::everything(&stream).iter().map(|e| e.id).collect::<Vec<_>>();
        while all() != [id] {
            assert!(start.elapsed() < LATE, "{:?} is not {id}", all());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
);

/// Runs what must return soon, although a server hangs.
#[track_caller]
fn soon<T>(what: &str, least: Duration, call: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = call();
    let took = start.elapsed();
    assert!(took >= least && took < least + Duration::from_millis(2500), "{what} took {took:?}");
    result
}

/// A stream through a proxy whose calls may take so long that waiting for them shows.
fn patient(proxy: &Proxy, db: &Db) -> EventStream {
    db.stream().close();
    let options = [("call_timeout_ms", "60000"), ("connect_timeout_ms", "60000")];
    let options = options.iter().fold(Options::new(), |o, (k, v)| o.set(k, v).unwrap());
    EventStream::open_with(&proxy.url(&db.url), &options).unwrap()
}

/// A receiver that sends what it gets.
fn receiver(stream: &EventStream) -> (ReliableReceiver, Receiver<u64>) {
    let (sender, received) = channel();
    let on_events = move |delivery: &futoin_eventstream::Delivery| {
        for event in &delivery.events {
            sender.send(event.id)?;
        }
        Ok(())
    };
    let options = ReceiverOptions::new();
    (ReliableReceiver::new(stream, "app", "Pushed", options, on_events).unwrap(), received)
}

on_servers!(
    a_receiver_that_hangs_is_stopped_in_its_time,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let proxy = Proxy::before(&db.url);
        let stream = patient(&proxy, db);
        let (pushed, received) = receiver(&stream);
        pushed.start().unwrap();
        let id = stream.add_event("A", &1).unwrap();
        assert_eq!(received.recv_timeout(LATE).unwrap(), id);
        proxy.set(Mode::Silent);
        std::thread::sleep(Duration::from_millis(300));
        let time = Duration::from_millis(500);
        assert!(soon("stop", Duration::ZERO, || pushed.stop_for(time)), "it has not ended");
        // While it connects, too.
        pushed.start().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert!(soon("stop while connecting", time, || pushed.stop_for(time)));
        proxy.cut();
        proxy.set(Mode::Forward);
        pushed.start().unwrap();
        let id = db.stream().add_event("A", &2).unwrap();
        let start = Instant::now();
        while received.recv_timeout(LATE).unwrap() != id {
            assert!(start.elapsed() < LATE);
        }
        pushed.stop();
    }
);

on_servers!(closing_ends_what_hangs, [postgres, postgres18, mariadb, mysql], |db| {
    let proxy = Proxy::before(&db.url);
    let stream = patient(&proxy, db);
    stream.consumer("app", "Audit").unwrap().register().unwrap();
    stream.add_event("A", &1).unwrap();
    let options = Options::new().set("ack_interval_ms", "60000").unwrap();
    let subscription = stream.subscribe("app", "Audit", Want::all(), &options).unwrap();
    assert_eq!(subscription.next(LATE).unwrap().unwrap().events.len(), 1);
    subscription.ack().unwrap();
    proxy.set(Mode::Silent);
    let late = soon("closing a subscription", Duration::ZERO, || subscription.close());
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Timeout);
    let error = std::thread::scope(|scope| {
        let adding = scope.spawn(|| stream.add_event("A", &2));
        std::thread::sleep(Duration::from_millis(300));
        soon("closing a stream", Duration::ZERO, || stream.close());
        soon("a call in flight", Duration::ZERO, || adding.join().unwrap()).unwrap_err()
    });
    // It may have been connecting.
    use ErrorKind::{Closed, ConnectionLost, Timeout};
    assert!(matches!(error.kind(), ConnectionLost | Closed | Timeout), "{error}");
    assert_eq!(failure(stream.add_event("A", &3)), ErrorKind::Closed);
});

on_servers!(
    a_deaf_receiver_delivers_again_when_the_path_is_healed,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let proxy = Proxy::before(&db.url);
        let stream = through(&proxy, db);
        let direct = db.stream();
        let (pushed, received) = receiver(&stream);
        pushed.start().unwrap();
        let mut expected = vec![direct.add_event("A", &0).unwrap()];
        assert_eq!(received.recv_timeout(LATE).unwrap(), expected[0]);
        for mode in [Mode::Silent, Mode::Mute, Mode::Held, Mode::Refuse] {
            proxy.set(mode);
            expected.push(direct.add_event("A", &1).unwrap());
            std::thread::sleep(Duration::from_millis(1200));
            proxy.cut();
            proxy.set(Mode::Forward);
            let id = *expected.last().unwrap();
            let start = Instant::now();
            // What was not acknowledged comes again; nothing else does, and nothing is left out.
            while received.recv_timeout(Duration::from_secs(20)).unwrap() != id {
                assert!(start.elapsed() < Duration::from_secs(20), "{mode:?}");
            }
        }
        pushed.stop();
    }
);

on_servers!(
    an_archiver_and_a_discarder_are_stopped_where_they_hang_and_go_on,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let proxy = Proxy::before(&db.url);
        let stream = patient(&proxy, db);
        let warehouse = Warehouse::open(&proxy.url(&db.url)).unwrap();
        warehouse.migrate().unwrap();
        let options = Options::new().set("poll_period_ms", "50").unwrap();
        let archiver = Archiver::new(&stream, &warehouse, &options).unwrap();
        let discarder = Discarder::new(&stream, &options).unwrap();
        let wait = |count: usize| {
            let start = Instant::now();
            let direct = Warehouse::open(&db.url).unwrap();
            while direct.history(1, &Want::all(), 100).unwrap().len() < count {
                assert!(start.elapsed() < Duration::from_secs(20), "nothing is archived");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        for round in 0..2 {
            archiver.start().unwrap();
            discarder.start().unwrap();
            // Its idle connection may be one that was just reset.
            let id = stream.add_event("A", &round).or_else(|_| stream.add_event("A", &round));
            assert!(id.unwrap() > 0);
            wait(round + 1);
            proxy.set(Mode::Silent);
            std::thread::sleep(Duration::from_millis(400));
            let time = Duration::from_millis(300);
            assert!(soon("the archiver", Duration::ZERO, || archiver.stop_for(time)));
            assert!(soon("the discarder", Duration::ZERO, || discarder.stop_for(time)));
            proxy.cut();
            proxy.set(Mode::Forward);
        }
    }
);
