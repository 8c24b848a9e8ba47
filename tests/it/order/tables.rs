//! Partitions, inheritance, schemas and sequences; ids that are allocated again.

use super::*;

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
