//! A service app (archiver and discarder) that is killed again and again, while eight writers add
//! events and a slow consumer reads them: nothing is lost, nothing twice, and nothing discarded
//! that somebody still has to get.
//!
//! `FES_CRASH_ROUNDS` is how often each pair of databases has its service killed (4), and
//! `FES_CRASH_SEED` the seed of all chance, which a run prints.

use crate::support::Db;
use futoin_eventstream::{
    Archiver, Discarder, Event, EventStream, NewEvent, Options, ServiceApp, Want, Warehouse,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

/// Says to a copy of this program that it is the service.
const SERVICE: &str = "FES_CRASH_SERVICE";

/// The options of the service: many small steps, so that it is killed between any two of them.
fn options() -> Options {
    [
        ("enable_discarder", "true"),
        ("archive_batch", "40"),
        ("limit_at_once", "30"),
        ("poll_period_ms", "1"),
    ]
    .iter()
    .fold(Options::new(), |options, (name, value)| options.set(name, value).unwrap())
}

/// The variables that name a database, as the npm package reads them.
fn variables(prefix: &str, db: &Db) -> Vec<(String, String)> {
    let mut list = Vec::new();
    let mut set = |name: &str, value: &str| list.push((format!("{prefix}_{name}"), value.into()));
    if db.server == "sqlite" {
        set("TYPE", "sqlite");
        set("SOCKET", db.path().to_str().unwrap());
        return list;
    }
    let url = url::Url::parse(&db.url).unwrap();
    set("TYPE", if url.scheme() == "mysql" { "mysql" } else { "postgresql" });
    set("HOST", url.host_str().unwrap());
    set("PORT", &url.port().unwrap().to_string());
    set("USER", url.username());
    set("PASS", url.password().unwrap_or_default());
    set("DB", &db.name);
    list
}

/// A copy of this program that runs as the service, until its input ends.
struct Service(Child);

impl Service {
    fn start(db: &Db, dwh: &Db) -> Service {
        let child =
            crate::support::rerun(module_path!(), "a_service_app_runs_until_its_input_ends")
                .env(SERVICE, "1")
                .envs(variables("DB_EVT", db))
                .envs(variables("DB_EVTDWH", dwh))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::inherit())
                .spawn();
        Service(child.unwrap())
    }

    /// Waits until it has archived something.
    fn has_begun(&mut self) {
        let output = BufReader::new(self.0.stdout.as_mut().unwrap());
        let begun = output.lines().any(|line| line.unwrap().starts_with("ProcessedEvents"));
        assert!(begun, "the service ended by itself");
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// What it printed, after a clean end.
    fn end(mut self) -> String {
        drop(self.0.stdin.take());
        let mut printed = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        assert!(self.0.wait().unwrap().success(), "{printed}");
        printed
    }
}

/// What a copy of this program does that is the service.
fn serve() {
    let app = ServiceApp::from_env(&options()).unwrap();
    app.on_notice(|notice| println!("{notice:?}"));
    app.start().unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    app.close();
}

#[test]
fn a_service_app_runs_until_its_input_ends() {
    if std::env::var_os(SERVICE).is_some() {
        return serve();
    }
    let (db, dwh) = (Db::on("sqlite").unwrap(), Db::on("sqlite").unwrap());
    let stream = db.stream();
    let warehouse = Warehouse::open(&dwh.url).unwrap();
    warehouse.migrate().unwrap();
    let service = Service::start(&db, &dwh);
    stream.add_events(&vec![NewEvent::new("ADDED", &()).unwrap(); 100]).unwrap();
    let start = Instant::now();
    while crate::support::everything(&stream).len() > 1 {
        assert!(start.elapsed() < Duration::from_secs(10), "nothing was discarded");
        sleep(Duration::from_millis(5));
    }
    let printed = service.end();
    assert_eq!(printed.matches("ProcessedEvents(40)").count(), 2, "{printed}");
    assert_eq!(printed.matches("Stopped(None)").count(), 2, "{printed}");
    assert_eq!(all(&warehouse).len(), 100);
}

fn all(warehouse: &Warehouse) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let from = events.last().map_or(0, |event| event.id + 1);
        let more = warehouse.history(from, &Want::all(), 5000).unwrap();
        if more.is_empty() {
            return events;
        }
        events.extend(more);
    }
}

/// An event as its writer knows it.
type Written = (u64, String, String);

/// One pair of databases.
fn survives(active: &str, dwh: &str) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seed = number("FES_CRASH_SEED").unwrap_or_else(|| rand::random::<u32>().into());
    let rounds = number("FES_CRASH_ROUNDS").unwrap_or(4);
    let (Some(db), Some(dwh)) = (Db::on(active), Db::on(dwh)) else { return };
    let mut rng = StdRng::seed_from_u64(seed);
    println!("FES_CRASH_SEED={seed}");

    let stream = db.stream_with(&[("max_connections", "20")]);
    let warehouse = Warehouse::open(&dwh.url).unwrap();
    warehouse.migrate().unwrap();
    let slow = stream.consumer("app", "Slow").unwrap();
    slow.register().unwrap();
    let writing = AtomicBool::new(true);
    let began = Instant::now();
    let (mut truth, mut got) = thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|number| {
                let (stream, writing) = (&stream, &writing);
                let rng = StdRng::seed_from_u64(seed ^ (number + 1));
                scope.spawn(move || write(stream, writing, number, rng))
            })
            .collect();
        let reader = scope.spawn(|| {
            let mut got: Vec<Event> = Vec::new();
            while writing.load(Ordering::Relaxed) {
                let last = got.last().map(|event| event.id);
                got.extend(slow.poll_at_most(last, &Want::all(), 70).unwrap());
                sleep(Duration::from_millis(10));
            }
            got
        });
        for _ in 0..rounds {
            let mut service = Service::start(&db, &dwh);
            // Mostly at work, sometimes on its way there.
            if rng.random_bool(0.8) {
                service.has_begun();
            }
            sleep(Duration::from_millis(rng.random_range(0..300)));
            service.kill();
        }
        writing.store(false, Ordering::Relaxed);
        let truth: Vec<Written> = writers.into_iter().flat_map(|w| w.join().unwrap()).collect();
        (truth, reader.join().unwrap())
    });
    let took = began.elapsed();
    let archived = all(&warehouse).len();
    let discarded = truth.len() - crate::support::everything(&stream).len();

    // The lease of the killed one ends when its server sees that it is gone.
    let archiver = Archiver::new(&stream, &warehouse, &Options::new()).unwrap();
    let start = Instant::now();
    while let Err(error) = archiver.run_once() {
        assert!(start.elapsed() < Duration::from_secs(10), "{error}");
        sleep(Duration::from_millis(20));
    }
    truth.sort_unstable();
    let written =
        |event: Event| (event.id, event.event_type.to_string(), event.data.as_str().to_owned());
    let history: Vec<Written> = all(&warehouse).into_iter().map(written).collect();
    assert_eq!(history.len(), truth.len());
    assert!(history == truth, "the history is not what was written");
    loop {
        let more = slow.poll(got.last().map(|event| event.id), &Want::all()).unwrap();
        if more.is_empty() {
            break;
        }
        got.extend(more);
    }
    let got: Vec<Written> = got.into_iter().map(written).collect();
    assert!(got == truth, "the slow consumer did not get what was written");
    Discarder::new(&stream, &Options::new()).unwrap().run_once().unwrap();
    assert_eq!(crate::support::everything(&stream).len(), 1);
    println!(
        "{active} to {dwh}: {rounds} kills in {:.1} s, {} events, of them at the end of the kills \
         {archived} archived, {discarded} discarded",
        took.as_secs_f64(),
        truth.len(),
        dwh = dwh.server,
    );
}

/// Adds events in every way, until it is told to end.
fn write(stream: &EventStream, on: &AtomicBool, writer: u64, mut rng: StdRng) -> Vec<Written> {
    let mut written: Vec<Written> = Vec::new();
    let mut serial = 0;
    while on.load(Ordering::Relaxed) {
        let count = rng.random_range(1..=4);
        let events: Vec<NewEvent> = (0..count)
            .map(|_| {
                serial += 1;
                NewEvent::new(["LEFT", "RIGHT"][serial % 2], &(writer, serial)).unwrap()
            })
            .collect();
        let ids = match rng.random_range(0..3) {
            0 => events.iter().map(|event| stream.add(event).unwrap()).collect(),
            1 => stream.add_events(&events).unwrap(),
            _ => {
                let mut tx = stream.begin().unwrap();
                let ids = tx.add_events(&events).unwrap();
                sleep(Duration::from_millis(rng.random_range(0..5)));
                if rng.random_bool(0.2) {
                    tx.rollback().unwrap();
                    continue;
                }
                tx.commit().unwrap();
                ids
            }
        };
        written.extend(
            ids.into_iter().zip(events).map(|(id, event)| {
                (id, event.event_type.to_string(), event.data.as_str().to_owned())
            }),
        );
        sleep(Duration::from_millis(rng.random_range(0..8)));
    }
    written
}

macro_rules! pairs {
    ($($name:ident: $active:ident -> $dwh:ident;)+) => {
        mod nothing_is_lost_or_twice_when_the_service_is_killed {
            $(#[test]
            fn $name() {
                super::survives(stringify!($active), stringify!($dwh));
            })+
        }
    };
}

pairs! {
    sqlite_to_sqlite: sqlite -> sqlite;
    sqlite_to_postgres: sqlite -> postgres;
    sqlite_to_mariadb: sqlite -> mariadb;
    postgres_to_sqlite: postgres -> sqlite;
    postgres_to_postgres18: postgres -> postgres18;
    postgres_to_mysql: postgres -> mysql;
    mariadb_to_sqlite: mariadb -> sqlite;
    mysql_to_postgres: mysql -> postgres;
    mysql_to_mariadb: mysql -> mariadb;
}
