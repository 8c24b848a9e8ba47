//! The statements of a stream on PostgreSQL.

use super::{check, cursors, history, verify};
use crate::backend::DatabaseKind;
use crate::backend::ids::free_consumer_id;
use crate::config::{Settings, TableName};
use crate::model::event::MAX_EVENT_ID;

/// What the error of an insert begins with whose id was too high.
pub(super) const ABOVE_LIMIT: &str = "above the highest event id:";

/// The id of a new event. One above the limit makes the statement fail, and so undoes it: the text is
/// no number.
pub(super) fn returning_id() -> String {
    format!(
        "RETURNING CASE WHEN id <= {MAX_EVENT_ID} THEN id ELSE ('{ABOVE_LIMIT} ' || id)::bigint END"
    )
}

/// Reads of a table after an id, which `$1` is part of, without and with a filter. The upper bound of
/// the first stands outside: with two bounds, and no statistics yet, the server would sort all that is
/// behind the lower one.
pub(super) fn read_sql(table: &str, after: &str) -> [String; 2] {
    let columns = "id, type, data, ts";
    [
        format!(
            "SELECT {columns} FROM (SELECT {columns} FROM {table} WHERE id > {after} ORDER BY id \
             LIMIT $3) AS next WHERE id <= $2 ORDER BY id"
        ),
        format!(
            "SELECT {columns} FROM {table} WHERE id > {after} AND id <= $2 AND type::text = ANY($4) \
             ORDER BY id LIMIT $3"
        ),
    ]
}

/// The statements of a stream, with its table names.
pub(super) struct Sql {
    /// The tables' names, with their schemas once a session has found them.
    pub names: Settings,
    pub check: String,
    pub queue: String,
    pub table: TableName,
    pub consumers_table: String,
    pub insert: String,
    pub insert_returning: String,
    pub register: String,
    pub register_free: String,
    pub unregister: String,
    pub read: String,
    pub read_want: String,
    pub consumers: String,
    pub history: history::Sql,
    pub verify: verify::Sql,
    pub cursors: cursors::Sql,
}

impl Sql {
    pub fn new(settings: &Settings) -> Self {
        let queue = settings.event_table.quoted('"');
        let consumers = settings.consumer_table.quoted('"');
        let now = "clock_timestamp() AT TIME ZONE 'UTC'";
        let [read, read_want] = read_sql(&queue, check::AFTER_ON_PRIMARY);
        Sql {
            insert: DatabaseKind::Postgres.insert_sql(&settings.event_table),
            insert_returning: format!(
                "{} {}",
                DatabaseKind::Postgres.insert_sql(&settings.event_table),
                returning_id()
            ),
            table: settings.event_table.clone(),
            // Ids of consumers are small integers: a refused INSERT would use one up.
            register: format!(
                "INSERT INTO {consumers}(last_evt_id, reg_time, last_time, ident) \
                 SELECT $2::bigint, {now}, {now}, $1::text \
                 WHERE NOT EXISTS (SELECT 1 FROM {consumers} WHERE ident = $1::text) \
                 ON CONFLICT (ident) DO NOTHING"
            ),
            register_free: format!(
                "INSERT INTO {consumers}(id, last_evt_id, reg_time, last_time, ident) \
                 SELECT {free}, $2::bigint, {now}, {now}, $1::text \
                 WHERE NOT EXISTS (SELECT 1 FROM {consumers} WHERE ident = $1::text) \
                 ON CONFLICT (ident) DO NOTHING",
                free = free_consumer_id(&consumers)
            ),
            unregister: format!("DELETE FROM {consumers} WHERE ident = $1"),
            read,
            read_want,
            consumers: format!(
                "SELECT ident, last_evt_id, extract(epoch FROM reg_time)::bigint, \
                 extract(epoch FROM last_time)::bigint, \
                 (SELECT count(*) FROM {queue} WHERE id > last_evt_id), \
                 (SELECT extract(epoch FROM ts)::bigint FROM {queue} WHERE id > last_evt_id \
                 ORDER BY id LIMIT 1) FROM {consumers} ORDER BY ident"
            ),
            names: settings.clone(),
            check: check::sql(&queue, settings.single_writer_node),
            history: history::Sql::new(settings),
            verify: verify::Sql::new(settings),
            cursors: cursors::Sql::new(settings),
            queue,
            consumers_table: consumers,
        }
    }

    /// Whether the schemas of the stream's tables are known.
    pub fn is_qualified(&self) -> bool {
        self.names.event_table.schema.is_some() && self.names.consumer_table.schema.is_some()
    }
}

/// The channel on which new events of a table are notified.
pub(super) fn channel(table: &TableName) -> String {
    format!("fes_{}", table.name)
}

/// The trigger behind the option `notify`. Does nothing, and locks nothing, where it is there.
pub(super) fn notify_sql(table: &TableName) -> String {
    let (queue, channel) = (table.quoted('"'), channel(table));
    let function = TableName { name: format!("{}_fes_notify", table.name), ..table.clone() };
    let function = function.quoted('"');
    format!(
        "DO $do$ BEGIN IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'fes_notify' \
         AND tgrelid = '{queue}'::regclass) THEN \
         CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM pg_notify('{channel}', ''); RETURN NULL; END $$; \
         CREATE TRIGGER fes_notify AFTER INSERT ON {queue} FOR EACH STATEMENT \
         EXECUTE FUNCTION {function}(); END IF; END $do$"
    )
}
