//! What holds up others, and what does not.

use super::*;

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
