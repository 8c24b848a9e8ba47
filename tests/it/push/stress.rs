//! Proves order without loss through push: the writers of `tests/it/order/stress.rs`, against subscriptions
//! that share one hub. Two are there from the start, one comes in the middle and meets history and
//! live tail under load, one has a queue that overflows all the time.

use crate::support::stress::{End, Ledger, Plan, TYPES, Writers};
use futoin_eventstream::{EventStream, Options, Subscription, Want};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// One server at a time: the writers of one are load enough.
static TURN: Mutex<()> = Mutex::new(());

const WANTED: [&str; 1] = [TYPES[1]];

on_each_server!(subscriptions_lose_nothing_beside_overlapping_writers, |db| {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let plan = Plan::new(6);
    let stream = db.stream();
    for component in ["All", "Some", "Late", "Slow"] {
        stream.consumer("app", component).unwrap().register().unwrap();
    }
    let some = Want::types(&WANTED).unwrap();
    let all = subscribe(&stream, "All", Want::all(), &[]);
    let some = subscribe(&stream, "Some", some, &[]);
    let slow = subscribe(&stream, "Slow", Want::all(), &[("queue_max", "3")]);
    let live = subscribe(&stream, "LIVE", Want::all(), &[]);

    let end = End::default();
    let ledgers = thread::scope(|scope| {
        let writers = Writers::start(db, plan);
        let (end, stream) = (&end, &stream);
        let threads = [
            scope.spawn(|| end.follow_by(&TYPES, take(&all))),
            scope.spawn(|| end.follow_by(&WANTED, take(&some))),
            scope.spawn(|| end.follow_by(&TYPES, take(&slow))),
            scope.spawn(|| end.follow_by(&TYPES, take(&live))),
            scope.spawn(move || {
                thread::sleep(plan.length / 2);
                let late = subscribe(stream, "Late", Want::all(), &[]);
                end.follow_by(&TYPES, take(&late))
            }),
        ];
        end.announce(writers.finish());
        threads.map(|thread| thread.join().unwrap())
    });

    let truth = end.truth().unwrap();
    let run = format!("{}, seed {}", db.server, plan.seed);
    println!("{run}: {truth}; queue overflowed {} times", slow.stats().overflows);
    for (who, ledger) in ["all", "filtered", "slow", "LIVE", "late"].into_iter().zip(&ledgers) {
        let want: &[&str] = if who == "filtered" { &WANTED } else { &TYPES };
        let report = truth.check(ledger, want);
        println!("    {who}: {report}");
        report.must_be_clean(&format!("{run}, {who}"));
    }
    for (component, subscription) in [("All", &all), ("Some", &some), ("Slow", &slow)] {
        let last = subscription.ident().to_string();
        subscription.close().unwrap();
        let cursor = format!("SELECT last_evt_id FROM evt_consumers WHERE ident = '{last}'");
        let highest = db.raw().number("SELECT MAX(id) FROM evt_queue");
        let cursor = db.raw().number(&cursor);
        // The last ids that were allocated may be of transactions that were rolled back: they are passed
        // over, too. A cursor above all that were allocated is an error of the poll.
        let wants_all = component != "Some";
        assert!(!wants_all || cursor >= highest, "{run}, {component}: {cursor}, {highest}");
        let left = stream.consumer("app", component).unwrap().poll(None, &Want::all()).unwrap();
        assert!(!wants_all || left.is_empty(), "{run}, {component}: {left:?}");
    }
});

fn subscribe(
    stream: &EventStream,
    component: &str,
    want: Want,
    options: &[(&str, &str)],
) -> Subscription {
    let options = options.iter().fold(Options::new(), |o, (k, v)| o.set(k, v).unwrap());
    stream.subscribe("app", component, want, &options).unwrap()
}

/// Takes what comes, and acknowledges it.
fn take(subscription: &Subscription) -> impl FnMut(&mut Ledger) {
    move |ledger| {
        if let Some(delivery) = subscription.next(Duration::from_millis(20)).unwrap() {
            for event in &delivery.events {
                ledger.note(event.id, event.data.as_str());
            }
            subscription.ack().unwrap();
        }
    }
}
