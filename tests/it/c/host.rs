//! What the library leaves alone in the program that it is a part of: its signals, its standard
//! error, its own SQLite, its forks. The programs are those of `tests/c/host.c`.

use crate::c::support::Libraries;
use crate::support::Db;
use crate::support::proxy::{Mode, Proxy};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

const SOURCES: &[&str] = &[
    "tests/c/host.c",
    "tests/c/signals.c",
    "tests/c/callbacks.c",
    "tests/c/waits.c",
    "tests/c/forks.c",
    "tests/c/logs.c",
    "tests/c/resources.c",
    "tests/c/silence.c",
    "tests/c/stacks.c",
];

fn compile(libraries: &Libraries) -> std::path::PathBuf {
    let flags: &[&str] = match cfg!(feature = "selftest") {
        true => &["-D_GNU_SOURCE", "-DFES_SELFTEST"],
        false => &["-D_GNU_SOURCE"],
    };
    libraries.compile("host", SOURCES, flags)
}

/// Plays a scene, which must end well and write nothing to its standard error; `answer` does what it
/// asks for.
fn play(scene: &str, url: &str, answer: impl Fn(&str)) {
    let libraries = Libraries::new();
    let mut child = Command::new(compile(&libraries))
        .args([scene, url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut last = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        last = line.unwrap();
        if last != "alive" {
            answer(&last);
            // A program that has failed meanwhile says so itself.
            let _ = input.write_all(b"done\n");
        }
    }
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success() && last == "alive", "{scene}: {status} after {last:?}: {errors}");
    assert_eq!(errors, "", "{scene} wrote to its standard error");
}

/// By which ways a server is reached: as it is, by TLS, by its Unix socket.
fn ways(db: &Db) -> Vec<String> {
    if db.server == "sqlite" {
        return vec![db.url.clone()];
    }
    let ca = crate::support::variable("FES_TEST_TLS_CA");
    let socket = crate::support::variable(&format!("FES_TEST_{}_SOCKET", db.server.to_uppercase()));
    let with = |pairs: &[(&str, &str)]| {
        db.url_with(|url| {
            url.query_pairs_mut().extend_pairs(pairs);
        })
    };
    let mut ways = vec![db.url.clone()];
    if let Some(ca) = ca.filter(|_| cfg!(feature = "tls")) {
        ways.push(match db.kind {
            futoin_eventstream::DatabaseKind::Postgres => {
                with(&[("sslmode", "verify-ca"), ("sslrootcert", &ca)])
            }
            _ => with(&[("ssl-mode", "VERIFY_CA"), ("ssl-ca", &ca)]),
        });
    }
    ways.extend(socket.map(|path| with(&[("socket", &path)])));
    ways
}

on_servers!(
    a_cut_connection_raises_no_signal_in_a_call,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        for url in ways(db) {
            play("cut_calls", &url, |_| db.kill_sessions());
        }
    }
);

on_servers!(
    a_cut_connection_raises_no_signal_beside_an_idle_program,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        for url in ways(db) {
            play("cut_receiver", &url, |_| db.kill_sessions());
        }
    }
);

fn nothing_is_asked_for(what: &str) {
    panic!("the scene asked for {what}");
}

on_each_server!(what_a_callback_calls_comes_back, |db| {
    play("callbacks", &db.url, nothing_is_asked_for);
});

/// The SQL of the caller's own transactions runs as on SQLite's own defaults, or as the option says.
#[test]
fn foreign_keys_are_enforced_only_where_that_is_asked_for() {
    let db = Db::on("sqlite").unwrap();
    let tables = "CREATE TABLE parent(id INTEGER PRIMARY KEY); \
                  CREATE TABLE child(id INTEGER REFERENCES parent(id))";
    let raw = futoin_eventstream::rusqlite::Connection::open(db.path()).unwrap();
    raw.execute_batch(tables).unwrap();
    drop(raw);
    let insert = |stream: &futoin_eventstream::EventStream| {
        let mut tx = stream.begin().unwrap();
        let pragma = |tx: &mut futoin_eventstream::Transaction, name| {
            tx.query(&format!("PRAGMA {name}"), &[]).unwrap()[0][0].as_i64().unwrap()
        };
        let states = [pragma(&mut tx, "foreign_keys"), pragma(&mut tx, "recursive_triggers")];
        (states, tx.execute("INSERT INTO child VALUES (7)", &[]).map_err(|error| error.kind()))
    };
    let enforced = [("sqlite_foreign_keys", "true")];
    let constraint = futoin_eventstream::ErrorKind::Constraint;
    assert_eq!(insert(&db.stream_with(&enforced)), ([1, 0], Err(constraint)));
    assert_eq!(insert(&db.stream()), ([0, 0], Ok(1)));
}

#[test]
fn nobody_waits_for_another_ones_time_out() {
    play("waits", "sqlite::memory:", nothing_is_asked_for);
}

#[test]
fn opening_a_file_is_quick_with_thousands_of_descriptors() {
    let db = Db::on("sqlite").unwrap();
    play("descriptors", &db.url, nothing_is_asked_for);
}

on_each_server!(a_child_that_exits_closes_handles_of_its_parent, |db| {
    play("forks", &db.url, nothing_is_asked_for);
});

on_each_server!(the_log_shows_no_data_and_no_password, |db| {
    for url in ways(db) {
        play("logs", &url, |_| db.kill_sessions());
        // The next way finds an empty stream, and no history: the archiver then has something to log.
        let mut raw = db.raw();
        raw.exec("DROP TABLE evt_history");
        for table in ["evt_queue", "evt_consumers"] {
            raw.exec(&format!("DELETE FROM {table}"));
        }
    }
});

#[test]
fn a_thread_that_is_refused_is_an_error() {
    play("no_threads", "sqlite::memory:", nothing_is_asked_for);
}

#[test]
fn memory_that_is_refused_for_a_large_text_is_an_error() {
    play("no_memory", "sqlite::memory:", nothing_is_asked_for);
}

/// [`play`] looks at the standard error.
#[test]
fn a_caught_panic_writes_nothing() {
    play("panics", "sqlite::memory:", nothing_is_asked_for);
}

on_servers!(
    a_token_and_a_shutdown_end_calls_on_a_silent_server,
    [postgres, postgres18, mariadb, mysql],
    |db| {
        let proxy = Proxy::before(&db.url);
        play("silence", &proxy.url(&db.url), |what| {
            if what == "silence" {
                return proxy.set(Mode::Silent);
            }
            proxy.cut();
            proxy.set(Mode::Forward);
        });
    }
);

// The calls of a driver fit into what the library asks for; without it they fail and nothing crashes.
// `include/preface.txt` tells the numbers.
on_each_server!(no_call_uses_more_stack_than_it_asks_for, |db| {
    for url in ways(db) {
        play("stacks", &url, |used| eprintln!("{}: {used}", db.server));
    }
});

on_each_server!(a_cancelled_thread_ends_after_its_call, |db| {
    play("cancelled_threads", &db.url, nothing_is_asked_for);
});
