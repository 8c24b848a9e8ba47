//! A transaction ends: by a commit, a rollback, a kill, or a prepared one much later.

use super::*;

on_servers!(a_late_commit_is_waited_for, [postgres, postgres18, mariadb, mysql], |db| {
    let readers = Readers::new(&db.stream());
    let (mut slow, mut fast) = (db.raw(), db.raw());
    let first = insert(db, &mut fast);
    slow.exec("BEGIN");
    let late = insert(db, &mut slow);
    let early = insert(db, &mut fast);
    readers.get(&[first]);
    readers.get_nothing();
    let earlier = insert(db, &mut fast);
    readers.get_nothing();
    slow.exec("COMMIT");
    readers.get(&[late, early, earlier]);
});

on_each_server!(a_rollback_leaves_a_gap_that_is_passed, |db| {
    let readers = Readers::new(&db.stream());
    let mut raw = db.raw();
    burn(db, &mut raw);
    let first = insert(db, &mut raw);
    readers.get_within(&[first], PROMPT);
    burn(db, &mut raw);
    burn(db, &mut raw);
    let second = insert(db, &mut raw);
    readers.get_within(&[second], PROMPT);
});

on_each_server!(a_rollback_to_a_savepoint_leaves_a_gap_that_is_passed, |db| {
    let readers = Readers::new(&db.stream());
    let mut raw = db.raw();
    raw.exec("BEGIN");
    let first = insert(db, &mut raw);
    raw.exec("SAVEPOINT here");
    insert(db, &mut raw);
    raw.exec("ROLLBACK TO SAVEPOINT here");
    let last = insert(db, &mut raw);
    readers.get_nothing();
    raw.exec("COMMIT");
    readers.get_within(&[first, last], PROMPT);
});

on_servers!(
    an_event_that_was_deleted_and_restored_by_a_savepoint_is_waited_for,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let readers = Readers::new(&db.stream());
        let (mut slow, mut fast) = (db.raw(), db.raw());
        slow.exec("BEGIN");
        let late = insert(db, &mut slow);
        slow.exec("SAVEPOINT here");
        slow.exec(&format!("DELETE FROM evt_queue WHERE id = {late}"));
        let early = insert(db, &mut fast);
        // Even a read of what is uncommitted shows no such row now.
        readers.get_nothing();
        slow.exec("ROLLBACK TO SAVEPOINT here");
        slow.exec("COMMIT");
        readers.get(&[late, early]);
    }
);

on_servers!(
    a_wide_gap_hides_no_event_that_a_savepoint_restores,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let readers = Readers::new(&db.stream());
        let (mut slow, mut fast) = (db.raw(), db.raw());
        slow.exec("BEGIN");
        let late = insert(db, &mut slow);
        slow.exec("SAVEPOINT here");
        slow.exec(&format!("DELETE FROM evt_queue WHERE id = {late}"));
        fast.exec("BEGIN");
        insert_many(db, &mut fast, 1500);
        fast.exec("ROLLBACK");
        let early = insert(db, &mut fast);
        assert_eq!(early, late + 1501);
        readers.get_nothing();
        slow.exec("ROLLBACK TO SAVEPOINT here");
        slow.exec("COMMIT");
        readers.get(&[late, early]);
    }
);

on_servers!(a_writer_that_is_killed_leaves_a_gap, [postgres, postgres18, mariadb, mysql], |db| {
    let readers = Readers::new(&db.stream());
    let (mut doomed, mut raw) = (db.raw(), db.raw());
    let victim = session(db, &mut doomed);
    doomed.exec("BEGIN");
    insert(db, &mut doomed);
    let id = insert(db, &mut raw);
    readers.get_nothing();
    match db.kind {
        DatabaseKind::Mysql => raw.exec(&format!("KILL {victim}")),
        _ => raw.exec(&format!("SELECT pg_terminate_backend({victim})")),
    }
    readers.get(&[id]);
});

on_servers!(a_prepared_transaction_is_waited_for_until_it_ends, [postgres, postgres18], |db| {
    let stream = db.stream();
    let readers = Readers::new(&stream);
    let mut raw = db.raw();
    // With and without a look between its insert and its PREPARE.
    for (number, (looked, end)) in
        [(false, "COMMIT"), (true, "COMMIT"), (false, "ROLLBACK"), (true, "ROLLBACK")]
            .into_iter()
            .enumerate()
    {
        let name = format!("'{}_{number}'", db.name);
        let mut gone = db.raw();
        gone.exec("BEGIN");
        let prepared = insert(db, &mut gone);
        let behind = insert(db, &mut raw);
        if looked {
            readers.get_nothing();
        }
        gone.exec(&format!("PREPARE TRANSACTION {name}"));
        drop(gone);
        readers.get_nothing();
        raw.exec(&format!("{end} PREPARED {name}"));
        match end {
            "COMMIT" => readers.get(&[prepared, behind]),
            _ => readers.get(&[behind]),
        }
    }
});

on_servers!(
    prepared_transactions_without_a_break_delay_only_what_is_behind_them,
    [postgres, postgres18],
    |db| {
        let stream = db.stream();
        let consumer = stream.consumer("app", "Audit").unwrap();
        consumer.register().unwrap();
        let mut raw = db.raw();
        let name = |number: u64| format!("'{}_{number}'", db.name);
        let mut cursor = 0;
        let mut ids = Vec::new();
        for number in 0..30 {
            raw.exec("BEGIN");
            ids.push(insert(db, &mut raw));
            raw.exec(&format!("PREPARE TRANSACTION {}", name(number)));
            if number > 0 {
                raw.exec(&format!("COMMIT PREPARED {}", name(number - 1)));
            }
            burn(db, &mut raw);
            if let Some(event) = consumer.poll(None, &Want::all()).unwrap().last() {
                cursor = event.id;
                consumer.acknowledge(cursor).unwrap();
            }
        }
        assert!(cursor >= ids[24], "at {cursor} of {}", ids[29]);
        raw.exec(&format!("COMMIT PREPARED {}", name(29)));
    }
);

on_servers!(an_xa_transaction_is_waited_for_without_its_session, [mariadb, mysql], |db| {
    let readers = Readers::new(&db.stream());
    let mut raw = db.raw();
    for (number, end) in ["COMMIT", "ROLLBACK"].into_iter().enumerate() {
        let name = format!("'{}_{number}'", db.name);
        let mut gone = db.raw();
        gone.exec(&format!("XA START {name}"));
        let prepared = insert(db, &mut gone);
        gone.exec(&format!("XA END {name}"));
        let behind = insert(db, &mut raw);
        readers.get_nothing();
        gone.exec(&format!("XA PREPARE {name}"));
        readers.get_nothing();
        drop(gone);
        readers.get_nothing();
        exec_soon(&mut raw, &format!("XA {end} {name}"));
        match end {
            "COMMIT" => readers.get(&[prepared, behind]),
            _ => readers.get(&[behind]),
        }
    }
});
