//! Making the tables, and bringing older ones up to date.
//!
//! Versions are those of the npm package, continued. They are noted in a small table `evt_schema`
//! beside the event tables. Tables without a note were made by the npm package's SQL: they are
//! looked at, and taken over if they are what they should be. All steps may run again on their own
//! result, because MySQL commits each of them by itself.

use super::{Connection, DatabaseKind, strict_ids};
use crate::config::{Settings, TableName};
use crate::model::error::{Error, ErrorKind, Result, fail};
use crate::model::value::{Rows, Value};

/// One step: its version, and its SQL with the names of tables left open.
type Migration = (&'static str, &'static str);

macro_rules! migrations {
    ($folder:literal: $($version:literal $name:literal),+) => {
        &[$(($version, include_str!(concat!(
            "migrations/", $folder, "/V", $version, "__", $name, ".sql"
        )))),+]
    };
}

const SQLITE: &[Migration] = migrations!("active/sqlite": "18.1" "tables", "18.4" "mark");
const POSTGRES: &[Migration] =
    migrations!("active/postgres": "18.1" "tables", "18.3" "consumer_ids", "18.4" "mark");
const MYSQL: &[Migration] = migrations!(
    "active/mysql": "18.1" "tables", "18.1.1" "utf8mb4", "18.2" "widen", "18.3" "consumer_ids",
    "18.4" "mark"
);

const SQLITE_DWH: &[Migration] = migrations!("dwh/sqlite": "18.1" "history");
const POSTGRES_DWH: &[Migration] = migrations!("dwh/postgres": "18.1" "history");
const MYSQL_DWH: &[Migration] =
    migrations!("dwh/mysql": "18.1" "history", "18.1.1" "utf8mb4", "18.2" "widen");

/// A table that a set of migrations makes.
struct Table<'a> {
    name: &'a TableName,
    columns: &'static [&'static str],
    /// Its ids are allocated by the database, increasing and never again.
    draws_ids: bool,
}

/// The steps of a stream's tables.
fn steps(kind: DatabaseKind) -> &'static [Migration] {
    match kind {
        DatabaseKind::Sqlite => SQLITE,
        DatabaseKind::Postgres => POSTGRES,
        DatabaseKind::Mysql => MYSQL,
    }
}

/// Makes or updates the tables of a stream.
pub(crate) fn active(connection: &mut Connection, settings: &Settings) -> Result<()> {
    let (events, consumers) = (&settings.event_table, &settings.consumer_table);
    if events.schema != consumers.schema {
        fail!(
            InvalidOption,
            "event_table {events} and consumer_table {consumers} are in different schemas: put \
             them into one"
        );
    }
    let tables = [
        Table { name: events, columns: &["id", "type", "data", "ts"], draws_ids: true },
        Table {
            name: consumers,
            columns: &["id", "last_evt_id", "reg_time", "last_time", "ident"],
            draws_ids: true,
        },
    ];
    let steps = steps(connection.kind());
    let part = format!("active:{}", events.name);
    locked(connection, |connection| {
        run(connection, &part, steps, &tables, settings)?;
        if settings.strict_ids {
            strict_ids::refuse_given_ids(connection, events)?;
        }
        connection.end_migration(settings)
    })
}

/// The steps of the stream's tables that were not run yet, by the notes of `migrate`.
pub(crate) fn pending(
    connection: &mut Connection,
    settings: &Settings,
) -> Result<Vec<&'static str>> {
    let steps = steps(connection.kind());
    let mark = connection.kind().quote();
    let events = &settings.event_table;
    let notes = TableName { name: "evt_schema".to_owned(), ..events.clone() }.quoted(mark);
    let part = format!("active:{}", events.name);
    let sql = format!("SELECT version FROM {notes} WHERE part = '{part}'");
    let rows = match connection.query(&sql, &[]) {
        Err(error) if error.kind() == ErrorKind::NotMigrated => Rows::default(),
        rows => rows?,
    };
    let done: Vec<&str> = rows.iter().filter_map(|row| row.first()?.as_str()).collect();
    Ok(steps.iter().map(|(version, _)| *version).filter(|step| !done.contains(step)).collect())
}

/// Makes or updates the table of a warehouse.
pub(crate) fn warehouse(connection: &mut Connection, settings: &Settings) -> Result<()> {
    let history = &settings.history_table;
    let tables =
        [Table { name: history, columns: &["id", "type", "data", "ts"], draws_ids: false }];
    let steps = match connection.kind() {
        DatabaseKind::Sqlite => SQLITE_DWH,
        DatabaseKind::Postgres => POSTGRES_DWH,
        DatabaseKind::Mysql => MYSQL_DWH,
    };
    let part = format!("dwh:{}", history.name);
    locked(connection, |connection| run(connection, &part, steps, &tables, settings))
}

/// Runs `work` while no other process migrates; in one transaction where the database can.
fn locked(
    connection: &mut Connection,
    work: impl FnOnce(&mut Connection) -> Result<()>,
) -> Result<()> {
    const LOCK: i64 = 0x6665_735F_6D69_6772; // "fes_migr"
    if connection.kind() == DatabaseKind::Mysql {
        connection.check_no_replica()?;
        let rows = connection.query("SELECT GET_LOCK('fes_migrate', 120)", &[])?;
        if first(&rows).and_then(Value::as_i64) != Some(1) {
            fail!(Busy, "another process has been migrating for 120 s: let it end, then try again");
        }
        let result = work(connection);
        let released = connection.query("SELECT RELEASE_LOCK('fes_migrate')", &[]);
        return result.and_then(|()| released.map(|_| ()));
    }
    connection.in_transaction(|connection| {
        if connection.kind() == DatabaseKind::Postgres {
            connection.query(&format!("SELECT pg_advisory_xact_lock({LOCK})::text"), &[])?;
        }
        work(connection)
    })
}

fn run(
    connection: &mut Connection,
    part: &str,
    steps: &[Migration],
    tables: &[Table<'_>],
    settings: &Settings,
) -> Result<()> {
    let mark = connection.kind().quote();
    let sqlite = connection.kind() == DatabaseKind::Sqlite;
    let name = TableName { name: "evt_schema".to_owned(), ..tables[0].name.clone() };
    let notes = name.quoted(mark);
    let noted = Table { name: &name, columns: &["part", "version"], draws_ids: false };
    // All is looked at before anything is changed: MySQL would not undo it.
    let rows = if check(connection, &noted)? {
        connection.query(&format!("SELECT version FROM {notes} WHERE part = '{part}'"), &[])?
    } else {
        Rows::default()
    };
    let done: Vec<&str> = rows.iter().filter_map(|row| row.first()?.as_str()).collect();
    if let Some(unknown) = done.iter().find(|v| !steps.iter().any(|(known, _)| known == *v)) {
        fail!(
            NewerSchema,
            "{part} has schema version {unknown}, which this library does not know (its newest is \
             {}): update futoin-eventstream",
            steps.last().map_or("none", |(version, _)| version)
        );
    }
    let mut missing = Vec::new();
    for table in tables {
        if !check(connection, table)? {
            missing.push(table.name);
        }
    }
    connection.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS {notes} (part varchar(64) NOT NULL, \
         version varchar(16) NOT NULL, PRIMARY KEY (part, version))"
    ))?;
    for (version, sql) in steps {
        let noted = done.contains(version);
        let sql = if noted { only_for(sql, &missing, settings) } else { (*sql).to_owned() };
        match connection.execute_batch(&fill(&sql, settings, mark, sqlite)) {
            // MySQL and SQLite cannot be told to add a column only where it is not there yet.
            Err(error)
                if error.sql_state() == Some("1060")
                    || (sqlite && error.message().contains("duplicate column name")) => {}
            result => {
                result.map_err(|error| error.context(format!("migration {version} of {part}")))?;
            }
        }
        if !noted {
            connection.execute_batch(&format!(
                "INSERT INTO {notes}(part, version) VALUES ('{part}', '{version}')"
            ))?;
        }
    }
    Ok(())
}

/// The statements of a step that was done before, for tables that somebody has dropped since. A step
/// that is one block for several tables is done again for all: that changes nothing.
fn only_for(sql: &str, missing: &[&TableName], settings: &Settings) -> String {
    let is_missing = |table: &TableName, marks: &[&str], statement: &str| {
        missing.contains(&table) && marks.iter().any(|mark| statement.contains(mark))
    };
    let (events, consumers) = (&settings.event_table, &settings.consumer_table);
    let kept = |statement: &&str| {
        is_missing(events, &["{event_table}"], statement)
            || is_missing(consumers, &["{consumer_table}", "{consumer_name}"], statement)
            || is_missing(&settings.history_table, &["{history_table}"], statement)
    };
    let is_block = sql.contains("DO $do$");
    let statements: Vec<&str> = match is_block {
        true => vec![sql],
        false => sql.split(";\n").collect(),
    };
    statements.into_iter().filter(kept).collect::<Vec<_>>().join(";\n")
}

/// Puts the names of the tables into a step. SQLite has the schema at the index, not its table.
fn fill(sql: &str, settings: &Settings, mark: char, sqlite: bool) -> String {
    let consumers = &settings.consumer_table;
    let plain = TableName { schema: None, name: consumers.name.clone() };
    let index = TableName { name: format!("{}_last_evt_id", plain.name), ..consumers.clone() };
    let index = if sqlite { index } else { TableName { schema: None, ..index } };
    sql.replace("{event_table}", &settings.event_table.quoted(mark))
        .replace("{consumer_table}", &consumers.quoted(mark))
        .replace("{history_table}", &settings.history_table.quoted(mark))
        .replace("{consumer_name}", &plain.quoted(mark))
        .replace("{consumer_index}", &index.quoted(mark))
}

/// Refuses a table of the name that is something else; says whether there is one.
fn check(connection: &mut Connection, table: &Table<'_>) -> Result<bool> {
    let columns = columns(connection, table.name)?;
    if columns.is_empty() {
        return Ok(false);
    }
    let foreign = |why: String| {
        Error::new(
            ErrorKind::ForeignSchema,
            format!("table {} is not one of an event stream: {why}", table.name),
        )
    };
    for wanted in table.columns {
        if !columns.iter().any(|column| column.name == *wanted) {
            return Err(foreign(format!("it has no column {wanted}")));
        }
    }
    for column in &columns {
        if column.required && !table.columns.contains(&column.name.as_str()) {
            return Err(foreign(format!(
                "its column {} is NOT NULL without a default, so that events cannot be added: give it \
                 a default",
                column.name
            )));
        }
    }
    if columns.iter().any(|column| column.name == "data" && column.rounds) {
        return Err(foreign(
            "its column data has MySQL's type JSON, which rounds numbers: make it LONGTEXT"
                .to_owned(),
        ));
    }
    if table.draws_ids && !columns.iter().any(|column| column.name == "id" && column.draws_ids) {
        return Err(foreign(
            "its column id does not draw increasing ids (AUTOINCREMENT, serial, AUTO_INCREMENT)"
                .to_owned(),
        ));
    }
    Ok(true)
}

struct Column {
    name: String,
    /// NOT NULL without a default.
    required: bool,
    draws_ids: bool,
    /// Of a type that keeps the numbers of JSON as floating-point numbers.
    rounds: bool,
}

fn columns(connection: &mut Connection, table: &TableName) -> Result<Vec<Column>> {
    let name = &table.name;
    let sql = match connection.kind() {
        DatabaseKind::Sqlite => {
            let schema = table.schema.as_deref().unwrap_or("main");
            format!(
                "SELECT p.name, p.\"notnull\" AND p.dflt_value IS NULL AND NOT p.pk, \
                 p.pk AND instr(upper(m.sql), 'AUTOINCREMENT') > 0, 0 \
                 FROM pragma_table_info('{name}', '{schema}') p, \"{schema}\".sqlite_master m \
                 WHERE m.type = 'table' AND lower(m.name) = lower('{name}')"
            )
        }
        DatabaseKind::Postgres => format!(
            "SELECT a.attname::text, a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', \
             pg_get_serial_sequence('{quoted}', a.attname) IS NOT NULL, false \
             FROM pg_attribute a WHERE a.attrelid = to_regclass('{quoted}') AND a.attnum > 0 \
             AND NOT a.attisdropped",
            quoted = table.quoted('"')
        ),
        DatabaseKind::Mysql => {
            let schema = match &table.schema {
                Some(schema) => format!("'{schema}'"),
                None => "DATABASE()".to_owned(),
            };
            format!(
                "SELECT COLUMN_NAME, IS_NULLABLE = 'NO' AND COLUMN_DEFAULT IS NULL \
                 AND EXTRA NOT LIKE '%auto_increment%', EXTRA LIKE '%auto_increment%', \
                 DATA_TYPE = 'json' \
                 FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {schema} \
                 AND TABLE_NAME = '{name}'"
            )
        }
    };
    let flag = |value: Option<&Value>| match value {
        Some(Value::Bool(flag)) => *flag,
        other => other.and_then(Value::as_i64).unwrap_or(0) != 0,
    };
    let rows = connection.query(&sql, &[])?;
    Ok(rows
        .iter()
        .map(|row| Column {
            name: row.first().and_then(Value::as_str).unwrap_or_default().to_lowercase(),
            required: flag(row.get(1)),
            draws_ids: flag(row.get(2)),
            rounds: flag(row.get(3)),
        })
        .collect())
}

fn first(rows: &[Vec<Value>]) -> Option<&Value> {
    rows.first()?.first()
}
