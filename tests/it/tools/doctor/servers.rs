//! Servers: replicas, their settings, one that is not there.

use super::*;

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
    let url = crate::support::with_database(&subscriber.url, &db.name);
    let stream = EventStream::open(&url).unwrap();
    stream.migrate().unwrap();
    let mut raw = crate::support::Raw::connect(db.kind, &url);
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
    let url = crate::support::with_database(&standby.url, &db.name);
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
