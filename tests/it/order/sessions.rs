//! Killed sessions, and who holds up the stream.

use super::*;

on_servers!(sessions_that_are_killed_lose_nothing, [postgres, postgres18, mariadb, mysql], |db| {
    let readers = Readers::new(&db.stream());
    let (mut slow, mut fast) = (db.raw(), db.raw());
    let own = [session(db, &mut slow), session(db, &mut fast)];
    let name = &db.name;
    let kill_all = |raw: &mut Raw| match db.kind {
        DatabaseKind::Mysql => {
            let sql = format!("SELECT ID FROM information_schema.PROCESSLIST WHERE DB = '{name}'");
            for id in raw.texts(&sql).iter().filter(|id| !own.contains(&id.parse().unwrap())) {
                let _ = raw.try_exec(&format!("KILL {id}"));
            }
        }
        _ => raw.exec(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE application_name = 'futoin-eventstream' AND datname = current_database()",
        ),
    };
    let mut behind = Vec::new();
    slow.exec("BEGIN");
    behind.push(insert(db, &mut slow));
    for _ in 0..5 {
        behind.push(insert(db, &mut fast));
        readers.get_nothing();
        kill_all(&mut fast);
        burn(db, &mut fast);
    }
    slow.exec("COMMIT");
    kill_all(&mut fast);
    readers.get(&behind);
});

on_servers!(
    lag_names_the_open_event_and_who_holds_it,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let stream = db.stream();
        let consumer = stream.consumer("app", "Audit").unwrap();
        consumer.register().unwrap();
        let (mut slow, mut fast) = (db.raw(), db.raw());
        insert(db, &mut fast);
        assert_eq!(stream.lag().unwrap().first_unsettled, None);
        slow.exec("BEGIN");
        let late = insert(db, &mut slow);
        insert(db, &mut fast);
        // A handle that has looked before, and one that has not.
        for stream in [&stream, &db.stream()] {
            let lag = stream.lag().unwrap();
            assert_eq!(lag.first_unsettled, Some(late));
            let holder = session(db, &mut slow).to_string();
            assert!(lag.holders.iter().any(|found| found.id == holder), "{holder}: {lag:?}");
            assert!(lag.holders.iter().all(|found| found.application.is_some()), "{lag:?}");
            let since = lag.holders[0].since.is_some();
            assert_eq!(since, db.kind == DatabaseKind::Postgres, "{lag:?}");
            assert_eq!(lag.blocked, None);
            assert_eq!(lag.consumers[0].events_behind, 2);
        }
        slow.exec("COMMIT");
        let lag = stream.lag().unwrap();
        assert_eq!((lag.first_unsettled, lag.holders), (None, vec![]));
    }
);

on_servers!(without_evidence_what_is_before_a_gap_comes_and_lag_names_the_grant, [mysql], |db| {
    db.stream();
    let mut raw = db.raw();
    let user = format!("u_{}", db.name);
    raw.exec(&format!("CREATE USER '{user}'@'%' IDENTIFIED BY 'secret'"));
    raw.exec(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {}.* TO '{user}'@'%'", db.name));
    let (_, host) = db.url.rsplit_once('@').unwrap();
    let stream = EventStream::open(&format!("mysql://{user}:secret@{host}")).unwrap();
    let readers = Readers::new(&stream);
    let first = insert(db, &mut raw);
    readers.get(&[first]);
    let busy = in_background(db, "SELECT SLEEP(2) FROM evt_queue LIMIT 1".to_owned());
    let second = insert(db, &mut raw);
    burn(db, &mut raw);
    let last = insert(db, &mut raw);
    readers.get(&[second]);
    readers.get_nothing();
    let lag = stream.lag().unwrap();
    assert_eq!(lag.first_unsettled, Some(second + 1));
    let blocked = lag.blocked.unwrap();
    assert!(blocked.contains("GRANT SELECT ON performance_schema.metadata_locks"), "{blocked}");
    assert!(!busy.is_finished(), "the table was not busy any more");
    busy.join().unwrap();
    readers.get(&[last]);

    // With just that grant, lag names the holders, too.
    raw.exec(&format!("GRANT SELECT ON performance_schema.metadata_locks TO '{user}'@'%'"));
    let mut slow = db.raw();
    slow.exec("BEGIN");
    let late = insert(db, &mut slow);
    insert(db, &mut raw);
    let lag = stream.lag().unwrap();
    assert_eq!(lag.first_unsettled, Some(late));
    assert!(!lag.holders.is_empty());
    raw.exec(&format!("DROP USER '{user}'@'%'"));
});
