//! MySQL and MariaDB (InnoDB): ids are allocated from a counter of the table, seen at commit.

mod abilities;
mod connect;
mod cursors;
pub(crate) mod doctor;
mod evidence;
mod history;
mod insert;
mod read;
mod server;
mod session;
mod values;
mod verify;
mod watch;

use crate::backend::ids::{FREE_ID_TRIES, free_consumer_id, no_consumer_id};
use crate::backend::session::{first_word, transaction_ended};
use crate::backend::{ConsumerRow, StreamRow};
use crate::config::{Settings, TableName};
use crate::model::error::{Result, fail};
use crate::model::event::EventId;
use crate::model::ident::Ident;
use crate::model::value::{Rows, Value};
use crate::sync::line::Line;
use mysql::Conn;
use mysql::prelude::Queryable;
use std::sync::Arc;

use insert::{drop_spoilt, insert_rows_sql};
use server::Reached;
use session::State;
use values::{fetch, positional};

pub(crate) use connect::Connector;
pub(crate) use insert::insert_event_for_caller;
pub(crate) use watch::Watch;

/// The statements of a stream, with its table names.
struct Sql {
    database: String,
    queue: String,
    table: TableName,
    insert: String,
    register: String,
    register_free: String,
    registered: String,
    unregister: String,
    read: String,
    no_write: String,
    consumers: String,
    highest: String,
    history: history::Sql,
    verify: verify::Sql,
    cursors: cursors::Sql,
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
            cursors: cursors::Sql::new(settings, database),
            insert: insert_rows_sql(&settings.event_table, 1),
            // Ids of consumers are small integers: a refused INSERT would use one up.
            register: format!(
                "INSERT INTO {consumers}(last_evt_id, reg_time, last_time, ident) \
                 SELECT ?, UTC_TIMESTAMP(), UTC_TIMESTAMP(), ? FROM DUAL \
                 WHERE NOT EXISTS (SELECT 1 FROM {consumers} WHERE ident = ?)"
            ),
            register_free: format!(
                "INSERT INTO {consumers}(id, last_evt_id, reg_time, last_time, ident) \
                 SELECT {free}, ?, UTC_TIMESTAMP(), UTC_TIMESTAMP(), ? FROM DUAL \
                 WHERE NOT EXISTS (SELECT 1 FROM {consumers} WHERE ident = ?)",
                free = free_consumer_id(&consumers)
            ),
            registered: format!("SELECT 1 FROM {consumers} WHERE {exactly}"),
            unregister: format!("DELETE FROM {consumers} WHERE {exactly}"),
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

/// One open connection.
pub(crate) struct Connection {
    client: Conn,
    server: Reached,
    sql: Arc<Sql>,
    limits: Option<Limits>,
    state: State,
    /// Which server this is.
    life: Option<u32>,
    line: Arc<Line>,
}

/// Variables of the session that matter to inserts.
#[derive(Clone, Copy)]
struct Limits {
    max_allowed_packet: usize,
    auto_increment_increment: u64,
}

/// Statements that commit the transaction which they stand in, and then do their own work.
const DDL: [&str; 6] = ["create", "alter", "drop", "truncate", "rename", "grant"];

impl Connection {
    /// How long its calls may take.
    pub fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// The driver's connection, for looks.
    pub fn driver(&mut self) -> &mut Conn {
        &mut self.client
    }

    /// Whether this is MariaDB.
    pub fn is_mariadb(&self) -> bool {
        self.server.mariadb
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
    pub fn is_in_transaction(&mut self) -> bool {
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

    pub fn query(&mut self, sql: &str, params: &[Value]) -> Result<Rows> {
        match fetch(&mut self.client, sql, params) {
            Ok(rows) => {
                self.state.observe(&self.client);
                Ok(rows)
            }
            Err(why) => Err(drop_spoilt(&mut self.client, sql, why)),
        }
    }

    pub fn execute_batch(&mut self, sql: &str) -> Result<()> {
        for statement in sql.split(";\n").filter(|text| !text.trim().is_empty()) {
            self.client.query_drop(statement)?;
        }
        Ok(())
    }

    pub fn register(&mut self, ident: &Ident, cursor: EventId) -> Result<()> {
        self.check_server()?;
        let sql = self.sql.clone();
        let name = ident.as_str();
        let mut result = self.client.exec_drop(&sql.register, (cursor, name, name));
        for _ in 0..FREE_ID_TRIES {
            match result {
                Err(mysql::Error::MySqlError(why)) if no_id_left(&why) => {
                    result = self.client.exec_drop(&sql.register_free, (cursor, name, name));
                }
                _ => break,
            }
        }
        match result {
            Ok(()) if self.client.affected_rows() == 1 => return self.committed(),
            Err(mysql::Error::MySqlError(why)) if no_id_left(&why) => {
                return Err(no_consumer_id(mysql::Error::MySqlError(why).into()));
            }
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

    pub fn highest_allocated(&mut self) -> Result<EventId> {
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
        Ok(StreamRow { highest: self.highest_allocated()?, now: now.unwrap_or_default() })
    }
}

/// The counter of the consumer table is at the end of its column, and gives the last id again; or
/// somebody took the free id. Several error numbers say so.
fn no_id_left(why: &mysql::MySqlError) -> bool {
    matches!(why.code, 167 | 1264 | 1467) || why.code == 1062 && why.message.contains("PRIMARY")
}
