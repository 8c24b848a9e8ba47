//! Files that were replaced, and two lives of a stream close together.

use super::*;

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
    db.truncate();
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
    db.truncate();
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

// What shows that a table was made anew has a resolution of a second on MySQL and MariaDB: there the last event of a
// cursor tells.
on_each_server!(a_discarder_keeps_off_a_stream_that_began_anew, |db| {
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
        db.truncate();
    }
    assert!(discarder.is_running());
});
