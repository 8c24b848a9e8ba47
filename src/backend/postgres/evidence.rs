//! Whether what the session of a [`Watch`] sees is what happens on the server that is written to.
//!
//! A look is worth nothing on a server that only speaks the protocol, or behind a proxy that sends it
//! elsewhere than writes. So a second session does in a transaction what a writer does, as far as the
//! grants of a consumer go: it holds a lock on the event table. The session that looks must find that
//! lock, both by a statement of the kind that looks and by one of the kind that reads.

use super::{Connection, Connector, first, name_grant};
use crate::model::error::{Error, ErrorKind, Result, fail};
use postgres::SimpleQueryMessage;
use std::hash::{BuildHasher, RandomState};

/// Refuses servers and proxies that do not show the lock of another session to this one.
pub(super) fn check(looker: &mut Connection, connector: &Connector) -> Result<()> {
    let mut writer = connector.connect()?;
    let call = writer.line().call()?;
    let mark = hold(&mut writer)?;
    let seen = is_seen(looker, &mark);
    let ended = writer.driver().batch_execute("ROLLBACK").map_err(Error::from);
    let (by_look, by_read) = call.explain(seen.and_then(|seen| ended.map(|()| seen)))?;
    if !by_look {
        fail!(
            UnsafeServer,
            "pg_locks does not show that another session of ours has just locked the event table: the \
             server only looks like PostgreSQL, or a proxy sends looks to another server than writes. \
             {REMEDY}"
        );
    }
    if !by_read {
        fail!(
            UnsafeServer,
            "what is read comes from another server than what is written: a proxy splits reads and \
             writes. {REMEDY}"
        );
    }
    Ok(())
}

const REMEDY: &str = "Who writes events at this moment cannot be seen, and events would be lost: \
    connect to the server that is written to";

/// Locks the event table in a transaction, and marks that by a lock on a number that nobody else uses;
/// gives what finds the latter.
fn hold(writer: &mut Connection) -> Result<String> {
    let number = RandomState::new().hash_one(0);
    let queue = writer.sql.queue.clone();
    let sql = format!(
        "BEGIN; LOCK TABLE {queue} IN ACCESS SHARE MODE; \
         SELECT pg_catalog.pg_advisory_xact_lock_shared({})",
        number.cast_signed()
    );
    let held = writer.driver().batch_execute(&sql).map_err(Error::from);
    held.map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => name_grant(error, || format!("SELECT on {queue}")),
        ErrorKind::Database => Error::new(
            ErrorKind::UnsafeServer,
            format!("the server is not a PostgreSQL that locks tables ({error}). {REMEDY}"),
        ),
        _ => error,
    })?;
    Ok(format!("m.classid = {} AND m.objid = {}", number >> 32, number & 0xffff_ffff))
}

/// Whether a statement that looks, and one that reads, show the locks.
fn is_seen(looker: &mut Connection, mark: &str) -> Result<(bool, bool)> {
    let sql = format!(
        "SELECT count(*) > 0 FROM pg_catalog.pg_locks m JOIN pg_catalog.pg_locks l \
         ON l.virtualtransaction = m.virtualtransaction WHERE m.locktype = 'advisory' AND {mark} \
         AND l.locktype = 'relation' AND l.granted AND l.relation = '{}'::regclass",
        looker.sql.queue.replace('\'', "''")
    );
    let answer = looker.driver().simple_query(&format!("SELECT 1; {sql}"))?;
    let by_look = answer
        .iter()
        .any(|message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("t")));
    let by_read = first(&looker.fetch(&sql, &[])?)?.try_get(0)?;
    Ok((by_look, by_read))
}
