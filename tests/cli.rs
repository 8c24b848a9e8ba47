//! The command `fes`: the built binary, as people and scripts use it.
#![cfg(all(feature = "cli", unix))]

mod support;

use futoin_eventstream::Warehouse;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use support::Db;

const PATIENCE: Duration = Duration::from_secs(20);

/// The command, without a database of the environment.
fn fes() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fes"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DB_EVT")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The command on this database.
fn on(db: &Db, args: &[&str]) -> Command {
    let mut command = fes();
    command.args(["--db", &db.url]).args(args);
    command
}

/// What a command that must succeed writes.
#[track_caller]
fn output(db: &Db, args: &[&str]) -> String {
    let output = on(db, args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", error_text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// What a command that must succeed writes with `--json`: one document.
#[track_caller]
fn document(db: &Db, args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&output(db, &args)).unwrap()
}

/// As [`document`], with one in each line.
#[track_caller]
fn documents(db: &Db, args: &[&str]) -> Vec<Value> {
    let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    output(db, &args).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["id"].as_str().expect("an id").to_owned()).collect()
}

/// The exit code and what stands on standard error.
#[track_caller]
fn failed(mut command: Command) -> (i32, String) {
    let output = command.output().unwrap();
    (output.status.code().expect("a code"), error_text(&output))
}

fn error_text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn with_input(mut command: Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin: ChildStdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // It may end before it has read everything.
    let writing = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    output
}

/// A SQLite stream with its tables and this many events of type `COUNTED`, of data 1, 2, ...
fn stream_of(count: usize) -> Db {
    let db = Db::on("sqlite").unwrap();
    output(&db, &["migrate"]);
    let lines: String =
        (1..=count).map(|n| format!("{{\"type\":\"COUNTED\",\"data\":{n}}}\n")).collect();
    let added = with_input(on(&db, &["add", "--jsonl"]), &lines);
    assert!(added.status.success(), "{}", error_text(&added));
    db
}

/// The URL of a second database, beside that of `db`.
fn warehouse_of(db: &Db) -> String {
    format!("sqlite://{}", db.path().with_file_name("history.db").display())
}

/// A command that goes on until it is told to end; killed if the test fails.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Running { child, lines }
    }

    #[track_caller]
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits for the end, and gives the exit code.
    #[track_caller]
    fn end(mut self) -> i32 {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().expect("a code");
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

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

#[test]
fn only_wanted_types_come_and_live_reads_from_where_it_is_told() {
    let db = stream_of(3);
    output(&db, &["add", "OTHER", "7"]);
    assert_eq!(ids(&documents(&db, &["poll", "--want", "OTHER,NONE"])), ["4"]);
    assert_eq!(ids(&documents(&db, &["poll", "--last-id", "2", "--limit", "1"])), ["3"]);
    assert_eq!(ids(&documents(&db, &["export", "--from", "3", "--want", "COUNTED"])), ["3"]);
    assert!(documents(&db, &["export", "--from", "100"]).is_empty());
}

#[test]
fn consumers_are_registered_listed_and_removed() {
    let db = stream_of(3);
    let name = ["--user", "app", "--component", "Audit"];
    for _ in 0..2 {
        let done = document(&db, &[&["register", "--at", "3"], &name[..]].concat());
        assert_eq!(done["ident"], "app:Audit");
    }
    let list = document(&db, &["consumers"]);
    assert_eq!(list[0]["last_id"], "2");
    assert!(output(&db, &["consumers"]).contains("app:Audit"));
    assert_eq!(document(&db, &["add", "NOTHING"])["id"], "4");
    assert_eq!(ids(&documents(&db, &[&["poll"], &name[..]].concat())), ["3", "4"]);
    let unregister = [&["unregister"], &name[..]].concat();
    assert_eq!(document(&db, &unregister)["was_registered"], true);
    assert_eq!(document(&db, &unregister)["was_registered"], false);
    assert_eq!(document(&db, &["consumers"]), serde_json::json!([]));
    for (at, behind) in [("beginning", 4), ("now", 0), ("2001-01-01T00:00:00Z", 4)] {
        output(&db, &[&["register", "--at", at], &name[..]].concat());
        assert_eq!(document(&db, &["lag"])["consumers"][0]["events_behind"], behind, "{at}");
        output(&db, &unregister);
    }
}

on_servers!(who_holds_the_stream_up_is_named, [postgres, postgres18], |db| {
    output(db, &["migrate"]);
    output(db, &["add", "BEFORE"]);
    let mut held = db.raw();
    held.exec("SET application_name = 'night batch'");
    held.exec("BEGIN");
    held.exec(&db.insert_sql("HELD"));
    output(db, &["add", "BEHIND"]);
    let lag = document(db, &["lag"]);
    assert_eq!(lag["first_unsettled"], "2");
    assert!(output(db, &["lag"]).contains("night batch"));
    assert!(output(db, &["metrics"]).contains("\nevt_unsettled_id 2\n"));
    assert!(output(db, &["metrics"]).contains("\nevt_holders 1\n"));
    let export = on(db, &["export"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&export.stdout).lines().count(), 1);
    assert!(error_text(&export).contains("from id 2 on"), "{}", error_text(&export));
    held.exec("COMMIT");
    assert_eq!(documents(db, &["export"]).len(), 3);
});

#[test]
fn tables_are_aligned() {
    let db = stream_of(12);
    for component in ["A", "LongerName"] {
        output(&db, &["register", "--user", "app", "--component", component]);
    }
    let text = output(&db, &["lag"]);
    let ends = |word: &str| -> Vec<usize> {
        let lines = text.lines().filter(|line| line.contains(word));
        lines.map(|line| line.find(word).unwrap() + word.len()).collect()
    };
    assert_eq!(ends("EVENTS BEHIND")[0], ends(" 12 ")[0] - 1, "{text}");
    assert_eq!(ends(" 12 ").len(), 2, "{text}");
}

#[test]
fn metrics_are_prometheus_text() {
    let db = stream_of(5);
    output(&db, &["register", "--user", "app", "--component", "Audit"]);
    let text = output(&db, &["metrics"]);
    assert!(text.contains("\nevt_ids_total 5\n"), "{text}");
    assert!(text.contains("evt_consumer_behind_events{consumer=\"app:Audit\"} 5\n"), "{text}");
    let mut help = 0;
    for line in text.lines() {
        if line.starts_with("# HELP evt_") {
            help += 1;
        } else if !line.starts_with("# TYPE evt_") {
            let (name, value) = line.rsplit_once(' ').expect("name and value");
            assert!(name.starts_with("evt_"), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    assert_eq!(help, text.matches("# TYPE").count());
    let documented = include_str!("../docs/cli.md");
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = name.split(' ').next().unwrap();
        assert!(documented.contains(&format!("`{name}`")), "{name} is not in docs/cli.md");
    }
}

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

#[test]
fn wrong_arguments_end_with_code_2() {
    let db = stream_of(0);
    for args in [
        &[][..],
        &["nonsense"],
        &["add"],
        &["add", "A", "1", "--jsonl"],
        &["poll", "--limit", "0"],
        &["poll", "--last-id", "-1"],
        &["poll", "--last-id", "1000000000000000000"],
        &["poll", "--user", "app"],
        &["poll", "--ack"],
        &["poll", "--want", "lower"],
        &["poll", "--user", "a b", "--component", "C"],
        &["poll", "--user", "a", "--component", "no-dash"],
        &["register", "--user", "a", "--component", "C", "--at", "soon"],
        &["lag", "--interval", "3"],
        &["history"],
        &["run"],
        &["--option", "nonsense=1", "lag"],
        &["--option", "nonsense", "lag"],
        &["completions", "nonsense"],
    ] {
        let (code, text) = failed(on(&db, args));
        assert_eq!(code, 2, "{args:?}: {text}");
        assert!(!text.is_empty() && !text.contains("panicked"), "{args:?}: {text}");
    }
    let mut nowhere = fes();
    nowhere.arg("lag");
    let (code, text) = failed(nowhere);
    assert_eq!(code, 2);
    assert!(text.contains("--db"), "{text}");
}

#[test]
fn errors_are_told_apart_by_their_code() {
    let db = Db::on("sqlite").unwrap();
    let (code, text) = failed(on(&db, &["poll"]));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("fes migrate"), "{text}");
    output(&db, &["migrate"]);
    let audit = ["--user", "app", "--component", "Audit"];
    for command in ["poll", "tail"] {
        let (code, text) = failed(on(&db, &[&[command], &audit[..]].concat()));
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("fes register"), "{text}");
    }
    assert_eq!(failed(on(&db, &["add", "A", "{"])).0, 1);
    let mut away = fes();
    away.args(["--db", "postgres://u@127.0.0.1:1/d", "lag"]);
    assert_eq!(failed(away).0, 3);

    let running = Running::start(on(&db, &[&["tail", "--register"], &audit[..]].concat()));
    output(&db, &["add", "A"]);
    running.line();
    let (code, text) = failed(on(&db, &[&["tail"], &audit[..]].concat()));
    assert_eq!(code, 3, "{text}");
}

#[test]
fn the_database_may_come_from_the_environment_or_a_file() {
    let db = stream_of(2);
    let mut command = fes();
    command.args(["poll"]).env("DB_EVT_TYPE", "sqlite").env("DB_EVT_DB", db.path());
    assert_eq!(String::from_utf8(command.output().unwrap().stdout).unwrap().lines().count(), 2);
    let file = db.path().with_file_name("url");
    std::fs::write(&file, format!("\n{}\n", db.url)).unwrap();
    let mut command = fes();
    command.args(["poll", "--db-file"]).arg(&file);
    assert_eq!(String::from_utf8(command.output().unwrap().stdout).unwrap().lines().count(), 2);
    let mut command = fes();
    command.args(["poll", "--db-file", "/nowhere"]);
    assert_eq!(failed(command).0, 1);
    let table = ["--option", "event_table=other", "poll"];
    assert!(failed(on(&db, &table)).1.contains("NotMigrated"));
}

#[test]
fn a_password_is_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    let secret = "geheim@/x";
    for url in [
        format!("postgres://joe:{secret}@127.0.0.1:1/d"),
        "mysql://joe:geheim@127.0.0.1:1/d".to_owned(),
        "mysql://joe:a geheim @ word@127.0.0.1:1/d".to_owned(),
        "postgres://joe:geheim@127.0.0.1:1/d?sslmode=maybe".to_owned(),
        "postgres://joe:geheim@127.0.0.1:99999/d".to_owned(),
        "http://joe:geheim@h/d".to_owned(),
        "postgres://joe:geheim@h".to_owned(),
    ] {
        std::fs::write(&file, &url).unwrap();
        let path = file.to_str().unwrap();
        for args in [
            &["--db", &url, "lag"][..],
            &["--db", &url, "add", "A"],
            &["--db", &url, "run", "--discard"],
            &["--db-file", path, "tail"],
            &["--db-file", &url, "tail"],
            &["--dwh", &url, "history"],
            &["--dwh-file", path, "history"],
            &[&url, "lag"],
            &["lag", &url],
            &["--option", &url, "lag"],
        ] {
            let mut command = fes();
            command.args(args).env("RUST_BACKTRACE", "1");
            let child = command.spawn().unwrap();
            if args.contains(&"run") {
                // A server that is not there is waited for.
                std::thread::sleep(Duration::from_millis(500));
                let _ = Command::new("kill").arg(child.id().to_string()).status().unwrap();
            }
            let output = child.wait_with_output().unwrap();
            assert!(!output.status.success() || args.contains(&"run"), "{args:?}");
            let text = error_text(&output) + &String::from_utf8_lossy(&output.stdout);
            assert!(!text.is_empty(), "{args:?}");
            assert!(!text.contains("geheim"), "{args:?}: {text}");
        }
    }
    let mut command = fes();
    command.arg("lag").env("DB_EVT_TYPE", "postgresql").env("DB_EVT_HOST", "127.0.0.1");
    command.env("DB_EVT_PORT", "1").env("DB_EVT_DB", "d").env("DB_EVT_PASS", "geheim");
    let (code, text) = failed(command);
    assert_eq!(code, 3);
    assert!(!text.contains("geheim"), "{text}");
}

#[test]
fn the_help_names_the_exit_codes_and_every_command_has_one() {
    let mut command = fes();
    let help = String::from_utf8(command.arg("--help").output().unwrap().stdout).unwrap();
    assert!(help.contains("130"), "{help}");
    let documented = include_str!("../docs/cli.md");
    for name in COMMANDS {
        assert!(help.contains(&format!("\n  {name}")), "{name}");
        assert!(documented.contains(&format!("fes {name}")), "{name} is not in docs/cli.md");
        assert!(fes().args([name, "--help"]).output().unwrap().status.success());
    }
}

const COMMANDS: &[&str] = &[
    "migrate",
    "add",
    "poll",
    "tail",
    "register",
    "unregister",
    "consumers",
    "lag",
    "metrics",
    "archive",
    "discard",
    "history",
    "export",
    "run",
    "completions",
    "man",
];

#[test]
fn completions_and_manual_pages_are_made() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = fes().args(["completions", shell]).output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains("unregister"), "{shell}");
    }
    let output = fes().arg("man").output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains(".SH"));
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    assert!(fes().args(["man", "--dir"]).arg(&pages).output().unwrap().status.success());
    for name in COMMANDS {
        assert!(pages.join(format!("fes-{name}.1")).exists(), "{name}");
    }
}

#[test]
fn what_a_terminal_would_act_on_is_not_written_to_people() {
    let db = stream_of(0);
    let insert = "INSERT INTO evt_queue(type, data, ts) \
                  VALUES ('A' || char(27) || '[2J', '\"' || char(155) || '\"', datetime('now'))";
    db.raw().exec(insert);
    db.raw().exec("INSERT INTO evt_queue(type, data, ts) VALUES ('B', 'no json', datetime('now'))");
    let text = output(&db, &["poll"]);
    assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
    assert_eq!(text.lines().count(), 2);
    assert_eq!(documents(&db, &["export"])[1]["invalid_data"], "no json");
}

/// What is written of arguments: in both streams, without the line ends.
fn shown(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).unwrap().replace('\n', " ")
}

#[test]
fn arguments_are_shown_and_not_acted_on() {
    let db = stream_of(0);
    for bad in ["\u{1b}[2J", "\u{1b}]0;x\u{7}", "\u{9b}2J", "\u{202e}x"] {
        let escaped = bad.chars().next().unwrap().escape_unicode().to_string();
        let (option, other) = (format!("{bad}=1"), format!("--{bad}"));
        for args in [
            &[bad][..],
            &[&other],
            &["add", bad],
            &["add", "A", bad],
            &["completions", bad],
            &["poll", "--want", bad],
            &["poll", "--user", bad, "--component", "C"],
            &["register", "--user", "a", "--component", bad],
            &["register", "--user", "a", "--component", "C", "--at", bad],
            &["lag", "--option", &option],
            &["history", "--dwh-file", bad],
        ] {
            let text = shown(on(&db, &[]).args(args));
            let acts = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
            assert!(!text.contains(acts) && text.contains(&escaped), "{args:?}: {text:?}");
        }
    }
}

#[test]
fn only_who_makes_tables_makes_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("sqlite://{}", folder.path().join(name).display());
    let (db, dwh) = (url("mistyped.db"), url("mistyped_too.db"));
    let audit = ["--user", "app", "--component", "Audit"];
    for args in [
        &["poll"][..],
        &["tail"],
        &["lag"],
        &["consumers"],
        &["metrics"],
        &["add", "A"],
        &["export"],
        &["verify"],
        &["discard"],
        &[&["register"], &audit[..]].concat(),
        &[&["skip"], &audit[..]].concat(),
        &["--dwh", &dwh, "history"],
        &["--dwh", &dwh, "archive"],
    ] {
        let (code, text) = failed(on_url(&db, args));
        assert_eq!(code, 1, "{args:?}: {text}");
        assert!(text.contains("mistyped") && text.contains("fes migrate"), "{args:?}: {text}");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "{args:?}");
    }
    assert!(on_url(&db, &["migrate"]).status().unwrap().success());
    assert!(on_url(&db, &["poll"]).status().unwrap().success());
    assert!(on_url(&dwh, &["--option", "create=true", "lag"]).output().is_ok());
    assert!(folder.path().join("mistyped_too.db").exists());
}

fn on_url(url: &str, args: &[&str]) -> Command {
    let mut command = fes();
    command.args(["--db", url]).args(args);
    command
}
