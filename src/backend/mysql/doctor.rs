//! What the doctor asks of MySQL and MariaDB.

use super::Connection;
use crate::backend::doctor::{Checks, Object, one, texts};
use crate::config::{Settings, TableName};
use crate::model::check::{Outcome, failure, ok, warning};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::value::Value;
use std::collections::HashMap;

/// Server variables that matter.
const VARIABLES: &str = "'auto_increment_increment', 'auto_increment_offset', 'wsrep_on', \
    'autocommit', 'init_connect', 'sql_mode', 'innodb_flush_log_at_trx_commit', 'sync_binlog', 'log_bin', \
    'max_allowed_packet', 'read_only', 'super_read_only', 'innodb_read_only'";

impl Connection {
    /// The query for the clock, in seconds since 1970.
    pub fn clock_sql(&self) -> &'static str {
        "SELECT UNIX_TIMESTAMP()"
    }

    pub fn examine(&mut self, settings: &Settings, checks: &mut Checks) {
        checks.add("version", self.version());
        let server = self.check_server();
        checks.add("writable", self.writable(server));
        match self.variables() {
            Ok(variables) => examine_variables(&variables, settings, checks),
            Err(error) => checks.add("sequence", Err(error)),
        }
        checks.add("charset", self.charset(&settings.event_table));
        checks.add("consumer_ids_left", self.consumer_ids(&settings.consumer_table));
        checks.add("metadata_locks", self.metadata_locks());
        checks.add("explicit_ids", self.explicit_ids(&settings.event_table));
        checks.add("triggers", self.triggers(&settings.event_table));
        checks.add("prepared_transactions", self.prepared_transactions());
        checks.add("tls", self.tls());
    }

    fn version(&mut self) -> Outcome {
        let version = one(self.query("SELECT VERSION()", &[])?)?;
        judge_version(version, self.is_mariadb())
    }

    fn writable(&mut self, server: Result<()>) -> Outcome {
        match server {
            Ok(()) => ok("read-write, and no replica as far as this user may see"),
            Err(error) if error.kind() == ErrorKind::UnsafeServer => failure(
                error.to_string(),
                "the URL of the server that is written to, or single_writer_node=true if it is this one",
            ),
            Err(error) => Err(error),
        }
    }

    fn variables(&mut self) -> Result<HashMap<String, String>> {
        let sql = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({VARIABLES})");
        let rows = texts(self.query(&sql, &[])?);
        Ok(rows
            .into_iter()
            .filter_map(|row| Some((row.first()?.clone(), row.get(1)?.clone())))
            .collect())
    }

    fn charset(&mut self, table: &TableName) -> Outcome {
        let sql = "SELECT CHARACTER_SET_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = \
                   COALESCE(?, DATABASE()) AND TABLE_NAME = ? AND COLUMN_NAME = 'data'";
        let rows = texts(self.query(sql, &names(table))?);
        let Some([found]) = rows.first().map(Vec::as_slice) else { return Err(hidden(table)) };
        match found.as_str() {
            "utf8mb4" | "" => ok("the data of events is utf8mb4"),
            _ => failure(format!("the data of events is {found}"), "migrate(), which converts it"),
        }
    }

    fn consumer_ids(&mut self, table: &TableName) -> Outcome {
        let sql = "SELECT c.COLUMN_TYPE, COALESCE(t.AUTO_INCREMENT, 1) - 1 FROM \
                   information_schema.COLUMNS c JOIN information_schema.TABLES t \
                   ON t.TABLE_SCHEMA = c.TABLE_SCHEMA AND t.TABLE_NAME = c.TABLE_NAME \
                   WHERE c.TABLE_SCHEMA = COALESCE(?, DATABASE()) AND c.TABLE_NAME = ? \
                   AND c.COLUMN_NAME = 'id'";
        let rows = texts(self.query(sql, &names(table))?);
        let Some([kind, used]) = rows.first().map(Vec::as_slice) else {
            return Err(hidden(table));
        };
        let kind = kind.to_ascii_lowercase();
        let bits = match kind.split(['(', ' ']).next() {
            Some("tinyint") => 8,
            Some("smallint") => 16,
            Some("mediumint") => 24,
            Some("int") => 32,
            _ => 64,
        };
        let most = 2f64.powi(if kind.contains("unsigned") { bits } else { bits - 1 });
        let seen = format!("{kind}: {used} are used");
        if used.parse::<f64>().unwrap_or_default() < most * 0.8 {
            return ok(seen);
        }
        failure(seen, "migrate(), which widens the column")
    }

    fn metadata_locks(&mut self) -> Outcome {
        if self.is_mariadb() {
            let sql = "SELECT count(*) FROM information_schema.metadata_lock_info";
            return match self.query(sql, &[]) {
                Ok(_) => ok("the plugin metadata_lock_info shows them"),
                Err(_) => warning(
                    "the plugin metadata_lock_info is not installed",
                    "INSTALL SONAME 'metadata_lock_info'",
                ),
            };
        }
        let grant = "GRANT SELECT ON performance_schema.metadata_locks TO this user";
        let sql = "SELECT count(*) FROM performance_schema.metadata_locks \
                   WHERE OBJECT_TYPE = 'TABLE' AND OBJECT_SCHEMA = 'performance_schema'";
        match self.query(sql, &[]) {
            Ok(rows) => match one(rows)?.as_str() {
                "0" => warning(
                    "performance_schema does not collect them",
                    "performance_schema = ON and performance-schema-instrument='wait/lock/metadata/sql/mdl=ON'",
                ),
                _ => ok("performance_schema shows them"),
            },
            Err(_) => warning("this user may not see them", grant),
        }
    }

    fn explicit_ids(&mut self, table: &TableName) -> Outcome {
        match self.trigger_names(table)?.iter().any(|name| name.ends_with("_fes_ids")) {
            true => ok("the database refuses them (a trigger)"),
            false => {
                ok("the database accepts them; migrate with strict_ids=true makes it refuse them")
            }
        }
    }

    fn trigger_names(&mut self, table: &TableName) -> Result<Vec<String>> {
        let sql = "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE \
                   EVENT_OBJECT_SCHEMA = COALESCE(?, DATABASE()) AND EVENT_OBJECT_TABLE = ?";
        Ok(texts(self.query(sql, &names(table))?).into_iter().flatten().collect())
    }

    fn triggers(&mut self, table: &TableName) -> Outcome {
        let mut names = self.trigger_names(table)?;
        names.retain(|name| !name.contains("fes_"));
        if names.is_empty() {
            return ok("none but those of migrate(), as far as this user may see");
        }
        warning(names.join(", "), format!("DROP TRIGGER {}, unless it is meant", names[0]))
    }

    fn prepared_transactions(&mut self) -> Outcome {
        let rows = match self.driver_rows("XA RECOVER") {
            Err(error) if error.sql_state() == Some("1401") => {
                return Err(error.context("GRANT XA_RECOVER_ADMIN ON *.* shows them"));
            }
            rows => rows?,
        };
        match rows.first().and_then(|row| row.last()) {
            None => ok("none"),
            Some(name) => warning(
                format!("{} of them; the first one is {name:?}", rows.len()),
                format!("XA ROLLBACK '{}', or XA COMMIT", name.replace('\'', "''")),
            ),
        }
    }

    /// By the text protocol, which every statement knows.
    fn driver_rows(&mut self, sql: &str) -> Result<Vec<Vec<String>>> {
        use mysql::prelude::Queryable;
        let rows: Vec<mysql::Row> = self.driver().query(sql)?;
        let values = rows
            .into_iter()
            .map(|row| row.unwrap().into_iter().map(super::values::value).collect());
        Ok(texts(values))
    }

    fn tls(&mut self) -> Outcome {
        let cipher = self.query("SHOW SESSION STATUS LIKE 'Ssl_cipher'", &[])?;
        let cipher = texts(cipher).into_iter().next().and_then(|row| row.into_iter().nth(1));
        if let Some(cipher) = cipher.filter(|cipher| !cipher.is_empty()) {
            return ok(format!("the connection is encrypted ({cipher})"));
        }
        let host = one(self.query("SELECT SUBSTRING_INDEX(USER(), '@', -1)", &[])?)?;
        judge_unencrypted(&host)
    }

    /// EXPLAIN asks for the rights of the statement, and does not run it.
    pub fn missing(
        &mut self,
        settings: &Settings,
        needs: &[(&str, Object)],
    ) -> Result<Vec<String>> {
        let user = one(self.query("SELECT CURRENT_USER()", &[])?)?;
        let database = one(self.query("SELECT DATABASE()", &[])?)?;
        let (name, host) = user.rsplit_once('@').unwrap_or((&user, "%"));
        let mut missing = Vec::new();
        for (privilege, object) in needs {
            let (table, change) = match object {
                Object::Queue => (&settings.event_table, "ts = ts"),
                Object::Consumers => (&settings.consumer_table, "ident = ident"),
                Object::History => (&settings.history_table, "ts = ts"),
                Object::QueueSequence | Object::ConsumersSequence => continue,
            };
            let quoted = table.quoted('`');
            let sql = match *privilege {
                "SELECT" => format!("EXPLAIN SELECT id FROM {quoted} WHERE id = 0"),
                "INSERT" => format!("EXPLAIN INSERT INTO {quoted}(id) VALUES (0)"),
                "UPDATE" => format!("EXPLAIN UPDATE {quoted} SET {change} WHERE id = 0"),
                _ => format!("EXPLAIN DELETE FROM {quoted} WHERE id = 0"),
            };
            match self.driver_rows(&sql) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    // Another right than this one may be what the statement lacks.
                    let message = error.to_string();
                    if message.contains(&format!("{privilege} command denied"))
                        || message.contains(&format!("{privilege}, "))
                        || !message.contains("command denied")
                    {
                        let schema = table.schema.as_deref().unwrap_or(&database);
                        let on = format!("{schema}.{}", table.name);
                        missing.push(format!("GRANT {privilege} ON {on} TO '{name}'@'{host}'"));
                    }
                }
                // A column without a default, or the like: the right is there.
                Err(error)
                    if error.kind() != ErrorKind::NotMigrated && error.sql_state().is_some() => {}
                result => drop(result?),
            }
        }
        Ok(missing)
    }
}

fn judge_version(version: String, mariadb: bool) -> Outcome {
    let number = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>();
    let mut parts = version.split(['.', '-']).map(number);
    let (major, minor) = (parts.next(), parts.next());
    let lowest = if mariadb { (10, 6) } else { (8, 0) };
    match (major, minor) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= lowest => ok(version),
        _ => failure(version, "MySQL 8.0 or later, or MariaDB 10.6 or later"),
    }
}

/// Whether an unencrypted connection from this host leaves the machine.
fn judge_unencrypted(host: &str) -> Outcome {
    match host {
        "localhost" | "127.0.0.1" | "::1" => ok("not encrypted, within this machine"),
        _ => warning(
            format!("the connection from {host} is not encrypted"),
            "ssl-mode=VERIFY_IDENTITY in the URL, and a certificate at the server",
        ),
    }
}

/// The information schema shows columns only to who has a right on the table.
fn hidden(table: &TableName) -> Error {
    let message = format!("{table} is not there, or this user has no right on it");
    Error::new(ErrorKind::PermissionDenied, message)
}

fn names(table: &TableName) -> [Value; 2] {
    let schema = table.schema.clone().map_or(Value::Null, Value::Text);
    [schema, Value::Text(table.name.clone())]
}

fn examine_variables(
    variables: &HashMap<String, String>,
    settings: &Settings,
    checks: &mut Checks,
) {
    let value = |name: &str| variables.get(name).map(String::as_str).unwrap_or_default();
    let step = value("auto_increment_increment");
    let seen = format!("auto_increment_increment={step}, wsrep_on={}", value("wsrep_on"));
    let several = step != "1" || value("wsrep_on") == "ON";
    let sequence = match several {
        false => ok(format!("auto_increment_increment={step}")),
        true if settings.single_writer_node => ok(format!("{seen}, single_writer_node=true")),
        true => failure(
            seen,
            "the option single_writer_node=true, if all events are written on this node",
        ),
    };
    checks.add("sequence", sequence);
    checks.add("autocommit", autocommit(value("autocommit"), value("init_connect")));
    let mode = value("sql_mode");
    let strict = mode.contains("STRICT_TRANS_TABLES") || mode.contains("STRICT_ALL_TABLES");
    let sql_mode = match strict {
        true => ok(mode),
        false => warning(
            format!("sql_mode={mode:?}"),
            "SET GLOBAL sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')",
        ),
    };
    checks.add("sql_mode", sql_mode);
    let packet: usize = value("max_allowed_packet").parse().unwrap_or_default();
    let seen = format!("max_allowed_packet={packet}, max_event_bytes={}", settings.max_event_bytes);
    let fits = match packet >= settings.max_event_bytes + 1024 {
        true => ok(seen),
        false => warning(
            seen,
            format!("SET GLOBAL max_allowed_packet = {}", 2 * settings.max_event_bytes),
        ),
    };
    checks.add("packet", fits);
    checks.add("durability", durability(value));
}

fn autocommit(global: &str, init_connect: &str) -> Outcome {
    if !matches!(global, "ON" | "1") {
        return warning(format!("autocommit={global}"), "SET GLOBAL autocommit = ON");
    }
    if init_connect.to_ascii_lowercase().contains("autocommit") {
        return warning(
            format!("init_connect={init_connect:?}"),
            "SET GLOBAL init_connect to a statement that leaves autocommit on",
        );
    }
    ok("autocommit=ON")
}

fn durability<'a>(value: impl Fn(&str) -> &'a str) -> Outcome {
    let (flush, sync) = (value("innodb_flush_log_at_trx_commit"), value("sync_binlog"));
    let seen = format!("innodb_flush_log_at_trx_commit={flush}, sync_binlog={sync}");
    if flush != "1" {
        return warning(seen, "SET GLOBAL innodb_flush_log_at_trx_commit = 1");
    }
    if value("log_bin") == "ON" && sync != "1" {
        return warning(seen, "SET GLOBAL sync_binlog = 1");
    }
    ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::CheckStatus::{self, Failure, Ok, Warning};

    fn status(outcome: Outcome) -> CheckStatus {
        outcome.unwrap().0
    }

    #[test]
    fn older_versions_are_failures() {
        let judged = |version: &str, mariadb| status(judge_version(version.to_owned(), mariadb));
        assert_eq!(judged("8.0.36", false), Ok);
        assert_eq!(judged("5.7.44-log", false), Failure);
        assert_eq!(judged("10.11.6-MariaDB-0+deb12u1", true), Ok);
        assert_eq!(judged("10.5.23-MariaDB", true), Failure);
        assert_eq!(judged("nonsense", false), Failure);
    }

    #[test]
    fn only_a_connection_that_leaves_the_machine_unencrypted_is_a_warning() {
        assert_eq!(status(judge_unencrypted("127.0.0.1")), Ok);
        assert_eq!(status(judge_unencrypted("192.0.2.1")), Warning);
    }
}
