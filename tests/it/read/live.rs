//! LIVE consumers, which keep their place themselves; the report of who is how far behind; and
//! what is left of a stream after `close`.

use crate::support::failure;
use futoin_eventstream::{Consumer, ErrorKind, Event, EventStream, NewEvent, Result, Want};

fn ids(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.id).collect()
}

fn poll(consumer: &Consumer, last_id: Option<u64>, want: &Want) -> Vec<u64> {
    ids(&consumer.poll(last_id, want).unwrap())
}

fn add(stream: &EventStream, types: &[&str]) -> Vec<u64> {
    let events: Vec<NewEvent> = types.iter().map(|t| NewEvent::new(t, &()).unwrap()).collect();
    stream.add_events(&events).unwrap()
}

on_each_server!(live_starts_now_and_goes_on_in_its_handle, |db| {
    let stream = db.stream();
    add(&stream, &["A", "B"]);
    let live = stream.live("app").unwrap();
    assert!(live.is_live());
    assert!(poll(&live, None, &Want::all()).is_empty());
    let first = add(&stream, &["A", "B"]);
    assert_eq!(poll(&live, None, &Want::all()), first);
    assert!(poll(&live, None, &Want::all()).is_empty());
    let second = add(&stream, &["A", "B", "A"]);
    assert_eq!(ids(&live.poll_at_most(None, &Want::all(), 2).unwrap()), second[..2]);
    assert_eq!(poll(&live, None, &Want::all()), second[2..]);
    // Another one starts now, and there is no trace of either in the database.
    assert!(poll(&stream.live("app").unwrap(), None, &Want::all()).is_empty());
    assert_eq!(db.raw().number("SELECT count(*) FROM evt_consumers"), 0);
});

on_each_server!(live_brings_its_own_last_id, |db| {
    let stream = db.stream();
    let added = add(&stream, &["A", "B", "A", "B"]);
    let live = stream.consumer("app", "LIVE").unwrap();
    assert_eq!(poll(&live, Some(0), &Want::all()), added);
    assert_eq!(poll(&live, Some(added[1]), &Want::all()), added[2..]);
    assert_eq!(poll(&live, Some(0), &Want::all()), added, "back again");
    // What was given is not given again, unless the caller asks for it.
    live.acknowledge(added[1]).unwrap();
    assert!(poll(&live, None, &Want::all()).is_empty());
    assert_eq!(poll(&live, Some(added[1]), &Want::all()), added[2..]);
    let other = stream.live("app").unwrap();
    other.acknowledge(added[2]).unwrap();
    assert_eq!(poll(&other, None, &Want::all()), added[3..]);
    for high in [added[3] + 1, u64::MAX] {
        assert_eq!(failure(live.poll(Some(high), &Want::all())), ErrorKind::InvalidLastId);
        assert_eq!(failure(live.acknowledge(high)), ErrorKind::InvalidLastId);
    }
    assert!(poll(&live, None, &Want::all()).is_empty());
    let more = add(&stream, &["A"]);
    assert_eq!(poll(&live, None, &Want::all()), more);
});

on_each_server!(live_wants_may_change_without_a_loss, |db| {
    let stream = db.stream();
    let added = add(&stream, &["A", "B", "A", "B"]);
    let live = stream.live("app").unwrap();
    let [a, b, c] = ["A", "B", "C"].map(|name| Want::types(&[name]).unwrap());
    // The same last_id means the same place, whatever was looked for from there before.
    assert!(poll(&live, Some(added[0]), &c).is_empty());
    assert!(poll(&live, Some(added[0]), &c).is_empty());
    assert_eq!(poll(&live, Some(added[0]), &b), [added[1], added[3]]);
    assert_eq!(poll(&live, Some(added[0]), &a), [added[2]]);
    assert_eq!(poll(&live, Some(added[2]), &b), [added[3]]);
    assert_eq!(poll(&live, Some(added[2]), &Want::all()), [added[3]]);
});

on_each_server!(live_has_no_cursor_to_register, |db| {
    let stream = db.stream();
    let live = stream.consumer("app", "LIVE").unwrap();
    assert_eq!(failure(live.register()), ErrorKind::LiveNotAllowed);
    assert_eq!(failure(live.unregister()), ErrorKind::LiveNotAllowed);
    // The name is reserved exactly as it is written.
    let other = stream.consumer("app", "Live").unwrap();
    assert!(!other.is_live());
    other.register().unwrap();
    assert_eq!(db.raw().texts("SELECT ident FROM evt_consumers"), ["app:Live"]);
});

on_each_server!(lag_tells_how_far_each_consumer_is, |db| {
    let stream = db.stream();
    let empty = stream.lag().unwrap();
    assert_eq!((empty.highest_id, empty.first_unsettled, empty.blocked), (0, None, None));
    assert!(empty.consumers.is_empty() && empty.holders.is_empty());

    let added = add(&stream, &["A", "B", "A", "B"]);
    for (component, cursor) in [("Zero", 0), ("Half", added[1]), ("All", added[3])] {
        let consumer = stream.consumer("app", component).unwrap();
        consumer.register().unwrap();
        consumer.acknowledge(cursor).unwrap();
    }
    let ago = |seconds: i64| match db.kind {
        futoin_eventstream::DatabaseKind::Sqlite => {
            format!("datetime('now', '-{seconds} seconds')")
        }
        _ => format!("{} - INTERVAL '{seconds}' SECOND", db.now_sql()),
    };
    db.raw().exec(&format!("UPDATE evt_queue SET ts = {} WHERE id <= {}", ago(5000), added[2]));
    db.raw().exec(&format!(
        "UPDATE evt_consumers SET reg_time = {}, last_time = {}",
        ago(9000),
        ago(700)
    ));

    let lag = stream.lag().unwrap();
    assert_eq!((lag.highest_id, lag.first_unsettled), (added[3], None));
    let rows: Vec<_> =
        lag.consumers.iter().map(|c| (c.ident.as_str(), c.last_id, c.events_behind)).collect();
    let expected = [("app:All", added[3], 0), ("app:Half", added[1], 2), ("app:Zero", 0, 4)];
    assert_eq!(rows, expected);
    let near = |seconds: i64, expected: i64| (expected..expected + 60).contains(&seconds);
    for consumer in &lag.consumers {
        let behind = if consumer.ident == "app:All" { 0 } else { 5000 };
        assert!(near(consumer.seconds_behind, behind), "{consumer:?}");
        assert!(near(consumer.seconds_since_seen, 700), "{consumer:?}");
        assert!(near(consumer.seconds_registered, 9000), "{consumer:?}");
    }
    // Who polls is seen, also when there is nothing to move.
    stream.consumer("app", "All").unwrap().poll(None, &Want::all()).unwrap();
    let lag = stream.lag().unwrap();
    assert!(near(lag.consumers[0].seconds_since_seen, 0), "{lag:?}");
});

on_each_server!(the_highest_id_is_known_after_all_events_are_gone, |db| {
    let stream = db.stream();
    let added = add(&stream, &["A", "B", "A"]);
    db.raw().exec("DELETE FROM evt_queue");
    assert_eq!(stream.lag().unwrap().highest_id, added[2]);
    assert_eq!(EventStream::open(&db.url).unwrap().lag().unwrap().highest_id, added[2]);
});

fn refused<T: std::fmt::Debug>(result: Result<T>) {
    assert_eq!(failure(result), ErrorKind::Closed);
}

on_each_server!(a_closed_stream_refuses_every_call, |db| {
    let stream = db.stream();
    let clone = stream.clone();
    let consumer = stream.consumer("app", "Audit").unwrap();
    let live = stream.live("app").unwrap();
    consumer.register().unwrap();
    add(&stream, &["A"]);
    poll(&consumer, None, &Want::all());
    poll(&live, Some(0), &Want::all());
    stream.close();
    stream.close();
    for stream in [stream, clone] {
        refused(stream.migrate());
        refused(stream.add_event("A", &()));
        refused(stream.add_events(&[NewEvent::new("A", &()).unwrap()]));
        refused(stream.add_events(&[]));
        refused(stream.begin().map(drop));
        refused(stream.lag());
        refused(stream.consumer("app", "Audit").unwrap().register());
    }
    for consumer in [consumer, live] {
        refused(consumer.poll(None, &Want::all()));
        refused(consumer.poll(Some(0), &Want::types(&["A"]).unwrap()));
        refused(consumer.acknowledge(1));
        if !consumer.is_live() {
            refused(consumer.unregister());
        }
    }
    // A new one is not concerned.
    let stream = EventStream::open(&db.url).unwrap();
    add(&stream, &["A"]);
});

#[test]
fn a_stream_in_memory_is_shared_by_threads_and_by_nobody_else() {
    let stream = EventStream::open("sqlite::memory:").unwrap();
    stream.migrate().unwrap();
    let other = EventStream::open("sqlite::memory:").unwrap();
    other.migrate().unwrap();
    let consumer = stream.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();
    let got = std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for n in 0..50 {
                    stream.add_event("A", &n).unwrap();
                }
            });
        }
        let reading = scope.spawn(|| {
            let mut got = Vec::new();
            while got.len() < 300 {
                got.extend(poll(&consumer, got.last().copied(), &Want::all()));
            }
            got
        });
        reading.join().unwrap()
    });
    assert!(got.into_iter().eq(1..=300));
    assert!(crate::support::everything(&other).is_empty());
}

#[test]
fn a_file_may_have_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ä b?c#d%20&'e.db");
    let encoded = path.display().to_string().replace('%', "%25").replace('?', "%3F");
    let stream = EventStream::open(&format!("sqlite://{encoded}")).unwrap();
    stream.migrate().unwrap();
    stream.add_event("A", &1).unwrap();
    assert!(path.exists());
}

on_servers!(
    live_gets_the_event_of_a_transaction_that_was_open_when_it_began,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let stream = db.stream();
        add(&stream, &["OLD", "OLD"]);
        let live = stream.live("app").unwrap();
        for by_subscription in [false, true] {
            let mut open = db.raw();
            open.exec("BEGIN");
            open.exec(&db.insert_sql("HELD"));
            add(&stream, &["NEWER"]);
            let mut got: Vec<String> = Vec::new();
            let take = |got: &mut Vec<String>, events: &[Event]| {
                got.extend(events.iter().map(|event| event.event_type.to_string()));
            };
            let subscription = by_subscription.then(|| {
                stream
                    .subscribe("app", "LIVE", Want::all(), &futoin_eventstream::Options::new())
                    .unwrap()
            });
            if subscription.is_none() {
                assert!(poll(&live, None, &Want::all()).is_empty());
            }
            open.exec("COMMIT");
            let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while got.len() < 2 && std::time::Instant::now() < end {
                match &subscription {
                    None => take(&mut got, &live.poll(None, &Want::all()).unwrap()),
                    Some(subscription) => {
                        let wait = std::time::Duration::from_millis(100);
                        if let Some(delivery) = subscription.next(wait).unwrap() {
                            delivery
                                .events
                                .iter()
                                .for_each(|event| got.push(event.event_type.to_string()));
                            subscription.ack().unwrap();
                        }
                    }
                }
            }
            assert_eq!(got, ["HELD", "NEWER"], "by subscription: {by_subscription}");
        }
    }
);
