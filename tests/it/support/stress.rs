//! Writers that overlap as badly as they can, and the count of what a consumer got of it.
//!
//! [`Writers`] insert events with the raw drivers, as applications do. The data of each event is
//! `[writer, serial]`, and each writer notes what it committed: that is the [`Truth`]. A
//! [`Ledger`] takes what a consumer got, however it got it. [`Truth::check`] compares the two.

use super::{Db, Raw};
use futoin_eventstream::{DatabaseKind, Event};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The types of the events.
pub const TYPES: [&str; 3] = ["STRESS_A", "STRESS_B", "STRESS_C"];

const WRITERS: u32 = 16;

/// How long to write, and the seed of all chance.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub length: Duration,
}

impl Plan {
    /// `FES_STRESS_SEED` (else a random one) and `FES_STRESS_SECONDS` (else `seconds`).
    pub fn new(seconds: u64) -> Plan {
        let number = |name| std::env::var(name).ok().map(|text| text.parse().expect(name));
        let seed = number("FES_STRESS_SEED").unwrap_or_else(|| rand::random::<u32>().into());
        let length = Duration::from_secs(number("FES_STRESS_SECONDS").unwrap_or(seconds));
        Plan { seed, length }
    }
}

/// An event: who wrote it, and the how-manieth of that writer it is.
type Key = (u32, u32);

/// What was committed.
pub struct Truth {
    /// The type, and when COMMIT was sent, or the statement without one was done.
    committed: HashMap<Key, (&'static str, Instant)>,
    /// Events whose transaction was rolled back.
    pub rolled_back: usize,
    /// Transactions that the server refused (deadlocks).
    pub refused: usize,
    pub took: Duration,
}

impl Truth {
    fn new() -> Truth {
        Truth { committed: HashMap::new(), rolled_back: 0, refused: 0, took: Duration::ZERO }
    }

    /// How many events of the wanted types were committed.
    pub fn count(&self, want: &[&str]) -> usize {
        self.committed.values().filter(|(kind, _)| want.contains(kind)).count()
    }

    /// What is wrong with what a consumer of the wanted types got.
    pub fn check(&self, ledger: &Ledger, want: &[&str]) -> Report {
        let wanted = |key: &Key| self.committed.get(key).filter(|(kind, _)| want.contains(kind));
        let seen: HashSet<Key> = ledger.got.iter().map(|got| got.key).collect();
        let mut lags: Vec<f64> = ledger
            .got
            .iter()
            .filter_map(|got| Some(got.at.saturating_duration_since(wanted(&got.key)?.1)))
            .map(|lag| lag.as_secs_f64() * 1000.0)
            .collect();
        lags.sort_by(f64::total_cmp);
        let percentile = |p: usize| lags.get((lags.len() * p / 100).min(lags.len().max(1) - 1));
        Report {
            delivered: ledger.got.len(),
            lost: self.count(want) - seen.iter().filter(|key| wanted(key).is_some()).count(),
            duplicated: ledger.got.len() - seen.len(),
            out_of_order: ledger.got.windows(2).filter(|pair| pair[0].id >= pair[1].id).count(),
            phantom: seen.iter().filter(|key| wanted(key).is_none()).count(),
            lag_ms: [50, 99, 100].map(|p| percentile(p).copied().unwrap_or(0.0)),
        }
    }
}

impl fmt::Display for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_second = self.committed.len() as f64 / self.took.as_secs_f64();
        write!(
            f,
            "{} events committed ({per_second:.0}/s), {} rolled back, {} transactions refused",
            self.committed.len(),
            self.rolled_back,
            self.refused
        )
    }
}

/// The verdict on one consumer.
#[derive(Clone, Debug)]
pub struct Report {
    pub delivered: usize,
    /// Committed, wanted, and never delivered.
    pub lost: usize,
    pub duplicated: usize,
    /// Delivered after an event of a higher id.
    pub out_of_order: usize,
    /// Delivered, but never committed, or not wanted.
    pub phantom: usize,
    /// From COMMIT to delivery: median, 99th percentile, highest.
    pub lag_ms: [f64; 3],
}

impl Report {
    /// Fails if anything but the lag is wrong.
    pub fn must_be_clean(&self, who: &str) {
        let wrong = self.lost + self.duplicated + self.out_of_order + self.phantom;
        assert_eq!(wrong, 0, "{who}: {self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { delivered, lost, duplicated, out_of_order, phantom, lag_ms: [p50, p99, max] } =
            self;
        write!(
            f,
            "{delivered} delivered, {lost} lost, {duplicated} duplicated, {out_of_order} out of \
             order, {phantom} phantom; lag ms p50 {p50:.1}, p99 {p99:.1}, max {max:.1}"
        )
    }
}

/// What a consumer got, in the order it got it.
#[derive(Default)]
pub struct Ledger {
    got: Vec<Got>,
}

struct Got {
    id: u64,
    key: Key,
    at: Instant,
}

impl Ledger {
    /// Takes one event, delivered now.
    pub fn note(&mut self, id: u64, data: &str) {
        let key = serde_json::from_str(data).expect("[writer, serial]");
        self.got.push(Got { id, key, at: Instant::now() });
    }

    /// Takes events, delivered now.
    pub fn note_all(&mut self, events: &[Event]) {
        events.iter().for_each(|event| self.note(event.id, event.data.as_str()));
    }

    pub fn len(&self) -> usize {
        self.got.len()
    }

    /// The id of the last event.
    pub fn last_id(&self) -> Option<u64> {
        self.got.last().map(|got| got.id)
    }
}

/// When consumers may stop: they have all that was committed, or nothing came for a long time.
#[derive(Default)]
pub struct End {
    truth: OnceLock<(Truth, Instant)>,
}

impl End {
    /// Says what was committed: the writers are done.
    pub fn announce(&self, truth: Truth) {
        assert!(self.truth.set((truth, Instant::now())).is_ok(), "announced twice");
    }

    /// What was committed, once it was announced.
    pub fn truth(&self) -> Option<&Truth> {
        self.truth.get().map(|(truth, _)| truth)
    }

    /// Calls `poll` until it has given all events of the wanted types. It gets what was noted so
    /// far, and may give nothing.
    pub fn follow(&self, want: &[&str], mut poll: impl FnMut(&Ledger) -> Vec<Event>) -> Ledger {
        self.follow_by(want, |ledger| {
            let events = poll(ledger);
            ledger.note_all(&events);
        })
    }

    /// As [`follow`](Self::follow), for what does not come as events: `poll` notes it.
    pub fn follow_by(&self, want: &[&str], mut poll: impl FnMut(&mut Ledger)) -> Ledger {
        const PATIENCE: Duration = Duration::from_secs(3);
        let mut ledger = Ledger::default();
        let mut fresh = Instant::now();
        loop {
            let before = ledger.len();
            poll(&mut ledger);
            if ledger.len() > before {
                fresh = Instant::now();
                continue;
            }
            if let Some((truth, announced)) = self.truth.get() {
                let idle = fresh.max(*announced).elapsed();
                if ledger.len() >= truth.count(want) || idle > PATIENCE {
                    return ledger;
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The running writers.
pub struct Writers {
    threads: Vec<JoinHandle<Truth>>,
    began: Instant,
}

impl Writers {
    /// Connects the writers and sets them off.
    pub fn start(db: &Db, plan: Plan) -> Writers {
        let connections: Vec<Raw> = (0..WRITERS).map(|_| db.raw()).collect();
        let began = Instant::now();
        let threads = (0..WRITERS)
            .zip(connections)
            .map(|(number, raw)| {
                let rng = StdRng::seed_from_u64(plan.seed.wrapping_add(number.into()));
                let name = format!("{}_{number}", db.name);
                let (kind, now) = (db.kind, db.now_sql());
                let mut writer =
                    Writer { number, name, serial: 0, rng, raw, kind, now, truth: Truth::new() };
                thread::spawn(move || {
                    while began.elapsed() < plan.length {
                        writer.transaction();
                    }
                    writer.truth
                })
            })
            .collect();
        Writers { threads, began }
    }

    /// Waits for the writers to end, which is when the plan says.
    pub fn finish(self) -> Truth {
        let mut truth = Truth::new();
        for thread in self.threads {
            let part = thread.join().expect("a writer failed");
            truth.committed.extend(part.committed);
            truth.rolled_back += part.rolled_back;
            truth.refused += part.refused;
        }
        truth.took = self.began.elapsed();
        truth
    }
}

struct Writer {
    number: u32,
    /// For its two-phase transactions: nobody else on the server uses it.
    name: String,
    serial: u32,
    rng: StdRng,
    raw: Raw,
    kind: DatabaseKind,
    now: &'static str,
    truth: Truth,
}

impl Writer {
    /// One transaction of one to three events, in one to three statements, with pauses.
    fn transaction(&mut self) {
        self.pause();
        let autocommit = self.rng.random_bool(0.2);
        let count = if autocommit { 1 } else { self.rng.random_range(1..=3) };
        let events: Vec<(Key, &'static str)> = (0..count)
            .map(|_| {
                self.serial += 1;
                ((self.number, self.serial), TYPES[self.rng.random_range(0..TYPES.len())])
            })
            .collect();
        let at_once = autocommit || self.rng.random_bool(0.4);
        let statements: Vec<String> =
            events.chunks(if at_once { 3 } else { 1 }).map(|part| self.insert(part)).collect();
        let rollback = !autocommit && self.rng.random_bool(0.1);
        let done = if autocommit {
            self.raw.try_exec(&statements[0]).map(|()| Instant::now())
        } else {
            self.explicit(&statements, rollback)
        };
        match done {
            Ok(_) if rollback => self.truth.rolled_back += events.len(),
            Ok(sent) => {
                let committed = events.into_iter().map(|(key, kind)| (key, (kind, sent)));
                self.truth.committed.extend(committed);
            }
            Err(_) => self.truth.refused += 1,
        }
    }

    /// Returns when COMMIT was sent.
    fn explicit(&mut self, statements: &[String], rollback: bool) -> Result<Instant, String> {
        let end = if rollback { "ROLLBACK" } else { "COMMIT" };
        let two_phase = self.kind != DatabaseKind::Sqlite && self.rng.random_bool(0.05);
        let name = &self.name;
        let (begin, prepare, end) = match self.kind {
            DatabaseKind::Sqlite => ("BEGIN IMMEDIATE".to_owned(), vec![], end.to_owned()),
            _ if !two_phase => ("BEGIN".to_owned(), vec![], end.to_owned()),
            DatabaseKind::Postgres => (
                "BEGIN".to_owned(),
                vec![format!("PREPARE TRANSACTION '{name}'")],
                format!("{end} PREPARED '{name}'"),
            ),
            DatabaseKind::Mysql => (
                format!("XA START '{name}'"),
                vec![format!("XA END '{name}'"), format!("XA PREPARE '{name}'")],
                format!("XA {end} '{name}'"),
            ),
        };
        self.raw.try_exec(&begin)?;
        for statement in statements {
            if let Err(why) = self.raw.try_exec(statement) {
                assert!(!two_phase, "{statement}: {why}");
                self.raw.exec("ROLLBACK");
                return Err(why);
            }
            self.pause();
            if !two_phase && self.rng.random_bool(0.1) {
                self.change_its_mind();
            }
        }
        for statement in prepare {
            self.raw.exec(&statement);
            self.pause();
        }
        let sent = Instant::now();
        self.raw.exec(&end);
        Ok(sent)
    }

    /// Adds an event, or deletes the last one, and undoes that again.
    fn change_its_mind(&mut self) {
        let last = match self.kind {
            DatabaseKind::Sqlite => "last_insert_rowid()",
            DatabaseKind::Postgres => "(SELECT lastval())",
            DatabaseKind::Mysql => "LAST_INSERT_ID()",
        };
        self.raw.exec("SAVEPOINT here");
        if self.rng.random_bool(0.5) {
            let nobody = self.insert(&[((u32::MAX, 0), TYPES[0])]);
            self.raw.exec(&nobody);
        } else {
            self.raw.exec(&format!("DELETE FROM evt_queue WHERE id = {last}"));
        }
        self.pause();
        self.raw.exec("ROLLBACK TO SAVEPOINT here");
    }

    /// One INSERT of all these events, of VALUES or of a SELECT.
    fn insert(&mut self, events: &[(Key, &'static str)]) -> String {
        let cast = if self.kind == DatabaseKind::Postgres { "::json" } else { "" };
        let now = self.now;
        let row = |&((writer, serial), kind): &(Key, &str)| {
            format!("'{kind}', '[{writer},{serial}]'{cast}, {now}")
        };
        let rows: Vec<String> = events.iter().map(row).collect();
        let from = if self.rng.random_bool(0.3) {
            format!("SELECT {}", rows.join(" UNION ALL SELECT "))
        } else {
            format!("VALUES ({})", rows.join("), ("))
        };
        format!("INSERT INTO evt_queue(type, data, ts) {from}")
    }

    /// Up to 20 ms; less on SQLite, where the others can only wait meanwhile.
    fn pause(&mut self) {
        let longest = if self.kind == DatabaseKind::Sqlite { 1_000 } else { 20_000 };
        thread::sleep(Duration::from_micros(self.rng.random_range(0..=longest)));
    }
}
