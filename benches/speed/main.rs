//! Ours against the raw driver, in one run and alternating: `cargo bench --bench speed`.
//!
//! SQLite is always measured, PostgreSQL, MariaDB and MySQL where `FES_TEST_<SERVER>_URL` is set
//! (`benches/run` starts servers on disk and sets it). docs/benchmarks.md explains every row.
//!
//! Arguments: `--events N` (1,000,000), `--rounds N` (3), `--seconds S` of a row that is measured by
//! time (2), `--only ROW` (a part of its name, repeatable), `--database NAME` (repeatable), `--json
//! PATH` (`target/speed.json`).

mod database;
mod raw;
mod rows;
mod table;

use std::path::PathBuf;
use std::time::Duration;

/// What to measure, and how long.
pub struct Plan {
    pub events: u64,
    pub rounds: usize,
    pub time: Duration,
    only: Vec<String>,
    databases: Vec<String>,
    json: PathBuf,
}

impl Plan {
    fn parse(arguments: impl Iterator<Item = String>) -> Plan {
        let mut plan = Plan {
            events: 1_000_000,
            rounds: 3,
            time: Duration::from_secs(2),
            only: Vec::new(),
            databases: Vec::new(),
            json: PathBuf::from("target/speed.json"),
        };
        let mut arguments = arguments.filter(|argument| argument != "--bench");
        while let Some(name) = arguments.next() {
            let value = arguments.next().unwrap_or_else(|| panic!("{name} needs a value"));
            match name.as_str() {
                "--events" => plan.events = value.parse().unwrap(),
                "--rounds" => plan.rounds = value.parse().unwrap(),
                "--seconds" => plan.time = Duration::from_secs_f64(value.parse().unwrap()),
                "--only" => plan.only.push(value),
                "--database" => plan.databases.push(value),
                "--json" => plan.json = value.into(),
                _ => panic!("unknown argument {name}"),
            }
        }
        plan
    }

    pub fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| row.contains(part.as_str()))
    }
}

fn main() {
    let plan = Plan::parse(std::env::args().skip(1));
    let mut found = Vec::new();
    table::print_head();
    for database in database::Database::all(&plan.databases) {
        rows::measure(&plan, &database, &mut found);
    }
    table::write_json(&plan.json, &found);
    println!("\n{}", plan.json.display());
}
