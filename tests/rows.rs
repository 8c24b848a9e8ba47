//! Rows that are not as they should be: what cannot be read as an event holds up nobody longer than
//! it must, and is never passed over in silence.

mod support;

use futoin_eventstream::{
    Archiver, Consumer, DatabaseKind, ErrorKind, Event, EventId, EventStream, HistoryNotice,
    NewEvent, Notice, Options, PoisonPolicy, ReceiverOptions, ReliableReceiver, Want, Warehouse,
};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use support::{Db, Raw, everything, failure};

const PATIENCE: Duration = Duration::from_secs(20);

fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<EventId> {
    events.into_iter().map(|event| event.id).collect()
}

fn add(stream: &EventStream, types: &[&str]) -> Vec<EventId> {
    types.iter().map(|event_type| stream.add_event(event_type, &1).unwrap()).collect()
}

fn registered(stream: &EventStream, component: &str) -> Consumer {
    let consumer = stream.consumer("app", component).unwrap();
    consumer.register().unwrap();
    consumer
}

/// Waits until it is so.
#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the option `check_json` finds.
const NO_JSON: (&str, &str) = ("data", "data = '{\"a\": '");

/// A stream that looks whether data is JSON.
fn checking(db: &Db) -> EventStream {
    db.stream_with(&[("check_json", "true")])
}

/// What cannot be read, on each database: a name, the column, and an UPDATE of the table.
fn damages(db: &Db) -> Vec<(&'static str, &'static str)> {
    match db.kind {
        DatabaseKind::Sqlite => vec![
            ("ts", "ts = 'yesterday'"),
            ("ts", "ts = x'FF'"),
            ("data", "data = x'FF41'"),
            ("data", "data = CAST(x'7B22C322' AS TEXT)"),
            ("type", "type = x'FF'"),
            NO_JSON,
        ],
        DatabaseKind::Postgres => vec![
            ("ts", "ts = 'infinity'"),
            ("ts", "ts = '-infinity'"),
            ("ts", "ts = '0044-03-15 12:00:00 BC'"),
            ("ts", "ts = NULL"),
            ("data", "data = NULL"),
            ("type", "type = NULL"),
            NO_JSON,
        ],
        DatabaseKind::Mysql => vec![
            ("ts", "ts = '0000-00-00 00:00:00'"),
            ("ts", "ts = NULL"),
            ("type", "type = NULL"),
            ("data", "data = x'FF41'"),
            NO_JSON,
        ],
    }
}

/// Lets the table take what an application may have made of it.
fn soften(db: &Db) -> Raw {
    let mut raw = db.raw();
    match db.kind {
        DatabaseKind::Sqlite => {}
        DatabaseKind::Postgres => {
            for column in ["type", "data", "ts"] {
                raw.exec(&format!("ALTER TABLE evt_queue ALTER {column} DROP NOT NULL"));
            }
            raw.exec("ALTER TABLE evt_queue ALTER data TYPE text");
        }
        DatabaseKind::Mysql => {
            raw.exec("SET SESSION sql_mode = ''");
            raw.exec(
                "ALTER TABLE evt_queue MODIFY type VARCHAR(16) NULL, MODIFY ts DATETIME NULL, \
                 MODIFY data LONGBLOB NULL",
            );
        }
    }
    raw
}

fn damage(raw: &mut Raw, how: &str, id: EventId) {
    raw.exec(&format!("UPDATE evt_queue SET {how} WHERE id = {id}"));
}

/// Makes a good event of the row again.
fn repair(db: &Db, id: EventId) {
    let now = db.now_sql();
    let values = format!("type = 'B', data = '1', ts = {now}");
    db.raw().exec(&format!("UPDATE evt_queue SET {values} WHERE id = {id}"));
}

fn bad_ts(db: &Db) -> &'static str {
    damages(db)[0].1
}

/// An event of type B that was never readable.
fn insert_bad(db: &Db, raw: &mut Raw) {
    let value = bad_ts(db).trim_start_matches("ts = ");
    raw.exec(&format!("INSERT INTO evt_queue(type, data, ts) VALUES ('B', '1', {value})"));
}

/// An event of type B whose data is no JSON.
fn insert_no_json(db: &Db, raw: &mut Raw) {
    raw.exec(&db.insert_sql("B").replace("'null'", "'{\"a\": '"));
}

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

/// A receiver of all events that collects their ids and its notices.
fn receive(
    stream: &EventStream,
    component: &str,
    want: Want,
    poison: PoisonPolicy,
) -> (ReliableReceiver, Receiver<EventId>, Receiver<String>) {
    let (sender, received) = channel();
    let (notify, notices) = channel();
    let options = ReceiverOptions::new().poison(poison).want(want).on_notice(move |notice| {
        let _ = match notice {
            Notice::WorkerError(error) => notify.send(error.kind().name()),
            Notice::Skipped { id, event_type, .. } => {
                notify.send(format!("skipped {id} {event_type}"))
            }
            Notice::Stopped => notify.send("stopped".to_owned()),
            _ => Ok(()),
        };
    });
    let receiver = ReliableReceiver::new(stream, "app", component, options, move |delivery| {
        for event in &delivery.events {
            sender.send(event.id)?;
        }
        Ok(())
    })
    .unwrap();
    receiver.start().unwrap();
    (receiver, received, notices)
}

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

const LIMIT: EventId = futoin_eventstream::MAX_EVENT_ID;

/// Sets what the next id is allocated from: the last id that was allocated.
fn set_counter(db: &Db, last: EventId) {
    let next = last + 1;
    db.raw().exec(&match db.kind {
        DatabaseKind::Sqlite => {
            format!("UPDATE sqlite_sequence SET seq = {last} WHERE name = 'evt_queue'")
        }
        DatabaseKind::Postgres => {
            format!("SELECT setval(pg_get_serial_sequence('evt_queue', 'id'), {last})")
        }
        DatabaseKind::Mysql => format!("ALTER TABLE evt_queue AUTO_INCREMENT = {next}"),
    });
}

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
