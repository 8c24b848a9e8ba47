//! A server that is killed and started again: what it acknowledged is there, what it did not is
//! told, and nobody has to open anything again.

use crate::control;
use crate::support::{Db, Done};
use futoin_eventstream::{ErrorKind, Want};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

on_each_server_to_kill!(a_killed_server_loses_nothing_and_is_found_again, |db| {
    let stream = db.stream_with(&[("connect_timeout_ms", "5000")]);
    let consumer = stream.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();
    let stop = AtomicBool::new(false);
    let written = Mutex::new(BTreeSet::new());
    let pause = |ms| std::thread::sleep(Duration::from_millis(ms));

    let got = std::thread::scope(|scope| {
        let ended = Done(&stop);
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    match stream.add_event("USR_ADD", &()) {
                        Ok(id) => assert!(written.lock().unwrap().insert(id), "{id} twice"),
                        Err(error) => {
                            assert!(error.is_retriable(), "{error:?}");
                            pause(50);
                        }
                    }
                }
            });
        }
        let reading = scope.spawn(|| {
            let (mut got, mut last): (Vec<u64>, _) = (Vec::new(), None);
            loop {
                let stopped = stop.load(Ordering::Relaxed);
                match consumer.poll(last, &Want::types(&["USR_ADD"]).unwrap()) {
                    Ok(events) if events.is_empty() && stopped => return got,
                    Ok(events) => got.extend(events.iter().map(|event| event.id)),
                    Err(error) => assert!(error.is_retriable(), "{error:?}"),
                }
                last = got.last().copied();
                pause(5);
            }
        });
        let more_written = |count: usize| {
            let (start, before) = (Instant::now(), written.lock().unwrap().len());
            while written.lock().unwrap().len() < before + count {
                assert!(start.elapsed() < Duration::from_secs(30), "nobody can write");
                pause(10);
            }
        };
        more_written(50);
        let mut tx = stream.begin().unwrap();
        tx.add_event("USR_LOST", &()).unwrap();
        control(db, "kill");
        assert_eq!(tx.commit().unwrap_err().kind(), ErrorKind::ConnectionLost);
        let error = stream.begin().map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectFailed);
        control(db, "start");
        more_written(50);
        drop(ended);
        reading.join().unwrap()
    });
    assert!(got.is_sorted_by(|a, b| a < b), "out of order, or given again");
    let got: BTreeSet<u64> = got.into_iter().collect();
    let lost: Vec<_> = written.lock().unwrap().difference(&got).copied().collect();
    assert!(lost.is_empty(), "acknowledged, and gone: {lost:?}");
    assert_eq!(db.raw().number("SELECT count(*) FROM evt_queue WHERE type = 'USR_LOST'"), 0);
    assert_eq!(db.raw().number("SELECT count(*) FROM evt_queue") as usize, got.len());
});
