//! Generators: events are added alone, many at once, or with the caller's own changes in one
//! transaction. An event is there when its id is, and never without the rest of its transaction.

use crate::support::{Db, Done, everything, failure};
use futoin_eventstream::{DatabaseKind, ErrorKind, EventStream, NewEvent, Value, Want};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Events with the data 0, 1, 2, ...
fn numbered(count: usize) -> Vec<NewEvent> {
    (0..count).map(|n| NewEvent::new("NUMBERED", &n).unwrap()).collect()
}

fn count(db: &Db) -> i64 {
    db.raw().number("SELECT count(*) FROM evt_queue")
}

/// Makes the table refuse events with the data `"refused"`.
fn refuse_some(db: &Db) {
    db.raw().exec(match db.kind {
        DatabaseKind::Sqlite => {
            "CREATE TRIGGER refuse BEFORE INSERT ON evt_queue WHEN new.data = '\"refused\"' \
             BEGIN SELECT RAISE(ABORT, 'refused'); END"
        }
        DatabaseKind::Postgres => {
            "ALTER TABLE evt_queue ADD CONSTRAINT refuse CHECK (data::text <> '\"refused\"')"
        }
        DatabaseKind::Mysql => {
            "ALTER TABLE evt_queue ADD CONSTRAINT refuse CHECK (data <> '\"refused\"')"
        }
    });
}

/// A statement on a table `users` with the value as its parameter.
fn add_user(db: &Db) -> String {
    format!("INSERT INTO users(name) VALUES ({})", db.kind.placeholder(1))
}

fn with_users(db: &Db) -> EventStream {
    db.raw().exec("CREATE TABLE users(name varchar(50) NOT NULL PRIMARY KEY)");
    db.stream()
}

on_each_server!(an_event_is_there_when_its_id_is, |db| {
    let stream = db.stream();
    for n in 1..=5 {
        let id = stream.add_event("USR_ADD", &n).unwrap();
        let stored = db.raw().texts(&format!("SELECT data FROM evt_queue WHERE id = {id}"));
        assert_eq!(stored, [n.to_string()]);
    }
    let ids: Vec<u64> = everything(&stream).iter().map(|event| event.id).collect();
    assert!(ids.is_sorted_by(|a, b| a < b));
});

on_each_server!(many_events_get_increasing_ids_that_belong_to_them, |db| {
    let stream = db.stream();
    let mut expected = Vec::new();
    for count in [0, 1, 2, 499, 500, 501, 5000] {
        let ids = stream.add_events(&numbered(count)).unwrap();
        assert_eq!(ids.len(), count);
        expected.extend(ids.into_iter().enumerate().map(|(n, id)| (id, n.to_string())));
    }
    assert!(expected.is_sorted_by(|a, b| a.0 < b.0));
    let events = everything(&stream);
    let got = events.into_iter().map(|event| (event.id, event.data.into_string()));
    assert!(got.eq(expected));
});

on_each_server!(large_events_go_in_together, |db| {
    let stream = db.stream();
    let large = "x".repeat(200_000);
    let events: Vec<NewEvent> =
        (0..10).map(|n| NewEvent::new("LARGE", &format!("{n} {large}")).unwrap()).collect();
    let ids = stream.add_events(&events).unwrap();
    let got = everything(&stream);
    assert!(got.iter().map(|event| event.id).eq(ids));
    assert!(got.iter().map(|event| &event.data).eq(events.iter().map(|event| &event.data)));
});

on_each_server!(many_events_are_added_all_or_none, |db| {
    let stream = db.stream();
    refuse_some(db);
    let mut events = numbered(1200);
    events.push(NewEvent::new("NUMBERED", "refused").unwrap());
    assert_eq!(failure(stream.add_events(&events)), ErrorKind::Constraint);
    assert_eq!(count(db), 0);
    stream.add_events(&events[..1200]).unwrap();
    assert_eq!(count(db), 1200);
});

on_each_server!(a_transaction_commits_rows_and_events_together, |db| {
    let stream = with_users(db);
    let mut tx = stream.begin().unwrap();
    assert_eq!(tx.execute(&add_user(db), &["Ann".into()]).unwrap(), 1);
    let first = tx.add_event("USR_ADD", "Ann").unwrap();
    let more = tx.add_events(&numbered(3)).unwrap();
    assert!(db.kind == DatabaseKind::Sqlite || count(db) == 0, "seen before the commit");
    tx.commit().unwrap();
    let ids: Vec<u64> = everything(&stream).iter().map(|event| event.id).collect();
    assert_eq!(ids, [first, more[0], more[1], more[2]]);
    assert_eq!(db.raw().texts("SELECT name FROM users"), ["Ann"]);
});

on_each_server!(a_transaction_that_is_rolled_back_or_dropped_leaves_nothing, |db| {
    db.raw().exec("CREATE TABLE users(name varchar(50) NOT NULL PRIMARY KEY)");
    // One connection: what is left of one transaction would be in the next.
    let stream = db.stream_with(&[("max_connections", "1")]);
    for round in 0..10 {
        let mut tx = stream.begin().unwrap();
        tx.execute(&add_user(db), &["Ann".into()]).unwrap();
        tx.add_event("USR_ADD", "Ann").unwrap();
        if round % 2 == 0 {
            tx.rollback().unwrap();
        } else {
            drop(tx);
        }
    }
    assert_eq!(count(db), 0);
    assert_eq!(db.raw().number("SELECT count(*) FROM users"), 0);
    stream.add_event("USR_ADD", "Ann").unwrap();
    assert_eq!(count(db), 1);
});

on_each_server!(a_failed_statement_is_told_and_never_half_committed, |db| {
    let stream = with_users(db);
    let mut tx = stream.begin().unwrap();
    tx.execute(&add_user(db), &["Ann".into()]).unwrap();
    tx.add_event("USR_ADD", "Ann").unwrap();
    assert_eq!(failure(tx.execute(&add_user(db), &["Ann".into()])), ErrorKind::Constraint);
    if db.kind == DatabaseKind::Postgres {
        // The failure dooms the transaction: nothing of it may be taken for committed.
        assert!(tx.add_event("USR_ADD", "Bob").is_err());
        let error = tx.commit().unwrap_err();
        assert!(error.to_string().contains("nothing was committed"), "{error}");
        assert_eq!(count(db), 0);
    } else {
        tx.add_event("USR_ADD", "Bob").unwrap();
        tx.commit().unwrap();
        assert_eq!(count(db), 2);
    }
    stream.add_event("USR_ADD", "Cid").unwrap();
});

on_each_server!(a_refused_event_in_a_transaction_is_an_error_of_its_own, |db| {
    let stream = with_users(db);
    refuse_some(db);
    let mut tx = stream.begin().unwrap();
    assert_eq!(failure(tx.add_event("USR_ADD", "refused")), ErrorKind::Constraint);
    tx.rollback().unwrap();
    assert_eq!(failure(stream.add_event("USR_ADD", "refused")), ErrorKind::Constraint);
    assert_eq!(count(db), 0);
});

on_servers!(
    nothing_is_added_after_the_server_undid_the_transaction,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let stream = with_users(db);
        db.raw().exec("INSERT INTO users(name) VALUES ('a'), ('b')");
        let lock = |name: &str| format!("UPDATE users SET name = name WHERE name = '{name}'");
        let mut first = stream.begin().unwrap();
        let mut second = stream.begin().unwrap();
        first.execute(&lock("a"), &[]).unwrap();
        second.execute(&lock("b"), &[]).unwrap();
        let (lock_a, lock_b) = (lock("a"), lock("b"));
        let waiting = std::thread::spawn(move || (first.execute(&lock_b, &[]), first));
        std::thread::sleep(Duration::from_millis(100));
        let result = second.execute(&lock_a, &[]);
        // One of the two was undone to end the deadlock: its caller may not have noticed.
        let (first_result, first) = match result {
            Ok(_) => waiting.join().unwrap(),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Conflict);
                (Err(error), std::mem::replace(&mut second, waiting.join().unwrap().1))
            }
        };
        assert_eq!(failure(first_result), ErrorKind::Conflict);
        let mut undone = first;
        assert!(undone.add_event("USR_ADD", "lost").is_err());
        assert!(undone.commit().is_err());
        second.add_event("USR_ADD", "kept").unwrap();
        second.commit().unwrap();
        let data: Vec<String> =
            everything(&stream).into_iter().map(|event| event.data.into_string()).collect();
        assert_eq!(data, ["\"kept\""]);
    }
);

on_servers!(nothing_is_added_after_a_statement_ended_the_transaction, [sqlite], |db| {
    let stream = with_users(db);
    stream.add_event("USR_ADD", "before").unwrap();
    let mut tx = stream.begin().unwrap();
    tx.execute("INSERT INTO users VALUES ('Ann')", &[]).unwrap();
    let refused = tx.execute("INSERT OR ROLLBACK INTO users VALUES ('Ann')", &[]);
    assert_eq!(failure(refused), ErrorKind::Constraint);
    assert_eq!(failure(tx.add_event("USR_ADD", "lost")), ErrorKind::Conflict);
    assert_eq!(failure(tx.add_events(&numbered(2))), ErrorKind::Conflict);
    assert_eq!(failure(tx.execute(&add_user(db), &["Bob".into()])), ErrorKind::Conflict);
    assert_eq!(failure(tx.commit()), ErrorKind::Conflict);
    assert_eq!(count(db), 1);
    assert_eq!(db.raw().number("SELECT count(*) FROM users"), 0);
    stream.add_event("USR_ADD", "after").unwrap();
});

on_each_server!(values_go_in_and_come_out_of_the_callers_own_sql, |db| {
    let stream = db.stream();
    let (bytes, real, text) = match db.kind {
        DatabaseKind::Postgres => ("bytea", "float8", "text"),
        DatabaseKind::Mysql => ("varbinary(20)", "double", "varchar(20) CHARACTER SET utf8mb4"),
        DatabaseKind::Sqlite => ("blob", "real", "text"),
    };
    db.raw()
        .exec(&format!("CREATE TABLE kinds(n bigint, r {real}, t {text}, b {bytes}, e bigint)"));
    let params: Vec<String> = (1..=5).map(|n| db.kind.placeholder(n)).collect();
    let values = [
        Value::Int(-9_007_199_254_740_993),
        Value::Real(0.1),
        Value::from("a😀'\""),
        Value::Bytes(vec![0, 159, 146, 150]),
        Value::Null,
    ];
    let mut tx = stream.begin().unwrap();
    tx.execute(&format!("INSERT INTO kinds VALUES ({})", params.join(", ")), &values).unwrap();
    assert_eq!(tx.query("SELECT n, r, t, b, e FROM kinds", &[]).unwrap(), [values]);
    let nothing = tx.query("SELECT n AS number, t FROM kinds WHERE n = 0", &[]).unwrap();
    assert!(nothing.is_empty());
    assert_eq!(nothing.columns(), ["number", "t"]);
    tx.commit().unwrap();
});

on_each_server!(wrong_parameters_are_an_error_and_the_connection_lives, |db| {
    let stream = db.stream_with(&[("max_connections", "1")]);
    for params in [vec![], vec![Value::Int(1), Value::Int(2)]] {
        let sql = format!("SELECT {} + 1", db.kind.placeholder(1));
        let mut tx = stream.begin().unwrap();
        assert!(tx.query(&sql, &params).is_err(), "{params:?}");
        tx.rollback().unwrap();
        let mut tx = stream.begin().unwrap();
        assert!(
            tx.execute(
                &format!("DELETE FROM evt_queue WHERE id = {}", db.kind.placeholder(1)),
                &params
            )
            .is_err()
        );
        tx.rollback().unwrap();
    }
    stream.add_event("USR_ADD", &()).unwrap();
});

on_each_server!(what_cannot_be_an_event_is_refused_before_anything_is_sent, |db| {
    let stream = db.stream_with(&[
        ("max_connections", "1"),
        ("connect_timeout_ms", "1000"),
        ("max_event_bytes", "10"),
    ]);
    // The only connection is taken: whatever is to be sent has to wait for it in vain.
    let mut tx = stream.begin().unwrap();
    assert_eq!(failure(stream.add_event("USR_ADD", &1)), ErrorKind::ConnectFailed);
    for event_type in ["", "usr_add", "USR-ADD", "USR_ADD1", "SEVENTEEN_LETTERS", "ÄÖ", "A\0"] {
        assert_eq!(failure(stream.add_event(event_type, &1)), ErrorKind::InvalidType);
        assert_eq!(failure(stream.statement(event_type, &1)), ErrorKind::InvalidType);
        assert_eq!(failure(tx.add_event(event_type, &1)), ErrorKind::InvalidType);
    }
    let no_json = std::collections::HashMap::from([((1, 2), 3)]);
    assert_eq!(failure(stream.add_event("USR_ADD", &no_json)), ErrorKind::InvalidData);
    assert_eq!(failure(NewEvent::from_json("USR_ADD", "{'a'}")), ErrorKind::InvalidData);
    assert_eq!(failure(stream.add_event("USR_ADD", "nine chars")), ErrorKind::TooLarge);
    assert_eq!(failure(stream.statement("USR_ADD", "nine chars")), ErrorKind::TooLarge);
    let large = NewEvent::new("USR_ADD", "nine chars").unwrap();
    assert_eq!(
        failure(stream.add_events(&[numbered(1).remove(0), large.clone()])),
        ErrorKind::TooLarge
    );
    // Nor does it harm a transaction.
    assert_eq!(failure(tx.add_events(&[large])), ErrorKind::TooLarge);
    tx.add_event("USR_ADD", "8 chars.").unwrap();
    tx.commit().unwrap();
    assert_eq!(count(db), 1);
});

on_servers!(what_the_server_cannot_take_in_one_packet_is_too_large, [mariadb, mysql], |db| {
    let stream = db.stream_with(&[("max_connections", "1"), ("max_event_bytes", "200000000")]);
    let limit = db.raw().number("SELECT @@max_allowed_packet") as usize;
    assert!(limit < 200_000_000);
    let event = NewEvent::new("LARGE", &"x".repeat(limit)).unwrap();
    assert_eq!(failure(stream.add(&event)), ErrorKind::TooLarge);
    let mut tx = stream.begin().unwrap();
    assert_eq!(failure(tx.add(&event)), ErrorKind::TooLarge);
    assert_eq!(failure(tx.add_events(&[numbered(1).remove(0), event])), ErrorKind::TooLarge);
    // The caller's own statement is none the worse for it, either.
    let large = Value::Text("x".repeat(limit + 1));
    for (value, good) in [(Value::Int(1), true), (large, false), (Value::Int(2), true)] {
        let done = tx.execute("DELETE FROM evt_queue WHERE data = ?", &[value]);
        assert_eq!(done.is_ok(), good);
    }
    tx.rollback().unwrap();
    stream.add_event("SMALL", &1).unwrap();
    assert_eq!(count(db), 1);
});

on_each_server!(many_threads_add_by_one_handle, |db| {
    let stream = db.stream();
    let ids: Vec<u64> = std::thread::scope(|scope| {
        let add = || (0..25).map(|n| stream.add_event("USR_ADD", &n).unwrap()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..12).map(|_| scope.spawn(add)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let unique: BTreeSet<u64> = ids.iter().copied().collect();
    assert_eq!(unique.len(), 300);
    assert!(everything(&stream).iter().map(|event| event.id).eq(unique));
});

on_each_server!(a_transaction_may_end_in_another_thread_and_after_close, |db| {
    let stream = db.stream();
    let mut tx = stream.begin().unwrap();
    tx.add_event("USR_ADD", &1).unwrap();
    stream.close();
    std::thread::spawn(move || {
        tx.add_event("USR_ADD", &2).unwrap();
        tx.commit().unwrap();
    })
    .join()
    .unwrap();
    assert_eq!(count(db), 2);
});

on_each_server!(threads_that_add_at_once_get_the_ids_of_their_own_events, |db| {
    let stream = db.stream();
    let added: Vec<(u64, String)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|thread| {
                let stream = &stream;
                scope.spawn(move || {
                    let own = |n| (format!("\"{thread}/{n}\""), format!("{thread}/{n}"));
                    (0..30)
                        .map(|n| {
                            let (stored, data) = own(n);
                            (stream.add_event("SHARED", &data).unwrap(), stored)
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut expected = added.clone();
    expected.sort();
    let found: Vec<(u64, String)> = everything(&stream)
        .into_iter()
        .map(|event| (event.id, event.data.as_str().to_owned()))
        .collect();
    assert_eq!(found, expected);
    // What one thread adds comes in the order in which it was added.
    assert!(added.chunks(30).all(|own| own.is_sorted()));
});

on_each_server!(an_event_that_the_database_refuses_fails_only_its_caller, |db| {
    let stream = db.stream();
    refuse_some(db);
    std::thread::scope(|scope| {
        for thread in 0..12 {
            let stream = &stream;
            scope.spawn(move || {
                for n in 0..20 {
                    let refused = thread % 4 == 0 && n % 2 == 0;
                    let data = if refused { "refused" } else { "taken" };
                    match stream.add_event("SHARED", data) {
                        Ok(_) => assert!(!refused),
                        Err(error) => {
                            assert!(refused, "{error}");
                            assert_eq!(error.kind(), ErrorKind::Constraint);
                        }
                    }
                }
            });
        }
    });
    assert_eq!(count(db), 12 * 20 - 3 * 10);
});

on_each_server!(a_caller_of_a_shared_commit_that_fails_is_told, |db| {
    let stream = db.stream();
    let added = std::sync::atomic::AtomicI64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for n in 0..60 {
                    match stream.add_event("SHARED", &n) {
                        Ok(_) => {
                            added.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                        Err(error) => assert!(error.is_retriable(), "{error:?}"),
                    }
                }
            });
        }
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(15));
            db.kill_sessions();
        }
    });
    let (told, there) = (added.into_inner(), count(db));
    // Who is told of a broken connection may find the event there all the same.
    assert!((told..=480).contains(&there), "{told} of {there}");
});

on_each_server!(writers_and_consumers_with_few_connections_do_not_wait_for_each_other, |db| {
    // Fewer connections than anybody needs who would hold one while it waits for another.
    let stream = db.stream_with(&[("max_connections", "2"), ("max_chunk_events", "7")]);
    refuse_some(db);
    stream.consumer("app", "Gone").unwrap().register().unwrap();
    let gone = stream.consumer("app", "Gone").unwrap();
    gone.unregister().unwrap();
    let done = AtomicBool::new(false);
    let added = std::thread::scope(|scope| {
        let ended = Done(&done);
        let consumers: Vec<_> = (0..6)
            .map(|n| {
                let consumer = stream.consumer("app", &format!("Reader{n}")).unwrap();
                consumer.register().unwrap();
                let done = &done;
                scope.spawn(move || {
                    let mut ids = Vec::new();
                    loop {
                        let end = done.load(Ordering::Acquire);
                        let events = consumer.poll(ids.last().copied(), &Want::all()).unwrap();
                        if events.is_empty() && end {
                            return ids;
                        }
                        ids.extend(events.iter().map(|event| event.id));
                    }
                })
            })
            .collect();
        let writers: Vec<_> = (0..6)
            .map(|writer| {
                let (stream, gone) = (&stream, &gone);
                scope.spawn(move || {
                    let mut ids = Vec::new();
                    for n in 0..40 {
                        if (n + writer) % 8 == 0 {
                            let refused = stream.add_event("NUMBERED", &"refused");
                            assert!(refused.is_err());
                            let last = *ids.last().unwrap_or(&0);
                            assert_eq!(failure(gone.acknowledge(last)), ErrorKind::NotRegistered);
                        }
                        ids.push(stream.add_event("NUMBERED", &n).unwrap());
                    }
                    ids
                })
            })
            .collect();
        let mut added: Vec<u64> =
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        added.sort_unstable();
        drop(ended);
        for consumer in consumers {
            assert_eq!(consumer.join().unwrap(), added);
        }
        added
    });
    let behind = db.raw().number(&format!(
        "SELECT count(*) FROM evt_consumers WHERE last_evt_id < {}",
        added.last().unwrap()
    ));
    assert_eq!((added.len(), behind), (240, 0));
});
