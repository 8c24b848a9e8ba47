//! What the discarder costs the writers: how many events four threads add in a second, alone and
//! while a backlog is discarded, in turns.
//!
//! `cargo bench --bench writers` measures SQLite; each `FES_TEST_<SERVER>_URL` in the environment
//! adds that server. The database of the URL is used, with tables of its own. Asserts nothing.

use futoin_eventstream::{Discarder, EventStream, NewEvent, Options};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const WRITERS: usize = 4;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);

fn main() {
    println!(
        "{:<12} {:>12} {:>12} {:>7} {:>12}",
        "adds/s", "alone", "discarding", "ratio", "discarded/s"
    );
    let folder = tempfile::tempdir().unwrap();
    measure("SQLite", &format!("sqlite://{}", folder.path().join("events.db").display()));
    for server in ["postgres", "mariadb", "mysql"] {
        if let Ok(url) = std::env::var(format!("FES_TEST_{}_URL", server.to_uppercase())) {
            measure(server, &url);
        }
    }
}

fn measure(name: &str, url: &str) {
    let table = format!("writers_{}", std::process::id());
    let options = [("event_table", table.clone()), ("consumer_table", table + "_c")]
        .iter()
        .fold(Options::new(), |options, (key, value)| options.set(key, value).unwrap());
    let stream = EventStream::open_with(url, &options).unwrap();
    stream.migrate().unwrap();
    let consumer = stream.consumer("bench", "Reader").unwrap();
    consumer.register().unwrap();
    let (mut alone, mut beside, mut discarded) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(add_for_a_round(&stream));
        // A backlog that everybody has acknowledged.
        let events = vec![NewEvent::new("BACKLOG", "about a hundred bytes").unwrap(); 10_000];
        let highest = (0..20).flat_map(|_| stream.add_events(&events).unwrap()).max();
        consumer.acknowledge(highest.unwrap()).unwrap();
        let discarder = Discarder::new(&stream, &Options::new()).unwrap();
        let count = std::sync::Arc::new(AtomicU64::new(0));
        let total = count.clone();
        discarder.on_notice(move |notice| {
            if let futoin_eventstream::HistoryNotice::Discarded(events) = notice {
                total.fetch_add(*events, Ordering::Relaxed);
            }
        });
        discarder.start().unwrap();
        beside.push(add_for_a_round(&stream));
        discarder.stop();
        discarded.push(count.load(Ordering::Relaxed) as f64 / ROUND.as_secs_f64());
        discarder.run_once().unwrap();
    }
    let (alone, beside) = (median(&mut alone), median(&mut beside));
    let discarded = median(&mut discarded);
    println!("{name:<12} {alone:>12.0} {beside:>12.0} {:>7.2} {discarded:>12.0}", beside / alone);
}

/// Events added in a second.
fn add_for_a_round(stream: &EventStream) -> f64 {
    let (stop, added) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    stream.add_event("WRITE", "about a hundred bytes").unwrap();
                    added.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(ROUND);
        stop.store(true, Ordering::Relaxed);
    });
    added.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
