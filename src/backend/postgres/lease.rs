//! The lease of a receiver where no session can hold it: a row with an end, which the owner puts off.
//!
//! Behind a pooler in transaction mode an advisory lock would stay in a session of the pooler, and be
//! given to the next one who asks there. The row is the owner's until its time is over; an owner that
//! was stopped for longer finds at its next look that the row is somebody else's.

use super::{Connection, first, session};
use crate::config::{Settings, TableName};
use crate::model::error::Result;

/// How long a lease lasts without being put off. Its owner does that every few seconds.
const LASTS: &str = "interval '15 seconds'";

/// The table of the leases, beside the event table.
pub(crate) fn table(settings: &Settings) -> TableName {
    TableName { name: "evt_leases".to_owned(), ..settings.event_table.clone() }
}

/// The statement that makes the table.
pub(crate) fn create_sql(settings: &Settings) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (stream varchar(128) NOT NULL, ident varchar(64) NOT NULL, \
         owner varchar(64) NOT NULL, ends timestamp NOT NULL, PRIMARY KEY (stream, ident))",
        table(settings).quoted('"')
    )
}

impl Connection {
    /// Takes the lock of an ident for this session; `false` while another session has it. A session
    /// that a pooler gives to others, too, would get the lock of one of them: it is refused.
    pub fn take_lock(&mut self, ident: &str) -> Result<bool> {
        let sql = format!(
            "SELECT found.mark, found.mark = $2::text AND pg_catalog.pg_try_advisory_lock(\
             pg_catalog.hashtextextended('{}'::regclass::oid::text || ':' || $1::text, 18)) \
             FROM (SELECT coalesce(pg_catalog.current_setting('fes.session', true), '') AS mark \
             OFFSET 0) AS found",
            self.sql.queue
        );
        let mark = self.mark.clone();
        let rows = self.run(&sql, &[&ident, &mark], String::new)?;
        let row = first(&rows)?;
        session::check_mark(row.try_get(0)?, &mark)?;
        Ok(row.try_get(1)?)
    }

    /// Whether this is still the session that took the lock, and the server lists the lock as its own.
    pub fn has_lock(&mut self) -> Result<bool> {
        let sql = "SELECT coalesce(pg_catalog.current_setting('fes.session', true), '') = $1::text \
                   AND EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' \
                   AND granted AND pid = pg_catalog.pg_backend_pid())";
        let mark = self.mark.clone();
        let rows = self.run(sql, &[&mark], String::new)?;
        Ok(first(&rows)?.try_get(0)?)
    }

    /// Takes the lease for `owner`, or puts off its end; `false` while it is somebody else's.
    pub fn hold_lease(&mut self, ident: &str, owner: &str) -> Result<bool> {
        let leases = table(&self.sql.names).quoted('"');
        let now = "clock_timestamp() AT TIME ZONE 'UTC'";
        let sql = format!(
            "INSERT INTO {leases} AS l (stream, ident, owner, ends) VALUES \
             ($1::text, $2::text, $3::text, {now} + {LASTS}) ON CONFLICT (stream, ident) DO UPDATE \
             SET owner = excluded.owner, ends = excluded.ends \
             WHERE l.owner = excluded.owner OR l.ends < {now} RETURNING 1"
        );
        let stream = self.sql.names.event_table.name.clone();
        let grant = || format!("SELECT, INSERT, UPDATE, DELETE on {leases}");
        let rows = self.run(&sql, &[&stream, &ident, &owner], grant)?;
        Ok(!rows.is_empty())
    }

    /// Gives the lease back, if it is still this owner's.
    pub fn drop_lease(&mut self, ident: &str, owner: &str) -> Result<()> {
        let leases = table(&self.sql.names).quoted('"');
        let sql = format!(
            "DELETE FROM {leases} WHERE stream = $1::text AND ident = $2::text AND owner = $3::text"
        );
        let stream = self.sql.names.event_table.name.clone();
        let grant = || format!("SELECT, INSERT, UPDATE, DELETE on {leases}");
        self.run(&sql, &[&stream, &ident, &owner], grant)?;
        Ok(())
    }
}
