//! A stream that was rewound: a restore, a failover that lost commits, a table made anew. Nothing that
//! is there afterwards is passed over, no cursor is written over one that went back, and everybody is
//! told once.

mod support;

use futoin_eventstream::{
    Archiver, Consumer, DatabaseKind, Discarder, ErrorKind, Event, EventStream, HistoryNotice,
    Notice, Options, ReceiverOptions, ReliableReceiver, Want, Warehouse,
};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::Db;

/// Waits until it is so, for 20 s at most.
#[track_caller]
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Adds events with data of their own: `life` and a number.
fn add(stream: &EventStream, life: &str, count: usize) -> Vec<u64> {
    (0..count).map(|n| stream.add_event("ADDED", &format!("{life} {n}")).unwrap()).collect()
}

fn cursor(db: &Db, ident: &str) -> u64 {
    let of = format!("FROM evt_consumers WHERE ident = '{ident}'");
    let sql = format!("SELECT coalesce(max(last_evt_id), 0) {of}");
    db.raw().number(&sql) as u64
}

/// Keeps the state of both tables, to be restored later.
fn dump(db: &Db) {
    let mut raw = db.raw();
    for table in ["evt_queue", "evt_consumers"] {
        raw.exec(&format!("CREATE TABLE dump_{table} AS SELECT * FROM {table}"));
    }
}

/// Brings back the state that was kept, ids included, in one go where the database can.
fn restore(db: &Db) {
    let mut raw = db.raw();
    raw.exec("BEGIN");
    for table in ["evt_queue", "evt_consumers"] {
        raw.exec(&format!("DELETE FROM {table}"));
        raw.exec(&format!("INSERT INTO {table} SELECT * FROM dump_{table}"));
    }
    let last = raw.number("SELECT coalesce(max(id), 0) FROM evt_queue");
    match db.kind {
        DatabaseKind::Sqlite => {
            raw.exec(&format!("UPDATE sqlite_sequence SET seq = {last} WHERE name = 'evt_queue'"));
        }
        DatabaseKind::Postgres => {
            raw.exec(&format!(
                "SELECT setval('evt_queue_id_seq', greatest({last}, 1), {last} > 0)"
            ));
        }
        DatabaseKind::Mysql => {}
    }
    raw.exec("COMMIT");
    if db.kind == DatabaseKind::Mysql {
        raw.exec(&format!("ALTER TABLE evt_queue AUTO_INCREMENT = {}", last + 1));
    }
}

/// Empties the event table so that ids begin anew; the consumers stay.
fn truncate(db: &Db) {
    let sql = match db.kind {
        DatabaseKind::Sqlite => {
            "BEGIN; DELETE FROM evt_queue; \
             DELETE FROM sqlite_sequence WHERE name = 'evt_queue'; COMMIT"
        }
        DatabaseKind::Postgres => "TRUNCATE evt_queue RESTART IDENTITY",
        DatabaseKind::Mysql => "TRUNCATE TABLE evt_queue",
    };
    db.raw().exec(sql);
}

/// Drops the event table and makes it anew; the consumers stay.
fn recreate(db: &Db) {
    let mut raw = db.raw();
    match db.kind {
        DatabaseKind::Sqlite => {
            let sql = raw.texts("SELECT sql FROM sqlite_master WHERE name = 'evt_queue'").remove(0);
            raw.exec("DROP TABLE evt_queue");
            raw.exec(&sql);
        }
        DatabaseKind::Postgres => raw.exec(
            "CREATE TABLE anew (id bigserial PRIMARY KEY, type varchar(16) NOT NULL, \
             data json NOT NULL, ts timestamp NOT NULL); DROP TABLE evt_queue; \
             ALTER TABLE anew RENAME TO evt_queue; \
             ALTER SEQUENCE anew_id_seq RENAME TO evt_queue_id_seq",
        ),
        DatabaseKind::Mysql => {
            raw.exec("CREATE TABLE anew LIKE evt_queue");
            raw.exec("DROP TABLE evt_queue");
            raw.exec("RENAME TABLE anew TO evt_queue");
        }
    }
}

/// A receiver that notes what it gets, and the kinds of its errors.
struct Noting {
    receiver: ReliableReceiver,
    got: Arc<Mutex<Vec<Event>>>,
    errors: Arc<Mutex<Vec<(ErrorKind, String)>>>,
}

impl Noting {
    fn start(stream: &EventStream, component: &str, options: &[(&str, &str)]) -> Noting {
        let got = Arc::<Mutex<Vec<Event>>>::default();
        let errors = Arc::<Mutex<Vec<(ErrorKind, String)>>>::default();
        let (mine, noted) = (got.clone(), errors.clone());
        let options = options
            .iter()
            .fold(Options::new(), |options, (name, value)| options.set(name, value).unwrap());
        let options = ReceiverOptions::new().options(options).on_notice(move |notice| {
            if let Notice::WorkerError(error) = notice {
                noted.lock().unwrap().push((error.kind(), error.to_string()));
            }
        });
        let receiver = ReliableReceiver::new(stream, "app", component, options, move |delivery| {
            mine.lock().unwrap().extend(delivery.events.iter().map(|event| (**event).clone()));
            Ok(())
        });
        let receiver = receiver.unwrap();
        receiver.start().unwrap();
        Noting { receiver, got, errors }
    }

    fn ids(&self) -> Vec<u64> {
        self.got.lock().unwrap().iter().map(|event| event.id).collect()
    }

    fn of(&self, life: &str) -> Vec<u64> {
        of(&self.got.lock().unwrap(), life)
    }

    fn rewound(&self) -> usize {
        let errors = self.errors.lock().unwrap();
        errors.iter().filter(|(kind, _)| *kind == ErrorKind::StreamRewound).count()
    }
}

/// The ids of the events of a life.
fn of(events: &[Event], life: &str) -> Vec<u64> {
    let begin = format!("\"{life} ");
    let events = events.iter().filter(|event| event.data.as_str().starts_with(&begin));
    events.map(|event| event.id).collect()
}

/// Polls to the end as a caller does that keeps its last id over errors; counts those of rewinds.
fn drain(consumer: &Consumer, last: &mut Option<u64>, want: &Want) -> (Vec<Event>, usize) {
    let (mut got, mut rewound) = (Vec::new(), 0);
    loop {
        match consumer.poll(*last, want) {
            Ok(events) if events.is_empty() => return (got, rewound),
            Ok(events) => {
                *last = events.last().map(|event| event.id);
                got.extend(events);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StreamRewound, "{error}");
                assert!(error.is_retriable());
                rewound += 1;
                assert!(rewound < 5, "told again and again: {error}");
            }
        }
    }
}

on_each_server!(a_receiver_gets_every_event_after_a_restore_that_killed_its_sessions, |db| {
    let stream = db.stream_with(&[("ack_interval_ms", "1")]);
    let audit = Noting::start(&stream, "Audit", &[]);
    until("the registration", || {
        db.raw().number("SELECT count(*) FROM evt_consumers WHERE ident = 'app:Audit'") == 1
    });
    add(&stream, "first", 50);
    until("the first events", || cursor(db, "app:Audit") == 50);
    dump(db);
    add(&stream, "lost", 50);
    until("the lost events", || cursor(db, "app:Audit") == 100);
    restore(db);
    db.kill_sessions();
    let writer = EventStream::open(&db.url).unwrap();
    let ids = add(&writer, "second", 80);
    assert_eq!(ids, (51..=130).collect::<Vec<_>>());
    until("the new events", || audit.of("second") == ids);
    until("the cursor", || cursor(db, "app:Audit") == 130);
    until("the notice", || audit.rewound() == 1);
    audit.receiver.stop();
    assert_eq!(audit.rewound(), 1);
    assert_eq!(audit.of("first"), (1..=50).collect::<Vec<_>>());
});

on_each_server!(a_receiver_does_not_write_over_a_cursor_that_went_back, |db| {
    let stream = db.stream_with(&[("ack_interval_ms", "1")]);
    let audit = Noting::start(&stream, "Audit", &[]);
    add(&stream, "first", 20);
    until("the first events", || audit.ids().len() == 20 && cursor(db, "app:Audit") == 20);
    db.raw().exec("UPDATE evt_consumers SET last_evt_id = 5");
    stream.add_event("ADDED", &"more 0").unwrap();
    until("those behind the cursor", || audit.ids().len() >= 20 + 16);
    assert_eq!(audit.ids()[audit.ids().len() - 16..], (6..=21).collect::<Vec<_>>());
    until("the notice", || audit.rewound() == 1);
});

on_each_server!(a_reconnect_repeats_nothing_and_complains_of_nothing, |db| {
    let stream = db.stream_with(&[("ack_interval_ms", "1")]);
    let consumer = stream.consumer("app", "Poller").unwrap();
    consumer.register().unwrap();
    let audit = Noting::start(&stream, "Audit", &[]);
    let (mut last, mut polled) = (None, Vec::new());
    for round in 0..5 {
        let upto = add(&stream, "first", 10).pop().unwrap();
        until("the events", || audit.ids().last() == Some(&upto));
        let (events, rewound) = drain(&consumer, &mut last, &Want::all());
        assert_eq!(rewound, 0);
        polled.extend(events.iter().map(|event| event.id));
        // Half the time what was acknowledged is not stored yet.
        if round % 2 == 0 {
            until("the cursor", || cursor(db, "app:Audit") == upto);
        }
        db.kill_sessions();
        until("a connection", || stream.lag().is_ok());
    }
    let upto = add(&stream, "first", 10).pop().unwrap();
    until("the events", || audit.ids().last() == Some(&upto));
    audit.receiver.stop();
    assert_eq!(audit.rewound(), 0, "{:?}", audit.errors);
    let unique: BTreeSet<u64> = audit.ids().into_iter().collect();
    assert_eq!(unique.len() as u64, upto, "lost");
    // What was given and not acknowledged at that moment may come again: one event each time.
    assert!(audit.ids().len() <= unique.len() + 5 * 10, "{:?}", audit.ids());
    let (events, _) = drain(&consumer, &mut last, &Want::all());
    polled.extend(events.iter().map(|event| event.id));
    assert_eq!(polled, (1..=upto).collect::<Vec<_>>());
});

on_each_server!(a_poller_gets_every_event_after_a_restore, |db| {
    for kill in [true, false] {
        let stream = db.stream();
        for (name, want) in [("All", Want::all()), ("Some", Want::types(&["ADDED"]).unwrap())] {
            let consumer = stream.consumer("app", name).unwrap();
            consumer.register().unwrap();
            let mut last = None;
            let first = add(&stream, "first", 50);
            drain(&consumer, &mut last, &want);
            dump(db);
            add(&stream, "lost", 50);
            drain(&consumer, &mut last, &want);
            restore(db);
            if kill {
                db.kill_sessions();
            }
            let writer = EventStream::open(&db.url).unwrap();
            let ids = add(&writer, "second", 80);
            assert_eq!(ids[0], first[49] + 1);
            // The caller acknowledges an event that is another one now.
            let (got, rewound) = drain(&consumer, &mut last, &want);
            assert_eq!((of(&got, "second"), rewound), (ids.clone(), 1), "{name} {kill}");
            assert_eq!(cursor(db, &format!("app:{name}")), *ids.last().unwrap());
            assert_eq!(drain(&consumer, &mut last, &want).0.len(), 0);
            consumer.unregister().unwrap();
            db.raw().exec("DROP TABLE dump_evt_queue");
            db.raw().exec("DROP TABLE dump_evt_consumers");
        }
    }
});

on_each_server!(
    a_stream_that_began_anew_and_overtook_the_cursor_is_read_from_its_beginning,
    |db| {
        for anew in [truncate, recreate] {
            let stream = db.stream();
            let consumers = [("All", Want::all()), ("Some", Want::types(&["ADDED"]).unwrap())]
                .map(|(name, want)| (stream.consumer("app", name).unwrap(), want, name));
            let mut last = [None; 2];
            add(&stream, "first", 20);
            for ((consumer, want, _), last) in consumers.iter().zip(&mut last) {
                consumer.register().unwrap();
                drain(consumer, last, want);
            }
            anew(db);
            let ids = add(&stream, "second", 30);
            assert_eq!(ids, (1..=30).collect::<Vec<_>>());
            for ((consumer, want, name), last) in consumers.iter().zip(&mut last) {
                let mut got = Vec::new();
                let mut told = 0;
                until("all events", || {
                    let (more, rewound) = drain(consumer, last, want);
                    got.extend(more);
                    told += rewound;
                    told == 1 && ids.iter().all(|id| of(&got, "second").contains(id))
                });
                assert_eq!(cursor(db, &format!("app:{name}")), 30);
                consumer.unregister().unwrap();
            }
            truncate(db);
        }
    }
);

on_each_server!(a_receiver_reads_a_stream_that_began_anew_from_its_beginning, |db| {
    let stream = db.stream_with(&[("ack_interval_ms", "1")]);
    let audit = Noting::start(&stream, "Audit", &[]);
    let types = Noting::start(&stream, "Second", &[]);
    add(&stream, "first", 20);
    until("the first events", || cursor(db, "app:Audit") == 20 && cursor(db, "app:Second") == 20);
    truncate(db);
    let ids = add(&stream, "second", 30);
    for receiver in [&audit, &types] {
        until("all of the new events", || ids.iter().all(|id| receiver.of("second").contains(id)));
        until("the notice", || receiver.rewound() >= 1);
    }
    until("the cursor", || cursor(db, "app:Audit") == 30);
});

on_each_server!(what_is_no_rewind_is_not_told, |db| {
    let stream = db.stream_with(&[("ack_interval_ms", "1")]);
    let audit = Noting::start(&stream, "Audit", &[]);
    let consumer = stream.consumer("app", "Poller").unwrap();
    consumer.register().unwrap();
    let mut last = None;
    let maintenance: &[&str] = match db.kind {
        DatabaseKind::Sqlite => &["VACUUM", "ALTER TABLE evt_queue ADD COLUMN more TEXT"],
        DatabaseKind::Postgres => &[
            "VACUUM FULL evt_queue",
            "ALTER TABLE evt_queue ADD COLUMN more uuid DEFAULT gen_random_uuid()",
            "ALTER TABLE evt_queue ALTER COLUMN type TYPE varchar(32)",
            "ALTER TABLE evt_queue ALTER COLUMN data TYPE jsonb USING data::jsonb",
        ],
        DatabaseKind::Mysql => &[
            "OPTIMIZE TABLE evt_queue",
            "ALTER TABLE evt_queue ADD COLUMN more TEXT",
            "ALTER TABLE evt_queue ENGINE=InnoDB",
        ],
    };
    // The npm package discards everything, also the highest event.
    let discarding = "DELETE FROM evt_queue";
    let mut count = 0;
    for sql in maintenance.iter().chain(&[discarding, maintenance[0], discarding]) {
        count += 10;
        let upto = add(&stream, "first", 10).pop().unwrap();
        until("the events", || cursor(db, "app:Audit") == upto);
        let (events, rewound) = drain(&consumer, &mut last, &Want::all());
        assert_eq!((events.len(), rewound), (10, 0), "before {sql}");
        // The server may end it as a deadlock with readers.
        until(sql, || db.raw().try_exec(sql).is_ok());
        // The server is asked each second.
        std::thread::sleep(Duration::from_millis(1100));
        assert_eq!(drain(&consumer, &mut last, &Want::all()).1, 0, "{sql}");
        let fresh = EventStream::open(&db.url).unwrap();
        let again = fresh.consumer("app", "Poller").unwrap();
        assert_eq!(drain(&again, &mut None, &Want::all()).1, 0, "{sql}");
    }
    until("all events", || audit.ids().len() >= count);
    assert_eq!(audit.rewound(), 0, "{:?}", audit.errors);
    assert_eq!(audit.ids(), (1..=count as u64).collect::<Vec<_>>());
});

on_each_server!(an_id_of_before_acknowledges_nothing, |db| {
    let stream = db.stream();
    let consumer = stream.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();
    add(&stream, "first", 40);
    assert_eq!(consumer.poll(None, &Want::all()).unwrap().len(), 40);
    truncate(db);
    add(&stream, "second", 60);
    db.kill_sessions();
    // Where no session breaks, the server is asked each second.
    std::thread::sleep(Duration::from_millis(1100));
    let told = consumer.acknowledge(40);
    assert_eq!(told.err().map(|error| error.kind()), Some(ErrorKind::StreamRewound));
    assert_eq!(cursor(db, "app:Audit"), 0);
    let mut got = Vec::new();
    until("all events", || {
        let polled = consumer.poll_at_most(Some(40), &Want::all(), 10);
        got.extend(polled.unwrap_or_default().iter().map(|event| event.id));
        !got.is_empty()
    });
    assert_eq!(got, (1..=10).collect::<Vec<_>>());
    consumer.acknowledge(40).unwrap();
    assert_eq!(cursor(db, "app:Audit"), 0);
    consumer.acknowledge(10).unwrap();
    assert_eq!(cursor(db, "app:Audit"), 10);
    // Nonsense stays nonsense.
    let error = consumer.acknowledge(1000).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidLastId);
});

on_each_server!(an_archiver_does_not_acknowledge_what_the_history_lacks, |db| {
    let stream = db.stream();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("history.db").display());
    let warehouse = Warehouse::open(&url).unwrap();
    warehouse.migrate().unwrap();
    let archiver = Archiver::new(&stream, &warehouse, &Options::new()).unwrap();
    let told = Arc::<Mutex<Vec<ErrorKind>>>::default();
    let noted = told.clone();
    archiver.on_notice(move |notice| match notice {
        HistoryNotice::WorkerError(error) | HistoryNotice::Stopped(Some(error)) => {
            noted.lock().unwrap().push(error.kind());
        }
        _ => {}
    });
    archiver.start().unwrap();
    let ident = "-internal:ARCHIVER";
    add(&stream, "first", 50);
    until("the first events", || {
        db.raw().texts(&format!("SELECT last_evt_id FROM evt_consumers WHERE ident = '{ident}'"))
            == ["50"]
    });
    dump(db);
    add(&stream, "lost", 50);
    until("the lost events", || cursor(db, ident) == 100);
    restore(db);
    db.kill_sessions();
    let writer = EventStream::open(&db.url).unwrap();
    add(&writer, "second", 80);
    until("the end", || !archiver.is_running());
    let told = told.lock().unwrap().clone();
    assert!(told.contains(&ErrorKind::StreamRewound), "{told:?}");
    assert_eq!(told.last(), Some(&ErrorKind::HistoryConflict));
    assert_eq!(cursor(db, ident), 50);
    // Where the history has lost the same, all of it is archived.
    let mut raw = support::Raw::connect(DatabaseKind::Sqlite, &url);
    raw.exec("DELETE FROM evt_history WHERE id > 50");
    Archiver::new(&writer, &warehouse, &Options::new()).unwrap().run_once().unwrap();
    assert_eq!(raw.number("SELECT count(*) FROM evt_history"), 130);
    assert_eq!(cursor(db, ident), 130);
});

on_each_server!(live_consumers_and_replays_go_on_and_say_so, |db| {
    let stream = db.stream();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("history.db").display());
    let warehouse = Warehouse::open(&url).unwrap();
    warehouse.migrate().unwrap();
    let live = stream.live("app").unwrap();
    let mut replay = warehouse.history_then_live(&stream, 1, &Want::all());
    add(&stream, "first", 40);
    let mut last = live.poll(Some(0), &Want::all()).unwrap().last().map(|event| event.id);
    while !replay.next_events(100).unwrap().is_empty() {}
    truncate(db);
    add(&stream, "second", 10);
    let mut told = 0;
    let mut got = Vec::new();
    until("the notice of the LIVE consumer", || {
        match live.poll(last, &Want::all()) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StreamRewound, "{error}");
                told += 1;
                stream.add_event("ADDED", &"second 10").unwrap();
            }
            Ok(events) => {
                last = events.last().map(|event| event.id).or(last);
                got.extend(events.iter().map(|event| event.id));
            }
        }
        got.last() == Some(&11)
    });
    assert_eq!(told, 1);
    let mut told = 0;
    let mut got: Vec<u64> = Vec::new();
    until("the notice of the replay", || {
        match replay.next_events(100) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StreamRewound, "{error}");
                told += 1;
                stream.add_event("ADDED", &"second 11").unwrap();
            }
            Ok(events) => got.extend(events.iter().map(|event| event.id)),
        }
        got.last() == Some(&12)
    });
    assert_eq!(told, 1);
});

on_each_server!(a_new_process_notices_that_the_stream_began_anew_and_overtook_its_cursor, |db| {
    for anew in [truncate, recreate] {
        let stream = db.stream();
        let consumer = stream.consumer("app", "Audit").unwrap();
        consumer.register().unwrap();
        add(&stream, "first", 20);
        assert_eq!(drain(&consumer, &mut None, &Want::all()).0.len(), 20);
        stream.close();
        anew(db);
        let writer = EventStream::open(&db.url).unwrap();
        let ids = add(&writer, "second", 30);
        // Nor does a discarder take the new events for acknowledged.
        Discarder::new(&writer, &Options::new()).unwrap().run_once().unwrap();
        let other = EventStream::open(&db.url).unwrap();
        let again = other.consumer("app", "Audit").unwrap();
        let (got, told) = drain(&again, &mut None, &Want::types(&["ADDED"]).unwrap());
        assert_eq!(of(&got, "second"), ids);
        // The discarder has set it back already.
        assert_eq!(told, 0);
        anew(db);
        add(&writer, "third", 40);
        let third = EventStream::open(&db.url).unwrap().consumer("app", "Audit").unwrap();
        let (got, told) = drain(&third, &mut None, &Want::all());
        assert_eq!((of(&got, "third").len(), told), (40, 1));
        third.unregister().unwrap();
        truncate(db);
    }
});

on_each_server!(a_stream_without_the_column_works_as_before, |db| {
    let stream = db.stream();
    db.raw().exec("ALTER TABLE evt_consumers DROP COLUMN mark");
    let consumer = stream.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();
    add(&stream, "first", 20);
    assert_eq!(drain(&consumer, &mut None, &Want::all()).0.len(), 20);
    truncate(db);
    std::thread::sleep(Duration::from_millis(1100));
    let mut last = Some(20);
    let (_, told) = drain(&consumer, &mut last, &Want::all());
    assert_eq!(told, 1);
    let ids = add(&stream, "second", 30);
    assert_eq!(of(&drain(&consumer, &mut last, &Want::all()).0, "second"), ids);
    // The npm package moves the cursor and knows nothing of the column.
    stream.migrate().unwrap();
    db.raw().exec("UPDATE evt_schema SET version = version");
});

on_servers!(a_file_that_was_replaced_is_an_error_and_then_the_new_one_is_used, [sqlite], |db| {
    let stream = db.stream();
    let consumer = stream.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();
    add(&stream, "first", 10);
    drain(&consumer, &mut None, &Want::all());
    // A copy as of a backup, with its own identity.
    let copy = db.path().with_extension("copy");
    db.raw().exec(&format!("VACUUM INTO '{}'", copy.display()));
    add(&stream, "lost", 10);
    let mut last = None;
    drain(&consumer, &mut last, &Want::all());
    for end in ["-wal", "-shm"] {
        let mut name = db.path().into_os_string();
        name.push(end);
        let _ = std::fs::remove_file(name);
    }
    std::fs::rename(&copy, db.path()).unwrap();
    let error = stream.add_event("ADDED", &"nowhere 0").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
    assert!(error.to_string().contains("replaced"), "{error}");
    let mut ids = Vec::new();
    until("the new file", || match stream.add_event("ADDED", &format!("second {}", ids.len())) {
        Ok(id) => {
            ids.push(id);
            ids.len() == 15
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
            false
        }
    });
    assert_eq!(ids, (11..=25).collect::<Vec<_>>());
    let (got, told) = drain(&consumer, &mut last, &Want::all());
    assert_eq!((of(&got, "second"), told), (ids, 1));
    // Also where nobody writes.
    let idle = EventStream::open(&db.url).unwrap();
    let reader = idle.consumer("app", "Audit").unwrap();
    assert!(reader.poll(None, &Want::all()).unwrap().is_empty());
    db.raw().exec(&format!("VACUUM INTO '{}'", copy.display()));
    std::fs::rename(&copy, db.path()).unwrap();
    let mut raw = db.raw();
    raw.exec(&db.insert_sql("OTHER"));
    until("the event in the new file", || {
        reader.poll(None, &Want::all()).is_ok_and(|events| events.len() == 1)
    });
});

on_each_server!(that_it_was_rewound_is_told_before_any_other_error, |db| {
    let stream = db.stream_with(&[("ack_interval_ms", "1")]);
    stream.consumer("app", "Audit").unwrap().register().unwrap();
    let audit = stream.subscribe("app", "Audit", Want::all(), &Options::new()).unwrap();
    let live = stream.subscribe("app", "LIVE", Want::all(), &Options::new()).unwrap();
    let upto = add(&stream, "first", 20).pop().unwrap();
    until("the first events", || {
        if audit.next(Duration::from_millis(10)).unwrap().is_some() {
            audit.ack().unwrap();
        }
        cursor(db, "app:Audit") == upto
    });
    truncate(db);
    add(&stream, "second", 5);
    until("the cursor that is set back", || cursor(db, "app:Audit") == 0);
    // Nobody asks, and then the hub fails.
    db.raw().exec("ALTER TABLE evt_queue RENAME TO away");
    until("the failure", || match live.next(Duration::from_millis(10)) {
        Ok(delivery) => {
            delivery.iter().for_each(|_| live.ack().unwrap());
            false
        }
        Err(error) => error.kind() != ErrorKind::StreamRewound,
    });
    db.raw().exec("ALTER TABLE away RENAME TO evt_queue");
    let first = audit.next(Duration::from_secs(20)).unwrap_err();
    assert_eq!(first.kind(), ErrorKind::StreamRewound, "{first}");
});

on_each_server!(a_consumer_whose_row_is_away_for_a_moment_goes_on, |db| {
    let stream = db.stream_with(&[("ack_interval_ms", "1")]);
    let audit = Noting::start(&stream, "Audit", &[]);
    let poller = stream.consumer("app", "Poller").unwrap();
    poller.register().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("history.db").display());
    let warehouse = Warehouse::open(&url).unwrap();
    warehouse.migrate().unwrap();
    let archiver = Archiver::new(&stream, &warehouse, &Options::new()).unwrap();
    let told = Arc::<Mutex<Vec<String>>>::default();
    let noted = told.clone();
    archiver.on_notice(move |notice| {
        if let HistoryNotice::WorkerError(error) = notice {
            noted.lock().unwrap().push(error.to_string());
        }
    });
    archiver.start().unwrap();
    let mut last = None;
    let mut raw = db.raw();
    for round in 1..4 {
        let upto = add(&stream, "first", 10).pop().unwrap();
        drain(&poller, &mut last, &Want::all());
        until("the events", || {
            cursor(db, "app:Audit") == upto && cursor(db, "-internal:ARCHIVER") == upto
        });
        raw.exec(&format!("CREATE TABLE away{round} AS SELECT * FROM evt_consumers"));
        raw.exec("DELETE FROM evt_consumers");
        stream.add_event("ADDED", &format!("first {round}")).unwrap();
        let polled = std::thread::scope(|scope| {
            let polled = scope.spawn(|| poller.poll(last, &Want::all()));
            std::thread::sleep(Duration::from_millis(200));
            raw.exec(&format!("INSERT INTO evt_consumers SELECT * FROM away{round}"));
            polled.join().unwrap()
        });
        last = polled.unwrap().last().map(|event| event.id);
        assert_eq!(last, Some(upto + 1));
    }
    until("the last event", || audit.ids().last() == last.as_ref());
    until("the cursor of the archiver", || cursor(db, "-internal:ARCHIVER") == last.unwrap());
    assert_eq!(*told.lock().unwrap(), [""; 0]);
    assert!(audit.errors.lock().unwrap().is_empty(), "{:?}", audit.errors);
    assert_eq!(audit.ids(), (1..=last.unwrap()).collect::<Vec<_>>());
});

on_each_server!(what_was_read_of_two_lives_within_a_second_is_noticed, |db| {
    let stream = db.stream();
    let consumer = stream.consumer("app", "Some").unwrap();
    consumer.register().unwrap();
    // What shows that a table was made anew has a resolution of a second on MySQL.
    std::thread::sleep(Duration::from_millis(1100));
    let want = Want::types(&["ADDED"]).unwrap();
    assert!(consumer.poll(None, &want).unwrap().is_empty());
    add(&stream, "first", 20);
    assert_eq!(consumer.poll(None, &want).unwrap().len(), 20);
    truncate(db);
    let ids = add(&stream, "second", 30);
    // Nobody has noticed yet, where the machine is not slow.
    let (mut got, mut told, mut last) = (Vec::new(), 0, Some(20));
    until("all of the new events", || {
        let (more, rewound) = drain(&consumer, &mut last, &want);
        (told, _) = (told + rewound, got.extend(more));
        ids.iter().all(|id| of(&got, "second").contains(id))
    });
    assert_eq!(told, 1);
    until("the cursor", || {
        drain(&consumer, &mut last, &want);
        cursor(db, "app:Some") == 30
    });
});

// What shows that a table was made anew has a resolution of a second on MySQL and MariaDB, so there a
// discarder can be led astray within one.
on_servers!(a_discarder_keeps_off_a_stream_that_began_anew, [sqlite, postgres, postgres18], |db| {
    let stream = db.stream();
    let consumer = stream.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();
    let options = Options::new().set("poll_period_ms", "5").unwrap();
    let discarder = Discarder::new(&stream, &options).unwrap();
    discarder.start().unwrap();
    let (mut last, mut raw) = (None, db.raw());
    for life in ["first", "second", "third", "fourth"] {
        let ids = add(&stream, life, 30);
        // The discarder knows that everything up to 30 was acknowledged, before.
        std::thread::sleep(Duration::from_millis(100));
        let mut got = Vec::new();
        until("all of the new events", || {
            got.extend(drain(&consumer, &mut last, &Want::all()).0);
            ids.iter().all(|id| of(&got, life).contains(id))
        });
        drain(&consumer, &mut last, &Want::all());
        until("that is discarded", || raw.number("SELECT count(*) FROM evt_queue") == 1);
        truncate(db);
    }
    assert!(discarder.is_running());
});
