//! Making the tables: once or many times, by one or many, beside those of the npm package, and
//! never over something else.

use crate::support::{Db, everything, failure};
use futoin_eventstream::{DatabaseKind, ErrorKind, EventStream, NewEvent, Want};

/// Everything the database says of its tables, to see that nothing changed.
fn schema(db: &Db) -> Vec<String> {
    let schema_of = match db.kind {
        DatabaseKind::Sqlite => "SELECT type || name || coalesce(sql, '') FROM sqlite_master \
             WHERE name NOT LIKE 'sqlite%'"
            .into(),
        DatabaseKind::Postgres => "SELECT concat_ws(' ', c.oid, c.relname, a.attname, \
             format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)) \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             LEFT JOIN pg_attribute a ON a.attrelid = c.oid \
             LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum \
             WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1"
            .into(),
        DatabaseKind::Mysql => format!(
            "SELECT concat_ws(' ', TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, COLLATION_NAME, \
             IS_NULLABLE, COLUMN_DEFAULT, EXTRA) FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = '{}' ORDER BY 1",
            db.name
        ),
    };
    db.raw().texts(&schema_of)
}

/// Tables as the npm package makes them, and a consumer and two events of its.
fn npm_tables(db: &Db) {
    let mut raw = db.raw();
    let statements: &[&str] = match db.kind {
        DatabaseKind::Sqlite => &[
            "CREATE TABLE evt_queue (id INTEGER NOT NULL PRIMARY KEY autoincrement, \
             type VARCHAR(16) NOT NULL /* an enum? */, data TEXT NOT NULL, ts TIMESTAMP NOT NULL)",
            "CREATE TABLE evt_consumers (id INTEGER NOT NULL PRIMARY KEY autoincrement, \
             last_evt_id INTEGER NOT NULL DEFAULT 0, reg_time TIMESTAMP NOT NULL, \
             last_time TIMESTAMP NOT NULL, ident VARCHAR(64) NOT NULL UNIQUE)",
            "CREATE INDEX evt_consumers_last_evt_id ON evt_consumers(last_evt_id)",
        ],
        DatabaseKind::Postgres => &[
            "CREATE TABLE evt_queue (id bigserial NOT NULL PRIMARY KEY, \
             type VARCHAR(16) NOT NULL, data JSON NOT NULL, ts TIMESTAMP NOT NULL)",
            "CREATE TABLE evt_consumers (id serial2 NOT NULL PRIMARY KEY, \
             last_evt_id BIGINT NOT NULL DEFAULT 0, reg_time TIMESTAMP NOT NULL, \
             last_time TIMESTAMP NOT NULL, ident VARCHAR(64) NOT NULL UNIQUE)",
            "CREATE INDEX evt_consumers_last_evt_id ON evt_consumers USING BTREE (last_evt_id)",
        ],
        DatabaseKind::Mysql => &[
            "CREATE TABLE evt_queue (id BIGINT UNSIGNED NOT NULL auto_increment PRIMARY KEY, \
             type VARCHAR(16) NOT NULL, data TEXT NOT NULL, ts DATETIME NOT NULL) \
             ENGINE=InnoDB CHARACTER SET 'utf8'",
            "CREATE TABLE evt_consumers (id SMALLINT NOT NULL auto_increment PRIMARY KEY, \
             last_evt_id BIGINT UNSIGNED NOT NULL DEFAULT 0, reg_time DATETIME NOT NULL, \
             last_time DATETIME NOT NULL, ident VARCHAR(64) NOT NULL UNIQUE, \
             INDEX last_evt_id (last_evt_id) USING BTREE) ENGINE=InnoDB CHARACTER SET 'utf8'",
        ],
    };
    statements.iter().for_each(|sql| raw.exec(sql));
    raw.exec(&db.insert_sql("NPM_A"));
    raw.exec(&db.insert_sql("NPM_B"));
    raw.exec(&format!(
        "INSERT INTO evt_consumers(last_evt_id, reg_time, last_time, ident) \
         VALUES (1, {now}, {now}, '-internal:peer')",
        now = db.now_sql()
    ));
}

/// Adds and polls all kinds of events by a stream whose tables were made.
fn works(stream: &EventStream) {
    let before = everything(stream).len();
    let consumer = stream.consumer("works", "Check").unwrap();
    consumer.register().unwrap();
    consumer.acknowledge(everything(stream).last().map_or(0, |event| event.id)).unwrap();
    stream.add_event("USR_ADD", "😀").unwrap();
    let large = NewEvent::new("USR_MOD", &"é".repeat(50_000)).unwrap();
    stream.add_events(&[large.clone(), NewEvent::new("USR_DEL", &()).unwrap()]).unwrap();
    let events = consumer.poll(None, &Want::all()).unwrap();
    assert_eq!(events.len(), 3);
    assert_eq!((events[0].data.as_str(), &events[1].data), ("\"😀\"", &large.data));
    assert_eq!(everything(stream).len(), before + 3);
    assert!(consumer.unregister().unwrap());
}

on_each_server!(migrating_again_changes_nothing, |db| {
    let stream = db.stream();
    works(&stream);
    let (made, events) = (schema(db), everything(&stream));
    assert!(made.len() >= 3, "{made:?}");
    for _ in 0..3 {
        stream.migrate().unwrap();
        EventStream::open(&db.url).unwrap().migrate().unwrap();
    }
    assert_eq!(schema(db), made);
    assert_eq!(everything(&stream), events);
});

on_each_server!(opening_never_changes_the_schema, |db| {
    let stream = EventStream::open(&db.url).unwrap();
    assert_eq!(schema(db), Vec::<String>::new());
    // And everything that needs the tables says what to do.
    let consumer = stream.consumer("app", "Audit").unwrap();
    let live = stream.live("app").unwrap();
    let want = Want::types(&["USR_ADD"]).unwrap();
    let in_transaction = || {
        let mut tx = stream.begin().unwrap();
        tx.add_event("USR_ADD", &1)
    };
    let errors = [
        stream.add_event("USR_ADD", &1).err(),
        stream.add_events(&[NewEvent::new("USR_ADD", &1).unwrap()]).err(),
        in_transaction().err(),
        consumer.register().err(),
        consumer.unregister().err(),
        consumer.poll(None, &Want::all()).err(),
        consumer.poll(Some(1), &want).err(),
        consumer.acknowledge(0).err(),
        live.poll(None, &want).err(),
        live.poll(Some(0), &Want::all()).err(),
        live.poll(Some(0), &want).err(),
        stream.lag().err(),
    ];
    for (index, error) in errors.into_iter().enumerate() {
        let error = error.unwrap_or_else(|| panic!("call {index} did not fail"));
        assert_eq!(error.kind(), ErrorKind::NotMigrated, "call {index}: {error}");
        assert!(error.to_string().contains("migrate()"), "{error}");
    }
    assert_eq!(schema(db), Vec::<String>::new());
    // The same handle works as soon as they are made.
    stream.migrate().unwrap();
    works(&stream);
});

on_each_server!(many_may_migrate_at_once, |db| {
    std::thread::scope(|scope| {
        for n in 0..8 {
            scope.spawn(move || {
                let stream = EventStream::open(&db.url).unwrap();
                stream.migrate().unwrap();
                stream.add_event("USR_ADD", &n).unwrap();
            });
        }
    });
    let stream = EventStream::open(&db.url).unwrap();
    assert_eq!(everything(&stream).len(), 8);
    works(&stream);
});

on_each_server!(tables_of_the_npm_package_are_taken_over_with_their_rows, |db| {
    npm_tables(db);
    // They work as they are, within their limits.
    let stream = EventStream::open(&db.url).unwrap();
    let peer = stream.consumer("-internal", "peer").unwrap();
    let events = peer.poll(None, &Want::all()).unwrap();
    assert_eq!((events.len(), events[0].id, events[0].event_type.as_str()), (1, 2, "NPM_B"));
    stream.add_event("OURS", &1).unwrap();
    for _ in 0..2 {
        stream.migrate().unwrap();
        let types: Vec<String> =
            everything(&stream).iter().map(|event| event.event_type.to_string()).collect();
        assert_eq!(types[..3], ["NPM_A", "NPM_B", "OURS"]);
        assert_eq!(peer.poll(None, &Want::all()).unwrap()[0].id, 2);
        works(&stream);
    }
    // And they are still what the npm package expects, down to the columns it names.
    let mut raw = db.raw();
    raw.exec(&db.insert_sql("NPM_C"));
    raw.exec("UPDATE evt_consumers SET last_evt_id = 2 WHERE ident = '-internal:peer'");
    assert_eq!(peer.poll(None, &Want::all()).unwrap()[0].event_type, "OURS");
});

/// Says what is wrong with a table of this name, and leaves everything as it is.
fn refused(db: &Db, tables: &[&str], about: &str) {
    let mut raw = db.raw();
    tables.iter().for_each(|sql| raw.exec(sql));
    let before = schema(db);
    let error = EventStream::open(&db.url).unwrap().migrate().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ForeignSchema, "{error}");
    assert!(error.to_string().contains(about), "{error}");
    assert_eq!(schema(db), before, "{error}");
    for table in ["evt_queue", "evt_consumers", "evt_schema"] {
        let _ = raw.try_exec(&format!("DROP TABLE {table}"));
    }
    assert_eq!(schema(db), Vec::<String>::new());
}

on_each_server!(tables_that_are_something_else_are_refused, |db| {
    let id = match db.kind {
        DatabaseKind::Sqlite => "id INTEGER PRIMARY KEY AUTOINCREMENT",
        DatabaseKind::Postgres => "id bigserial PRIMARY KEY",
        DatabaseKind::Mysql => "id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY",
    };
    let rest = "type varchar(16) NOT NULL, data varchar(99) NOT NULL, ts varchar(20) NOT NULL";
    let queue = |columns: &str| format!("CREATE TABLE evt_queue({columns})");
    let no_data = "type varchar(16), ts varchar(20)";
    refused(db, &[&queue(&format!("{id}, {no_data}"))], "data");
    refused(db, &[&queue(&format!("{id}, {rest}, tenant int NOT NULL"))], "tenant");
    refused(db, &[&queue(&format!("id bigint PRIMARY KEY, {rest}"))], "draw");
    let consumers = format!("CREATE TABLE evt_consumers({id}, name varchar(64))");
    refused(db, &[&consumers], "last_evt_id");
    refused(db, &["CREATE TABLE evt_schema(part int)"], "version");
    // A column that fills itself harms nobody.
    db.raw().exec(&queue(&format!(
        "{id}, type varchar(16) NOT NULL, data {text} NOT NULL, ts {ts} NOT NULL, \
         tenant int NOT NULL DEFAULT 7, note varchar(9)",
        text = if db.kind == DatabaseKind::Postgres { "json" } else { "text" },
        ts = if db.kind == DatabaseKind::Mysql { "datetime" } else { "timestamp" },
    )));
    let stream = db.stream();
    works(&stream);
    assert_eq!(db.raw().number("SELECT min(tenant) FROM evt_queue"), 7);
});

on_each_server!(a_newer_schema_is_refused, |db| {
    let stream = db.stream();
    stream.add_event("USR_ADD", &1).unwrap();
    let newer = "INSERT INTO evt_schema(part, version) VALUES ('active:evt_queue', '99.1')";
    db.raw().exec(newer);
    // Whatever it changed: that it is newer explains it best.
    db.raw().exec("ALTER TABLE evt_queue ADD COLUMN tenant int NOT NULL DEFAULT 0");
    let before = schema(db);
    let error = EventStream::open(&db.url).unwrap().migrate().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NewerSchema);
    assert!(error.to_string().contains("99.1"), "{error}");
    assert_eq!(schema(db), before);
    assert_eq!(everything(&stream).len(), 1);
});

on_each_server!(several_streams_live_in_one_database, |db| {
    let options = [("event_table", "Own_Queue"), ("consumer_table", "Own_Consumers")];
    let (own, common) = (db.stream_with(&options), db.stream());
    own.add_event("OWN", &1).unwrap();
    assert!(everything(&common).is_empty());
    works(&own);
    works(&common);
    let consumer = own.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();
    let elsewhere = common.consumer("app", "Audit").unwrap();
    assert_eq!(failure(elsewhere.acknowledge(0)), ErrorKind::NotRegistered);
    own.migrate().unwrap();
    assert_eq!(everything(&own).len(), 4);
    assert_eq!(own.lag().unwrap().consumers[0].events_behind, 4);
});

on_each_server!(tables_may_be_in_another_schema, |db| {
    let other = match db.kind {
        DatabaseKind::Sqlite => "main".to_owned(),
        _ => format!("{}_other", db.name),
    };
    let (queue, consumers) = (format!("{other}.evt_queue"), format!("{other}.evt_consumers"));
    let options = [("event_table", queue.as_str()), ("consumer_table", &consumers)];
    if db.kind != DatabaseKind::Sqlite {
        db.raw().exec(&format!("CREATE SCHEMA {other}"));
    }
    let stream = db.stream_with(&options);
    works(&stream);
    assert_eq!(stream.lag().unwrap().highest_id, 3);
    // With a gap the server is asked about the table, wherever it is.
    stream.begin().and_then(|mut tx| tx.add_event("GAP", &()).map(drop)).unwrap();
    works(&stream);
    stream.migrate().unwrap();
    assert_eq!(db.raw().number(&format!("SELECT count(*) FROM {queue}")), 6);
    if db.kind == DatabaseKind::Mysql {
        db.raw().exec(&format!("DROP DATABASE {other}"));
    }
    let apart = [("event_table", queue.as_str())];
    if db.kind != DatabaseKind::Sqlite {
        let options =
            apart.iter().fold(futoin_eventstream::Options::new(), |options, (name, value)| {
                options.set(name, value).unwrap()
            });
        let stream = EventStream::open_with(&db.url, &options).unwrap();
        assert_eq!(failure(stream.migrate()), ErrorKind::InvalidOption);
    }
});
