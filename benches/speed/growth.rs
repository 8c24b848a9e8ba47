//! What grows with the number of events, and must not: the cost of a chunk, and memory.

use crate::database::Database;
use futoin_eventstream::{Archiver, EventStream, Options, Want, Warehouse};
use std::time::{Duration, Instant};

const SMALL: u64 = 10_000;
const WORKS: [&str; 3] = ["poll", "push", "archive"];

/// Prints both for a small and a large number of events. Each work is done by a process of its own.
pub fn measure(database: &Database, large: u64) {
    let stream = database.stream();
    let warehouse = database.warehouse();
    println!("\n{}: {SMALL} events, then {large}", database.name);
    let mut before: Option<(f64, Vec<u64>)> = None;
    for events in [SMALL, large] {
        database.fill(events, false);
        database.clear_history();
        let chunk = chunk_ms(&stream, events);
        let memory: Vec<u64> = WORKS.iter().map(|work| peak(work, database)).collect();
        println!("  {events:>10} events: a chunk {chunk:.2} ms, peak MiB {WORKS:?} {memory:?}");
        if let Some((small, peaks)) = &before {
            let grown: Vec<i64> =
                memory.iter().zip(peaks).map(|(now, then)| *now as i64 - *then as i64).collect();
            println!(
                "  a chunk costs {:.2} times as much; memory grew by {grown:?} MiB",
                chunk / small
            );
        }
        before = Some((chunk, memory));
    }
    stream.close();
    warehouse.close();
}

/// The median time of a reliable poll of 1000 events near the end of the table.
fn chunk_ms(stream: &EventStream, events: u64) -> f64 {
    let consumer = stream.consumer("bench", "Chunk").unwrap();
    consumer.register().unwrap();
    let mut times: Vec<f64> = (0..9)
        .map(|n| {
            let start = Instant::now();
            let got = consumer.poll(Some(events - 9900 + 1000 * n), &Want::all()).unwrap();
            assert!(got.len() >= 900);
            start.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    consumer.unregister().unwrap();
    times.sort_by(f64::total_cmp);
    times[4]
}

/// The most memory, in MiB, that a process of this program needed for the work.
fn peak(work: &str, database: &Database) -> u64 {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--work", work, &database.url, &database.warehouse_url])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}

/// The part of the other process.
pub fn work(work: &str, url: &str, warehouse_url: &str) {
    let stream = EventStream::open(url).unwrap();
    match work {
        "archive" => {
            let warehouse = Warehouse::open(warehouse_url).unwrap();
            Archiver::new(&stream, &warehouse, &Options::new()).unwrap().run_once().unwrap();
            stream.consumer("-internal", "ARCHIVER").unwrap().unregister().unwrap();
        }
        _ => {
            let consumer = stream.consumer("bench", work).unwrap();
            consumer.register().unwrap();
            if work == "poll" {
                poll(&stream)
            } else {
                push(&stream)
            }
            consumer.unregister().unwrap();
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    println!("{}", kib / 1024);
}

fn poll(stream: &EventStream) {
    let consumer = stream.consumer("bench", "poll").unwrap();
    let mut last = None;
    while let Some(event) = consumer.poll(last, &Want::all()).unwrap().last() {
        last = Some(event.id);
    }
}

fn push(stream: &EventStream) {
    let subscription = stream.subscribe("bench", "push", Want::all(), &Options::new()).unwrap();
    while subscription.next(Duration::from_secs(2)).unwrap().is_some() {
        subscription.ack().unwrap();
    }
}
