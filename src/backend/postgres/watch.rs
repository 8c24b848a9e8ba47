//! Looking at PostgreSQL for settled ids.
//!
//! A writer holds `RowExclusiveLock` on the event table (or on a partition of it) from before it
//! draws an id until its transaction has ended and its rows are visible; a prepared transaction
//! keeps it without a process. A stronger lock of the same transaction does not replace it: it is
//! listed beside, so that a VACUUM or a LOCK TABLE alone holds nothing up. `pg_locks` shows all
//! this to everybody, and costs 0.2 ms.

use super::{Connection, Connector, check, evidence, first, name_grant, no_sequence};
use crate::backend::{HolderInfo, Settled, event_id};
use crate::model::error::{Error, ErrorKind, Result, fail};
use crate::model::event::EventId;
use crate::settle::{Holder, Tracker};
use postgres::SimpleQueryMessage;

/// The highest id allocated, of a sequence relation.
pub(super) const ALLOCATED: &str = "CASE WHEN is_called THEN last_value ELSE last_value - 1 END";

/// What a look shows in place of a holder where it sees its own lock. A server that does not show that
/// one shows no writer's either.
const OWN: &str = "own";

/// At most this many visible ids are looked at for a missing one.
const WINDOW: i64 = 5000;

/// A session that looks, and what it remembers between looks.
pub(crate) struct Watch {
    connection: Connection,
    tracker: Tracker,
    sequence: String,
    /// Whether the server can be believed, and both steps of a look, in one round trip; each statement runs after the one before.
    look: String,
    /// The last of the ids that follow a given one without a missing id, or else the first that
    /// does not follow; how many ids that is away; the id after it.
    run: String,
    holders: String,
}

impl Watch {
    pub fn open(connector: &Connector) -> Result<Self> {
        let connection = connector.connect()?;
        let queue = connection.sql.queue.clone();
        let call = connection.line().call()?;
        let watch = Self::set_up(connector, connection, queue);
        call.explain(watch)
    }

    fn set_up(connector: &Connector, mut connection: Connection, queue: String) -> Result<Self> {
        let sequence = check_sequence(&mut connection)?;
        evidence::check(&mut connection, connector)?;
        // An insert straight into a partition, or a table that inherits, locks that one only.
        let holding = format!(
            "l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM \
             pg_catalog.pg_backend_pid() AND l.mode = 'RowExclusiveLock' AND l.database = \
             (SELECT oid FROM pg_catalog.pg_database WHERE datname = \
             pg_catalog.current_database()) AND l.relation IN (WITH RECURSIVE tree(id) AS \
             (SELECT '{queue}'::regclass::oid UNION SELECT inhrelid FROM \
             pg_catalog.pg_inherits JOIN tree ON inhparent = id) SELECT id FROM tree)"
        );
        // The lock that the statement before has taken: it is kept until the round trip ends.
        let own = format!(
            "(l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.granted AND \
             l.mode = 'AccessShareLock' AND l.relation = '{}'::regclass)",
            sequence.replace('\'', "''")
        );
        // A plan that was made while the table was small would not do for a large one.
        if !connection.pooled {
            connection.driver().batch_execute("SET plan_cache_mode = force_custom_plan")?;
        }
        let run = format!(
            "SELECT id, n, next FROM (SELECT id, row_number() OVER ids AS n, lead(id) OVER ids \
             AS next FROM {queue} WHERE id > $1 WINDOW ids AS (ORDER BY id) ORDER BY id \
             LIMIT {WINDOW}) AS seen WHERE next IS DISTINCT FROM id + 1 ORDER BY id LIMIT 1"
        );
        Ok(Watch {
            run,
            tracker: Tracker::default(),
            look: format!(
                "{}; SELECT {ALLOCATED} FROM {sequence}; SELECT DISTINCT CASE WHEN {own} THEN '{OWN}' \
                 ELSE l.virtualtransaction END FROM pg_catalog.pg_locks l WHERE ({holding}) OR {own}",
                connection.sql.check
            ),
            holders: format!(
                "SELECT DISTINCT coalesce(l.pid::text, p.gid, l.virtualtransaction), \
                 to_char(coalesce(a.xact_start, p.prepared), 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), \
                 coalesce(nullif(a.application_name, ''), a.usename, p.owner)::text \
                 FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
                 LEFT JOIN pg_catalog.pg_locks x ON l.pid IS NULL AND x.pid IS NULL \
                 AND x.locktype = 'transactionid' AND x.virtualtransaction = l.virtualtransaction \
                 LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = x.transactionid \
                 WHERE {holding} ORDER BY 2, 1"
            ),
            sequence,
            connection,
        })
    }

    /// Runs a look within the time that a call on a server may take.
    pub fn in_time<T>(&mut self, look: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let call = self.connection.line().call()?;
        call.explain(look(self))
    }

    pub fn settle(&mut self, position: EventId) -> Result<Settled> {
        let answer = self.connection.driver().simple_query(&self.look).map_err(|why| {
            name_grant(why.into(), || format!("SELECT on the sequence {}", self.sequence))
        })?;
        let mut rows = answer.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default()),
            _ => None,
        });
        let told = rows.next().unwrap_or_default();
        let queue = self.connection.sql.queue.clone();
        check::judge(told, &queue, &self.connection.mark)
            .map_err(|error| self.connection.explain_hidden(error, &queue))?;
        let allocated = rows
            .next()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the sequence has no last_value"))?;
        let (own, rows): (Vec<_>, Vec<_>) = rows.partition(|key| *key == OWN);
        if own.is_empty() {
            fail!(
                UnsafeServer,
                "pg_locks does not show the lock of this very session: the server only looks like \
                 PostgreSQL, or a proxy is between that sends statements to several servers. \
                 Writers cannot be seen here, and events would be lost: connect to PostgreSQL itself"
            );
        }
        let holders = rows
            .into_iter()
            .map(|key| Holder { key: key.to_owned(), heir: key.starts_with("-1/") })
            .collect();
        let allocated = event_id(allocated)?;
        let horizon = self.tracker.look(allocated, holders);
        // Nothing was learnt of ids between the horizon and a reader that stands above it.
        let after = if position <= horizon { 0 } else { position };
        let settled = Settled {
            horizon: horizon.max(position),
            after,
            visible: horizon.max(position),
            more: false,
            blocked: None,
        };
        if horizon == allocated { Ok(settled) } else { self.run_on(settled) }
    }

    /// Whoever holds the table, ids that follow without a missing one are settled.
    fn run_on(&mut self, settled: Settled) -> Result<Settled> {
        let horizon = settled.horizon;
        let rows = self.connection.fetch(&self.run, &[&(horizon as i64)])?;
        let Some(row) = rows.first() else { return Ok(settled) };
        let last = event_id(row.try_get(0)?)?;
        let count: i64 = row.try_get(1)?;
        let next: Option<i64> = row.try_get(2)?;
        if last != horizon + count as EventId {
            return Ok(Settled { visible: last, ..settled });
        }
        let visible = next.map_or(Ok(last), event_id)?;
        Ok(Settled { horizon: last, visible, more: count == WINDOW, ..settled })
    }

    pub fn holders(&mut self) -> Result<Vec<HolderInfo>> {
        let rows = self.connection.fetch(&self.holders, &[])?;
        rows.iter()
            .map(|row| {
                Ok(HolderInfo {
                    id: row.try_get(0)?,
                    since: row.try_get(1)?,
                    application: row.try_get(2)?,
                })
            })
            .collect()
    }
}

/// The sequence of the ids, once the server is seen to draw them one by one in order.
fn check_sequence(connection: &mut Connection) -> Result<String> {
    connection.check_server()?;
    let queue = connection.sql.queue.clone();
    let find = "SELECT pg_catalog.pg_get_serial_sequence($1::text, 'id')";
    let rows = connection.fetch(find, &[&queue])?;
    first(&rows)?.try_get::<_, Option<String>>(0)?.ok_or_else(|| no_sequence(&queue))
}
