//! What goes on until it is ended: `tail`, `archive`, `run`.

use super::*;

#[test]
fn events_move_to_the_history_and_come_back_as_one_stream() {
    let db = stream_of(30);
    let dwh = warehouse_of(&db);
    let with = |args: &[&str]| documents(&db, &[&["--dwh", &dwh], args].concat());
    with(&["migrate"]);
    assert_eq!(with(&["archive"])[0]["archived"], 30);
    assert_eq!(with(&["archive"])[0]["archived"], 0);
    assert_eq!(with(&["discard"])[0]["discarded"], 29);
    output(&db, &["add", "NEW"]);
    assert_eq!(with(&["export"]).len(), 31);
    assert_eq!(with(&["export", "--source", "history"]).len(), 30);
    assert_eq!(ids(&with(&["export", "--source", "active"])), ["30", "31"]);
    let all = ids(&with(&["export"]));
    assert_eq!(all, (1..=31).map(|id| id.to_string()).collect::<Vec<_>>());
    assert_eq!(ids(&with(&["history", "--from", "10", "--limit", "2"])), ["10", "11"]);
    assert!(with(&["history", "--want", "NEW"]).is_empty());
}

#[test]
fn an_export_can_be_added_to_another_stream() {
    let db = stream_of(20);
    let other = stream_of(0);
    let text = output(&db, &["export"]);
    assert!(with_input(on(&other, &["add", "--jsonl"]), &text).status.success());
    let data = |db: &Db| -> Vec<Value> {
        documents(db, &["export"]).iter().map(|event| event["data"].clone()).collect()
    };
    assert_eq!(data(&db), data(&other));
}

#[test]
fn tail_acknowledges_what_it_has_written() {
    let db = stream_of(5);
    let tail = ["tail", "--user", "app", "--component", "Audit", "--register"];
    assert_eq!(ids(&documents(&db, &[&tail[..], &["--limit", "2"]].concat())), ["1", "2"]);
    assert_eq!(document(&db, &["consumers"])[0]["last_id"], "2");
    let running = Running::start(on(&db, &tail));
    for _ in 3..=5 {
        running.line();
    }
    output(&db, &["add", "LATER"]);
    assert!(running.line().contains("LATER"));
    running.signal("-INT");
    assert_eq!(running.end(), 130);
    assert_eq!(document(&db, &["consumers"])[0]["last_id"], "6");
}

on_servers!(tail_goes_on_when_its_sessions_are_killed, [postgres, mariadb, mysql], |db| {
    output(db, &["migrate"]);
    let tail = ["tail", "--user", "app", "--component", "Audit", "--register", "--json"];
    let running = Running::start(on(db, &tail));
    let mut seen = Vec::new();
    for round in 0..3 {
        output(db, &["add", "ROUND", &round.to_string()]);
        // What was not acknowledged in time may come again.
        while seen.last() != Some(&round) {
            let event: Value = serde_json::from_str(&running.line()).unwrap();
            seen.push(event["data"].as_i64().unwrap());
        }
        db.kill_sessions();
    }
    running.signal("-INT");
    assert_eq!(running.end(), 130);
    seen.dedup();
    assert_eq!(seen, [0, 1, 2]);
});

#[test]
fn a_live_tail_shows_what_comes_and_registers_nothing() {
    let db = stream_of(5);
    let running = Running::start(on(&db, &["tail", "--limit", "1", "--json"]));
    let start = Instant::now();
    // Until it has begun to listen.
    let line = loop {
        output(&db, &["add", "FRESH"]);
        if let Ok(line) = running.lines.recv_timeout(Duration::from_millis(100)) {
            break line;
        }
        assert!(start.elapsed() < PATIENCE, "nothing comes");
    };
    assert!(line.contains("FRESH"), "{line}");
    assert_eq!(running.end(), 0);
    assert_eq!(document(&db, &["consumers"]), serde_json::json!([]));
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let db = stream_of(3000);
    let dwh = warehouse_of(&db);
    output(&db, &["--dwh", &dwh, "migrate"]);
    output(&db, &["register", "--user", "app", "--component", "Audit"]);
    for args in [
        &["export"][..],
        &["poll"],
        &["lag", "--watch", "--interval", "1"],
        &["tail", "--user", "app", "--component", "Audit"],
        &["tail"],
        &["--help"],
    ] {
        let mut child = on(&db, args).spawn().unwrap();
        drop(child.stdout.take());
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < PATIENCE, "{args:?} does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", error_text(&output));
        assert_eq!(error_text(&output), "", "{args:?}");
    }
    // What nobody has read is not acknowledged.
    assert_eq!(document(&db, &["consumers"])[0]["last_id"], "0");
}

#[test]
fn run_archives_and_discards_until_a_signal() {
    let db = stream_of(100);
    let dwh = warehouse_of(&db);
    for signal in ["-INT", "-TERM"] {
        let args = ["--dwh", &dwh, "run", "--discard", "--migrate", "--json"];
        let args = [&args[..], &["--option", "poll_period_ms=50"]].concat();
        let running = Running::start(on(&db, &args));
        assert!(running.line().contains("started"));
        let last: u64 = output(&db, &["add", "MORE"]).trim().parse().unwrap();
        let start = Instant::now();
        let archived = || documents(&db, &["--dwh", &dwh, "history", "--limit", "500"]).len();
        while documents(&db, &["poll"]).len() > 1 || archived() < last as usize {
            assert!(start.elapsed() < PATIENCE, "nothing is discarded, or not all is archived");
        }
        running.signal(signal);
        let told: Value = serde_json::from_str(&running.line()).unwrap();
        assert_eq!(told["notice"], "stopped");
        assert_eq!(running.end(), 0);
        assert_eq!(
            documents(&db, &["--dwh", &dwh, "history", "--limit", "500"]).len(),
            last as usize
        );
    }
}

#[test]
fn a_following_archiver_ends_by_a_signal_and_gives_up_on_a_conflict() {
    let db = stream_of(10);
    let dwh = warehouse_of(&db);
    output(&db, &["--dwh", &dwh, "migrate"]);
    let args = ["--dwh", &dwh, "archive", "--follow"];
    let running = Running::start(on(&db, &args));
    let warehouse = Warehouse::open(&dwh).unwrap();
    let start = Instant::now();
    while warehouse.history(1, &futoin_eventstream::Want::all(), 100).unwrap().len() < 10 {
        assert!(start.elapsed() < PATIENCE, "nothing is archived");
        std::thread::sleep(Duration::from_millis(10));
    }
    running.signal("-TERM");
    assert!(running.line().contains("10 events archived"));
    assert_eq!(running.end(), 0);

    warehouse.close();
    let history =
        futoin_eventstream::rusqlite::Connection::open(dwh.trim_start_matches("sqlite://"));
    let forged =
        "INSERT INTO evt_history(id, type, data, ts) VALUES (11, 'X', '1', datetime('now'))";
    history.unwrap().execute(forged, []).unwrap();
    output(&db, &["add", "MINE"]);
    let (code, text) = failed(on(&db, &args));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("HistoryConflict"), "{text}");
}

#[test]
fn a_watch_shows_the_lag_again_and_again() {
    let db = stream_of(1);
    let running = Running::start(on(&db, &["lag", "--watch", "--interval", "1", "--json"]));
    for _ in 0..2 {
        let lag: Value = serde_json::from_str(&running.line()).unwrap();
        assert_eq!(lag["highest_id"], "1");
    }
    running.signal("-INT");
    assert_eq!(running.end(), 130);
}
