//! MySQL and MariaDB (InnoDB): ids are drawn from a counter of the table, seen at commit.

mod evidence;
mod history;
mod server;
mod session;
mod values;
mod verify;
mod watch;

use crate::backend::session::{first_word, transaction_ended};
use crate::backend::{Batch, ConsumerRow, ReadRange, StreamRow, above_limit, within_limit};
use crate::config::{Settings, TableName};
use crate::consumer::Ident;
use crate::error::{Error, ErrorKind, Result, fail};
use crate::event::{Event, EventData, EventId, EventType, NewEvent, Timestamp, UnreadableEvent};
use crate::url::{Server, TlsMode};
use crate::value::Value;
use mysql::consts::CapabilityFlags;
use mysql::prelude::Queryable;
use mysql::{Conn, DriverError, OptsBuilder, Params, Row, Value as Raw};
use std::borrow::Borrow;
use std::path::PathBuf;
use std::sync::Arc;

use server::{Reached, Servers};
use session::State;
use values::{positional, value};

pub(crate) use watch::Watch;

/// The SQL that adds an event.
pub(crate) fn insert_sql(table: &TableName) -> String {
    format!("INSERT INTO {}(type, data, ts) VALUES (?, ?, UTC_TIMESTAMP())", table.quoted('`'))
}

/// The same for statements that are kept: one with a plain `?` would keep the character set that
/// the column had when it was prepared.
fn insert_rows_sql(table: &TableName, event_type: &str, rows: usize) -> String {
    let row = format!("({event_type}, CONVERT(? USING utf8mb4), UTC_TIMESTAMP())");
    let more = format!(", {row}").repeat(rows.saturating_sub(1));
    format!("INSERT INTO {}(type, data, ts) VALUES {row}{more}", table.quoted('`'))
}

/// The statements of a stream, with its table names.
struct Sql {
    database: String,
    queue: String,
    table: TableName,
    insert: String,
    register: String,
    registered: String,
    unregister: String,
    advance: String,
    read: String,
    no_write: String,
    consumers: String,
    highest: String,
    history: history::Sql,
    verify: verify::Sql,
}

impl Sql {
    fn new(settings: &Settings, database: &str) -> Self {
        let queue = settings.event_table.quoted('`');
        let consumers = settings.consumer_table.quoted('`');
        // Exact, also where the column's collation ignores case; the first half uses the index.
        let exactly = "ident = ? AND ident = ? COLLATE utf8mb4_bin";
        let mut table = settings.event_table.clone();
        table.schema.get_or_insert_with(|| database.to_owned());
        Sql {
            history: history::Sql::new(settings),
            verify: verify::Sql::new(settings),
            insert: insert_rows_sql(&settings.event_table, "?", 1),
            // Ids of consumers are small integers: a refused INSERT would use one up.
            register: format!(
                "INSERT INTO {consumers}(last_evt_id, reg_time, last_time, ident) \
                 SELECT ?, UTC_TIMESTAMP(), UTC_TIMESTAMP(), ? FROM DUAL \
                 WHERE NOT EXISTS (SELECT 1 FROM {consumers} WHERE ident = ?)"
            ),
            registered: format!("SELECT 1 FROM {consumers} WHERE {exactly}"),
            unregister: format!("DELETE FROM {consumers} WHERE {exactly}"),
            // LAST_INSERT_ID(x) brings x back in the same round trip.
            advance: format!(
                "UPDATE {consumers} SET last_time = IF(last_evt_id < ? OR last_time < \
                 UTC_TIMESTAMP() - INTERVAL 10 SECOND, UTC_TIMESTAMP(), last_time), \
                 last_evt_id = LAST_INSERT_ID(GREATEST(last_evt_id, ?)) WHERE {exactly}"
            ),
            read: format!("SELECT id, type, data, ts FROM {queue} WHERE id > ? AND id <= ?"),
            no_write: format!("UPDATE {consumers} SET last_time = last_time WHERE ident = ''"),
            consumers: format!(
                "SELECT ident, last_evt_id, TIMESTAMPDIFF(SECOND, '1970-01-01', reg_time), \
                 TIMESTAMPDIFF(SECOND, '1970-01-01', last_time), \
                 (SELECT count(*) FROM {queue} WHERE id > last_evt_id), \
                 (SELECT TIMESTAMPDIFF(SECOND, '1970-01-01', ts) FROM {queue} \
                 WHERE id > last_evt_id ORDER BY id LIMIT 1) FROM {consumers} ORDER BY ident"
            ),
            highest: format!(
                "SELECT GREATEST(COALESCE((SELECT MAX(id) FROM {queue}), 0), COALESCE((SELECT \
                 AUTO_INCREMENT - 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? \
                 AND TABLE_NAME = ?), 0))"
            ),
            database: database.to_owned(),
            queue,
            table,
        }
    }
}

/// What connections to one database are made from.
pub(crate) struct Connector {
    options: mysql::Opts,
    /// What to use with a server without TLS, where TLS is only preferred.
    plain: Option<mysql::Opts>,
    ca: Option<PathBuf>,
    sql: Arc<Sql>,
    servers: Arc<Servers>,
    single_writer_node: bool,
}

impl Connector {
    pub fn new(server: Server, settings: Arc<Settings>) -> Self {
        let sql = Arc::new(Sql::new(&settings, &server.database));
        let options = OptsBuilder::new()
            .ip_or_hostname(Some(server.host.trim_matches(['[', ']']).to_owned()))
            .tcp_port(server.port)
            .socket(server.socket.as_ref().map(|path| path.to_string_lossy().into_owned()))
            .user(server.user.clone())
            .pass(server.password.as_ref().map(|password| password.reveal().to_owned()))
            .db_name(Some(server.database.clone()))
            // A socket only where one was named: tests and proxies use the port.
            .prefer_socket(server.socket.is_some())
            .tcp_connect_timeout(Some(settings.connect_timeout))
            // Until the connection is made: see `without_limit`.
            .read_timeout(cfg!(unix).then_some(settings.connect_timeout))
            .write_timeout(cfg!(unix).then_some(settings.connect_timeout))
            .tcp_keepalive_time_ms(Some(60_000))
            // Groups of events of any size have a statement each.
            .stmt_cache_size(Some(128))
            // UPDATE counts the rows it found, as on the other databases; answers tell of the
            // session's state.
            .additional_capabilities(
                CapabilityFlags::CLIENT_FOUND_ROWS | CapabilityFlags::CLIENT_SESSION_TRACK,
            )
            .init(session::SETTINGS.to_vec());
        let preferred = server.tls.mode == TlsMode::Prefer;
        Connector {
            plain: preferred.then(|| options.clone().into()),
            options: tls(options, &server).into(),
            ca: server.tls.ca,
            sql,
            servers: Arc::default(),
            single_writer_node: settings.single_writer_node,
        }
    }

    /// How often new connections have reached another server than those before.
    pub fn generation(&self) -> u64 {
        self.servers.generation()
    }

    /// The event table with its database.
    pub fn queue(&self) -> String {
        self.sql.table.to_string()
    }

    pub fn connect(&self) -> Result<Connection> {
        let client = match (Conn::new(self.options.clone()), &self.plain) {
            (Err(mysql::Error::DriverError(DriverError::TlsNotSupported)), Some(plain)) => {
                Conn::new(plain.clone())
            }
            (result, _) => result,
        };
        let client = client.and_then(|mut client| {
            without_limit(&client)?;
            let state = State::of_new(&client);
            let server = Reached::of(&mut client, &self.servers, self.single_writer_node)?;
            Ok((client, server, state))
        });
        let (mut client, server, state) = client.map_err(|why| {
            let message = match &self.ca {
                Some(ca) => format!("cannot connect to MySQL with the certificates of {ca:?}"),
                None => "cannot connect to MySQL".to_owned(),
            };
            Error::from(why).while_connecting(message)
        })?;
        state.check_autocommit(&mut client)?;
        Ok(Connection { client, server, sql: self.sql.clone(), limits: None, state })
    }
}

/// Takes away the limit of time that a server has for each answer while the connection is made: a
/// server that accepts it and then says nothing would hold the caller for ever. Later, a statement
/// may take its time.
#[cfg(unix)]
fn without_limit(client: &Conn) -> std::io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    use std::os::fd::AsRawFd;
    // The driver has no other way to it than its descriptor.
    let never = nix::sys::time::TimeVal::new(0, 0);
    setsockopt(client.as_raw_fd(), sockopt::ReceiveTimeout, &never)?;
    setsockopt(client.as_raw_fd(), sockopt::SendTimeout, &never)?;
    Ok(())
}

#[cfg(not(unix))]
fn without_limit(_: &Conn) -> std::io::Result<()> {
    Ok(())
}

#[cfg(feature = "tls")]
fn tls(options: OptsBuilder, server: &Server) -> OptsBuilder {
    // The driver takes the process's provider; without one it would panic.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ssl = match server.tls.mode {
        TlsMode::Disable => return options,
        TlsMode::Prefer | TlsMode::Unverified => mysql::SslOpts::default()
            .with_danger_accept_invalid_certs(true)
            .with_danger_skip_domain_validation(true),
        TlsMode::VerifyCa => mysql::SslOpts::default().with_danger_skip_domain_validation(true),
        TlsMode::VerifyFull => mysql::SslOpts::default(),
    };
    options.ssl_opts(ssl.with_root_cert_path(server.tls.ca.clone()))
}

#[cfg(not(feature = "tls"))]
fn tls(options: OptsBuilder, server: &Server) -> OptsBuilder {
    debug_assert!(matches!(server.tls.mode, TlsMode::Disable | TlsMode::Prefer));
    options
}

/// One open connection.
pub(crate) struct Connection {
    client: Conn,
    server: Reached,
    sql: Arc<Sql>,
    limits: Option<Limits>,
    state: State,
}

/// Variables of the session that matter to inserts.
#[derive(Clone, Copy)]
struct Limits {
    max_allowed_packet: usize,
    auto_increment_increment: u64,
}

/// Statements that commit the transaction which they stand in, and then do their own work.
const DDL: [&str; 6] = ["create", "alter", "drop", "truncate", "rename", "grant"];

/// Events below this size fit into the smallest packet that servers are set to.
const SURELY_FITS: usize = 512 << 10;

impl Connection {
    /// The driver's connection, for looks.
    pub fn driver(&mut self) -> &mut Conn {
        &mut self.client
    }

    /// Whether this is MariaDB.
    pub fn is_mariadb(&self) -> bool {
        self.server.mariadb
    }

    fn limits(&mut self) -> Result<Limits> {
        if let Some(limits) = self.limits {
            return Ok(limits);
        }
        let row: Option<(usize, u64)> = self
            .client
            .query_first("SELECT @@max_allowed_packet, @@session.auto_increment_increment")?;
        let (max_allowed_packet, auto_increment_increment) = row.unwrap_or((16 << 20, 1));
        let limits = Limits { max_allowed_packet, auto_increment_increment };
        self.limits = Some(limits);
        Ok(limits)
    }

    fn check_size(&mut self, event: &NewEvent) -> Result<()> {
        let size = event.data.as_str().len();
        if size > SURELY_FITS {
            let limit = self.limits()?.max_allowed_packet;
            if size + 1024 > limit {
                fail!(
                    TooLarge,
                    "the data of a {} event has {size} bytes, more than the server accepts: its \
                     max_allowed_packet is {limit}",
                    event.event_type
                );
            }
        }
        Ok(())
    }

    pub fn ping(&mut self) -> Result<()> {
        Ok(self.client.ping()?)
    }

    pub fn begin(&mut self) -> Result<()> {
        self.client.query_drop("START TRANSACTION")?;
        self.state.observe(&self.client);
        self.state.begin();
        Ok(())
    }

    pub fn commit(&mut self) -> Result<()> {
        if self.state.has_ended() {
            return Err(transaction_ended());
        }
        self.client.query_drop("COMMIT")?;
        self.end_transaction()
    }

    pub fn rollback(&mut self) -> Result<()> {
        self.client.query_drop("ROLLBACK")?;
        self.end_transaction()
    }

    fn end_transaction(&mut self) -> Result<()> {
        self.state.end();
        self.committed()
    }

    /// Takes what the answer to a write tells: outside of a transaction it must be committed.
    fn committed(&mut self) -> Result<()> {
        self.state.observe(&self.client);
        self.state.check_committed()
    }

    /// A deadlock ends it, and so may a lock timeout; a savepoint stays only inside of one.
    pub fn in_transaction(&mut self) -> bool {
        !self.state.has_ended() && self.has_savepoints()
    }

    /// Whether a savepoint stays until it is released, as it does in a transaction only.
    fn has_savepoints(&mut self) -> bool {
        let probe = ["SAVEPOINT fes_probe", "RELEASE SAVEPOINT fes_probe"];
        probe.iter().all(|sql| self.client.query_drop(sql).is_ok())
    }

    /// Whether the transaction of `begin` was ended by this statement of the caller's, which
    /// succeeded: as the server told with its answer, or else by asking for a savepoint.
    pub fn has_ended_transaction(&mut self, sql: &str) -> Result<bool> {
        let word = first_word(sql);
        if self.state.tracks() {
            // MySQL tells of an end at CREATE TEMPORARY TABLE, too, which is none.
            let open = self.state.has_ended() && word == "create" && self.has_savepoints();
            self.state.correct(open);
            // A schema is often made in a transaction of its own, of which nothing is lost: it begins anew.
            if DDL.contains(&word.as_str()) && self.state.has_ended_empty() {
                self.begin()?;
            }
            return Ok(self.state.has_ended());
        }
        let harmless = ["select", "insert", "update", "delete", "replace", "with"];
        Ok(!harmless.contains(&word.as_str()) && !self.has_savepoints())
    }

    /// Whether the caller's SQL may have changed something of the session, as the server tells.
    pub fn session_is_changed(&self) -> bool {
        self.state.is_changed()
    }

    /// Puts the session back into the state of a new one.
    pub fn reset(&mut self) -> Result<bool> {
        self.client.reset()?;
        self.state = State::of_new(&self.client);
        let database = self.sql.database.clone();
        self.client.select_db(&database)?;
        Ok(true)
    }

    pub fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        let done = match self.client.exec_drop(sql, positional(params)) {
            // USE, SAVEPOINT and some others cannot be prepared.
            Err(mysql::Error::MySqlError(why)) if why.code == 1295 && params.is_empty() => {
                self.client.query_drop(sql)
            }
            result => result,
        };
        match done {
            Ok(()) => {
                self.state.observe(&self.client);
                Ok(self.client.affected_rows())
            }
            Err(why) => Err(drop_spoilt(&mut self.client, sql, why)),
        }
    }

    pub fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>> {
        match self.client.exec::<Row, _, _>(sql, positional(params)) {
            Ok(rows) => {
                self.state.observe(&self.client);
                Ok(rows
                    .into_iter()
                    .map(|row| row.unwrap().into_iter().map(value).collect())
                    .collect())
            }
            Err(why) => Err(drop_spoilt(&mut self.client, sql, why)),
        }
    }

    pub fn script(&mut self, sql: &str) -> Result<()> {
        for statement in sql.split(";\n").filter(|text| !text.trim().is_empty()) {
            self.client.query_drop(statement)?;
        }
        Ok(())
    }

    pub fn insert_event(&mut self, event: &NewEvent) -> Result<EventId> {
        self.check_size(event)?;
        let sql = self.sql.clone();
        let id = insert_event(&mut self.client, &sql.insert, event)?;
        self.committed()?;
        undo_above_limit(&mut self.client, &sql.table, &[id])?;
        Ok(id)
    }

    /// Whether [`insert_events`](Self::insert_events) is a single statement.
    pub fn inserts_at_once(&mut self) -> Result<bool> {
        Ok(true)
    }

    pub fn insert_events<E: Borrow<NewEvent>>(&mut self, events: &[E]) -> Result<Vec<EventId>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        for event in events {
            self.check_size(event.borrow())?;
        }
        let sql = insert_rows_sql(&self.sql.table, "?", events.len());
        let params = events
            .iter()
            .map(E::borrow)
            .flat_map(|event| [event.event_type.as_str().into(), event.data.as_str().into()])
            .collect();
        self.client.exec_drop(&sql, Params::Positional(params))?;
        self.committed()?;
        // The server draws the ids of one such statement without others in between.
        let first = self.client.last_insert_id();
        let step = self.limits()?.auto_increment_increment;
        let last = first.saturating_add((events.len() as u64 - 1).saturating_mul(step));
        let ids: Vec<EventId> = (first..=last).step_by(step.max(1) as usize).collect();
        undo_above_limit(&mut self.client, &self.sql.table, &ids)?;
        Ok(ids)
    }

    pub fn register(&mut self, ident: &Ident, cursor: EventId) -> Result<()> {
        self.check_server()?;
        let sql = self.sql.clone();
        let name = ident.as_str();
        match self.client.exec_drop(&sql.register, (cursor, name, name)) {
            Ok(()) if self.client.affected_rows() == 1 => return self.committed(),
            // Somebody else was faster.
            Err(mysql::Error::MySqlError(why)) if why.code == 1062 => {}
            result => result?,
        }
        if self.client.exec_first::<u8, _, _>(&sql.registered, (name, name))?.is_none() {
            fail!(
                InvalidComponent,
                "a consumer is registered whose ident differs from {name:?} only in case, and the \
                 table cannot tell them apart: run migrate()"
            );
        }
        Ok(())
    }

    pub fn unregister(&mut self, ident: &Ident) -> Result<bool> {
        self.check_server()?;
        let sql = self.sql.clone();
        self.client.exec_drop(&sql.unregister, (ident.as_str(), ident.as_str()))?;
        self.committed()?;
        Ok(self.client.affected_rows() > 0)
    }

    pub fn advance(&mut self, ident: &Ident, to: EventId) -> Result<Option<EventId>> {
        self.check_server()?;
        let sql = self.sql.clone();
        self.client.exec_drop(&sql.advance, (to, to, ident.as_str(), ident.as_str()))?;
        self.committed()?;
        let found = self.client.affected_rows() > 0;
        Ok(found.then(|| self.client.last_insert_id()))
    }

    pub fn read(&mut self, range: &ReadRange<'_>) -> Result<Batch> {
        self.check_server()?;
        let sql = self.sql.clone();
        self.read_rows(&sql.read, range)
    }

    /// Reads events by a statement without filter and order.
    fn read_rows(&mut self, all: &str, range: &ReadRange<'_>) -> Result<Batch> {
        let (after, upto, limit) = range.bounds();
        let mut sql = all.to_owned();
        let mut params: Vec<Raw> = vec![after.into(), upto.into()];
        if let Some(types) = range.types() {
            // As bytes: the column's collation may ignore case.
            sql.push_str(" AND CAST(type AS BINARY) IN (?");

            sql.push_str(&", ?".repeat(types.len() - 1));
            sql.push(')');
            params.extend(types.iter().map(|name| Raw::from(name.as_str())));
        }
        sql.push_str(" ORDER BY id LIMIT ?");
        params.push(limit.into());
        let mut batch = Batch::default();
        let mut rows = self.client.exec_iter(&sql, Params::Positional(params))?;
        while batch.wants_more(range) {
            let Some(row) = rows.next() else { break };
            batch.push(range, event(row?))?;
        }
        Ok(batch)
    }

    pub fn highest_drawn(&mut self) -> Result<EventId> {
        let sql = self.sql.clone();
        // MySQL would answer from a cache that is a day old; MariaDB has no such variable.
        let fresh = "SET SESSION information_schema_stats_expiry = 0";
        match self.client.query_drop(fresh) {
            Err(mysql::Error::MySqlError(why)) if why.code == 1193 => {}
            result => result?,
        }
        let id = self.client.exec_first(&sql.highest, (&sql.table.schema, &sql.table.name))?;
        Ok(id.unwrap_or(0))
    }

    pub fn consumers(&mut self) -> Result<Vec<ConsumerRow>> {
        let sql = self.sql.clone();
        let rows = self.client.exec_map(
            &sql.consumers,
            (),
            |(ident, last_id, registered, seen, behind, oldest)| ConsumerRow {
                ident,
                last_id,
                registered,
                seen,
                behind,
                oldest,
            },
        )?;
        Ok(rows)
    }

    pub fn stream_row(&mut self) -> Result<StreamRow> {
        let now: Option<i64> = self.client.query_first("SELECT UNIX_TIMESTAMP()")?;
        Ok(StreamRow { highest: self.highest_drawn()?, now: now.unwrap_or_default() })
    }
}

/// Adds an event on any connection of the driver, the caller's own too.
pub(crate) fn insert_event<C: Queryable + LastInsertId>(
    client: &mut C,
    sql: &str,
    event: &NewEvent,
) -> Result<EventId> {
    match client.exec_drop(sql, (event.event_type.as_str(), event.data.as_str())) {
        Ok(()) => Ok(client.last_insert_id()),
        Err(why) => Err(drop_spoilt(client, sql, why)),
    }
}

/// Deletes events that were just added, where an id of them lies above the limit. The server knows
/// the id only when the row is there, so that a crash in between leaves a row; but nobody was told
/// that it was added, and polls and `lag` tell that it is there.
fn undo_above_limit<C: Queryable>(
    client: &mut C,
    table: &TableName,
    ids: &[EventId],
) -> Result<()> {
    if within_limit(ids) {
        return Ok(());
    }
    let places = vec!["?"; ids.len()].join(", ");
    let delete = format!("DELETE FROM {} WHERE id IN ({places})", table.quoted('`'));
    let params = ids.iter().map(|id| Raw::from(*id)).collect();
    match client.exec_drop(&delete, Params::Positional(params)) {
        Ok(()) => Err(above_limit(table)),
        Err(why) => Err(above_limit(table).context(format!(
            "the rows with the ids {ids:?} are there, and cannot be deleted ({why})"
        ))),
    }
}

/// After a parameter above `max_allowed_packet` the server refuses the prepared statement for ever:
/// then the one that the driver keeps is closed.
fn drop_spoilt<C: Queryable>(client: &mut C, sql: &str, why: mysql::Error) -> Error {
    let error = Error::from(why);
    if error.kind() == ErrorKind::TooLarge
        && let Ok(statement) = client.prep(sql)
    {
        let _ = client.close(statement);
    }
    error
}

/// Adds an event on a connection of the caller's own. Its session may be one that cuts off what
/// does not fit: then it is made strict for this statement.
pub(crate) fn insert_event_for_caller<C: Queryable + LastInsertId>(
    client: &mut C,
    table: &TableName,
    event: &NewEvent,
) -> Result<EventId> {
    const REFUSED_NULL: &str = "1048";
    let sql = insert_rows_sql(table, "IF(@@SESSION.sql_mode LIKE '%STRICT%', ?, NULL)", 1);

    let checked = |client: &mut C, id| undo_above_limit(client, table, &[id]).map(|()| id);
    match insert_event(client, &sql, event) {
        Err(error) if error.sql_state() == Some(REFUSED_NULL) => {}
        result => return result.and_then(|id| checked(client, id)),
    }
    let mode: Option<String> = client.query_first("SELECT @@SESSION.sql_mode")?;
    client.query_drop("SET SESSION sql_mode = CONCAT(@@SESSION.sql_mode, ',STRICT_ALL_TABLES')")?;
    let result = insert_event(client, &sql, event);
    client.exec_drop("SET SESSION sql_mode = ?", (mode,))?;
    result.and_then(|id| checked(client, id))
}

/// What a connection and a transaction of the driver have in common besides queries.
pub(crate) trait LastInsertId {
    fn last_insert_id(&self) -> EventId;
}

macro_rules! last_insert_id {
    ($($type:ty),*) => {$(
        impl LastInsertId for $type {
            fn last_insert_id(&self) -> EventId {
                Self::last_insert_id(self).into_id()
            }

        }
    )*};
}
last_insert_id!(Conn, mysql::Transaction<'_>);

/// The driver gives `u64` from a connection and `Option<u64>` from a transaction.
trait IntoId {
    fn into_id(self) -> EventId;
}

impl IntoId for u64 {
    fn into_id(self) -> EventId {
        self
    }
}

impl IntoId for Option<u64> {
    fn into_id(self) -> EventId {
        self.unwrap_or_default()
    }
}

fn event(row: Row) -> Result<Event> {
    let mut columns = row.unwrap();
    columns.resize(4, Raw::NULL);
    let id = match columns[0] {
        Raw::UInt(id) => id,
        Raw::Int(id) => super::event_id(id)?,
        _ => fail!(CorruptEvent, "{} is not an event id", columns[0].as_sql(true)),
    };
    let unreadable = |columns: Vec<Raw>, column| Err(unreadable(id, &columns, column));
    let ts = match columns[3] {
        Raw::Date(year, month, day, hour, minute, second, _) => Timestamp::from_parts(
            [year.into(), month.into(), day.into()],
            [hour.into(), minute.into(), second.into()],
        ),
        _ => None,
    };
    let event_type = match &columns[1] {
        Raw::Bytes(bytes) => std::str::from_utf8(bytes).ok().map(EventType::stored),
        _ => None,
    };
    let Some(event_type) = event_type else { return unreadable(columns, "type") };
    let Some(ts) = ts else { return unreadable(columns, "ts") };
    let data = match std::mem::replace(&mut columns[2], Raw::NULL) {
        // The npm package's column allows NULL.
        Raw::NULL => "null".to_owned(),
        Raw::Bytes(bytes) => match String::from_utf8(bytes) {
            Ok(data) => data,
            Err(error) => {
                columns[2] = Raw::Bytes(error.into_bytes());
                return unreadable(columns, "data");
            }
        },
        other => {
            columns[2] = other;
            return unreadable(columns, "data");
        }
    };
    Ok(Event { id, event_type, data: EventData::stored(data), ts })
}

fn unreadable(id: EventId, columns: &[Raw], column: &'static str) -> Error {
    let bytes = |value: &Raw| match value {
        Raw::NULL => None,
        Raw::Bytes(bytes) => Some(bytes.clone()),
        other => Some(other.as_sql(true).into_bytes()),
    };
    let ts = columns[3].as_sql(true).trim_matches('\'').to_owned();
    let (event_type, data) = (bytes(&columns[1]), bytes(&columns[2]));
    UnreadableEvent { id, column, event_type, data, ts }.error()
}
