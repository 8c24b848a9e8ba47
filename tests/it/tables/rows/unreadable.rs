//! Rows that cannot be read as an event.

use super::*;

on_each_server!(good_events_before_an_unreadable_one_come_first_and_it_can_be_passed_over, |db| {
    let stream = checking(db);
    let mut raw = soften(db);
    for (n, (column, how)) in damages(db).into_iter().enumerate() {
        let added = add(&stream, &["A", "B", "C"]);
        let consumer = registered(&stream, &format!("C{n}"));
        consumer.acknowledge(added[0] - 1).unwrap();
        assert_eq!(consumer.next_unreadable().unwrap(), None);
        damage(&mut raw, how, added[1]);
        assert_eq!(ids(&consumer.poll(None, &Want::all()).unwrap()), added[..1], "{how}");
        let error = consumer.poll(Some(added[0]), &Want::all()).expect_err(how);
        assert_eq!(error.kind(), ErrorKind::CorruptEvent, "{how}");
        assert!(!error.is_retriable());
        let row = error.unreadable().unwrap().clone();
        assert_eq!((row.id, row.column), (added[1], column), "{how}");
        let text = error.to_string();
        for part in [&format!("event {}", row.id), column, &format!("skip({})", row.id)] {
            assert!(text.contains(part), "{text}");
        }
        match column {
            "type" => assert_eq!(row.data.as_deref(), Some(&b"1"[..]), "{how}"),
            _ => assert_eq!(row.type_text(), "B", "{how}"),
        }
        // Only this one, and only while it cannot be read.
        for other in [added[0], added[2]] {
            assert_eq!(failure(consumer.skip(other)), ErrorKind::InvalidArgument);
        }
        assert_eq!(consumer.next_unreadable().unwrap(), Some(row.clone()));
        if n % 2 == 0 {
            assert_eq!(consumer.skip(row.id).unwrap(), row);
            assert_eq!(ids(&consumer.poll(None, &Want::all()).unwrap()), added[2..]);
            assert_eq!(failure(consumer.skip(row.id)), ErrorKind::InvalidArgument);
        }
        repair(db, row.id);
        if n % 2 == 1 {
            assert_eq!(failure(consumer.skip(row.id)), ErrorKind::InvalidArgument);
            assert_eq!(ids(&consumer.poll(None, &Want::all()).unwrap()), added[1..]);
        }
    }
});

on_each_server!(only_who_wants_the_unreadable_event_is_held_up, |db| {
    let stream = db.stream();
    let added = add(&stream, &["A", "B", "C"]);
    soften(db);
    let mut raw = soften(db);
    damage(&mut raw, bad_ts(db), added[1]);
    let consumer = registered(&stream, "Filtered");
    let want = |types: &[&str]| Want::types(types).unwrap();
    let got = consumer.poll(None, &want(&["A", "C"])).unwrap();
    assert_eq!(ids(&got), [added[0], added[2]]);
    let other = registered(&stream, "Other");
    assert_eq!(ids(&other.poll(None, &want(&["A", "B"])).unwrap()), added[..1]);
    assert_eq!(failure(other.poll(Some(added[0]), &want(&["A", "B"]))), ErrorKind::CorruptEvent);
    // LIVE is told once, and goes on.
    let live = stream.live("app").unwrap();
    assert_eq!(ids(&live.poll(Some(0), &Want::all()).unwrap()), added[..1]);
    assert_eq!(failure(live.poll(None, &Want::all())), ErrorKind::CorruptEvent);
    assert_eq!(ids(&live.poll(None, &Want::all()).unwrap()), added[2..]);
    assert_eq!(failure(live.poll(Some(added[0]), &Want::all())), ErrorKind::CorruptEvent);
    assert_eq!(ids(&live.poll(Some(added[0]), &Want::all()).unwrap()), added[2..]);
});

on_each_server!(poison_policies_apply_to_an_unreadable_event, |db| {
    let stream = checking(db);
    let mut raw = soften(db);
    // One is met in the backlog, the other one at the tail.
    for (at_tail, is_json) in [(false, true), (true, true), (false, false), (true, false)] {
        let name = |name: &str| format!("{name}{}{}", u8::from(at_tail), u8::from(is_json));
        let first = add(&stream, &["A"]);
        let begin = || {
            let all = Want::all();
            [
                ("Retry", PoisonPolicy::Retry),
                ("Stop", PoisonPolicy::Stop),
                ("Skip", PoisonPolicy::SkipAfter(2)),
            ]
            .map(|(component, poison)| {
                let consumer = registered(&stream, &name(component));
                consumer.acknowledge(first[0] - 1).unwrap();
                receive(&stream, &name(component), all.clone(), poison)
            })
        };
        let running = at_tail.then(begin);
        if let Some(running) = &running {
            for (_, received, _) in running {
                assert_eq!(received.recv_timeout(PATIENCE), Ok(first[0]));
            }
        }
        match is_json {
            true => insert_bad(db, &mut raw),
            false => insert_no_json(db, &mut raw),
        }
        let bad = raw.number("SELECT max(id) FROM evt_queue") as EventId;
        let last = add(&stream, &["C"]);
        let [retry, stop, skip] = running.unwrap_or_else(begin);
        let expect = |received: &Receiver<EventId>, id| {
            assert_eq!(received.recv_timeout(PATIENCE), Ok(id), "at_tail {at_tail}");
        };
        if !at_tail {
            [&retry, &stop, &skip].iter().for_each(|(_, received, _)| expect(received, first[0]));
        }
        let told = |notices: &Receiver<String>| notices.recv_timeout(PATIENCE).unwrap();
        assert_eq!(told(&stop.2), "CorruptEvent");
        assert_eq!(told(&stop.2), "stopped");
        assert_eq!(stop.1.try_recv().ok(), None);
        assert_eq!(told(&skip.2), "CorruptEvent");
        assert_eq!(told(&skip.2), format!("skipped {bad} B"));
        expect(&skip.1, last[0]);
        assert_eq!(skip.0.stats().skipped[0].0, bad);
        assert_eq!(told(&retry.2), "CorruptEvent");
        assert_eq!(told(&retry.2), "CorruptEvent");
        assert_eq!(retry.1.try_recv().ok(), None);
        repair(db, bad);
        expect(&retry.1, bad);
        expect(&retry.1, last[0]);
        // What was passed over is not met again.
        skip.0.stop();
        let after = registered(&stream, &name("Skip")).poll(None, &Want::all()).unwrap();
        assert_eq!(after, []);
    }
});

on_each_server!(an_unreadable_event_at_the_tail_does_not_hold_up_other_subscribers, |db| {
    let stream = db.stream();
    let mut raw = soften(db);
    let other = receive(&stream, "Other", Want::types(&["A", "C"]).unwrap(), PoisonPolicy::Retry);
    let same = receive(&stream, "Same", Want::all(), PoisonPolicy::Retry);
    let first = add(&stream, &["A"])[0];
    assert_eq!(other.1.recv_timeout(PATIENCE), Ok(first));
    assert_eq!(same.1.recv_timeout(PATIENCE), Ok(first));
    insert_bad(db, &mut raw);
    raw.exec(&db.insert_sql("C"));
    assert_eq!(other.1.recv_timeout(PATIENCE), Ok(first + 2));
    assert_eq!(same.2.recv_timeout(PATIENCE).unwrap(), "CorruptEvent");
    assert!(other.2.try_recv().is_err());
    repair(db, first + 1);
    assert_eq!(same.1.recv_timeout(PATIENCE), Ok(first + 1));
    assert_eq!(same.1.recv_timeout(PATIENCE), Ok(first + 2));
});

on_each_server!(what_comes_before_an_unreadable_event_is_archived_and_it_can_be_left_out, |db| {
    let stream = db.stream();
    let warehouse = Warehouse::open(&db.url).unwrap();
    warehouse.migrate().unwrap();
    let mut raw = soften(db);
    let added = add(&stream, &["A", "A", "B", "C", "B", "C"]);
    damage(&mut raw, bad_ts(db), added[2]);
    damage(&mut raw, bad_ts(db), added[4]);
    let archiver = || Archiver::new(&stream, &warehouse, &Options::new()).unwrap();
    let history = || ids(&warehouse.history(1, &Want::all(), 100).unwrap());
    for _ in 0..2 {
        let error = archiver().run_once().unwrap_err();
        assert_eq!(error.unreadable().map(|row| row.id), Some(added[2]));
        assert_eq!(history(), added[..2]);
    }
    // The thread: it reports, and goes on when the row was corrected.
    let thread = archiver();
    let (sender, told) = channel();
    thread.on_notice(move |notice| {
        if let HistoryNotice::WorkerError(error) = notice {
            let _ = sender.send(error.unreadable().map(|row| row.id));
        }
    });
    thread.start().unwrap();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Some(added[2])));
    repair(db, added[2]);
    until("the events behind the corrected one", || history() == added[..4]);
    thread.stop();
    let consumer = stream.consumer("-internal", "ARCHIVER").unwrap();
    consumer.skip(added[4]).unwrap();
    archiver().run_once().unwrap();
    assert_eq!(history(), [&added[..4], &added[5..]].concat());
    // Also for one that has to begin before it, because the history lost its end.
    raw.exec(&format!("DELETE FROM evt_history WHERE id > {}", added[1]));
    archiver().run_once().unwrap();
    assert_eq!(history(), [&added[..4], &added[5..]].concat());
    // A row of the history that cannot be read ends what comes before it, and nothing more.
    if db.kind != DatabaseKind::Mysql {
        raw.exec(&format!("UPDATE evt_history SET {} WHERE id = {}", bad_ts(db), added[1]));
        assert_eq!(history(), added[..1]);
        let error = warehouse.history(added[1], &Want::all(), 10).unwrap_err();
        assert_eq!(error.unreadable().map(|row| row.id), Some(added[1]));
        let rest = warehouse.history(added[1] + 1, &Want::all(), 10).unwrap();
        assert_eq!(ids(&rest), [&added[2..4], &added[5..]].concat());
    }
});

on_servers!(
    an_unreadable_event_behind_an_open_transaction_waits_for_it,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let stream = db.stream();
        let mut raw = soften(db);
        for filter in [false, true] {
            let consumer = registered(&stream, &format!("C{}", u8::from(filter)));
            let want = if filter { Want::types(&["A", "B", "C"]).unwrap() } else { Want::all() };
            let first = add(&stream, &["A"]);
            consumer.acknowledge(first[0]).unwrap();
            let mut tx = stream.begin().unwrap();
            let held = tx.add_event("B", &1).unwrap();
            let bad = add(&stream, &["C"])[0];
            damage(&mut raw, bad_ts(db), bad);
            for _ in 0..3 {
                assert_eq!(consumer.poll(None, &want).unwrap(), []);
            }
            tx.commit().unwrap();
            assert_eq!(ids(&consumer.poll(None, &want).unwrap()), [held]);
            assert_eq!(failure(consumer.poll(Some(held), &want)), ErrorKind::CorruptEvent);
            repair(db, bad);
            assert_eq!(everything(&stream).last().unwrap().id, bad);
        }
    }
);

on_each_server!(data_that_is_no_json_is_given_as_it_is_where_nobody_looks, |db| {
    let stream = db.stream();
    let mut raw = soften(db);
    let first = add(&stream, &["A"])[0];
    insert_no_json(db, &mut raw);
    let consumer = registered(&stream, "Audit");
    let events = consumer.poll(None, &Want::all()).unwrap();
    assert_eq!((ids(&events), events[1].data.as_str()), (vec![first, first + 1], "{\"a\": "));
    assert_eq!(failure(events[1].data.parse::<serde_json::Value>()), ErrorKind::InvalidData);
    assert_eq!(failure(consumer.skip(first + 1)), ErrorKind::InvalidArgument);
    // A subscriber who looks gets what is before it, passes over exactly it, and goes on.
    let last = add(&stream, &["C"])[0];
    let checking = checking(db);
    let taken = checking.subscribe("app", "Audit", Want::all(), &Options::new()).unwrap();
    let next = || loop {
        match taken.next(PATIENCE) {
            Ok(delivery) => {
                taken.ack().unwrap();
                break delivery.unwrap().events.iter().map(|event| event.id).collect::<Vec<_>>();
            }
            Err(error) => {
                let row = error.unreadable().unwrap();
                assert_eq!(row.data.as_deref(), Some(&b"{\"a\": "[..]));
                assert!(error.to_string().contains("is not JSON"), "{error}");
                assert_eq!(failure(taken.skip(row.id + 1)), ErrorKind::InvalidArgument);
                taken.skip(row.id).unwrap();
            }
        }
    };
    assert_eq!([next(), next()], [[first], [last]]);
});

#[cfg(all(feature = "cli", unix))]
on_each_server!(the_command_shows_an_unreadable_event_and_passes_over_exactly_it, |db| {
    let stream = db.stream();
    let mut raw = soften(db);
    registered(&stream, "Audit");
    let good = add(&stream, &["A"])[0];
    insert_bad(db, &mut raw);
    add(&stream, &["C"]);
    let fes = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_fes"));
        command.args(["--db", &db.url]).args(args).args(["--user", "app", "--component", "Audit"]);
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let bad = (good + 1).to_string();
    assert!(fes(&["skip"]).1.contains("can be read"));
    assert_eq!(fes(&["skip", &good.to_string()]).0, Some(1));
    assert_eq!(fes(&["skip", &bad]).0, Some(1));
    assert_eq!(fes(&["poll", "--ack"]).0, Some(0));
    let (code, text) = fes(&["poll"]);
    assert!(
        code == Some(1) && text.contains(&format!("event {bad}")) && text.contains("fes skip"),
        "{text}"
    );
    let (code, text) = fes(&["skip"]);
    let shown = bad_ts(db).trim_start_matches("ts = ").trim_matches('\'');
    let shown = shown.split(' ').next().unwrap();
    assert!(code == Some(0) && text.contains(shown) && text.contains("\"B\""), "{text}");
    assert_eq!(fes(&["skip", &(good + 2).to_string()]).0, Some(1));
    assert_eq!(fes(&["skip", &bad]).0, Some(0));
    // A good one only if it is insisted on.
    let last = (good + 2).to_string();
    assert_eq!(fes(&["skip", &last]).0, Some(1));
    assert_eq!(fes(&["skip", "--force", &bad]).0, Some(1));
    assert_eq!(fes(&["skip", "--force", &last]).0, Some(0));
    assert_eq!(fes(&["poll"]), (Some(0), String::new()));
    // What only some readers refuse can be passed over, too.
    insert_no_json(db, &mut raw);
    let bad = (good + 3).to_string();
    assert!(fes(&["skip"]).1.contains("a\\\": "), "{}", fes(&["skip"]).1);
    assert_eq!(fes(&["skip", &bad]).0, Some(0));
    assert_eq!(fes(&["poll"]), (Some(0), String::new()));
});
