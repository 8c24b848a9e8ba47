//! A server that goes silent: every call ends in its time, and all goes on when the path is healed.

mod support;

use futoin_eventstream::{ErrorKind, EventStream, Want};
use std::time::{Duration, Instant};
use support::proxy::{Mode, Proxy};

on_servers!(
    the_proxy_of_these_tests_does_what_it_says,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let proxy = Proxy::before(&db.url);
        db.stream().close();
        let url = proxy.url(&db.url);
        let stream = EventStream::open(&format!("{url}?connect_timeout_ms=1000")).unwrap();
        stream.add_event("A", &1).unwrap();
        proxy.set(Mode::Slow(Duration::from_millis(100)));
        let start = Instant::now();
        stream.add_event("A", &2).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(200));
        proxy.set(Mode::Reset);
        assert_eq!(support::failure(stream.add_event("A", &3)), ErrorKind::ConnectionLost);
        proxy.set(Mode::Refuse);
        assert_eq!(support::failure(stream.add_event("A", &4)), ErrorKind::ConnectFailed);
        proxy.set(Mode::Forward);
        stream.add_event("A", &5).unwrap();
        assert!(proxy.accepted() >= 2 && proxy.open() >= 1);
        let events = stream.live("app").unwrap().poll(Some(0), &Want::all()).unwrap();
        let data: Vec<&str> = events.iter().map(|event| event.data.as_str()).collect();
        assert_eq!(data, ["1", "2", "5"]);
    }
);
