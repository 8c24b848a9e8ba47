//! Ours against the raw driver, in one run and alternating: `cargo bench --bench speed`.
//!
//! SQLite is always measured, PostgreSQL, MariaDB and MySQL where `FES_TEST_<SERVER>_URL` is set
//! (`benches/run` starts servers on disk and sets it). docs/benchmarks.md explains every row.
//!
//! Arguments: `--events N` (1,000,000), `--rounds N` (3), `--seconds S` of a row that is measured by
//! time (2), `--only ROW` (a part of its name, repeatable), `--database NAME` (repeatable), `--json
//! PATH` (`target/speed.json`). `--growth N` measures instead what must not grow with the number of
//! events, from 10,000 to N.

mod beside;
mod database;
mod growth;
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
    growth: Option<u64>,
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
            growth: None,
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
                "--growth" => plan.growth = Some(value.parse().unwrap()),
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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let ["--work", work, url, warehouse_url] =
        arguments.iter().map(String::as_str).collect::<Vec<_>>()[..]
    {
        return growth::work(work, url, warehouse_url);
    }
    let plan = Plan::parse(arguments.into_iter());
    if let Some(events) = plan.growth {
        let databases = database::Database::all(&plan.databases);
        return databases.iter().for_each(|database| growth::measure(database, events));
    }
    let mut found = Vec::new();
    table::print_head();
    for database in database::Database::all(&plan.databases) {
        rows::measure(&plan, &database, &mut found);
    }
    table::write_json(&plan.json, &found);
    println!("\n{}", plan.json.display());
}
