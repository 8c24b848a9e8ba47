//! Reliable consumers: registration, and the cursor that only moves forward.

use crate::support::{Db, failure};
use futoin_eventstream::{
    Consumer, DatabaseKind, ErrorKind, Event, EventStream, MAX_EVENT_ID, NewEvent, Want,
};

fn poll(consumer: &Consumer, last_id: Option<u64>) -> Vec<u64> {
    ids(&consumer.poll(last_id, &Want::all()).unwrap())
}

fn ids(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.id).collect()
}

/// A stream with this many events, and their ids.
fn with_events(db: &Db, count: usize) -> (EventStream, Vec<u64>) {
    let stream = db.stream();
    let events = vec![NewEvent::new("USR_ADD", &()).unwrap(); count];
    let ids = stream.add_events(&events).unwrap();
    (stream, ids)
}

fn registered(stream: &EventStream, component: &str) -> Consumer {
    let consumer = stream.consumer("app", component).unwrap();
    consumer.register().unwrap();
    consumer
}

/// The cursor in the table.
fn stored(db: &Db) -> u64 {
    db.raw().number("SELECT last_evt_id FROM evt_consumers").try_into().unwrap()
}

on_each_server!(registering_again_changes_nothing_and_uses_up_no_id, |db| {
    let (stream, ids) = with_events(db, 3);
    let consumer = registered(&stream, "First");
    consumer.acknowledge(ids[1]).unwrap();
    for _ in 0..200 {
        consumer.register().unwrap();
    }
    assert_eq!(stored(db), ids[1]);
    assert_eq!(poll(&consumer, None), ids[2..]);
    // Ids of consumers are 15 bits wide: an attempt must not cost one.
    registered(&stream, "Second");
    let id = db.raw().number("SELECT id FROM evt_consumers WHERE ident = 'app:Second'");
    assert!(id <= 3, "the second consumer has id {id}");
});

on_each_server!(one_registration_of_many_at_once_is_made, |db| {
    let stream = db.stream();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| registered(&stream, "Same"));
        }
    });
    assert_eq!(db.raw().texts("SELECT ident FROM evt_consumers"), ["app:Same"]);
});

on_each_server!(a_consumer_gets_what_is_there_when_it_registers, |db| {
    let (stream, ids) = with_events(db, 3);
    let consumer = registered(&stream, "Late");
    assert_eq!(stored(db), 0);
    assert_eq!(poll(&consumer, None), ids);
});

on_each_server!(who_is_not_registered_is_told_so, |db| {
    let (stream, ids) = with_events(db, 1);
    let consumer = stream.consumer("app", "Nobody").unwrap();
    let not_registered = |consumer: &Consumer| {
        for kind in [
            failure(consumer.poll(None, &Want::all())),
            failure(consumer.poll(Some(ids[0]), &Want::types(&["USR_ADD"]).unwrap())),
            failure(consumer.acknowledge(ids[0])),
        ] {
            assert_eq!(kind, ErrorKind::NotRegistered);
        }
        assert!(!consumer.unregister().unwrap());
    };
    not_registered(&consumer);
    consumer.register().unwrap();
    assert_eq!(poll(&consumer, None), ids);
    assert!(consumer.unregister().unwrap());
    not_registered(&consumer);
    assert_eq!(db.raw().texts("SELECT ident FROM evt_consumers"), Vec::<String>::new());
});

on_each_server!(events_come_again_until_they_are_acknowledged, |db| {
    let (stream, ids) = with_events(db, 5);
    let consumer = registered(&stream, "Audit");
    assert_eq!(poll(&consumer, None), ids);
    assert_eq!(poll(&consumer, None), ids);
    assert_eq!(stored(db), 0);
    // The next poll acknowledges, and so does acknowledge().
    assert_eq!(poll(&consumer, Some(ids[1])), ids[2..]);
    assert_eq!(stored(db), ids[1]);
    consumer.acknowledge(ids[3]).unwrap();
    assert_eq!(stored(db), ids[3]);
    assert_eq!(poll(&consumer, None), ids[4..]);
    assert!(poll(&consumer, Some(ids[4])).is_empty());
    assert!(poll(&consumer, None).is_empty());
});

on_each_server!(the_cursor_never_moves_back, |db| {
    let (stream, ids) = with_events(db, 6);
    let consumer = registered(&stream, "Audit");
    consumer.acknowledge(ids[3]).unwrap();
    consumer.acknowledge(ids[1]).unwrap();
    consumer.acknowledge(0).unwrap();
    assert_eq!(stored(db), ids[3]);
    for lower in [None, Some(0), Some(ids[0]), Some(ids[3])] {
        assert_eq!(poll(&consumer, lower), ids[4..], "after {lower:?}");
    }
    assert_eq!(stored(db), ids[3]);
    // Another handle goes on at the same place.
    let other = EventStream::open(&db.url).unwrap();
    assert_eq!(poll(&other.consumer("app", "Audit").unwrap(), Some(ids[0])), ids[4..]);
});

on_each_server!(skipping_ahead_is_allowed_up_to_the_highest_id_allocated, |db| {
    let (stream, ids) = with_events(db, 4);
    let consumer = registered(&stream, "Audit");
    let last = ids[3];
    for high in [last + 1, last + 1000, MAX_EVENT_ID, MAX_EVENT_ID + 1, 1 << 63, u64::MAX] {
        assert_eq!(failure(consumer.acknowledge(high)), ErrorKind::InvalidLastId);
        assert_eq!(failure(consumer.poll(Some(high), &Want::all())), ErrorKind::InvalidLastId);
        let want = Want::types(&["USR_ADD"]).unwrap();
        let error = consumer.poll(Some(high), &want).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidLastId);
        assert!(error.to_string().contains(&high.to_string()), "{error}");
        assert_eq!(stored(db), 0, "something was written");
    }
    consumer.acknowledge(ids[1]).unwrap();
    assert_eq!(poll(&consumer, None), ids[2..]);
    assert!(poll(&consumer, Some(last)).is_empty());
});

on_each_server!(acknowledging_ahead_works_after_all_events_were_discarded, |db| {
    let (stream, ids) = with_events(db, 4);
    let consumer = registered(&stream, "Audit");
    db.raw().exec("DELETE FROM evt_queue");
    let fresh = EventStream::open(&db.url).unwrap();
    fresh.consumer("app", "Audit").unwrap().acknowledge(ids[3]).unwrap();
    assert!(poll(&consumer, None).is_empty());
    assert_eq!(failure(consumer.acknowledge(ids[3] + 1)), ErrorKind::InvalidLastId);
});

on_each_server!(a_cursor_that_was_never_allocated_is_an_error_never_silence, |db| {
    // As after the database was restored from a backup that is older than the consumers'.
    let (stream, ids) = with_events(db, 3);
    registered(&stream, "Audit");
    for want in [Want::all(), Want::types(&["USR_ADD"]).unwrap()] {
        db.raw().exec(&format!("UPDATE evt_consumers SET last_evt_id = {}", ids[2] + 10));
        // Nothing may be learnt from the wrong cursor.
        let stream = EventStream::open(&db.url).unwrap();
        stream.lag().unwrap();
        let consumer = stream.consumer("app", "Audit").unwrap();
        let error = consumer.poll(None, &want).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StreamRewound, "{want:?}");
        assert!(error.to_string().contains("restored"), "{error}");
        assert_eq!(stored(db), 0);
        // Told once; then all that is there comes.
        assert!(!consumer.poll(None, &want).unwrap().is_empty());
    }
});

on_each_server!(consumers_are_apart_also_when_they_differ_in_case_only, |db| {
    let (stream, ids) = with_events(db, 3);
    let names = [("app", "Audit"), ("app", "audit"), ("App", "Audit"), ("app2", "Audit")];
    let consumers = names.map(|(user, component)| stream.consumer(user, component).unwrap());
    for (index, consumer) in consumers.iter().enumerate() {
        assert_eq!(failure(consumer.poll(None, &Want::all())), ErrorKind::NotRegistered);
        consumer.register().unwrap();
        consumer.acknowledge(ids[index.min(2)]).unwrap();
    }
    for (index, consumer) in consumers.iter().enumerate() {
        assert_eq!(poll(consumer, None), ids[index.min(2) + 1..]);
    }
    assert!(consumers[1].unregister().unwrap());
    assert_eq!(failure(consumers[1].acknowledge(1)), ErrorKind::NotRegistered);
    assert_eq!(poll(&consumers[0], None), ids[1..]);
    assert_eq!(db.raw().number("SELECT count(*) FROM evt_consumers"), 3);
});

on_servers!(a_table_that_ignores_case_never_mixes_consumers_up, [mariadb, mysql], |db| {
    let (stream, ids) = with_events(db, 3);
    // As the npm package makes it.
    db.raw().exec(
        "ALTER TABLE evt_consumers CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
    );
    let upper = registered(&stream, "AUDIT");
    let lower = stream.consumer("app", "audit").unwrap();
    let error = lower.register().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidComponent);
    assert!(error.to_string().contains("migrate"), "{error}");
    assert_eq!(failure(lower.poll(None, &Want::all())), ErrorKind::NotRegistered);
    assert_eq!(failure(lower.acknowledge(ids[2])), ErrorKind::NotRegistered);
    assert!(!lower.unregister().unwrap());
    assert_eq!(poll(&upper, None), ids);
});

on_each_server!(the_longest_ident_works_and_a_longer_one_is_refused, |db| {
    let (stream, ids) = with_events(db, 2);
    let user = "u".repeat(47);
    let consumer = stream.consumer(&user, "Sixteen_letters_").unwrap();
    assert_eq!(consumer.ident().as_str().len(), 64);
    consumer.register().unwrap();
    assert_eq!(poll(&consumer, Some(ids[0])), ids[1..]);
    let error = stream.consumer(&format!("{user}u"), "Sixteen_letters_").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::IdentTooLong);
    for component in ["", "Seventeen_letters", "a-b", "a:b", "é", "a b", "a\0"] {
        let error = stream.consumer("app", component).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidComponent, "{component:?}");
    }
    for user in ["", "a:b", "a b", "é", "a\n", "a\0"] {
        let error = stream.consumer(user, "Audit").err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidUser, "{user:?}");
    }
    // Whatever else a user may be does no harm in SQL.
    let odd = stream.consumer("';--\"`%_\\$1?", "Audit").unwrap();
    odd.register().unwrap();
    assert_eq!(poll(&odd, None), ids);
    assert!(odd.unregister().unwrap());
});

on_each_server!(what_the_options_forbid_is_a_security_error, |db| {
    let (stream, ids) = with_events(db, 1);
    registered(&stream, "Audit");
    let no_reliable = db.stream_with(&[("allow_reliable", "false")]);
    let consumer = no_reliable.consumer("app", "Audit").unwrap();
    assert_eq!(failure(consumer.register()), ErrorKind::SecurityError);
    assert_eq!(failure(consumer.unregister()), ErrorKind::SecurityError);
    assert_eq!(failure(consumer.acknowledge(ids[0])), ErrorKind::SecurityError);
    assert_eq!(failure(consumer.poll(None, &Want::all())), ErrorKind::SecurityError);
    let live = no_reliable.live("app").unwrap();
    assert_eq!(poll(&live, Some(0)), ids);

    let no_polling = db.stream_with(&[("allow_polling", "false")]);
    let consumer = no_polling.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();
    assert_eq!(failure(consumer.poll(None, &Want::all())), ErrorKind::SecurityError);
    let live = no_polling.live("app").unwrap();
    assert_eq!(failure(live.poll(Some(0), &Want::all())), ErrorKind::SecurityError);
    assert_eq!(stored(db), 0);
});

on_each_server!(triggers_of_the_tables_hide_no_id_and_no_cursor, |db| {
    let stream = db.stream();
    let consumer = stream.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();
    let mut raw = db.raw();
    let key = match db.kind {
        DatabaseKind::Sqlite => "INTEGER PRIMARY KEY AUTOINCREMENT",
        DatabaseKind::Postgres => "bigserial PRIMARY KEY",
        DatabaseKind::Mysql => "bigint AUTO_INCREMENT PRIMARY KEY",
    };
    raw.exec(&format!("CREATE TABLE audit (n {key}, what bigint)"));
    raw.exec("INSERT INTO audit(what) VALUES (1), (2), (3)");
    for (n, event, column) in
        [(1, "INSERT ON evt_queue", "id"), (2, "UPDATE ON evt_consumers", "last_evt_id")]
    {
        let note = format!("INSERT INTO audit(what) VALUES (NEW.{column})");
        let on = format!("CREATE TRIGGER note{n} AFTER {event} FOR EACH ROW");
        match db.kind {
            DatabaseKind::Sqlite => raw.exec(&format!("{on} BEGIN {note}; END")),
            DatabaseKind::Mysql => raw.exec(&format!("{on} {note}")),
            DatabaseKind::Postgres => {
                raw.exec(&format!(
                    "CREATE FUNCTION note{n}() RETURNS trigger LANGUAGE plpgsql AS \
                     $$ BEGIN {note}; RETURN NULL; END $$"
                ));
                raw.exec(&format!("{on} EXECUTE FUNCTION note{n}()"));
            }
        }
    }
    let mut last = None;
    for n in 0..10 {
        let mut added = vec![stream.add_event("A", &n).unwrap()];
        added.extend(stream.add_events(&vec![NewEvent::new("B", &n).unwrap(); 2]).unwrap());
        assert_eq!(poll(&consumer, last), added);
        last = added.pop();
    }
    assert!(poll(&consumer, last).is_empty());
    assert!(raw.number("SELECT count(*) FROM audit") >= 40);
});
