//! Several hosts in a URL: the first that will do, whatever the ones before it do.

use crate::support::proxy::{Mode, Proxy};
use crate::support::spare::{Spare, eventually};
use crate::support::{Db, Raw, failure};
use futoin_eventstream::{ErrorKind, EventStream};
use std::time::{Duration, Instant};

/// The URL with other hosts before its own.
fn before(url: &str, ports: &[u16], options: &str) -> String {
    let ports: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port},")).collect();
    format!("{}?{options}", url.replace('@', &format!("@{}", ports.concat())))
}

on_servers!(
    hosts_that_are_dead_or_silent_are_passed_over,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        db.stream().close();
        let (dead, silent) = (Proxy::before(&db.url), Proxy::before(&db.url));
        dead.set(Mode::Refuse);
        silent.set(Mode::Silent);
        for ports in [vec![dead.port()], vec![silent.port()], vec![dead.port(), silent.port()]] {
            let url = before(&db.url, &ports, "connect_timeout_ms=9000");
            let start = Instant::now();
            let stream = EventStream::open(&url).unwrap();
            // A silent one takes its share of the time, no more.
            assert!(start.elapsed() < Duration::from_millis(9000), "{:?}", start.elapsed());
            stream.add_event("A", &1).unwrap();
        }
        // An open stream finds another host, too, when the one that it uses goes silent.
        let first = Proxy::before(&db.url);
        let options = "connect_timeout_ms=4000&call_timeout_ms=500";
        let stream = EventStream::open(&before(&db.url, &[first.port()], options)).unwrap();
        stream.add_event("A", &2).unwrap();
        assert!(first.accepted() > 0);
        first.set(Mode::Silent);
        eventually("another host is used", || stream.add_event("A", &3).is_ok());
        // The error of all names each.
        let url = format!("{}?connect_timeout_ms=600", proxied(&db.url, &dead, &silent));
        let error = EventStream::open(&url).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectFailed);
        for port in [dead.port(), silent.port()] {
            assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
        }
    }
);

/// The URL with two hosts in place of its own.
fn proxied(url: &str, one: &Proxy, other: &Proxy) -> String {
    one.url(url).replace('@', &format!("@127.0.0.1:{},", other.port()))
}

fn port(url: &str) -> u16 {
    url::Url::parse(url).unwrap().port().unwrap()
}

/// With a server that takes no writes before one that does.
fn only_the_writable_one_is_used(db: &Db, read_only: u16) {
    for wanted in ["read-write", "primary"] {
        let attrs = format!("target_session_attrs={wanted}");
        let stream = EventStream::open(&before(&db.url, &[read_only], &attrs)).unwrap();
        stream.add_event("A", &wanted).unwrap();
        // Alone it is refused, by an error that says why, and that may be another one tomorrow.
        let alone = db.url_with(|url| url.set_port(Some(read_only)).unwrap());
        let error = EventStream::open(&format!("{alone}?{attrs}")).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectFailed);
        assert!(error.is_retriable(), "{error}");
        let text = error.to_string();
        assert!(text.contains("target_session_attrs"), "{text}");
        assert!(text.contains("read-only") || text.contains("standby"), "{text}");
    }
    // The first that answers will do, unless something is asked for.
    let stream = EventStream::open(&before(&db.url, &[read_only], "")).unwrap();
    failure(stream.consumer("app", "Audit").unwrap().register());
}

on_servers!(a_server_that_is_read_only_is_passed_over, [mariadb, mysql], |db| {
    let Some(spare) = Spare::make("read-only", db.server, &[]) else { return };
    db.stream().close();
    let mut root = spare.root();
    root.exec(&format!("CREATE DATABASE {}", db.name));
    root.exec("SET GLOBAL read_only = 1");
    only_the_writable_one_is_used(db, port(&spare.url));
    root.exec("SET GLOBAL read_only = 0");
    root.exec(&format!("DROP DATABASE {}", db.name));
});

#[test]
fn a_standby_is_passed_over() {
    let Some(primary) = Spare::make("hosts", "postgres", &[]) else { return };
    let Some(standby) = primary.standby_of("hosts") else { return };
    let db = primary.db();
    db.stream().close();
    let there = crate::support::with_database(&standby.url, &db.name);
    eventually("the standby has the tables", || {
        let connected = std::panic::catch_unwind(|| Raw::connect(db.kind, &there));
        connected.is_ok_and(|mut raw| raw.try_exec("SELECT 1 FROM evt_consumers").is_ok())
    });
    only_the_writable_one_is_used(&db, port(&standby.url));
    drop(db);
    Spare::drop("postgres-standby-hosts");
    Spare::drop("postgres-hosts");
}
