//! The side of `benches/peers/run` that is written in Rust: this library, PgQ (which is SQL, so the
//! driver of this library calls it), and databases to measure in.
//!
//! ```text
//! peers database create|drop URL     the database that the URL names
//! peers prepare WORKLOAD EVENTS      tables, and the events that a reading workload finds
//! peers ours|pgq WORKLOAD EVENTS     does it; prints {"events": N, "seconds": S, "in_order": B}
//! ```
//!
//! The database is in the environment, so that no password is on a command line: `PEERS_URL`,
//! `PEERS_DWH_URL` for the history, and `PEERS_PAYLOAD`, the JSON object that events carry.

mod database;
mod ours;
mod pgq;
mod workload;

use workload::{Result, Workload};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["database", "create", name] => database::create(name),
        ["database", "drop", name] => database::drop(name),
        ["prepare", workload, events] => ours::prepare(&Workload::new(workload, events)?),
        ["ours", workload, events] => {
            let workload = Workload::new(workload, events)?;
            workload.report(ours::run(&workload)?)
        }
        ["pgq", workload, events] => {
            let workload = Workload::new(workload, events)?;
            workload.report(pgq::run(&workload)?)
        }
        _ => Err("usage: peers database create|drop NAME, or peers prepare|ours|pgq WORKLOAD EVENTS".into()),
    }
}
