//! A server that is killed and started again while events flow to a receiver: it reconnects by
//! itself, and gets everything that was acknowledged to the writers, in order.

use crate::control;
use crate::support::Db;
use futoin_eventstream::{Notice, ReceiverOptions, ReliableReceiver};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

on_each_server_to_kill!(a_receiver_survives_the_death_of_its_server, |db| {
    let stream = db.stream_with(&[("connect_timeout_ms", "2000")]);
    let got: Arc<Mutex<Vec<u64>>> = Arc::default();
    let troubles: Arc<Mutex<Vec<String>>> = Arc::default();
    let (ids, errors) = (got.clone(), troubles.clone());
    let options = ReceiverOptions::new().on_notice(move |notice| {
        if let Notice::WorkerError(error) = notice {
            errors.lock().unwrap().push(format!("{:?}", error.kind()));
        }
    });
    let receiver = ReliableReceiver::new(&stream, "app", "Audit", options, move |delivery| {
        ids.lock().unwrap().extend(delivery.events.iter().map(|event| event.id));
        Ok(())
    })
    .unwrap();
    receiver.start().unwrap();

    let (stop, written) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
    let wait = |what: &str, condition: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let has_got_all = || {
        let got: BTreeSet<u64> = got.lock().unwrap().iter().copied().collect();
        written.lock().unwrap().is_subset(&got)
    };
    std::thread::scope(|scope| {
        let ended = crate::support::Done(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                match stream.add_event("A", &()) {
                    Ok(id) => assert!(written.lock().unwrap().insert(id)),
                    Err(error) => assert!(error.is_retriable(), "{error:?}"),
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        wait("events flow", &|| got.lock().unwrap().len() > 50);
        control(db, "kill");
        std::thread::sleep(Duration::from_millis(300));
        control(db, "start");
        let before = written.lock().unwrap().len();
        wait("events are written again", &|| written.lock().unwrap().len() > before + 50);
        drop(ended);
    });
    wait("the receiver has all events", &has_got_all);
    receiver.stop();
    let got = got.lock().unwrap();
    // Only what was not acknowledged when the server died may come again.
    let again = got.windows(2).filter(|pair| pair[0] >= pair[1]).count();
    println!("{}: {} events, {again} seams, {:?}", db.server, got.len(), troubles.lock().unwrap());
    assert!(again <= 3, "{again} steps back");
});
