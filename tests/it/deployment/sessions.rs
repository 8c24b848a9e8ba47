//! What servers and callers may do to a session, and what must not come of it: events that are not
//! committed, events in another table, transactions that say OK to what did not happen.

use crate::support::{Db, everything, failure};
use futoin_eventstream::{DatabaseKind, ErrorKind, Transaction, Want};

/// Runs a statement in a transaction of ours, which is then committed.
fn run_in_transaction(db: &Db, stream: &futoin_eventstream::EventStream, sql: &str) {
    let mut transaction = stream.begin().unwrap();
    transaction.execute(sql, &[]).unwrap_or_else(|why| panic!("{}: {sql}: {why}", db.server));
    let _ = transaction.commit();
}

fn stored(db: &Db) -> i64 {
    db.raw().number("SELECT count(*) FROM evt_queue")
}

on_servers!(autocommit_that_a_caller_switches_off_reaches_nobody_else, [mariadb, mysql], |db| {
    let stream = db.stream_with(&[("max_connections", "1")]);
    db.raw().exec("CREATE PROCEDURE off() SET SESSION autocommit = 0");
    for sql in ["SET autocommit = 0", "SET SESSION autocommit = OFF", "CALL off()"] {
        let mut transaction = stream.begin().unwrap();
        transaction.execute(sql, &[]).unwrap();
        transaction.add_event("INSIDE", &1).unwrap();
        transaction.commit().unwrap();
        stream.consumer("app", "Audit").unwrap().register().unwrap();
        stream.add_event("OUTSIDE", &1).unwrap();
        stream
            .add_events(&vec![futoin_eventstream::NewEvent::new("MANY", &1).unwrap(); 3])
            .unwrap();
    }
    assert_eq!(stored(db), 15);
    assert_eq!(db.raw().number("SELECT count(*) FROM evt_consumers"), 1);
});

on_servers!(settings_of_one_callers_transaction_are_gone_for_the_next, [mariadb, mysql], |db| {
    let stream = db.stream_with(&[("max_connections", "1")]);
    let other = format!("{}_other", db.name);
    db.raw().exec(&format!("CREATE DATABASE {other}"));
    db.raw().exec(&format!("CREATE TABLE {other}.evt_queue LIKE evt_queue"));
    for sql in [
        &*format!("USE {other}"),
        "CREATE TEMPORARY TABLE evt_queue (id BIGINT AUTO_INCREMENT PRIMARY KEY, type TEXT, data TEXT, \
         ts DATETIME)",
        "SET SESSION sql_mode = ''",
        "SET SESSION time_zone = '+05:00'",
        "SET insert_id = 1000000",
        "SET SESSION sql_select_limit = 1",
        "SET SESSION TRANSACTION READ ONLY",
        "SET NAMES latin1",
        "SET SESSION completion_type = 1",
    ] {
        run_in_transaction(db, &stream, sql);
        let before = stored(db);
        stream.add_event("EVENT", &"€ 😀").unwrap();
        assert_eq!(stored(db), before + 1, "{sql}");
    }
    let events = everything(&stream);
    assert_eq!(events.len(), 9);
    assert!(events.iter().all(|event| event.id < 1000 && event.data.as_str() == "\"€ 😀\""));
    db.raw().exec(&format!("DROP DATABASE {other}"));
});

on_servers!(what_a_caller_leaves_in_a_session_is_gone_for_the_next, [postgres, postgres18], |db| {
    let stream = db.stream_with(&[("max_connections", "1")]);
    db.raw().exec("CREATE SCHEMA other");
    db.raw().exec("CREATE TABLE other.evt_queue (LIKE evt_queue INCLUDING ALL)");
    db.raw().exec("CREATE TABLE other.evt_consumers (LIKE evt_consumers INCLUDING ALL)");
    for sql in [
        "SET search_path = other",
        "SELECT set_config('search_path', 'other', false)",
        "CREATE TEMPORARY TABLE evt_queue (LIKE public.evt_queue INCLUDING ALL)",
        "SET default_transaction_read_only = on",
        "SET synchronous_commit = off",
        "SET timezone = 'Asia/Tokyo'",
        "SELECT pg_advisory_lock(4711)::text",
    ] {
        let mut transaction = stream.begin().unwrap();
        transaction.query(sql, &[]).unwrap();
        if !sql.contains("read_only") {
            transaction.add_event("INSIDE", &1).unwrap();
        }
        transaction.commit().unwrap();
        let before = stored(db);
        stream.add_event("EVENT", &1).unwrap();
        assert_eq!(db.raw().number("SELECT count(*) FROM public.evt_queue"), before + 1, "{sql}");
        let mut next = stream.begin().unwrap();
        let rows = next.query("SELECT current_setting('synchronous_commit')", &[]).unwrap();
        assert_eq!(rows[0][0].as_str(), Some("on"), "{sql}");
        next.rollback().unwrap();
    }
    assert_eq!(stored(db), 13, "6 inside, 7 alone");
    assert_eq!(db.raw().number("SELECT count(*) FROM other.evt_queue"), 0);
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711";
    assert_eq!(db.raw().number(locks), 0);
});

on_servers!(a_search_path_that_changes_leads_no_event_astray, [postgres, postgres18], |db| {
    let stream = db.stream();
    stream.add_event("EVENT", &1).unwrap();
    db.raw().exec("CREATE SCHEMA other");
    db.raw().exec("CREATE TABLE other.evt_queue (LIKE evt_queue INCLUDING ALL)");
    db.raw().exec("CREATE TABLE other.evt_consumers (LIKE evt_consumers INCLUDING ALL)");
    let audit = stream.consumer("app", "Audit").unwrap();
    audit.register().unwrap();
    let user = url::Url::parse(&db.url).unwrap().username().to_owned();
    // The second one is in force in place of the first one.
    for of in [format!("DATABASE {}", db.name), format!("ROLE {user} IN DATABASE {}", db.name)] {
        db.raw().exec(&format!("ALTER {of} SET search_path = other, public"));
        db.kill_sessions();
        let _ = stream.add_event("EVENT", &2);
        stream.add_event("EVENT", &3).unwrap();
        assert_eq!(db.raw().number("SELECT count(*) FROM other.evt_queue"), 0);
        let count = db.raw().number("SELECT count(*) FROM public.evt_queue");
        assert!(count >= 2);
        // Reading and acknowledging stay there, too.
        let events = audit.poll(None, &Want::all()).unwrap();
        let newest = events.last().unwrap().id;
        audit.acknowledge(newest).unwrap();
        assert!(newest as i64 >= count);
        let cursor = "SELECT last_evt_id FROM public.evt_consumers";
        assert_eq!(db.raw().number(cursor), newest as i64);
        db.raw().exec(&format!("ALTER {of} RESET search_path"));
    }
});

on_servers!(what_a_caller_leaves_in_sqlite_is_gone_for_the_next, [sqlite], |db| {
    let stream = db.stream_with(&[("max_connections", "1")]);
    let temporary = "CREATE TEMPORARY TABLE evt_queue (id INTEGER PRIMARY KEY AUTOINCREMENT, \
                     type TEXT, data TEXT, ts TEXT)";
    for sql in [temporary, "PRAGMA foreign_keys = ON", "ATTACH ':memory:' AS other"] {
        run_in_transaction(db, &stream, sql);
        let before = stored(db);
        stream.add_event("EVENT", &1).unwrap();
        assert_eq!(stored(db), before + 1, "{sql}");
    }
});

/// Statements by which a caller ends the transaction, and whether what came before is committed.
fn ends(kind: DatabaseKind) -> &'static [(&'static str, bool)] {
    match kind {
        DatabaseKind::Sqlite => &[("COMMIT", true), ("END", true), ("/* x */ ROLLBACK", false)],
        DatabaseKind::Postgres => &[
            ("COMMIT", true),
            ("-- done\n END", true),
            ("ROLLBACK", false),
            ("ABORT", false),
            ("COMMIT AND CHAIN", true),
            ("ROLLBACK AND CHAIN", false),
        ],
        DatabaseKind::Mysql => &[
            ("COMMIT", true),
            ("ROLLBACK", false),
            ("COMMIT AND CHAIN", true),
            ("ROLLBACK AND CHAIN", false),
            ("START TRANSACTION", true),
            ("CREATE TABLE made (id INT)", true),
            ("TRUNCATE TABLE users", true),
            ("CALL done()", true),
        ],
    }
}

on_each_server!(a_transaction_that_the_callers_sql_has_ended_says_so, |db| {
    let stream = db.stream();
    db.raw().exec("CREATE TABLE users (name varchar(50))");
    if db.kind == DatabaseKind::Mysql {
        db.raw().exec("CREATE PROCEDURE done() COMMIT");
    }
    let mut expected = 0;
    for (sql, committed) in ends(db.kind) {
        for after in [Transaction::commit, Transaction::rollback] {
            let mut transaction = stream.begin().unwrap();
            transaction.add_event("BEFORE", &1).unwrap();
            let error = transaction.execute(sql, &[]).expect_err(sql);
            assert_eq!(error.kind(), ErrorKind::TransactionEnded, "{sql}: {error}");
            assert!(!error.is_retriable());
            assert_eq!(failure(transaction.add_event("AFTER", &1)), ErrorKind::TransactionEnded);
            assert_eq!(failure(transaction.query("SELECT 1", &[])), ErrorKind::TransactionEnded);
            let ended = after(transaction);
            if let Err(error) = ended {
                assert_eq!(error.kind(), ErrorKind::TransactionEnded, "{sql}: {error}");
            }
            expected += i64::from(*committed);
            if sql.starts_with("CREATE TABLE") {
                db.raw().exec("DROP TABLE made");
            }
            assert_eq!(stored(db), expected, "{sql}");
            stream.add_event("NEXT", &1).unwrap();
            expected += 1;
        }
        let mut transaction = stream.begin().unwrap();
        transaction.add_event("BEFORE", &1).unwrap();
        let _ = transaction.execute(sql, &[]);
        assert_eq!(failure(transaction.commit()), ErrorKind::TransactionEnded, "{sql}");
        expected += i64::from(*committed);
        if sql.starts_with("CREATE TABLE") {
            db.raw().exec("DROP TABLE made");
        }
    }
});

on_servers!(tables_may_be_made_before_anything_was_written, [mariadb, mysql], |db| {
    let stream = db.stream();
    let mut transaction = stream.begin().unwrap();
    transaction.execute("CREATE TABLE made (id INT)", &[]).unwrap();
    transaction.add_event("UNDONE", &1).unwrap();
    transaction.rollback().unwrap();
    assert_eq!(stored(db), 0);
    let mut transaction = stream.begin().unwrap();
    transaction.execute("DROP TABLE made", &[]).unwrap();
    transaction.add_event("DONE", &1).unwrap();
    transaction.commit().unwrap();
    assert_eq!(stored(db), 1);
});

on_each_server!(two_statements_in_one_call_are_refused, |db| {
    let stream = db.stream();
    let mut transaction = stream.begin().unwrap();
    let two = format!("{}; {}", db.insert_sql("A"), db.insert_sql("B"));
    assert!(transaction.execute(&two, &[]).is_err());
    transaction.rollback().unwrap();
    assert_eq!(stored(db), 0);
});

on_each_server!(savepoints_and_failures_inside_do_not_count_as_the_end, |db| {
    let stream = db.stream();
    let mut transaction = stream.begin().unwrap();
    transaction.execute("SAVEPOINT one", &[]).unwrap();
    transaction.add_event("UNDONE", &1).unwrap();
    transaction.execute("ROLLBACK TO one", &[]).unwrap();
    transaction.execute("RELEASE SAVEPOINT one", &[]).unwrap();
    transaction.add_event("DONE", &1).unwrap();
    transaction.query("SELECT 1", &[]).unwrap();
    transaction.commit().unwrap();
    let events = everything(&stream);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].event_type, "DONE");
    let audit = stream.consumer("app", "Audit").unwrap();
    audit.register().unwrap();
    assert_eq!(audit.poll(None, &Want::all()).unwrap().len(), 1);
});
