//! What all sides do alike: the events, the callers, the clock, the check of what was read.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Callers at a time in `add16`, and connections of every side.
pub const CALLERS: usize = 16;
/// Events of one call in `bulk`.
pub const BULK: usize = 100;
/// In `overlap`: the longest time that a writer keeps its transaction open after it has added its event.
const LONGEST_OPEN: Duration = Duration::from_millis(8);
/// In `overlap`: a reader that got nothing for so long has got all that it ever will.
const IDLE: Duration = Duration::from_secs(2);
/// The type of all events.
pub const TYPE: &str = "BENCH";

/// The database to measure in.
pub fn url() -> Result<String> {
    Ok(std::env::var("PEERS_URL").map_err(|_| "PEERS_URL is not set")?)
}

/// The database of the history.
pub fn dwh_url() -> Result<String> {
    Ok(std::env::var("PEERS_DWH_URL").map_err(|_| "PEERS_DWH_URL is not set")?)
}

/// What to do with how many events.
pub struct Workload {
    pub name: String,
    pub events: usize,
    payload: Value,
}

impl Workload {
    pub fn new(name: &str, events: &str) -> Result<Self> {
        let payload = std::env::var("PEERS_PAYLOAD").map_err(|_| "PEERS_PAYLOAD is not set")?;
        let payload = serde_json::from_str(&payload)?;
        Ok(Workload { name: name.into(), events: events.parse()?, payload })
    }

    /// The data of the event `n`.
    pub fn data(&self, n: usize) -> Value {
        let mut data = self.payload.clone();
        data["n"] = n.into();
        data
    }

    /// Runs `add` for every event, by `CALLERS` threads at a time, each with a context of its own.
    pub fn by_callers<C: Send>(
        &self,
        contexts: Vec<C>,
        add: impl Fn(&mut C, usize) -> Result<()> + Sync,
    ) -> Result<Outcome> {
        let (share, add) = (self.events.div_ceil(CALLERS), &add);
        let start = Instant::now();
        std::thread::scope(|scope| {
            let caller = |(number, mut context): (usize, C)| {
                let own = number * share..self.events.min((number + 1) * share);
                scope.spawn(move || own.into_iter().try_for_each(|n| add(&mut context, n)))
            };
            let threads: Vec<_> = contexts.into_iter().enumerate().map(caller).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("a panic of a caller"))
        })?;
        Ok(Outcome { seconds: start.elapsed(), read: None })
    }

    /// Runs `add` for each event, or for the beginning of each `step` events, one after the other.
    pub fn one_by_one(&self, step: usize, add: impl FnMut(usize) -> Result<()>) -> Result<Outcome> {
        let start = Instant::now();
        (0..self.events).step_by(step).try_for_each(add)?;
        Ok(Outcome { seconds: start.elapsed(), read: None })
    }

    /// Writes every event in a transaction of its own, `CALLERS` at a time: `write` begins it, adds the
    /// event, calls what it is given, which waits, and commits.
    pub fn overlapping<C: Send>(
        &self,
        contexts: Vec<C>,
        write: impl Fn(&mut C, usize, &dyn Fn()) -> Result<()> + Sync,
    ) -> Result<Outcome> {
        let wait = |n: usize| {
            let share = StdRng::seed_from_u64(n as u64).random::<f64>();
            std::thread::sleep(LONGEST_OPEN.mul_f64(share));
        };
        self.by_callers(contexts, |context, n| write(context, n, &|| wait(n)))
    }

    /// Reads by `read`, which adds the numbers of what it gets, until all events came or none came for
    /// `IDLE`.
    pub fn read_while_others_write(
        &self,
        mut read: impl FnMut(&mut Vec<usize>) -> Result<()>,
    ) -> Result<Outcome> {
        let (start, mut found) = (Instant::now(), Vec::new());
        let mut last = Instant::now();
        while found.len() < self.events && last.elapsed() < IDLE {
            let before = found.len();
            read(&mut found)?;
            if found.len() > before {
                last = Instant::now();
            } else {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(Outcome { seconds: start.elapsed(), read: Some(found) })
    }

    /// Prints how it went. Where nobody writes meanwhile, it is an error unless every event was read once.
    pub fn report(&self, outcome: Outcome) -> Result<()> {
        let (mut in_order, mut lost, mut repeated) = (true, 0, 0);
        if let Some(mut read) = outcome.read {
            // Writers at a time have no order among them.
            in_order = self.name == "overlap" || read.is_sorted();
            let count = read.len();
            read.sort_unstable();
            read.dedup();
            (lost, repeated) = (self.events - read.len(), count - read.len());
            if lost + repeated > 0 && self.name != "overlap" {
                return Err(format!("{lost} events lost, {repeated} repeated").into());
            }
        }
        let result = json!({
            "events": self.events, "seconds": outcome.seconds.as_secs_f64(),
            "in_order": in_order, "lost": lost, "repeated": repeated,
        });
        println!("{result}");
        Ok(())
    }
}

/// How long it took, and the numbers of the events in the order in which they were read.
pub struct Outcome {
    pub seconds: Duration,
    pub read: Option<Vec<usize>>,
}

/// The number in the data of an event, which is parsed as an application would.
pub fn number(data: &str) -> Result<usize> {
    let data: Value = serde_json::from_str(data)?;
    Ok(data["n"].as_u64().ok_or("an event without its number")? as usize)
}
