//! The shortest way through everything, on every server.

mod support;

use futoin_eventstream::Want;

on_each_server!(events_go_in_and_come_out, |db| {
    let stream = db.stream();
    let consumer = stream.consumer("app", "Audit").unwrap();
    consumer.register().unwrap();
    let first = stream.add_event("USR_ADD", &serde_json::json!({"n": 1})).unwrap();
    let mut tx = stream.begin().unwrap();
    tx.add_event("USR_ADD", &()).unwrap();
    tx.rollback().unwrap();
    let ids = stream
        .add_events(&[
            futoin_eventstream::NewEvent::new("USR_MOD", "😀").unwrap(),
            futoin_eventstream::NewEvent::from_json("USR_ADD", "1.0").unwrap(),
        ])
        .unwrap();
    let want = Want::types(&["USR_MOD"]).unwrap();
    assert_eq!(consumer.poll(None, &want).unwrap().len(), 1);
    let events = consumer.poll(None, &Want::all()).unwrap();
    let got: Vec<u64> = events.iter().map(|event| event.id).collect();
    assert_eq!(got, [first, ids[0], ids[1]]);
    assert_eq!(events[2].data.as_str(), "1.0");
    consumer.acknowledge(ids[1]).unwrap();
    let lag = stream.lag().unwrap();
    assert_eq!((lag.consumers[0].last_id, lag.consumers[0].events_behind), (ids[1], 0));
    assert_eq!(lag.first_unsettled, None);
});
