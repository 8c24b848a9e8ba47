//! The tables, the ids and the cursors.

use super::*;

on_each_server!(a_healthy_database_has_no_failure, |db| {
    let stream = db.stream();
    let dwh = Db::on(db.server).unwrap();
    let warehouse = Warehouse::open(&dwh.url).unwrap();
    warehouse.migrate().unwrap();
    stream.consumer("app", "Audit").unwrap().register().unwrap();
    for n in 0..5 {
        stream.add_event("COUNTED", &n).unwrap();
    }
    Archiver::new(&stream, &warehouse, &Options::new()).unwrap().run_once().unwrap();
    let before = db.raw().texts("SELECT last_evt_id FROM evt_consumers ORDER BY id");
    let checks = look(&stream, Some(&warehouse));
    fails(&checks, &[]);
    assert!(named(&checks, CheckStatus::Unknown).is_empty(), "{checks:#?}");
    let warned = named(&checks, CheckStatus::Warning);
    // The servers of the tests need not survive a crash of the machine, and have no certificate.
    assert!(warned.iter().all(|name| ["durability", "sql_mode"].contains(name)), "{checks:#?}");
    assert!(checks.iter().all(|check| !check.why.is_empty()), "{checks:#?}");
    let names: BTreeSet<&str> = checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names.len(), checks.len(), "a name stands for two checks");
    assert!(names.len() > 20, "{names:?}");
    // Nothing was changed.
    assert_eq!(db.raw().texts("SELECT last_evt_id FROM evt_consumers ORDER BY id"), before);
    assert_eq!(stream.add_event("COUNTED", &6).unwrap(), 6);
});

on_each_server!(missing_tables_are_a_failure, |db| {
    let stream = EventStream::open(&db.url).unwrap();
    let checks = look(&stream, None);
    let failed = named(&checks, CheckStatus::Failure);
    assert!(failed.contains("tables"), "{checks:#?}");
    assert!(check(&checks, "tables").remedy.as_ref().unwrap().contains("migrate()"));
    assert!(!failed.iter().any(|name| name.starts_with("role_")), "{checks:#?}");

    let db = Db::on(db.server).unwrap();
    let stream = db.stream();
    let empty = Db::on("sqlite").unwrap();
    let warehouse = Warehouse::open(&empty.url).unwrap();
    let checks = look(&stream, Some(&warehouse));
    fails(&checks, &["warehouse"]);
    db.raw().exec("DROP TABLE evt_consumers");
    assert!(named(&look(&stream, None), CheckStatus::Failure).contains("tables"));
});

on_each_server!(what_is_wrong_with_events_and_cursors_is_a_failure, |db| {
    let stream = db.stream();
    let warehouse = Warehouse::open("sqlite::memory:").unwrap();
    warehouse.migrate().unwrap();
    stream.consumer("app", "Audit").unwrap().register().unwrap();
    for n in 0..5 {
        stream.add_event("COUNTED", &n).unwrap();
    }
    let mut raw = db.raw();
    raw.exec("DELETE FROM evt_queue WHERE id = 3");
    Archiver::new(&stream, &warehouse, &Options::new()).unwrap().run_once().unwrap();
    let insert = |id: &str| {
        let row = format!("({id}, 'LATE', 'null', {})", db.now_sql());
        format!("INSERT INTO evt_queue(id, type, data, ts) VALUES {row}")
    };
    fails(&look(&stream, Some(&warehouse)), &[]);
    raw.exec(&insert("3"));
    let checks = look(&stream, Some(&warehouse));
    fails(&checks, &["late_events"]);
    assert!(check(&checks, "late_events").seen.contains("such as 3"), "{checks:#?}");
    raw.exec("DELETE FROM evt_queue WHERE id = 3");

    raw.exec("UPDATE evt_consumers SET last_evt_id = 1000 WHERE ident = 'app:Audit'");
    let checks = look(&stream, Some(&warehouse));
    fails(&checks, &["cursors"]);
    assert!(check(&checks, "cursors").seen.contains("app:Audit is at 1000"), "{checks:#?}");
    raw.exec("UPDATE evt_consumers SET last_evt_id = 0 WHERE ident = 'app:Audit'");

    if db.kind == DatabaseKind::Mysql {
        raw.exec("SET SESSION sql_mode = ''");
    }
    let bad = match db.kind {
        DatabaseKind::Sqlite => "'nonsense'",
        DatabaseKind::Postgres => "'infinity'",
        DatabaseKind::Mysql => "'0000-00-00 00:00:00'",
    };
    raw.exec(&format!("UPDATE evt_queue SET ts = {bad} WHERE id = 2"));
    fails(&look(&stream, None), &["unreadable"]);
    raw.exec("DELETE FROM evt_queue WHERE id = 2");

    // On the others the counter follows, and no id is left.
    raw.exec(&insert("1000000000000000001"));
    let wanted: &[&str] = match db.kind {
        DatabaseKind::Postgres => &["ids_outside"],
        _ => &["ids_outside", "ids_left"],
    };
    fails(&look(&stream, None), wanted);
});

on_each_server!(a_consumer_that_stays_away_is_a_warning, |db| {
    let stream = db.stream();
    stream.consumer("app", "Audit").unwrap().register().unwrap();
    stream.add_event("A", &1).unwrap();
    db.raw().exec("UPDATE evt_consumers SET last_time = '2001-01-01 00:00:00'");
    let checks = look(&stream, None);
    fails(&checks, &[]);
    let consumers = check(&checks, "consumers");
    assert_eq!(consumers.status, CheckStatus::Warning, "{consumers:?}");
    assert!(consumers.seen.contains("app:Audit is 1 events behind"), "{consumers:?}");
});

on_servers!(settings_of_the_sequence_are_a_failure, [postgres, postgres18], |db| {
    let stream = db.stream();
    db.raw().exec("ALTER SEQUENCE evt_queue_id_seq CACHE 10");
    let checks = look(&stream, None);
    let failed = named(&checks, CheckStatus::Failure);
    assert!(failed.contains("sequence") && failed.contains("order"), "{checks:#?}");
    let remedy = check(&checks, "sequence").remedy.clone().unwrap();
    db.raw().exec(&remedy);
    fails(&look(&stream, None), &[]);
    db.raw().exec("SELECT setval('evt_consumers_id_seq', 32000)");
    let small = "ALTER TABLE evt_consumers ALTER COLUMN id TYPE smallint";
    db.raw().exec(small);
    fails(&look(&stream, None), &["consumer_ids_left"]);
});

on_servers!(a_trigger_is_a_warning, [sqlite, postgres, mariadb, mysql], |db| {
    let stream = db.stream();
    let mut raw = db.raw();
    match db.kind {
        DatabaseKind::Sqlite => {
            raw.exec("CREATE TRIGGER mine AFTER INSERT ON evt_queue BEGIN SELECT 1; END")
        }
        DatabaseKind::Postgres => {
            raw.exec(
                "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
            );
            raw.exec(
                "CREATE TRIGGER mine BEFORE INSERT ON evt_queue FOR EACH ROW EXECUTE FUNCTION f()",
            );
        }
        DatabaseKind::Mysql => {
            raw.exec("CREATE TRIGGER mine AFTER INSERT ON evt_queue FOR EACH ROW SET @n = 1");
        }
    }
    let checks = look(&stream, None);
    fails(&checks, &[]);
    let triggers = check(&checks, "triggers");
    assert_eq!((triggers.status, triggers.seen.as_str()), (CheckStatus::Warning, "mine"));
});
