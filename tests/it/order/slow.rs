//! Statements that are slow between the allocation of an id and its row.

use super::*;

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
