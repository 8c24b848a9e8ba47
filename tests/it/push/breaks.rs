//! What ends or breaks a subscription, and what wakes it.

use super::*;

on_each_server!(an_unregistered_or_closed_subscription_says_so, |db| {
    let stream = db.stream();
    let refused = stream.subscribe("app", "Nobody", Want::all(), &Options::new());
    assert_eq!(refused.err().unwrap().kind(), ErrorKind::NotRegistered);
    let subscription = subscribe(&stream, "Gone", &[("ack_interval_ms", "1")]);
    stream.consumer("app", "Gone").unwrap().unregister().unwrap();
    stream.add_event("A", &()).unwrap();
    collect(&subscription, 1);
    assert_eq!(subscription.next(LONG).unwrap_err().kind(), ErrorKind::NotRegistered);
    let waiting = subscribe(&stream, "Waits", &[]);
    collect(&waiting, 1);
    let ready = Barrier::new(2);
    std::thread::scope(|scope| {
        let next = scope.spawn(|| {
            ready.wait();
            waiting.next(LONG)
        });
        ready.wait();
        std::thread::sleep(Duration::from_millis(50));
        stream.close();
        assert_eq!(next.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    });
    let error = stream.subscribe("app", "Waits", Want::all(), &Options::new()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Closed);
});

on_servers!(
    broken_connections_are_replaced_and_nothing_is_lost,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let stream = db.stream();
        let (options, notices) = noticed(ReceiverOptions::new());
        let (sender, received) = channel();
        let receiver = ReliableReceiver::new(&stream, "app", "Break", options, move |delivery| {
            ids(delivery).into_iter().try_for_each(|id| Ok(sender.send(id)?))
        })
        .unwrap();
        receiver.start().unwrap();
        wait_for(&notices, "Ready");
        for round in 0..5 {
            let mut writer = db.raw();
            for _ in 0..20 {
                writer.exec(&db.insert_sql("A"));
            }
            if round % 2 == 0 {
                kill_sessions_of_the_library(db);
            }
        }
        let got: Vec<u64> = (0..100).map(|_| received.recv_timeout(LONG).unwrap()).collect();
        let mut once = got.clone();
        once.dedup();
        // At least once: what was not acknowledged when the connection broke may come again.
        once.sort_unstable();
        once.dedup();
        let rest: Vec<u64> = received.try_iter().collect();
        once.extend(rest);
        once.sort_unstable();
        once.dedup();
        assert_eq!(once, (1..=once.len() as u64).collect::<Vec<_>>());
        receiver.stop();
    }
);

/// Kills every session of this database whose client is this library, not the test's own.
fn kill_sessions_of_the_library(db: &Db) {
    let mut raw = db.raw();
    match db.kind {
        DatabaseKind::Postgres => {
            raw.texts(
                "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name = 'futoin-eventstream'",
            );
        }
        _ => {
            let ids = raw.texts(&format!(
                "SELECT CAST(ID AS CHAR) FROM information_schema.PROCESSLIST \
                 WHERE DB = '{}' AND COMMAND = 'Sleep' AND ID <> CONNECTION_ID()",
                db.name
            ));
            for id in ids {
                let _ = raw.try_exec(&format!("KILL {id}"));
            }
        }
    }
}

on_servers!(notifications_of_the_server_wake_readers, [postgres, postgres18], |db| {
    let stream =
        db.stream_with(&[("notify", "true"), ("sleep_min_ms", "3000"), ("sleep_max_ms", "3000")]);
    stream.migrate().unwrap();
    let subscription = subscribe(&stream, "Notify", &[]);
    assert!(subscription.next(Duration::from_millis(300)).unwrap().is_none());
    let mut writer = db.raw();
    let start = Instant::now();
    writer.exec(&db.insert_sql("A"));
    assert_eq!(ids(&subscription.next(LONG).unwrap().unwrap()), [1]);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
});

// Nobody is told of a rollback: what waited for it is found by looking.
on_servers!(
    an_event_behind_a_rollback_comes_without_a_notification,
    [postgres, postgres18],
    |db| {
        let stream = db.stream_with(&[("notify", "true")]);
        stream.migrate().unwrap();
        let subscription = subscribe(&stream, "Rollback", &[]);
        let (mut open, mut other) = (db.raw(), db.raw());
        open.exec("BEGIN");
        open.exec(&db.insert_sql("A"));
        other.exec(&db.insert_sql("B"));
        assert!(subscription.next(Duration::from_millis(2500)).unwrap().is_none());
        open.exec("ROLLBACK");
        assert_eq!(ids(&subscription.next(LONG).unwrap().unwrap()), [2]);
    }
);

on_servers!(ids_that_are_allocated_again_are_told_to_subscribers, [postgres, postgres18], |db| {
    let stream = db.stream();
    let subscription = subscribe(&stream, "Reset", &[]);
    add(&stream, 10);
    collect(&subscription, 10);
    db.raw().exec("DELETE FROM evt_queue; SELECT setval('evt_queue_id_seq', 3)");
    assert_eq!(subscription.next(LONG).unwrap_err().kind(), ErrorKind::StreamRewound);
});

on_each_server!(an_idle_subscription_writes_nothing, |db| {
    let stream = db.stream();
    let subscription = subscribe(&stream, "Idle", &[("ack_interval_ms", "1")]);
    let id = stream.add_event("A", &()).unwrap();
    collect(&subscription, 1);
    until("the cursor is stored", || cursor(db, "app:Idle") == id as i64);
    let seen = "SELECT last_time FROM evt_consumers WHERE ident = 'app:Idle'";
    let before = db.raw().texts(seen);
    // A cursor update would change the row's time after a second.
    assert!(subscription.next(Duration::from_millis(2500)).unwrap().is_none());
    assert_eq!(db.raw().texts(seen), before);
});
