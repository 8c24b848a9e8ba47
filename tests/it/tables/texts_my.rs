//! The text of events on MySQL and MariaDB servers that are set up as few are: with latin1 for every
//! connection, whatever it asks for, and with each `sql_mode` that changes what SQL means.

use crate::support::everything;
use crate::support::spare::Spare;
use futoin_eventstream::{
    Archiver, Discarder, Event, EventStream, NewEvent, Options, Want, Warehouse, mysql,
};
use mysql::prelude::Queryable;

const TEXTS: &[&str] = &[
    "\"a\\u0000b\"",
    "\"\\ud800 alone, \\udc00 alone\"",
    "\"😀 𝒜 \u{10FFFF} é ß € \u{80} \u{9f}\"",
    "\"'; -- ? \\\\' \\\"x\\\" || `y` %s \\\\\"",
    "\"C:\\\\new\\\\table\"",
    "{\"é\":\"\",\"b\":[]}",
];

const MODES: &[&str] = &[
    "",
    "ANSI_QUOTES",
    "NO_BACKSLASH_ESCAPES",
    "PIPES_AS_CONCAT",
    "ANSI",
    "TRADITIONAL",
    "IGNORE_SPACE,HIGH_NOT_PRECEDENCE,NO_UNSIGNED_SUBTRACTION,REAL_AS_FLOAT,PAD_CHAR_TO_FULL_LENGTH",
];

const MARIADB_MODES: &[&str] =
    &["ORACLE", "MSSQL", "EMPTY_STRING_IS_NULL", "SIMULTANEOUS_ASSIGNMENT"];

fn events() -> Vec<NewEvent> {
    TEXTS.iter().map(|text| NewEvent::from_json("TEXT", *text).unwrap()).collect()
}

fn texts(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.data.as_str()).collect()
}

fn odd_server(server: &'static str) -> Option<Spare> {
    let arguments = [
        "--loose-skip-character-set-client-handshake",
        "--character-set-server=latin1",
        "--collation-server=latin1_german1_ci",
        "--init-connect=SET NAMES latin1; SET sql_select_limit = 3, autocommit = 0, time_zone = '+05:00'",
    ];
    Spare::make("odd", server, &arguments)
}

/// The same database for a user for whom `init_connect` runs: not for administrators.
fn ordinary(db: &crate::support::Db) -> String {
    let name = format!("u{}", &db.name[4..]);
    let mut raw = db.raw();
    raw.exec(&format!("CREATE USER {name} IDENTIFIED BY 'fes-Test-1-password'"));
    raw.exec(&format!("GRANT ALL ON {}.* TO {name}", db.name));
    db.url_with(|url| {
        url.set_username(&name).unwrap();
        url.set_password(Some("fes-Test-1-password")).unwrap();
    })
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

fn own(url: &str) -> mysql::Conn {
    let options = mysql::OptsBuilder::from_opts(mysql::Opts::from_url(url).unwrap());
    mysql::Conn::new(options.prefer_socket(false)).unwrap()
}

/// Adds in every way, reads, archives into a file and from it, discards.
fn goes_round(url: &str, mode: &str) {
    let stream = EventStream::open(url).unwrap();
    stream.migrate().unwrap();
    let consumer = stream.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();
    for event in events() {
        stream.add(&event).unwrap();
    }
    stream.add_events(&events()).unwrap();
    let mut tx = stream.begin().unwrap();
    events().iter().for_each(|event| assert!(tx.add(event).unwrap() > 0));
    tx.commit().unwrap();
    let mut connection = own(url);
    for (event, text) in events().iter().zip(TEXTS) {
        let data: &serde_json::value::RawValue = serde_json::from_str(text).unwrap();
        stream.add_event_to(&mut connection, "TEXT", data).unwrap();
        assert_eq!(event.data.as_str(), *text);
    }
    // By any driver, in whatever character set the session is: the same values, in ASCII.
    let mut all: Vec<String> = [TEXTS; 4].concat().into_iter().map(str::to_owned).collect();
    for text in TEXTS {
        let data: &serde_json::value::RawValue = serde_json::from_str(text).unwrap();
        let statement = stream.statement("TEXT", data).unwrap();
        let [event_type, ascii] = statement.params;
        connection.exec_drop(statement.sql, (event_type, &ascii)).unwrap();
        assert!(ascii.is_ascii());
        all.push(ascii);
    }
    connection.query_drop("COMMIT").unwrap();
    let polled = consumer.poll(None, &Want::types(&["TEXT"]).unwrap()).unwrap();
    assert_eq!(texts(&polled), all, "polled in the mode {mode:?}");

    assert_eq!(pushed(&stream, all.len()), all, "pushed in the mode {mode:?}");
    stream.consumer("app", "Pushed").unwrap().unregister().unwrap();

    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}", folder.path().join("dwh.db").display());
    let there = Warehouse::open(&file).unwrap();
    let here = Warehouse::open(url).unwrap();
    for warehouse in [&there, &here] {
        warehouse.migrate().unwrap();
    }
    let archived = Archiver::new(&stream, &there, &Options::new()).unwrap().run_once().unwrap();
    assert_eq!(archived as usize, all.len());
    let history = there.history(0, &Want::all(), 1000).unwrap();
    assert_eq!(texts(&history), all, "archived in the mode {mode:?}");

    let back = EventStream::open(&file).unwrap();
    back.migrate().unwrap();
    back.add_events(&events()).unwrap();
    Archiver::new(&back, &here, &Options::new()).unwrap().run_once().unwrap();
    assert_eq!(texts(&here.history(0, &Want::all(), 1000).unwrap()), TEXTS);

    consumer.acknowledge(polled.last().unwrap().id).unwrap();
    let gone = Discarder::new(&stream, &Options::new()).unwrap().run_once().unwrap();
    assert!(gone > 0, "{gone}");
    assert!(consumer.poll(None, &Want::all()).unwrap().is_empty());
    assert!(everything(&stream).len() < all.len());
}

fn in_each_mode(server: &'static str) {
    let Some(spare) = odd_server(server) else { return };
    let more = if server == "mariadb" { MARIADB_MODES } else { &[] };
    for mode in MODES.iter().chain(more) {
        spare.root().exec(&format!("SET GLOBAL sql_mode = '{mode}'"));
        let db = spare.db();
        goes_round(&db.url, mode);
        goes_round(&ordinary(&spare.db()), mode);
    }
}

#[test]
fn texts_go_round_in_each_sql_mode_of_a_latin1_server_on_mariadb() {
    in_each_mode("mariadb");
}

#[test]
fn texts_go_round_in_each_sql_mode_of_a_latin1_server_on_mysql() {
    in_each_mode("mysql");
}

on_servers!(a_callers_session_keeps_its_character_set_and_mode, [mariadb, mysql], |db| {
    let stream = db.stream();
    let mut connection = own(&db.url);
    connection.query_drop("SET NAMES latin1, SESSION sql_mode = 'ANSI'").unwrap();
    let state = "SELECT CONCAT_WS(' ', @@character_set_client, @@character_set_connection, \
                 @@character_set_results, @@sql_mode)";
    let before: Option<String> = connection.query_first(state).unwrap();
    stream.add_event_to(&mut connection, "TEXT", "é 😀").unwrap();
    let mut tx = connection.start_transaction(mysql::TxOpts::default()).unwrap();
    stream.add_event_to(&mut tx, "TEXT", "ß €").unwrap();
    tx.commit().unwrap();
    let after: Option<String> = connection.query_first(state).unwrap();
    assert_eq!(texts(&everything(&stream)), ["\"é 😀\"", "\"ß €\""]);
    assert_eq!(before, after);
});

on_servers!(what_a_caller_sets_in_a_transaction_of_ours_spoils_no_event, [mariadb, mysql], |db| {
    let stream = db.stream();
    // As the npm package makes it.
    db.raw().exec("ALTER TABLE evt_queue MODIFY data TEXT CHARACTER SET utf8mb4 NOT NULL");
    let mut tx = stream.begin().unwrap();
    tx.execute("SET NAMES latin1", &[]).unwrap();
    tx.execute("SET SESSION sql_mode = '', auto_increment_increment = 7", &[]).unwrap();
    tx.add_event("TEXT", "é 😀").unwrap();
    let more = ["ß", "€", "𝒜"].map(|text| NewEvent::new("TEXT", text).unwrap());
    let ids: Vec<u64> = more.iter().map(|event| tx.add(event).unwrap()).collect();
    let too_long = tx.add_event("TEXT", &"x".repeat(70_000)).unwrap_err();
    assert_eq!(too_long.kind(), futoin_eventstream::ErrorKind::InvalidData);
    tx.commit().unwrap();
    stream.add_event("TEXT", "after é 😀").unwrap();
    let all = everything(&stream);
    assert_eq!(texts(&all), ["\"é 😀\"", "\"ß\"", "\"€\"", "\"𝒜\"", "\"after é 😀\""]);
    let stored: Vec<u64> = all[1..4].iter().map(|event| event.id).collect();
    assert_eq!(stored, ids);
});

on_servers!(
    ids_of_a_batch_are_those_of_the_rows_when_the_increment_changes,
    [mariadb, mysql],
    |db| {
        // The session of this one is used again, and takes over what the server says by then.
        let Some(spare) = Spare::make("changes", db.server, &[]) else { return };
        let own = spare.db();
        let stream = own.stream_with(&[("single_writer_node", "true"), ("max_connections", "1")]);
        let batch = ["1", "2", "3"].map(|text| NewEvent::from_json("TEXT", text).unwrap());
        stream.add_events(&batch).unwrap();
        spare.root().exec("SET GLOBAL auto_increment_increment = 5");
        let mut tx = stream.begin().unwrap();
        tx.execute("SET @changed = 1", &[]).unwrap();
        tx.execute("SET SESSION sql_mode = ''", &[]).unwrap();
        tx.commit().unwrap();
        let ids = stream.add_events(&batch);
        spare.root().exec("SET GLOBAL auto_increment_increment = 1");
        let stored = own.raw().texts("SELECT id FROM evt_queue ORDER BY id DESC LIMIT 3");
        let ids: Vec<String> = ids.unwrap().iter().rev().map(u64::to_string).collect();
        assert_eq!(ids, stored);
    }
);
