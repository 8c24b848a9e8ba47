//! The session on PostgreSQL: its settings, which are all ours, and the tables that it finds.
//!
//! Settings are made by one statement after connecting. The startup parameter `options` would be
//! the shorter way, but PgBouncer, RDS Proxy and others refuse it.

use super::Sql;
use crate::config::{Settings, TableName};
use crate::model::error::{Result, fail};
use crate::sync::lock::lock;
use postgres::{Client, SimpleQueryMessage};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

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
    mark: &str,
) -> Result<Arc<Sql>> {
    let known = lock(latest).clone();
    if !mark.is_empty() {
        let answer = client.simple_query(&marked(settings, mark))?;
        let before = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default()),
            _ => None,
        });
        check_mark(before.unwrap_or_default(), "")?;
    }
    if known.is_qualified() {
        return Ok(known);
    }
    let names = &known.names;
    let tables = [&names.event_table, &names.consumer_table, &names.history_table];
    let quoted = tables.map(|table| format!("(pg_catalog.to_regclass('{}'))", table.quoted('"')));
    let find = format!(
        "SELECT n.nspname FROM (VALUES {}) AS t(oid) LEFT JOIN pg_catalog.pg_class c \
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
    *lock(latest) = sql.clone();
    Ok(sql)
}

/// Puts a session that the caller's SQL has used back into its first state.
pub(super) fn reset(client: &mut Client, settings: &str, mark: &str) -> Result<()> {
    client.batch_execute("DISCARD ALL")?;
    client.batch_execute(&marked(settings, mark))?;
    Ok(())
}

/// The statements that set up a session: they give the mark that it had before.
fn marked(settings: &str, mark: &str) -> String {
    format!(
        "SELECT pg_catalog.current_setting('fes.session', true); {settings}; \
         SET fes.session = '{mark}'"
    )
}

/// A name for one session, that no other one of any process has.
pub(crate) fn new_mark() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let random = RandomState::new().hash_one(COUNT.fetch_add(1, Ordering::Relaxed));
    format!("{}-{random:x}", std::process::id())
}

/// Refuses a session that has the mark of another one: a pooler gives a session to one client after
/// the other. What is said in one statement does not hold in the next one then, and two receivers of
/// one consumer would both get its lock.
pub(super) fn check_mark(found: &str, expected: &str) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    fail!(
        UnsafeServer,
        "a pooler between the library and PostgreSQL gives its sessions to several clients by turns \
         (transaction or statement mode): set the option pooler=transaction, let the pooler use \
         session mode with its reset query, or connect to the server itself"
    )
}
