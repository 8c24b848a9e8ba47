//! The side of `benches/peers/run` that is written in Rust: this library, PgQ (which is SQL, so the
//! driver of this library calls it), and databases to measure in.
//!
//! ```text
//! peers database create|drop NAME         an empty database
//! peers prepare ours|pgq WORKLOAD EVENTS  tables, and the events that a reading workload finds
//! peers ours|pgq WORKLOAD EVENTS          does it; prints a result (workload.rs)
//! peers write ours|pgq WORKLOAD EVENTS    what others write while `overlap` reads
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
    let usage =
        "usage: peers database create|drop NAME, or peers [prepare|write] ours|pgq WORKLOAD EVENTS";
    match words[..] {
        ["database", "create", name] => database::create(name),
        ["database", "drop", name] => database::drop(name),
        [ref action @ .., side @ ("ours" | "pgq"), workload, events] => {
            let (workload, ours) = (Workload::new(workload, events)?, side == "ours");
            match action {
                ["prepare"] if ours => ours::prepare(&workload),
                ["prepare"] => pgq::prepare(&workload),
                ["write"] if ours => workload.report(ours::write(&workload)?),
                ["write"] => workload.report(pgq::write(&workload)?),
                [] if ours => workload.report(ours::run(&workload)?),
                [] => workload.report(pgq::run(&workload)?),
                _ => Err(usage.into()),
            }
        }
        _ => Err(usage.into()),
    }
}
