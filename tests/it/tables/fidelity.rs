//! Event data is JSON text that comes back as it was written, on every database, up to the byte;
//! what a server cannot hold is an error, and nothing of it is stored.

use crate::support::{Db, Raw, everything, failure};
use futoin_eventstream::{
    Archiver, DatabaseKind, ErrorKind, Event, EventStream, NewEvent, Options, Want, Warehouse,
    mysql,
};
use mysql::prelude::Queryable;

/// Texts that a reader of JSON may take for others, or may not take at all.
const TEXTS: &[&str] = &[
    "null",
    "true",
    "0",
    "-0",
    "-0.0",
    "1.0",
    "1.10",
    "1e400",
    "1E+2",
    "12345678901234567890",
    "-9223372036854775809",
    "0.1000000000000000055511151231257827021181583404541015625",
    "\"\"",
    "\"a\\u0000b\"",
    "\"\\ud83d\\ude00 \\u00e9 \\/ \\\" \\\\ \\b\\f\\n\\r\\t\"",
    "\"\\ud800 alone, \\udc00 alone\"",
    "\"😀 𝒜 \u{10FFFF} \u{FEFF} \u{7f} \u{2028} é e\u{301}\"",
    "\"'; DROP TABLE evt_queue; -- ? $1 :a %s \\\\'\"",
    "{\"b\":1,\"a\":2,\"b\":3,\"\":4}",
    " \t\r\n{ \"a\" :\n[ 1 , 2 ] }  ",
    "[]",
    "{}",
    "[[],{},[{}]]",
];

fn texts(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.data.as_str()).collect()
}

/// The data that a subscriber gets, so many events of the type TEXT.
fn pushed(stream: &EventStream, count: usize) -> Vec<String> {
    stream.consumer("app", "Pushed").unwrap().register().unwrap();
    let want = Want::types(&["TEXT"]).unwrap();
    let subscription = stream.subscribe("app", "Pushed", want, &Options::new()).unwrap();
    let mut texts = Vec::new();
    while texts.len() < count {
        let delivery = subscription.next(std::time::Duration::from_secs(20)).unwrap().unwrap();
        texts.extend(delivery.events.iter().map(|event| event.data.as_str().to_owned()));
        subscription.ack().unwrap();
    }
    texts
}

fn json(text: &str) -> NewEvent {
    NewEvent::from_json("TEXT", text).unwrap()
}

on_each_server!(every_text_comes_back_byte_for_byte, |db| {
    let stream = db.stream();
    for text in TEXTS {
        stream.add(&json(text)).unwrap();
    }
    let events: Vec<NewEvent> = TEXTS.iter().map(|text| json(text)).collect();
    stream.add_events(&events).unwrap();
    let mut tx = stream.begin().unwrap();
    for event in &events {
        tx.add(event).unwrap();
    }
    tx.commit().unwrap();
    let all = [TEXTS, TEXTS, TEXTS].concat();
    assert_eq!(texts(&everything(&stream)), all);
    assert_eq!(pushed(&stream, all.len()), all);
    // The database holds the same text, for those who read it by SQL.
    let column = if db.kind == DatabaseKind::Postgres { "data::text" } else { "data" };
    let stored = db.raw().texts(&format!("SELECT {column} FROM evt_queue ORDER BY id LIMIT 10"));
    assert_eq!(stored, TEXTS[..10]);
});

on_each_server!(large_data_comes_back, |db| {
    let stream = db.stream();
    let consumer = stream.consumer("app", "Large").unwrap();
    consumer.register().unwrap();
    // The limit is 8 MiB of text, quotes included.
    for size in [65_534, 65_535, 65_536, 1 << 20, (8 << 20) - 2] {
        let text = format!("\"{}\"", "é".repeat(size / 2) + &"x".repeat(size % 2));
        let id = stream.add(&json(&text)).unwrap();
        let events = consumer.poll(None, &Want::all()).unwrap();
        assert_eq!((events.len(), events[0].id), (1, id));
        assert!(events[0].data.as_str() == text, "{size} bytes changed");
        consumer.acknowledge(id).unwrap();
    }
    let too_large = json(&format!("\"{}\"", "x".repeat((8 << 20) - 1)));
    assert_eq!(failure(stream.add(&too_large)), ErrorKind::TooLarge);
});

on_each_server!(deep_nesting_comes_back_or_is_refused_as_a_whole, |db| {
    let stream = db.stream();
    let mut expected = Vec::new();
    for depth in [100, 1000, 500_000] {
        let text = "[".repeat(depth) + &"]".repeat(depth);
        let batch = [json("1"), json(&text)];
        match stream.add_events(&batch) {
            Ok(_) => expected.extend(["1".to_owned(), text]),
            // PostgreSQL reads the text with a recursive parser of bounded depth.
            Err(error) => {
                assert_eq!((db.kind, depth), (DatabaseKind::Postgres, 500_000), "{error}");
                assert_eq!(error.kind(), ErrorKind::TooLarge);
                assert_eq!(failure(stream.add(&json(&text))), ErrorKind::TooLarge);
            }
        }
    }
    assert!(texts(&everything(&stream)) == expected);
});

on_servers!(a_table_with_enum_and_jsonb_columns_works, [postgres, postgres18], |db| {
    // The streams have prepared their statements before the columns change.
    let stream = db.stream();
    let consumer = stream.consumer("app", "Enums").unwrap();
    consumer.register().unwrap();
    stream.add(&json("1")).unwrap();
    stream.add_events(&[json("2"), json("3")]).unwrap();
    let want = Want::types(&["TEXT", "OTHER"]).unwrap();
    assert_eq!(consumer.poll(None, &Want::all()).unwrap().len(), 3);
    assert_eq!(consumer.poll(None, &want).unwrap().len(), 3);
    let mut raw = db.raw();
    raw.exec("CREATE TYPE event_type AS ENUM ('TEXT', 'OTHER')");
    raw.exec("ALTER TABLE evt_queue ALTER COLUMN type TYPE event_type USING type::event_type");
    raw.exec("ALTER TABLE evt_queue ALTER COLUMN data TYPE jsonb");

    for stream in [&stream, &EventStream::open(&db.url).unwrap()] {
        let consumer = stream.consumer("app", "Enums").unwrap();
        stream.add(&json("{\"b\": 1.0, \"a\": \"é\"}")).unwrap();
        stream.add_events(&[json("[1]"), json("[2]")]).unwrap();
        // What neither column can hold is told as such.
        let unknown = NewEvent::new("UNKNOWN", &1).unwrap();
        assert_eq!(failure(stream.add(&unknown)), ErrorKind::InvalidData);
        assert_eq!(failure(stream.add(&json("\"\\u0000\""))), ErrorKind::InvalidData);
        assert_eq!(failure(stream.add_events(&[json("1"), unknown])), ErrorKind::InvalidData);
        let mut tx = stream.begin().unwrap();
        tx.add(&json("4")).unwrap();
        tx.commit().unwrap();
        let last = everything(stream).last().unwrap().clone();
        assert_eq!((last.event_type.as_str(), last.data.as_str()), ("TEXT", "4"));
        let all = consumer.poll(None, &Want::all()).unwrap();
        assert_eq!(consumer.poll(None, &want).unwrap(), all);
        assert_eq!(consumer.poll(None, &Want::types(&["OTHER"]).unwrap()).unwrap(), []);
    }
    let events = everything(&stream);
    let round = ["{\"a\": \"é\", \"b\": 1.0}", "[1]", "[2]", "4"];
    assert_eq!(texts(&events), [&["1", "2", "3"][..], &round, &round].concat());
    raw.exec("INSERT INTO evt_queue(type, data, ts) VALUES ('OTHER', '5', now())");
});

/// Tables as the npm package makes them without its second script: 64 KiB of three-byte UTF-8.
fn narrow_tables(db: &Db) {
    db.raw().exec(
        "CREATE TABLE evt_queue(id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, \
         type VARCHAR(16) NOT NULL, data TEXT NOT NULL, ts DATETIME NOT NULL) \
         ENGINE=InnoDB CHARACTER SET utf8mb3",
    );
}

/// A connection of the caller's own whose session cuts off what does not fit.
fn careless(db: &Db) -> mysql::Conn {
    let Raw::Mysql(mut own) = db.raw() else { unreachable!() };
    own.query_drop("SET SESSION sql_mode = ''").unwrap();
    *own
}

on_servers!(a_narrow_column_refuses_and_never_cuts_off, [mariadb, mysql], |db| {
    narrow_tables(db);
    let stream = EventStream::open(&db.url).unwrap();
    let fits = format!("\"{}\"", "x".repeat(65_533));
    let cut = format!("\"{}\"", "x".repeat(65_534));
    stream.add(&json(&fits)).unwrap();
    for text in [&cut[..], "\"😀\""] {
        let error = stream.add(&json(text)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains("migrate"), "{error}");
        let batch = [json("1"), json(text)];
        assert_eq!(failure(stream.add_events(&batch)), ErrorKind::InvalidData);
    }
    assert_eq!(texts(&everything(&stream)), [fits.as_str()]);

    // The same on the caller's own connection, with or without a transaction around it.
    let mut own = careless(db);
    for text in [cut.as_str(), "\"😀\""] {
        let data: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(failure(stream.add_event_to(&mut own, "TEXT", &data)), ErrorKind::InvalidData);
        let mut tx = own.start_transaction(mysql::TxOpts::default()).unwrap();
        stream.add_event_to(&mut tx, "TEXT", &1).unwrap();
        assert_eq!(failure(stream.add_event_to(&mut tx, "TEXT", &data)), ErrorKind::InvalidData);
        tx.commit().unwrap();
    }
    assert_eq!(texts(&everything(&stream)), [fits.as_str(), "1", "1"]);
    let mode: Option<String> = own.query_first("SELECT @@SESSION.sql_mode").unwrap();
    assert_eq!(mode.as_deref(), Some(""), "the caller's session was changed");

    stream.migrate().unwrap();
    let data: serde_json::Value = serde_json::from_str(&cut).unwrap();
    stream.add(&json(&cut)).unwrap();
    stream.add_events(&[json("\"😀\""), json("\"😀\"")]).unwrap();
    stream.add_event_to(&mut own, "TEXT", &data).unwrap();
    stream.add_event_to(&mut own, "TEXT", "😀").unwrap();
    let smiles = "\"😀\"";
    assert_eq!(texts(&everything(&stream))[3..], [&cut, smiles, smiles, &cut, smiles]);
});

/// Whether it is among what types that read escapes cannot hold.
fn has_no_characters(text: &str) -> bool {
    text.contains("\\u0000") || text.contains("\\ud800")
}

/// Adds a text in each way; gives the ids, or nothing if it is refused each time and nothing stored.
fn add_each_way(stream: &EventStream, text: &str) -> Vec<u64> {
    let before = everything(stream).len();
    let mut tx = stream.begin().unwrap();
    let in_transaction = tx.add(&json(text));
    if in_transaction.is_ok() {
        tx.commit().unwrap();
    }
    let batch = stream.add_events(&[json("1"), json(text)]).map(|ids| ids[1]);
    let added = [stream.add(&json(text)), batch, in_transaction];
    if added.iter().all(Result::is_ok) {
        return added.into_iter().map(Result::unwrap).collect();
    }
    for refused in added {
        assert_eq!(failure(refused), ErrorKind::InvalidData, "{text}");
    }
    assert_eq!(everything(stream).len(), before, "{text}");
    Vec::new()
}

on_servers!(jsonb_keeps_each_value_or_refuses_it, [postgres, postgres18], |db| {
    let stream = db.stream();
    let mut raw = db.raw();
    raw.exec("ALTER TABLE evt_queue ALTER COLUMN data TYPE jsonb");
    let quoted = |text: &str| text.replace('\'', "''");
    for text in TEXTS {
        let ids = add_each_way(&stream, text);
        assert_eq!(ids.is_empty(), has_no_characters(text), "{text}");
        for event in everything(&stream).iter().filter(|event| ids.contains(&event.id)) {
            let (read, written) = (quoted(event.data.as_str()), quoted(text));
            let same = format!("SELECT ('{read}'::jsonb = '{written}'::jsonb)::int::bigint");
            assert_eq!(raw.number(&same), 1, "{text}");
        }
    }
});

on_servers!(a_json_column_keeps_each_text_or_refuses_it, [mariadb], |db| {
    let stream = db.stream();
    db.raw().exec("ALTER TABLE evt_queue MODIFY data JSON NOT NULL");
    for text in TEXTS {
        let ids = add_each_way(&stream, text);
        assert_eq!(ids.is_empty(), text.contains("\\ud800"), "{text}");
        for event in everything(&stream).iter().filter(|event| ids.contains(&event.id)) {
            assert_eq!(event.data.as_str(), *text);
        }
    }
});

on_servers!(a_column_that_rounds_numbers_is_refused, [mysql], |db| {
    let stream = db.stream();
    db.raw().exec("ALTER TABLE evt_queue MODIFY data JSON NOT NULL");
    let error = stream.migrate().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ForeignSchema, "{error}");
    assert!(error.to_string().contains("LONGTEXT"), "{error}");
});

on_servers!(
    a_history_of_jsonb_has_each_value_or_says_which_it_lacks,
    [postgres, postgres18],
    |db| {
        let (stream, dwh) = (db.stream(), Db::on(db.server).unwrap());
        let warehouse = Warehouse::open(&dwh.url).unwrap();
        warehouse.migrate().unwrap();
        dwh.raw().exec("ALTER TABLE evt_history ALTER COLUMN data TYPE jsonb");
        let kept: Vec<NewEvent> =
            TEXTS.iter().filter(|text| !has_no_characters(text)).map(|text| json(text)).collect();
        let mut last = *stream.add_events(&kept).unwrap().last().unwrap();
        let archiver = Archiver::new(&stream, &warehouse, &Options::new()).unwrap();
        assert_eq!(archiver.run_once().unwrap(), kept.len() as u64);
        // As after a crash: what is there is the same, although it is written in another way.
        db.raw().exec("UPDATE evt_consumers SET last_evt_id = 0");
        archiver.run_once().unwrap();
        let mut rest = kept.len();
        for text in ["\"\\u0000\"", "\"\\ud800\""] {
            let ids = stream.add_events(&[json("1"), json(text), json("2")]).unwrap();
            let error = archiver.run_once().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
            assert!(error.to_string().contains(&format!("event {}", ids[1])), "{error}");
            rest += 1;
            assert_eq!(warehouse.history(1, &Want::all(), 1000).unwrap().len(), rest);
            db.raw().exec(&format!("UPDATE evt_queue SET data = '3' WHERE id = {}", ids[1]));
            archiver.run_once().unwrap();
            (rest, last) = (rest + 2, ids[2]);
        }
        let history = warehouse.history(1, &Want::all(), 1000).unwrap();
        assert_eq!((history.len(), history.last().unwrap().id), (rest, last));
        // Another value is another event.
        dwh.raw().exec(&format!("UPDATE evt_history SET data = '4' WHERE id = {last}"));
        db.raw().exec("UPDATE evt_consumers SET last_evt_id = 0");
        assert_eq!(failure(archiver.run_once()), ErrorKind::HistoryConflict);
    }
);
