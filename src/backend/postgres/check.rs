//! Whether this server can keep the promise of order at all, asked again and again.
//!
//! A standby shows no locks of the writers, and its rows come later than those of the primary. A
//! sequence with a cache hands out ids that are inserted in another order. Both can come about
//! while a stream is open: by a failover, by a balancer, by ALTER SEQUENCE.

use super::{Connection, session};
use crate::backend::postgres::first;
use crate::model::error::{Error, ErrorKind, Result, fail};
use postgres::error::SqlState;
use std::time::{Duration, Instant};

/// A connection that reads is asked again after this time.
const AGAIN: Duration = Duration::from_secs(1);

/// The statement that gives, as one text: recovery, read-only, and of the sequence its cache,
/// increment and cycle, where the role may see it; before these the mark of the session, and whether
/// row-level security hides rows from the role, and whether a subscription brings the events of another
/// server, unless somebody has promised that it does not. Row-level security is asked for, because
/// behind a pooler in transaction mode no session of ours has `row_security = off`.
pub(super) fn sql(queue: &str, promised: bool) -> String {
    let subscribed = match promised {
        true => "false".to_owned(),
        false => format!(
            "EXISTS (SELECT 1 FROM pg_catalog.pg_subscription_rel WHERE srrelid = \
             pg_catalog.to_regclass('{queue}')::oid)"
        ),
    };
    format!(
        "SELECT pg_catalog.concat_ws(' ', pg_catalog.pg_is_in_recovery(), \
         pg_catalog.current_setting('transaction_read_only'), 'm' || \
         coalesce(pg_catalog.current_setting('fes.session', true), ''), \
         coalesce(pg_catalog.row_security_active(pg_catalog.to_regclass('{queue}')::oid), false), \
         {subscribed}, s.seqcache, s.seqincrement, s.seqcycle) FROM (SELECT CASE WHEN pg_catalog.to_regclass('{queue}') IS NOT NULL THEN \
         pg_catalog.pg_get_serial_sequence('{queue}', 'id') END AS name) AS q LEFT JOIN \
         pg_catalog.pg_sequence s ON s.seqrelid = pg_catalog.to_regclass(q.name)"
    )
}

/// The id after which to read, on no standby, whoever sent the read there: it is a division by zero on
/// one. Where the index is searched it is evaluated once, also if no row is there, and costs no row
/// anything.
pub(super) const AFTER_ON_PRIMARY: &str =
    "(SELECT $1::bigint / (NOT pg_catalog.pg_is_in_recovery())::int)";

/// The error of a read that has reached a standby.
pub(super) fn of_standby(error: Error) -> Error {
    match error.sql_state() == Some(SqlState::DIVISION_BY_ZERO.code()) {
        true => Error::new(ErrorKind::UnsafeServer, STANDBY),
        false => error,
    }
}

const STANDBY: &str = "this PostgreSQL is a standby, which shows no locks of the writers, and rows later \
    than they were committed: use the primary (target_session_attrs=read-write in the URL finds it \
    among several hosts), and no proxy that sends reads elsewhere than writes";

/// Refuses what the statement has told, unless all is well.
pub(super) fn judge(told: &str, queue: &str, mark: &str) -> Result<()> {
    let mut words = told.split(' ');
    let mut word = || words.next().unwrap_or_default();
    if word() != "f" {
        fail!(UnsafeServer, "{STANDBY}");
    }
    if word() != "off" {
        fail!(
            UnsafeServer,
            "this PostgreSQL takes no writes (transaction_read_only is on): consumers cannot be \
             read reliably here, use a server that is writable"
        );
    }
    if !mark.is_empty() {
        session::check_mark(word().strip_prefix('m').unwrap_or_default(), mark)?;
    } else {
        word();
    }
    if word() == "t" {
        fail!(PermissionDenied, "row-level security applies to {queue}");
    }
    if word() == "t" {
        fail!(
            UnsafeServer,
            "a subscription brings rows of another server into {queue} (pg_subscription_rel): they \
             appear here in the order of their commits, and events would be lost. Use the server that \
             is written to. If all events are written on this server, set the option \
             single_writer_node=true"
        );
    }
    let sequence = (word(), word(), word());
    if sequence != ("", "", "") && sequence != ("1", "1", "f") {
        let (cache, increment, cycle) = sequence;
        fail!(
            UnsafeServer,
            "the sequence of {queue}.id has CACHE {cache}, INCREMENT {increment}, CYCLE {cycle}: ids \
             are not allocated in order, and events would be lost. ALTER SEQUENCE ... CACHE 1 INCREMENT \
             1 NO CYCLE, and let every session that has allocated ids end"
        );
    }
    Ok(())
}

impl Connection {
    /// Refuses reliable work where it would lose events. Costs a round trip once a second.
    pub fn check_server(&mut self) -> Result<()> {
        if self.in_transaction || self.checked.is_some_and(|when| when.elapsed() < AGAIN) {
            return Ok(());
        }
        self.checked = None;
        let queue = self.sql.queue.clone();
        let check = self.sql.check.clone();
        let rows = self.run(&check, &[], String::new)?;
        judge(first(&rows)?.try_get(0)?, &queue, &self.mark)
            .map_err(|error| self.explain_hidden(error, &queue))?;
        self.checked = Some(Instant::now());
        Ok(())
    }

    /// Names the role and the policies where row-level security would have hidden rows from a read:
    /// an event that is not seen would be taken for one that never came.
    pub(super) fn explain_hidden(&mut self, error: Error, table: &str) -> Error {
        if error.kind() != ErrorKind::PermissionDenied || !error.message().contains("row-level") {
            return error;
        }
        let sql = "SELECT current_user::text, coalesce(string_agg(polname::text, ', '), '?') \
                   FROM pg_catalog.pg_policy WHERE polrelid = pg_catalog.to_regclass($1::text)";
        let found = self.fetch(sql, &[&table]).ok().and_then(|rows| {
            let row = rows.first()?;
            Some((row.try_get::<_, String>(0).ok()?, row.try_get::<_, String>(1).ok()?))
        });
        let (role, policies) = found.unwrap_or_default();
        let message = format!(
            "row-level security hides rows of {table} from the role {role} (policy {policies}), and an \
             event that is hidden would be lost: ALTER ROLE {role} BYPASSRLS, or give the role a \
             policy for none of them and switch row-level security off for this table ({error})"
        );
        Error::new(ErrorKind::PermissionDenied, message)
    }
}

#[cfg(test)]
mod tests {
    use super::judge;

    #[test]
    fn only_a_writable_primary_whose_ids_are_allocated_one_by_one_will_do() {
        let judged = |told| judge(told, "evt_queue", "1-a").map_err(|error| error.to_string());
        assert_eq!(judged("f off m1-a f f 1 1 f"), Ok(()));
        assert_eq!(judged("f off m1-a f f"), Ok(()), "a sequence that the role may not see");
        for (told, word) in [
            ("t on m1-a f f 1 1 f", "standby"),
            ("f on m1-a f f 1 1 f", "read_only"),
            ("f off m1-a f f 10 1 f", "CACHE 10"),
            ("f off m1-a f f 1 2 f", "INCREMENT 2"),
            ("f off m1-a f f 1 1 t", "CYCLE t"),
            ("f off m1-a t f 1 1 f", "row-level"),
            ("f off m1-a f t 1 1 f", "subscription"),
            ("", "standby"),
            ("f off m2-b 1 1 f", "pooler"),
            ("f off m 1 1 f", "pooler"),
        ] {
            assert!(judged(told).unwrap_err().contains(word), "{told}");
        }
    }
}
