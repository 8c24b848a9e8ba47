//! The C tests of `tests/c`: plain on every server, with the sanitizers of gcc, and under valgrind.
//! CONTRIBUTING.md tells what helgrind, drd and a sanitized library cannot tell.

use crate::c::support::{Libraries, run as execute};
use std::process::Command;

const SOURCES: &[&str] = &[
    "tests/c/main.c",
    "tests/c/api.c",
    "tests/c/history.c",
    "tests/c/owners.c",
    "tests/c/loops.c",
    "tests/c/wrong.c",
    "tests/c/errors.c",
    "tests/c/servers.c",
    "tests/c/limits.c",
    "tests/c/threads.c",
];

/// Those that have to do with the server; the others are the same on all, and run on SQLite.
const OF_SERVERS: &[&str] = &[
    "events",
    "transactions",
    "statements",
    "consumers",
    "subscriptions",
    "loops",
    "receivers",
    "errors_of_databases",
];

/// Compiles the tests; `flags` are further ones of gcc.
fn compile(libraries: &Libraries, flags: &[&str]) -> std::path::PathBuf {
    let mut flags = flags.to_vec();
    flags.push("-D_GNU_SOURCE");
    if cfg!(feature = "selftest") {
        flags.push("-DFES_SELFTEST");
    }
    if cfg!(feature = "tls") {
        flags.push("-DFES_TLS");
    }
    libraries.compile("c_tests", SOURCES, &flags)
}

fn report(what: &str, output: &str) {
    for line in output.lines().filter(|line| !line.starts_with("ok ")) {
        eprintln!("{what}: {line}");
    }
}

on_each_server!(the_c_interface_works, |db| {
    let libraries = Libraries::new();
    let program = compile(&libraries, &[]);
    let mut command = Command::new(program);
    command.arg(libraries.path()).arg(&db.url);
    if db.server != "sqlite" {
        command.args(OF_SERVERS);
    }
    let output = execute(&mut command);
    report(db.server, &output);
});

#[test]
fn no_address_is_misused_and_nothing_is_undefined() {
    let libraries = Libraries::new();
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let program = compile(&libraries, &flags);
    let output = execute(
        Command::new(program)
            .arg(libraries.path())
            .arg(format!("sqlite:{}/asan.db", libraries.path().display()))
            .env("ASAN_OPTIONS", "detect_leaks=1:allocator_may_return_null=1")
            .env("FES_ROUNDS", "200")
            .env("FES_ROUGH_MEMORY", "1"),
    );
    report("sanitizers", &output);
}

/// The library is no part of it: its locks are not those of pthread, so that every access to what
/// they guard would look like a race. What is looked at is the C side: callbacks come as they are
/// said to come, and nothing is used by two threads that must not be.
#[test]
fn no_thread_of_the_c_side_races_with_another() {
    let libraries = Libraries::new();
    let program = compile(&libraries, &["-fsanitize=thread"]);
    let suppressions = libraries.path().join("suppressions");
    std::fs::write(&suppressions, "called_from_lib:libfutoin_eventstream.so.0\n").unwrap();
    // This sanitizer knows no addresses as random as those of newer kernels.
    let plain = Command::new("setarch").args(["-R", "true"]).output();
    let mut command = match plain.is_ok_and(|output| output.status.success()) {
        true => Command::new("setarch"),
        false => Command::new("env"),
    };
    if command.get_program() == "setarch" {
        command.arg("-R");
    }
    let output = execute(
        command
            .arg(program)
            .arg(libraries.path())
            .arg(format!("sqlite:{}/tsan.db", libraries.path().display()))
            .env("TSAN_OPTIONS", format!("suppressions={}", suppressions.display()))
            .env("FES_ROUNDS", "20")
            .env("FES_ROUGH_MEMORY", "1"),
    );
    report("thread sanitizer", &output);
}

#[test]
fn valgrind_finds_no_leak_and_no_error() {
    let libraries = Libraries::new();
    let program = compile(&libraries, &[]);
    let output = execute(
        Command::new("valgrind")
            .args(["--quiet", "--leak-check=full", "--show-leak-kinds=definite,indirect"])
            .args(["--errors-for-leak-kinds=definite,indirect", "--error-exitcode=9"])
            .args(["--fair-sched=yes"])
            .arg(program)
            .arg(libraries.path())
            .arg(format!("sqlite:{}/valgrind.db", libraries.path().display()))
            .env("FES_ROUNDS", "20")
            .env("FES_ROUGH_MEMORY", "1"),
    );
    report("valgrind", &output);
}
