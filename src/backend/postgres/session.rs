//! The session on PostgreSQL: its settings, which are all ours, and the tables that it finds.
//!
//! Settings are made by one statement after connecting. The startup parameter `options` would be
//! the shorter way, but PgBouncer, RDS Proxy and others refuse it.

use super::Sql;
use crate::config::{Settings, TableName};
use crate::error::Result;
use postgres::{Client, SimpleQueryMessage};
use std::sync::{Arc, Mutex, PoisonError};

/// What each session sets, so that nothing is inherited from the role, the database or a caller.
/// `row_security = off` makes hidden rows an error, where they would be missing silently.
pub(super) const SETTINGS: &str = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED, \
    READ WRITE, NOT DEFERRABLE; SET timezone = 'UTC'; SET datestyle = 'ISO, MDY'; \
    SET intervalstyle = 'postgres'; SET client_encoding = 'UTF8'; \
    SET standard_conforming_strings = on; SET row_security = off; SET bytea_output = 'hex'; \
    SET extra_float_digits = 1";

/// Makes the settings of a new session, and gives the statements for the tables that it finds.
///
/// A name without a schema is looked up once, by the search path that the role has when it connects.
/// From then on every session of the handle uses the name with that schema: neither a `SET
/// search_path` nor a temporary table of the same name leads events astray.
pub(super) fn begin(
    client: &mut Client,
    settings: &str,
    latest: &Mutex<Arc<Sql>>,
) -> Result<Arc<Sql>> {
    let known = latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if known.is_qualified() {
        client.batch_execute(settings)?;
        return Ok(known);
    }
    let names = &known.names;
    let tables = [&names.event_table, &names.consumer_table, &names.history_table];
    let quoted = tables.map(|table| format!("(pg_catalog.to_regclass('{}'))", table.quoted('"')));
    let find = format!(
        "{settings}; SELECT n.nspname FROM (VALUES {}) AS t(oid) LEFT JOIN pg_catalog.pg_class c \
         ON c.oid = t.oid LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         AND n.oid <> pg_catalog.pg_my_temp_schema()",
        quoted.join(", ")
    );
    let answer = client.simple_query(&find)?;
    let mut schemas = answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0)),
        _ => None,
    });
    let mut named = |table: &TableName| match (&table.schema, schemas.next().flatten()) {
        (None, Some(schema)) => table.in_schema(schema),
        _ => table.clone(),
    };
    let found = Settings {
        event_table: named(tables[0]),
        consumer_table: named(tables[1]),
        history_table: named(tables[2]),
        ..names.clone()
    };
    let sql = Arc::new(Sql::new(&found));
    *latest.lock().unwrap_or_else(PoisonError::into_inner) = sql.clone();
    Ok(sql)
}

/// Puts a session that the caller's SQL has used back into its first state.
pub(super) fn reset(client: &mut Client, settings: &str) -> Result<()> {
    client.batch_execute("DISCARD ALL")?;
    client.batch_execute(settings)?;
    Ok(())
}
