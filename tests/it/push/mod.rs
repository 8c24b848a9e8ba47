//! Push: subscriptions and receivers, on every server. Nothing lost, nothing twice, nothing out of
//! order, whatever queue overflows, callback fails or connection breaks.

mod breaks;
mod leases;
mod ownership;
mod receiver;
mod side_by_side;
mod silence;
mod starting;
mod stress;
mod subscription;

use crate::support::Db;
use futoin_eventstream::{
    DatabaseKind, Delivery, ErrorKind, EventStream, LiveReceiver, NewEvent, Options, PoisonPolicy,
    ReceiverOptions, ReliableReceiver, Subscription, Want,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);

fn add(stream: &EventStream, count: u64) -> Vec<u64> {
    let events: Vec<_> = (0..count).map(|n| NewEvent::new("A", &n).unwrap()).collect();
    stream.add_events(&events).unwrap()
}

fn ids(delivery: &Delivery) -> Vec<u64> {
    delivery.events.iter().map(|event| event.id).collect()
}

/// Takes and acknowledges deliveries until there were `count` events.
fn collect(subscription: &Subscription, count: usize) -> Vec<u64> {
    let mut got = Vec::new();
    while got.len() < count {
        let delivery = subscription.next(LONG).unwrap().expect("a delivery");
        got.extend(ids(&delivery));
        subscription.ack().unwrap();
    }
    got
}

/// Waits until `condition` holds.
fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn cursor(db: &Db, ident: &str) -> i64 {
    db.raw().number(&format!("SELECT last_evt_id FROM evt_consumers WHERE ident = '{ident}'"))
}

fn subscribe(stream: &EventStream, component: &str, options: &[(&str, &str)]) -> Subscription {
    if component != "LIVE" {
        stream.consumer("app", component).unwrap().register().unwrap();
    }
    let options = options.iter().fold(Options::new(), |o, (k, v)| o.set(k, v).unwrap());
    stream.subscribe("app", component, Want::all(), &options).unwrap()
}

/// Options of a receiver whose notices can be waited for.
fn noticed(options: ReceiverOptions) -> (ReceiverOptions, Receiver<String>) {
    let (sender, receiver) = channel();
    let options = options.on_notice(move |notice| {
        let _ = sender.send(format!("{notice:?}"));
    });
    (options, receiver)
}

fn wait_for(notices: &Receiver<String>, text: &str) -> String {
    let start = Instant::now();
    let mut others = Vec::new();
    while start.elapsed() < LONG {
        match notices.recv_timeout(LONG) {
            Ok(notice) if notice.contains(text) => return notice,
            Ok(notice) => others.push(notice),
            Err(_) => break,
        }
    }
    panic!("no notice {text}, but {others:?}");
}

/// Closes it, which stores the cursor: at once, or, where that takes longer than a moment, behind the call.
fn close(db: &Db, subscription: &Subscription, at: i64) {
    let ident = subscription.ident().as_str();
    match subscription.close() {
        Err(error) if error.kind() == ErrorKind::Timeout => {
            until("the cursor is stored", || cursor(db, ident) == at);
        }
        result => result.unwrap(),
    }
    assert_eq!(cursor(db, ident), at);
}
