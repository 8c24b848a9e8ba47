//! The command `fes`: the built binary, as people and scripts use it.

mod add;
mod consumers;
mod errors;
mod follow;

use crate::support::Db;
use futoin_eventstream::Warehouse;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

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
