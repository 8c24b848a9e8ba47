//! Servers that change their part while we run, and names that lead elsewhere.

use super::*;

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
