//! What is no rewind, and everything else that reads.

use super::*;

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
    db.truncate();
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
    let mut raw = crate::support::Raw::connect(DatabaseKind::Sqlite, &url);
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
    let mut replay = warehouse.replay(&stream, 1, &Want::all());
    add(&stream, "first", 40);
    let mut last = live.poll(Some(0), &Want::all()).unwrap().last().map(|event| event.id);
    while !replay.next(100).unwrap().is_empty() {}
    db.truncate();
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
        match replay.next(100) {
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
    for anew in [Db::truncate as fn(&Db), recreate] {
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
        db.truncate();
    }
});

on_each_server!(a_stream_without_the_column_works_as_before, |db| {
    let stream = db.stream();
    db.raw().exec("ALTER TABLE evt_consumers DROP COLUMN mark");
    let consumer = stream.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();
    add(&stream, "first", 20);
    assert_eq!(drain(&consumer, &mut None, &Want::all()).0.len(), 20);
    db.truncate();
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
