//! Receivers and polls after a restore.

use super::*;

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
        for anew in [Db::truncate as fn(&Db), recreate] {
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
            db.truncate();
        }
    }
);

on_each_server!(a_receiver_reads_a_stream_that_began_anew_from_its_beginning, |db| {
    let stream = db.stream_with(&[("ack_interval_ms", "1")]);
    let audit = Noting::start(&stream, "Audit", &[]);
    let types = Noting::start(&stream, "Second", &[]);
    add(&stream, "first", 20);
    until("the first events", || cursor(db, "app:Audit") == 20 && cursor(db, "app:Second") == 20);
    db.truncate();
    let ids = add(&stream, "second", 30);
    for receiver in [&audit, &types] {
        until("all of the new events", || ids.iter().all(|id| receiver.of("second").contains(id)));
        until("the notice", || receiver.rewound() >= 1);
    }
    until("the cursor", || cursor(db, "app:Audit") == 30);
});
