//! PostgreSQL servers on which events would be lost, or that were another kind of server when the
//! stream was opened: standbys, failovers, sequences that are altered while a stream is open.

use crate::support::failure;
use crate::support::proxy::Proxy;
use crate::support::spare::{Spare, eventually};
use futoin_eventstream::{
    Archiver, Discarder, ErrorKind, EventStream, Options, ReceiverOptions, ReliableReceiver, Want,
    Warehouse,
};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// A primary of the test's own and its standby, by names that no other test uses.
fn pair(name: &str) -> Option<(Spare, Spare)> {
    let primary = Spare::make(name, "postgres", &[])?;
    let standby = primary.standby_of(name)?;
    Some((primary, standby))
}

fn drop_pair(name: &str) {
    Spare::drop(&format!("postgres-standby-{name}"));
    Spare::drop(&format!("postgres-{name}"));
}

/// The URL with the port of another server.
fn at(url: &str, server: &Spare) -> String {
    let mut moved = url::Url::parse(url).unwrap();
    moved.set_port(url::Url::parse(&server.url).unwrap().port()).unwrap();
    moved.into()
}

fn caught_up(standby: &Spare, name: &str, events: i64) {
    let url = crate::support::with_database(&standby.url, name);
    eventually("the standby has the events", || {
        let connected = std::panic::catch_unwind(|| {
            crate::support::Raw::connect(futoin_eventstream::DatabaseKind::Postgres, &url)
        });
        connected.is_ok_and(|mut raw| {
            raw.try_exec("SELECT 1 FROM evt_queue").is_ok()
                && raw.number("SELECT count(*) FROM evt_queue") >= events
        })
    });
}

#[test]
fn a_standby_is_refused_for_reliable_work() {
    let Some((primary, standby)) = pair("refused") else { return };
    let db = primary.db();
    let stream = db.stream();
    stream.consumer("app", "Audit").unwrap().register().unwrap();
    stream.add_event("EVENT", &1).unwrap();
    caught_up(&standby, &db.name, 1);
    let there = EventStream::open(&at(&db.url, &standby)).unwrap();
    let audit = there.consumer("app", "Audit").unwrap();
    for attempt in 0..3 {
        assert_eq!(failure(audit.poll(None, &Want::all())), ErrorKind::UnsafeServer, "{attempt}");
        assert_eq!(failure(audit.register()), ErrorKind::UnsafeServer);
        assert_eq!(failure(audit.acknowledge(1)), ErrorKind::UnsafeServer);
        assert_eq!(
            failure(there.live("x").unwrap().poll(Some(0), &Want::all())),
            ErrorKind::UnsafeServer
        );
        assert_eq!(failure(there.add_event("EVENT", &1)), ErrorKind::UnsafeServer);
        assert_eq!(failure(there.migrate()), ErrorKind::UnsafeServer);
        assert_eq!(failure(audit.unregister()), ErrorKind::UnsafeServer);
        assert_eq!(failure(there.lag()), ErrorKind::UnsafeServer);
        let subscribed = there.subscribe("app", "Audit", Want::all(), &Options::new());
        assert!(subscribed.is_err() || subscribed.unwrap().next(Duration::from_secs(1)).is_err());
    }
    let folder = tempfile::tempdir().unwrap();
    let dwh = Warehouse::open(&format!("sqlite://{}/h.db", folder.path().display())).unwrap();
    dwh.migrate().unwrap();
    let archiver = Archiver::new(&there, &dwh, &Options::new()).unwrap();
    assert_eq!(failure(archiver.run_once()), ErrorKind::UnsafeServer);
    let discarder = Discarder::new(&there, &Options::new()).unwrap();
    assert_eq!(failure(discarder.run_once()), ErrorKind::UnsafeServer);
    let history = Warehouse::open(&at(&db.url, &standby)).unwrap();
    assert_eq!(failure(history.migrate()), ErrorKind::UnsafeServer);
    Warehouse::open(&db.url).unwrap().migrate().unwrap();
    let archiver = Archiver::new(&stream, &history, &Options::new()).unwrap();
    eventually("refused", || failure(archiver.run_once()) == ErrorKind::UnsafeServer);
    drop((there, stream, db));
    drop_pair("refused");
}

#[test]
fn a_subscriber_that_applies_the_events_of_another_server_is_refused() {
    let Some(publisher) = Spare::make("publisher", "postgres", &["-c", "wal_level=logical"]) else {
        return;
    };
    let Some(subscriber) = Spare::make("subscriber", "postgres", &[]) else { return };
    let db = publisher.db();
    let stream = db.stream();
    stream.consumer("app", "Audit").unwrap().register().unwrap();
    db.raw().exec("CREATE PUBLICATION events FOR TABLE evt_queue");
    subscriber.root().exec(&format!("CREATE DATABASE {}", db.name));
    let url = at(&db.url, &subscriber);
    let there = EventStream::open(&url).unwrap();
    there.migrate().unwrap();
    let mut raw = crate::support::Raw::connect(db.kind, &url);
    raw.exec(&format!("CREATE SUBSCRIPTION events CONNECTION '{}' PUBLICATION events", db.url));
    let audit = there.consumer("app", "Audit").unwrap();
    let error = audit.register().and_then(|()| audit.poll(None, &Want::all()).map(drop));
    let error = error.expect_err("a refusal");
    let options = Options::new().set("single_writer_node", "true").unwrap();
    let promised = EventStream::open_with(&url, &options).unwrap();
    let promised = promised.live("app").unwrap().poll(Some(0), &Want::all());
    raw.exec("DROP SUBSCRIPTION events");
    assert_eq!(error.kind(), ErrorKind::UnsafeServer, "{error}");
    assert!(error.to_string().contains("single_writer_node=true"), "{error}");
    promised.unwrap();
    drop((stream, there, db));
    Spare::drop("postgres-subscriber");
    Spare::drop("postgres-publisher");
}

#[test]
fn an_application_follows_the_address_to_the_new_primary() {
    let Some((primary, standby)) = pair("failover") else { return };
    let db = primary.db();
    let proxy = Proxy::before(&primary.url);
    let stream = EventStream::open(&proxy.url(&db.url)).unwrap();
    stream.migrate().unwrap();
    let (sender, received) = channel();
    let receiver =
        ReliableReceiver::new(&stream, "app", "Audit", ReceiverOptions::new(), move |delivery| {
            delivery.events.iter().try_for_each(|event| sender.send(event.id)).map_err(Into::into)
        })
        .unwrap();
    receiver.start().unwrap();
    let first = stream.add_event("EVENT", &1).unwrap();
    assert_eq!(received.recv_timeout(Duration::from_secs(10)), Ok(first));
    caught_up(&standby, &db.name, 1);
    // The address leads to the standby before it is promoted: that must not spoil the pool.
    proxy.point_to(&standby.url);
    proxy.cut();
    let end = Instant::now() + Duration::from_secs(20);
    while failure_kind(&stream) != Some(ErrorKind::UnsafeServer) {
        assert!(Instant::now() < end, "the standby was never met");
    }
    standby.root().texts("SELECT pg_promote()");
    let second = loop {
        match stream.add_event("EVENT", &2) {
            Ok(id) => break id,
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(50)),
            Err(error) => panic!("{error}"),
        }
    };
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if received.recv_timeout(left).expect("the receiver is deaf") == second {
            break;
        }
    }
    let audit = stream.consumer("app", "Other").unwrap();
    audit.register().unwrap();
    let ids: Vec<_> = audit.poll(None, &Want::all()).unwrap().iter().map(|e| e.id).collect();
    assert_eq!(ids.last(), Some(&second));
    receiver.stop();
    drop((stream, db));
    drop_pair("failover");
}

fn failure_kind(stream: &EventStream) -> Option<ErrorKind> {
    stream.add_event("EVENT", &0).err().map(|error| error.kind())
}

on_servers!(a_sequence_that_is_altered_is_refused_within_a_second, [postgres, postgres18], |db| {
    let stream = db.stream();
    let audit = stream.consumer("app", "Audit").unwrap();
    audit.register().unwrap();
    for (alter, mend) in
        [("CACHE 10", "CACHE 1"), ("INCREMENT 2", "INCREMENT 1"), ("CYCLE", "NO CYCLE")]
    {
        let id = stream.add_event("EVENT", &1).unwrap();
        let events = audit.poll(None, &Want::all()).unwrap();
        assert_eq!(events.last().unwrap().id, id);
        audit.acknowledge(id).unwrap();
        db.raw().exec(&format!("ALTER SEQUENCE evt_queue_id_seq {alter}"));
        let end = Instant::now() + Duration::from_secs(10);
        let error = loop {
            let polled = audit.poll(None, &Want::all());
            match polled {
                Err(error) => break error,
                Ok(_) => assert!(Instant::now() < end, "{alter} goes unseen"),
            }
        };
        assert_eq!(error.kind(), ErrorKind::UnsafeServer, "{alter}: {error}");
        assert!(error.to_string().contains("ALTER SEQUENCE"), "{error}");
        db.raw().exec(&format!("ALTER SEQUENCE evt_queue_id_seq {mend}"));
        db.raw().exec("SELECT setval('evt_queue_id_seq', (SELECT max(id) FROM evt_queue) + 20)");
    }
    let id = stream.add_event("EVENT", &1).unwrap();
    assert_eq!(audit.poll(None, &Want::all()).unwrap().last().unwrap().id, id);
});

on_servers!(rows_that_row_level_security_hides_are_an_error, [postgres, postgres18], |db| {
    let stream = db.stream();
    stream.consumer("app", "Audit").unwrap().register().unwrap();
    stream.add_event("VISIBLE", &1).unwrap();
    stream.add_event("HIDDEN", &1).unwrap();
    let role = format!("{}_limited", db.name);
    let mut raw = db.raw();
    raw.exec(&format!("CREATE ROLE {role} LOGIN PASSWORD 'fes-Test-1'"));
    raw.exec(&format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"));
    raw.exec(&format!("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}"));
    raw.exec("ALTER TABLE evt_queue ENABLE ROW LEVEL SECURITY");
    raw.exec("CREATE POLICY visible_only ON evt_queue USING (type = 'VISIBLE')");
    let url = db.url_with(|url| {
        url.set_username(&role).unwrap();
        url.set_password(Some("fes-Test-1")).unwrap();
    });
    let limited = EventStream::open(&url).unwrap();
    let error = limited.consumer("app", "Audit").unwrap().poll(None, &Want::all()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    let text = error.to_string();
    assert!(
        text.contains(&role) && text.contains("visible_only") && text.contains("evt_queue"),
        "{text}"
    );
    let folder = tempfile::tempdir().unwrap();
    let dwh = Warehouse::open(&format!("sqlite://{}/h.db", folder.path().display())).unwrap();
    dwh.migrate().unwrap();
    let archiver = Archiver::new(&limited, &dwh, &Options::new()).unwrap();
    assert_eq!(failure(archiver.run_once()), ErrorKind::PermissionDenied);
    raw.exec(&format!("ALTER ROLE {role} BYPASSRLS"));
    let free = EventStream::open(&url).unwrap();
    assert_eq!(free.consumer("app", "Audit").unwrap().poll(None, &Want::all()).unwrap().len(), 2);
    drop((limited, free, archiver));
    raw.exec(&format!("DROP OWNED BY {role}"));
    raw.exec(&format!("DROP ROLE {role}"));
});

#[test]
fn a_pool_that_is_led_to_a_standby_is_refused_while_the_watch_is_at_the_primary() {
    let Some((primary, standby)) = pair("balanced") else { return };
    let db = primary.db();
    let direct = db.stream();
    direct.consumer("app", "Audit").unwrap().register().unwrap();
    let first = direct.add_event("EVENT", &1).unwrap();
    caught_up(&standby, &db.name, 1);
    let proxy = Proxy::before(&primary.url);
    let stream = EventStream::open(&proxy.url(&db.url)).unwrap();
    let audit = stream.consumer("app", "Audit").unwrap();
    // A gap, so that the session that looks is opened at the primary, where it stays.
    let mut undone = direct.begin().unwrap();
    undone.add_event("UNDONE", &2).unwrap();
    undone.rollback().unwrap();
    let second = direct.add_event("EVENT", &3).unwrap();
    let polled = audit.poll(None, &Want::all()).unwrap();
    assert_eq!(polled.iter().map(|event| event.id).collect::<Vec<_>>(), [first, second]);
    // All others are taken, so that the next connection of the pool is a new one, at the standby.
    let mut taken = Vec::new();
    let start = Instant::now();
    proxy.point_to(&standby.url);
    loop {
        match audit.poll(None, &Want::all()) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::UnsafeServer, "{error}");
                break;
            }
            Ok(_) => taken.push(stream.begin().unwrap()),
        }
        assert!(start.elapsed() < Duration::from_secs(20), "the standby was never met");
    }
    // That connection is given up, and the next one is led to the primary.
    proxy.point_to(&primary.url);
    assert_eq!(audit.poll(None, &Want::all()).unwrap().len(), 2);
    drop((taken, stream, direct, db));
    drop_pair("balanced");
}

on_servers!(
    ids_that_are_allocated_again_after_setval_are_told_and_none_is_lost,
    [postgres, postgres18],
    |db| {
        let stream = db.stream();
        let audit = stream.consumer("app", "Audit").unwrap();
        audit.register().unwrap();
        let last = (0..10).fold(0, |_, n| stream.add_event("FIRST", &n).unwrap());
        assert_eq!(audit.poll(None, &Want::all()).unwrap().len(), 10);
        audit.acknowledge(last).unwrap();
        // While the rows are there, the database itself refuses their ids.
        db.raw().texts("SELECT setval('evt_queue_id_seq', 3)");
        assert_eq!(failure(stream.add_event("SECOND", &0)), ErrorKind::Constraint);
        db.raw().exec("DELETE FROM evt_queue");
        db.raw().texts("SELECT setval('evt_queue_id_seq', 3)");
        let ids: Vec<_> = (0..10).map(|n| stream.add_event("SECOND", &n).unwrap()).collect();
        assert_eq!(ids, (4..=13).collect::<Vec<_>>());
        let start = Instant::now();
        let (mut got, mut rewound, mut position) = (Vec::new(), 0, Some(last));
        while got.len() < ids.len() && start.elapsed() < Duration::from_secs(20) {
            match audit.poll(position, &Want::all()) {
                Ok(events) => {
                    position = events.last().map_or(position, |event| Some(event.id));
                    got.extend(events.iter().map(|event| event.id));
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::StreamRewound, "{error}");
                    rewound += 1;
                    position = None;
                }
            }
        }
        assert_eq!((got, rewound), (ids, 1));
    }
);
