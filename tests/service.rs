//! What the command `fes` does for who runs a stream: the service, and the checks.
#![cfg(all(feature = "cli", unix))]

mod support;

use serde_json::Value;
use std::process::{Command, Output, Stdio};
use support::Db;

/// The command on a stream and its history, without a database of the environment.
fn fes(db: &Db, dwh: Option<&str>, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fes"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DB_EVT")) {
        command.env_remove(name);
    }
    command.args(["--db", &db.url]);
    if let Some(dwh) = dwh {
        command.args(["--dwh", dwh]);
    }
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[track_caller]
fn ok(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{status}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// The code, and what was written to standard output.
fn ended(mut command: Command) -> (i32, String) {
    let output = command.output().unwrap();
    (output.status.code().expect("a code"), String::from_utf8(output.stdout).unwrap())
}

on_each_server!(verify_ends_with_code_4_if_something_is_wrong, |db| {
    let dwh = Db::on(db.server).unwrap();
    let history = Some(dwh.url.as_str());
    ok(fes(db, history, &["migrate"]));
    for n in ["1", "2", "3"] {
        ok(fes(db, None, &["add", "COUNTED", n]));
    }
    ok(fes(db, history, &["archive"]));
    let text = ok(fes(db, history, &["verify"]));
    assert!(text.contains("in both           3\n"), "{text}");
    assert!(text.ends_with("every id is accounted for\n"), "{text}");

    dwh.raw().exec("DELETE FROM evt_history WHERE id = 2");
    let (code, text) = ended(fes(db, history, &["verify"]));
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("WRONG  not_archived (1)"), "{text}");
    let (code, json) = ended(fes(db, history, &["verify", "--json", "--examples", "1"]));
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &report["findings"][0]["examples"][0]["id"]), (4, &Value::from("2")));
    assert_eq!(ended(fes(db, history, &["verify", "--from", "3"])).0, 0);
    assert_eq!(ended(fes(db, None, &["verify"])).0, 0);
    assert_eq!(ended(fes(db, None, &["verify", "--to", "0"])).0, 2);
    // An error is another code.
    db.raw().exec("DROP TABLE evt_consumers");
    assert_eq!(ended(fes(db, history, &["verify"])).0, 1);
});
