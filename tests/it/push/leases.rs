//! The lease of a receiver or an archiver: another one gets it soon after its owner's host is gone or cut
//! off, and not as long as the owner lives, whatever it does.

use crate::support::proxy::{Mode, Proxy};
use crate::support::{Db, failure};
use futoin_eventstream::{
    Archiver, ErrorKind, EventStream, Options, Subscription, Value, Want, Warehouse,
};
use std::time::{Duration, Instant};

/// A host is taken for dead after 4 s; then its lease lasts 8 s after it was heard last.
const KEEPALIVE: [(&str, &str); 5] = [
    ("keepalive_idle_s", "2"),
    ("keepalive_interval_s", "1"),
    ("keepalive_count", "2"),
    ("call_timeout_ms", "60000"),
    ("connect_timeout_ms", "60000"),
];

fn options() -> Options {
    KEEPALIVE.iter().fold(Options::new(), |o, (name, value)| o.set(name, value).unwrap())
}

fn subscribe(stream: &EventStream, name: &str) -> futoin_eventstream::Result<Subscription> {
    stream.subscribe("app", name, Want::all(), &Options::new())
}

on_servers!(
    the_lease_of_a_host_that_went_silent_ends_and_that_of_a_busy_one_does_not,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let direct = db.stream();
        for name in ["Silent", "Busy"] {
            direct.consumer("app", name).unwrap().register().unwrap();
        }
        let warehouse = Warehouse::open(&db.url).unwrap();
        warehouse.migrate().unwrap();
        let proxy = Proxy::before(&db.url);
        let gone = EventStream::open_with(&proxy.url(&db.url), &options()).unwrap();
        let silent = subscribe(&gone, "Silent").unwrap();
        let archiver = Archiver::new(&gone, &warehouse, &Options::new()).unwrap();
        archiver.start().unwrap();
        let other = Archiver::new(&direct, &warehouse, &Options::new()).unwrap();
        crate::support::spare::eventually("the archiver has its lease", || {
            other.run_once().is_err_and(|error| error.kind() == ErrorKind::Occupied)
        });
        // It asks for nothing all the time.
        let busy = EventStream::open_with(&db.url, &options()).unwrap();
        let _kept = subscribe(&busy, "Busy").unwrap();

        // Nothing gets through any more, not even the end of a connection.
        proxy.set(Mode::Silent);
        let start = Instant::now();
        assert_eq!(failure(subscribe(&direct, "Silent").map(drop)), ErrorKind::Occupied);
        assert_eq!(failure(other.run_once()), ErrorKind::Occupied);
        let taken = loop {
            match subscribe(&direct, "Silent") {
                Ok(subscription) => break subscription,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Occupied, "{error}"),
            }
            assert!(start.elapsed() < Duration::from_secs(60), "a minute has gone");
            std::thread::sleep(Duration::from_millis(100));
        };
        crate::support::spare::eventually("the archiver's lease is free", || {
            other.run_once().is_ok()
        });
        std::thread::sleep(Duration::from_secs(12).saturating_sub(start.elapsed()));
        assert_eq!(failure(subscribe(&direct, "Busy").map(drop)), ErrorKind::Occupied);

        // Its owner notices, and does not get it back while another one has it.
        proxy.cut();
        proxy.set(Mode::Forward);
        let end = Instant::now() + Duration::from_secs(60);
        while !matches!(silent.next(Duration::from_millis(100)), Err(error) if error.kind() == ErrorKind::Occupied)
        {
            assert!(Instant::now() < end, "the owner does not notice");
        }
        drop(taken);
        crate::support::spare::eventually("the lease is free", || {
            silent.next(Duration::from_millis(100)).is_ok()
        });
        archiver.stop();
    }
);

on_servers!(the_server_is_told_to_ask_whether_this_host_is_there, [postgres, postgres18], |db| {
    let of = |options: &[(&str, &str)]| {
        let mut tx = db.stream_with(options).begin().unwrap();
        let names = ["keepalives_idle", "keepalives_interval", "keepalives_count", "user_timeout"];
        names.map(|name| {
            let rows = tx.query(&format!("SHOW tcp_{name}"), &[]).unwrap();
            let Value::Text(shown) = &rows[0][0] else { panic!("{rows:?}") };
            shown.clone()
        })
    };
    assert_eq!(of(&[]), ["10", "3", "3", "19000"]);
    let own = [("keepalive_idle_s", "7"), ("keepalive_interval_s", "2"), ("keepalive_count", "4")];
    assert_eq!(of(&own), ["7", "2", "4", "15000"]);
    assert_eq!(of(&[("keepalive_idle_s", "0")])[0], of_server(db));
});

/// What the server does by itself.
fn of_server(db: &Db) -> String {
    db.raw().texts("SHOW tcp_keepalives_idle").remove(0)
}
