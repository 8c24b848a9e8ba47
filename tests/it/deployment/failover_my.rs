//! A switch of MySQL and MariaDB to a replica that has everything, while others write and read: at a
//! random moment, with connections that are cut or that stay. What was acknowledged is delivered, in
//! order; the seed is printed, and `FES_SWITCH_SEED` repeats one.

use crate::support::Done;
use crate::support::proxy::Proxy;
use crate::support::spare::Replicated;
use futoin_eventstream::{ErrorKind, EventStream, Options, Result, Want};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Small numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Adds the numbers as events, alone or together in a transaction that may roll back.
fn add(stream: &EventStream, numbers: &[u64], roll_back: bool) -> Result<()> {
    let [number] = numbers else {
        let mut tx = stream.begin()?;
        for number in numbers {
            tx.add_event("NUMBER", number)?;
            pause(1);
        }
        return if roll_back { tx.rollback() } else { tx.commit() };
    };
    stream.add_event("NUMBER", number).map(drop)
}

/// What may happen while the servers change their places, and is over when they have.
fn passes(kind: ErrorKind) -> bool {
    use ErrorKind::*;
    matches!(
        kind,
        ConnectionLost | ConnectFailed | UnsafeServer | Conflict | Busy | Timeout | Occupied
    )
}

fn switch(server: &'static str) {
    let own = format!("switch{}-", std::process::id());
    let Some(pair) = Replicated::pair_of_own(server, &own) else { return };
    let seed = std::env::var("FES_SWITCH_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed: u64 = seed.unwrap_or(now.as_nanos() as u64 >> 10);
    eprintln!("{server}: FES_SWITCH_SEED={seed}");
    let mut dice = Dice(seed);
    let db = pair.primary.db();
    let mut raw = db.raw();
    raw.exec("CREATE USER app IDENTIFIED BY 'fes-Test-1-password'");
    raw.exec(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {}.* TO app", db.name));
    db.stream();
    let proxy = Proxy::before(&pair.primary.url);
    let url = db.url_with(|url| {
        url.set_username("app").unwrap();
        url.set_password(Some("fes-Test-1-password")).unwrap();
    });
    let options = Options::new().set("connect_timeout_ms", "3000").unwrap();
    let open = || EventStream::open_with(&proxy.url(&url), &options).unwrap();
    let (writing, reading) = (open(), open());
    let consumer = reading.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();

    let (stop, next) = (AtomicBool::new(false), AtomicU64::new(0));
    let acknowledged = Mutex::new(BTreeSet::new());
    // By id, what was delivered: the same again is allowed, another event is not.
    let delivered = Mutex::new(BTreeMap::<u64, u64>::new());
    let dices: Vec<Dice> = (0..4).map(|_| Dice(dice.below(1 << 30))).collect();
    let cut = dice.below(2) == 0;
    let before = 300 + dice.below(900);
    std::thread::scope(|scope| {
        let ended = Done(&stop);
        for mut dice in dices {
            let (stop, next, acknowledged, writing) = (&stop, &next, &acknowledged, &writing);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let count = 1 + dice.below(3);
                    let first = next.fetch_add(count, Ordering::Relaxed);
                    let numbers: Vec<u64> = (first..first + count).collect();
                    let roll_back = count > 1 && dice.below(3) == 0;
                    match add(writing, &numbers, roll_back) {
                        Ok(()) if !roll_back => acknowledged.lock().unwrap().extend(numbers),
                        Ok(()) => {}
                        Err(error) => {
                            assert!(passes(error.kind()), "{error:?}");
                            pause(20);
                        }
                    }
                    pause(dice.below(4));
                }
            });
        }
        let reader = scope.spawn(|| {
            let (mut last, mut idle) = (None, Instant::now());
            while !(stop.load(Ordering::Relaxed) && idle.elapsed() > Duration::from_secs(3)) {
                match consumer.poll(last, &Want::all()) {
                    Ok(events) if events.is_empty() => pause(10),
                    Ok(events) => {
                        idle = Instant::now();
                        for event in &events {
                            assert!(last.is_none_or(|last| last < event.id), "out of order");
                            last = Some(event.id);
                            let number = event.data.as_str().parse().unwrap();
                            let other = delivered.lock().unwrap().insert(event.id, number);
                            assert!(other.is_none_or(|other| other == number), "{other:?}");
                        }
                    }
                    Err(error) => {
                        assert!(passes(error.kind()), "{error:?}");
                        // From the stored cursor on.
                        last = None;
                        pause(20);
                    }
                }
            }
        });
        pause(before);
        // Nobody writes any more; then the other one has everything.
        pair.primary.root().exec("SET GLOBAL read_only = 1");
        pair.promote();
        proxy.point_to(&pair.replica.url);
        if cut {
            proxy.cut();
        }
        pause(2500);
        drop(ended);
        reader.join().unwrap();
    });
    let acknowledged = acknowledged.into_inner().unwrap();
    let delivered: BTreeSet<u64> = delivered.into_inner().unwrap().into_values().collect();
    let lost: Vec<&u64> = acknowledged.difference(&delivered).collect();
    let after = crate::support::Raw::connect(db.kind, &pair.on_replica(&db.url))
        .number("SELECT COUNT(*) FROM evt_queue");
    assert!(lost.is_empty(), "seed {seed}, cut {cut}: lost {lost:?} of {}", acknowledged.len());
    assert_eq!(delivered.len() as i64, after, "seed {seed}: not what is stored");
    assert!(acknowledged.len() > 200, "only {} were added", acknowledged.len());
    eprintln!("{server}: {} added, {} delivered, cut {cut}", acknowledged.len(), delivered.len());
    drop(db);
    pair.end(&own);
}

#[test]
fn a_switch_to_a_replica_that_has_everything_loses_nothing_on_mariadb() {
    switch("mariadb");
}

#[test]
fn a_switch_to_a_replica_that_has_everything_loses_nothing_on_mysql() {
    switch("mysql");
}
