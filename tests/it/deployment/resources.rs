//! Out of descriptors, or of threads: an error that can be tried again, no panic, and every place of the pool comes
//! back. The limit is the process's, so each test is a program of its own: this one, called again.

use crate::support::{Db, exact_name};
use futoin_eventstream::{
    Archiver, Discarder, Error, ErrorKind, EventStream, Options, ReceiverOptions, ReliableReceiver,
    Want, Warehouse,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Uid, getresuid, setresuid};
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

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

/// Runs a test again, as a program of its own, which must not panic.
fn again(db: &Db, test: &str, limits: &[&str]) {
    let name = exact_name(module_path!(), &format!("{test}::{}", db.server));
    let output = Command::new("prlimit")
        .args(limits)
        .arg(std::env::current_exe().unwrap())
        .args([&name, "--exact", "--nocapture"])
        .env("FES_TEST_CHILD", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    assert!(!text.contains("panicked"), "{text}");
}

fn is_child() -> bool {
    std::env::var_os("FES_TEST_CHILD").is_some()
}

on_each_server!(out_of_descriptors_is_an_error_and_places_come_back, |db| {
    db.stream().close();
    match is_child() {
        true => out_of_descriptors(&db.url),
        false => {
            again(db, "out_of_descriptors_is_an_error_and_places_come_back", &["--nofile=60:60"])
        }
    }
});

/// Root, who has no limit of threads, is "nobody" while none are allowed.
fn allow_threads(allowed: bool) {
    let (_, most) = getrlimit(Resource::RLIMIT_NPROC).unwrap();
    setrlimit(Resource::RLIMIT_NPROC, if allowed { most } else { 1 }, most).unwrap();
    let (root, nobody) = (Uid::from_raw(0), Uid::from_raw(65534));
    let is_root = getresuid().unwrap().saved.is_root();
    if is_root {
        let user = if allowed { root } else { nobody };
        setresuid(user, user, root).unwrap();
    }
}

/// Lets other users work on a SQLite database.
fn open_to_all(folder: &Path) {
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(folder, 0o777);
    std::fs::read_dir(folder).unwrap().for_each(|file| open(&file.unwrap().path(), 0o666));
}

#[track_caller]
fn refused<T>(what: &str, result: futoin_eventstream::Result<T>) {
    let error: Error = result.map(drop).expect_err(what);
    assert_eq!(error.kind(), ErrorKind::OutOfResources, "{what}: {error}");
    assert!(error.is_retriable() && error.to_string().contains("thread"), "{what}: {error}");
}

/// What happens in the child.
fn out_of_threads(db: &Db) {
    let options = [("max_connections", "3"), ("connect_timeout_ms", "300")];
    let stream = db.stream_with(&options);
    let is_server = !db.url.starts_with("sqlite");
    let warehouse = Warehouse::open(&db.url).unwrap();
    warehouse.migrate().unwrap();
    let consumer = stream.consumer("app", "Few").unwrap();
    consumer.register().unwrap();
    stream.add_event("A", &1).unwrap();
    let receiver =
        ReliableReceiver::new(&stream, "app", "Called", ReceiverOptions::new(), |_| Ok(()))
            .unwrap();
    let archiver = Archiver::new(&stream, &warehouse, &Options::new()).unwrap();
    let discarder = Discarder::new(&stream, &Options::new()).unwrap();
    if !is_server {
        open_to_all(db.path().parent().unwrap());
    }
    allow_threads(false);
    for _ in 0..12 {
        refused("receiver", receiver.start());
        refused("archiver", archiver.start());
        refused("discarder", discarder.start());
        refused("subscribe", stream.subscribe("app", "Few", Want::all(), &Options::new()));
        if is_server {
            refused("open", EventStream::open(&db.url));
            refused("warehouse", Warehouse::open(&db.url));
            // The idle connection is lent, and another one is not to be had.
            let lent = stream.begin().unwrap();
            refused("begin", stream.begin());
            lent.rollback().unwrap();
        }
        // What needs no thread works.
        stream.add_event("A", &2).unwrap();
    }
    allow_threads(true);
    let events = consumer.poll(None, &Want::all()).unwrap();
    assert_eq!(events.len(), 13);
    let subscription = stream.subscribe("app", "Few", Want::all(), &Options::new()).unwrap();
    assert!(subscription.next(Duration::from_secs(20)).unwrap().is_some());
    subscription.close().unwrap();
    for worker in 0..3 {
        match worker {
            0 => receiver.start(),
            1 => archiver.start(),
            _ => discarder.start(),
        }
        .unwrap();
    }
    receiver.stop();
    archiver.stop();
    discarder.stop();
    if is_server {
        let all: Vec<_> = (0..3).map(|_| stream.begin().unwrap()).collect();
        drop(all);
    }
    stream.close();
}

on_each_server!(out_of_threads_is_an_error_and_places_come_back, |db| {
    match is_child() {
        true => out_of_threads(db),
        false => again(db, "out_of_threads_is_an_error_and_places_come_back", &[]),
    }
});
