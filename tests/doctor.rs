//! `EventStream::doctor`: a healthy database has no failure, and each fault has exactly its own.

mod support;

use futoin_eventstream::{
    Archiver, Check, CheckStatus, DatabaseKind, DoctorOptions, EventStream, Options, Warehouse,
};
use std::collections::BTreeSet;
use support::Db;
use support::spare::{Spare, eventually};

const PASSWORD: &str = "fes-Test-1-password";

fn look(stream: &EventStream, warehouse: Option<&Warehouse>) -> Vec<Check> {
    stream.doctor(warehouse, &DoctorOptions::new()).unwrap()
}

/// The names of the checks of this status.
fn named(checks: &[Check], status: CheckStatus) -> BTreeSet<&str> {
    checks.iter().filter(|check| check.status == status).map(|check| check.name.as_str()).collect()
}

#[track_caller]
fn fails(checks: &[Check], wanted: &[&str]) {
    assert_eq!(
        named(checks, CheckStatus::Failure),
        wanted.iter().copied().collect(),
        "{checks:#?}"
    );
}

#[track_caller]
fn check<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    let found = checks.iter().find(|check| check.name == name);
    found.unwrap_or_else(|| panic!("no check {name} in {checks:#?}"))
}

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

/// A role without any right, on the database's server; dropped with this.
struct Role<'a>(&'a Db, String, String);

impl<'a> Role<'a> {
    fn new(db: &'a Db, name: &str) -> Role<'a> {
        let name = format!("{}_{name}", db.name);
        let mut raw = db.raw();
        let role = if db.kind == DatabaseKind::Postgres {
            raw.exec(&format!("CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'"));
            raw.exec(&format!("GRANT CONNECT ON DATABASE {} TO {name}", db.name));
            raw.exec(&format!("GRANT USAGE ON SCHEMA public TO {name}"));
            name.clone()
        } else {
            raw.exec(&format!("CREATE USER '{name}'@'%' IDENTIFIED BY '{PASSWORD}'"));
            // Any right lets it choose the database.
            raw.exec(&format!("GRANT SHOW VIEW ON {}.* TO '{name}'@'%'", db.name));
            format!("'{name}'@'%'")
        };
        let url = db.url_with(|url| {
            url.set_username(&name).unwrap();
            url.set_password(Some(PASSWORD)).unwrap();
        });
        Role(db, role, url)
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        let mut raw = self.0.raw();
        if self.0.kind == DatabaseKind::Postgres {
            raw.exec(&format!("DROP OWNED BY {}", self.1));
            raw.exec(&format!("DROP ROLE {}", self.1));
        } else {
            raw.exec(&format!("DROP USER {}", self.1));
        }
    }
}

on_servers!(
    missing_rights_are_named_and_their_grants_help,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        db.stream().close();
        for role in ["generator", "consumer", "archiver", "discarder"] {
            let Role(_, user, url) = &Role::new(db, role);
            let options = DoctorOptions::new().role(role).unwrap();
            let name = format!("role_{role}");
            let stream = EventStream::open(url).unwrap();
            let checks = stream.doctor(None, &options).unwrap();
            let found = check(&checks, &name).clone();
            assert_eq!(found.status, CheckStatus::Failure, "{checks:#?}");
            fails(&checks, &[&name]);
            let roles = checks.iter().filter(|check| check.name.starts_with("role_")).count();
            assert_eq!(roles, 1, "{checks:#?}");
            for grant in found.remedy.unwrap().split("; ") {
                assert!(grant.ends_with(user.as_str()) || grant.contains(user.as_str()), "{grant}");
                db.raw().exec(grant);
            }
            let stream = EventStream::open(url).unwrap();
            let checks = stream.doctor(None, &options).unwrap();
            assert_eq!(check(&checks, &name).status, CheckStatus::Ok, "{checks:#?}");
            fails(&checks, &[]);
            // Nobody asked for the others.
            let checks = stream.doctor(None, &DoctorOptions::new()).unwrap();
            fails(&checks, &[]);
        }
        let wrong = DoctorOptions::new().role("nobody").unwrap_err();
        assert!(wrong.to_string().contains("generator, consumer, archiver, discarder"), "{wrong}");
    }
);

on_servers!(
    rights_that_the_archiver_lacks_in_the_warehouse_are_named,
    [postgres, mariadb, mysql],
    |db| {
        let stream = Db::on("sqlite").unwrap();
        let stream = stream.stream();
        Warehouse::open(&db.url).unwrap().migrate().unwrap();
        let Role(_, user, url) = &Role::new(db, "archiver");
        let schema =
            if db.kind == DatabaseKind::Mysql { format!("{}.", db.name) } else { String::new() };
        db.raw().exec(&format!("GRANT SELECT ON {schema}evt_history TO {user}"));
        let options = DoctorOptions::new().role("archiver").unwrap();
        let look = || stream.doctor(Some(&Warehouse::open(url).unwrap()), &options).unwrap();
        let checks = look();
        fails(&checks, &["warehouse_role"]);
        let remedy = check(&checks, "warehouse_role").remedy.clone().unwrap();
        assert!(remedy.starts_with("GRANT INSERT ON "), "{remedy}");
        db.raw().exec(&remedy);
        fails(&look(), &[]);
    }
);

on_servers!(row_level_security_is_a_failure, [postgres, postgres18], |db| {
    db.stream().close();
    let Role(_, user, url) = &Role::new(db, "consumer");
    let mut raw = db.raw();
    raw.exec(&format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO {user}"));
    raw.exec(&format!("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {user}"));
    fails(&look(&EventStream::open(url).unwrap(), None), &[]);
    raw.exec("ALTER TABLE evt_queue ENABLE ROW LEVEL SECURITY");
    raw.exec("CREATE POLICY own ON evt_queue USING (type = 'MINE')");
    let checks = look(&EventStream::open(url).unwrap(), None);
    let found = check(&checks, "row_security");
    assert_eq!(found.status, CheckStatus::Failure, "{checks:#?}");
    assert!(found.seen.contains("own") && found.seen.contains(user), "{found:?}");
});

on_servers!(an_old_open_transaction_is_a_warning, [postgres, mariadb, mysql], |db| {
    let stream = db.stream();
    let mut open = stream.begin().unwrap();
    open.add_event("A", &1).unwrap();
    stream.add_event("A", &2).unwrap();
    let checks = look(&stream, None);
    fails(&checks, &[]);
    let found = check(&checks, "open_transactions");
    assert!(found.status == CheckStatus::Ok && found.seen.contains("at work"), "{found:?}");
    open.rollback().unwrap();
});

on_servers!(prepared_transactions_are_told, [postgres, mariadb, mysql], |db| {
    let stream = db.stream();
    let name = format!("{}_x", db.name);
    let mut raw = db.raw();
    let (begin, prepare, end) = match db.kind {
        DatabaseKind::Postgres => (
            vec!["BEGIN".to_owned()],
            vec![format!("PREPARE TRANSACTION '{name}'")],
            format!("ROLLBACK PREPARED '{name}'"),
        ),
        _ => (
            vec![format!("XA START '{name}'")],
            vec![format!("XA END '{name}'"), format!("XA PREPARE '{name}'")],
            format!("XA ROLLBACK '{name}'"),
        ),
    };
    begin.iter().for_each(|sql| raw.exec(sql));
    raw.exec(&db.insert_sql("A"));
    prepare.iter().for_each(|sql| raw.exec(sql));
    let checks = look(&stream, None);
    raw.exec(&end);
    fails(&checks, &[]);
    let found = check(&checks, "prepared_transactions");
    // PostgreSQL tells since when, so that it is a warning after a minute only.
    assert!(found.seen.starts_with(|c: char| c.is_ascii_digit()), "{found:?}");
    assert_eq!(found.status == CheckStatus::Warning, db.kind == DatabaseKind::Mysql, "{found:?}");
});

on_servers!(columns_of_the_npm_package_are_a_warning, [mariadb, mysql], |db| {
    let stream = db.stream();
    db.raw().exec("DELETE FROM evt_schema WHERE version = '18.2'");
    let checks = look(&stream, None);
    fails(&checks, &[]);
    let found = check(&checks, "schema");
    assert!(found.status == CheckStatus::Warning && found.seen.contains("18.2"), "{found:?}");
    db.raw().exec("ALTER TABLE evt_queue CONVERT TO CHARACTER SET latin1");
    fails(&look(&stream, None), &["charset"]);
});

#[test]
fn a_pooler_in_transaction_mode_is_a_failure_and_one_in_session_mode_is_not() {
    let Some(db) = Db::on("postgres") else { return };
    db.stream().close();
    for (mode, status) in [("transaction", CheckStatus::Failure), ("session", CheckStatus::Ok)] {
        let name = format!("doctor-{mode}");
        let setting = format!("pool_mode = {mode}");
        let Some(pool) = Spare::bouncer_before(&db.url, &name, &[&setting]) else { return };
        let url = support::with_database(&pool.url, &db.name);
        match EventStream::open(&url) {
            Ok(stream) => {
                let checks = look(&stream, None);
                // The pooler may be noticed before the doctor has a connection.
                let told = checks.iter().find(|check| check.name == "pooler");
                let told = told.unwrap_or_else(|| check(&checks, "reachable"));
                assert_eq!(told.status, status, "{mode}: {checks:#?}");
                assert!(status == CheckStatus::Ok || format!("{told:?}").contains("pooler"));
                stream.close();
            }
            Err(error) => {
                assert_eq!(status, CheckStatus::Failure, "{mode}: {error}");
                assert!(error.to_string().contains("pooler=transaction"), "{error}");
            }
        }
        Spare::drop(&format!("pgbouncer-{name}"));
    }
}

#[test]
fn with_the_option_a_pooler_in_transaction_mode_is_told_and_all_checks_are_made() {
    let Some(db) = Db::on("postgres") else { return };
    db.stream().close();
    let Some(pool) = Spare::bouncer_before(&db.url, "doctor-option", &["pool_mode = transaction"])
    else {
        return;
    };
    let options = Options::new().set("pooler", "transaction").unwrap();
    let url = support::with_database(&pool.url, &db.name);
    let stream = EventStream::open_with(&url, &options).unwrap();
    stream.migrate().unwrap();
    let warehouse = Warehouse::open_with(&url, &options).unwrap();
    warehouse.migrate().unwrap();
    let checks = look(&stream, Some(&warehouse));
    fails(&checks, &[]);
    assert!(named(&checks, CheckStatus::Unknown).is_empty(), "{checks:#?}");
    let pooler = check(&checks, "pooler");
    assert!(pooler.seen.contains("as pooler=transaction says"), "{pooler:?}");
    // The same checks as without a pooler.
    let names = |checks: &[Check]| checks.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    let direct = EventStream::open(&db.url).unwrap();
    assert_eq!(names(&checks), names(&look(&direct, Some(&Warehouse::open(&db.url).unwrap()))));
    // What is wrong is found there, too; without sessions nobody undoes what the role has set.
    let set = "SET default_transaction_read_only = on";
    db.raw().exec(&format!("ALTER DATABASE {} {set}", db.name));
    db.kill_sessions();
    let checks = look(&EventStream::open_with(&db.url, &options).unwrap(), None);
    assert!(named(&checks, CheckStatus::Failure).contains("writable"), "{checks:#?}");
    stream.close();
    Spare::drop("pgbouncer-doctor-option");
}

on_servers!(a_database_that_gives_durability_away_is_a_warning, [postgres, postgres18], |db| {
    db.stream().close();
    let name = &db.name;
    db.raw().exec(&format!("ALTER DATABASE {name} SET synchronous_commit = off"));
    let checks = look(&EventStream::open(&db.url).unwrap(), None);
    fails(&checks, &[]);
    let found = check(&checks, "durability");
    assert_eq!(found.status, CheckStatus::Warning, "{found:?}");
    assert!(found.seen.contains("synchronous_commit=off"), "{found:?}");
});

on_each_server!(whether_ids_may_be_given_is_told, |db| {
    let accepts = check(&look(&db.stream(), None), "explicit_ids").seen.clone();
    assert!(accepts.contains("strict_ids=true"), "{accepts}");
    let strict = db.stream_with(&[("strict_ids", "true")]);
    let refuses = check(&look(&strict, None), "explicit_ids").seen.clone();
    assert!(refuses.contains("refuses them"), "{refuses}");
    fails(&look(&strict, None), &[]);
});

on_servers!(partitions_are_counted, [postgres, postgres18], |db| {
    let stream = db.stream();
    assert_eq!(check(&look(&stream, None), "partitions").seen, "0 of them");
    db.raw().exec("CREATE TABLE more () INHERITS (evt_queue)");
    assert_eq!(check(&look(&stream, None), "partitions").seen, "1 of them");
});

on_servers!(an_encrypted_connection_is_told, [postgres, mariadb, mysql], |db| {
    let Some(authority) = support::variable("FES_TEST_TLS_CA") else { return };
    db.stream().close();
    let (mode, certificates) = match db.kind {
        DatabaseKind::Postgres => ("sslmode", "sslrootcert"),
        _ => ("ssl-mode", "ssl-ca"),
    };
    let plain = [(mode, "disable")];
    let secret = [(mode, "require"), (certificates, authority.as_str())];
    for (parameters, wanted) in [(&plain[..], "not encrypted"), (&secret[..], "is encrypted")] {
        let url = db.url_with(|url| {
            url.set_host(Some("localhost")).unwrap();
            url.query_pairs_mut().extend_pairs(parameters);
        });
        let checks = look(&EventStream::open(&url).unwrap(), None);
        let tls = check(&checks, "tls");
        assert_eq!(tls.status, CheckStatus::Ok, "{tls:?}");
        assert!(tls.seen.contains(wanted), "{tls:?}");
    }
});

on_servers!(who_may_not_see_the_locks_is_warned, [mysql], |db| {
    db.stream().close();
    let Role(_, user, url) = &Role::new(db, "consumer");
    db.raw().exec(&format!("GRANT SELECT ON {}.evt_queue TO {user}", db.name));
    let see = || look(&EventStream::open(url).unwrap(), None);
    let found = check(&see(), "metadata_locks").clone();
    assert_eq!(found.status, CheckStatus::Warning, "{found:?}");
    let grant = found.remedy.unwrap().replace("this user", user);
    db.raw().exec(&grant);
    assert_eq!(check(&see(), "metadata_locks").status, CheckStatus::Ok);
});

on_servers!(ids_that_run_out_are_a_failure, [postgres, postgres18], |db| {
    let stream = db.stream();
    db.raw().exec("SELECT setval('evt_queue_id_seq', 950000000000000000)");
    fails(&look(&stream, None), &["ids_left"]);
});

on_servers!(a_table_without_ids_of_its_own_is_a_failure, [sqlite], |db| {
    db.stream().close();
    let mut raw = db.raw();
    raw.exec("DROP TABLE evt_queue");
    raw.exec("CREATE TABLE evt_queue (id INTEGER PRIMARY KEY, type TEXT, data TEXT, ts TEXT)");
    let checks = look(&EventStream::open(&db.url).unwrap(), None);
    assert_eq!(check(&checks, "sequence").status, CheckStatus::Failure, "{checks:#?}");
});

#[test]
fn a_subscriber_is_a_failure() {
    let Some(publisher) = Spare::make("doctor-pub", "postgres", &["-c", "wal_level=logical"])
    else {
        return;
    };
    let Some(subscriber) = Spare::make("doctor-sub", "postgres", &[]) else { return };
    let db = publisher.db();
    db.stream().close();
    db.raw().exec("CREATE PUBLICATION events FOR TABLE evt_queue");
    subscriber.root().exec(&format!("CREATE DATABASE {}", db.name));
    let url = support::with_database(&subscriber.url, &db.name);
    let stream = EventStream::open(&url).unwrap();
    stream.migrate().unwrap();
    let mut raw = support::Raw::connect(db.kind, &url);
    raw.exec(&format!("CREATE SUBSCRIPTION events CONNECTION '{}' PUBLICATION events", db.url));
    let checks = look(&stream, None);
    raw.exec("DROP SUBSCRIPTION events");
    let failed = named(&checks, CheckStatus::Failure);
    assert!(failed.contains("writable") && failed.contains("order"), "{checks:#?}");
    assert!(check(&checks, "writable").seen.contains("the subscription events"), "{checks:#?}");
    stream.close();
    Spare::drop("postgres-doctor-sub");
    drop(db);
    Spare::drop("postgres-doctor-pub");
}

#[test]
fn a_standby_is_a_failure() {
    let Some(primary) = Spare::make("doctor", "postgres", &[]) else { return };
    let db = primary.db();
    db.stream().close();
    let Some(standby) = primary.standby_of("doctor-standby") else { return };
    let url = support::with_database(&standby.url, &db.name);
    eventually("the tables are at the standby", || {
        let Ok(stream) = EventStream::open(&url) else { return false };
        check(&look(&stream, None), "tables").status == CheckStatus::Ok
    });
    let stream = EventStream::open(&url).unwrap();
    let checks = look(&stream, None);
    let failed = named(&checks, CheckStatus::Failure);
    assert_eq!(failed, BTreeSet::from(["writable", "order"]), "{checks:#?}");
    assert!(check(&checks, "writable").seen.contains("standby"), "{checks:#?}");
    stream.close();
    Spare::drop("postgres-standby-doctor-standby");
    drop(db);
    Spare::drop("postgres-doctor");
}

on_servers!(settings_of_a_server_are_told, [mariadb, mysql], |db| {
    let Some(spare) = Spare::make("doctor", db.server, &[]) else { return };
    let db = spare.db();
    let stream = db.stream();
    fails(&look(&stream, None), &[]);
    let mut root = spare.root();
    let mut with = |name: &str, value: &str, status: CheckStatus, wanted: &[&str]| {
        let before = root.texts(&format!("SELECT @@GLOBAL.{name}")).remove(0);
        root.exec(&format!("SET GLOBAL {name} = {value}"));
        // A stream of its own: sessions begin with these settings.
        let stream = EventStream::open(&db.url).unwrap();
        let checks = look(&stream, None);
        stream.close();
        let quote = if before.parse::<u64>().is_ok() { "" } else { "'" };
        root.exec(&format!("SET GLOBAL {name} = {quote}{before}{quote}"));
        let mut found = named(&checks, status);
        found.remove("durability");
        let mut wanted: BTreeSet<&str> = wanted.iter().copied().collect();
        if wanted.remove("durability") {
            assert_eq!(check(&checks, "durability").status, status, "{checks:#?}");
        }
        assert_eq!(found, wanted, "{name}: {checks:#?}");
    };
    with("read_only", "1", CheckStatus::Failure, &["writable", "order"]);
    with("auto_increment_increment", "2", CheckStatus::Failure, &["sequence", "writable", "order"]);
    with("autocommit", "0", CheckStatus::Warning, &["autocommit"]);
    with("init_connect", "'SET autocommit = 0'", CheckStatus::Warning, &["autocommit"]);
    with("sql_mode", "''", CheckStatus::Warning, &["sql_mode"]);
    with("innodb_flush_log_at_trx_commit", "2", CheckStatus::Warning, &["durability"]);
    with("max_allowed_packet", "1048576", CheckStatus::Warning, &["packet"]);
    if spare.server == "mariadb" {
        root.exec("UNINSTALL SONAME 'metadata_lock_info'");
        let checks = look(&stream, None);
        let found = check(&checks, "metadata_locks");
        assert_eq!(found.status, CheckStatus::Warning, "{found:?}");
        root.exec(found.remedy.as_deref().unwrap());
    }
    fails(&look(&stream, None), &[]);
    stream.close();
    Spare::drop(&format!("{}-doctor", spare.server));
});

#[test]
fn options_that_give_safety_away_are_warnings() {
    let db = Db::on("sqlite").unwrap();
    let stream =
        db.stream_with(&[("sqlite_synchronous", "normal"), ("allow_foreign_sqlite", "true")]);
    let checks = look(&stream, None);
    fails(&checks, &[]);
    let warned = named(&checks, CheckStatus::Warning);
    assert_eq!(warned, BTreeSet::from(["durability", "sqlite_library"]), "{checks:#?}");
}

#[test]
fn a_database_that_is_not_there_is_a_failed_check() {
    let error = EventStream::open("postgres://u@127.0.0.1:1/d").err().unwrap();
    let found = Check::unreachable(&error);
    assert_eq!((found.name.as_str(), found.status), ("reachable", CheckStatus::Failure));
    assert!(found.seen.contains("ConnectFailed"), "{found:?}");
}
