//! What the command `fes` does for who runs a stream: the service, and the checks.

use crate::support::Db;
use crate::support::proxy::{Mode, Proxy};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// The command on a stream and its history, without a database of the environment.
fn fes(url: &str, dwh: Option<&str>, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fes"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DB_EVT")) {
        command.env_remove(name);
    }
    command.args(["--db", url]);
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
    ok(fes(&db.url, history, &["migrate"]));
    for n in ["1", "2", "3"] {
        ok(fes(&db.url, None, &["add", "COUNTED", n]));
    }
    ok(fes(&db.url, history, &["archive"]));
    let text = ok(fes(&db.url, history, &["verify"]));
    assert!(text.contains("in both           3\n"), "{text}");
    assert!(text.ends_with("every id is accounted for\n"), "{text}");

    dwh.raw().exec("DELETE FROM evt_history WHERE id = 2");
    let (code, text) = ended(fes(&db.url, history, &["verify"]));
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("WRONG  not_archived (1)"), "{text}");
    let (code, json) = ended(fes(&db.url, history, &["verify", "--json", "--examples", "1"]));
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &report["findings"][0]["examples"][0]["id"]), (4, &Value::from("2")));
    assert_eq!(ended(fes(&db.url, history, &["verify", "--from", "3"])).0, 0);
    assert_eq!(ended(fes(&db.url, None, &["verify"])).0, 0);
    assert_eq!(ended(fes(&db.url, None, &["verify", "--to", "0"])).0, 2);
    // An error is another code.
    db.raw().exec("DROP TABLE evt_consumers");
    assert_eq!(ended(fes(&db.url, history, &["verify"])).0, 1);
});

/// `fes run`, or another command that goes on; killed if the test fails.
struct Service {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Service {
    fn start(mut command: Command) -> Service {
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        Service { child, lines }
    }

    /// The first line with this text.
    #[track_caller]
    fn says(&self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let mut lines = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            if line.contains(text) {
                return line;
            }
            lines.push(line);
        }
        panic!("it does not say {text:?}, but {lines:?}");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Ends it by SIGTERM; the code, and how long it took.
    #[track_caller]
    fn terminate(mut self) -> (i32, Duration) {
        let start = Instant::now();
        self.signal("-TERM");
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code().expect("a code"), start.elapsed());
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A service manager's socket, and its name for `NOTIFY_SOCKET`.
struct Manager {
    socket: UnixDatagram,
    _folder: Option<tempfile::TempDir>,
}

impl Manager {
    fn new() -> (Manager, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        (Manager { socket, _folder: Some(folder) }, path.to_str().unwrap().to_owned())
    }

    /// Whether a message with this text comes in time.
    fn hears(&self, text: &str, time: Duration) -> bool {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.socket.set_read_timeout(Some(left)).unwrap();
            let mut message = [0; 4096];
            let Ok(size) = self.socket.recv(&mut message) else { return false };
            if String::from_utf8_lossy(&message[..size]).contains(text) {
                return true;
            }
        }
    }
}

on_servers!(run_waits_for_a_server_that_is_not_there_yet, [postgres, mariadb, mysql], |db| {
    db.stream().close();
    let proxy = Proxy::before(&db.url);
    proxy.set(Mode::Refuse);
    let behind = proxy.url(&db.url);
    let (manager, name) = Manager::new();
    let command = |args: &[&str]| {
        let mut command = fes(&behind, None, &[&["run", "--discard"], args].concat());
        command.env("NOTIFY_SOCKET", &name);
        command
    };
    // A signal is not kept waiting, and what is wrong with the arguments neither.
    let service = Service::start(command(&[]));
    service.says("waiting for it");
    let (code, took) = service.terminate();
    assert!(code == 0 && took < Duration::from_secs(2), "{code} after {took:?}");
    assert_eq!(ended(command(&["-o", "no_such=1"])).0, 2);

    let service = Service::start(command(&["--json"]));
    let line: Value = serde_json::from_str(&service.says("waiting")).unwrap();
    assert_eq!((&line["notice"], line["time"].is_string()), (&Value::from("waiting"), true));
    assert!(manager.hears("EXTEND_TIMEOUT_USEC=", PATIENCE));
    proxy.set(Mode::Forward);
    service.says("started");
    assert!(manager.hears("READY=1", PATIENCE));
    assert_eq!(service.terminate().0, 0);
    assert!(manager.hears("STOPPING=1", PATIENCE));
});

on_servers!(run_says_when_it_works_again, [postgres, mariadb, mysql], |db| {
    db.stream().close();
    let proxy = Proxy::before(&db.url);
    let behind = proxy.url(&db.url);
    let args = ["run", "--discard", "-o", "poll_period_ms=20", "-o", "connect_timeout_ms=1000"];
    let service = Service::start(fes(&behind, None, &args));
    service.says("started");
    proxy.set(Mode::Refuse);
    proxy.cut();
    service.says("trying again");
    proxy.set(Mode::Forward);
    service.says("it works again");
    service.signal("-HUP");
    let status = service.says("status: ");
    assert!(status.contains("discarder: waits for work") || status.contains("at work"), "{status}");
    assert_eq!(service.terminate().0, 0);
});

on_servers!(the_watchdog_is_fed_while_the_workers_get_on, [postgres, mariadb, mysql], |db| {
    db.stream().close();
    let proxy = Proxy::before(&db.url);
    let behind = proxy.url(&db.url);
    let (manager, name) = Manager::new();
    let mut command = fes(&behind, None, &["run", "--discard", "-o", "poll_period_ms=20"]);
    command.env("NOTIFY_SOCKET", &name).env("WATCHDOG_USEC", "900000");
    let service = Service::start(command);
    assert!(manager.hears("READY=1", PATIENCE));
    for _ in 0..5 {
        assert!(manager.hears("WATCHDOG=1", Duration::from_millis(900)));
    }
    // The server says nothing any more: the worker hangs in its call.
    proxy.set(Mode::Silent);
    let start = Instant::now();
    while manager.hears("WATCHDOG=1", Duration::from_millis(900)) {
        assert!(start.elapsed() < Duration::from_secs(10), "it is fed although a worker hangs");
    }
    proxy.set(Mode::Forward);
    proxy.cut();
    assert!(manager.hears("WATCHDOG=1", PATIENCE));
    assert_eq!(service.terminate().0, 0);
});

on_servers!(run_ends_on_the_first_signal_whatever_is_silent, [postgres, mariadb, mysql], |db| {
    let dwh = Db::on(db.server).unwrap();
    ok(fes(&db.url, Some(&dwh.url), &["migrate"]));
    let (active, history) = (Proxy::before(&db.url), Proxy::before(&dwh.url));
    let urls = (active.url(&db.url), history.url(&dwh.url));
    let args = ["run", "--discard", "-o", "poll_period_ms=20"];
    let stream = db.stream();
    for silent in [vec![&active], vec![&history], vec![&active, &history]] {
        let service = Service::start(fes(&urls.0, Some(&urls.1), &args));
        service.says("started");
        silent.iter().for_each(|proxy| proxy.set(Mode::Silent));
        // So that both have something to do there.
        stream.add_event("A", &1).unwrap();
        std::thread::sleep(Duration::from_millis(700));
        let (code, took) = service.terminate();
        assert!(code == 0 && took < Duration::from_secs(10), "{code} after {took:?}");
        // While it opens them, too.
        let service = Service::start(fes(&urls.0, Some(&urls.1), &args));
        std::thread::sleep(Duration::from_millis(700));
        let (code, took) = service.terminate();
        assert!(code == 0 && took < Duration::from_secs(10), "{code} after {took:?}");
        for proxy in silent {
            proxy.set(Mode::Forward);
            proxy.cut();
        }
    }
});

#[cfg(target_os = "linux")]
#[test]
fn the_service_manager_may_listen_at_an_abstract_socket() {
    use std::os::linux::net::SocketAddrExt;
    let db = Db::on("sqlite").unwrap();
    db.stream().close();
    let name = format!("fes-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    let manager = Manager { socket, _folder: None };
    let mut command = fes(&db.url, None, &["run", "--discard"]);
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    let service = Service::start(command);
    assert!(manager.hears("READY=1", PATIENCE));
    assert_eq!(service.terminate().0, 0);
}

#[test]
fn lines_begin_with_the_time_unless_the_journal_notes_it() {
    let db = Db::on("sqlite").unwrap();
    db.stream().close();
    let stamped = |journal: bool, when: &str| {
        let mut command = fes(&db.url, None, &["run", "--discard", "--timestamps", when]);
        match journal {
            true => command.env("JOURNAL_STREAM", "8:1"),
            false => command.env_remove("JOURNAL_STREAM"),
        };
        let service = Service::start(command);
        let line = service.says("started: discarder");
        assert_eq!(service.terminate().0, 0);
        let time = line.strip_suffix(" started: discarder").unwrap_or_default();
        assert!(time.is_empty() || time.len() == 20 && time.ends_with('Z'), "{line}");
        !time.is_empty()
    };
    let all = [(false, "auto"), (true, "auto"), (true, "always"), (false, "never")];
    assert_eq!(all.map(|(journal, when)| stamped(journal, when)), [true, false, true, false]);
}

#[test]
fn discard_says_whom_it_unregistered() {
    let db = Db::on("sqlite").unwrap();
    db.stream().close();
    let mut raw = db.raw();
    let mut kill = || {
        for name in ["Alive", "Dead"] {
            ok(fes(&db.url, None, &["register", "--user", "app", "--component", name]));
        }
        raw.exec(
            "UPDATE evt_consumers SET last_time = '2001-01-01 00:00:00' WHERE ident = 'app:Dead'",
        );
    };
    let args = ["discard", "-o", "expire_after_s=60"];
    kill();
    let text = ok(fes(&db.url, None, &args));
    assert_eq!(text, "app:Dead was not seen for long: unregistered\n0 events discarded\n");
    kill();
    let json = ok(fes(&db.url, None, &[&args[..], &["--json"]].concat()));
    assert_eq!(json, "{\"discarded\":0,\"expired\":[\"app:Dead\"]}\n");
    assert_eq!(ok(fes(&db.url, None, &["discard"])), "0 events discarded\n");
}

on_each_server!(doctor_ends_with_code_4_if_something_fails, |db| {
    // The file of SQLite is there, and has no tables.
    futoin_eventstream::EventStream::open(&db.url).unwrap().close();
    let (code, text) = ended(fes(&db.url, None, &["doctor"]));
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("FAILURE  tables") && text.contains("do:  migrate()"), "{text}");
    db.stream().close();
    let text = ok(fes(&db.url, None, &["doctor", "--role", "consumer"]));
    assert!(text.contains("ok       role_consumer") && text.contains("0 failures"), "{text}");
    let json = ok(fes(&db.url, None, &["doctor", "--json"]));
    let checks: Vec<Value> = serde_json::from_str(&json).unwrap();
    assert!(checks.iter().all(|check| check["status"] != "failure"), "{json}");
    assert_eq!(ended(fes(&db.url, None, &["doctor", "--role", "nobody"])).0, 2);
});

#[test]
fn the_doctor_says_why_a_server_cannot_be_reached() {
    let (code, text) = ended(fes("postgres://joe:geheim@127.0.0.1:1/d", None, &["doctor"]));
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("FAILURE  reachable") && !text.contains("geheim"), "{text}");
}
