//! A server that goes silent under what waits and what works: each ends when it is told to or its time is
//! over, and goes on when the path is healed.

use crate::support::proxy::{Mode, Proxy};
use crate::support::spare::eventually;
use crate::support::{Db, failure};
use futoin_eventstream::{
    Archiver, Discarder, ErrorKind, EventStream, Notice, Options, ReceiverOptions,
    ReliableReceiver, ServiceApp, Subscription, Want, Warehouse,
};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// What takes so long is not ended by anybody.
const LATE: Duration = Duration::from_secs(30);
/// What is given to `stop`, or to `next`.
const TIME: Duration = Duration::from_millis(500);

fn options(pairs: &[(&str, &str)]) -> Options {
    pairs.iter().fold(Options::new(), |o, (name, value)| o.set(name, value).unwrap())
}

/// Options by which no call ends by itself while a test waits.
const PATIENT: [(&str, &str); 2] = [("call_timeout_ms", "60000"), ("connect_timeout_ms", "60000")];
/// And by which it does soon, but not on a busy machine; the lease of a session that is deaf ends in 4 s.
const HASTY: [(&str, &str); 5] = [
    ("call_timeout_ms", "2000"),
    ("connect_timeout_ms", "3000"),
    ("keepalive_idle_s", "1"),
    ("keepalive_interval_s", "1"),
    ("keepalive_count", "1"),
];

fn through(proxy: &Proxy, db: &Db, pairs: &[(&str, &str)]) -> EventStream {
    db.stream().close();
    EventStream::open_with(&proxy.url(&db.url), &options(pairs)).unwrap()
}

/// Runs what must return, after `least` and long before any call ends by itself.
#[track_caller]
fn soon<T>(what: &str, least: Duration, call: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = call();
    let took = start.elapsed();
    assert!(took >= least && took < LATE, "{what} took {took:?}");
    result
}

/// A subscription of a registered consumer.
fn subscribe(stream: &EventStream, name: &str) -> Subscription {
    stream.consumer("app", name).unwrap().register().unwrap();
    stream.subscribe("app", name, Want::all(), &Options::new()).unwrap()
}

/// A subscription that has to read an event from the database, because it is older.
fn subscribe_behind(stream: &EventStream, name: &str) -> (Subscription, u64) {
    stream.consumer("app", name).unwrap().register().unwrap();
    let id = stream.add_event("A", &1).unwrap();
    (subscribe(stream, name), id)
}

/// Takes deliveries until the event comes, whatever fails meanwhile.
#[track_caller]
fn comes(subscription: &Subscription, id: u64) {
    eventually("the event comes", || match subscription.next(TIME) {
        Ok(Some(delivery)) => {
            subscription.ack().unwrap();
            delivery.events.iter().any(|event| event.id == id)
        }
        Ok(None) => false,
        Err(error) => {
            assert!(error.is_retriable(), "{error}");
            false
        }
    });
}

on_servers!(
    a_wait_on_a_silent_server_ends_by_its_time_and_by_close,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let proxy = Proxy::before(&db.url);
        let stream = through(&proxy, db, &PATIENT);
        for (least, time) in [(TIME, TIME), (Duration::ZERO, Duration::ZERO)] {
            let (subscription, id) = subscribe_behind(&stream, "Waits");
            proxy.set(Mode::Silent);
            // The read hangs; later ones find it hanging.
            for _ in 0..3 {
                let next = soon("next", least, || subscription.next(time));
                assert!(next.unwrap().is_none());
            }
            soon("close", Duration::ZERO, || subscription.close()).unwrap();
            proxy.cut();
            proxy.set(Mode::Forward);
            comes(&subscribe(&stream, "Waits"), id);
        }
        // One that waits for ever holds up nobody else, and hears of the end.
        let (subscription, _) = subscribe_behind(&stream, "Waits");
        proxy.set(Mode::Silent);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| subscription.next(Duration::MAX));
            std::thread::sleep(Duration::from_millis(300));
            let next = soon("another next", TIME, || subscription.next(TIME));
            assert!(next.unwrap().is_none());
            soon("close", Duration::ZERO, || subscription.close()).unwrap();
            let next = soon("next", Duration::ZERO, || waiting.join().unwrap());
            assert_eq!(failure(next), ErrorKind::Closed);
        });
    }
);

on_servers!(
    a_read_that_outlasts_its_caller_is_there_for_the_next_one,
    [postgres, mariadb, mysql],
    |db| {
        let proxy = Proxy::before(&db.url);
        let stream = through(&proxy, db, &PATIENT);
        let (subscription, id) = subscribe_behind(&stream, "Slow");
        proxy.set(Mode::Slow(Duration::from_millis(400)));
        // Shorter than any answer: it is not asked anew each time.
        let start = Instant::now();
        let delivery = loop {
            assert!(start.elapsed() < LATE, "nothing comes");
            if let Some(delivery) = subscription.next(Duration::from_millis(100)).unwrap() {
                break delivery;
            }
        };
        assert_eq!(delivery.events[0].id, id);
    }
);

on_servers!(
    a_receiver_that_waits_for_the_lease_of_a_silent_one_is_stopped_in_its_time,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let proxy = Proxy::before(&db.url);
        let stream = through(&proxy, db, &PATIENT);
        let holder = subscribe(&stream, "Owned");
        proxy.set(Mode::Silent);
        let (sender, told) = channel();
        let options = ReceiverOptions::new().on_notice(move |notice| {
            if let Notice::WorkerError(error) = notice {
                let _ = sender.send(error.kind());
            }
        });
        let direct = db.stream();
        let other = ReliableReceiver::new(&direct, "app", "Owned", options, |_| Ok(())).unwrap();
        for patience in [Some(TIME), None] {
            other.start().unwrap();
            assert_eq!(told.recv_timeout(LATE).unwrap(), ErrorKind::Occupied);
            match patience {
                Some(time) => assert!(soon("stop", Duration::ZERO, || other.stop_for(time))),
                None => soon("stop", Duration::ZERO, || other.stop()),
            }
        }
        drop(holder);
    }
);

/// A receiver that sends what it gets.
fn receiver(stream: &EventStream) -> (ReliableReceiver, Receiver<u64>) {
    let (sender, received) = channel();
    let on_events = move |delivery: &futoin_eventstream::Delivery| {
        delivery.events.iter().try_for_each(|event| sender.send(event.id))?;
        Ok(())
    };
    let options = ReceiverOptions::new();
    (ReliableReceiver::new(stream, "app", "Pushed", options, on_events).unwrap(), received)
}

on_servers!(what_listens_for_notifications_ends_and_hears_again, [postgres, postgres18], |db| {
    db.stream_with(&[("notify", "true")]).close();
    let proxy = Proxy::before(&db.url);
    let direct = db.stream();
    // Looks would come too late.
    let slow = [("notify", "true"), ("sleep_max_ms", "60000"), ("sleep_step_ms", "60000")];
    let patient = through(&proxy, db, &[&PATIENT[..], &slow].concat());
    let subscription = subscribe(&patient, "Listens");
    proxy.set(Mode::Silent);
    std::thread::sleep(Duration::from_millis(300));
    soon("close", Duration::ZERO, || subscription.close()).unwrap();
    proxy.cut();
    proxy.set(Mode::Forward);

    let hasty = through(&proxy, db, &[&HASTY[..], &slow].concat());
    let (pushed, received) = receiver(&hasty);
    pushed.start().unwrap();
    let ids: Vec<u64> = (0..2)
        .map(|n| {
            let id = direct.add_event("A", &n).unwrap();
            while received.recv_timeout(LATE).unwrap() != id {}
            proxy.set(Mode::Silent);
            direct.add_event("LOST", &n).unwrap();
            std::thread::sleep(Duration::from_millis(500));
            proxy.set(Mode::Forward);
            id
        })
        .collect();
    // Nobody resets what lost bytes: the silence has to be noticed.
    let id = direct.add_event("A", &ids).unwrap();
    while received.recv_timeout(LATE).unwrap() != id {}
    assert!(soon("stop", Duration::ZERO, || pushed.stop_for(TIME)));
});

on_servers!(
    a_replay_ends_when_the_silent_database_that_it_reads_is_closed,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let direct = db.stream();
        direct.add_event("A", &1).unwrap();
        let proxy = Proxy::before(&db.url);
        for of_stream in [true, false] {
            let url = proxy.url(&db.url);
            let open = |is_silent: bool| match is_silent {
                true => (url.as_str(), options(&PATIENT)),
                false => (db.url.as_str(), Options::new()),
            };
            let (at, with) = open(of_stream);
            let stream = EventStream::open_with(at, &with).unwrap();
            let (at, with) = open(!of_stream);
            let warehouse = Warehouse::open_with(at, &with).unwrap();
            warehouse.migrate().unwrap();
            let mut replay = warehouse.replay(&stream, 1, &Want::all());
            assert_eq!(replay.next(10).unwrap().len(), 1);
            proxy.set(Mode::Silent);
            // From the beginning again, because it goes on with what is live.
            let mut replay = warehouse.replay(&stream, 1, &Want::all());
            std::thread::scope(|scope| {
                let reading = scope.spawn(|| replay.next(10).map(drop));
                std::thread::sleep(Duration::from_millis(300));
                soon("close", Duration::ZERO, || {
                    stream.close();
                    warehouse.close();
                });
                let read = soon("the replay", Duration::ZERO, || reading.join().unwrap());
                let kind = failure(read);
                assert!(matches!(kind, ErrorKind::Timeout | ErrorKind::Closed), "{kind:?}");
            });
            proxy.cut();
            proxy.set(Mode::Forward);
        }
    }
);

on_servers!(
    an_archiver_with_a_silent_warehouse_is_stopped_in_its_time,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let stream = db.stream();
        let proxy = Proxy::before(&db.url);
        let open = || Warehouse::open_with(&proxy.url(&db.url), &options(&PATIENT)).unwrap();
        open().migrate().unwrap();
        let direct = Warehouse::open(&db.url).unwrap();
        let archived = |count: usize| {
            eventually("it is archived", || {
                direct.history(1, &Want::all(), 100).unwrap().len() == count
            });
        };
        let silence = || {
            proxy.set(Mode::Silent);
            stream.add_event("A", &2).unwrap();
            std::thread::sleep(Duration::from_millis(800));
        };
        stream.add_event("A", &1).unwrap();
        let archiver = Archiver::new(&stream, &open(), &Options::new()).unwrap();
        archiver.start().unwrap();
        archived(1);
        silence();
        assert!(soon("the archiver", TIME, || archiver.stop_for(TIME)));
        proxy.cut();
        proxy.set(Mode::Forward);

        let app = ServiceApp::of(stream.clone(), Some(open())).unwrap();
        app.start().unwrap();
        archived(2);
        silence();
        assert!(soon("the app", TIME, || app.close_for(TIME)));
    }
);

on_servers!(
    deaf_pollers_archivers_and_discarders_go_on_when_the_path_is_healed,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let proxy = Proxy::before(&db.url);
        let stream = through(&proxy, db, &HASTY);
        let warehouse = Warehouse::open_with(&proxy.url(&db.url), &options(&HASTY)).unwrap();
        warehouse.migrate().unwrap();
        let poller = stream.consumer("app", "Polls").unwrap();
        poller.register().unwrap();
        let with = options(&[("poll_period_ms", "50")]);
        let archiver = Archiver::new(&stream, &warehouse, &with).unwrap();
        let discarder = Discarder::new(&stream, &with).unwrap();
        archiver.start().unwrap();
        discarder.start().unwrap();
        let direct = db.stream();
        let history = Warehouse::open(&db.url).unwrap();
        let mut raw = db.raw();
        let mut ids = Vec::new();
        for mode in [Mode::Forward, Mode::Silent, Mode::Mute, Mode::Held] {
            proxy.set(mode);
            ids.push(direct.add_event("A", &1).unwrap());
            let _ = poller.poll(None, &Want::all());
            std::thread::sleep(Duration::from_millis(1200));
            // Nothing is reset: what is lost stays lost.
            proxy.set(Mode::Forward);
            let mut got = Vec::new();
            eventually("it is polled", || {
                let last = got.last().copied();
                let polled = poller.poll(last, &Want::all()).unwrap_or_default();
                got.extend(polled.iter().map(|event| event.id));
                got.last() == ids.last()
            });
            eventually(&format!("it is archived after {mode:?}"), || {
                let archived = history.history(1, &Want::all(), 100).unwrap();
                archived.iter().map(|event| event.id).eq(ids.iter().copied())
            });
            let last = *ids.last().unwrap();
            eventually("it is acknowledged", || poller.acknowledge(last).is_ok());
            // The newest event may stay.
            eventually("it is discarded", || {
                raw.number(&format!("SELECT count(*) FROM evt_queue WHERE id < {last}")) == 0
            });
        }
        archiver.stop();
        discarder.stop();
    }
);
