//! What the Rust tests share: databases of their own on every server that is there.
#![allow(dead_code)] // each test program uses a part of it

pub mod lives;
pub mod pg_splitter;
pub mod proxy;
pub mod spare;
pub mod splitter;
pub mod stress;

use futoin_eventstream::{
    DatabaseKind, ErrorKind, Event, EventStream, Options, Want, mysql, postgres, rusqlite,
};
use mysql::prelude::Queryable;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The servers of a full run, by the name in their `FES_TEST_<NAME>_URL`; SQLite needs none.
pub const SERVERS: &[&str] = &["sqlite", "postgres", "postgres18", "mariadb", "mysql"];

/// Makes of one function a test for each server:
///
/// ```ignore
/// on_each_server!(an_event_comes_back, |db| { ... });
/// ```
#[macro_export]
macro_rules! on_each_server {
    ($name:ident, $body:expr) => {
        $crate::on_servers!($name, [sqlite, postgres, postgres18, mariadb, mysql], $body);
    };
}

/// As [`on_each_server`], on the named servers only.
#[macro_export]
macro_rules! on_servers {
    ($name:ident, [$($server:ident),+], $body:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            fn run(db: &$crate::support::Db) {
                let body: fn(&$crate::support::Db) = $body;
                body(db)
            }
            $(#[test]
            fn $server() {
                if let Some(db) = $crate::support::Db::on(stringify!($server)) {
                    run(&db);
                }
            })+
        }
    };
}

/// A command that runs one test of this program again, as a process of its own. `module` is the
/// `module_path!()` of the file that the test stands in.
pub fn rerun(module: &str, test: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &exact_name(module, test), "--nocapture"]);
    command
}

/// The name that `--exact` asks for.
pub fn exact_name(module: &str, test: &str) -> String {
    let (_program, module) = module.split_once("::").expect("a module of this program");
    format!("{module}::{test}")
}

/// Sets a flag when it is dropped, also by a failure: otherwise a scope would wait for ever for threads that
/// work until the flag is set.
pub struct Done<'a>(pub &'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A new database of a test's own; dropped with it.
pub struct Db {
    /// Which server: one of [`SERVERS`].
    pub server: &'static str,
    pub kind: DatabaseKind,
    /// For [`EventStream::open`].
    pub url: String,
    /// The administrator's URL of the server, and the database's name there.
    admin: String,
    pub name: String,
    folder: Option<tempfile::TempDir>,
}

impl Db {
    /// A new database on the server, or `None` (and prints why) if there is no such server,
    /// which is a failure where the run promised one.
    pub fn on(server: &str) -> Option<Db> {
        let server = SERVERS.iter().find(|name| **name == server).expect("a server");
        if *server == "sqlite" {
            let folder = tempfile::tempdir().unwrap();
            let url = format!("sqlite://{}", folder.path().join("events.db").display());
            return Some(Db {
                server,
                kind: DatabaseKind::Sqlite,
                url,
                admin: String::new(),
                name: String::new(),
                folder: Some(folder),
            });
        }
        let variable = format!("FES_TEST_{}_URL", server.to_uppercase());
        let Ok(admin) = std::env::var(&variable) else {
            let required = std::env::var("FES_TEST_REQUIRED").is_ok();
            assert!(!required, "{variable} is not set: run the tests with tests/run");
            eprintln!("left out: {server}, because {variable} is not set (tests/run sets it)");
            return None;
        };
        Some(Db::at(server, &admin))
    }

    /// A new database on the server of this kind that the administrator's URL leads to.
    pub fn at(server: &'static str, admin: &str) -> Db {
        let kind = match server {
            "postgres" | "postgres18" => DatabaseKind::Postgres,
            _ => DatabaseKind::Mysql,
        };
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("fes_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let url = with_database(admin, &name);
        Raw::connect(kind, admin).exec(&format!("CREATE DATABASE {name}"));
        Db { server, kind, url, admin: admin.to_owned(), name, folder: None }
    }

    /// The file of a SQLite database.
    pub fn path(&self) -> std::path::PathBuf {
        self.folder.as_ref().expect("SQLite").path().join("events.db")
    }

    /// The stream of this database, with its tables made.
    pub fn stream(&self) -> EventStream {
        self.stream_with(&[])
    }

    /// As [`stream`](Self::stream), with options.
    pub fn stream_with(&self, options: &[(&str, &str)]) -> EventStream {
        let options = options
            .iter()
            .fold(Options::new(), |options, (name, value)| options.set(name, value).unwrap());
        let stream = EventStream::open_with(&self.url, &options).unwrap();
        stream.migrate().unwrap();
        stream
    }

    /// The URL with a part changed.
    pub fn url_with(&self, change: impl FnOnce(&mut url::Url)) -> String {
        let mut url = url::Url::parse(&self.url).unwrap();
        change(&mut url);
        url.into()
    }

    /// Empties the event table so that ids begin anew; the consumers stay.
    pub fn truncate(&self) {
        let sql = match self.kind {
            DatabaseKind::Sqlite => {
                "BEGIN; DELETE FROM evt_queue; \
                 DELETE FROM sqlite_sequence WHERE name = 'evt_queue'; COMMIT"
            }
            DatabaseKind::Postgres => "TRUNCATE evt_queue RESTART IDENTITY",
            DatabaseKind::Mysql => "TRUNCATE TABLE evt_queue",
        };
        self.raw().exec(sql);
    }

    /// Ends all other sessions of this database, and waits until they are gone.
    pub fn kill_sessions(&self) {
        let mut raw = self.raw();
        let (list, kill) = match self.kind {
            DatabaseKind::Sqlite => return,
            DatabaseKind::Postgres => (
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
                 AND pid <> pg_backend_pid()",
                "SELECT pg_terminate_backend({})",
            ),
            DatabaseKind::Mysql => (
                "SELECT id FROM information_schema.PROCESSLIST WHERE DB = DATABASE() \
                 AND id <> CONNECTION_ID()",
                "KILL {}",
            ),
        };
        loop {
            let sessions = raw.texts(list);
            if sessions.is_empty() {
                return;
            }
            for session in sessions {
                // It may be gone by now.
                let _ = raw.try_exec(&kill.replace("{}", &session));
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// A connection of the raw driver to this database.
    pub fn raw(&self) -> Raw {
        Raw::connect(self.kind, &self.url)
    }

    /// The plain INSERT of an application, of one event with data `null`.
    pub fn insert_sql(&self, event_type: &str) -> String {
        format!(
            "INSERT INTO evt_queue(type, data, ts) VALUES ('{event_type}', 'null', {})",
            self.now_sql()
        )
    }

    /// The current UTC time in the dialect.
    pub fn now_sql(&self) -> &'static str {
        match self.kind {
            DatabaseKind::Sqlite => "datetime('now')",
            DatabaseKind::Postgres => "now() AT TIME ZONE 'UTC'",
            DatabaseKind::Mysql => "UTC_TIMESTAMP()",
        }
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        let drop = match self.kind {
            DatabaseKind::Sqlite => return,
            DatabaseKind::Postgres => format!("DROP DATABASE {} WITH (FORCE)", self.name),
            DatabaseKind::Mysql => format!("DROP DATABASE {}", self.name),
        };
        // A test that fails may leave locks: then the database stays until the servers go.
        // Nor must a server that is gone end all tests by a panic in a panic.
        let connect = || Raw::connect(self.kind, &self.admin);
        let Ok(mut raw) = std::panic::catch_unwind(connect) else { return };
        if self.kind == DatabaseKind::Mysql {
            raw.exec("SET SESSION lock_wait_timeout = 2");
        }
        let _ = raw.try_exec(&drop);
    }
}

/// All events of the stream, in order, as a LIVE consumer gets them.
pub fn everything(stream: &EventStream) -> Vec<Event> {
    let live = stream.live("everything").unwrap();
    let mut events: Vec<Event> = Vec::new();
    loop {
        let last = events.last().map_or(0, |event| event.id);
        let more = live.poll(Some(last), &Want::all()).unwrap();
        if more.is_empty() {
            return events;
        }
        events.extend(more);
    }
}

/// The kind of the error of a call that must fail.
#[track_caller]
pub fn failure<T: std::fmt::Debug>(result: futoin_eventstream::Result<T>) -> ErrorKind {
    result.expect_err("a failure").kind()
}

/// A variable that tests/run sets; `None` (and prints why) where it is not set, which is a
/// failure where the run promised all of them.
pub fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    if value.is_none() {
        let required = std::env::var("FES_TEST_REQUIRED").is_ok();
        assert!(!required, "{name} is not set: run the tests with tests/run");
        eprintln!("left out: {name} is not set (tests/run sets it)");
    }
    value
}

/// The URL of another database on the same server.
pub fn with_database(url: &str, name: &str) -> String {
    format!("{}/{name}", url.rsplit_once('/').expect("a database").0)
}

/// A plain connection of the driver, as an application has it.
pub enum Raw {
    Sqlite(rusqlite::Connection),
    Postgres(Box<postgres::Client>),
    Mysql(Box<mysql::Conn>),
}

impl Raw {
    pub fn connect(kind: DatabaseKind, url: &str) -> Raw {
        match kind {
            DatabaseKind::Sqlite => {
                let path = url.strip_prefix("sqlite://").expect("a path");
                let connection = rusqlite::Connection::open(path).unwrap();
                connection.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
                Raw::Sqlite(connection)
            }
            DatabaseKind::Postgres => {
                Raw::Postgres(Box::new(postgres::Client::connect(url, postgres::NoTls).unwrap()))
            }
            DatabaseKind::Mysql => {
                let options = mysql::OptsBuilder::from_opts(mysql::Opts::from_url(url).unwrap());
                Raw::Mysql(Box::new(mysql::Conn::new(options.prefer_socket(false)).unwrap()))
            }
        }
    }

    /// Runs one statement.
    pub fn try_exec(&mut self, sql: &str) -> Result<(), String> {
        match self {
            Raw::Sqlite(c) => c.execute_batch(sql).map_err(|why| why.to_string()),
            Raw::Postgres(c) => c.batch_execute(sql).map_err(|why| format!("{why:?}")),
            Raw::Mysql(c) => c.query_drop(sql).map_err(|why| why.to_string()),
        }
    }

    /// Runs one statement that must succeed.
    pub fn exec(&mut self, sql: &str) {
        self.try_exec(sql).unwrap_or_else(|why| panic!("{sql}: {why}"));
    }

    /// The first column of every row, as text; NULL is the empty text.
    pub fn texts(&mut self, sql: &str) -> Vec<String> {
        match self {
            Raw::Sqlite(c) => {
                let mut statement = c.prepare(sql).unwrap();
                let rows = statement.query_map([], |row| {
                    Ok(match row.get::<_, rusqlite::types::Value>(0)? {
                        rusqlite::types::Value::Integer(number) => number.to_string(),
                        rusqlite::types::Value::Text(text) => text,
                        _ => String::new(),
                    })
                });
                rows.unwrap().map(Result::unwrap).collect()
            }
            Raw::Postgres(c) => c
                .simple_query(sql)
                .unwrap()
                .iter()
                .filter_map(|message| match message {
                    postgres::SimpleQueryMessage::Row(row) => {
                        Some(row.get(0).unwrap_or_default().to_owned())
                    }
                    _ => None,
                })
                .collect(),
            Raw::Mysql(c) => c
                .query::<Option<String>, _>(sql)
                .unwrap()
                .into_iter()
                .map(Option::unwrap_or_default)
                .collect(),
        }
    }

    /// The first column of the only row, as a number.
    pub fn number(&mut self, sql: &str) -> i64 {
        let rows = self.texts(sql);
        rows[0].parse().unwrap_or_else(|_| panic!("{sql}: {rows:?}"))
    }
}
