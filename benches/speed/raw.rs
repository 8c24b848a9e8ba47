//! The raw side: what an application would write by hand with the same driver, as fast as it can.

use futoin_eventstream::{DatabaseKind, mysql, postgres, rusqlite};
use mysql::prelude::Queryable;
use postgres::types::private::BytesMut;
use postgres::types::{Format, FromSql, IsNull, ToSql, Type};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::time::Duration;

type BoxError = Box<dyn std::error::Error + Sync + Send>;

/// A connection of the driver, and the statements that it has prepared.
pub enum Raw {
    Sqlite(rusqlite::Connection),
    Postgres(Box<Postgres>),
    Mysql(Box<mysql::Conn>),
}

pub struct Postgres {
    client: postgres::Client,
    prepared: HashMap<&'static str, postgres::Statement>,
}

impl Postgres {
    /// The statement, prepared once, and the client to run it with.
    fn statement(&mut self, sql: &'static str) -> (postgres::Statement, &mut postgres::Client) {
        let client = &mut self.client;
        let statement = self.prepared.entry(sql).or_insert_with(|| client.prepare(sql).unwrap());
        (statement.clone(), client)
    }
}

/// JSON as text: the driver itself would not give a `json` column as a `String`.
#[derive(Debug)]
struct Json<T>(T);

impl ToSql for Json<&str> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
    fn accepts(_: &Type) -> bool {
        true
    }
    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }
    postgres::types::to_sql_checked!();
}

impl<'a> FromSql<'a> for Json<String> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        Ok(Json(std::str::from_utf8(raw)?.to_owned()))
    }
    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Microseconds of a `timestamp`, as they come.
struct Micros(#[allow(dead_code)] i64);

impl<'a> FromSql<'a> for Micros {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        Ok(Micros(i64::from_be_bytes(raw.try_into()?)))
    }
    fn accepts(_: &Type) -> bool {
        true
    }
}

const INSERT: [&str; 3] = [
    "INSERT INTO evt_queue(type, data, ts) VALUES (?, ?, datetime('now'))",
    "INSERT INTO evt_queue(type, data, ts) \
     VALUES ($1, $2, clock_timestamp() AT TIME ZONE 'UTC') RETURNING id",
    "INSERT INTO evt_queue(type, data, ts) VALUES (?, ?, UTC_TIMESTAMP())",
];
const SCAN: &str = "SELECT id, type, data, ts FROM evt_queue WHERE id > ? ORDER BY id LIMIT ?";
const SCAN_WANT: &str =
    "SELECT id, type, data, ts FROM evt_queue WHERE id > ? AND type IN (?) ORDER BY id LIMIT ?";
const PG_SCAN: &str = "SELECT id, type, data, ts FROM evt_queue WHERE id > $1 ORDER BY id LIMIT $2";
const PG_SCAN_WANT: &str = "SELECT id, type, data, ts FROM evt_queue WHERE id > $1 \
                            AND type = ANY($2) ORDER BY id LIMIT $3";

impl Raw {
    pub fn connect(kind: DatabaseKind, url: &str) -> Raw {
        match kind {
            DatabaseKind::Sqlite => {
                let path = url.strip_prefix("sqlite://").expect("a path");
                let connection = rusqlite::Connection::open(path).unwrap();
                connection.busy_timeout(Duration::from_secs(60)).unwrap();
                connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
                connection.pragma_update(None, "synchronous", "FULL").unwrap();
                Raw::Sqlite(connection)
            }
            DatabaseKind::Postgres => {
                let client = postgres::Client::connect(url, postgres::NoTls).unwrap();
                Raw::Postgres(Box::new(Postgres { client, prepared: HashMap::new() }))
            }
            DatabaseKind::Mysql => {
                let url = url.split('?').next().expect("a URL");
                let options = mysql::OptsBuilder::from_opts(mysql::Opts::from_url(url).unwrap());
                let mut client = mysql::Conn::new(options.prefer_socket(false)).unwrap();
                client
                    .query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
                    .unwrap();
                Raw::Mysql(Box::new(client))
            }
        }
    }

    pub fn exec(&mut self, sql: &str) {
        match self {
            Raw::Sqlite(c) => c.execute_batch(sql).unwrap(),
            Raw::Postgres(c) => c.client.batch_execute(sql).unwrap(),
            Raw::Mysql(c) => c.query_drop(sql).unwrap(),
        }
    }

    /// The first column of the first row.
    pub fn number(&mut self, sql: &str) -> i64 {
        match self {
            Raw::Sqlite(c) => c.query_row(sql, [], |row| row.get(0)).unwrap(),
            Raw::Postgres(c) => c.client.query_one(sql, &[]).unwrap().get(0),
            Raw::Mysql(c) => c.query_first(sql).unwrap().unwrap(),
        }
    }

    /// A counter of MySQL or MariaDB.
    pub fn status(&mut self, name: &str) -> i64 {
        let Raw::Mysql(c) = self else { return 0 };
        let row: Option<(String, i64)> =
            c.query_first(format!("SHOW GLOBAL STATUS LIKE '{name}'")).unwrap();
        row.unwrap().1
    }

    /// One prepared INSERT, by itself or in the open transaction.
    pub fn insert(&mut self, event_type: &str, data: &str) -> i64 {
        match self {
            Raw::Sqlite(c) => {
                c.prepare_cached(INSERT[0]).unwrap().execute([event_type, data]).unwrap();
                c.last_insert_rowid()
            }
            Raw::Postgres(c) => {
                let (insert, client) = c.statement(INSERT[1]);
                client.query_one(&insert, &[&event_type, &Json(data)]).unwrap().get(0)
            }
            Raw::Mysql(c) => {
                c.exec_drop(INSERT[2], (event_type, data)).unwrap();
                c.last_insert_id() as i64
            }
        }
    }

    pub fn begin(&mut self) {
        self.exec(if matches!(self, Raw::Sqlite(_)) { "BEGIN IMMEDIATE" } else { "BEGIN" });
    }

    /// Many events by the fastest way of the driver: COPY on PostgreSQL, one INSERT with all rows on
    /// MySQL, a prepared INSERT in a loop on SQLite.
    pub fn insert_many(&mut self, events: &[(String, String)]) {
        match self {
            Raw::Sqlite(_) => {
                self.begin();
                for (event_type, data) in events {
                    self.insert(event_type, data);
                }
                self.exec("COMMIT");
            }
            Raw::Postgres(c) => {
                let now = "2026-01-01 00:00:00";
                let mut writer =
                    c.client.copy_in("COPY evt_queue(type, data, ts) FROM STDIN").unwrap();
                let mut text = String::new();
                for (event_type, data) in events {
                    text.extend([event_type, "\t", data, "\t", now, "\n"]);
                }
                writer.write_all(text.as_bytes()).unwrap();
                writer.finish().unwrap();
            }
            Raw::Mysql(c) => {
                let row = "(?, ?, UTC_TIMESTAMP())";
                let sql = format!(
                    "INSERT INTO evt_queue(type, data, ts) VALUES {row}{}",
                    format!(", {row}").repeat(events.len() - 1)
                );
                let params =
                    events.iter().flat_map(|(t, d)| [t.as_str().into(), d.as_str().into()]);
                c.exec_drop(&sql, mysql::Params::Positional(params.collect())).unwrap();
            }
        }
    }

    /// A chunk by primary key, of one type or all, turned into owned strings. Gives the last id and
    /// how many rows there were.
    pub fn scan(&mut self, after: i64, want: Option<&str>, limit: i64) -> (i64, usize) {
        let mut rows: Vec<(i64, String, String)> = Vec::new();
        match self {
            Raw::Sqlite(c) => {
                let turn = |row: &rusqlite::Row| {
                    let _: String = row.get(3)?;
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                };
                let mut statement =
                    c.prepare_cached(if want.is_some() { SCAN_WANT } else { SCAN }).unwrap();
                let found = match want {
                    None => statement.query_map([after, limit], turn),
                    Some(want) => statement.query_map(rusqlite::params![after, want, limit], turn),
                };
                rows.extend(found.unwrap().map(Result::unwrap));
            }
            Raw::Postgres(c) => {
                let found = match want {
                    None => {
                        let (scan, client) = c.statement(PG_SCAN);
                        client.query(&scan, &[&after, &limit])
                    }
                    Some(want) => {
                        let (scan, client) = c.statement(PG_SCAN_WANT);
                        client.query(&scan, &[&after, &vec![want], &limit])
                    }
                };
                rows.extend(found.unwrap().iter().map(|row| {
                    let (data, _): (Json<String>, Micros) = (row.get(2), row.get(3));
                    (row.get(0), row.get(1), data.0)
                }));
            }
            Raw::Mysql(c) => {
                let turn = |(id, event_type, data, _): (i64, String, String, mysql::Value)| {
                    (id, event_type, data)
                };
                rows = match want {
                    None => c.exec_map(SCAN, (after, limit), turn).unwrap(),
                    Some(want) => c.exec_map(SCAN_WANT, (after, want, limit), turn).unwrap(),
                };
            }
        }
        (rows.last().map_or(after, |row| row.0), rows.len())
    }

    /// Stores the cursor of a consumer.
    pub fn store(&mut self, ident: &str, last: i64) {
        let sql = "UPDATE evt_consumers SET last_evt_id = ? WHERE ident = ?";
        match self {
            Raw::Sqlite(c) => {
                c.prepare_cached(sql).unwrap().execute((last, ident)).unwrap();
            }
            Raw::Postgres(c) => {
                let (store, client) =
                    c.statement("UPDATE evt_consumers SET last_evt_id = $1 WHERE ident = $2");
                client.execute(&store, &[&last, &ident]).unwrap();
            }
            Raw::Mysql(c) => c.exec_drop(sql, (last, ident)).unwrap(),
        }
    }

    pub fn delete(&mut self, after: i64, upto: i64) {
        let sql = "DELETE FROM evt_queue WHERE id > ? AND id <= ?";
        match self {
            Raw::Sqlite(c) => {
                c.prepare_cached(sql).unwrap().execute([after, upto]).unwrap();
            }
            Raw::Postgres(c) => {
                let (delete, client) =
                    c.statement("DELETE FROM evt_queue WHERE id > $1 AND id <= $2");
                client.execute(&delete, &[&after, &upto]).unwrap();
            }
            Raw::Mysql(c) => c.exec_drop(sql, (after, upto)).unwrap(),
        }
    }

    /// All events, read in bulk and written to the history in bulk, in one transaction.
    pub fn archive(&mut self, to: &mut Raw) {
        match (self, to) {
            (Raw::Sqlite(from), Raw::Sqlite(to)) => {
                to.execute_batch("BEGIN IMMEDIATE").unwrap();
                {
                    let sql = "INSERT INTO evt_history(id, type, data, ts) VALUES (?, ?, ?, ?)";
                    let mut insert = to.prepare_cached(sql).unwrap();
                    let mut read = from
                        .prepare_cached("SELECT id, type, data, ts FROM evt_queue ORDER BY id")
                        .unwrap();
                    let mut rows = read.query([]).unwrap();
                    while let Some(row) = rows.next().unwrap() {
                        let id: i64 = row.get(0).unwrap();
                        let text = |at| row.get::<_, String>(at).unwrap();
                        let values = rusqlite::params![id, text(1), text(2), text(3)];
                        insert.execute(values).unwrap();
                    }
                }
                to.execute_batch("COMMIT").unwrap();
            }
            (Raw::Postgres(from), Raw::Postgres(to)) => {
                let read = "COPY (SELECT id, type, data, ts FROM evt_queue ORDER BY id) TO STDOUT";
                let mut reader = from.client.copy_out(read).unwrap();
                let write = "COPY evt_history(id, type, data, ts) FROM STDIN";
                let mut writer = to.client.copy_in(write).unwrap();
                let mut buffer = vec![0; 64 << 10];
                loop {
                    match reader.read(&mut buffer).unwrap() {
                        0 => break,
                        count => writer.write_all(&buffer[..count]).unwrap(),
                    }
                }
                writer.finish().unwrap();
            }
            (Raw::Mysql(from), Raw::Mysql(to)) => archive_mysql(from, to),
            _ => unreachable!("two databases of one kind"),
        }
    }
}

fn archive_mysql(from: &mut mysql::Conn, to: &mut mysql::Conn) {
    const ROWS: usize = 250;
    let full = format!(
        "INSERT INTO evt_history(id, type, data, ts) VALUES (?, ?, ?, ?){}",
        ", (?, ?, ?, ?)".repeat(ROWS - 1)
    );
    to.query_drop("BEGIN").unwrap();
    let mut params = Vec::with_capacity(4 * ROWS);
    let rows = from.exec_iter("SELECT id, type, data, ts FROM evt_queue ORDER BY id", ()).unwrap();
    for row in rows {
        params.extend(row.unwrap().unwrap());
        if params.len() == 4 * ROWS {
            let now = std::mem::replace(&mut params, Vec::with_capacity(4 * ROWS));
            to.exec_drop(&full, mysql::Params::Positional(now)).unwrap();
        }
    }
    for row in params.chunks(4) {
        let one = "INSERT INTO evt_history(id, type, data, ts) VALUES (?, ?, ?, ?)";
        to.exec_drop(one, mysql::Params::Positional(row.to_vec())).unwrap();
    }
    to.query_drop("COMMIT").unwrap();
}
