//! Servers that only look like PostgreSQL, as they do not show who is writing, and proxies that send
//! what is read to another server than what is written.

use crate::support::Db;
use crate::support::pg_splitter::{self, Elsewhere};
use crate::support::spare::{Spare, eventually};
use futoin_eventstream::{ErrorKind, EventStream, Result, Want};

/// Lets a database show only locks that fulfil the condition.
fn show_locks(db: &Db, condition: &str) {
    let mut admin = db.raw();
    admin.exec("SET allow_system_table_mods = on");
    admin.exec(&format!(
        "CREATE OR REPLACE VIEW pg_catalog.pg_locks AS SELECT * FROM pg_lock_status() WHERE {condition}"
    ));
}

// What such a server shows is made in a database of the test's own, where the system's view is replaced.
on_servers!(a_server_that_shows_no_locks_is_refused, [postgres, postgres18], |db| {
    let stream = db.stream();
    let audit = stream.consumer("app", "Audit").unwrap();
    audit.register().unwrap();
    let first = stream.add_event("EVENT", &1).unwrap();
    assert_eq!(audit.poll(None, &Want::all()).unwrap().len(), 1);
    show_locks(db, "false");
    // Ids that follow each other are settled whoever writes; behind a gap somebody may be writing.
    let mut undone = stream.begin().unwrap();
    undone.add_event("UNDONE", &2).unwrap();
    undone.rollback().unwrap();
    stream.add_event("EVENT", &3).unwrap();
    for _ in 0..3 {
        let error = audit.poll(Some(first), &Want::all()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsafeServer, "{error}");
        assert!(error.to_string().contains("pg_locks"), "{error}");
    }
    show_locks(db, "true");
    assert_eq!(audit.poll(Some(first), &Want::all()).unwrap().len(), 1);
});

// Neither is a view of the same name before the system's in the search path believed.
on_servers!(a_view_in_place_of_the_locks_is_not_asked, [postgres, postgres18], |db| {
    db.stream().consumer("app", "Audit").unwrap().register().unwrap();
    let mut admin = db.raw();
    admin.exec("CREATE SCHEMA fake");
    admin.exec("CREATE VIEW fake.pg_locks AS SELECT * FROM pg_catalog.pg_locks WHERE false");
    let path = format!("ALTER DATABASE {} SET search_path = fake, public, pg_catalog", db.name);
    admin.exec(&path);
    let stream = db.stream();
    let mut writer = stream.begin().unwrap();
    writer.add_event("LATE", &1).unwrap();
    stream.add_event("EARLY", &2).unwrap();
    let audit = stream.consumer("app", "Audit").unwrap();
    assert_eq!(audit.poll(None, &Want::all()).unwrap().len(), 0, "the writer is not seen");
    writer.commit().unwrap();
    assert_eq!(audit.poll(None, &Want::all()).unwrap().len(), 2);
});

on_servers!(a_server_that_shows_only_own_locks_is_refused, [postgres, postgres18], |db| {
    let stream = db.stream();
    stream.consumer("app", "Audit").unwrap().register().unwrap();
    show_locks(db, "pid = pg_backend_pid()");
    let mut late = db.raw();
    late.exec("BEGIN");
    late.exec(&db.insert_sql("LATE"));
    stream.add_event("EVENT", &2).unwrap();
    for _ in 0..3 {
        let error = poll(&stream).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsafeServer, "{error}");
        assert!(error.to_string().contains("another session of ours"), "{error}");
    }
});

fn poll(stream: &EventStream) -> Result<Vec<u64>> {
    let events = stream.consumer("app", "Audit")?.poll(None, &Want::all())?;
    Ok(events.iter().map(|event| event.id).collect())
}

fn port(url: &str) -> u16 {
    url::Url::parse(url).unwrap().port().unwrap()
}

/// Lets everybody in without a password, on this server and on those that are made from it.
fn open_the_door(server: &Spare) {
    let mut root = server.root();
    let file = root.texts("SHOW hba_file").remove(0);
    root.exec(&format!(
        "COPY (VALUES ('host all all 127.0.0.1/32 trust'), ('host replication all 127.0.0.1/32 trust'), \
         ('local all all trust')) TO '{file}'"
    ));
    root.texts("SELECT pg_reload_conf()");
}

/// The stream through a proxy before two servers.
fn through(db: &Db, servers: [&Spare; 2], elsewhere: Elsewhere) -> EventStream {
    let split = pg_splitter::start(port(&servers[0].url), port(&servers[1].url), elsewhere);
    let url = db.url_with(|url| {
        url.set_port(Some(split)).unwrap();
        url.query_pairs_mut().append_pair("sslmode", "disable");
    });
    EventStream::open(&url).unwrap()
}

fn reads(sql: &str, prepared: bool) -> bool {
    prepared && sql.starts_with("SELECT")
}

fn reads_of_events(sql: &str, _: bool) -> bool {
    sql.starts_with("SELECT id, type, data, ts FROM")
}

fn looks(sql: &str, prepared: bool) -> bool {
    !prepared && sql.starts_with("SELECT")
}

#[track_caller]
fn assert_refused(stream: &EventStream) {
    for _ in 0..3 {
        let error = poll(stream).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsafeServer, "{error}");
        assert!(error.to_string().contains("proxy"), "{error}");
    }
}

/// A proxy before this primary and another server: refused while event 1 is not committed yet, whose
/// writer only the primary shows, and afterwards, as the other one knows nothing of it. `copy` brings
/// event 2 to the other one.
fn a_splitting_proxy_is_refused(
    db: &Db,
    servers: [&Spare; 2],
    copy: impl FnOnce(),
    cases: &[Elsewhere],
) {
    let stream = db.stream();
    stream.consumer("app", "Audit").unwrap().register().unwrap();
    let mut late = stream.begin().unwrap();
    assert_eq!(late.add_event("LATE", &1).unwrap(), 1);
    stream.add_event("EARLY", &2).unwrap();
    copy();
    assert_refused(&through(db, servers, looks));
    late.commit().unwrap();
    for elsewhere in cases {
        assert_refused(&through(db, servers, *elsewhere));
    }
    // Both to one server: nothing is wrong with the proxy itself.
    assert_eq!(poll(&through(db, [servers[0]; 2], reads)).unwrap(), [1, 2]);
}

#[test]
fn a_proxy_that_sends_reads_to_a_standby_is_refused() {
    let Some(primary) = Spare::make("split", "postgres", &[]) else { return };
    open_the_door(&primary);
    let Some(standby) = primary.standby_of("split") else { return };
    let db = primary.db();
    let there = crate::support::with_database(&standby.url, &db.name);
    let there = || crate::support::Raw::connect(db.kind, &there);
    let copy = || {
        eventually("the early event is at the standby", || {
            std::panic::catch_unwind(there).is_ok_and(|mut raw| {
                raw.try_exec("SELECT 1 FROM evt_queue").is_ok()
                    && raw.number("SELECT count(*) FROM evt_queue") == 1
            })
        });
        there().texts("SELECT pg_wal_replay_pause()::text");
    };
    a_splitting_proxy_is_refused(&db, [&primary, &standby], copy, &[reads, reads_of_events]);
    drop(db);
    Spare::drop("postgres-standby-split");
    Spare::drop("postgres-split");
}

// As a replica by logical replication, or what is left of a failover: it takes itself for a primary.
#[test]
fn a_proxy_that_sends_reads_to_another_primary_is_refused() {
    let Some(primary) = Spare::make("split-primary", "postgres", &[]) else { return };
    let Some(other) = Spare::make("split-other", "postgres", &[]) else { return };
    open_the_door(&primary);
    open_the_door(&other);
    let db = primary.db();
    let copy = || {
        other.root().exec(&format!("CREATE DATABASE {}", db.name));
        let there = crate::support::with_database(&other.url, &db.name);
        let stream = EventStream::open(&there).unwrap();
        stream.migrate().unwrap();
        stream.consumer("app", "Audit").unwrap().register().unwrap();
        let sql = db.insert_sql("EARLY").replace("(type,", "(id, type,");
        let sql = sql.replace("VALUES (", "VALUES (2, ");
        crate::support::Raw::connect(db.kind, &there).exec(&sql);
    };
    a_splitting_proxy_is_refused(&db, [&primary, &other], copy, &[reads]);
    drop(db);
    Spare::drop("postgres-split-other");
    Spare::drop("postgres-split-primary");
}
