//! What all sides do alike: the events, the callers, the clock, the check of what was read.

use serde_json::Value;
use std::time::{Duration, Instant};

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Callers at a time in `add16`, and connections of every side.
pub const CALLERS: usize = 16;
/// Events of one call in `bulk`.
pub const BULK: usize = 100;
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

    /// Prints how it went; an error unless every event was read exactly once.
    pub fn report(&self, outcome: Outcome) -> Result<()> {
        let mut in_order = true;
        if let Some(mut read) = outcome.read {
            in_order = read.is_sorted();
            read.sort_unstable();
            if !read.iter().copied().eq(0..self.events) {
                return Err(format!("{} events read, not {}", read.len(), self.events).into());
            }
        }
        let (events, seconds) = (self.events, outcome.seconds.as_secs_f64());
        println!("{}", serde_json::json!({"events": events, "seconds": seconds, "in_order": in_order}));
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
