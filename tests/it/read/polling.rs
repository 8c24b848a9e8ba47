//! What a poll gives: the wanted events, so many at once, whoever wrote them and however.

use crate::support::{Db, failure};
use futoin_eventstream::{
    Consumer, DatabaseKind, ErrorKind, Event, EventStream, NewEvent, Timestamp, Want,
};
use std::collections::BTreeSet;

fn ids(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.id).collect()
}

fn registered(stream: &EventStream) -> Consumer {
    let consumer = stream.consumer("app", "Reader").unwrap();
    consumer.register().unwrap();
    consumer
}

/// Adds events of these types and returns their ids.
fn add(stream: &EventStream, types: &[&str]) -> Vec<u64> {
    let events: Vec<NewEvent> = types.iter().map(|t| NewEvent::new(t, &()).unwrap()).collect();
    stream.add_events(&events).unwrap()
}

/// Inserts an event as an application does that checks nothing.
fn insert(db: &Db, event_type: &str) {
    db.raw().exec(&db.insert_sql(event_type));
}

fn stored(db: &Db) -> u64 {
    db.raw().number("SELECT last_evt_id FROM evt_consumers").try_into().unwrap()
}

on_each_server!(a_consumer_gets_the_types_it_wants, |db| {
    let stream = db.stream();
    let consumer = registered(&stream);
    let added = add(&stream, &["A", "B", "C", "A", "A_", "_", "B"]);
    let wanted = |types: &[&str]| -> Vec<usize> {
        let events = consumer.poll(None, &Want::types(types).unwrap()).unwrap();
        ids(&events).iter().map(|id| added.iter().position(|a| a == id).unwrap()).collect()
    };
    assert_eq!(wanted(&["A"]), [0, 3]);
    assert_eq!(wanted(&["B", "A"]), [0, 1, 3, 6]);
    assert_eq!(wanted(&["A", "A", "_"]), [0, 3, 5]);
    let many: Vec<String> = (0..999).map(name_of).chain(["C".to_owned()]).collect();
    let events = consumer.poll(None, &Want::types(&many).unwrap()).unwrap();
    assert_eq!(ids(&events), [added[2]]);
    assert_eq!(ids(&consumer.poll(None, &Want::all()).unwrap()), added);
    assert!(wanted(&["NEVER"]).is_empty());
});

/// Distinct names of types.
fn name_of(n: usize) -> String {
    let letter = |n: usize| char::from(b'A' + (n % 26) as u8);
    ["TYPE", &String::from_iter([letter(n / 676), letter(n / 26), letter(n)])].concat()
}

on_each_server!(types_compare_byte_by_byte_whoever_wrote_them, |db| {
    let stream = db.stream();
    let consumer = registered(&stream);
    // More of the wrong ones than a poll may read at once, and the right one behind them.
    let rows = vec![format!("('usr_add', 'null', {})", db.now_sql()); 1500].join(", ");
    db.raw().exec(&format!("INSERT INTO evt_queue(type, data, ts) VALUES {rows}"));
    for odd in ["Usr_Add", "USR_ADD ", " USR_ADD", "", "1", "ÜSR_ADD"] {
        insert(db, odd);
    }
    let id = stream.add_event("USR_ADD", &()).unwrap();
    let events = consumer.poll(None, &Want::types(&["USR_ADD"]).unwrap()).unwrap();
    assert_eq!(ids(&events), [id]);
    let mut types = BTreeSet::new();
    loop {
        let events = consumer.poll(None, &Want::all()).unwrap();
        let Some(last) = events.last() else { break };
        types.extend(events.iter().map(|event| event.event_type.to_string()));
        consumer.acknowledge(last.id).unwrap();
    }
    let all = ["", " USR_ADD", "1", "USR_ADD", "USR_ADD ", "Usr_Add", "usr_add", "ÜSR_ADD"];
    assert_eq!(types, all.map(str::to_owned).into());
});

on_servers!(a_longer_type_is_delivered_where_the_table_holds_it, [sqlite], |db| {
    let stream = db.stream();
    let consumer = registered(&stream);
    insert(db, "a type of more than sixteen characters");
    let events = consumer.poll(None, &Want::all()).unwrap();
    assert_eq!(events[0].event_type, "a type of more than sixteen characters");
});

on_each_server!(a_poll_that_finds_nothing_wanted_moves_the_cursor_past_it, |db| {
    let stream = db.stream();
    let consumer = registered(&stream);
    let want = Want::types(&["WANTED"]).unwrap();
    let added = add(&stream, &["A"; 2500]);
    assert!(consumer.poll(None, &want).unwrap().is_empty());
    assert_eq!(stored(db), added[2499], "the next poll would read all of it again");
    // But never past what is wanted, or past what was not read.
    let more = add(&stream, &["A", "WANTED", "A"]);
    assert_eq!(ids(&consumer.poll(None, &want).unwrap()), more[1..2]);
    assert_eq!(stored(db), added[2499]);
    assert!(consumer.poll(Some(more[1]), &want).unwrap().is_empty());
    assert_eq!(stored(db), more[2]);
    // Without a filter the cursor is what was acknowledged, and nothing else.
    assert!(consumer.poll(None, &Want::all()).unwrap().is_empty());
    assert_eq!(stored(db), more[2]);
});

on_each_server!(a_poll_gives_no_more_events_than_asked_for, |db| {
    let stream = db.stream_with(&[("max_chunk_events", "7")]);
    let consumer = registered(&stream);
    let added = add(&stream, &["A", "B"].repeat(10));
    assert_eq!(ids(&consumer.poll(None, &Want::all()).unwrap()), added[..7]);
    for (limit, count) in [(1, 1), (5, 5), (7, 7), (8, 7), (usize::MAX, 7)] {
        let all = consumer.poll_at_most(None, &Want::all(), limit).unwrap();
        assert_eq!(ids(&all), added[..count]);
        let wanted = consumer.poll_at_most(None, &Want::types(&["B"]).unwrap(), limit).unwrap();
        assert_eq!(
            ids(&wanted),
            added.iter().skip(1).step_by(2).take(count).copied().collect::<Vec<_>>()
        );
    }
    let none = consumer.poll_at_most(None, &Want::all(), 0);
    assert_eq!(failure(none), ErrorKind::InvalidArgument);
    // The default is 1000, and the only larger one.
    let stream = db.stream();
    add(&stream, &["A"; 1200]);
    assert_eq!(consumer_of(&stream).poll(None, &Want::all()).unwrap().len(), 1000);
});

fn consumer_of(stream: &EventStream) -> Consumer {
    stream.consumer("app", "Reader").unwrap()
}

on_each_server!(a_poll_stops_at_the_limit_of_bytes_but_gives_at_least_one_event, |db| {
    let stream = db.stream_with(&[("max_chunk_bytes", "1000")]);
    let consumer = registered(&stream);
    for size in [300, 300, 300, 300, 5000, 100, 100] {
        stream.add_event("SIZED", &"x".repeat(size)).unwrap();
    }
    for want in [Want::all(), Want::types(&["SIZED"]).unwrap()] {
        let sizes = |from: u64| -> Vec<usize> {
            let events = stream.live("app").unwrap().poll(Some(from), &want).unwrap();
            events.iter().map(|event| event.data.as_str().len() - 2).collect()
        };
        // What goes over the limit is the last one.
        assert_eq!(sizes(0), [300, 300, 300, 300]);
        assert_eq!(sizes(3), [300, 5000]);
        assert_eq!(sizes(4), [5000]);
        assert_eq!(sizes(5), [100, 100]);
    }
    let (mut count, mut last) = (0, None);
    while let Some(event) = consumer.poll(last, &Want::all()).unwrap().last() {
        (count, last) = (count + 1, Some(event.id));
    }
    assert_eq!((count, last), (3, Some(7)));
});

on_each_server!(the_time_of_an_event_is_utc_now, |db| {
    let stream = db.stream();
    let consumer = registered(&stream);
    let now = || {
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        Timestamp::from_unix(since.as_secs().try_into().unwrap()).unwrap()
    };
    let before = now();
    stream.add_event("ALONE", &()).unwrap();
    add(&stream, &["TOGETHER", "TOGETHER"]);
    let mut tx = stream.begin().unwrap();
    tx.add_event("IN_TRANSACTION", &()).unwrap();
    tx.commit().unwrap();
    insert(db, "PLAIN_SQL");
    let after = now();
    let events = consumer.poll(None, &Want::all()).unwrap();
    assert_eq!(events.len(), 5);
    for event in events {
        assert!(before <= event.ts && event.ts <= after, "{before} {event:?} {after}");
        assert!(event.ts.to_string().ends_with('Z'));
    }
});

on_each_server!(odd_times_are_read_as_they_are, |db| {
    let stream = db.stream();
    let consumer = registered(&stream);
    let insert = |ts: &str| {
        db.raw().exec(&format!("INSERT INTO evt_queue(type, data, ts) VALUES ('A', '1', {ts})"));
    };
    let mut expected = vec!["1970-01-01T00:00:01Z", "9999-12-31T23:59:59Z", "2024-02-29T12:00:00Z"];
    insert("'1970-01-01 00:00:01'");
    insert("'9999-12-31 23:59:59'");
    insert("'2024-02-29 12:00:00.49'");
    if db.kind == DatabaseKind::Sqlite {
        insert("1500000000");
        insert("'2017-07-14T02:40:00Z'");
        expected.extend(["2017-07-14T02:40:00Z"; 2]);
    }
    let events = consumer.poll(None, &Want::all()).unwrap();
    let got: Vec<String> = events.iter().map(|event| event.ts.to_string()).collect();
    assert_eq!(got, expected);
});

on_each_server!(an_event_that_cannot_be_read_is_named_and_not_skipped, |db| {
    let stream = db.stream();
    let consumer = registered(&stream);
    let added = add(&stream, &["A", "B", "C"]);
    let bad = match db.kind {
        DatabaseKind::Sqlite => "'yesterday'",
        DatabaseKind::Postgres => "'infinity'",
        DatabaseKind::Mysql => "'0000-00-00 00:00:00'",
    };
    let mut raw = db.raw();
    if db.kind == DatabaseKind::Mysql {
        raw.exec("SET SESSION sql_mode = ''");
    }
    raw.exec(&format!("UPDATE evt_queue SET ts = {bad} WHERE id = {}", added[1]));
    // What comes before it is given first, and what comes after it once it was corrected or skipped.
    assert_eq!(ids(&consumer.poll(None, &Want::all()).unwrap()), added[..1]);
    for (last, want) in [(None, Want::types(&["B", "C"]).unwrap()), (Some(added[0]), Want::all())] {
        let error = consumer.poll(last, &want).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CorruptEvent);
        assert!(error.to_string().contains(&format!("event {}", added[1])), "{error}");
    }
    assert_eq!(ids(&consumer.poll(Some(added[1]), &Want::all()).unwrap()), added[2..]);
    raw.exec(&format!("UPDATE evt_queue SET ts = {} WHERE id = {}", db.now_sql(), added[1]));
    let live = stream.live("app").unwrap();
    assert_eq!(ids(&live.poll(Some(0), &Want::all()).unwrap()), added);
});

on_servers!(data_that_is_no_text_is_named, [sqlite], |db| {
    let stream = db.stream();
    let consumer = registered(&stream);
    let insert = |data: &str| {
        let values = format!("('A', {data}, datetime('now'))");
        db.raw().exec(&format!("INSERT INTO evt_queue(type, data, ts) VALUES {values}"));
    };
    // Bytes that are text, and text that is no JSON, are given as they are.
    insert("CAST('[1]' AS BLOB)");
    insert("'no json'");
    let events = consumer.poll(None, &Want::all()).unwrap();
    assert_eq!((events[0].data.as_str(), events[1].data.as_str()), ("[1]", "no json"));
    assert_eq!(failure(events[1].data.parse::<serde_json::Value>()), ErrorKind::InvalidData);
    consumer.acknowledge(events[1].id).unwrap();
    insert("x'FF'");
    let error = consumer.poll(None, &Want::all()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CorruptEvent);
    assert!(error.to_string().contains("event 3 cannot be read: its data"), "{error}");
});

on_each_server!(many_consumers_read_at_once_by_one_handle, |db| {
    let stream = db.stream();
    let other = EventStream::open(&db.url).unwrap();
    let added = add(&stream, &["A", "B", "C"].repeat(100));
    let read = |handle: &EventStream, n: usize| {
        let consumer = handle.consumer("app", &format!("Reader{n}")).unwrap();
        consumer.register().unwrap();
        let (mut got, mut last) = (Vec::new(), None);
        loop {
            let events = consumer.poll_at_most(last, &Want::all(), 40).unwrap();
            if events.is_empty() {
                return got;
            }
            got.extend(ids(&events));
            last = got.last().copied();
        }
    };
    std::thread::scope(|scope| {
        let (stream, other, read) = (&stream, &other, &read);
        let threads: Vec<_> = (0..12)
            .map(|n| scope.spawn(move || read(if n % 2 == 0 { stream } else { other }, n)))
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), added);
        }
    });
});

on_each_server!(threads_that_share_a_consumer_lose_nothing, |db| {
    let stream = db.stream();
    let consumer = registered(&stream);
    let added = add(&stream, &["A"; 200]);
    let got = std::sync::Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                loop {
                    let events = consumer.poll_at_most(None, &Want::all(), 10).unwrap();
                    let Some(last) = events.last() else { return };
                    got.lock().unwrap().extend(ids(&events));
                    consumer.acknowledge(last.id).unwrap();
                }
            });
        }
    });
    assert!(got.into_inner().unwrap().into_iter().eq(added.iter().copied()));
    assert_eq!(stored(db), added[199]);
});

on_each_server!(a_poll_of_a_backlog_has_stored_the_cursor_when_it_returns, |db| {
    for connections in ["1", "10"] {
        let stream =
            db.stream_with(&[("max_chunk_events", "10"), ("max_connections", connections)]);
        let consumer = registered(&stream);
        let added = add(&stream, &["A"; 55]);
        let (mut last, mut got) = (None, Vec::new());
        loop {
            let events = consumer.poll(last, &Want::all()).unwrap();
            if let Some(last) = last {
                assert_eq!(stored(db), last);
            }
            let Some(event) = events.last() else { break };
            last = Some(event.id);
            got.extend(ids(&events));
        }
        assert_eq!(got, added);
        assert!(consumer.unregister().unwrap());
        db.raw().exec("DELETE FROM evt_queue");
    }
});

on_each_server!(a_backlog_is_left_where_the_cursor_was_moved_or_taken_away, |db| {
    let stream = db.stream_with(&[("max_chunk_events", "10")]);
    let consumer = registered(&stream);
    let added = add(&stream, &["A"; 60]);
    assert_eq!(ids(&consumer.poll(None, &Want::all()).unwrap()), added[..10]);
    // Somebody else has read on.
    stream.consumer("app", "Reader").unwrap().acknowledge(added[29]).unwrap();
    assert_eq!(ids(&consumer.poll(Some(added[9]), &Want::all()).unwrap()), added[30..40]);
    assert_eq!(failure(consumer.poll(Some(added[59] + 1), &Want::all())), ErrorKind::InvalidLastId);
    assert!(consumer.unregister().unwrap());
    assert_eq!(failure(consumer.poll(Some(added[39]), &Want::all())), ErrorKind::NotRegistered);
});
