//! Filtered readers, readers at other positions, and wide gaps.

use super::*;

on_servers!(
    an_empty_filtered_poll_does_not_skip_an_open_event,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let stream = db.stream();
        let consumer = stream.consumer("app", "Rare").unwrap();
        consumer.register().unwrap();
        let want = Want::types(&[OTHER_TYPE]).unwrap();
        let (mut slow, mut fast) = (db.raw(), db.raw());
        slow.exec("BEGIN");
        let first = insert(db, &mut fast);
        let late = insert_type(db, &mut slow, OTHER_TYPE);
        insert(db, &mut fast);
        for _ in 0..10 {
            assert!(consumer.poll(None, &want).unwrap().is_empty());
        }
        let cursor = fast.number("SELECT last_evt_id FROM evt_consumers");
        assert!(cursor <= first as i64, "the cursor jumped to {cursor}, over {late}");
        slow.exec("COMMIT");
        until("the open one", || {
            consumer.poll(None, &want).unwrap().first().map(|event| event.id) == Some(late)
        });
    }
);

on_servers!(
    who_skips_ahead_settles_nothing_for_the_others,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let stream = db.stream();
        let readers = Readers::new(&stream);
        let skipper = stream.consumer("app", "Skipper").unwrap();
        skipper.register().unwrap();
        let live = stream.live("other").unwrap();
        let (mut slow, mut fast) = (db.raw(), db.raw());
        slow.exec("BEGIN");
        let late = insert(db, &mut slow);
        let skipped = insert(db, &mut fast);
        burn(db, &mut fast);
        let behind = insert(db, &mut fast);
        // Both stand behind the open event now, and look at the gap there.
        skipper.acknowledge(skipped).unwrap();
        live.poll(Some(skipped), &Want::all()).unwrap();
        for _ in 0..3 {
            skipper.poll(None, &Want::all()).unwrap();
            live.poll(None, &Want::all()).unwrap();
            stream.lag().unwrap();
        }
        // One that starts now stands at the highest id.
        stream.live("third").unwrap().poll(None, &Want::all()).unwrap();
        readers.get_nothing();
        slow.exec("COMMIT");
        readers.get(&[late, skipped, behind]);
    }
);

on_servers!(
    a_filtered_reader_of_a_large_backlog_does_not_skip_an_open_event,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let stream = db.stream();
        let consumer = stream.consumer("app", "Rare").unwrap();
        consumer.register().unwrap();
        let want = Want::types(&[OTHER_TYPE]).unwrap();
        let (mut slow, mut fast) = (db.raw(), db.raw());
        // More than MySQL's watch looks at in one step.
        let many = |raw: &mut Raw| insert_many(db, raw, 3000);
        slow.exec("BEGIN");
        many(&mut fast);
        many(&mut fast);
        burn(db, &mut fast);
        let late = insert_type(db, &mut slow, OTHER_TYPE);
        many(&mut fast);
        burn(db, &mut fast);
        many(&mut fast);
        let behind = insert_type(db, &mut fast, OTHER_TYPE);
        for _ in 0..3 {
            assert!(consumer.poll(None, &want).unwrap().is_empty());
        }
        let cursor = fast.number("SELECT last_evt_id FROM evt_consumers");
        assert!(cursor < late as i64, "the cursor jumped to {cursor}, over {late}");
        slow.exec("COMMIT");
        let ids = || -> Vec<u64> {
            consumer.poll(None, &want).unwrap().iter().map(|event| event.id).collect()
        };
        until("both", || ids() == [late, behind]);
    }
);

on_each_server!(a_billion_missing_ids_cost_no_more_than_one, |db| {
    let readers = Readers::new(&db.stream());
    let mut raw = db.raw();
    let first = insert(db, &mut raw);
    readers.get(&[first]);
    raw.exec(match db.kind {
        DatabaseKind::Sqlite => "UPDATE sqlite_sequence SET seq = 1000000000",
        DatabaseKind::Postgres => "SELECT setval('evt_queue_id_seq', 1000000000)",
        DatabaseKind::Mysql => "ALTER TABLE evt_queue AUTO_INCREMENT = 1000000001",
    });
    let last = insert(db, &mut raw);
    assert_eq!(last, 1_000_000_001);
    readers.get_within(&[last], PROMPT);
    // Nor to one that comes when what was before is discarded.
    raw.exec(&format!("DELETE FROM evt_queue WHERE id = {first}"));
    for (component, want) in [("New", Want::all()), ("NewToo", Want::types(&[TYPE]).unwrap())] {
        let stream = db.stream();
        let consumer = stream.consumer("app", component).unwrap();
        consumer.register().unwrap();
        let began = Instant::now();
        assert_eq!(consumer.poll(None, &want).unwrap()[0].id, last);
        assert!(began.elapsed() < PROMPT, "{component} took {:?}", began.elapsed());
    }
});

on_servers!(events_come_in_order_of_ids_however_they_lie_on_disk, [postgres, postgres18], |db| {
    let stream = db.stream();
    let consumer = stream.consumer("app", "Audit").unwrap();
    let mut raw = db.raw();
    insert_many(db, &mut raw, 2000);
    raw.exec("DELETE FROM evt_queue WHERE id <= 1000");
    raw.exec("VACUUM evt_queue");
    insert_many(db, &mut raw, 1000);
    let physical = raw.number("SELECT id FROM evt_queue ORDER BY ctid LIMIT 1");
    assert!(physical > 2000, "the space at the front was not used again");
    consumer.register().unwrap();
    let mut got = Vec::new();
    loop {
        let events = consumer.poll(got.last().copied(), &Want::all()).unwrap();
        if events.is_empty() {
            break;
        }
        got.extend(events.iter().map(|event| event.id));
    }
    assert_eq!(got, (1001..=3000).collect::<Vec<u64>>());
});

// Tables that are not where or what they usually are.
