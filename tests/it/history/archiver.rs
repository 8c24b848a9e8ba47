//! The warehouse and the archiver: what is in the stream gets into the history, exactly once.

use crate::support::{Db, Raw, everything, failure};
use futoin_eventstream::{
    Archiver, DatabaseKind, ErrorKind, Event, EventStream, HistoryNotice, NewEvent, Options, Want,
    Warehouse,
};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A stream and a warehouse, of one kind each.
struct Pair {
    stream: EventStream,
    warehouse: Warehouse,
    archiver: Archiver,
    active: Raw,
    history: Raw,
    kinds: [DatabaseKind; 2],
    notices: Arc<Mutex<Vec<String>>>,
    dwh: Db,
}

impl Pair {
    fn new(db: &Db, dwh: Db) -> Pair {
        Pair::with(db, dwh, Options::new())
    }

    fn with(db: &Db, dwh: Db, options: Options) -> Pair {
        let stream = db.stream();
        let warehouse = Warehouse::open(&dwh.url).unwrap();
        warehouse.migrate().unwrap();
        let archiver = Archiver::new(&stream, &warehouse, &options).unwrap();
        let notices = Arc::new(Mutex::new(Vec::new()));
        let list = notices.clone();
        archiver.on_notice(move |notice| list.lock().unwrap().push(format!("{notice:?}")));
        let (active, history, kinds) = (db.raw(), dwh.raw(), [db.kind, dwh.kind]);
        Pair { stream, warehouse, archiver, active, history, kinds, notices, dwh }
    }

    /// Both databases on the same server.
    fn beside(db: &Db) -> Pair {
        Pair::new(db, Db::on(db.server).unwrap())
    }

    fn add(&self, count: usize) {
        let events: Vec<NewEvent> =
            (0..count).map(|n| NewEvent::new("ADDED", &n).unwrap()).collect();
        self.stream.add_events(&events).unwrap();
    }

    /// What both tables hold, as the raw drivers see it.
    #[track_caller]
    fn must_be_equal(&mut self) {
        let stream = fingerprint(self.kinds[0], &mut self.active, "evt_queue");
        let history = fingerprint(self.kinds[1], &mut self.history, "evt_history");
        assert_eq!(stream, history);
    }

    fn heard(&self, text: &str) -> bool {
        self.notices.lock().unwrap().iter().any(|notice| notice.contains(text))
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        wait_until(|| self.heard(text), text);
    }

    fn count(&mut self) -> i64 {
        self.history.number("SELECT count(*) FROM evt_history")
    }
}

#[track_caller]
fn wait_until(done: impl Fn() -> bool, what: &str) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        sleep(Duration::from_millis(5));
    }
}

/// Number of rows, and a hash of all of them in order: ids, types, data, and times in seconds.
fn fingerprint(kind: DatabaseKind, raw: &mut Raw, table: &str) -> (usize, u64) {
    let row = match kind {
        DatabaseKind::Sqlite => {
            "id || '|' || type || '|' || ts || '|' || data FROM {} ORDER BY id".to_owned()
        }
        DatabaseKind::Postgres => "id || '|' || type || '|' || to_char(ts, \
             'YYYY-MM-DD HH24:MI:SS') || '|' || data FROM {} ORDER BY id"
            .to_owned(),
        DatabaseKind::Mysql => "CONCAT(id, '|', type, '|', DATE_FORMAT(ts, \
             '%Y-%m-%d %H:%i:%s'), '|', data) FROM {} ORDER BY id"
            .to_owned(),
    };
    let rows = raw.texts(&format!("SELECT {}", row.replace("{}", table)));
    let mut hasher = DefaultHasher::new();
    rows.hash(&mut hasher);
    (rows.len(), hasher.finish())
}

fn all_history(warehouse: &Warehouse) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let from = events.last().map_or(0, |event| event.id + 1);
        let more = warehouse.history(from, &Want::all(), 700).unwrap();
        if more.is_empty() {
            return events;
        }
        events.extend(more);
    }
}

/// JSON texts that something on the way may take for an invitation to change them.
fn awkward() -> Vec<NewEvent> {
    let long = format!("\"{}\"", "x".repeat(200_000));
    let texts = [
        "null",
        "1.0",
        "1e400",
        "-0",
        "12345678901234567890.10",
        r#"{"b":1,"a":2,"b":3}"#,
        " [ 1 ,\t2 ,\r\n3 ] ",
        r#""\\N \\. \t \n \u0000 \ud83d\ude00""#,
        r#""\ud800 alone, \udc00 alone""#,
        r#""C:\\new \"x\" || `y` %s""#,
        r#""'; DROP TABLE evt_history; --""#,
        "\"\u{1f600} äöü \u{2028}\"",
        &long,
    ];
    texts.iter().map(|text| NewEvent::from_json("AWKWARD", *text).unwrap()).collect()
}

/// One pair of databases: everything is archived, byte for byte, over several batches.
fn archives(active: &str, dwh: &str) {
    let (Some(db), Some(dwh)) = (Db::on(active), Db::on(dwh)) else { return };
    let mut pair = Pair::with(&db, dwh, Options::new().set("archive_batch", "100").unwrap());
    pair.stream.add_events(&awkward()).unwrap();
    pair.add(333);
    let fraction = if db.kind == DatabaseKind::Postgres { ".999999" } else { "" };
    for ts in ["1999-12-31 23:59:59", "2038-01-19 03:14:08", "1000-01-01 00:00:00"] {
        pair.active.exec(&format!(
            "INSERT INTO evt_queue(type, data, ts) VALUES ('BY_HAND', '[]', '{ts}{fraction}')"
        ));
    }
    let events = awkward().len() + 336;
    assert_eq!(pair.archiver.run_once().unwrap(), events as u64);
    pair.must_be_equal();
    assert_eq!(all_history(&pair.warehouse), everything(&pair.stream));
    assert_eq!(pair.archiver.run_once().unwrap(), 0);

    // The same by the thread, which goes on where the other one ended.
    pair.archiver.start().unwrap();
    pair.add(250);
    wait_until(|| all_history(&pair.warehouse).len() == events + 250, "the last 250");
    pair.archiver.stop();
    pair.must_be_equal();
    let lag = pair.stream.lag().unwrap();
    assert_eq!(lag.consumers[0].ident, "-internal:ARCHIVER");
    assert_eq!(lag.consumers[0].events_behind, 0);
}

macro_rules! pairs {
    ($($name:ident: $active:ident -> $dwh:ident;)+) => {
        mod the_history_has_what_the_stream_has {
            $(#[test]
            fn $name() {
                super::archives(stringify!($active), stringify!($dwh));
            })+
        }
    };
}

pairs! {
    sqlite_to_sqlite: sqlite -> sqlite;
    sqlite_to_postgres: sqlite -> postgres;
    sqlite_to_mariadb: sqlite -> mariadb;
    sqlite_to_mysql: sqlite -> mysql;
    postgres_to_sqlite: postgres -> sqlite;
    postgres_to_postgres18: postgres -> postgres18;
    postgres_to_mariadb: postgres -> mariadb;
    mariadb_to_sqlite: mariadb -> sqlite;
    mariadb_to_postgres: mariadb -> postgres;
    mariadb_to_mariadb: mariadb -> mariadb;
    mariadb_to_mysql: mariadb -> mysql;
    postgres18_to_mysql: postgres18 -> mysql;
    mysql_to_postgres18: mysql -> postgres18;
    mysql_to_mariadb: mysql -> mariadb;
    mysql_to_sqlite: mysql -> sqlite;
    mysql_to_mysql: mysql -> mysql;
}

on_each_server!(rows_that_are_there_already_are_compared_and_left, |db| {
    let mut pair = Pair::beside(db);
    pair.add(300);
    pair.archiver.run_once().unwrap();
    // As after a crash before the acknowledgement, of an archiver that had others before it.
    pair.active.exec("UPDATE evt_consumers SET last_evt_id = 0");
    pair.history.exec("DELETE FROM evt_history WHERE id BETWEEN 50 AND 200");
    assert_eq!(pair.archiver.run_once().unwrap(), 300);
    pair.must_be_equal();
});

on_each_server!(another_event_of_the_same_id_stops_the_archiver, |db| {
    let mut pair = Pair::beside(db);
    pair.add(20);
    pair.archiver.run_once().unwrap();
    let ts = pair.history.texts("SELECT ts FROM evt_history WHERE id = 7").remove(0);
    for (column, other, right) in [
        ("type", "'OTHER'", "'ADDED'".to_owned()),
        ("data", "'77'", "'6'".to_owned()),
        ("ts", "'2001-01-01 00:00:00'", format!("'{ts}'")),
    ] {
        pair.history.exec(&format!("UPDATE evt_history SET {column} = {other} WHERE id = 7"));
        pair.history.exec("DELETE FROM evt_history WHERE id > 10");
        pair.active.exec("UPDATE evt_consumers SET last_evt_id = 3");
        let error = pair.archiver.run_once().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HistoryConflict);
        assert!(error.to_string().contains("event 7 "), "{error}");
        pair.notices.lock().unwrap().clear();
        pair.archiver.start().unwrap();
        pair.wait_for("Stopped(Some(HistoryConflict");
        wait_until(|| !pair.archiver.is_running(), "the end of the thread");
        // Nothing of the batch was written, nothing acknowledged.
        assert_eq!(pair.count(), 10);
        assert_eq!(pair.active.number("SELECT last_evt_id FROM evt_consumers"), 3);
        pair.history.exec(&format!("UPDATE evt_history SET {column} = {right} WHERE id = 7"));
    }
    pair.archiver.run_once().unwrap();
    pair.must_be_equal();
});

on_each_server!(a_second_archiver_waits_says_why_and_takes_over, |db| {
    let mut pair = Pair::beside(db);
    pair.archiver.start().unwrap();
    pair.add(10);
    wait_until(|| all_history(&pair.warehouse).len() == 10, "the first archiver");

    let stream = db.stream();
    let second = Archiver::new(&stream, &pair.warehouse, &Options::new()).unwrap();
    assert_eq!(failure(second.run_once()), ErrorKind::Occupied);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let list = heard.clone();
    second.on_notice(move |notice| list.lock().unwrap().push(format!("{notice:?}")));
    second.start().unwrap();
    let waits = || heard.lock().unwrap().iter().any(|notice| notice.starts_with("Waiting("));
    wait_until(waits, "the second one's reason");
    pair.archiver.stop();
    pair.add(10);
    wait_until(|| all_history(&pair.warehouse).len() == 20, "the second archiver");
    second.stop();
    assert!(!second.is_running());
    pair.must_be_equal();
});

on_servers!(broken_connections_on_both_sides_are_made_again, [postgres, mariadb, mysql], |db| {
    let mut pair = Pair::with(
        db,
        Db::on(db.server).unwrap(),
        Options::new().set("archive_batch", "50").unwrap(),
    );
    pair.archiver.start().unwrap();
    for round in 0..10 {
        let other = if round % 2 == 0 { db } else { &pair.dwh };
        break_connections(other);
        // The stream's own connections break, too.
        while pair.stream.add_event("ADDED", &round).is_err() {}
        let some: Vec<_> = (0..200).map(|n| NewEvent::new("ADDED", &n).unwrap()).collect();
        let _ = pair.stream.add_events(&some);
        sleep(Duration::from_millis(20));
    }
    wait_until(|| all_history(&pair.warehouse).len() == everything(&pair.stream).len(), "all");
    pair.archiver.stop();
    (pair.active, pair.history) = (db.raw(), pair.dwh.raw());
    pair.must_be_equal();
});

/// Ends every session of the database but this one.
fn break_connections(db: &Db) {
    let mut raw = db.raw();
    match db.kind {
        DatabaseKind::Sqlite => {}
        DatabaseKind::Postgres => {
            raw.texts(
                "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            );
        }
        DatabaseKind::Mysql => {
            let ids = raw.texts(
                "SELECT id FROM information_schema.processlist \
                 WHERE db = DATABASE() AND id <> CONNECTION_ID()",
            );
            for id in ids {
                let _ = raw.try_exec(&format!("KILL {id}"));
            }
        }
    }
}

#[test]
fn an_event_that_the_warehouse_refuses_is_named_and_those_before_it_are_archived() {
    let (Some(db), Some(dwh)) = (Db::on("sqlite"), Db::on("postgres")) else { return };
    let mut pair = Pair::new(&db, dwh);
    pair.add(70);
    pair.active.exec(&db.insert_sql("BROKEN").replace("'null'", "'no JSON'"));
    pair.add(30);
    pair.archiver.start().unwrap();
    pair.wait_for("event 71 cannot be archived");
    assert!(pair.heard("ReceiverError("));
    assert_eq!(pair.count(), 70);
    pair.active.exec("UPDATE evt_queue SET data = 'null' WHERE id = 71");
    wait_until(|| all_history(&pair.warehouse).len() == 101, "the others");
    pair.archiver.stop();
    pair.must_be_equal();
}

on_each_server!(what_the_warehouse_has_lost_is_archived_again_as_far_as_it_is_there, |db| {
    let mut pair = Pair::beside(db);
    pair.add(50);
    pair.archiver.run_once().unwrap();
    pair.history.exec("DELETE FROM evt_history WHERE id > 30");
    assert_eq!(pair.archiver.run_once().unwrap(), 20);
    pair.must_be_equal();
    // An empty history is a new one: it begins with what comes now.
    pair.history.exec("DELETE FROM evt_history");
    pair.add(5);
    assert_eq!(pair.archiver.run_once().unwrap(), 5);
});

on_each_server!(the_archiver_tells_what_it_does, |db| {
    let pair = Pair::beside(db);
    let (new, done) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
    let (a, b) = (new.clone(), done.clone());
    pair.archiver.on_notice(move |notice| match notice {
        HistoryNotice::NewEvents(count) => *a.lock().unwrap() += count,
        HistoryNotice::ProcessedEvents(count) => {
            *b.lock().unwrap() += count;
            panic!("a panic in a notice is the caller's own");
        }
        _ => {}
    });
    pair.archiver.start().unwrap();
    for _ in 0..5 {
        pair.add(100);
    }
    wait_until(|| *done.lock().unwrap() == 500, "500 events");
    pair.archiver.stop();
    assert_eq!(*new.lock().unwrap(), 500);
});

on_each_server!(a_full_batch_that_is_the_last_one_is_acknowledged, |db| {
    let options = Options::new().set("archive_batch", "10").unwrap();
    let pair = Pair::with(db, Db::on(db.server).unwrap(), options);
    pair.add(10);
    pair.archiver.start().unwrap();
    pair.wait_for("ProcessedEvents(10)");
    assert_eq!(pair.stream.lag().unwrap().consumers[0].events_behind, 0);
});

on_each_server!(an_archiver_that_somebody_unregisters_comes_back, |db| {
    let mut pair = Pair::beside(db);
    pair.add(10);
    pair.archiver.start().unwrap();
    wait_until(|| all_history(&pair.warehouse).len() == 10, "the first ones");
    pair.active.exec("DELETE FROM evt_consumers");
    pair.wait_for("NotRegistered");
    pair.add(10);
    wait_until(|| all_history(&pair.warehouse).len() == 20, "the others");
    pair.archiver.stop();
    pair.must_be_equal();
});

on_each_server!(the_history_is_read_in_pieces_from_an_id_on, |db| {
    let pair = Pair::beside(db);
    for n in 0..30 {
        pair.stream.add_event(if n % 3 == 0 { "THIRD" } else { "OTHER" }, &n).unwrap();
    }
    pair.archiver.run_once().unwrap();
    let ids = |events: Vec<Event>| events.iter().map(|event| event.id).collect::<Vec<_>>();
    let (all, third) = (Want::all(), Want::types(&["THIRD"]).unwrap());
    assert_eq!(ids(pair.warehouse.history(0, &all, 2).unwrap()), [1, 2]);
    assert_eq!(ids(pair.warehouse.history(29, &all, 10).unwrap()), [29, 30]);
    assert_eq!(ids(pair.warehouse.history(31, &all, 10).unwrap()), [0; 0]);
    assert_eq!(ids(pair.warehouse.history(4, &third, 3).unwrap()), [4, 7, 10]);
    assert_eq!(failure(pair.warehouse.history(1, &all, 0)), ErrorKind::InvalidArgument);
    let small = Options::new().set("max_chunk_bytes", "3").unwrap();
    let small = Warehouse::open_with(&pair.dwh.url, &small).unwrap();
    assert_eq!(ids(small.history(1, &all, 10).unwrap()), [1, 2, 3]);
});

on_each_server!(the_warehouse_may_be_the_database_of_the_stream, |db| {
    let stream = db.stream();
    let options = Options::new().set("history_table", "all_events").unwrap();
    let warehouse = Warehouse::open_with(&db.url, &options).unwrap();
    assert_eq!(failure(warehouse.history(1, &Want::all(), 1)), ErrorKind::NotMigrated);
    let archiver = Archiver::new(&stream, &warehouse, &options).unwrap();
    stream.add_event("ADDED", &1).unwrap();
    assert_eq!(failure(archiver.run_once()), ErrorKind::NotMigrated);
    warehouse.migrate().unwrap();
    warehouse.migrate().unwrap();
    assert_eq!(archiver.run_once().unwrap(), 1);
    assert_eq!(db.raw().number("SELECT count(*) FROM all_events"), 1);
    warehouse.close();
    assert_eq!(failure(warehouse.history(1, &Want::all(), 1)), ErrorKind::Closed);
    archiver.start().unwrap();
    wait_until(|| !archiver.is_running(), "an archiver without its warehouse");
});

on_each_server!(a_table_that_is_no_history_is_refused, |db| {
    db.raw().exec("CREATE TABLE evt_history (id integer, name varchar(10))");
    let warehouse = Warehouse::open(&db.url).unwrap();
    assert_eq!(failure(warehouse.migrate()), ErrorKind::ForeignSchema);
    let unknown = Options::new().set("histroy_table", "x").unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::InvalidOption);
});

on_servers!(nothing_is_left_of_an_archiver, [postgres, mariadb, mysql], |db| {
    let pair = Pair::beside(db);
    pair.archiver.start().unwrap();
    pair.add(100);
    wait_until(|| all_history(&pair.warehouse).len() == 100, "100 events");
    pair.archiver.stop();
    pair.stream.close();
    pair.warehouse.close();
    let sql = match db.kind {
        DatabaseKind::Postgres => {
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND pid <> pg_backend_pid() AND application_name = 'futoin-eventstream'"
        }
        _ => {
            "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() \
             AND id <> CONNECTION_ID()"
        }
    };
    // The pair has a raw connection to each.
    let own = if db.kind == DatabaseKind::Postgres { 0 } else { 1 };
    for database in [db, &pair.dwh] {
        let mut raw = database.raw();
        let start = Instant::now();
        while raw.number(sql) != own {
            assert!(start.elapsed() < Duration::from_secs(5), "connections were left");
            sleep(Duration::from_millis(20));
        }
    }
});
