//! Consumers that poll side by side on one handle read each event from the database once.

use crate::support::{Db, failure};
use futoin_eventstream::{
    Consumer, Discarder, ErrorKind, Event, EventStream, NewEvent, Options, Want,
};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What was read longer ago is read again; the tests allow themselves less, as machines are slow.
const AGE: Duration = Duration::from_millis(250);

fn consumers(db: &Db, options: &[(&str, &str)]) -> (EventStream, Consumer, Consumer) {
    let stream = db.stream_with(options);
    let consumer = |component| {
        let consumer = stream.consumer("app", component).unwrap();
        consumer.register().unwrap();
        consumer
    };
    let (first, second) = (consumer("First"), consumer("Second"));
    (stream, first, second)
}

fn poll(consumer: &Consumer, last: Option<u64>) -> Vec<Event> {
    consumer.poll(last, &Want::all()).unwrap()
}

/// The numbers in the data.
fn numbers(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.data.parse().unwrap()).collect()
}

/// Adds events, lets the first consumer read them, and changes one in the table, which shows who
/// reads it there. Gives when that began, and the id of the last event.
fn read_by_the_first(
    db: &Db,
    stream: &EventStream,
    first: &Consumer,
    second: &Consumer,
    data: [u64; 2],
) -> (Instant, u64) {
    let start = Instant::now();
    poll(second, None);
    let changed = stream.add_event("TEST", &data[0]).unwrap();
    let last = stream.add_event("TEST", &data[1]).unwrap();
    assert!(numbers(&poll(first, None)).ends_with(&data));
    db.raw().exec(&format!("UPDATE evt_queue SET data = '777' WHERE id = {changed}"));
    (start, last)
}

on_each_server!(what_another_consumer_has_just_read_is_not_read_again, |db| {
    let (stream, first, second) = consumers(db, &[]);
    let mut last = None;
    for n in 0..20 {
        let data = [2 * n, 2 * n + 1];
        let (start, highest) = read_by_the_first(db, &stream, &first, &second, data);
        // What came since is there, too.
        stream.add_event("TEST", &1000).unwrap();
        let came = numbers(&poll(&second, last));
        let in_time = start.elapsed() < AGE;
        assert_eq!(came[came.len() - 3..][1..], [data[1], 1000]);
        if in_time {
            assert_eq!(came[came.len() - 3], data[0], "it was read again");
            return;
        }
        last = Some(highest + 1);
        poll(&first, last);
        poll(&second, last);
    }
    panic!("this machine is too slow for this test");
});

on_each_server!(after_a_quarter_of_a_second_the_table_is_read_again, |db| {
    let (stream, first, second) = consumers(db, &[]);
    read_by_the_first(db, &stream, &first, &second, [1, 2]);
    sleep(AGE);
    assert_eq!(numbers(&poll(&second, None)), [777, 2]);
});

on_each_server!(a_newcomer_gets_nothing_that_was_discarded_before_it_registered, |db| {
    let (stream, first, second) = consumers(db, &[]);
    poll(&first, None);
    for n in 1..=3 {
        stream.add_event("TEST", &n).unwrap();
    }
    poll(&second, None);
    let last = poll(&first, None).last().map(|event| event.id);
    poll(&first, last);
    poll(&second, last);
    assert_eq!(Discarder::new(&stream, &Options::new()).unwrap().run_once().unwrap(), 2);
    // The last event always stays.
    let third = stream.consumer("app", "Third").unwrap();
    third.register().unwrap();
    assert_eq!(numbers(&poll(&third, None)), [3]);
    let live = stream.live("reader").unwrap();
    assert_eq!(numbers(&live.poll(Some(0), &Want::all()).unwrap()), [3]);
});

on_servers!(
    what_was_read_before_connections_broke_is_read_again,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let (stream, first, second) = consumers(db, &[]);
        read_by_the_first(db, &stream, &first, &second, [1, 2]);
        db.kill_sessions();
        assert_eq!(numbers(&poll(&second, None)), [777, 2]);
    }
);

on_each_server!(what_was_read_before_the_stream_was_rewound_is_given_to_nobody_after_it, |db| {
    let (stream, first, second) = consumers(db, &[]);
    poll(&second, None);
    for n in 0..10 {
        stream.add_event("TEST", &n).unwrap();
    }
    let last = poll(&first, None).last().map(|event| event.id);
    let events: Vec<_> = (100..120).map(|n| NewEvent::new("TEST", &n).unwrap()).collect();
    // In one go, so that what was read is not too old anyhow.
    db.truncate();
    stream.add_events(&events).unwrap();
    // Another event stands at its position.
    assert_eq!(failure(first.poll(last, &Want::all())), ErrorKind::StreamRewound);
    let new: Vec<u64> = (100..120).collect();
    assert_eq!(numbers(&poll(&second, None)), new);
    assert_eq!(numbers(&poll(&first, None)), new);
});

on_each_server!(who_comes_alone_reads_the_table, |db| {
    let (stream, first, second) = consumers(db, &[]);
    stream.add_event("TEST", &1).unwrap();
    poll(&first, None);
    db.raw().exec("UPDATE evt_queue SET data = '777'");
    assert_eq!(numbers(&poll(&first, None)), [777]);
    assert_eq!(numbers(&poll(&second, None)), [777]);
});

on_each_server!(chunks_keep_their_limits, |db| {
    let (stream, first, second) = consumers(db, &[("max_chunk_events", "4")]);
    poll(&second, None);
    for n in 0..10 {
        stream.add_event("TEST", &n).unwrap();
    }
    let mut last = None;
    for expected in [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9], vec![]] {
        let (of_first, of_second) = (poll(&first, last), poll(&second, last));
        assert_eq!(numbers(&of_first), expected);
        assert_eq!(numbers(&of_second), expected);
        last = of_first.last().map(|event| event.id).or(last);
    }
    let third = stream.consumer("app", "Third").unwrap();
    third.register().unwrap();
    assert_eq!(numbers(&third.poll_at_most(None, &Want::all(), 3).unwrap()), [0, 1, 2]);
});

on_each_server!(events_of_an_open_transaction_come_to_all_and_in_order, |db| {
    let (stream, first, second) = consumers(db, &[]);
    // There is one writer at a time on SQLite.
    let beside = db.server != "sqlite";
    poll(&second, None);
    let mut open = stream.begin().unwrap();
    open.add_event("LATE", &1).unwrap();
    if beside {
        stream.add_event("TEST", &2).unwrap();
    }
    assert!(poll(&first, None).is_empty());
    assert!(poll(&second, None).is_empty());
    open.commit().unwrap();
    if !beside {
        stream.add_event("TEST", &2).unwrap();
    }
    assert_eq!(numbers(&poll(&first, None)), [1, 2]);
    assert_eq!(numbers(&poll(&second, None)), [1, 2]);
});
