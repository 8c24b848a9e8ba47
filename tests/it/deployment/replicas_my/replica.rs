//! What is refused on a replica.

use super::*;

on_mysql_and_mariadb!(
    a_replica_is_refused_for_reliable_work_and_nothing_is_written_there,
    |server| {
        let _shared = shared();
        let Some(pair) = Replicated::pair(server) else { return };
        let db = pair.primary.db();
        let stream = db.stream();
        stream.consumer("app", "Audit").unwrap().register().unwrap();
        stream.add_event("USR_ADD", &1).unwrap();
        // MariaDB shows it to everybody, MySQL by one more grant.
        let more: &[&str] = if server == "mysql" { &[SEES_SOURCES] } else { &[] };
        let url = role(&db, &[&RIGHTS[..], more].concat());
        pair.catch_up();

        let there = open(&pair.on_replica(&url), false);
        let seen = ["Slaves_running is 1", "the source 127.0.0.1"];
        let consumer = there.consumer("app", "Audit").unwrap();
        assert_refused(consumer.register(), &seen);
        assert_refused(consumer.unregister(), &seen);
        assert_refused(consumer.poll(None, &Want::all()), &seen);
        assert_refused(consumer.acknowledge(1), &seen);
        assert_refused(there.consumer("app", "New").unwrap().register(), &seen);
        let subscribed = there.subscribe("app", "Audit", Want::all(), &Options::new());
        assert_refused(subscribed.map(drop), &seen);
        assert_refused(there.lag(), &seen);
        assert_refused(Discarder::new(&there, &Options::new()).unwrap().run_once(), &seen);
        let folder = tempfile::tempdir().unwrap();
        let file = format!("sqlite://{}", folder.path().join("dwh.db").display());
        let warehouse = Warehouse::open(&file).unwrap();
        warehouse.migrate().unwrap();
        let archiver = Archiver::new(&there, &warehouse, &Options::new()).unwrap();
        assert_refused(archiver.run_once(), &seen);

        // What was written there would be in the way of what comes now.
        stream.consumer("app", "Next").unwrap().register().unwrap();
        stream.consumer("app", "Audit").unwrap().acknowledge(1).unwrap();
        pair.catch_up();
        assert!(pair.replicates());
        let idents = "SELECT CONCAT(ident, last_evt_id) FROM evt_consumers ORDER BY 1";
        let mut raw = Raw::connect(db.kind, &pair.on_replica(&db.url));
        assert_eq!(raw.texts(idents), ["app:Audit1", "app:Next0"]);

        // Who promises that the events are not those that come from elsewhere is let in.
        let promised = open(&pair.on_replica(&db.url), true);
        assert_eq!(promised.live("app").unwrap().poll(Some(0), &Want::all()).unwrap().len(), 1);
    }
);

on_mysql_and_mariadb!(
    what_would_break_the_replication_is_refused_on_a_writable_replica,
    |server| {
        let _shared = shared();
        let Some(pair) = Replicated::pair(server) else { return };
        let db = pair.primary.db();
        let stream = db.stream();
        stream.add_event("USR_ADD", &1).unwrap();
        let history = Warehouse::open(&db.url).unwrap();
        history.migrate().unwrap();
        pair.catch_up();

        let url = pair.on_replica(&db.url);
        let there = open(&url, false);
        let seen = ["Slaves_running is 1", "the source 127.0.0.1", "grow"];
        assert_refused(there.migrate(), &seen);
        assert_refused(there.add_event("USR_ADD", &2), &seen);
        assert_refused(there.add_events(&[NewEvent::new("USR_ADD", &2).unwrap()]), &seen);
        let mut transaction = there.begin().unwrap();
        assert_refused(transaction.add_event("USR_ADD", &2), &seen);
        transaction.rollback().unwrap();
        let history_there = Warehouse::open(&url).unwrap();
        assert_refused(history_there.migrate(), &seen);
        stream.consumer("app", "Audit").unwrap().register().unwrap();
        let archiver = Archiver::new(&stream, &history_there, &Options::new()).unwrap();
        assert_refused(archiver.run_once(), &seen);
        // Who only reads the history may do it anywhere.
        assert_eq!(history_there.history(1, &Want::all(), 10).unwrap().len(), 0);

        // Nothing of it is there, and what comes next comes through.
        stream.add_event("USR_ADD", &2).unwrap();
        Archiver::new(&stream, &history, &Options::new()).unwrap().run_once().unwrap();
        pair.catch_up();
        assert!(pair.replicates());
        let mut raw = Raw::connect(db.kind, &url);
        assert_eq!(raw.texts("SELECT id FROM evt_queue ORDER BY id"), ["1", "2"]);
        assert_eq!(raw.texts("SELECT id FROM evt_history ORDER BY id"), ["1", "2"]);

        // Who promises that nobody else writes these tables is let in.
        raw.exec("CREATE DATABASE IF NOT EXISTS fes_own_of_the_replica");
        let own = crate::support::with_database(&url, "fes_own_of_the_replica");
        let promised = open(&own, true);
        promised.migrate().unwrap();
        promised.add_event("USR_ADD", &1).unwrap();
        raw.exec("DROP DATABASE fes_own_of_the_replica");
    }
);

// On MySQL who has no right to see the sources sees a replica only while it applies something.
on_mysql_and_mariadb!(who_may_only_insert_adds_nothing_on_a_replica_that_is_at_work, |server| {
    let _shared = shared();
    let Some(pair) = Replicated::pair(server) else { return };
    let db = pair.primary.db();
    let stream = db.stream();
    let url = role(&db, &["INSERT ON app.evt_queue"]);
    pair.catch_up();
    let there = open(&pair.on_replica(&url), false);
    let seen = ["Slaves_running is 1", "in gtid_slave_pos grow", "in gtid_executed grow"];
    let start = Instant::now();
    loop {
        let mut undone = there.begin().unwrap();
        let added = undone.add_event("LOST", &2);
        undone.rollback().unwrap();
        if added.is_err() {
            break assert_refused(added, &seen);
        }
        assert!(start.elapsed() < Duration::from_secs(20), "never refused");
        stream.add_event("USR_ADD", &1).unwrap();
        pair.catch_up();
    }
    assert!(pair.replicates());
});

on_mysql_and_mariadb!(
    a_late_commit_on_a_replica_is_not_passed_over_by_who_sees_no_sources,
    |server| {
        let _shared = shared();
        let Some(pair) = Replicated::pair(server) else { return };
        let db = pair.primary.db();
        let stream = db.stream();
        stream.consumer("app", "Audit").unwrap().register().unwrap();
        let url = role(&db, &RIGHTS);
        pair.catch_up();
        let there = open(&pair.on_replica(&url), false);
        // At rest a replica on MySQL looks like any server.
        match (poll(&there), server) {
            (refused, "mariadb") => assert_refused(refused, &["Slaves_running is 1"]),
            (polled, _) => assert_eq!(polled.unwrap(), [0; 0]),
        }

        let mut late = db.raw();
        late.exec("BEGIN");
        late.exec(&db.insert_sql("LATE"));
        stream.add_event("USR_ADD", &2).unwrap();
        pair.catch_up();
        let seen = ["Slaves_running is 1", "in gtid_slave_pos grow", "in gtid_executed grow"];
        assert_refused(poll(&there), &seen);
        late.exec("COMMIT");
        pair.catch_up();
        assert_refused(poll(&there), &seen);
        assert_eq!(poll(&stream).unwrap(), [1, 2]);
    }
);

on_mysql_and_mariadb!(a_replica_that_was_stopped_is_refused_by_who_may_see_its_source, |server| {
    let _alone = alone();
    let Some(pair) = Replicated::pair(server) else { return };
    let db = pair.primary.db();
    let stream = db.stream();
    stream.consumer("app", "Audit").unwrap().register().unwrap();
    let right = if server == "mysql" { "REPLICATION CLIENT" } else { "SLAVE MONITOR" };
    let right = format!("{right} ON *.*");
    let url = role(&db, &[&RIGHTS[..], &[right.as_str()]].concat());
    pair.catch_up();
    pair.replicate(false);
    let refused = poll(&open(&pair.on_replica(&url), false));
    pair.replicate(true);
    assert_refused(refused, &["shows the source 127.0.0.1"]);
});
