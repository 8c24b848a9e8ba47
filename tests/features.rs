//! The same story on every kind of database that is compiled in: `tests/run` builds the crate with each kind alone,
//! and runs this program on the servers of that kind.

use futoin_eventstream::{
    Archiver, DatabaseKind, Discarder, ErrorKind, EventStream, EventTarget, NewEvent, Options,
    Statement, Value, VerifyOptions, Want, Warehouse,
};
use std::time::Duration;

/// What an application does with a stream. `own` is a connection of its own to the same database.
fn story(url: &str, own: &mut impl EventTarget) {
    let stream = EventStream::open(url).unwrap();
    let warehouse = Warehouse::open(url).unwrap();
    stream.migrate().unwrap();
    warehouse.migrate().unwrap();
    let consumer = stream.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();

    let first = stream.add_event("ADD", &1).unwrap();
    let second = stream.add_event_to(own, "ADD_TO", &2).unwrap();
    let Statement { sql, params } = stream.statement("STATEMENT", &3).unwrap();
    let mut tx = stream.begin().unwrap();
    tx.execute(&sql, &params.map(Value::from)).unwrap();
    let fourth = tx.add_event("IN_TX", &4).unwrap();
    tx.commit().unwrap();

    let events = consumer.poll(None, &Want::all()).unwrap();
    let data: Vec<&str> = events.iter().map(|event| event.data.as_str()).collect();
    assert_eq!(data, ["1", "2", "3", "4"]);
    let ids: Vec<u64> = events.iter().map(|event| event.id).collect();
    assert!(ids.is_sorted() && ids.starts_with(&[first, second]) && ids.ends_with(&[fourth]));

    let subscribed =
        stream.subscribe("app", "Audit", Want::types(&["IN_TX"]).unwrap(), &Options::new());
    let subscription = subscribed.unwrap();
    let delivery = subscription.next(Duration::from_secs(60)).unwrap().expect("the event");
    assert_eq!(delivery.events.iter().map(|event| event.id).collect::<Vec<_>>(), [fourth]);
    subscription.ack().unwrap();
    subscription.close().unwrap();

    let archiver = Archiver::new(&stream, &warehouse, &Options::new()).unwrap();
    assert_eq!(archiver.run_once().unwrap(), 4);
    let discarder = Discarder::new(&stream, &Options::new()).unwrap();
    // The last event stays.
    assert_eq!(discarder.run_once().unwrap(), 3);
    let report = stream.verify(Some(&warehouse), &VerifyOptions::new()).unwrap();
    assert!(report.is_clean() && report.complete, "{:?}", report.findings);
    assert_eq!(warehouse.history(0, &Want::all(), 10).unwrap(), events);
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_needs_no_other_kind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    story(
        &format!("sqlite://{}", path.display()),
        &mut futoin_eventstream::rusqlite::Connection::open(&path).unwrap(),
    );
}

/// The administrator's URL of a server, if there is one, and that of the database that a test makes there.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn database(server: &str) -> Option<(String, String, String)> {
    let variable = format!("FES_TEST_{server}_URL");
    let Ok(admin) = std::env::var(&variable) else {
        let required = std::env::var("FES_TEST_REQUIRED").is_ok();
        assert!(!required, "{variable} is not set: run the tests with tests/run");
        eprintln!("left out: {server}, because {variable} is not set (tests/run sets it)");
        return None;
    };
    let name = format!("fes_features_{}", std::process::id());
    let (server, _) = admin.rsplit_once('/').expect("a URL with a database");
    let url = format!("{server}/{name}");
    Some((admin, url, name))
}

#[cfg(feature = "postgres")]
#[test]
fn postgres_needs_no_other_kind() {
    use futoin_eventstream::postgres::{Client, NoTls};
    for server in ["POSTGRES", "POSTGRES18"] {
        let Some((admin, url, name)) = database(server) else { continue };
        let mut admin = Client::connect(&admin, NoTls).unwrap();
        admin.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        story(&url, &mut Client::connect(&url, NoTls).unwrap());
        admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).unwrap();
    }
}

#[cfg(feature = "mysql")]
#[test]
fn mysql_needs_no_other_kind() {
    use futoin_eventstream::mysql::{Conn, prelude::Queryable};
    for server in ["MARIADB", "MYSQL"] {
        let Some((admin, url, name)) = database(server) else { continue };
        let mut admin = Conn::new(admin.as_str()).unwrap();
        admin.query_drop(format!("CREATE DATABASE {name}")).unwrap();
        story(&url, &mut Conn::new(url.as_str()).unwrap());
        admin.query_drop(format!("DROP DATABASE {name}")).unwrap();
    }
}

#[test]
fn a_url_of_a_kind_that_is_left_out_names_the_feature() {
    let kinds = [
        ("sqlite::memory:", "sqlite", cfg!(feature = "sqlite")),
        ("postgres://127.0.0.1:1/d", "postgres", cfg!(feature = "postgres")),
        ("mysql://127.0.0.1:1/d", "mysql", cfg!(feature = "mysql")),
    ];
    for (url, feature, _) in kinds.into_iter().filter(|(_, _, built)| !built) {
        let errors = [EventStream::open(url).err().unwrap(), Warehouse::open(url).err().unwrap()];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::InvalidUrl);
            assert!(error.to_string().contains(&format!("`{feature}`")), "{error}");
            assert!(!error.is_retriable());
        }
    }
}

#[test]
fn a_statement_for_another_driver_needs_no_driver_of_ours() {
    let event = NewEvent::new("USR_ADD", &"Ann").unwrap();
    for kind in [DatabaseKind::Sqlite, DatabaseKind::Postgres, DatabaseKind::Mysql] {
        let statement = Statement::new(kind, &event, &Options::new()).unwrap();
        assert!(statement.sql.starts_with("INSERT INTO"), "{}", statement.sql);
    }
}
