//! Out of descriptors: an error that can be tried again, no panic, and every place of the pool comes back. The limit
//! is the process's, so each test is a program of its own: this one, called again.

mod support;

use futoin_eventstream::{ErrorKind, EventStream, Options};
use std::fs::File;
use std::process::Command;

/// Takes every descriptor that is left, after a limit was set.
fn exhaust() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// What happens in the child.
fn out_of_descriptors(url: &str) {
    let options = [("max_connections", "3"), ("connect_timeout_ms", "300")];
    let options = options.iter().fold(Options::new(), |o, (k, v)| o.set(k, v).unwrap());
    let stream = EventStream::open_with(url, &options).unwrap();
    stream.add_event("A", &1).unwrap();
    let lent = stream.begin().unwrap();
    let taken = exhaust();
    assert!(taken.len() > 10, "the limit is not set");
    for _ in 0..12 {
        // SQLite has the turn, but it needs a connection first.
        let error = stream.begin().map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfResources, "{error}");
        assert!(error.is_retriable(), "{error}");
    }
    let error = EventStream::open_with(url, &options).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfResources, "{error}");
    drop(taken);
    lent.rollback().unwrap();
    // All of the three places are there.
    if !url.starts_with("sqlite") {
        let all: Vec<_> = (0..3).map(|_| stream.begin().unwrap()).collect();
        drop(all);
    }
    stream.add_event("A", &2).unwrap();
    stream.close();
}

on_each_server!(out_of_descriptors_is_an_error_and_places_come_back, |db| {
    db.stream().close();
    if std::env::var_os("FES_TEST_CHILD").is_some() {
        return out_of_descriptors(&db.url);
    }
    let name = format!("out_of_descriptors_is_an_error_and_places_come_back::{}", db.server);
    let output = Command::new("prlimit")
        .arg("--nofile=60:60")
        .arg(std::env::current_exe().unwrap())
        .args([&name, "--exact", "--nocapture"])
        .env("FES_TEST_CHILD", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    assert!(!text.contains("panicked"), "{text}");
});
