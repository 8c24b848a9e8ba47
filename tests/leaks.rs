//! A closed stream leaves no thread and no descriptor behind. This program has a single test,
//! because both are counted for the whole process.

#[path = "it/support/mod.rs"]
mod support;

use futoin_eventstream::{ErrorKind, EventStream, Want};
use std::time::{Duration, Instant};
use support::{Db, failure};

/// The threads and the descriptors of this process. The listing itself is one of the latter.
fn counts() -> (usize, usize) {
    let entries = |folder| std::fs::read_dir(folder).unwrap().count();
    (entries("/proc/self/task"), entries("/proc/self/fd"))
}

/// Uses a stream in every way that takes a connection, and closes it.
fn round(db: &Db, number: usize) {
    let stream = db.stream();
    let consumer = stream.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();
    // A gap, so that there are sessions that watch.
    stream.begin().and_then(|mut tx| tx.add_event("GAP", &()).map(drop)).unwrap();
    let id = stream.add_event("USR_ADD", &number).unwrap();
    let events = consumer.poll(None, &Want::types(&["USR_ADD"]).unwrap()).unwrap();
    assert_eq!(events.last().unwrap().id, id);
    consumer.acknowledge(id).unwrap();
    stream.lag().unwrap();
    match number % 3 {
        0 => stream.close(),
        // A transaction outlives it, and is rolled back; or nobody closes anything.
        1 => {
            let mut tx = stream.begin().unwrap();
            tx.add_event("USR_ADD", "lost").unwrap();
            stream.close();
        }
        _ => {}
    }
}

/// Waits until the counts are what they were; what the server ends may take a moment.
fn come_back(what: &str, before: (usize, usize)) {
    let start = Instant::now();
    while counts() != before {
        let now = counts();
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{what}: {before:?} threads and descriptors became {now:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_closed_stream_leaves_no_thread_and_no_descriptor_behind() {
    let before = counts();
    for server in support::SERVERS {
        let Some(db) = Db::on(server) else { continue };
        for number in 1..=50 {
            round(&db, number);
        }
        come_back(server, before);
        // Neither does one that cannot be opened, or has nobody to talk to.
        for _ in 0..5 {
            let wrong = if *server == "sqlite" {
                format!("{}/no.db", db.url)
            } else {
                support::with_database(&db.url, "no_such_database")
            };
            assert_eq!(failure(EventStream::open(&wrong).map(drop)), ErrorKind::ConnectFailed);
        }
        for _ in 0..2 {
            let options = [("max_connections", "1"), ("connect_timeout_ms", "1000")];
            let stream = db.stream_with(&options);
            let tx = stream.begin().unwrap();
            assert_eq!(failure(stream.add_event("USR_ADD", &())), ErrorKind::ConnectFailed);
            stream.close();
            drop(tx);
        }
        come_back(server, before);
    }
    for _ in 0..20 {
        let stream = EventStream::open("sqlite::memory:").unwrap();
        stream.migrate().unwrap();
        stream.add_event("USR_ADD", &1).unwrap();
        assert_eq!(support::everything(&stream).len(), 1);
    }
    come_back("sqlite::memory:", before);
}
