//! The statements of a stream on SQLite.

use super::{cursors, history, verify};
use crate::backend::DatabaseKind;
use crate::config::{Settings, TableName};
use crate::model::event::MAX_EVENT_ID;

/// The SQL that adds an event and gives its id. One above the limit makes the statement fail, and so undoes it: the
/// absolute value of the lowest number is not to be had.
pub(super) fn insert_returning_sql(table: &TableName) -> String {
    format!(
        "{} RETURNING CASE WHEN id <= {MAX_EVENT_ID} THEN id \
         ELSE abs(id - id - 9223372036854775807 - 1) END",
        DatabaseKind::Sqlite.insert_sql(table)
    )
}

/// Reads of a table: of all events, of some types, of one.
pub(super) struct Reads {
    pub all: String,
    pub types: String,
    pub one_type: String,
}

impl Reads {
    pub fn of(table: &TableName) -> Self {
        let table = table.quoted('"');
        let read = |filter: &str| {
            format!(
                "SELECT id, type, data, ts FROM {table} WHERE id > ?1 AND id <= ?2 {filter} \
                 ORDER BY id LIMIT ?3"
            )
        };
        Reads {
            all: read(""),
            types: read("AND type IN (SELECT value FROM json_each(?4))"),
            // A comparison instead of a search for each row.
            one_type: read("AND type = ?4"),
        }
    }
}

/// The statements of a stream, with its table names.
pub(super) struct Sql {
    pub queue: TableName,
    pub insert: String,
    pub register: String,
    pub unregister: String,
    pub reads: Reads,
    pub highest: String,
    pub consumers: String,
    pub history: history::Sql,
    pub verify: verify::Sql,
    pub cursors: cursors::Sql,
}

impl Sql {
    pub fn new(settings: &Settings) -> Self {
        let queue = settings.event_table.quoted('"');
        let consumers = settings.consumer_table.quoted('"');
        let schema = settings.event_table.schema.as_deref().unwrap_or("main");
        let name = &settings.event_table.name;
        let highest = format!(
            "SELECT max(coalesce((SELECT max(id) FROM {queue}), 0), coalesce((SELECT seq FROM \
             \"{schema}\".sqlite_sequence WHERE name = '{name}'), 0))"
        );
        Sql {
            history: history::Sql::new(settings),
            verify: verify::Sql::new(settings),
            queue: settings.event_table.clone(),
            insert: DatabaseKind::Sqlite.insert_sql(&settings.event_table),
            // A refused INSERT would use up an id.
            register: format!(
                "INSERT INTO {consumers}(last_evt_id, reg_time, last_time, ident) \
                 SELECT ?2, datetime('now'), datetime('now'), ?1 \
                 WHERE NOT EXISTS (SELECT 1 FROM {consumers} WHERE ident = ?1)"
            ),

            unregister: format!("DELETE FROM {consumers} WHERE ident = ?1"),
            reads: Reads::of(&settings.event_table),
            cursors: cursors::Sql::new(settings, &highest),
            highest,
            consumers: format!(
                "SELECT ident, last_evt_id, CAST(strftime('%s', reg_time) AS INTEGER), \
                 CAST(strftime('%s', last_time) AS INTEGER), \
                 (SELECT count(*) FROM {queue} WHERE id > last_evt_id), \
                 (SELECT CAST(strftime('%s', ts) AS INTEGER) FROM {queue} WHERE id > last_evt_id \
                 ORDER BY id LIMIT 1) FROM {consumers} ORDER BY ident"
            ),
        }
    }
}
