//! The databases that are measured, and how their tables are filled.

use crate::raw::Raw;
use futoin_eventstream::{DatabaseKind, EventStream, Options, Warehouse};

/// A database with the tables of a stream and of a warehouse, dropped at the end.
pub struct Database {
    pub name: &'static str,
    pub kind: DatabaseKind,
    pub url: String,
    pub warehouse_url: String,
    admin: Option<(String, [String; 2])>,
    _folder: Option<tempfile::TempDir>,
}

/// The types of events; one in a hundred is `RARE`.
pub const RARE: &str = "RARE";

/// About a hundred bytes of JSON, as an application writes them.
pub fn data(n: u64) -> String {
    format!(
        r#"{{"user":{n},"name":"Ann Onymous","mail":"ann{n}@example.com","roles":["reader","writer"],"ok":true}}"#
    )
}

impl Database {
    /// SQLite in a folder on disk, and every server of the environment.
    pub fn all(only: &[String]) -> Vec<Database> {
        let wanted = |name: &str| only.is_empty() || only.iter().any(|one| one == name);
        let mut found = Vec::new();
        if wanted("sqlite") {
            found.push(Database::sqlite());
        }
        for name in ["postgres", "mariadb", "mysql"] {
            let url = std::env::var(format!("FES_TEST_{}_URL", name.to_uppercase()));
            if let (true, Ok(url)) = (wanted(name), url) {
                found.push(Database::server(name, &url));
            }
        }
        found
    }

    fn sqlite() -> Database {
        // Not /tmp, which may be memory.
        let folder =
            tempfile::tempdir_in(std::env::var("CARGO_TARGET_DIR").unwrap_or("target".into()));
        let folder = folder.unwrap();
        let path = folder.path().canonicalize().unwrap();
        Database {
            name: "sqlite",
            kind: DatabaseKind::Sqlite,
            url: format!("sqlite://{}/events.db", path.display()),
            warehouse_url: format!("sqlite://{}/history.db", path.display()),
            admin: None,
            _folder: Some(folder),
        }
    }

    fn server(name: &'static str, url: &str) -> Database {
        let kind = match name {
            "postgres" => DatabaseKind::Postgres,
            _ => DatabaseKind::Mysql,
        };
        // Both sides without TLS: the raw one has none.
        let plain =
            if kind == DatabaseKind::Postgres { "sslmode=disable" } else { "ssl-mode=DISABLED" };
        let names =
            ["events", "history"].map(|part| format!("bench_{}_{part}", std::process::id()));
        let base = url.rsplit_once('/').expect("a database").0;
        let mut admin = Raw::connect(kind, url);
        for name in &names {
            admin.exec(&format!("CREATE DATABASE {name}"));
        }
        let [events, history] = &names;
        Database {
            name,
            kind,
            url: format!("{base}/{events}?{plain}"),
            warehouse_url: format!("{base}/{history}?{plain}"),
            admin: Some((url.to_owned(), names)),
            _folder: None,
        }
    }

    pub fn stream(&self) -> EventStream {
        self.stream_with(&Options::new().set("max_connections", "40").unwrap())
    }

    pub fn stream_with(&self, options: &Options) -> EventStream {
        let stream = EventStream::open_with(&self.url, options).unwrap();
        stream.migrate().unwrap();
        stream
    }

    pub fn warehouse(&self) -> Warehouse {
        let warehouse = Warehouse::open(&self.warehouse_url).unwrap();
        warehouse.migrate().unwrap();
        warehouse
    }

    /// Empties the history.
    pub fn clear_history(&self) {
        Raw::connect(self.kind, &self.warehouse_url).exec(match self.kind {
            DatabaseKind::Sqlite => "DELETE FROM evt_history; PRAGMA wal_checkpoint(RESTART)",
            _ => "TRUNCATE TABLE evt_history",
        });
    }

    pub fn raw(&self) -> Raw {
        Raw::connect(self.kind, &self.url)
    }

    /// Empties the table of events, and puts `count` into it. With `gaps` every tenth id is missing.
    /// Ids start at 1 again.
    pub fn fill(&self, count: u64, gaps: bool) {
        let mut raw = self.raw();
        let highest = if gaps { count * 10 / 9 } else { count };
        let chunk = 100_000;
        raw.exec(match self.kind {
            DatabaseKind::Sqlite => "DELETE FROM evt_queue",
            DatabaseKind::Postgres => "TRUNCATE evt_queue",
            DatabaseKind::Mysql => "TRUNCATE TABLE evt_queue",
        });
        raw.exec("DELETE FROM evt_consumers");
        let keep = if gaps { "n % 10 <> 7" } else { "1 = 1" };
        for start in (1..=highest).step_by(chunk) {
            let end = (start + chunk as u64 - 1).min(highest);
            raw.exec(&self.fill_sql(start, end, keep));
        }
        match self.kind {
            DatabaseKind::Sqlite => raw.exec(
                "UPDATE sqlite_sequence SET seq = (SELECT coalesce(max(id), 0) FROM evt_queue) \
                 WHERE name = 'evt_queue'; PRAGMA wal_checkpoint(RESTART); ANALYZE",
            ),
            DatabaseKind::Postgres => {
                let last = highest.max(1);
                raw.exec(&format!("SELECT setval('evt_queue_id_seq', {last})"));
                raw.exec("VACUUM ANALYZE evt_queue");
                raw.exec("CHECKPOINT");
            }
            DatabaseKind::Mysql => raw.exec("ANALYZE TABLE evt_queue"),
        }
    }

    fn fill_sql(&self, start: u64, end: u64, keep: &str) -> String {
        let n = data(1).replace("1,\"name", "N,\"name").replace("ann1@", "annN@");
        let pieces: Vec<String> = n.split('N').map(|piece| format!("'{piece}'")).collect();
        let (joined, now, series) = match self.kind {
            DatabaseKind::Sqlite => (
                pieces.join(" || n || "),
                "datetime('now')",
                format!(
                    "WITH RECURSIVE s(n) AS (SELECT {start} UNION ALL SELECT n + 1 FROM s \
                     WHERE n < {end}) INSERT INTO evt_queue(id, type, data, ts) SELECT"
                ),
            ),
            DatabaseKind::Postgres => (
                format!("({})::json", pieces.join(" || n || ")),
                "now() AT TIME ZONE 'UTC'",
                format!(
                    "WITH s(n) AS (SELECT generate_series({start}, {end})) \
                     INSERT INTO evt_queue(id, type, data, ts) SELECT"
                ),
            ),
            DatabaseKind::Mysql => (
                format!("CONCAT({})", pieces.join(", n, ")),
                "UTC_TIMESTAMP()",
                // Five digits, joined: both servers have this, and neither limits it.
                "INSERT INTO evt_queue(id, type, data, ts) SELECT".to_owned(),
            ),
        };
        let source = match self.kind {
            DatabaseKind::Mysql => {
                let digit = "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 \
                             UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL \
                             SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)";
                format!(
                    "(SELECT {start} + a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d AS n \
                     FROM {digit} a, {digit} b, {digit} c, {digit} e, {digit} f) s \
                     WHERE n <= {end} AND"
                )
            }
            _ => "s WHERE".to_owned(),
        };
        format!(
            "{series} n, CASE WHEN n % 100 = 50 THEN '{RARE}' ELSE 'USR_MOD' END, {joined}, {now} \
             FROM {source} {keep} ORDER BY n"
        )
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some((url, names)) = &self.admin else { return };
        let mut admin = Raw::connect(self.kind, url);
        for name in names {
            let force = if self.kind == DatabaseKind::Postgres { " WITH (FORCE)" } else { "" };
            admin.exec(&format!("DROP DATABASE {name}{force}"));
        }
    }
}
