//! What adding events costs while others are at work.

use crate::database::{Database, data};
use crate::rows::{CHUNK, Measure, rate};
use futoin_eventstream::{Consumer, EventStream, LIVE, NewEvent, StartAt, Want};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Sixteen writers, alone and beside ten consumers that poll every 50 ms what they have not seen:
/// how long an `add_event` takes when 1600 come in a second, and how many come at most.
pub fn adding_beside_consumers(measure: &mut Measure<'_>, stream: &EventStream) {
    let (time, database) = (measure.plan.time, measure.database);
    let event = NewEvent::from_json("USR_MOD", data(7)).unwrap();
    let add = || stream.add(&event).map(|_| 1).unwrap();
    database.fill(0, false);
    // What LIVE ones cost, which store nothing, is the price of reading; what raw UPDATEs cost, that of
    // storing.
    for (who, besides, least) in [
        ("10 consumers", Beside::Reliable, 0.91),
        ("10 LIVE ones", Beside::Live, 0.0),
        ("10 raw UPDATEs", Beside::Updates, 0.0),
    ] {
        measure.compare(
            &format!("1 / latency of add_event, 1600/s by 16 threads: beside {who} / alone"),
            least,
            || beside(besides, stream, database, || 1.0 / latency(time, 16, 100, add)),
            || 1.0 / latency(time, 16, 100, add),
        );
        measure.compare(
            &format!("add_event, 16 threads: beside {who} / alone"),
            least,
            || beside(besides, stream, database, || rate(time, &mut [(); 16], |()| add())),
            || rate(time, &mut [(); 16], |()| add()),
        );
    }
}

/// Who is at work beside the writers.
#[derive(Clone, Copy, PartialEq)]
enum Beside {
    Reliable,
    Live,
    /// Connections of the raw driver that store a cursor.
    Updates,
}

/// Runs `work` while ten of them, who are there already, do something every 50 ms.
fn beside<T>(
    who: Beside,
    stream: &EventStream,
    database: &Database,
    work: impl FnOnce() -> T,
) -> T {
    let (stop, ready) = (AtomicBool::new(false), Barrier::new(11));
    std::thread::scope(|scope| {
        for n in 0..10 {
            let (stop, ready) = (&stop, &ready);
            scope.spawn(move || {
                let live = who == Beside::Live;
                let component = if live { LIVE.to_owned() } else { format!("Beside{n}") };
                let consumer = stream.consumer("bench", &component).unwrap();
                if !live {
                    consumer.register_at(StartAt::Now).unwrap();
                }
                consumer.poll(None, &Want::all()).unwrap();
                match who {
                    Beside::Updates => update(consumer.ident().as_str(), database, ready, stop),
                    _ => follow(&consumer, ready, stop),
                }
                if !live {
                    consumer.unregister().unwrap();
                }
            });
        }
        ready.wait();
        let result = work();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

/// Polls every 50 ms what was not seen.
fn follow(consumer: &Consumer, ready: &Barrier, stop: &AtomicBool) {
    ready.wait();
    let mut last = None;
    while !stop.load(Ordering::Relaxed) {
        let events = consumer.poll(last, &Want::all()).unwrap();
        last = events.last().map(|event| event.id).or(last);
        if events.len() < CHUNK {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Stores a cursor every 50 ms.
fn update(ident: &str, database: &Database, ready: &Barrier, stop: &AtomicBool) {
    let mut raw = database.raw();
    ready.wait();
    for last in 1.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        raw.store(ident, last);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// How long `work` takes on average, in seconds, when each of the threads does it so many times a
/// second, and not at the same moments as the others.
fn latency(time: Duration, threads: u32, per_second: u32, work: impl Fn() -> u64 + Sync) -> f64 {
    let start = Instant::now();
    let pause = Duration::from_secs(1) / per_second;
    let (took, count) = std::thread::scope(|scope| {
        let each = |thread: u32| {
            let work = &work;
            move || {
                let (mut took, mut count) = (Duration::ZERO, 0);
                let mut due = start + pause * thread / threads;
                while due < start + time {
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let begun = Instant::now();
                    work();
                    took += begun.elapsed();
                    count += 1;
                    due += pause;
                }
                (took, count)
            }
        };
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(each(thread))).collect();
        threads.into_iter().fold((Duration::ZERO, 0), |(took, count), thread| {
            let own = thread.join().unwrap();
            (took + own.0, count + own.1)
        })
    });
    took.as_secs_f64() / f64::from(count)
}
