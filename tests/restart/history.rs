//! A server that is killed and started again under an archiver and a discarder: they go on by
//! themselves, and the history has each event once.

use crate::control;
use crate::support::{Db, Done};
use futoin_eventstream::{Event, Options, ServiceApp, Want};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

#[track_caller]
fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        sleep(Duration::from_millis(10));
    }
}

on_each_server_to_kill!(archiver_and_discarder_survive_the_death_of_their_server, |db| {
    let dwh = Db::on(db.server).unwrap();
    let options = [
        ("connect_timeout_ms", "2000"),
        ("enable_discarder", "true"),
        ("poll_period_ms", "1"),
        ("archive_batch", "50"),
    ];
    let options = options
        .iter()
        .fold(Options::new(), |options, (name, value)| options.set(name, value).unwrap());
    let app = ServiceApp::open(&db.url, Some(&dwh.url), &options).unwrap();
    app.migrate().unwrap();
    let (stream, warehouse) = (app.stream(), app.warehouse().unwrap());
    let slow = stream.consumer("app", "Slow").unwrap();
    slow.register().unwrap();
    let troubles: Arc<Mutex<Vec<String>>> = Arc::default();
    let list = troubles.clone();
    app.on_notice(move |notice| {
        let text = format!("{notice:?}");
        if text.contains("Error(") {
            list.lock().unwrap().push(text);
        }
    });
    app.start().unwrap();

    let history = || warehouse.history(0, &Want::all(), 1_000_000).unwrap_or_default();
    let (stop, written) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
    let mut got: Vec<Event> = Vec::new();
    scope(|scope| {
        let ended = Done(&stop);
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    match stream.add_event("A", &()) {
                        Ok(id) => assert!(written.lock().unwrap().insert(id)),
                        Err(error) => assert!(error.is_retriable(), "{error:?}"),
                    }
                    sleep(Duration::from_millis(2));
                }
            });
        }
        wait_until("events are archived", || history().len() > 100);
        // The discarder has something to do when the server dies.
        got.extend(slow.poll_at_most(None, &Want::all(), 80).unwrap());
        slow.acknowledge(got.last().unwrap().id).unwrap();
        control(db, "kill");
        sleep(Duration::from_millis(300));
        control(db, "start");
        let before = written.lock().unwrap().len();
        wait_until("events are written again", || written.lock().unwrap().len() > before + 50);
        drop(ended);
    });
    loop {
        let more = slow.poll(got.last().map(|event| event.id), &Want::all()).unwrap();
        if more.is_empty() {
            break;
        }
        got.extend(more);
    }
    wait_until("all is archived", || history().len() >= got.len());
    assert!(history() == got, "the history is not what the consumer got");
    let ids: BTreeSet<u64> = got.iter().map(|event| event.id).collect();
    assert!(written.lock().unwrap().is_subset(&ids), "an acknowledged event is lost");
    slow.acknowledge(got.last().unwrap().id).unwrap();
    wait_until("all is discarded", || crate::support::everything(stream).len() == 1);
    app.close();
    println!("{}: {} events, {:?}", db.server, got.len(), troubles.lock().unwrap());
});
