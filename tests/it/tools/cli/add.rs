//! `fes add`, `poll`, `ack`.

use super::*;

on_each_server!(events_are_added_polled_and_acknowledged, |db| {
    output(db, &["migrate"]);
    let first = document(db, &["add", "USR_ADD", r#"{"b":1.0,"a":2}"#]);
    let second = output(db, &["add", "USR_MOD", "-5"]);
    output(db, &["register", "--user", "app", "--component", "Audit"]);
    let poll = ["poll", "--user", "app", "--component", "Audit"];
    let events = documents(db, &poll);
    assert_eq!(ids(&events), [first["id"].as_str().unwrap(), second.trim()]);
    assert!(output(db, &[&poll[..], &["--json"]].concat()).contains(r#""data":{"b":1.0,"a":2}"#));

    let lag = document(db, &["lag"]);
    assert_eq!(lag["consumers"][0]["ident"], "app:Audit");
    assert_eq!(lag["consumers"][0]["events_behind"], 2);
    assert_eq!(documents(db, &[&poll[..], &["--ack", "--limit", "1"]].concat()).len(), 1);
    assert_eq!(document(db, &["lag"])["consumers"][0]["events_behind"], 1);
    let last = [&poll[..], &["--last-id", second.trim()]].concat();
    assert!(documents(db, &last).is_empty());
    assert_eq!(document(db, &["lag"])["consumers"][0]["events_behind"], 0);
});

on_each_server!(many_lines_are_added_in_their_order, |db| {
    output(db, &["migrate"]);
    let lines: String =
        (0..2500).map(|n| format!("{{\"type\":\"COUNTED\",\"data\":[{n},\"é\"]}}\n")).collect();
    let added = with_input(on(db, &["add", "--jsonl", "--batch", "1000", "--json"]), &lines);
    assert!(added.status.success(), "{}", error_text(&added));
    let added: Value = serde_json::from_slice(&added.stdout).unwrap();
    assert_eq!(added["added"], 2500);
    let events = documents(db, &["export"]);
    assert_eq!(events.len(), 2500);
    assert!(events.iter().zip(0..).all(|(event, n)| event["data"][0] == n));
    assert_eq!(events[0]["id"], added["first_id"]);
    assert_eq!(events[2499]["id"], added["last_id"]);
});

#[test]
fn migrate_may_be_repeated_and_says_what_it_did() {
    let db = Db::on("sqlite").unwrap();
    let dwh = warehouse_of(&db);
    for _ in 0..2 {
        let done = document(&db, &["migrate", "--dwh", &dwh]);
        assert_eq!(done, serde_json::json!({"stream": "sqlite", "warehouse": "sqlite"}));
    }
    let mut only_warehouse = fes();
    only_warehouse.args(["--dwh", &dwh, "migrate"]);
    let output = only_warehouse.output().unwrap();
    assert!(output.status.success());
    assert!(!String::from_utf8(output.stdout).unwrap().contains("stream"));
}

#[test]
fn the_data_of_an_event_may_come_from_standard_input() {
    let db = stream_of(0);
    let added = with_input(on(&db, &["add", "NOTE", "-"]), "{\"text\":\n \"two\"}\n");
    assert!(added.status.success());
    let line = output(&db, &["poll", "--json"]);
    assert!(line.contains(r#""data":{"text":  "two"}"#), "{line}");
}

#[test]
fn a_bad_line_is_named_and_the_lines_before_it_are_added() {
    let db = stream_of(0);
    let lines = "{\"type\":\"A\"}\n\n{\"type\":\"B\"}\n{\"type\":\"C\",}\n{\"type\":\"D\"}\n";
    let output = with_input(on(&db, &["add", "--jsonl"]), lines);
    assert_eq!(output.status.code(), Some(1));
    let text = error_text(&output);
    assert!(text.contains("line 4:"), "{text}");
    assert!(text.contains("2 events added, those of the lines up to 3"), "{text}");
    assert_eq!(documents(&db, &["poll"]).len(), 2);

    let rest = lines.replace(",}", "}");
    let output = with_input(on(&db, &["add", "--jsonl", "--from-line", "4"]), &rest);
    assert!(output.status.success());
    let types: Vec<Value> =
        documents(&db, &["poll"]).iter().map(|event| event["type"].clone()).collect();
    assert_eq!(types, ["A", "B", "C", "D"]);

    for (line, word) in [
        ("{\"type\":\"lower\"}", "line 1: event type"),
        ("{\"data\":1}", "no field"),
        ("{\"type\":\"A\",\"kind\":1}", "kind"),
        ("[1]", "not a JSON object"),
    ] {
        let output = with_input(on(&db, &["add", "--jsonl"]), line);
        assert_eq!(output.status.code(), Some(1));
        assert!(error_text(&output).contains(word), "{}", error_text(&output));
    }
}

#[test]
fn lines_are_not_kept_waiting_for_more_of_them() {
    let db = stream_of(0);
    let mut child = on(&db, &["add", "--jsonl"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{\"type\":\"EARLY\"}\n").unwrap();
    let start = Instant::now();
    while documents(&db, &["poll"]).is_empty() {
        assert!(start.elapsed() < PATIENCE, "the line waits");
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_interrupted_bulk_add_says_how_far_it_came() {
    let db = stream_of(0);
    let mut command = on(&db, &["add", "--jsonl"]);
    let mut running = Running::start({
        command.stdin(Stdio::piped());
        command
    });
    let mut stdin = running.child.stdin.take().unwrap();
    let mut stderr = running.child.stderr.take().unwrap();
    stdin.write_all(b"{\"type\":\"A\"}\n{\"type\":\"B\"}\n").unwrap();
    let start = Instant::now();
    while documents(&db, &["poll"]).len() < 2 {
        assert!(start.elapsed() < PATIENCE, "nothing is added");
    }
    running.signal("-TERM");
    assert_eq!(running.end(), 130);
    let mut text = String::new();
    stderr.read_to_string(&mut text).unwrap();
    assert!(text.contains("2 events added, those of the lines up to 2"), "{text}");
}
