//! Failovers that lose the last commits, and restores of an older dump, while everything is at work: each
//! event that is there afterwards, behind the cursors that are there then, was delivered to every reliable
//! consumer and copied by the archiver. Repeats are allowed, holes are not; no cursor passes over what was
//! not delivered, and whoever was given what is lost is told.
//!
//! `FES_STRESS_SECONDS` is the length of the work before and after, `FES_STRESS_SEED` the seed, which a run
//! prints.

use crate::support::lives::{Scene, now, pause, survives};
use crate::support::proxy::Proxy;
use crate::support::spare::{Spare, eventually};
use crate::support::stress::Plan;
use crate::support::{Db, Raw, variable};
use futoin_eventstream::{DatabaseKind, rusqlite};
use rand::Rng;
use rand::rngs::StdRng;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One at a time: each is load enough.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the keeper of the servers do something.
fn control(action: &str, name: &str) {
    let program = variable("FES_TEST_CONTROL").unwrap();
    let done = Command::new(program).args([action, name]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn port(server: &Spare) -> u16 {
    url::Url::parse(&server.url).unwrap().port().unwrap()
}

/// The standby hears nothing more of its primary, some time before that dies and it takes over.
#[test]
fn a_failover_that_loses_commits_loses_no_event_of_the_new_primary() {
    let _turn = turn();
    let plan = Plan::new(2);
    let name = format!("lossy{}", std::process::id());
    let Some(primary) = Spare::make(&name, "postgres", &[]) else { return };
    let db = primary.db();
    let standby = primary.standby_of(&name).unwrap();
    // By several hosts in the URL, or by an address that leads elsewhere.
    let proxy = plan.seed.is_multiple_of(2).then(|| Proxy::before(&primary.url));
    let url = match &proxy {
        Some(proxy) => proxy.url(&db.url),
        None => {
            let (host, database) = db.url.rsplit_once('/').unwrap();
            let other = port(&standby);
            format!("{host},127.0.0.1:{other}/{database}?target_session_attrs=read-write")
        }
    };
    let scene = Scene { db: &db, url, seed: plan.seed, length: plan.length, at_once: true };
    survives(&scene, |rng| {
        let url = crate::support::with_database(&standby.url, &db.name);
        let mut raw = Raw::connect(DatabaseKind::Postgres, &url);
        raw.exec("ALTER SYSTEM SET primary_conninfo = ''");
        raw.exec("SELECT pg_reload_conf()");
        pause(rng.random_range(50..1000));
        control("kill", &format!("postgres-{name}"));
        eventually("everything that came is applied", || {
            raw.texts(
                "SELECT (SELECT count(*) FROM pg_stat_wal_receiver) = 0 AND \
                 pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()",
            ) == ["t"]
        });
        pause(rng.random_range(0..300));
        let began = now();
        raw.texts("SELECT pg_promote()");
        if let Some(proxy) = &proxy {
            proxy.point_to(&standby.url);
        }
        (began, raw)
    });
    Spare::drop(&format!("postgres-standby-{name}"));
    std::mem::forget(db);
    Spare::drop(&format!("postgres-{name}"));
}

on_servers!(a_restore_under_running_consumers_loses_no_event, [sqlite, postgres, mariadb], |db| {
    let _turn = turn();
    let plan = Plan::new(2);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump");
    let at_once = db.kind != DatabaseKind::Mysql;
    let scene = Scene { db, url: db.url.clone(), seed: plan.seed, length: plan.length, at_once };
    survives(&scene, |rng| {
        dump(db, &file);
        let between = now();
        pause(rng.random_range(50..1000));
        restore(db, &file, rng);
        (between, db.raw())
    });
});

/// The program, with what it needs to reach the database.
fn program(db: &Db, name: &str) -> Command {
    let url = url::Url::parse(&db.url).unwrap();
    let (host, port) = (url.host_str().unwrap(), url.port().unwrap().to_string());
    let (user, password) = (url.username(), url.password().unwrap_or_default());
    let mut command = Command::new(name);
    match db.kind {
        DatabaseKind::Postgres => command.arg(&db.url),
        _ => {
            command.args(["--no-defaults", "-h", host, "-P", &port, "-u", user]);
            command.arg(format!("-p{password}")).arg(&db.name)
        }
    };
    command
}

fn run(command: &mut Command) -> Result<(), String> {
    let done = command.stderr(Stdio::piped()).output().unwrap();
    match done.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
    }
}

fn dump(db: &Db, file: &Path) {
    let out = || std::fs::File::create(file).unwrap();
    match db.kind {
        DatabaseKind::Sqlite => db.raw().exec(&format!("VACUUM INTO '{}'", file.display())),
        DatabaseKind::Postgres => {
            run(program(db, "pg_dump").args(["--clean", "--if-exists"]).stdout(out())).unwrap();
        }
        DatabaseKind::Mysql => {
            run(program(db, "mariadb-dump").arg("--single-transaction").stdout(out())).unwrap();
        }
    }
}

/// Puts the older state in the place of what is there, while everybody goes on.
fn restore(db: &Db, file: &Path, rng: &mut StdRng) {
    let input = || std::fs::File::open(file).unwrap();
    match db.kind {
        DatabaseKind::Sqlite if rng.random_bool(0.5) => {
            let source = rusqlite::Connection::open(file).unwrap();
            let mut target = rusqlite::Connection::open(db.path()).unwrap();
            target.busy_timeout(Duration::from_secs(20)).unwrap();
            let backup = rusqlite::backup::Backup::new(&source, &mut target).unwrap();
            backup.run_to_completion(i32::MAX, Duration::from_millis(1), None).unwrap();
        }
        DatabaseKind::Sqlite => {
            for end in ["-wal", "-shm"] {
                let mut name = db.path().into_os_string();
                name.push(end);
                let _ = std::fs::remove_file(name);
            }
            std::fs::rename(file, db.path()).unwrap();
        }
        // Everybody waits for its locks, and it may be the one whom a deadlock ends.
        DatabaseKind::Postgres => eventually("the restore", || {
            let mut command = program(db, "psql");
            command.args(["-1", "-q", "-v", "ON_ERROR_STOP=1"]).stdout(Stdio::null());
            run(command.stdin(input())).inspect_err(|why| eprintln!("{why}")).is_ok()
        }),
        DatabaseKind::Mysql => run(program(db, "mariadb").stdin(input())).unwrap(),
    }
}
