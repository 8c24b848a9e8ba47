//! Which server a connection reaches, and whether reliable work may be done there.
//!
//! It may not be on a server that applies the changes of another one: their rows appear in the
//! order of commits, whatever their ids are, and what is written there breaks the replication. Nor
//! on one that is read-only, on one of several writing nodes, or on several servers by turns. All
//! of it may change under a connection, so it is looked at again: see [`Connection::check_server`].
//!
//! What a user sees without any special right: all of it on MariaDB; on MySQL whether the server is
//! read-only, and, with GTIDs, that transactions of other servers were applied since the look
//! before. Which sources a MySQL server has is shown to who may read
//! `performance_schema.replication_connection_configuration`, or has REPLICATION CLIENT.

use super::Connection;
use crate::model::error::{Error, ErrorKind, Result, fail};
use crate::sync::lock::lock;
use mysql::prelude::Queryable;
use mysql::{Conn, Row, Value as Raw};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How often a server is asked again what it is.
const AGAIN: Duration = Duration::from_secs(1);

/// An address that leads back to a server so soon after it led to another one leads to both.
const BY_TURNS: Duration = Duration::from_secs(10);

/// So long after it has applied transactions of others a server is taken for a replica, by who reads
/// and by who only writes: applications are to go on soon after a replica was promoted.
const REPLICA: Duration = Duration::from_secs(10);
const REPLICA_TO_WRITERS: Duration = Duration::from_secs(2);

/// The servers that the connections of one stream reach.
#[derive(Default)]
pub(super) struct Servers {
    /// Grows whenever a new connection reaches another server than the one before.
    generation: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The server of the newest connections.
    latest: String,
    /// The one before it, and when it was left.
    left: Option<(String, Instant)>,
    /// Until when the address is taken for one of several servers, and which ones.
    by_turns: Option<(Instant, String)>,
    /// What was applied of the transactions of others, and when that grew.
    foreign: Option<String>,
    grew: Option<Instant>,
}

impl Servers {
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }

    /// Notes that a new connection reached this server.
    fn reached(&self, server: &str) -> u64 {
        let mut known = self.known();
        if known.latest == server {
            return self.generation();
        }
        let left = std::mem::replace(&mut known.latest, server.to_owned());
        if let Some((other, when)) = &known.left
            && other == server
            && when.elapsed() < BY_TURNS
        {
            known.by_turns = Some((Instant::now(), format!("{left} and {server}")));
        }
        known.left = (!left.is_empty()).then(|| (left, Instant::now()));
        (known.foreign, known.grew) = (None, None);
        // Under the lock: who has this generation has this server.
        self.generation.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Notes what was applied of the transactions of others; whether that grew within this time.
    fn applies(&self, foreign: String, lately: Duration) -> bool {
        let mut known = self.known();
        if known.foreign.as_ref().is_some_and(|before| *before != foreign) {
            known.grew = Some(Instant::now());
        }
        known.foreign = Some(foreign);
        known.grew.is_some_and(|when| when.elapsed() < lately)
    }

    fn by_turns(&self) -> Option<String> {
        let known = self.known();
        let (when, servers) = known.by_turns.as_ref()?;
        (when.elapsed() < BY_TURNS).then(|| servers.clone())
    }
}

/// What a connection knows of its server.
pub(super) struct Reached {
    servers: Arc<Servers>,
    generation: u64,
    name: String,
    /// The promise that all events are written on this server.
    promised: bool,
    /// When it was last seen to be fit for reliable work, and not to be a replica.
    checked: Option<Instant>,
    no_replica: Option<Instant>,
    pub mariadb: bool,
    /// Server variables that are worth a look, as they are named there.
    variables: Vec<&'static str>,
    /// MySQL: the server's own name in GTIDs, unless a group has another one for all its members.
    uuid: Option<String>,
    /// Asks for the sources of changes; empty where nothing may be asked.
    sources: &'static str,
}

/// Variables that say what a server is, where they are known.
const VARIABLES: &[&str] =
    &["read_only", "super_read_only", "innodb_read_only", "auto_increment_increment", "wsrep_on"];

/// What names a server.
const NAMES: &[&str] = &["server_uuid", "server_uid", "hostname", "port", "server_id", "datadir"];

const SLAVES_RUNNING: &str = "SHOW GLOBAL STATUS LIKE 'Slaves_running'";
const ALL_SLAVES: &str = "SHOW ALL SLAVES STATUS";
const CONFIGURED: &str = "SELECT CHANNEL_NAME, HOST FROM \
    performance_schema.replication_connection_configuration \
    WHERE CHANNEL_NAME NOT LIKE 'group\\_replication\\_%'";
const REPLICA_STATUS: &str = "SHOW REPLICA STATUS";
/// The same before MySQL 8.0.22.
const SLAVE_STATUS: &str = "SHOW SLAVE STATUS";

impl Reached {
    /// Asks a new connection which server it has reached.
    pub fn of(client: &mut Conn, servers: &Arc<Servers>, promised: bool) -> mysql::Result<Self> {
        let list: Vec<(String, String)> = client.query(format!(
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
             ('{}', '{}', 'version', 'group_replication_group_name')",
            VARIABLES.join("', '"),
            NAMES.join("', '"),
        ))?;
        let list: HashMap<String, String> =
            list.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        let value = |name: &str| list.get(name).map(String::as_str).unwrap_or_default();
        let parts: Vec<&str> = NAMES.iter().map(|name| value(name)).collect();
        let name = parts.join(" ").trim().to_owned();
        let own_uuid = !value("server_uuid").is_empty();
        let group = !value("group_replication_group_name").is_empty();
        Ok(Reached {
            generation: servers.reached(&name),
            name,
            servers: servers.clone(),
            promised,
            checked: None,
            no_replica: None,
            mariadb: value("version").contains("MariaDB"),
            variables: VARIABLES.iter().filter(|name| list.contains_key(**name)).copied().collect(),
            uuid: (own_uuid && !group).then(|| value("server_uuid").to_owned()),
            sources: "?",
        })
    }
}

impl Connection {
    /// Whether the address leads to another server by now: then what this connection shows, and
    /// what is known of the other one, must not be mixed.
    pub fn has_moved(&self) -> bool {
        self.server.generation != self.server.servers.generation()
    }

    /// Refuses reliable work where it would lose events. Costs a round trip once a second.
    pub fn check_server(&mut self) -> Result<()> {
        self.check_reached()?;
        if self.server.promised || is_recent(self.server.checked) {
            return Ok(());
        }
        self.server.checked = None;
        self.look_at_server(true)?;
        self.server.checked = Some(Instant::now());
        self.server.no_replica = self.server.checked;
        Ok(())
    }

    /// Refuses writes on a replica, as they break the replication. Costs a round trip or two once a
    /// second. A cluster takes them, and a server that is read-only refuses them by itself.
    pub fn refuse_replica(&mut self) -> Result<()> {
        if self.server.promised || is_recent(self.server.no_replica) {
            return Ok(());
        }
        self.server.no_replica = None;
        self.look_at_server(false)?;
        self.server.no_replica = Some(Instant::now());
        Ok(())
    }

    /// As [`check_server`](Self::check_server), before a look, with what it asks for anyway: see
    /// [`server_columns`](Self::server_columns).
    pub fn check_look(&mut self, columns: &str) -> Result<()> {
        if !self.server.promised
            && let Some(wrong) = self.server.wrong_in(columns)
        {
            return Err(unsafe_server(&wrong));
        }
        self.check_server()
    }

    fn check_reached(&self) -> Result<()> {
        let server = &self.server;
        if !server.promised
            && let Some(both) = server.servers.by_turns()
        {
            return Err(unsafe_server(&format!(
                "the address leads to several servers by turns ({both}): what one of them shows \
                 says nothing about the other one"
            )));
        }
        if self.has_moved() {
            fail!(
                ConnectionLost,
                "the address leads to another server now than {}: this connection is given up",
                server.name
            );
        }
        Ok(())
    }

    /// An SQL expression of what changes when a server becomes another kind of one, for a statement
    /// that is made anyway.
    pub fn server_columns(&self) -> String {
        let variables = self.server.variables.iter().map(|name| format!("@@global.{name}"));
        let applied = match (self.server.mariadb, &self.server.uuid) {
            (true, _) => "@@global.gtid_slave_pos",
            (false, Some(_)) => "@@global.gtid_executed",
            (false, None) => "''",
        };
        let columns: Vec<String> = variables.chain([applied.to_owned()]).collect();
        format!("CONCAT_WS('|', {})", columns.join(", "))
    }

    /// Refuses the server for reliable work, or only if it is a replica.
    fn look_at_server(&mut self, reliable: bool) -> Result<()> {
        let columns = self.server_columns();
        let columns: Option<String> = self.client.query_first(format!("SELECT {columns}"))?;
        let columns = columns.unwrap_or_default();
        let mut wrong = match reliable {
            true => self.server.wrong_in(&columns),
            false => self.server.applied_in(&columns, REPLICA_TO_WRITERS),
        };
        if wrong.is_none() && self.server.mariadb {
            let running: Option<(String, u64)> = self.client.query_first(SLAVES_RUNNING)?;
            wrong = running
                .filter(|(_, count)| *count > 0)
                .map(|(_, count)| replica(&format!("Slaves_running is {count}")));
        }
        if wrong.is_none() {
            wrong = self.sources()?;
        }
        match wrong {
            None => Ok(()),
            // As what the server itself says to a write: the address may lead to the primary by now.
            Some(wrong) if !reliable && self.server.is_read_only(&columns) => {
                Err(unsafe_server(&wrong).with_kind(ErrorKind::ConnectionLost))
            }
            Some(wrong) => Err(unsafe_server(&wrong)),
        }
    }

    /// The servers that this one is told to get changes from, also while that is stopped, if the
    /// user may see them.
    fn sources(&mut self) -> Result<Option<String>> {
        let ways: &[&'static str] = match (self.server.sources, self.server.mariadb) {
            ("", _) => return Ok(None),
            ("?", true) => &[ALL_SLAVES],
            ("?", false) => &[CONFIGURED, REPLICA_STATUS, SLAVE_STATUS],
            (way, _) => &[way],
        };
        for way in ways {
            match self.client.query_first::<Row, _>(*way) {
                Ok(row) => {
                    self.server.sources = way;
                    let host = row.as_ref().and_then(host);
                    let seen = host.map(|host| format!("{way} shows the source {host}"));
                    return Ok(seen.map(|seen| replica(&seen)));
                }
                Err(mysql::Error::MySqlError(_)) => {}
                Err(why) => return Err(why.into()),
            }
        }
        self.server.sources = "";
        Ok(None)
    }
}

impl Reached {
    /// What is wrong with the server by the values of [`Connection::server_columns`].
    fn wrong_in(&self, columns: &str) -> Option<String> {
        let mut values = columns.split('|');
        for name in &self.variables {
            let value = values.next().unwrap_or_default();
            match *name {
                "auto_increment_increment" if matches!(value, "" | "0" | "1") => {}
                "auto_increment_increment" | "wsrep_on" if is_on(value) => {
                    return Some(format!(
                        "this server is in a cluster with several writing nodes ({name} is \
                         {value}): inserts in flight on another node do not show here"
                    ));
                }
                _ if is_on(value) => {
                    return Some(format!(
                        "this server is read-only ({name} is {value}), as replicas are: use the \
                         one that is written to"
                    ));
                }
                _ => {}
            }
        }
        self.applied_in(columns, REPLICA)
    }

    fn is_read_only(&self, columns: &str) -> bool {
        let mut values = self.variables.iter().zip(columns.split('|'));
        values.any(|(name, value)| name.contains("read_only") && is_on(value))
    }

    /// Whether the values show that this server applied transactions of others within this time.
    fn applied_in(&self, columns: &str, lately: Duration) -> Option<String> {
        let applied = columns.split('|').nth(self.variables.len()).unwrap_or_default();
        let (name, applied) = match (self.mariadb, &self.uuid) {
            (true, _) => ("gtid_slave_pos", applied.to_owned()),
            (false, Some(uuid)) => ("gtid_executed", foreign(applied, uuid)),
            (false, None) => return None,
        };
        let grows = self.servers.applies(applied, lately);
        grows.then(|| replica(&format!("transactions of others in {name} grow")))
    }
}

/// Whether the value of a variable says something else than no.
fn is_on(value: &str) -> bool {
    !matches!(value, "" | "0" | "OFF")
}

fn is_recent(when: Option<Instant>) -> bool {
    when.is_some_and(|when| when.elapsed() < AGAIN)
}

/// The host of a source, in whichever list it stands.
fn host(row: &Row) -> Option<String> {
    let is_host = |name: &str| matches!(name, "HOST" | "Master_Host" | "Source_Host");
    let index = row.columns_ref().iter().position(|column| is_host(&column.name_str()))?;
    match row.as_ref(index) {
        Some(Raw::Bytes(bytes)) if !bytes.is_empty() => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        _ => None,
    }
}

/// The part of a set of GTIDs that is not of this server.
fn foreign(executed: &str, own: &str) -> String {
    let parts = executed.split(',').map(str::trim);
    parts.filter(|part| !part.starts_with(own)).collect::<Vec<_>>().join(",")
}

fn replica(seen: &str) -> String {
    format!(
        "this server applies the changes of another one ({seen}): events appear here in the order \
         of their commits, and what is written here breaks the replication. Use the server that is \
         written to; if this is the one by now, RESET REPLICA ALL"
    )
}

fn unsafe_server(wrong: &str) -> Error {
    Error::new(
        ErrorKind::UnsafeServer,
        format!(
            "{wrong}. Events would be lost. If all events are written on this server, set the \
             option single_writer_node=true"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_of_this_server_are_not_those_of_another_one() {
        let set = "aa-1:1-5:7,\nbb-2:1-4";
        assert_eq!(foreign(set, "aa-1"), "bb-2:1-4");
        assert_eq!(foreign(set, "cc-3"), "aa-1:1-5:7,bb-2:1-4");
    }

    #[test]
    fn each_change_of_the_server_is_a_new_generation_and_leading_back_at_once_is_refused() {
        let servers = Servers::default();
        let first = servers.reached("a");
        assert_eq!(servers.reached("a"), first);
        assert_ne!(servers.reached("b"), first);
        assert!(servers.by_turns().is_none());
        assert_ne!(servers.reached("a"), first);
        assert_eq!(servers.by_turns().unwrap(), "b and a");
    }

    #[test]
    fn only_growth_makes_a_replica() {
        let servers = Servers::default();
        assert!(!servers.applies("b:1-4".to_owned(), REPLICA));
        assert!(!servers.applies("b:1-4".to_owned(), REPLICA));
        assert!(servers.applies("b:1-5".to_owned(), REPLICA));
    }
}
