//! Ids above the limit, and tables that were dropped.

use super::*;

on_each_server!(an_id_above_the_limit_is_refused_before_anybody_is_told_of_it, |db| {
    let stream = db.stream();
    add(&stream, &["A"]);
    if db.kind == DatabaseKind::Postgres {
        // Sequences of tables that were made before `migrate` bounded them.
        db.raw().exec("ALTER SEQUENCE evt_queue_id_seq NO MAXVALUE");
    }
    let event = NewEvent::new("B", &1).unwrap();
    set_counter(db, LIMIT - 1);
    assert_eq!(stream.add(&event).unwrap(), LIMIT, "the last one that may be");
    let mut raw = db.raw();
    let mut own = db.raw();
    let count = |raw: &mut Raw| raw.number("SELECT count(*) FROM evt_queue");
    for beyond in [0, 5, 1 << 62] {
        set_counter(db, LIMIT + beyond);
        let error = stream.add(&event).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsafeServer, "{error}");
        assert!(error.to_string().contains("999999999999999999"), "{error}");
        assert_eq!(
            failure(stream.add_events(&[event.clone(), event.clone()])),
            ErrorKind::UnsafeServer
        );
        let many = vec![event.clone(); 1500];
        assert_eq!(failure(stream.add_events(&many)), ErrorKind::UnsafeServer);
        let own = match &mut own {
            Raw::Sqlite(own) => stream.add_event_to(own, "B", &1),
            Raw::Postgres(own) => stream.add_event_to(&mut **own, "B", &1),
            Raw::Mysql(own) => stream.add_event_to(&mut **own, "B", &1),
        };
        assert_eq!(failure(own), ErrorKind::UnsafeServer);
        for many in [false, true] {
            let mut tx = stream.begin().unwrap();
            let added = match many {
                true => tx.add_events(&[event.clone(), event.clone()]).map(|_| ()),
                false => tx.add(&event).map(|_| ()),
            };
            assert_eq!(failure(added), ErrorKind::UnsafeServer);
            // Whoever commits all the same commits nothing of it.
            let committed = tx.commit();
            assert_eq!(committed.is_err(), db.kind == DatabaseKind::Postgres);
        }
        // Threads that share commits.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        assert_eq!(failure(stream.add(&event)), ErrorKind::UnsafeServer);
                    }
                });
            }
        });
        assert_eq!(count(&mut raw), 2);
    }
    assert_eq!(everything(&stream).len(), 2);
});

on_each_server!(ids_that_nobody_is_ever_given_are_told, |db| {
    let stream = db.stream();
    let last = add(&stream, &["A"])[0];
    let consumer = registered(&stream, "Audit");
    assert_eq!(stream.lag().unwrap().warnings, Vec::<String>::new());
    let insert = |id: &str| {
        let now = db.now_sql();
        db.raw().exec(&format!(
            "INSERT INTO evt_queue(id, type, data, ts) VALUES ({id}, 'B', '1', {now})"
        ));
    };
    insert("1000000000000000000");
    if db.kind != DatabaseKind::Mysql {
        insert("-3");
    }
    assert_eq!(ids(&consumer.poll(None, &Want::all()).unwrap()), [last]);
    let warnings = stream.lag().unwrap().warnings.join(" ");
    assert!(warnings.contains("1000000000000000000"), "{warnings}");
    // Who would see nothing is told so, again and again.
    let live = stream.live("app").unwrap();
    for _ in 0..2 {
        let end = Instant::now() + PATIENCE;
        let told = |error: futoin_eventstream::Error| {
            assert_eq!(error.kind(), ErrorKind::CorruptEvent, "{error}");
            assert!(error.to_string().contains("1000000000000000000"), "{error}");
        };
        loop {
            let polled =
                consumer.poll(Some(last), &Want::all()).and(live.poll(Some(last), &Want::all()));
            match polled {
                Err(error) => break told(error),
                Ok(events) => assert_eq!(events, []),
            }
            assert!(Instant::now() < end, "it is told");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let (_receiver, _received, notices) =
        receive(&stream, "Pushed", Want::all(), PoisonPolicy::Retry);
    assert_eq!(notices.recv_timeout(PATIENCE).unwrap(), "CorruptEvent");
    db.raw().exec("DELETE FROM evt_queue WHERE id > 999999999999999999 OR id < 1");
    assert_eq!(stream.lag().unwrap().warnings, Vec::<String>::new());
});

on_each_server!(migrate_makes_again_what_was_dropped, |db| {
    let stream = db.stream();
    let warehouse = Warehouse::open(&db.url).unwrap();
    warehouse.migrate().unwrap();
    let archive = || Archiver::new(&stream, &warehouse, &Options::new()).unwrap().run_once();
    let mut raw = db.raw();
    // Two that differ only in case stay two, whatever is made again.
    let large = "é".repeat(70_000);
    for dropped in [
        &["evt_queue"][..],
        &["evt_consumers"],
        &["evt_history"],
        &["evt_queue", "evt_consumers", "evt_history"],
        &["evt_schema"],
        &["evt_schema", "evt_consumers"],
    ] {
        for component in ["Audit", "audit"] {
            registered(&stream, component);
        }
        stream.add_event("A", &large).unwrap();
        for table in dropped {
            raw.exec(&format!("DROP TABLE {table}"));
        }
        if dropped != ["evt_schema"] {
            let all_fail =
                [stream.add_event("A", &1).is_err(), stream.lag().is_err(), archive().is_err()];
            assert!(all_fail.contains(&true), "{dropped:?}");
        }
        for _ in 0..2 {
            stream.migrate().unwrap();
            warehouse.migrate().unwrap();
        }
        // Where the events begin anew, cursors from before them would lie beyond them.
        raw.exec("DELETE FROM evt_consumers");
        raw.exec("DELETE FROM evt_history");
        for component in ["Audit", "audit"] {
            registered(&stream, component);
        }
        let id = stream.add_event("A", &large).unwrap();
        assert_eq!(everything(&stream).last().unwrap().id, id, "{dropped:?}");
        archive().unwrap();
        assert_eq!(
            ids(&everything(&stream)),
            ids(&warehouse.history(1, &Want::all(), 100).unwrap())
        );
        assert_eq!(stream.lag().unwrap().consumers.len(), 3);
        raw.exec("DELETE FROM evt_consumers");
    }
});

/// The consumer table of the npm package, whose ids end at 32,767.
fn npm_consumers(db: &Db) {
    let (id, rest) = match db.kind {
        DatabaseKind::Sqlite => return,
        DatabaseKind::Postgres => (
            "serial2 NOT NULL PRIMARY KEY, last_evt_id BIGINT NOT NULL DEFAULT 0, reg_time TIMESTAMP \
             NOT NULL, last_time TIMESTAMP NOT NULL",
            "",
        ),
        DatabaseKind::Mysql => (
            "SMALLINT NOT NULL auto_increment PRIMARY KEY, last_evt_id BIGINT UNSIGNED NOT NULL \
             DEFAULT 0, reg_time DATETIME NOT NULL, last_time DATETIME NOT NULL",
            "ENGINE=InnoDB",
        ),
    };
    db.raw().exec("DROP TABLE evt_consumers");
    db.raw().exec(&format!(
        "CREATE TABLE evt_consumers (id {id}, ident VARCHAR(64) NOT NULL UNIQUE) {rest}"
    ));
}

on_servers!(
    registering_goes_on_after_32767_registrations,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let stream = db.stream();
        npm_consumers(db);
        let mut raw = db.raw();
        raw.exec("DELETE FROM evt_schema WHERE version = '18.3'");
        let now = db.now_sql();
        let used_up = |raw: &mut Raw| {
            raw.exec(&format!(
                "INSERT INTO evt_consumers(id, reg_time, last_time, ident) \
                 VALUES (32767, {now}, {now}, 'app:Last')"
            ));
            if db.kind == DatabaseKind::Postgres {
                raw.exec("SELECT setval(pg_get_serial_sequence('evt_consumers', 'id'), 32767)");
            }
        };
        used_up(&mut raw);
        raw.exec(&format!(
            "INSERT INTO evt_consumers(id, reg_time, last_time, ident) \
             VALUES (2, {now}, {now}, 'app:Second')"
        ));
        let event = stream.add_event("A", &1).unwrap();
        // Before it is migrated, free ids are used again; by many at once, too.
        std::thread::scope(|scope| {
            for n in 0..6 {
                let stream = &stream;
                scope.spawn(move || {
                    let consumer = registered(stream, &format!("C{n}"));
                    assert_eq!(ids(&consumer.poll(None, &Want::all()).unwrap()), [event]);
                    consumer.register().unwrap();
                });
            }
        });
        let used = raw.texts("SELECT id FROM evt_consumers ORDER BY id");
        assert_eq!(used, ["1", "2", "3", "4", "5", "6", "7", "32767"]);
        assert!(stream.consumer("app", "C3").unwrap().unregister().unwrap());
        registered(&stream, "Again");
        assert_eq!(raw.texts("SELECT id FROM evt_consumers ORDER BY id"), used);
        // All in use at once: it says what helps.
        raw.exec("DELETE FROM evt_consumers WHERE id < 32767");
        let rows = |from: u32| {
            let rows = (from..from + 1000).filter(|id| *id < 32767);
            let rows = rows.map(|id| format!("({id}, {now}, {now}, 'x:{id}')"));
            rows.collect::<Vec<_>>().join(", ")
        };
        for from in (1..32767).step_by(1000) {
            raw.exec(&format!(
                "INSERT INTO evt_consumers(id, reg_time, last_time, ident) VALUES {}",
                rows(from)
            ));
        }
        let error = stream.consumer("app", "More").unwrap().register().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotMigrated, "{error}");
        assert!(error.to_string().contains("migrate()"), "{error}");
        stream.migrate().unwrap();
        registered(&stream, "More");
        let highest = raw.number("SELECT max(id) FROM evt_consumers");
        assert!(highest >= 32768, "{highest}");
        assert_eq!(raw.number("SELECT count(*) FROM evt_consumers"), 32768);
    }
);

on_each_server!(a_new_consumer_table_has_ids_for_ever, |db| {
    let stream = db.stream();
    let now = db.now_sql();
    let mut raw = db.raw();
    raw.exec(&format!(
        "INSERT INTO evt_consumers(id, reg_time, last_time, ident) \
         VALUES (40000, {now}, {now}, 'app:Late')"
    ));
    if db.kind == DatabaseKind::Postgres {
        raw.exec("SELECT setval(pg_get_serial_sequence('evt_consumers', 'id'), 40000)");
        // A view that uses the column does not keep the rest from being migrated.
        raw.exec("CREATE VIEW consumers_seen AS SELECT id FROM evt_consumers");
        raw.exec("DELETE FROM evt_schema");
        stream.migrate().unwrap();
    }
    registered(&stream, "Next");
    assert_eq!(raw.number("SELECT max(id) FROM evt_consumers"), 40001);
});
