//! Receivers: callbacks, poison, stop.

use super::*;

on_each_server!(a_receiver_registers_by_itself_and_gets_every_event, |db| {
    let stream = db.stream();
    let before = add(&stream, 3);
    let (options, notices) = noticed(ReceiverOptions::new());
    let (sender, received) = channel();
    let receiver = ReliableReceiver::new(&stream, "app", "Auto", options, move |delivery| {
        ids(delivery).into_iter().try_for_each(|id| Ok(sender.send(id)?))
    })
    .unwrap();
    receiver.start().unwrap();
    wait_for(&notices, "Ready");
    receiver.start().unwrap(); // does nothing
    let mut expected = before;
    expected.extend(add(&stream, 20));
    let mut got: Vec<u64> = (0..23).map(|_| received.recv_timeout(LONG).unwrap()).collect();
    wait_for(&notices, "NewEvents");
    receiver.stop();
    receiver.stop();
    wait_for(&notices, "Stopped");
    // And again, from where it was.
    expected.extend(add(&stream, 5));
    receiver.start().unwrap();
    got.extend((0..5).map(|_| received.recv_timeout(LONG).unwrap()));
    receiver.stop();
    assert_eq!(got, expected);
    assert_eq!(receiver.stats().subscription.delivered, 28);
    assert_eq!(cursor(db, "app:Auto"), *expected.last().unwrap() as i64);
});

on_each_server!(a_failing_callback_gets_the_same_events_again, |db| {
    let stream = db.stream();
    let expected = add(&stream, 3);
    let (options, notices) = noticed(ReceiverOptions::new());
    let (sender, received) = channel();
    let mut calls = 0;
    let receiver = ReliableReceiver::new(&stream, "app", "Fails", options, move |delivery| {
        calls += 1;
        sender.send((delivery.seq, ids(delivery)))?;
        match calls {
            1 => Err("not yet".into()),
            2 => panic!("not even now"),
            _ => Ok(()),
        }
    })
    .unwrap();
    receiver.start().unwrap();
    for _ in 0..3 {
        assert_eq!(received.recv_timeout(LONG).unwrap(), (0, expected.clone()));
    }
    assert!(wait_for(&notices, "ReceiverError").contains("not yet"));
    assert!(wait_for(&notices, "ReceiverError").contains("not even now"));
    until("the cursor is stored", || cursor(db, "app:Fails") == 3);
    receiver.stop();
    assert_eq!(receiver.stats().failures, 2);
});

on_each_server!(a_poison_event_is_skipped_alone_and_never_silently, |db| {
    let stream = db.stream();
    let all = add(&stream, 5);
    let options = ReceiverOptions::new().poison(PoisonPolicy::SkipAfter(2));
    let (options, notices) = noticed(options);
    let (sender, received) = channel();
    let receiver = ReliableReceiver::new(&stream, "app", "Poison", options, move |delivery| {
        if ids(delivery).contains(&3) {
            return Err("three is bad".into());
        }
        ids(delivery).into_iter().try_for_each(|id| Ok(sender.send(id)?))
    })
    .unwrap();
    receiver.start().unwrap();
    let got: Vec<u64> = (0..4).map(|_| received.recv_timeout(LONG).unwrap()).collect();
    assert_eq!(got, [all[0], all[1], all[3], all[4]]);
    assert!(wait_for(&notices, "Skipped").contains("three is bad"));
    until("the cursor is stored", || cursor(db, "app:Poison") == 5);
    receiver.stop();
    let skipped = receiver.stats().skipped;
    assert_eq!(skipped.len(), 1);
    assert_eq!((skipped[0].0, skipped[0].2.as_str()), (3, "three is bad"));
});

on_each_server!(a_receiver_that_shall_stop_at_poison_stops, |db| {
    let stream = db.stream();
    add(&stream, 2);
    let (options, notices) = noticed(ReceiverOptions::new().poison(PoisonPolicy::Stop));
    let receiver =
        ReliableReceiver::new(&stream, "app", "Stops", options, |_| Err("no".into())).unwrap();
    receiver.start().unwrap();
    wait_for(&notices, "Stopped");
    assert_eq!(cursor(db, "app:Stops"), 0);
    // It may be started again, and then it fails again.
    receiver.start().unwrap();
    wait_for(&notices, "Stopped");
});

on_each_server!(stop_returns_after_the_last_callback_and_soon, |db| {
    let stream = db.stream();
    let (options, notices) = noticed(ReceiverOptions::new());
    let inside = Arc::new(AtomicBool::new(false));
    let busy = inside.clone();
    let receiver = ReliableReceiver::new(&stream, "app", "Stop", options, move |_| {
        busy.store(true, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(300));
        busy.store(false, Ordering::SeqCst);
        Ok(())
    })
    .unwrap();
    receiver.start().unwrap();
    wait_for(&notices, "Ready");
    // Idle, from several threads at once.
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| receiver.stop());
        }
    });
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    // Busy.
    receiver.start().unwrap();
    stream.add_event("A", &()).unwrap();
    until("the callback runs", || inside.load(Ordering::SeqCst));
    receiver.stop();
    assert!(!inside.load(Ordering::SeqCst));
});

on_each_server!(a_callback_may_stop_its_own_receiver, |db| {
    let stream = db.stream();
    let (options, notices) = noticed(ReceiverOptions::new());
    let own: Arc<Mutex<Option<Arc<ReliableReceiver>>>> = Arc::default();
    let calls = Arc::new(AtomicU64::new(0));
    let (itself, count) = (own.clone(), calls.clone());
    let receiver = ReliableReceiver::new(&stream, "app", "Self", options, move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let receiver = itself.lock().unwrap().clone();
        receiver.unwrap().stop();
        Ok(())
    })
    .unwrap();
    let receiver = Arc::new(receiver);
    *own.lock().unwrap() = Some(receiver.clone());
    receiver.start().unwrap();
    wait_for(&notices, "Ready");
    stream.add_event("A", &()).unwrap();
    wait_for(&notices, "Stopped");
    stream.add_event("A", &()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(cursor(db, "app:Self"), 1);
    receiver.start().unwrap();
    wait_for(&notices, "Stopped");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    *own.lock().unwrap() = None;
});

on_each_server!(a_live_receiver_gets_new_events_and_leaves_no_row, |db| {
    let stream = db.stream();
    add(&stream, 3);
    let (options, notices) = noticed(ReceiverOptions::new());
    let (sender, received) = channel();
    let live = LiveReceiver::new(&stream, "app", options, move |delivery| {
        ids(delivery).into_iter().try_for_each(|id| Ok(sender.send(id)?))
    })
    .unwrap();
    live.start().unwrap();
    wait_for(&notices, "Ready");
    for id in add(&stream, 10) {
        assert_eq!(received.recv_timeout(LONG).unwrap(), id);
    }
    live.stop();
    assert_eq!(db.raw().number("SELECT count(*) FROM evt_consumers"), 0);
    let reliable =
        ReliableReceiver::new(&stream, "app", "LIVE", ReceiverOptions::new(), |_| Ok(()));
    assert_eq!(reliable.err().unwrap().kind(), ErrorKind::LiveNotAllowed);
});
