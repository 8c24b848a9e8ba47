//! A consumer with a backlog that works on its events: the next ones are read meanwhile.

use crate::support::Db;
use futoin_eventstream::{Consumer, Event, EventStream, NewEvent, Want};
use std::thread::sleep;
use std::time::Duration;

const WORK: Duration = Duration::from_millis(60);

/// A stream of 60 events in chunks of 10, and a consumer that was given 1 to 20, with so much work
/// between its polls that the events up to 30 are read by now.
fn working(db: &Db) -> (EventStream, Consumer, u64) {
    let stream = db.stream_with(&[("max_chunk_events", "10")]);
    let consumer = stream.consumer("app", "Reader").unwrap();
    consumer.register().unwrap();
    let events: Vec<NewEvent> = (0..60)
        .map(|n| NewEvent::new(if n % 2 == 0 { "EVEN" } else { "ODD" }, &n).unwrap())
        .collect();
    stream.add_events(&events).unwrap();
    let mut last = None;
    for _ in 0..2 {
        let events = consumer.poll(last, &Want::all()).unwrap();
        assert_eq!(events.len(), 10);
        last = events.last().map(|event| event.id);
        sleep(WORK);
    }
    (stream, consumer, last.unwrap())
}

/// The numbers in the data.
fn numbers(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.data.parse().unwrap()).collect()
}

/// Rows do not change; here one does, so that it shows when it was read.
fn change(db: &Db, last: u64) {
    db.raw().exec(&format!("UPDATE evt_queue SET data = '777' WHERE id = {}", last + 1));
}

on_each_server!(the_next_events_are_read_while_the_consumer_works, |db| {
    let (_stream, consumer, mut last) = working(db);
    // On a machine under load the work may take too long now and then.
    for chunk in 2..6 {
        change(db, last);
        let events = consumer.poll(Some(last), &Want::all()).unwrap();
        assert_eq!(db.raw().number("SELECT last_evt_id FROM evt_consumers"), last as i64);
        if numbers(&events) == (chunk * 10..chunk * 10 + 10).collect::<Vec<_>>() {
            return;
        }
        last = events.last().unwrap().id;
        sleep(WORK);
    }
    panic!("nothing was read ahead");
});

on_each_server!(what_was_read_ahead_is_too_old_after_half_a_second, |db| {
    let (_stream, consumer, last) = working(db);
    change(db, last);
    sleep(Duration::from_millis(550));
    assert_eq!(numbers(&consumer.poll(Some(last), &Want::all()).unwrap())[0], 777);
});

on_each_server!(another_question_than_the_one_that_was_read_ahead_is_answered_anew, |db| {
    let (_stream, consumer, last) = working(db);
    change(db, last);
    let even = Want::types(&["EVEN"]).unwrap();
    let events = consumer.poll(Some(last), &even).unwrap();
    assert_eq!(numbers(&events)[..3], [777, 22, 24]);
});

on_each_server!(other_positions_and_limits_than_those_read_ahead_are_read_anew, |db| {
    let (_stream, consumer, last) = working(db);
    assert_eq!(numbers(&consumer.poll_at_most(Some(last), &Want::all(), 3).unwrap()), [20, 21, 22]);
    assert_eq!(numbers(&consumer.poll(Some(last - 5), &Want::all()).unwrap())[0], 20);
    assert_eq!(numbers(&consumer.poll(Some(last + 5), &Want::all()).unwrap())[0], 25);
    assert_eq!(numbers(&consumer.poll(None, &Want::all()).unwrap())[0], 25);
});

on_each_server!(what_was_read_ahead_is_not_given_behind_a_later_cursor, |db| {
    let (_stream, consumer, last) = working(db);
    let other = db.stream().consumer("app", "Reader").unwrap();
    other.acknowledge(last + 25).unwrap();
    assert_eq!(numbers(&consumer.poll(Some(last), &Want::all()).unwrap())[0], 45);
});

on_each_server!(a_consumer_that_was_unregistered_is_not_given_what_was_read_ahead, |db| {
    let (stream, consumer, last) = working(db);
    stream.consumer("app", "Reader").unwrap().unregister().unwrap();
    let kind = crate::support::failure(consumer.poll(Some(last), &Want::all()));
    assert_eq!(kind, futoin_eventstream::ErrorKind::NotRegistered);
});

on_servers!(
    what_was_read_before_connections_broke_is_read_again,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let (_stream, consumer, last) = working(db);
        db.kill_sessions();
        change(db, last);
        assert_eq!(numbers(&consumer.poll(Some(last), &Want::all()).unwrap())[0], 777);
    }
);

on_each_server!(a_stream_and_a_consumer_can_be_closed_while_events_are_read_ahead, |db| {
    let (stream, consumer, last) = working(db);
    assert_eq!(consumer.poll(Some(last), &Want::all()).unwrap().len(), 10);
    stream.close();
    let kind = crate::support::failure(consumer.poll(Some(last + 10), &Want::all()));
    assert_eq!(kind, futoin_eventstream::ErrorKind::Closed);
    drop(consumer);
});
