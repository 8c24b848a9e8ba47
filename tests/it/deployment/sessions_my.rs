//! Sessions of MySQL and MariaDB that end, that are not to be had, or in which the caller has put
//! something in front of the event table.

use crate::support::spare::eventually;
use crate::support::{Db, everything, failure};
use futoin_eventstream::{ErrorKind, EventStream, NewEvent, Options, Want};
use std::time::Duration;

/// The database for a new user with such limits, as `GRANT` and `CREATE USER` write them.
fn limited(db: &Db, limits: &str) -> String {
    let name = format!("u{}", &db.name[4..]);
    let mut raw = db.raw();
    raw.exec(&format!("CREATE USER {name} IDENTIFIED BY 'fes-Test-1-password' {limits}"));
    raw.exec(&format!("GRANT ALL ON {}.* TO {name}", db.name));
    db.url_with(|url| {
        url.set_username(&name).unwrap();
        url.set_password(Some("fes-Test-1-password")).unwrap();
    })
}

on_servers!(a_temporary_table_of_the_caller_takes_no_event, [mariadb, mysql], |db| {
    let stream = db.stream();
    let mut tx = stream.begin().unwrap();
    let table =
        "evt_queue (id BIGINT AUTO_INCREMENT PRIMARY KEY, type TEXT, data TEXT, ts DATETIME)";
    tx.execute(&format!("CREATE TEMPORARY TABLE {table}"), &[]).unwrap();
    assert_eq!(failure(tx.add_event("LOST", &1)), ErrorKind::ForeignSchema);
    let batch = [NewEvent::new("LOST", &2).unwrap()];
    assert_eq!(failure(tx.add_events(&batch)), ErrorKind::ForeignSchema);
    tx.execute("DROP TEMPORARY TABLE evt_queue", &[]).unwrap();
    tx.add_event("KEPT", &3).unwrap();
    tx.commit().unwrap();
    stream.add_event("KEPT", &4).unwrap();
    let data: Vec<_> = everything(&stream).into_iter().map(|e| e.data.into_string()).collect();
    assert_eq!(data, ["3", "4"]);
});

on_servers!(a_session_that_rests_too_long_is_lost_in_a_transaction_only, [mariadb, mysql], |db| {
    let stream = db.stream();
    let consumer = stream.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();
    let mut tx = stream.begin().unwrap();
    tx.execute("SET SESSION wait_timeout = 1", &[]).unwrap();
    tx.add_event("LOST", &1).unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(failure(tx.add_event("LOST", &2)), ErrorKind::ConnectionLost);
    assert!(tx.commit().unwrap_err().is_retriable());
    let id = stream.add_event("KEPT", &3).unwrap();
    let polled = consumer.poll(None, &Want::all()).unwrap();
    assert_eq!(polled.iter().map(|event| event.id).collect::<Vec<_>>(), [id]);
});

on_servers!(a_killed_session_is_a_lost_connection, [mariadb, mysql], |db| {
    let stream = db.stream();
    let mut tx = stream.begin().unwrap();
    tx.add_event("LOST", &1).unwrap();
    let id = tx.query("SELECT CONNECTION_ID()", &[]).unwrap()[0][0].as_i64().unwrap();
    db.raw().exec(&format!("KILL {id}"));
    let error = tx.add_event("LOST", &2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
    assert!(tx.commit().unwrap_err().is_retriable());

    // In the middle of a statement, too.
    let mut tx = stream.begin().unwrap();
    let id = tx.query("SELECT CONNECTION_ID()", &[]).unwrap()[0][0].as_i64().unwrap();
    let slept = std::thread::scope(|scope| {
        let sleeping = scope.spawn(|| tx.query("SELECT SLEEP(20)", &[]));
        let list = format!("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = {id}");
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(db.raw().number(&list), 1);
        db.raw().exec(&format!("KILL {id}"));
        eventually("gone", || db.raw().number(&list) == 0);
        sleeping.join().unwrap()
    });
    let error = slept.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
    assert!(tx.commit().unwrap_err().is_retriable());
    stream.add_event("KEPT", &3).unwrap();
    assert_eq!(everything(&stream).len(), 1);
});

on_servers!(too_many_connections_are_a_failure_to_connect, [mariadb, mysql], |db| {
    db.stream();
    let url = limited(db, "WITH MAX_USER_CONNECTIONS 2");
    let options = Options::new().set("connect_timeout_ms", "1500").unwrap();
    let open = || EventStream::open_with(&url, &options);
    let stream = open().unwrap();
    let (first, second) = (stream.begin().unwrap(), stream.begin().unwrap());
    let error = open().err().expect("a failure");
    assert_eq!(error.kind(), ErrorKind::ConnectFailed, "{error}");
    assert!(error.is_retriable(), "{error}");
    assert_eq!(failure(stream.begin().map(drop)), ErrorKind::ConnectFailed);
    drop((first, second));
    stream.add_event("KEPT", &1).unwrap();
});
