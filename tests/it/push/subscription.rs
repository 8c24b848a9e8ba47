//! What a subscription gets, in which order, and how it acknowledges.

use super::*;

on_each_server!(history_comes_first_and_the_live_tail_follows_without_a_seam, |db| {
    let stream = db.stream_with(&[("max_chunk_events", "7")]);
    let mut expected = add(&stream, 100);
    let subscription = subscribe(&stream, "Seam", &[]);
    let writer = stream.clone();
    let adding = std::thread::spawn(move || -> Vec<u64> {
        (0..40).flat_map(|n| add(&writer, n % 5 + 1)).collect()
    });
    let got = collect(&subscription, 100 + 120);
    expected.extend(adding.join().unwrap());
    assert_eq!(got, expected);
    let last = *got.last().unwrap();
    drop(subscription);
    // On a loaded server the last write of the cursor may end after the drop, which waits 200 ms for it.
    until("the cursor is stored", || cursor(db, "app:Seam") == last as i64);
    let again = subscribe(&stream, "Seam", &[]);
    assert!(again.next(Duration::from_millis(50)).unwrap().is_none());
});

on_each_server!(deliveries_are_numbered_and_wait_for_their_acknowledgement, |db| {
    let stream = db.stream_with(&[("max_chunk_events", "2")]);
    add(&stream, 6);
    let subscription = subscribe(&stream, "Acks", &[]);
    assert_eq!(subscription.ack().unwrap_err().kind(), ErrorKind::InvalidArgument);
    let first = subscription.next(LONG).unwrap().unwrap();
    assert_eq!((first.seq, ids(&first)), (0, vec![1, 2]));
    assert!(subscription.next(Duration::from_millis(30)).unwrap().is_none());
    subscription.ack().unwrap();
    assert_eq!(subscription.next(LONG).unwrap().unwrap().seq, 1);
    // Not acknowledged: it comes again to the next subscription.
    close(db, &subscription, 2);
    assert_eq!(subscription.next(LONG).unwrap_err().kind(), ErrorKind::Closed);
    let again = subscribe(&stream, "Acks", &[("request_max", "2")]);
    assert_eq!(ids(&again.next(LONG).unwrap().unwrap()), [3, 4]);
    assert_eq!(ids(&again.next(LONG).unwrap().unwrap()), [5, 6]);
    again.ack().unwrap();
    close(db, &again, 4);
});

on_each_server!(the_cursor_is_stored_soon_after_the_acknowledgement, |db| {
    let stream = db.stream();
    let subscription = subscribe(&stream, "Store", &[("ack_interval_ms", "10")]);
    let id = stream.add_event("A", &1).unwrap();
    collect(&subscription, 1);
    until("the cursor is stored", || cursor(db, "app:Store") == id as i64);
});

on_each_server!(a_reliable_subscriber_whose_queue_overflows_loses_nothing, |db| {
    let stream = db.stream_with(&[("max_chunk_events", "10")]);
    let subscription = subscribe(&stream, "Slow", &[("queue_max", "25")]);
    let mut expected = add(&stream, 1);
    let mut got = collect(&subscription, 1);
    for _ in 0..3 {
        let before = subscription.stats().overflows;
        expected.extend(add(&stream, 200));
        until("the queue overflows", || subscription.stats().overflows > before);
        got.extend(collect(&subscription, 200));
    }
    assert_eq!(got, expected);
    assert_eq!(subscription.stats().delivered, 601);
});

on_each_server!(live_gets_what_comes_from_now_on_and_skips_when_it_cannot_follow, |db| {
    let stream = db.stream_with(&[("max_chunk_events", "10")]);
    add(&stream, 5);
    let live = subscribe(&stream, "LIVE", &[("queue_max", "25")]);
    let first = stream.add_event("A", &()).unwrap();
    let delivery = live.next(LONG).unwrap().unwrap();
    assert_eq!((delivery.seq, ids(&delivery)), (0, vec![first]));
    live.ack().unwrap();
    let all = add(&stream, 200);
    until("the queue overflows", || live.stats().skipped >= 170);
    let mut got = Vec::new();
    let mut seqs = Vec::new();
    while got.last() != all.last() {
        let delivery = live.next(LONG).unwrap().unwrap();
        seqs.push(delivery.seq);
        got.extend(ids(&delivery));
        live.ack().unwrap();
    }
    assert!(seqs[0] > 1, "a gap shows: {seqs:?}");
    assert!(seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    assert_eq!(got.len() as u64 + live.stats().skipped, 200);
    assert_eq!(got, all[all.len() - got.len()..]);
});

on_each_server!(each_subscriber_gets_what_it_wants, |db| {
    let stream = db.stream();
    for component in ["Odd", "Even"] {
        stream.consumer("app", component).unwrap().register().unwrap();
    }
    let want = |name: &str| Want::types(&[name]).unwrap();
    let options = Options::new();
    let odd = stream.subscribe("app", "Odd", want("ODD"), &options).unwrap();
    let even = stream.subscribe("app", "Even", want("EVEN"), &options).unwrap();
    let mut expected = (vec![], vec![]);
    for n in 0..50u32 {
        let id = stream.add_event(if n % 2 == 1 { "ODD" } else { "EVEN" }, &n).unwrap();
        if n % 2 == 1 { expected.0.push(id) } else { expected.1.push(id) }
    }
    assert_eq!((collect(&odd, 25), collect(&even, 25)), expected);
    // The cursor passes what is not wanted.
    let last = stream.add_event("OTHER", &()).unwrap();
    until("the cursor passed it", || cursor(db, "app:Odd") == last as i64);
});

on_each_server!(two_hundred_subscribers_share_one_stream, |db| {
    let stream = db.stream();
    let all: Vec<Subscription> = (0..200).map(|_| subscribe(&stream, "LIVE", &[])).collect();
    let expected = add(&stream, 50);
    for subscription in &all {
        assert_eq!(collect(subscription, 50), expected);
    }
});
