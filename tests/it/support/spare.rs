//! Servers that tests start for themselves: replicas, and what is set up as no other server is.

use super::{Db, Raw, variable};
use futoin_eventstream::{DatabaseKind, mysql};
use mysql::prelude::Queryable;
use std::process::Command;
use std::time::{Duration, Instant};

/// A server beside those of the run. It stays until the run ends, for the next test that asks for
/// one of this name.
pub struct Spare {
    /// Which kind: one of [`SERVERS`](super::SERVERS).
    pub server: &'static str,
    /// The administrator's URL.
    pub url: String,
}

impl Spare {
    /// The server of this name, made with these arguments unless it is there; `None` where tests/run
    /// started no servers.
    pub fn make(name: &str, server: &'static str, arguments: &[&str]) -> Option<Spare> {
        Self::make_of(name, server, server, arguments)
    }

    /// A standby of this PostgreSQL server.
    pub fn standby_of(&self, name: &str) -> Option<Spare> {
        Self::make_of(name, "postgres", "postgres-standby", &[&self.url])
    }

    /// A PgBouncer before this PostgreSQL server, with lines of its configuration.
    pub fn bouncer_before(url: &str, name: &str, settings: &[&str]) -> Option<Spare> {
        let arguments: Vec<&str> = [url].into_iter().chain(settings.iter().copied()).collect();
        Self::make_of(name, "postgres", "pgbouncer", &arguments)
    }

    /// Ends the server and removes it.
    pub fn drop(name: &str) {
        if let Some(program) = variable("FES_TEST_CONTROL") {
            let _ = Command::new(program).args(["drop", name]).output();
        }
    }

    fn make_of(name: &str, server: &'static str, kind: &str, arguments: &[&str]) -> Option<Spare> {
        variable(&format!("FES_TEST_{}_URL", server.to_uppercase()))?;
        let program = variable("FES_TEST_CONTROL")?;
        let name = format!("{kind}-{name}");
        let done = Command::new(program).args(["make", &name, kind]).args(arguments).output();
        let done = done.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let url = String::from_utf8(done.stdout).unwrap().trim().to_owned();
        Some(Spare { server, url })
    }

    /// A new database on it.
    pub fn db(&self) -> Db {
        Db::at(self.server, &self.url)
    }

    /// The administrator.
    pub fn root(&self) -> Raw {
        let kind = match self.server {
            "postgres" | "postgres18" => DatabaseKind::Postgres,
            _ => DatabaseKind::Mysql,
        };
        Raw::connect(kind, &self.url)
    }
}

/// A server of MariaDB or MySQL, and another one that replicates it.
pub struct Replicated {
    pub primary: Spare,
    pub replica: Spare,
}

impl Replicated {
    /// The pair of this kind; `None` where tests/run started no servers.
    pub fn pair(server: &'static str) -> Option<Replicated> {
        Self::pair_of_own(server, "")
    }

    /// As [`pair`](Self::pair), of servers with this in their names: for a test that changes them for good, which
    /// [ends](Self::end) them.
    pub fn pair_of_own(server: &'static str, own: &str) -> Option<Replicated> {
        // One test at a time makes them, or waits until they are made.
        static MAKING: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _making = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (name, more) = match server {
            "mariadb" => ("mariadb-bin", "--gtid-strict-mode=ON"),
            _ => ("binlog", "--enforce-gtid-consistency=ON"),
        };
        let log = format!("--log-bin={name}");
        let make = |name: &str, id| Spare::make(name, server, &[&log, more, id]);
        let primary = make(&format!("{own}primary"), "--server-id=101")?;
        let replica = make(&format!("{own}replica"), "--server-id=102")?;
        let pair = Replicated { primary, replica };
        let follows = pair.replica.root().texts(pair.sql(
            "SELECT @@gtid_slave_pos <> ''",
            "SELECT COUNT(*) > 0 FROM performance_schema.replication_connection_configuration",
        ));
        if follows != ["1"] {
            pair.follow();
        }
        Some(pair)
    }

    /// Ends a pair of a test's own.
    pub fn end(self, own: &str) {
        for name in ["primary", "replica"] {
            Spare::drop(&format!("{}-{own}{name}", self.primary.server));
        }
    }

    /// Makes the replica a server like any other, once it has everything.
    pub fn promote(&self) {
        self.catch_up();
        self.replicate(false);
        self.replica.root().exec(self.sql("RESET SLAVE ALL", "RESET REPLICA ALL"));
    }

    fn sql<'a>(&self, mariadb: &'a str, mysql: &'a str) -> &'a str {
        if self.primary.server == "mariadb" { mariadb } else { mysql }
    }

    /// Makes the replica a replica. Both were made by the same statements, so that it begins behind
    /// them.
    fn follow(&self) {
        let url = url::Url::parse(&self.primary.url).unwrap();
        let (user, port) = (url.username(), url.port().unwrap());
        let password = url.password().unwrap();
        let at = self.position();
        let mut replica = self.replica.root();
        let statements = if self.primary.server == "mariadb" {
            vec![
                "RESET MASTER".to_owned(),
                format!("SET GLOBAL gtid_slave_pos = '{at}'"),
                format!(
                    "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, \
                     MASTER_USER = '{user}', MASTER_PASSWORD = '{password}', \
                     MASTER_USE_GTID = slave_pos"
                ),
                "START SLAVE".to_owned(),
            ]
        } else {
            vec![
                "RESET BINARY LOGS AND GTIDS".to_owned(),
                format!("SET GLOBAL gtid_purged = '{at}'"),
                format!(
                    "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, \
                     SOURCE_USER = '{user}', SOURCE_PASSWORD = '{password}', \
                     SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1, \
                     SOURCE_CONNECT_RETRY = 1"
                ),
                "START REPLICA".to_owned(),
            ]
        };
        statements.iter().for_each(|sql| replica.exec(sql));
    }

    fn position(&self) -> String {
        let sql = self.sql("SELECT @@gtid_binlog_pos", "SELECT @@gtid_executed");
        self.primary.root().texts(sql)[0].replace('\n', "")
    }

    /// Waits until the replica has applied everything.
    pub fn catch_up(&self) {
        let at = self.position();
        let wait = match self.primary.server {
            "mariadb" => format!("SELECT MASTER_GTID_WAIT('{at}', 20)"),
            _ => format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{at}', 20)"),
        };
        assert_eq!(self.replica.root().texts(&wait), ["0"], "the replica is not there yet");
    }

    /// Whether the replica applies what comes.
    pub fn replicates(&self) -> bool {
        let sql = self.sql("SHOW SLAVE STATUS", "SHOW REPLICA STATUS");
        let Raw::Mysql(mut driver) = self.replica.root() else { return false };
        let row: Option<mysql::Row> = driver.query_first(sql).unwrap();
        let row = row.expect("a replica");
        let column = self.sql("Slave_SQL_Running", "Replica_SQL_Running");
        row.get::<String, _>(column).as_deref() == Some("Yes")
    }

    /// Stops the replica, or lets it go on.
    pub fn replicate(&self, go_on: bool) {
        let sql = match (self.primary.server, go_on) {
            ("mariadb", true) => "START SLAVE",
            ("mariadb", false) => "STOP SLAVE",
            (_, true) => "START REPLICA",
            (_, false) => "STOP REPLICA",
        };
        self.replica.root().exec(sql);
    }

    /// The URL of the same database on the replica.
    pub fn on_replica(&self, url: &str) -> String {
        let port = url::Url::parse(&self.replica.url).unwrap().port();
        let mut url = url::Url::parse(url).unwrap();
        url.set_port(port).unwrap();
        url.into()
    }
}

/// Waits until it is so; fails after 20 s.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
