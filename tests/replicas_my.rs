//! MySQL and MariaDB servers on which events would be lost: replicas, read-only ones, several ones by
//! turns, and those that become one of these while a stream is open. All of them are refused, also
//! by a role that has no right but those that the docs name.

mod support;

use futoin_eventstream::{
    Archiver, Discarder, ErrorKind, EventStream, NewEvent, Options, Result, Want, Warehouse,
};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};
use support::proxy::Proxy;
use support::spare::{Replicated, Spare, eventually};
use support::{Db, Raw, failure, splitter};

/// Tests that share the pair, and those that change it as a whole.
static PAIR: RwLock<()> = RwLock::new(());

/// Makes of one function, which takes the kind of server, a test for each kind.
macro_rules! on_mysql_and_mariadb {
    ($name:ident, $body:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            #[test]
            fn mariadb() {
                let body: fn(&'static str) = $body;
                body("mariadb")
            }
            #[test]
            fn mysql() {
                let body: fn(&'static str) = $body;
                body("mysql")
            }
        }
    };
}

fn shared() -> impl Drop {
    PAIR.read().unwrap_or_else(PoisonError::into_inner)
}

fn alone() -> impl Drop {
    PAIR.write().unwrap_or_else(PoisonError::into_inner)
}

/// The database's URL for a new user who has these rights, of which each names what it is on.
fn role(db: &Db, grants: &[&str]) -> String {
    let name = format!("u{}", &db.name[4..]);
    let mut raw = db.raw();
    raw.exec(&format!("CREATE USER {name} IDENTIFIED BY 'fes-Test-1-password'"));
    for grant in grants {
        raw.exec(&format!("GRANT {grant} TO {name}").replace("app.", &format!("{}.", db.name)));
    }
    db.url_with(|url| {
        url.set_username(&name).unwrap();
        url.set_password(Some("fes-Test-1-password")).unwrap();
    })
}

/// What docs/grants.md gives a consumer, an archiver and a discarder together.
const RIGHTS: [&str; 2] =
    ["SELECT, DELETE ON app.evt_queue", "SELECT, INSERT, UPDATE, DELETE ON app.evt_consumers"];

/// And what shows the sources of a MySQL server.
const SEES_SOURCES: &str = "SELECT ON performance_schema.replication_connection_configuration";

fn open(url: &str, promised: bool) -> EventStream {
    let promised = if promised { "true" } else { "false" };
    let options = Options::new().set("single_writer_node", promised).unwrap();
    EventStream::open_with(url, &options.set("connect_timeout_ms", "5000").unwrap()).unwrap()
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T>, seen: &[&str]) {
    let error = result.expect_err("a refusal");
    assert_eq!(error.kind(), ErrorKind::UnsafeServer, "{error}");
    let message = error.to_string();
    assert!(message.contains("single_writer_node=true"), "{message}");
    assert!(seen.iter().any(|seen| message.contains(seen)), "{message}");
}

fn poll(stream: &EventStream) -> Result<Vec<u64>> {
    let events = stream.consumer("app", "Audit")?.poll(None, &Want::all())?;
    Ok(events.iter().map(|event| event.id).collect())
}

on_mysql_and_mariadb!(
    a_replica_is_refused_for_reliable_work_and_nothing_is_written_there,
    |server| {
        let _shared = shared();
        let Some(pair) = Replicated::pair(server) else { return };
        let db = pair.primary.db();
        let stream = db.stream();
        stream.consumer("app", "Audit").unwrap().register().unwrap();
        stream.add_event("USR_ADD", &1).unwrap();
        // MariaDB shows it to everybody, MySQL by one more grant.
        let more: &[&str] = if server == "mysql" { &[SEES_SOURCES] } else { &[] };
        let url = role(&db, &[&RIGHTS[..], more].concat());
        pair.catch_up();

        let there = open(&pair.on_replica(&url), false);
        let seen = ["Slaves_running is 1", "the source 127.0.0.1"];
        let consumer = there.consumer("app", "Audit").unwrap();
        assert_refused(consumer.register(), &seen);
        assert_refused(consumer.unregister(), &seen);
        assert_refused(consumer.poll(None, &Want::all()), &seen);
        assert_refused(consumer.acknowledge(1), &seen);
        assert_refused(there.consumer("app", "New").unwrap().register(), &seen);
        let subscribed = there.subscribe("app", "Audit", Want::all(), &Options::new());
        assert_refused(subscribed.map(drop), &seen);
        assert_refused(there.lag(), &seen);
        assert_refused(Discarder::new(&there, &Options::new()).unwrap().run_once(), &seen);
        let folder = tempfile::tempdir().unwrap();
        let file = format!("sqlite://{}", folder.path().join("dwh.db").display());
        let warehouse = Warehouse::open(&file).unwrap();
        warehouse.migrate().unwrap();
        let archiver = Archiver::new(&there, &warehouse, &Options::new()).unwrap();
        assert_refused(archiver.run_once(), &seen);

        // What was written there would be in the way of what comes now.
        stream.consumer("app", "Next").unwrap().register().unwrap();
        stream.consumer("app", "Audit").unwrap().acknowledge(1).unwrap();
        pair.catch_up();
        assert!(pair.replicates());
        let idents = "SELECT CONCAT(ident, last_evt_id) FROM evt_consumers ORDER BY 1";
        let mut raw = Raw::connect(db.kind, &pair.on_replica(&db.url));
        assert_eq!(raw.texts(idents), ["app:Audit1", "app:Next0"]);

        // Who promises that the events are not those that come from elsewhere is let in.
        let promised = open(&pair.on_replica(&db.url), true);
        assert_eq!(promised.live("app").unwrap().poll(Some(0), &Want::all()).unwrap().len(), 1);
    }
);

on_mysql_and_mariadb!(
    what_would_break_the_replication_is_refused_on_a_writable_replica,
    |server| {
        let _shared = shared();
        let Some(pair) = Replicated::pair(server) else { return };
        let db = pair.primary.db();
        let stream = db.stream();
        stream.add_event("USR_ADD", &1).unwrap();
        let history = Warehouse::open(&db.url).unwrap();
        history.migrate().unwrap();
        pair.catch_up();

        let url = pair.on_replica(&db.url);
        let there = open(&url, false);
        let seen = ["Slaves_running is 1", "the source 127.0.0.1", "grow"];
        assert_refused(there.migrate(), &seen);
        assert_refused(there.add_event("USR_ADD", &2), &seen);
        assert_refused(there.add_events(&[NewEvent::new("USR_ADD", &2).unwrap()]), &seen);
        let mut transaction = there.begin().unwrap();
        assert_refused(transaction.add_event("USR_ADD", &2), &seen);
        transaction.rollback().unwrap();
        let history_there = Warehouse::open(&url).unwrap();
        assert_refused(history_there.migrate(), &seen);
        stream.consumer("app", "Audit").unwrap().register().unwrap();
        let archiver = Archiver::new(&stream, &history_there, &Options::new()).unwrap();
        assert_refused(archiver.run_once(), &seen);
        // Who only reads the history may do it anywhere.
        assert_eq!(history_there.history(1, &Want::all(), 10).unwrap().len(), 0);

        // Nothing of it is there, and what comes next comes through.
        stream.add_event("USR_ADD", &2).unwrap();
        Archiver::new(&stream, &history, &Options::new()).unwrap().run_once().unwrap();
        pair.catch_up();
        assert!(pair.replicates());
        let mut raw = Raw::connect(db.kind, &url);
        assert_eq!(raw.texts("SELECT id FROM evt_queue ORDER BY id"), ["1", "2"]);
        assert_eq!(raw.texts("SELECT id FROM evt_history ORDER BY id"), ["1", "2"]);

        // Who promises that nobody else writes these tables is let in.
        raw.exec("CREATE DATABASE IF NOT EXISTS fes_own_of_the_replica");
        let own = support::with_database(&url, "fes_own_of_the_replica");
        let promised = open(&own, true);
        promised.migrate().unwrap();
        promised.add_event("USR_ADD", &1).unwrap();
        raw.exec("DROP DATABASE fes_own_of_the_replica");
    }
);

// On MySQL who has no right to see the sources sees a replica only while it applies something.
on_mysql_and_mariadb!(who_may_only_insert_adds_nothing_on_a_replica_that_is_at_work, |server| {
    let _shared = shared();
    let Some(pair) = Replicated::pair(server) else { return };
    let db = pair.primary.db();
    let stream = db.stream();
    let url = role(&db, &["INSERT ON app.evt_queue"]);
    pair.catch_up();
    let there = open(&pair.on_replica(&url), false);
    let seen = ["Slaves_running is 1", "in gtid_slave_pos grow", "in gtid_executed grow"];
    let start = Instant::now();
    loop {
        let mut undone = there.begin().unwrap();
        let added = undone.add_event("LOST", &2);
        undone.rollback().unwrap();
        if added.is_err() {
            break assert_refused(added, &seen);
        }
        assert!(start.elapsed() < Duration::from_secs(20), "never refused");
        stream.add_event("USR_ADD", &1).unwrap();
        pair.catch_up();
    }
    assert!(pair.replicates());
});

on_mysql_and_mariadb!(
    a_late_commit_on_a_replica_is_not_passed_over_by_who_sees_no_sources,
    |server| {
        let _shared = shared();
        let Some(pair) = Replicated::pair(server) else { return };
        let db = pair.primary.db();
        let stream = db.stream();
        stream.consumer("app", "Audit").unwrap().register().unwrap();
        let url = role(&db, &RIGHTS);
        pair.catch_up();
        let there = open(&pair.on_replica(&url), false);
        // At rest a replica on MySQL looks like any server.
        match (poll(&there), server) {
            (refused, "mariadb") => assert_refused(refused, &["Slaves_running is 1"]),
            (polled, _) => assert_eq!(polled.unwrap(), [0; 0]),
        }

        let mut late = db.raw();
        late.exec("BEGIN");
        late.exec(&db.insert_sql("LATE"));
        stream.add_event("USR_ADD", &2).unwrap();
        pair.catch_up();
        let seen = ["Slaves_running is 1", "in gtid_slave_pos grow", "in gtid_executed grow"];
        assert_refused(poll(&there), &seen);
        late.exec("COMMIT");
        pair.catch_up();
        assert_refused(poll(&there), &seen);
        assert_eq!(poll(&stream).unwrap(), [1, 2]);
    }
);

on_mysql_and_mariadb!(a_replica_that_was_stopped_is_refused_by_who_may_see_its_source, |server| {
    let _alone = alone();
    let Some(pair) = Replicated::pair(server) else { return };
    let db = pair.primary.db();
    let stream = db.stream();
    stream.consumer("app", "Audit").unwrap().register().unwrap();
    let right = if server == "mysql" { "REPLICATION CLIENT" } else { "SLAVE MONITOR" };
    let right = format!("{right} ON *.*");
    let url = role(&db, &[&RIGHTS[..], &[right.as_str()]].concat());
    pair.catch_up();
    pair.replicate(false);
    let refused = poll(&open(&pair.on_replica(&url), false));
    pair.replicate(true);
    assert_refused(refused, &["shows the source 127.0.0.1"]);
});

on_mysql_and_mariadb!(a_server_that_becomes_read_only_is_refused_until_it_is_not, |server| {
    let _alone = alone();
    let Some(spare) = Spare::make("changes", server, &[]) else { return };
    let db = spare.db();
    let stream = db.stream();
    stream.consumer("app", "Audit").unwrap().register().unwrap();
    let stream = open(&role(&db, &[&RIGHTS[..], &["INSERT ON app.evt_queue"]].concat()), false);
    let id = stream.add_event("USR_ADD", &1).unwrap();
    assert_eq!(poll(&stream).unwrap(), [id]);

    let mut root = spare.root();
    root.exec("SET GLOBAL read_only = 1");
    let start = Instant::now();
    eventually("refused", || poll(&stream).is_err());
    let took = start.elapsed();
    let refused = poll(&stream);
    let added = failure(stream.add_event("USR_ADD", &2));
    root.exec("SET GLOBAL read_only = 0");
    assert_refused(refused, &["read_only is 1", "read_only is ON"]);
    assert!(took < Duration::from_millis(1500), "{took:?}");
    assert_eq!(added, ErrorKind::ConnectionLost);
    assert_eq!(poll(&stream).unwrap(), [id]);
    stream.add_event("USR_ADD", &3).unwrap();
});

on_mysql_and_mariadb!(
    a_server_that_becomes_one_of_a_cluster_is_refused_without_a_gap_to_look_at,
    |server| {
        let _alone = alone();
        let Some(spare) = Spare::make("changes", server, &[]) else { return };
        let db = spare.db();
        let stream = db.stream();
        stream.consumer("app", "Audit").unwrap().register().unwrap();
        let id = stream.add_event("USR_ADD", &1).unwrap();
        assert_eq!(poll(&stream).unwrap(), [id]);

        let mut root = spare.root();
        root.exec("SET GLOBAL auto_increment_increment = 3");
        let start = Instant::now();
        eventually("refused", || poll(&stream).is_err());
        let (took, refused) = (start.elapsed(), poll(&stream));
        let promised = poll(&open(&db.url, true));
        root.exec("SET GLOBAL auto_increment_increment = 1");
        assert_refused(refused, &["auto_increment_increment is 3"]);
        assert!(took < Duration::from_millis(1500), "{took:?}");
        assert_eq!(promised.unwrap(), [id]);
        eventually("allowed again", || poll(&stream).is_ok());
    }
);

on_mysql_and_mariadb!(an_offset_of_ids_without_an_increment_changes_nothing, |server| {
    let _alone = alone();
    let Some(spare) = Spare::make("changes", server, &[]) else { return };
    let db = spare.db();
    let stream = db.stream();
    stream.consumer("app", "Audit").unwrap().register().unwrap();
    spare.root().exec("SET GLOBAL auto_increment_offset = 5");
    // Sessions that are made now begin with it.
    let ids: Vec<_> = (0..3).map(|n| db.stream().add_event("USR_ADD", &n).unwrap()).collect();
    std::thread::sleep(Duration::from_millis(1100));
    let polled = poll(&stream);
    spare.root().exec("SET GLOBAL auto_increment_offset = 1");
    assert_eq!(ids, [1, 2, 3]);
    assert_eq!(polled.unwrap(), ids);
});

on_mysql_and_mariadb!(
    who_reached_a_replica_works_again_when_the_name_points_to_the_primary,
    |server| {
        let _alone = alone();
        let Some(pair) = Replicated::pair(server) else { return };
        let db = pair.primary.db();
        let direct = db.stream();
        direct.consumer("app", "Audit").unwrap().register().unwrap();
        let first = direct.add_event("USR_ADD", &1).unwrap();
        let url = role(&db, &[&RIGHTS[..], &["INSERT ON app.evt_queue"]].concat());
        pair.catch_up();
        pair.replica.root().exec("SET GLOBAL read_only = 1");

        let proxy = Proxy::before(&pair.replica.url);
        let stream = open(&proxy.url(&url), false);
        let refused = poll(&stream);
        let added = failure(stream.add_event("USR_ADD", &2));
        let begun = stream.begin().and_then(|mut tx| tx.add_event("USR_ADD", &2));
        proxy.point_to(&pair.primary.url);
        let again = stream.add_event("USR_ADD", &3);
        let polled = poll(&stream);
        pair.replica.root().exec("SET GLOBAL read_only = 0");

        assert_refused(refused, &["read_only is", "Slaves_running"]);
        assert_eq!(added, ErrorKind::ConnectionLost);
        assert_eq!(failure(begun), ErrorKind::ConnectionLost);
        assert_eq!(polled.unwrap(), [first, again.unwrap()]);
    }
);

on_mysql_and_mariadb!(
    a_subscription_goes_on_at_the_primary_after_its_server_became_a_replica,
    |server| {
        let _alone = alone();
        let Some(pair) = Replicated::pair(server) else { return };
        // The roles are as after a switch: the name led to what is a replica now.
        let db = pair.primary.db();
        let direct = db.stream();
        direct.consumer("app", "Audit").unwrap().register().unwrap();
        let url = role(&db, &[&RIGHTS[..], &["INSERT ON app.evt_queue"]].concat());
        pair.catch_up();
        pair.replicate(false);
        let proxy = Proxy::before(&pair.replica.url);
        let stream = open(&proxy.url(&url), false);
        let subscription = stream.subscribe("app", "Audit", Want::all(), &Options::new());
        pair.replica.root().exec("SET GLOBAL read_only = 1");
        pair.replicate(true);
        let subscription = subscription.unwrap();
        let start = Instant::now();
        let mut notice = None;
        while notice.is_none() && start.elapsed() < Duration::from_secs(10) {
            notice = subscription.next(Duration::from_millis(100)).err();
        }
        proxy.point_to(&pair.primary.url);
        let id = direct.add_event("USR_ADD", &1).unwrap();
        let mut got = Vec::new();
        while got.is_empty() && start.elapsed() < Duration::from_secs(30) {
            if let Ok(Some(delivery)) = subscription.next(Duration::from_millis(100)) {
                got.extend(delivery.events.iter().map(|event| event.id));
            }
        }
        pair.replica.root().exec("SET GLOBAL read_only = 0");
        assert_eq!(notice.map(|error| error.kind()), Some(ErrorKind::UnsafeServer));
        assert_eq!(got, [id]);
        // And so does the lock that keeps others from being the receiver.
        eventually("held at the primary", || {
            let _ = subscription.next(Duration::from_millis(100));
            let second = direct.subscribe("app", "Audit", Want::all(), &Options::new());
            second.is_err_and(|error| error.kind() == ErrorKind::Occupied)
        });
    }
);

on_mysql_and_mariadb!(an_address_that_leads_to_several_servers_by_turns_is_refused, |server| {
    let _alone = alone();
    let Some(pair) = Replicated::pair(server) else { return };
    let db = pair.primary.db();
    let direct = db.stream();
    direct.consumer("app", "Audit").unwrap().register().unwrap();
    let first = direct.add_event("USR_ADD", &1).unwrap();
    let url = role(&db, &[&RIGHTS[..], &["INSERT ON app.evt_queue"]].concat());
    pair.catch_up();
    // It shows nothing of what it is.
    pair.replicate(false);

    let proxy = Proxy::before(&pair.primary.url);
    let stream = open(&proxy.url(&url), false);
    assert_eq!(poll(&stream).unwrap(), [first]);
    // A gap, for a look.
    let mut raw = db.raw();
    raw.exec("BEGIN");
    raw.exec(&db.insert_sql("GONE"));
    raw.exec("ROLLBACK");
    let id = direct.add_event("USR_ADD", &2).unwrap();
    assert_eq!(poll(&stream).unwrap(), [first, id]);
    // From now on each new connection leads to the other server.
    let held = stream.begin().unwrap();
    proxy.point_to(&pair.replica.url);
    let _ = poll(&stream);
    let other = stream.begin().unwrap();
    proxy.point_to(&pair.primary.url);
    let third = stream.begin();
    let fourth = stream.begin();
    drop((held, other, third, fourth));
    let refused = poll(&stream);
    pair.replicate(true);
    assert_refused(refused, &["several servers by turns"]);
});

/// A database of the pair with a gap that no one can fill, and a user without a password; replication
/// is stopped.
fn behind_a_gap(pair: &Replicated) -> (Db, String) {
    let db = pair.primary.db();
    let stream = db.stream();
    stream.consumer("app", "Audit").unwrap().register().unwrap();
    let mut raw = db.raw();
    raw.exec("BEGIN");
    raw.exec(&db.insert_sql("GONE"));
    raw.exec("ROLLBACK");
    stream.add_event("USR_ADD", &2).unwrap();
    let url = role(&db, &RIGHTS);
    let user = url::Url::parse(&url).unwrap().username().to_owned();
    raw.exec(&format!("ALTER USER {user} IDENTIFIED BY ''"));
    pair.catch_up();
    pair.replicate(false);
    let url = db.url_with(|url| {
        url.set_username(&user).unwrap();
        url.set_password(None).unwrap();
        url.query_pairs_mut().append_pair("ssl-mode", "DISABLED");
    });
    (db, url)
}

fn port(url: &str) -> u16 {
    url::Url::parse(url).unwrap().port().unwrap()
}

fn through(url: &str, port: u16) -> EventStream {
    let mut url = url::Url::parse(url).unwrap();
    url.set_port(Some(port)).unwrap();
    open(url.as_str(), false)
}

on_mysql_and_mariadb!(a_proxy_that_sends_looks_to_another_server_is_refused, |server| {
    let _alone = alone();
    let Some(pair) = Replicated::pair(server) else { return };
    let (_db, url) = behind_a_gap(&pair);
    let split = splitter::start(port(&pair.primary.url), port(&pair.replica.url), |_| {});
    let refused = poll(&through(&url, split));
    // Both to one server: nothing is wrong with the proxy itself.
    let whole = splitter::start(port(&pair.primary.url), port(&pair.primary.url), |_| {});
    let polled = poll(&through(&url, whole));
    pair.replicate(true);
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsafeServer, "{error}");
    assert!(error.to_string().contains("a proxy"), "{error}");
    assert_eq!(polled.unwrap(), [2]);
});

on_mysql_and_mariadb!(a_server_that_shows_no_use_of_tables_is_refused, |server| {
    let _alone = alone();
    let Some(pair) = Replicated::pair(server) else { return };
    let (_db, url) = behind_a_gap(&pair);
    pair.replicate(true);
    let to = port(&pair.primary.url);
    // It knows no HANDLER, as those that only speak the protocol.
    let port = splitter::start(to, to, |body| {
        if body.starts_with(b"\x03HANDLER") {
            body[1..8].copy_from_slice(b"NOTHING");
        }
    });
    let error = poll(&through(&url, port)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsafeServer, "{error}");
    // It says that nobody uses a table.
    let port = splitter::start(to, to, |body| {
        let text = b"\x03SHOW OPEN TABLES FROM ";
        if body.starts_with(text) {
            body.truncate(text.len());
            body.extend(b"nothing_there");
        }
    });
    let error = poll(&through(&url, port)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsafeServer, "{error}");
});

#[test]
fn a_node_that_joins_a_galera_cluster_is_refused() {
    let _alone = alone();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Some(spare) = Spare::make(
        "galera",
        "mariadb",
        &[
            "--wsrep-provider=/usr/lib/galera/libgalera_smm.so",
            "--wsrep-on=ON",
            "--wsrep-cluster-address=gcomm://",
            "--wsrep-node-address=127.0.0.1",
            &format!(
                "--wsrep-provider-options=base_port={port};gmcast.listen_addr=tcp://127.0.0.1:{port}"
            ),
            "--wsrep-auto-increment-control=OFF",
            "--binlog-format=ROW",
        ],
    ) else {
        return;
    };
    spare.root().exec("SET GLOBAL wsrep_on = OFF");
    let db = spare.db();
    let stream = db.stream();
    stream.consumer("app", "Audit").unwrap().register().unwrap();
    let id = stream.add_event("USR_ADD", &1).unwrap();
    assert_eq!(poll(&stream).unwrap(), [id]);
    spare.root().exec("SET GLOBAL wsrep_on = ON");
    eventually("refused", || poll(&stream).is_err());
    let refused = poll(&stream);
    let promised = poll(&open(&db.url, true));
    spare.root().exec("SET GLOBAL wsrep_on = OFF");
    assert_refused(refused, &["wsrep_on is 1", "wsrep_on is ON"]);
    assert_eq!(promised.unwrap(), [id]);
}
