//! Subscriptions that catch up side by side on one handle share what one of them reads, and none gets what was
//! read before it began, before a connection broke, or before the stream was rewound.

use super::*;
use crate::support::failure;
use futoin_eventstream::Discarder;

/// What was read longer ago is read again.
const AGE: Duration = Duration::from_secs(1);

/// Events that the hub does not offer to those who begin, because they are too far behind: each of them reads
/// from the database, ten at a time.
const EVENTS: u64 = 300;
const BEHIND: [(&str, &str); 2] = [("max_chunk_events", "10"), ("queue_max", "20")];

fn behind(db: &Db) -> (EventStream, Subscription, Subscription) {
    let stream = db.stream_with(&BEHIND);
    add(&stream, EVENTS);
    let (first, second) = (subscribe(&stream, "First", &[]), subscribe(&stream, "Second", &[]));
    (stream, first, second)
}

/// Takes the next delivery, acknowledges it, and gives its ids and the numbers in its data.
fn take(subscription: &Subscription) -> (Vec<u64>, Vec<u64>) {
    let start = Instant::now();
    let delivery = loop {
        match subscription.next(LONG) {
            Ok(delivery) => break delivery.expect("a delivery"),
            // A connection was broken by the test.
            Err(error) => assert!(error.is_retriable() && start.elapsed() < LONG, "{error:?}"),
        }
    };
    subscription.ack().unwrap();
    let numbers = delivery.events.iter().map(|event| event.data.parse().unwrap()).collect();
    (ids(&delivery), numbers)
}

/// Rows do not change; here one does, so that it shows when it was read.
fn change(db: &Db, id: u64) {
    db.raw().exec(&format!("UPDATE evt_queue SET data = '777' WHERE id = {id}"));
}

on_each_server!(what_another_subscriber_has_just_read_is_not_read_again, |db| {
    let (_stream, first, second) = behind(db);
    for chunk in 0..EVENTS / 10 {
        let start = Instant::now();
        let (of_first, numbers) = take(&first);
        assert_eq!(numbers, (chunk * 10..chunk * 10 + 10).collect::<Vec<_>>());
        change(db, of_first[0]);
        let (of_second, given) = take(&second);
        let in_time = start.elapsed() < AGE;
        assert_eq!((&of_second, &given[1..]), (&of_first, &numbers[1..]));
        if in_time {
            assert_eq!(given[0], numbers[0], "it was read again");
            return;
        }
    }
    panic!("this machine is too slow for this test");
});

on_each_server!(a_subscriber_that_came_later_reads_the_table, |db| {
    let (stream, first, second) = behind(db);
    let (of_first, numbers) = take(&first);
    change(db, of_first[0]);
    let third = subscribe(&stream, "Third", &[]);
    let (of_third, given) = take(&third);
    assert_eq!((of_third, given[0], &given[1..]), (of_first, 777, &numbers[1..]));
    assert_eq!(take(&second).1[1..], numbers[1..]);
});

on_each_server!(a_newcomer_gets_nothing_that_was_discarded_before_it_subscribed, |db| {
    let (stream, first, second) = behind(db);
    let mut last = 0;
    for _ in 0..2 {
        let chunk = take(&first).0;
        assert_eq!(take(&second).0, chunk);
        last = *chunk.last().unwrap();
    }
    for ident in ["app:First", "app:Second"] {
        until("the cursor is stored", || cursor(db, ident) == last as i64);
    }
    assert_eq!(Discarder::new(&stream, &Options::new()).unwrap().run_once().unwrap(), 20);
    let third = subscribe(&stream, "Third", &[]);
    assert_eq!(take(&third).1, (20..30).collect::<Vec<_>>());
});

on_servers!(
    what_was_read_before_connections_broke_is_read_again,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let (stream, first, second) = behind(db);
        let (of_first, numbers) = take(&first);
        db.kill_sessions();
        change(db, of_first[0]);
        // The break shows to who uses a connection.
        until("it has shown", || stream.consumer("app", "Other").unwrap().register().is_ok());
        let (of_second, given) = take(&second);
        assert_eq!((of_second, given[0], &given[1..]), (of_first, 777, &numbers[1..]));
    }
);

on_each_server!(what_was_read_before_the_stream_was_rewound_is_given_to_nobody_after_it, |db| {
    let (stream, first, second) = behind(db);
    assert_eq!(first.next(LONG).unwrap().unwrap().events.len(), 10);
    db.truncate();
    // Fewer than before, so that it shows, and more than the hub offers to those who begin.
    let events: Vec<_> = (1000..1100).map(|n| NewEvent::new("A", &n).unwrap()).collect();
    stream.add_events(&events).unwrap();
    assert_eq!(failure(first.next(LONG)), ErrorKind::StreamRewound);
    // The delivery from before is acknowledged, which does nothing.
    first.ack().unwrap();
    for subscription in [&second, &first] {
        let mut got = Vec::new();
        while got.len() < 100 {
            got.extend(take(subscription).1);
        }
        assert_eq!(got, (1000..1100).collect::<Vec<_>>());
    }
});
