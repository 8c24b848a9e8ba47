//! One ident has one receiver at a time.

use super::*;
use crate::support::rerun;

const HERE: &str = module_path!();

on_each_server!(one_ident_has_one_receiver_at_a_time, |db| {
    let stream = db.stream();
    let other = EventStream::open(&db.url).unwrap();
    let subscription = subscribe(&stream, "One", &[]);
    for stream in [&stream, &other] {
        let refused = stream.subscribe("app", "One", Want::all(), &Options::new());
        let error = refused.err().expect("an error");
        assert_eq!((error.kind(), error.is_retriable()), (ErrorKind::Occupied, true));
        assert!(error.to_string().contains("app:One"));
    }
    subscribe(&other, "Two", &[]).close().unwrap();
    subscription.close().unwrap();
    until("the ident is free", || {
        other.subscribe("app", "One", Want::all(), &Options::new()).is_ok()
    });
});

#[test]
fn a_database_in_memory_has_one_receiver_of_an_ident_too() {
    let stream = EventStream::open("sqlite::memory:").unwrap();
    stream.migrate().unwrap();
    let first = subscribe(&stream, "One", &[]);
    let again = || stream.subscribe("app", "One", Want::all(), &Options::new());
    assert_eq!(again().err().map(|error| error.kind()), Some(ErrorKind::Occupied));
    first.close().unwrap();
    assert!(again().is_ok());
}

/// Holds a lease until it is killed, when this program is run again for that.
#[test]
fn child_that_holds_a_lease() {
    let Ok(url) = std::env::var("FES_CHILD_LEASE_URL") else { return };
    let stream = EventStream::open(&url).unwrap();
    let subscription = stream.subscribe("app", "Dead", Want::all(), &Options::new()).unwrap();
    println!("holding");
    let _ = subscription.next(Duration::from_secs(60));
}

on_each_server!(the_lease_of_a_killed_process_ends_by_itself, |db| {
    use std::io::BufRead;
    let stream = db.stream();
    stream.consumer("app", "Dead").unwrap().register().unwrap();
    let mut child = rerun(HERE, "child_that_holds_a_lease")
        .env("FES_CHILD_LEASE_URL", &db.url)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(child.stdout.take().unwrap());
    assert!(output.lines().any(|line| line.unwrap().contains("holding")));
    let subscribe = || stream.subscribe("app", "Dead", Want::all(), &Options::new());
    assert_eq!(subscribe().err().map(|error| error.kind()), Some(ErrorKind::Occupied));
    child.kill().unwrap();
    child.wait().unwrap();
    until("the lease has ended", || subscribe().is_ok());
});
