//! A stream at work that is taken back to an older state: writers, consumers of all kinds, an archiver and
//! a discarder go on, and afterwards everything is counted.
//!
//! The database itself notes each event that is committed, and each move of a cursor, in tables that go
//! back with the rest.

use super::{Db, Done, Raw};
use futoin_eventstream::{
    Archiver, Consumer, DatabaseKind, Discarder, ErrorKind, Event, EventStream, HistoryNotice,
    Notice, Options, ReceiverOptions, ReliableReceiver, Result, Want, Warehouse,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// So long everything has to be made good afterwards.
const LONG: Duration = Duration::from_secs(60);

const TYPES: [&str; 2] = ["SOME", "OTHER"];

/// What is tried.
pub struct Scene<'a> {
    pub db: &'a Db,
    /// How the application reaches it.
    pub url: String,
    pub seed: u64,
    /// For how long there is work before, and after.
    pub length: Duration,
    /// Everything goes back at once, so that every move of a cursor must be right.
    pub at_once: bool,
}

/// The time as the databases note it.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

pub fn pause(ms: u64) {
    sleep(Duration::from_millis(ms));
}

/// What happened to a consumer, in order.
enum Entry {
    Event { id: u64, data: String, at: u64 },
    Told(ErrorKind),
}

#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<Entry>>>);

impl Diary {
    fn events<'a>(&self, events: impl IntoIterator<Item = &'a Event>) {
        let entry = |event: &Event| {
            let data = event.data.as_str().to_owned();
            Entry::Event { id: event.id, data, at: now() }
        };
        self.0.lock().unwrap().extend(events.into_iter().map(entry));
    }

    fn told(&self, kind: ErrorKind) {
        self.0.lock().unwrap().push(Entry::Told(kind));
    }

    /// When each event was given first.
    fn given(&self) -> HashMap<(u64, String), u64> {
        let mut given = HashMap::new();
        for entry in &*self.0.lock().unwrap() {
            if let Entry::Event { id, data, at } = entry {
                given.entry((*id, data.clone())).or_insert(*at);
            }
        }
        given
    }
}

/// The tables that note everything, and what fills them.
fn note_everything(db: &Db) {
    let mut raw = db.raw();
    raw.exec("CREATE TABLE evt_moves (ident varchar(64), was bigint, is_now bigint, at bigint)");
    raw.exec("CREATE TABLE evt_truth (id bigint PRIMARY KEY, data text)");
    let statements: &[&str] = match db.kind {
        DatabaseKind::Sqlite => &[
            "CREATE TRIGGER note_event AFTER INSERT ON evt_queue BEGIN \
             INSERT INTO evt_truth VALUES (NEW.id, NEW.data); END",
            "CREATE TRIGGER note_move AFTER UPDATE OF last_evt_id ON evt_consumers \
             WHEN NEW.last_evt_id <> OLD.last_evt_id BEGIN \
             INSERT INTO evt_moves VALUES (NEW.ident, OLD.last_evt_id, NEW.last_evt_id, \
             CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000 + 999); END",
        ],
        DatabaseKind::Postgres => &[
            "CREATE FUNCTION note_event() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             INSERT INTO public.evt_truth VALUES (NEW.id, NEW.data); RETURN NULL; END $$",
            "CREATE FUNCTION note_move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             INSERT INTO public.evt_moves VALUES (NEW.ident, OLD.last_evt_id, NEW.last_evt_id, \
             extract(epoch FROM clock_timestamp()) * 1000000); RETURN NULL; END $$",
            "CREATE TRIGGER note_event AFTER INSERT ON evt_queue FOR EACH ROW \
             EXECUTE FUNCTION note_event()",
            "CREATE TRIGGER note_move AFTER UPDATE ON evt_consumers FOR EACH ROW \
             WHEN (NEW.last_evt_id <> OLD.last_evt_id) EXECUTE FUNCTION note_move()",
        ],
        DatabaseKind::Mysql => &[
            "CREATE TRIGGER note_event AFTER INSERT ON evt_queue FOR EACH ROW \
             REPLACE INTO evt_truth VALUES (NEW.id, NEW.data)",
            "CREATE TRIGGER note_move AFTER UPDATE ON evt_consumers FOR EACH ROW \
             IF NEW.last_evt_id <> OLD.last_evt_id THEN \
             INSERT INTO evt_moves VALUES (NEW.ident, OLD.last_evt_id, NEW.last_evt_id, \
             UNIX_TIMESTAMP(SYSDATE(6)) * 1000000); END IF",
        ],
    };
    statements.iter().for_each(|sql| raw.exec(sql));
}

/// A move of a cursor.
struct Moved {
    ident: String,
    was: u64,
    is_now: u64,
    at: u64,
}

/// What the database says at the end.
struct Truth {
    events: BTreeMap<u64, String>,
    moves: Vec<Moved>,
}

impl Truth {
    fn read(raw: &mut Raw) -> Truth {
        let concat = |list: &[&str]| match raw {
            Raw::Mysql(_) => format!("CONCAT_WS(' ', {})", list.join(", ")),
            _ => list.join(" || ' ' || "),
        };
        let moves = concat(&["ident", "was", "is_now", "at"]);
        let events = ["evt_truth", "evt_queue"]
            .map(|table| format!("SELECT {} FROM {table}", concat(&["id", "data"])));
        let event = |row: &String| {
            let (id, data) = row.split_once(' ').unwrap();
            (id.parse().unwrap(), data.to_owned())
        };
        let events = events.iter().flat_map(|sql| raw.texts(sql)).map(|row| event(&row)).collect();
        let moved = |row: &String| {
            let words: Vec<&str> = row.rsplitn(4, ' ').collect();
            let number = |n: usize| words[n].split('.').next().unwrap().parse().unwrap();
            Moved { ident: words[3].to_owned(), was: number(2), is_now: number(1), at: number(0) }
        };
        let moves =
            raw.texts(&format!("SELECT {moves} FROM evt_moves")).iter().map(moved).collect();
        Truth { events, moves }
    }

    /// Where the cursor was before the new life began.
    fn restored(&self, ident: &str, began: u64) -> u64 {
        let own = self.moves.iter().filter(|moved| moved.ident == ident && moved.at < began);
        own.max_by_key(|moved| (moved.at, moved.is_now)).map_or(0, |moved| moved.is_now)
    }

    /// The events after an id that a consumer wants.
    fn after(&self, id: u64, some: bool) -> impl Iterator<Item = (u64, String)> + '_ {
        let wanted = move |data: &str| !some || data.contains(TYPES[0]);
        let events = self.events.range(id + 1..).filter(move |(_, data)| wanted(data));
        events.map(|(id, data)| (*id, data.clone()))
    }
}

/// Whether this may happen to a call while a database goes away and comes back.
fn passes(kind: ErrorKind) -> bool {
    use ErrorKind::*;
    matches!(
        kind,
        ConnectionLost | ConnectFailed | UnsafeServer | Busy | Timeout | Conflict | NotMigrated
    )
}

/// Adds events until it is told to end.
fn write(stream: &EventStream, over: &AtomicBool, writer: u64, mut rng: StdRng) -> usize {
    let (mut serial, mut added) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        let count = 1 + serial % 3;
        let mut text = || {
            serial += 1;
            let kind = TYPES[rng.random_range(0..2)];
            (kind, format!("{kind} {writer} {serial}"))
        };
        let events: Vec<_> = (0..count).map(|_| text()).collect();
        let roll_back = rng.random_bool(0.1);
        let result: Result<usize> = (|| {
            if let [(kind, text)] = &events[..] {
                return stream.add_event(kind, text).map(|_| 1);
            }
            let mut tx = stream.begin()?;
            for (kind, text) in &events {
                tx.add_event(kind, text)?;
            }
            match roll_back {
                true => tx.rollback().map(|()| 0),
                false => tx.commit().map(|()| events.len()),
            }
        })();
        match result {
            Ok(count) => added += count,
            Err(_) => pause(10),
        }
        pause(rng.random_range(0..5));
    }
    added
}

/// Polls until it is told to end; with an error it keeps its last id, or not.
fn poll(consumer: &Consumer, want: &Want, end: &AtomicBool, diary: &Diary, mut rng: StdRng) {
    let (mut last, keeps) = (None, rng.random_bool(0.5));
    while !end.load(Ordering::Relaxed) {
        match consumer.poll_at_most(last, want, rng.random_range(1..50)) {
            Ok(events) => {
                last = events.last().map_or(last, |event| Some(event.id));
                diary.events(&events);
                pause(rng.random_range(0..10));
            }
            Err(error) => {
                let kind = error.kind();
                diary.told(kind);
                assert!(kind == ErrorKind::StreamRewound || passes(kind), "{error:?}");
                if !keeps && !consumer.is_live() {
                    last = None;
                }
                pause(10);
            }
        }
    }
}

fn receiver(stream: &EventStream, diary: &Diary) -> ReliableReceiver {
    let (mine, noted) = (diary.clone(), diary.clone());
    let own = Options::new().set("ack_interval_ms", "20").unwrap();
    let options = ReceiverOptions::new().options(own).on_notice(move |notice| match notice {
        Notice::WorkerError(error) => noted.told(error.kind()),
        Notice::Stopped => noted.told(ErrorKind::Closed),
        _ => {}
    });
    let receiver = ReliableReceiver::new(stream, "app", "Push", options, move |delivery| {
        mine.events(delivery.events.iter().map(|event| &**event));
        Ok(())
    });
    receiver.unwrap()
}

/// The archiver, its warehouse, and a discarder.
struct Service {
    archiver: Archiver,
    discarder: Discarder,
    warehouse: Warehouse,
    history: Raw,
    diary: Diary,
    _folder: tempfile::TempDir,
}

impl Service {
    fn start(stream: &EventStream) -> Service {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("history.db").display());
        let warehouse = Warehouse::open(&url).unwrap();
        warehouse.migrate().unwrap();
        let archiver = Archiver::new(stream, &warehouse, &Options::new()).unwrap();
        let diary = Diary::default();
        let noted = diary.clone();
        archiver.on_notice(move |notice| match notice {
            HistoryNotice::WorkerError(error) | HistoryNotice::Stopped(Some(error)) => {
                noted.told(error.kind());
            }
            _ => {}
        });
        archiver.start().unwrap();
        let options = Options::new().set("poll_period_ms", "20").unwrap();
        let options = options.set("require_archiver", "true").unwrap();
        let discarder = Discarder::new(stream, &options).unwrap();
        discarder.start().unwrap();
        let history = Raw::connect(DatabaseKind::Sqlite, &url);
        Service { archiver, discarder, warehouse, history, diary, _folder: folder }
    }

    /// What an operator does where the history has events that the stream has lost.
    fn mend(&mut self, truth: &Truth) {
        if self.archiver.is_running() {
            return;
        }
        for (id, data) in self.archived() {
            if truth.events.get(&id) != Some(&data) {
                self.history.exec(&format!("DELETE FROM evt_history WHERE id = {id}"));
            }
        }
        self.archiver.start().unwrap();
    }

    fn archived(&self) -> BTreeMap<u64, String> {
        let mut archived = BTreeMap::new();
        loop {
            let from = archived.last_key_value().map_or(0, |(id, _)| id + 1);
            let more = self.warehouse.history(from, &Want::all(), 5000).unwrap();
            if more.is_empty() {
                return archived;
            }
            archived.extend(more.into_iter().map(|e| (e.id, e.data.as_str().to_owned())));
        }
    }

    /// The events after its cursor that are not in the history.
    fn lacks(&self, truth: &Truth, after: u64) -> Vec<u64> {
        let archived = self.archived();
        let lacks = |(id, data): &(u64, String)| archived.get(id) != Some(data);
        truth.after(after, false).filter(lacks).map(|(id, _)| id).collect()
    }
}

/// What is wrong with what a consumer got.
#[derive(Debug, Default)]
struct Count {
    given: usize,
    lost: Vec<u64>,
    repeated: usize,
    out_of_order: usize,
    /// Events of the life before that are gone.
    gone: usize,
    rewound: usize,
    /// Moves of its cursor over events that it had not got: from where, to where, and the first of those.
    overdone: Vec<(u64, u64, u64)>,
    ended: bool,
}

fn count(diary: &Diary, truth: &Truth, ident: &str, began: u64, at_once: bool) -> Count {
    let some = ident.ends_with("Some");
    let given = diary.given();
    let lacks = |event: &(u64, String)| !given.contains_key(event);
    let after = truth.restored(ident, began);
    let lost = truth.after(after, some).filter(lacks).map(|(id, _)| id).collect();
    let mut count = Count { given: given.len(), lost, ..Count::default() };
    let (mut last, mut events) = (0, 0);
    for entry in &*diary.0.lock().unwrap() {
        match entry {
            Entry::Event { id, data, .. } => {
                events += 1;
                count.out_of_order += usize::from(*id <= last);
                count.gone += usize::from(truth.events.get(id) != Some(data));
                last = *id;
            }
            Entry::Told(kind) => {
                // Afterwards it goes on after the cursor.
                last = 0;
                count.rewound += usize::from(*kind == ErrorKind::StreamRewound);
                count.ended |= *kind == ErrorKind::Closed;
            }
        }
    }
    count.repeated = events - given.len();
    let moves = truth.moves.iter().filter(|moved| at_once && moved.ident == ident);
    for moved in moves.filter(|moved| moved.at >= began && moved.is_now > moved.was) {
        let passed = truth.after(moved.was, some).take_while(|(id, _)| *id <= moved.is_now);
        let early = |event: &(u64, String)| given.get(event).is_none_or(|at| *at > moved.at);
        if let Some((id, _)) = passed.into_iter().find(early) {
            count.overdone.push((moved.was, moved.is_now, id));
        }
    }
    count
}

/// Lets everything work, has `change` take the database back, and counts when all could be made good.
/// `change` gives the time that is between the two lives, and an administrator's connection afterwards.
pub fn survives(scene: &Scene<'_>, change: impl FnOnce(&mut StdRng) -> (u64, Raw)) {
    let mut rng = StdRng::seed_from_u64(scene.seed);
    let db = scene.db;
    db.stream();
    note_everything(db);
    let options = Options::new().set("connect_timeout_ms", "3000").unwrap();
    let open = || EventStream::open_with(&scene.url, &options).unwrap();
    let (writing, reading, serving) = (open(), open(), open());
    let consumers = ["All", "Some"].map(|name| reading.consumer("app", name).unwrap());
    consumers.iter().for_each(|consumer| consumer.register().unwrap());
    let wants = [Want::all(), Want::types(&TYPES[..1]).unwrap()];
    let live = reading.live("app").unwrap();
    let diaries: [Diary; 4] = Default::default();
    let receiver = receiver(&reading, &diaries[2]);
    receiver.start().unwrap();
    let mut service = Service::start(&serving);
    let (over, end) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut dice = || StdRng::seed_from_u64(rng.random());
    let (writers, [first, second, third]) = ([dice(), dice(), dice()], [dice(), dice(), dice()]);

    std::thread::scope(|scope| {
        let (written, ended) = (Done(&over), Done(&end));
        let writers: Vec<_> = (0u64..)
            .zip(writers)
            .map(|(n, rng)| (n, rng, &writing, &over))
            .map(|(n, rng, writing, over)| scope.spawn(move || write(writing, over, n, rng)))
            .collect();
        scope.spawn(|| poll(&consumers[0], &wants[0], &end, &diaries[0], first));
        scope.spawn(|| poll(&consumers[1], &wants[1], &end, &diaries[1], second));
        scope.spawn(|| poll(&live, &wants[0], &end, &diaries[3], third));
        sleep(scene.length);
        let (began, mut raw) = change(&mut rng);
        sleep(scene.length);
        drop(written);
        let added: usize = writers.into_iter().map(|writer| writer.join().unwrap()).sum();

        let names = ["app:All", "app:Some", "app:Push"];
        let archiver = "-internal:ARCHIVER";
        let start = Instant::now();
        let (counts, lacking, truth) = loop {
            let truth = Truth::read(&mut raw);
            let cursor = truth.restored(archiver, began);
            service.mend(&truth);
            let counts: Vec<Count> = names
                .iter()
                .zip(&diaries)
                .map(|(name, diary)| count(diary, &truth, name, began, scene.at_once))
                .collect();
            let lacking = service.lacks(&truth, cursor);
            let good = lacking.is_empty() && counts.iter().all(|count| count.lost.is_empty());
            if good || start.elapsed() > LONG {
                break (counts, lacking, truth);
            }
            pause(100);
        };
        drop(ended);
        receiver.stop();
        service.archiver.stop();
        service.discarder.stop();
        let run = format!("{}, FES_STRESS_SEED={}", db.server, scene.seed);
        println!("{run}: {added} added, {} of them there", truth.events.len());
        for (name, count) in names.iter().zip(&counts) {
            println!("    {name}: {count:?}");
        }
        let live = count(&diaries[3], &truth, "app:LIVE", began, false);
        println!("    LIVE: {} given, {} gone, {} told", live.given, live.gone, live.rewound);
        assert!(lacking.is_empty(), "{run}: the history lacks {lacking:?}");
        for (name, count) in names.iter().zip(&counts) {
            assert!(count.lost.is_empty(), "{run}, {name}: {count:?}");
            assert!(!count.ended, "{run}, {name}: the receiver has ended");
            assert_eq!(count.out_of_order, 0, "{run}, {name}: {count:?}");
            assert!(count.overdone.is_empty(), "{run}, {name}: {count:?}");
            // Who was given what is gone is told.
            assert!(count.gone == 0 || count.rewound > 0, "{run}, {name}: {count:?}");
        }
        assert!(live.gone == 0 || live.rewound > 0, "{run}, LIVE: {live:?}");
        assert_eq!(live.out_of_order, 0, "{run}, LIVE: {live:?}");
        let told = service.diary.0.lock().unwrap().len();
        println!("    archiver: {told} errors told");
    });
}
