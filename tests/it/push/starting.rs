//! What has a thread of its own (receivers, archiver, discarder, service app) is started and stopped by
//! one rule.

use futoin_eventstream::{
    Archiver, Discarder, EventStream, HistoryNotice, LiveReceiver, Notice, Options,
    ReceiverOptions, ReliableReceiver, Result, ServiceApp, Want, Warehouse, WorkerHealth,
};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

/// One of them, seen from outside.
trait Work: Send + Sync {
    fn start(&self) -> Result<()>;
    fn stop(&self);
    fn stop_for(&self, time: Duration) -> bool;
    fn is_running(&self) -> bool;
    fn health(&self) -> WorkerHealth;
}

macro_rules! work {
    ($($name:ident),+) => {$(
        impl Work for $name {
            fn start(&self) -> Result<()> { self.start() }
            fn stop(&self) { self.stop() }
            fn stop_for(&self, time: Duration) -> bool { self.stop_for(time) }
            fn is_running(&self) -> bool { self.is_running() }
            fn health(&self) -> WorkerHealth { self.health() }
        }
    )+};
}

work!(Archiver, Discarder, LiveReceiver, ReliableReceiver);

type OnEnd = Arc<dyn Fn() + Send + Sync>;
type Named = Vec<(&'static str, Arc<dyn Work>)>;

/// One of each kind, with what each of them calls when its thread ends.
fn each(on_end: impl Fn(&'static str) -> OnEnd) -> Named {
    let stream = EventStream::open("sqlite::memory:").unwrap();
    stream.migrate().unwrap();
    let warehouse = Warehouse::open("sqlite::memory:").unwrap();
    warehouse.migrate().unwrap();
    let history = |call: OnEnd| {
        move |notice: &HistoryNotice| {
            if let HistoryNotice::Stopped(_) = notice {
                call();
            }
        }
    };
    let receiver = |call: OnEnd| {
        ReceiverOptions::new().on_notice(move |notice| {
            if let Notice::Stopped = notice {
                call();
            }
        })
    };
    let archiver = Archiver::new(&stream, &warehouse, &Options::new()).unwrap();
    archiver.on_notice(history(on_end("archiver")));
    let discarder = Discarder::new(&stream, &Options::new()).unwrap();
    discarder.on_notice(history(on_end("discarder")));
    let (reliable, live) = (receiver(on_end("reliable")), receiver(on_end("live")));
    let reliable = ReliableReceiver::new(&stream, "app", "Audit", reliable, |_| Ok(())).unwrap();
    let live = LiveReceiver::new(&stream, "app", live, |_| Ok(())).unwrap();
    vec![
        ("archiver", Arc::new(archiver)),
        ("discarder", Arc::new(discarder)),
        ("reliable", Arc::new(reliable)),
        ("live", Arc::new(live)),
    ]
}

/// As [`each`], with how many threads of each have ended.
fn each_with_ends() -> Vec<(&'static str, Arc<dyn Work>, Arc<AtomicUsize>)> {
    let ends: Mutex<HashMap<&str, Arc<AtomicUsize>>> = Mutex::default();
    let all = each(|name| {
        let count = Arc::new(AtomicUsize::new(0));
        ends.lock().unwrap().insert(name, count.clone());
        Arc::new(move || _ = count.fetch_add(1, Ordering::Relaxed))
    });
    let ends = ends.into_inner().unwrap();
    all.into_iter().map(|(name, work)| (name, work, ends[name].clone())).collect()
}

#[test]
fn starting_what_is_started_does_nothing() {
    for (name, work, ends) in each_with_ends() {
        assert!(!work.is_running() && work.health() == WorkerHealth::default(), "{name}");
        for _ in 0..3 {
            work.start().unwrap();
        }
        assert!(work.is_running() && work.health().running, "{name}");
        assert!(work.stop_for(LONG) && !work.is_running(), "{name}");
        // There was one thread, which has told its end once.
        assert_eq!(ends.load(Ordering::Relaxed), 1, "{name}");
        work.stop();
        assert_eq!(ends.load(Ordering::Relaxed), 1, "{name}");
    }
}

#[test]
fn threads_that_start_one_at_once_start_one_thread() {
    for (name, work, ends) in each_with_ends() {
        for round in 1..=5 {
            std::thread::scope(|scope| {
                (0..4).for_each(|_| _ = scope.spawn(|| work.start().unwrap()));
            });
            assert!(work.is_running(), "{name}");
            work.stop();
            assert_eq!(ends.load(Ordering::Relaxed), round, "{name}");
        }
    }
}

#[test]
fn one_that_was_stopped_is_started_again_also_from_its_last_notice() {
    let again: Arc<OnceLock<Named>> = Arc::default();
    let (sender, restarted) = channel();
    let all = each(|name| {
        let (again, sender) = (again.clone(), sender.clone());
        let rounds = AtomicUsize::new(0);
        Arc::new(move || {
            if rounds.fetch_add(1, Ordering::Relaxed) < 3 {
                let all = again.get().unwrap();
                let (_, work) = all.iter().find(|(of, _)| *of == name).unwrap();
                sender.send((name, work.start().is_ok())).unwrap();
            }
        })
    });
    assert!(again.set(all.clone()).is_ok());
    for (name, work) in &all {
        work.start().unwrap();
        for round in 0..3 {
            work.stop();
            assert_eq!(restarted.recv_timeout(LONG), Ok((*name, true)));
            assert!(work.is_running(), "{name}, round {round}");
        }
        assert!(work.stop_for(LONG) && !work.is_running(), "{name}");
    }
}

#[test]
fn the_service_app_starts_what_is_not_started() {
    let options = Options::new().set("enable_discarder", "true").unwrap();
    let app = ServiceApp::open("sqlite::memory:", Some("sqlite::memory:"), &options).unwrap();
    app.migrate().unwrap();
    let (archiver, discarder) = (app.archiver().unwrap(), app.discarder().unwrap());
    archiver.start().unwrap();
    for _ in 0..2 {
        app.start().unwrap();
        assert!(archiver.is_running() && discarder.is_running());
    }
    discarder.stop();
    assert!(archiver.is_running() && !discarder.is_running());
    app.start().unwrap();
    assert!(archiver.is_running() && discarder.is_running());
    app.close();
    assert!(!archiver.is_running() && !discarder.is_running());
}

#[test]
fn a_notice_that_panics_loses_no_event() {
    let stream = EventStream::open("sqlite::memory:").unwrap();
    stream.migrate().unwrap();
    let panics = Arc::new(AtomicUsize::new(0));
    let count = panics.clone();
    let options = ReceiverOptions::new().on_notice(move |notice| {
        if let Notice::NewEvents(_) = notice {
            count.fetch_add(1, Ordering::Relaxed);
            panic!("a defect of the application");
        }
    });
    let (sender, received) = channel();
    let receiver = ReliableReceiver::new(&stream, "app", "Audit", options, move |delivery| {
        Ok(delivery.events.iter().try_for_each(|event| sender.send(event.id))?)
    });
    let receiver = receiver.unwrap();
    receiver.start().unwrap();
    for id in 1..=3 {
        assert_eq!(stream.add_event("A", &id).unwrap(), id);
        assert_eq!(received.recv_timeout(LONG), Ok(id));
    }
    receiver.stop();
    assert_eq!(panics.load(Ordering::Relaxed), 3);
    let audit = stream.consumer("app", "Audit").unwrap();
    assert!(audit.poll(None, &Want::all()).unwrap().is_empty(), "it has acknowledged them");
}
