//! Proves order without loss for one interleaving after the other: whoever draws an id, and
//! however its transaction goes on, events behind it are kept back until it has ended, and come in
//! order then; and nothing else delays them.
//!
//! All tests look with three readers that share a stream: one of all events, one with a filter,
//! and LIVE.

mod support;

use futoin_eventstream::{Consumer, DatabaseKind, ErrorKind, EventStream, Want};
use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};
use support::{Db, Raw, failure};

/// Much longer than it takes to notice that a transaction has ended.
const SOON: Duration = Duration::from_secs(5);
/// What counts as "at once", on a machine that runs many tests.
const PROMPT: Duration = Duration::from_secs(1);
/// How long a writer of these tests stays open.
const LONG: Duration = Duration::from_secs(3);

/// The types of events: the filtered reader wants the first only.
const TYPE: &str = "ORDER_A";
const OTHER_TYPE: &str = "ORDER_B";

/// Three readers of a stream, in one test thread.
struct Readers {
    readers: Vec<Reader>,
}

struct Reader {
    name: &'static str,
    consumer: Consumer,
    want: Want,
    last: Cell<Option<u64>>,
}

impl Readers {
    fn new(stream: &EventStream) -> Readers {
        let filter = Want::types(&[TYPE]).unwrap();
        let readers = [("All", Want::all()), ("Filtered", filter), ("LIVE", Want::all())];
        let readers = readers.map(|(name, want)| {
            let consumer = stream.consumer("app", name).unwrap();
            if consumer.is_live() {
                assert!(consumer.poll(None, &want).unwrap().is_empty());
            } else {
                consumer.register().unwrap();
            }
            Reader { name, consumer, want, last: Cell::new(None) }
        });
        Readers { readers: readers.into() }
    }

    /// Each gets exactly these next, in this order, and soon.
    #[track_caller]
    fn get(&self, ids: &[u64]) {
        self.get_within(ids, SOON);
    }

    #[track_caller]
    fn get_within(&self, ids: &[u64], time: Duration) {
        self.get_some(ids, ids, time);
    }

    /// As [`get`](Self::get), where the filtered reader wants less.
    #[track_caller]
    fn get_some(&self, ids: &[u64], wanted: &[u64], time: Duration) {
        let end = Instant::now() + time;
        for reader in &self.readers {
            let expected = if reader.want.names().is_some() { wanted } else { ids };
            let mut got = Vec::new();
            while got.len() < expected.len() && Instant::now() < end {
                got.extend(reader.poll());
                thread::sleep(Duration::from_millis(5));
            }
            assert_eq!(got, expected, "{} within {time:?}", reader.name);
        }
    }

    /// None of them gets anything, for a while.
    #[track_caller]
    fn get_nothing(&self) {
        for _ in 0..4 {
            for reader in &self.readers {
                let got = reader.poll();
                assert!(got.is_empty(), "{}: {got:?}", reader.name);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Reader {
    /// The ids of the next events, which the next poll acknowledges.
    fn poll(&self) -> Vec<u64> {
        let events = self.consumer.poll(self.last.get(), &self.want).unwrap();
        if let Some(event) = events.last() {
            self.last.set(Some(event.id));
        }
        events.iter().map(|event| event.id).collect()
    }
}

/// Adds an event by plain SQL and returns its id.
fn insert(db: &Db, raw: &mut Raw) -> u64 {
    insert_type(db, raw, TYPE)
}

fn insert_type(db: &Db, raw: &mut Raw, event_type: &str) -> u64 {
    raw.exec(&db.insert_sql(event_type));
    let id = match db.kind {
        DatabaseKind::Sqlite => raw.number("SELECT last_insert_rowid()"),
        DatabaseKind::Postgres => raw.number("SELECT lastval()"),
        DatabaseKind::Mysql => raw.number("SELECT LAST_INSERT_ID()"),
    };
    id as u64
}

/// Adds many events by one statement.
fn insert_many(db: &Db, raw: &mut Raw, count: usize) {
    let sql = db.insert_sql(TYPE);
    let (insert, row) = sql.split_once("VALUES ").unwrap();
    raw.exec(&format!("{insert} VALUES {}", vec![row; count].join(", ")));
}

/// Draws an id that never appears.
fn burn(db: &Db, raw: &mut Raw) {
    raw.exec("BEGIN");
    insert(db, raw);
    raw.exec("ROLLBACK");
}

/// The server's name of the session.
fn session(db: &Db, raw: &mut Raw) -> i64 {
    raw.number(match db.kind {
        DatabaseKind::Mysql => "SELECT CONNECTION_ID()",
        _ => "SELECT pg_backend_pid()",
    })
}

/// Waits until something is so.
#[track_caller]
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !so() {
        assert!(Instant::now() < end, "not within {SOON:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Tries a statement until it succeeds.
#[track_caller]
fn exec_soon(raw: &mut Raw, sql: &str) {
    until(sql, || raw.try_exec(sql).is_ok());
}

/// A statement that runs in a session and a thread of its own, when this returns.
fn in_background(db: &Db, sql: String) -> thread::JoinHandle<()> {
    let mut raw = db.raw();
    if db.kind == DatabaseKind::Mysql {
        // Fewer locks, in whose way others would have to wait.
        raw.exec("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED");
    }
    let thread = thread::spawn(move || {
        raw.texts(&sql);
    });
    thread::sleep(Duration::from_millis(150));
    thread
}

// Transactions that end.

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

on_servers!(
    a_long_writer_holds_up_neither_what_is_before_it_nor_other_writers,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let stream = db.stream();
        let readers = Readers::new(&stream);
        let (mut slow, mut fast) = (db.raw(), db.raw());
        slow.exec("BEGIN");
        let before = [insert(db, &mut fast), insert(db, &mut fast)];
        let mut behind = vec![insert(db, &mut slow)];
        readers.get_within(&before, PROMPT);
        let began = Instant::now();
        let mut slowest = Duration::ZERO;
        while began.elapsed() < LONG {
            let insert_began = Instant::now();
            behind.push(insert(db, &mut fast));
            slowest = slowest.max(insert_began.elapsed());
            if behind.len().is_multiple_of(3) {
                burn(db, &mut fast);
            }
            for reader in &readers.readers {
                let got = reader.poll();
                assert!(got.is_empty(), "{}: {got:?}", reader.name);
            }
            thread::sleep(Duration::from_millis(20));
        }
        println!("{}: slowest insert of {}: {slowest:?}", db.server, behind.len());
        assert!(slowest < PROMPT, "an insert took {slowest:?}");
        slow.exec("COMMIT");
        readers.get_within(&behind, PROMPT);
    }
);

on_servers!(
    a_reader_that_comes_while_a_writer_is_open_gets_what_is_before_it,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let (mut slow, mut fast) = (db.raw(), db.raw());
        db.stream();
        let before = [insert(db, &mut fast), insert(db, &mut fast)];
        slow.exec("BEGIN");
        let late = insert(db, &mut slow);
        let early = insert(db, &mut fast);
        for component in ["All", "Filtered"] {
            // A handle of its own, which has never looked before.
            let stream = db.stream();
            let consumer = stream.consumer("app", component).unwrap();
            consumer.register().unwrap();
            let want = if component == "All" { Want::all() } else { Want::types(&[TYPE]).unwrap() };
            let ids = || -> Vec<u64> {
                consumer.poll(None, &want).unwrap().iter().map(|event| event.id).collect()
            };
            until("the prefix", || ids() == before);
            let lag = db.stream().lag().unwrap();
            assert_eq!(lag.first_unsettled, Some(late));
        }
        slow.exec("COMMIT");
        let stream = db.stream();
        let consumer = stream.consumer("app", "Filtered").unwrap();
        let want = Want::types(&[TYPE]).unwrap();
        until("the rest", || consumer.poll(Some(before[1]), &want).unwrap().len() == 2);
        assert_eq!(consumer.poll(None, &want).unwrap()[1].id, early);
    }
);

// What delays nothing.

on_each_server!(a_transaction_that_adds_no_event_delays_nothing, |db| {
    let readers = Readers::new(&db.stream());
    let (mut open, mut raw) = (db.raw(), db.raw());
    raw.exec("CREATE TABLE other(id INT)");
    burn(db, &mut raw);
    let first = insert(db, &mut raw);
    open.exec("BEGIN");
    if db.kind != DatabaseKind::Sqlite {
        open.exec("INSERT INTO other(id) VALUES (1)");
    }
    open.texts("SELECT id FROM evt_queue");
    readers.get_within(&[first], PROMPT);
    burn(db, &mut raw);
    let second = insert(db, &mut raw);
    readers.get_within(&[second], PROMPT);
    open.exec("ROLLBACK");
});

on_servers!(
    an_open_writer_of_another_database_delays_nothing,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let other = Db::on(db.server).unwrap();
        other.stream();
        let readers = Readers::new(&db.stream());
        let (mut open, mut raw) = (other.raw(), db.raw());
        open.exec("BEGIN");
        insert(&other, &mut open);
        burn(db, &mut raw);
        let id = insert(db, &mut raw);
        readers.get_within(&[id], PROMPT);
    }
);

on_servers!(
    an_open_writer_of_another_stream_delays_nothing,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let other = [("event_table", "other_queue"), ("consumer_table", "other_consumers")];
        db.stream_with(&other);
        let readers = Readers::new(&db.stream());
        let (mut open, mut raw) = (db.raw(), db.raw());
        open.exec("BEGIN");
        open.exec(&db.insert_sql(TYPE).replace("evt_queue", "other_queue"));
        burn(db, &mut raw);
        let id = insert(db, &mut raw);
        readers.get_within(&[id], PROMPT);
    }
);

on_servers!(locks_that_draw_no_id_delay_nothing, [postgres, postgres18], |db| {
    let readers = Readers::new(&db.stream());
    let (mut open, mut raw) = (db.raw(), db.raw());
    let modes =
        ["ROW SHARE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE"];
    let locks = modes.map(|mode| format!("LOCK TABLE evt_queue IN {mode} MODE"));
    for lock in locks.into_iter().chain(["SELECT id FROM evt_queue FOR UPDATE".to_owned()]) {
        burn(db, &mut raw);
        let id = insert(db, &mut raw);
        open.exec(&format!("BEGIN; {lock}"));
        readers.get_within(&[id], PROMPT);
        open.exec("ROLLBACK");
    }
    burn(db, &mut raw);
    let id = insert(db, &mut raw);
    raw.exec("VACUUM evt_queue");
    readers.get_within(&[id], PROMPT);
});

on_servers!(a_long_read_of_the_events_delays_nothing, [mariadb, mysql], |db| {
    let readers = Readers::new(&db.stream());
    let mut raw = db.raw();
    let first = insert(db, &mut raw);
    readers.get(&[first]);
    // Keeps the table in use, and proves nothing else about it.
    let read = in_background(db, "SELECT SLEEP(3) FROM evt_queue LIMIT 1".to_owned());
    for _ in 0..5 {
        burn(db, &mut raw);
        let id = insert(db, &mut raw);
        readers.get_within(&[id], PROMPT);
    }
    assert!(!read.is_finished(), "the read ended too early to prove anything");
    read.join().unwrap();
});

on_servers!(lock_tables_loses_nothing, [mariadb, mysql], |db| {
    let readers = Readers::new(&db.stream());
    let (mut locker, mut raw) = (db.raw(), db.raw());
    burn(db, &mut raw);
    let first = insert(db, &mut raw);
    locker.exec("LOCK TABLES evt_queue READ");
    readers.get_within(&[first], PROMPT);
    locker.exec("UNLOCK TABLES");

    locker.exec("LOCK TABLES evt_queue WRITE");
    let late = insert(db, &mut locker);
    let waiting = in_background(db, db.insert_sql(TYPE));
    locker.exec("UNLOCK TABLES");
    waiting.join().unwrap();
    readers.get(&[late, late + 1]);
});

// Statements that are slow to insert what they allocated.

on_servers!(
    a_slow_insert_of_many_rows_is_waited_for,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let readers = Readers::new(&db.stream());
        let mut raw = db.raw();
        let slow = match db.kind {
            DatabaseKind::Mysql => {
                "SELECT 'ORDER_A', 'null', UTC_TIMESTAMP() FROM (SELECT 1 UNION ALL SELECT 2 UNION ALL \
             SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5) many WHERE SLEEP(0.2) = 0"
            }
            _ => {
                "SELECT 'ORDER_A', 'null', now() FROM generate_series(1, 5) many, \
             LATERAL (SELECT pg_sleep(0.2 + 0 * many)) AS slowly"
            }
        };
        let slow = in_background(db, format!("INSERT INTO evt_queue(type, data, ts) {slow}"));
        // Where the whole table is locked for the statement's ids, this waits for it.
        let mut others = vec![insert(db, &mut raw)];
        let mut got = Vec::new();
        while !slow.is_finished() {
            burn(db, &mut raw);
            others.push(insert(db, &mut raw));
            got.extend(readers.readers[0].poll());
            thread::sleep(Duration::from_millis(10));
        }
        slow.join().unwrap();
        let ids = raw.texts("SELECT id FROM evt_queue ORDER BY id");
        let ids: Vec<u64> = ids.iter().map(|id| id.parse().unwrap()).collect();
        assert_eq!(ids.len(), others.len() + 5);
        until("all events", || {
            got.extend(readers.readers[0].poll());
            got.len() >= ids.len()
        });
        assert_eq!(got, ids);
    }
);

on_servers!(an_insert_that_is_slow_after_drawing_its_id_is_waited_for, [mariadb, mysql], |db| {
    let readers = Readers::new(&db.stream());
    let mut raw = db.raw();
    raw.exec("ALTER TABLE evt_queue ADD UNIQUE (type)");
    // A row for duplicates, and one that keeps their locks from the others.
    let known = [insert_type(db, &mut raw, "A"), insert_type(db, &mut raw, "B")];
    // Draws three ids, finds the rows of the first two to be there already, and takes its time.
    let slow = in_background(
        db,
        format!(
            "INSERT IGNORE INTO evt_queue(type, data, ts) VALUES ('A', '', NOW()), \
             ('A', '', NOW()), ('{TYPE}', IF(SLEEP(1) = 0, 'null', ''), NOW())"
        ),
    );
    let behind = insert_type(db, &mut raw, OTHER_TYPE);
    assert_eq!(behind, known[1] + 4, "the slow insert has not allocated its ids");
    raw.exec("SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED");
    assert_eq!(raw.number("SELECT COUNT(*) FROM evt_queue"), 3, "its row is there already");
    readers.get_some(&known, &[], SOON);
    readers.get_nothing();
    slow.join().unwrap();
    let late = raw.number(&format!("SELECT id FROM evt_queue WHERE type = '{TYPE}'")) as u64;
    assert!(late < behind);
    readers.get_some(&[late, behind], &[late], SOON);
});

on_servers!(
    an_insert_that_waits_in_a_trigger_is_waited_for,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let readers = Readers::new(&db.stream());
        let (mut locker, mut raw) = (db.raw(), db.raw());
        raw.exec("CREATE TABLE gate(id INT PRIMARY KEY)");
        raw.exec("INSERT INTO gate VALUES (1)");
        if db.kind == DatabaseKind::Mysql {
            raw.exec(&format!(
                "CREATE TRIGGER pass BEFORE INSERT ON evt_queue FOR EACH ROW \
                 IF NEW.type = '{TYPE}' THEN SET @passed = \
                 (SELECT id FROM gate WHERE id = 1 LOCK IN SHARE MODE); END IF"
            ));
        } else {
            raw.exec(&format!(
                "CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 PERFORM 1 FROM gate FOR SHARE; RETURN NEW; END $$; \
                 CREATE TRIGGER pass BEFORE INSERT ON evt_queue FOR EACH ROW \
                 WHEN (NEW.type = '{TYPE}') EXECUTE FUNCTION pass()"
            ));
        }
        locker.exec("BEGIN");
        locker.texts("SELECT id FROM gate WHERE id = 1 FOR UPDATE");
        let waiting = in_background(db, db.insert_sql(TYPE));
        let other = insert_type(db, &mut raw, OTHER_TYPE);
        // PostgreSQL has allocated the id of the waiting one already, the others have not.
        let allocated = db.kind == DatabaseKind::Postgres;
        assert_eq!(other, if allocated { 2 } else { 1 });
        if allocated {
            readers.get_nothing();
        } else {
            readers.get_some(&[other], &[], SOON);
        }
        locker.exec("COMMIT");
        waiting.join().unwrap();
        if allocated {
            readers.get_some(&[1, 2], &[1], SOON);
        } else {
            readers.get(&[2]);
        }
    }
);

// Readers that are not where the others are.

on_servers!(
    an_empty_filtered_poll_does_not_skip_an_open_event,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let stream = db.stream();
        let consumer = stream.consumer("app", "Rare").unwrap();
        consumer.register().unwrap();
        let want = Want::types(&[OTHER_TYPE]).unwrap();
        let (mut slow, mut fast) = (db.raw(), db.raw());
        slow.exec("BEGIN");
        let first = insert(db, &mut fast);
        let late = insert_type(db, &mut slow, OTHER_TYPE);
        insert(db, &mut fast);
        for _ in 0..10 {
            assert!(consumer.poll(None, &want).unwrap().is_empty());
        }
        let cursor = fast.number("SELECT last_evt_id FROM evt_consumers");
        assert!(cursor <= first as i64, "the cursor jumped to {cursor}, over {late}");
        slow.exec("COMMIT");
        until("the open one", || {
            consumer.poll(None, &want).unwrap().first().map(|event| event.id) == Some(late)
        });
    }
);

on_servers!(
    who_skips_ahead_settles_nothing_for_the_others,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let stream = db.stream();
        let readers = Readers::new(&stream);
        let skipper = stream.consumer("app", "Skipper").unwrap();
        skipper.register().unwrap();
        let live = stream.live("other").unwrap();
        let (mut slow, mut fast) = (db.raw(), db.raw());
        slow.exec("BEGIN");
        let late = insert(db, &mut slow);
        let skipped = insert(db, &mut fast);
        burn(db, &mut fast);
        let behind = insert(db, &mut fast);
        // Both stand behind the open event now, and look at the gap there.
        skipper.acknowledge(skipped).unwrap();
        live.poll(Some(skipped), &Want::all()).unwrap();
        for _ in 0..3 {
            skipper.poll(None, &Want::all()).unwrap();
            live.poll(None, &Want::all()).unwrap();
            stream.lag().unwrap();
        }
        // One that starts now stands at the highest id.
        stream.live("third").unwrap().poll(None, &Want::all()).unwrap();
        readers.get_nothing();
        slow.exec("COMMIT");
        readers.get(&[late, skipped, behind]);
    }
);

on_servers!(
    a_filtered_reader_of_a_large_backlog_does_not_skip_an_open_event,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let stream = db.stream();
        let consumer = stream.consumer("app", "Rare").unwrap();
        consumer.register().unwrap();
        let want = Want::types(&[OTHER_TYPE]).unwrap();
        let (mut slow, mut fast) = (db.raw(), db.raw());
        // More than MySQL's watch looks at in one step.
        let many = |raw: &mut Raw| insert_many(db, raw, 3000);
        slow.exec("BEGIN");
        many(&mut fast);
        many(&mut fast);
        burn(db, &mut fast);
        let late = insert_type(db, &mut slow, OTHER_TYPE);
        many(&mut fast);
        burn(db, &mut fast);
        many(&mut fast);
        let behind = insert_type(db, &mut fast, OTHER_TYPE);
        for _ in 0..3 {
            assert!(consumer.poll(None, &want).unwrap().is_empty());
        }
        let cursor = fast.number("SELECT last_evt_id FROM evt_consumers");
        assert!(cursor < late as i64, "the cursor jumped to {cursor}, over {late}");
        slow.exec("COMMIT");
        let ids = || -> Vec<u64> {
            consumer.poll(None, &want).unwrap().iter().map(|event| event.id).collect()
        };
        until("both", || ids() == [late, behind]);
    }
);

on_each_server!(a_billion_missing_ids_cost_no_more_than_one, |db| {
    let readers = Readers::new(&db.stream());
    let mut raw = db.raw();
    let first = insert(db, &mut raw);
    readers.get(&[first]);
    raw.exec(match db.kind {
        DatabaseKind::Sqlite => "UPDATE sqlite_sequence SET seq = 1000000000",
        DatabaseKind::Postgres => "SELECT setval('evt_queue_id_seq', 1000000000)",
        DatabaseKind::Mysql => "ALTER TABLE evt_queue AUTO_INCREMENT = 1000000001",
    });
    let last = insert(db, &mut raw);
    assert_eq!(last, 1_000_000_001);
    readers.get_within(&[last], PROMPT);
    // Nor to one that comes when what was before is discarded.
    raw.exec(&format!("DELETE FROM evt_queue WHERE id = {first}"));
    for (component, want) in [("New", Want::all()), ("NewToo", Want::types(&[TYPE]).unwrap())] {
        let stream = db.stream();
        let consumer = stream.consumer("app", component).unwrap();
        consumer.register().unwrap();
        let began = Instant::now();
        assert_eq!(consumer.poll(None, &want).unwrap()[0].id, last);
        assert!(began.elapsed() < PROMPT, "{component} took {:?}", began.elapsed());
    }
});

on_servers!(events_come_in_order_of_ids_however_they_lie_on_disk, [postgres, postgres18], |db| {
    let stream = db.stream();
    let consumer = stream.consumer("app", "Audit").unwrap();
    let mut raw = db.raw();
    insert_many(db, &mut raw, 2000);
    raw.exec("DELETE FROM evt_queue WHERE id <= 1000");
    raw.exec("VACUUM evt_queue");
    insert_many(db, &mut raw, 1000);
    let physical = raw.number("SELECT id FROM evt_queue ORDER BY ctid LIMIT 1");
    assert!(physical > 2000, "the space at the front was not used again");
    consumer.register().unwrap();
    let mut got = Vec::new();
    loop {
        let events = consumer.poll(got.last().copied(), &Want::all()).unwrap();
        if events.is_empty() {
            break;
        }
        got.extend(events.iter().map(|event| event.id));
    }
    assert_eq!(got, (1001..=3000).collect::<Vec<u64>>());
});

// Tables that are not where or what they usually are.

/// Lets a late commit into a part of the event table be waited for.
fn late_commit_into(db: &Db, part: &str) {
    let readers = Readers::new(&db.stream());
    let (mut slow, mut fast) = (db.raw(), db.raw());
    slow.exec("BEGIN");
    slow.exec(&db.insert_sql(TYPE).replace("evt_queue", part));
    let behind = insert(db, &mut fast);
    readers.get_nothing();
    slow.exec("COMMIT");
    readers.get(&[behind - 1, behind]);
}

on_servers!(an_insert_straight_into_a_partition_is_waited_for, [postgres, postgres18], |db| {
    db.raw().exec(
        "CREATE TABLE evt_queue(id bigint NOT NULL PRIMARY KEY, type varchar(16) NOT NULL, \
         data json NOT NULL, ts timestamp NOT NULL) PARTITION BY RANGE (id); \
         CREATE SEQUENCE evt_queue_id_seq OWNED BY evt_queue.id; \
         ALTER TABLE evt_queue ALTER id SET DEFAULT nextval('evt_queue_id_seq'); \
         CREATE TABLE evt_rest PARTITION OF evt_queue DEFAULT; \
         CREATE TABLE evt_parts PARTITION OF evt_queue FOR VALUES FROM (1) TO (1000) \
         PARTITION BY RANGE (id); \
         CREATE TABLE evt_part PARTITION OF evt_parts FOR VALUES FROM (1) TO (500)",
    );
    late_commit_into(db, "evt_part");
});

on_servers!(an_insert_into_a_table_that_inherits_is_waited_for, [postgres, postgres18], |db| {
    db.stream();
    db.raw().exec("CREATE TABLE evt_heir(PRIMARY KEY (id)) INHERITS (evt_queue)");
    late_commit_into(db, "evt_heir");
});

on_servers!(
    a_table_of_another_schema_is_the_one_that_is_watched,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let other = Db::on(db.server).unwrap();
        let schema = if db.kind == DatabaseKind::Mysql { other.name.as_str() } else { "app" };
        let (mut slow, mut fast, mut usual) = (db.raw(), db.raw(), db.raw());
        if db.kind == DatabaseKind::Postgres {
            fast.exec("CREATE SCHEMA app");
        }
        db.stream();
        let tables = [
            ("event_table", format!("{schema}.evt_queue")),
            ("consumer_table", format!("{schema}.evt_consumers")),
        ];
        let tables = tables.each_ref().map(|(name, table)| (*name, table.as_str()));
        let readers = Readers::new(&db.stream_with(&tables));
        let sql = db.insert_sql(TYPE).replace("evt_queue", tables[0].1);
        // The table of the same name in the usual place has a writer all the time.
        usual.exec("BEGIN");
        insert(db, &mut usual);
        slow.exec("BEGIN");
        slow.exec(&sql);
        fast.exec(&sql);
        readers.get_nothing();
        slow.exec("COMMIT");
        readers.get(&[1, 2]);
        fast.exec("BEGIN");
        fast.exec(&sql);
        fast.exec("ROLLBACK");
        fast.exec(&sql);
        readers.get_within(&[4], PROMPT);
    }
);

// Databases that are not what they were.

/// Sets the counter so that the next id is `next`.
fn draw_next(db: &Db, raw: &mut Raw, next: u64) {
    raw.exec(&match db.kind {
        DatabaseKind::Sqlite => format!("UPDATE sqlite_sequence SET seq = {}", next - 1),
        DatabaseKind::Postgres => format!("SELECT setval('evt_queue_id_seq', {next}, false)"),
        DatabaseKind::Mysql => format!("ALTER TABLE evt_queue AUTO_INCREMENT = {next}"),
    });
}

on_each_server!(a_cursor_above_the_highest_id_is_an_error, |db| {
    let stream = db.stream();
    let consumer = stream.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();
    let id = insert(db, &mut db.raw());
    assert_eq!(failure(consumer.poll(Some(id + 1), &Want::all())), ErrorKind::InvalidLastId);
    assert_eq!(failure(consumer.acknowledge(id + 1)), ErrorKind::InvalidLastId);
    let live = stream.live("app").unwrap();
    assert_eq!(failure(live.poll(Some(id + 1), &Want::all())), ErrorKind::InvalidLastId);
    assert_eq!(consumer.poll(None, &Want::all()).unwrap()[0].id, id);
});

on_each_server!(a_database_that_draws_ids_again_is_an_error_and_not_silence, |db| {
    let stream = db.stream();
    let want = [Want::all(), Want::types(&[TYPE]).unwrap()];
    let consumers = ["All", "Filtered"].map(|name| stream.consumer("app", name).unwrap());
    let mut raw = db.raw();
    for consumer in &consumers {
        consumer.register().unwrap();
    }
    let ids: Vec<u64> = (0..5).map(|_| insert(db, &mut raw)).collect();
    burn(db, &mut raw);
    let last = insert(db, &mut raw);
    for (consumer, want) in consumers.iter().zip(&want) {
        until("the last event", || {
            let events = consumer.poll(None, want).unwrap();
            events.last().is_some_and(|event| event.id == last)
        });
        consumer.acknowledge(last).unwrap();
    }
    // As after a restore, or a crash that lost the last commits.
    raw.exec(&format!("DELETE FROM evt_queue WHERE id > {}", ids[2]));
    draw_next(db, &mut raw, ids[3]);
    assert_eq!(insert(db, &mut raw), ids[3]);
    let other = db.stream().consumer("app", "All").unwrap();
    assert_eq!(failure(other.poll(None, &Want::all())), ErrorKind::StreamRewound);
    // Those that have known the old ids notice it, too.
    for (consumer, want) in consumers.iter().zip(&want) {
        until("an error", || match consumer.poll(None, want) {
            Ok(events) => {
                assert!(events.is_empty(), "{events:?}");
                false
            }
            Err(error) => error.kind() == ErrorKind::StreamRewound,
        });
        consumer.unregister().unwrap();
        consumer.register().unwrap();
        let mut got = consumer.poll(None, want).unwrap();
        assert_eq!(got.pop().map(|event| event.id), Some(ids[3]));
        assert_eq!(got.len(), 3);
        consumer.acknowledge(ids[3]).unwrap();
    }
    // And what they knew of those is forgotten: the same ids are waited for again.
    if db.kind != DatabaseKind::Sqlite {
        let mut slow = db.raw();
        slow.exec("BEGIN");
        let late = insert(db, &mut slow);
        assert!(late <= last);
        insert(db, &mut raw);
        for (consumer, want) in consumers.iter().zip(&want) {
            assert!(consumer.poll(None, want).unwrap().is_empty());
        }
        slow.exec("COMMIT");
        for (consumer, want) in consumers.iter().zip(&want) {
            until("both", || consumer.poll(None, want).unwrap().len() == 2);
        }
    }
});

on_servers!(a_sequence_that_draws_ids_out_of_order_is_refused, [postgres, postgres18], |db| {
    let stream = db.stream();
    let consumer = stream.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();
    let mut raw = db.raw();
    burn(db, &mut raw);
    insert(db, &mut raw);
    for (bad, good) in
        [("CACHE 10", "CACHE 1"), ("INCREMENT 2", "INCREMENT 1"), ("CYCLE", "NO CYCLE")]
    {
        raw.exec(&format!("ALTER SEQUENCE evt_queue_id_seq {bad}"));
        let consumer = db.stream().consumer("app", "Audit").unwrap();
        let error = consumer.poll(None, &Want::all()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsafeServer, "{bad}: {error}");
        assert!(error.to_string().contains(bad.split(' ').next().unwrap()), "{error}");
        raw.exec(&format!("ALTER SEQUENCE evt_queue_id_seq {good}"));
    }
    assert_eq!(consumer.poll(None, &Want::all()).unwrap().len(), 1);
});

// Sessions that end, and servers that show less.

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
