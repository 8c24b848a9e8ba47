//! Consumers that somebody unregisters while they are at work, or whose database is made anew: it is
//! told, and nothing is left out where they go on.

use crate::support::Db;
use futoin_eventstream::{
    Archiver, ErrorKind, EventStream, Notice, Options, ReceiverOptions, ReliableReceiver, Want,
    Warehouse,
};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);

fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A receiver, what it got and what it told.
struct Watched {
    receiver: ReliableReceiver,
    got: Arc<Mutex<Vec<u64>>>,
    told: Arc<Mutex<Vec<String>>>,
}

impl Watched {
    fn start(stream: &EventStream, options: &[(&str, &str)]) -> Self {
        let options = options.iter().fold(Options::new(), |o, (k, v)| o.set(k, v).unwrap());
        let (got, told) = (Arc::<Mutex<Vec<u64>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (ids, texts) = (got.clone(), told.clone());
        let options = ReceiverOptions::new().options(options).on_notice(move |notice| {
            let text = match notice {
                Notice::WorkerError(error) => error.kind().name(),
                Notice::NewEvents(_) => return,
                notice => format!("{notice:?}"),
            };
            texts.lock().unwrap().push(text);
        });
        let receiver = ReliableReceiver::new(stream, "app", "Audit", options, move |delivery| {
            ids.lock().unwrap().extend(delivery.events.iter().map(|event| event.id));
            Ok(())
        });
        let receiver = receiver.unwrap();
        receiver.start().unwrap();
        Watched { receiver, got, told }
    }

    fn got(&self) -> Vec<u64> {
        self.got.lock().unwrap().clone()
    }

    fn has_told(&self, text: &str) -> bool {
        self.told.lock().unwrap().iter().any(|told| told == text)
    }
}

fn cursor_of(db: &Db, ident: &str) -> i64 {
    let of = format!("FROM evt_consumers WHERE ident = '{ident}'");
    db.raw().number(&format!("SELECT COALESCE(MAX(last_evt_id), -1) {of}"))
}

on_each_server!(a_receiver_whose_consumer_is_gone_tells_it_once_and_stops, |db| {
    let stream = db.stream();
    let watched = Watched::start(&stream, &[]);
    let first = stream.add_event("A", &1).unwrap();
    until("the first event came", || watched.got() == [first]);
    until("it is acknowledged", || cursor_of(db, "app:Audit") == first as i64);
    assert!(stream.consumer("app", "Audit").unwrap().unregister().unwrap());
    stream.add_event("A", &2).unwrap();
    until("it has stopped", || watched.has_told("Stopped"));
    assert_eq!(*watched.told.lock().unwrap(), ["Ready", "NotRegistered", "Stopped"]);
    // Its name is free again, and starting it is the caller's decision to begin anew.
    watched.got.lock().unwrap().clear();
    watched.receiver.start().unwrap();
    until("all that is there comes", || watched.got() == [first, first + 1]);
    watched.receiver.stop();
});

on_each_server!(a_receiver_registers_again_where_that_is_wanted_and_misses_nothing, |db| {
    let stream = db.stream();
    let watched = Watched::start(&stream, &[("reregister", "true")]);
    let mut added = vec![stream.add_event("A", &1).unwrap()];
    until("the first event came", || watched.got() == added);
    until("it is acknowledged", || cursor_of(db, "app:Audit") == added[0] as i64);
    assert!(stream.consumer("app", "Audit").unwrap().unregister().unwrap());
    for n in 2..10 {
        added.push(stream.add_event("A", &n).unwrap());
    }
    until("it has told it", || watched.has_told("NotRegistered"));
    let all = |got: Vec<u64>| got.len() > added.len() && got.ends_with(&added);
    until("all that is there came once more, in order", || all(watched.got()));
    until("all is acknowledged", || cursor_of(db, "app:Audit") == *added.last().unwrap() as i64);
    assert!(!watched.has_told("Stopped"));
    watched.receiver.stop();
    // Both subscriptions count.
    assert_eq!(watched.receiver.stats().subscription.delivered, watched.got().len() as u64);
});

on_each_server!(a_subscription_ends_when_its_consumer_is_gone_and_moves_no_other_cursor, |db| {
    let stream = db.stream();
    let consumer = stream.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();
    let subscription = stream.subscribe("app", "Audit", Want::all(), &Options::new()).unwrap();
    let first = stream.add_event("A", &1).unwrap();
    assert_eq!(subscription.next(LONG).unwrap().unwrap().events[0].id, first);
    assert!(consumer.unregister().unwrap());
    subscription.ack().unwrap();
    let start = Instant::now();
    let error = loop {
        match subscription.next(Duration::from_millis(50)) {
            Ok(_) => assert!(start.elapsed() < LONG, "it is never told"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::NotRegistered);
    assert!(error.to_string().contains("app:Audit"), "{error}");
    // Somebody registers it again: what this subscription has had is not acknowledged for it.
    consumer.register().unwrap();
    stream.add_event("A", &2).unwrap();
    std::thread::sleep(Duration::from_millis(1200));
    let again = subscription.next(Duration::from_millis(50)).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::NotRegistered);
    subscription.close().unwrap();
    assert_eq!(cursor_of(db, "app:Audit"), 0);
    let subscription = stream.subscribe("app", "Audit", Want::all(), &Options::new()).unwrap();
    assert_eq!(subscription.next(LONG).unwrap().unwrap().events[0].id, first);
});

on_each_server!(an_archiver_that_was_unregistered_registers_again_and_archives_all, |db| {
    let stream = db.stream();
    let dwh = Db::on("sqlite").unwrap();
    let warehouse = Warehouse::open(&dwh.url).unwrap();
    warehouse.migrate().unwrap();
    let archiver = Archiver::new(&stream, &warehouse, &Options::new()).unwrap();
    let told = Arc::<Mutex<Vec<String>>>::default();
    let texts = told.clone();
    archiver.on_notice(move |notice| texts.lock().unwrap().push(format!("{notice:?}")));
    archiver.start().unwrap();
    let archived = || warehouse.history(0, &Want::all(), 1000).unwrap().len();
    for n in 0..10 {
        stream.add_event("A", &n).unwrap();
    }
    until("the first events are archived", || archived() == 10);
    until("they are acknowledged", || cursor_of(db, "-internal:ARCHIVER") == 10);
    db.raw().exec("DELETE FROM evt_consumers WHERE ident = '-internal:ARCHIVER'");
    for n in 10..20 {
        stream.add_event("A", &n).unwrap();
    }
    until("all events are archived", || archived() == 20);
    until("all are acknowledged", || cursor_of(db, "-internal:ARCHIVER") == 20);
    archiver.stop();
    let ids: Vec<u64> =
        warehouse.history(0, &Want::all(), 1000).unwrap().iter().map(|event| event.id).collect();
    assert_eq!(ids, (1..=20).collect::<Vec<u64>>());
    let told = told.lock().unwrap();
    let errors: Vec<_> = told.iter().filter(|text| text.contains("Error")).collect();
    assert!(errors.iter().any(|text| text.contains("NotRegistered")), "{told:?}");
    assert!(!errors.iter().any(|text| text.contains("HistoryConflict")), "{told:?}");
});
