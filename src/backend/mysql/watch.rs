//! Looking at MySQL and MariaDB for settled ids.
//!
//! An id is allocated by a statement, which then puts its row into the table; the row is there from
//! then on, uncommitted, whatever its transaction goes on to do, be it prepared by XA and its
//! session gone. So an id up to a visible one is settled when
//!
//! 1. no statement is between drawing an id up to it and inserting the row, and
//! 2. no open transaction has a row there that a look afterwards, at committed rows, misses.
//!
//! For step 1 either nobody uses the table at this moment (`SHOW OPEN TABLES`, needs no privilege):
//! then, for step 2, whatever is missing is looked up with a lock and NOWAIT, which meets every
//! uncommitted row, also one that its own transaction has deleted again and a rollback to a
//! savepoint would bring back. Or, on a busy table, the metadata locks show which transactions were
//! there at a look before (a transaction keeps its lock from before its first statement draws an id
//! until its end); these are gone, so that for step 2 only what XA PREPARE has left behind remains:
//! a look that sees uncommitted rows (READ UNCOMMITTED, which locks nothing) must find no row that
//! a look after it, at committed ones, does not find, too.

use super::{Connection, Connector};
use crate::backend::{HolderInfo, Settled};
use crate::config::TableName;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::EventId;
use crate::settle::{AgeTracker, Holder, Tracker};
use mysql::prelude::Queryable;
use std::time::Instant;

/// So many ids, from the first visible one on, are looked at in one step.
const WINDOW: EventId = 20_000;
/// A wider gap is not looked up id by id.
const WIDE: EventId = 1000;

/// Missing ids, from the first to the last.
type Gap = (EventId, EventId);

/// Two sessions that look, and what they remember between looks.
pub(crate) struct Watch {
    /// Sees committed rows.
    pub(super) reader: Connection,
    /// Sees uncommitted rows, too.
    pub(super) looker: Connection,
    locks: Locks,
    /// As the server names it.
    table: TableName,
    /// Opens the table without reading.
    pub(super) open: String,
    /// Writes nothing, as a consumer may.
    pub(super) no_write: String,
    ids: String,
    ahead: String,
    highest: String,
    locked_ids: String,
    locked_range: String,
    any: String,
}

/// How the server shows metadata locks.
enum Locks {
    /// MySQL: `performance_schema.metadata_locks`.
    Mysql(Tracker),
    /// MariaDB: the plugin `metadata_lock_info`, with the age of each lock.
    MariadbAges(AgeTracker),
    /// MariaDB: the plugin of an older version, which names threads only.
    MariadbThreads(Tracker),
}

/// How far no statement can insert a row any more; or why that cannot be known.
type Bound = std::result::Result<EventId, String>;

impl Watch {
    pub fn open(connector: &Connector) -> Result<Self> {
        let (reader, looker) = (connector.connect()?, connector.connect()?);
        let calls = [reader.line().call()?, looker.line().call()?];
        let watch = Self::set_up(connector, reader, looker);
        calls.iter().fold(watch, |watch, call| call.explain(watch))
    }

    fn set_up(
        connector: &Connector,
        mut reader: Connection,
        mut looker: Connection,
    ) -> Result<Self> {
        reader.check_server()?;
        looker.driver().query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")?;
        let queue = &connector.sql.queue;
        let mut table = connector.sql.table.clone();
        let folds: Option<u8> = reader.driver().query_first("SELECT @@lower_case_table_names")?;
        if folds != Some(0) {
            // Locks and open tables show the folded names.
            table.name.make_ascii_lowercase();
            table.schema = table.schema.map(|schema| schema.to_lowercase());
        }
        let mariadb = looker.is_mariadb();
        let nowait = if mariadb { "LOCK IN SHARE MODE NOWAIT" } else { "FOR SHARE OF e NOWAIT" };
        let mut watch = Watch {
            looker,
            locks: Locks::Mysql(Tracker::default()),
            table,
            open: format!("HANDLER {queue} OPEN AS fes_look"),
            no_write: connector.sql.no_write.clone(),
            ids: format!(
                "SELECT id FROM {queue} FORCE INDEX (PRIMARY) WHERE id > ? AND id <= ? \
                 ORDER BY id"
            ),
            ahead: format!(
                "SELECT (SELECT id FROM {queue} WHERE id > ? ORDER BY id LIMIT 1), \
                 (SELECT MAX(id) FROM {queue}), {}",
                reader.server_columns()
            ),
            reader,
            highest: format!("SELECT MAX(id) FROM {queue}"),
            any: format!("SELECT id FROM {queue} WHERE id BETWEEN ? AND ? LIMIT 1"),
            // Lookups of single keys, which meet no lock on any other row.
            locked_ids: format!(
                "SELECT count(*) FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) \
                 AS missing STRAIGHT_JOIN {queue} AS e FORCE INDEX (PRIMARY) \
                 ON e.id = missing.id {nowait}"
            ),
            locked_range: format!(
                "SELECT count(*) FROM {queue} AS e FORCE INDEX (PRIMARY) \
                 WHERE id BETWEEN ? AND ? {nowait}"
            ),
        };
        if mariadb {
            watch.locks = watch.mariadb_locks()?;
        }
        if !connector.single_writer_node {
            watch.check_evidence()?;
        }
        Ok(watch)
    }

    /// Takes the lock of this session that serves as the clock of all others' ages.
    fn mariadb_locks(&mut self) -> Result<Locks> {
        let driver = self.looker.driver();
        let ages: Option<u64> = driver.query_first(
            "SELECT count(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = \
             'information_schema' AND TABLE_NAME = 'METADATA_LOCK_INFO' AND \
             COLUMN_NAME = 'LOCK_TIME_MS'",
        )?;
        if ages != Some(1) {
            return Ok(Locks::MariadbThreads(Tracker::default()));
        }
        let taken: Option<Option<i64>> =
            driver.exec_first("SELECT GET_LOCK(?, 0)", (clock(driver),))?;
        match taken.flatten() {
            Some(1) => Ok(Locks::MariadbAges(AgeTracker::default())),
            _ => Ok(Locks::MariadbThreads(Tracker::default())),
        }
    }

    /// Runs a look within the time that a call on a server may take.
    pub fn in_time<T>(&mut self, look: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let calls = [self.reader.line().call()?, self.looker.line().call()?];
        let result = look(self);
        calls.iter().fold(result, |result, call| call.explain(result))
    }

    pub fn settle(&mut self, position: EventId) -> Result<Settled> {
        let after = position;
        let ahead: Option<(Option<EventId>, Option<EventId>, String)> =
            self.reader.driver().exec_first(&self.ahead, (after,))?;
        let (next, highest, server) = ahead.unwrap_or_default();
        self.reader.check_look(&server)?;
        self.looker.check_server()?;
        let (Some(next), Some(highest)) = (next, highest) else {
            let nothing =
                Settled { horizon: after, after, visible: after, more: false, blocked: None };
            return Ok(nothing);
        };
        let last = highest.min(next + WINDOW - 1);
        let (horizon, blocked) = if self.is_idle()? {
            let committed = ids(&mut self.reader, &self.ids, after, last)?;
            (self.unlocked(&gaps(after, &committed, last), last)?, None)
        } else {
            self.settle_busy(after, last)?
        };
        let more = horizon == last && last < highest;
        Ok(Settled { horizon, after, visible: last, more, blocked })
    }

    /// How far the ids up to `last`, which is visible, are settled while statements use the table.
    fn settle_busy(&mut self, after: EventId, last: EventId) -> Result<(EventId, Option<String>)> {
        let (bound, blocked) = match self.transactions_done(last)? {
            Ok(bound) => (bound.min(last).max(after), None),
            Err(why) => (after, Some(why)),
        };
        let mut horizon = bound;
        if after < bound {
            // First what is there at all, then what of it is committed: in this order.
            let present = ids(&mut self.looker, &self.ids, after, bound)?;
            let committed = ids(&mut self.reader, &self.ids, after, bound)?;
            let open = present.into_iter().find(|id| committed.binary_search(id).is_err());
            horizon = open.map_or(bound, |id| id - 1);
        }
        if horizon < last {
            // No gap, no question.
            let seen = ids(&mut self.reader, &self.ids, horizon, last)?;
            horizon = seen.iter().fold(horizon, |end, &id| if id == end + 1 { id } else { end });
        }
        Ok((horizon, blocked.filter(|_| horizon < last)))
    }

    /// The highest id up to which no missing id is locked.
    fn unlocked(&mut self, gaps: &[Gap], last: EventId) -> Result<EventId> {
        if self.are_unlocked(gaps)? {
            return Ok(last);
        }
        // Which one is the first? The gaps before `free` are, those up to `locked` are not all.
        let (mut free, mut locked) = (0, gaps.len());
        while locked - free > 1 {
            let middle = (free + locked) / 2;
            match self.are_unlocked(&gaps[free..middle])? {
                true => free = middle,
                false => locked = middle,
            }
        }
        Ok(gaps.get(free).map_or(last, |gap| gap.0 - 1))
    }

    /// Whether nothing is there, and nothing can come back, in these gaps. Nobody was between
    /// drawing an id of them and inserting its row, so that every row in them is locked.
    fn are_unlocked(&mut self, gaps: &[Gap]) -> Result<bool> {
        let (narrow, wide): (Vec<Gap>, Vec<Gap>) =
            gaps.iter().partition(|(first, last)| last - first < WIDE);
        let list: Vec<EventId> =
            narrow.into_iter().flat_map(|(first, last)| first..=last).collect();
        if !list.is_empty()
            && !is_free(self.reader.driver().exec_first(&self.locked_ids, (json(&list),)))?
        {
            return Ok(false);
        }
        for gap in wide {
            let any: Option<EventId> = self.looker.driver().exec_first(&self.any, gap)?;
            // A range meets a lock on the row after it, too: then it helps if everybody who may
            // have allocated one of these ids is gone.
            let free = any.is_none()
                && (is_free(self.reader.driver().exec_first(&self.locked_range, gap))?
                    || self.transactions_done(gap.1)?.is_ok_and(|bound| bound >= gap.1));
            if !free {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether no statement uses the table at this moment.
    pub(super) fn is_idle(&mut self) -> Result<bool> {
        let schema = self.table.schema.as_deref().unwrap_or_default();
        let table = &self.table.name;
        let open: Option<(String, String, u64, u64)> = self
            .looker
            .driver()
            .query_first(format!("SHOW OPEN TABLES FROM `{schema}` WHERE `Table` = '{table}'"))?;
        Ok(open.is_none_or(|(_, _, users, _)| users == 0))
    }

    /// The highest id whose possible writers have all ended. `visible` is an id that was seen
    /// before, so every id up to it was allocated. Whose session is gone after XA PREPARE does not show
    /// here; but it runs no statement, and undoes no part of its work.
    fn transactions_done(&mut self, visible: EventId) -> Result<Bound> {
        let highest: Option<Option<EventId>> = self.reader.driver().query_first(&self.highest)?;
        let highest = highest.flatten().unwrap_or(visible).max(visible);
        let driver = self.looker.driver();
        let bound = match &mut self.locks {
            Locks::Mysql(tracker) => mysql_holders(driver, &self.table)
                .map(|list| list.map(|h| tracker.look_up(highest, h))),
            Locks::MariadbThreads(tracker) => {
                mariadb_locks(driver, &self.table, "THREAD_ID").map(|threads| {
                    let holders = threads.iter().map(|(thread, _)| holder(thread.to_string()));
                    Ok(tracker.look_up(highest, holders.collect()))
                })
            }
            Locks::MariadbAges(tracker) => {
                let asked = Instant::now();
                mariadb_locks(driver, &self.table, "LOCK_TIME_MS").map(|locks| {
                    // Each age is whole ms, taken at some moment of the statement.
                    let slack = asked.elapsed().as_millis() as i64 + 2;
                    let clock = locks.iter().find(|(_, own)| *own).map(|(age, _)| *age);
                    let Some(now) = clock else {
                        return Err("the session lost its lock evtclk".to_owned());
                    };
                    let others = locks.iter().filter(|(_, own)| !own);
                    let began: Vec<i64> = others.map(|(age, _)| now - age).collect();
                    Ok(tracker.look(highest, now, slack, &began))
                })
            }
        };
        match bound {
            Err(error) => missing_evidence(error).map(Err),
            Ok(bound) => Ok(bound),
        }
    }

    /// The transactions that hold the event table, as far as the server shows them.
    pub fn holders(&mut self) -> Result<Vec<HolderInfo>> {
        let table = &self.table;
        let driver = self.looker.driver();
        let sql: &[String] = match &self.locks {
            Locks::Mysql(_) => &[
                format!(
                    "SELECT COALESCE(t.PROCESSLIST_ID, m.OWNER_THREAD_ID, 0), t.PROCESSLIST_USER \
                     FROM performance_schema.metadata_locks m LEFT JOIN \
                     performance_schema.threads t ON t.THREAD_ID = m.OWNER_THREAD_ID \
                     WHERE {MYSQL_WRITERS}"
                ),
                // The fallback without SELECT on performance_schema.threads.
                format!(
                    "SELECT COALESCE(m.OWNER_THREAD_ID, 0), NULL FROM \
                     performance_schema.metadata_locks m WHERE {MYSQL_WRITERS}"
                ),
            ],
            _ => &[format!(
                "SELECT m.THREAD_ID, p.USER FROM information_schema.METADATA_LOCK_INFO m \
                 LEFT JOIN information_schema.PROCESSLIST p ON p.ID = m.THREAD_ID \
                 WHERE {MARIADB_WRITERS}"
            )],
        };
        for sql in sql {
            let list = driver.exec_map(
                sql,
                (&table.schema, &table.name),
                |(id, application): (u64, Option<String>)| HolderInfo {
                    id: id.to_string(),
                    since: None,
                    application,
                },
            );
            match list.map_err(Error::from) {
                Ok(list) => return Ok(list),
                Err(error) => missing_evidence(error)?,
            };
        }
        Ok(Vec::new())
    }
}

impl Tracker {
    /// A look with what is visible for what is allocated, which is lower and may go back when rows
    /// are discarded.
    fn look_up(&mut self, visible: EventId, holders: Vec<Holder>) -> EventId {
        let allocated = visible.max(self.allocated_before());
        self.look(allocated, holders)
    }
}

const MYSQL_WRITERS: &str = "m.OBJECT_TYPE = 'TABLE' AND m.LOCK_STATUS = 'GRANTED' \
    AND m.OBJECT_SCHEMA = ? AND m.OBJECT_NAME = ? AND m.LOCK_TYPE NOT IN \
    ('SHARED', 'SHARED_HIGH_PRIO', 'SHARED_READ', 'SHARED_READ_ONLY')";

const MARIADB_WRITERS: &str = "m.LOCK_TYPE = 'Table metadata lock' AND m.TABLE_SCHEMA = ? \
    AND m.TABLE_NAME = ? AND m.LOCK_MODE NOT IN \
    ('MDL_SHARED', 'MDL_SHARED_HIGH_PRIO', 'MDL_SHARED_READ', 'MDL_SHARED_READ_ONLY')";

fn holder(key: String) -> Holder {
    Holder { key, heir: false }
}

/// The name of this session's clock lock.
fn clock(driver: &mysql::Conn) -> String {
    format!("evtclk_{}", driver.connection_id())
}

/// What is missing among ids in `(after, up_to]`.
fn gaps(after: EventId, ids: &[EventId], up_to: EventId) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut next = after + 1;
    for &id in ids.iter().take_while(|id| **id <= up_to).chain(&[up_to + 1]) {
        if id > next {
            gaps.push((next, id - 1));
        }
        next = id + 1;
    }
    gaps
}

fn json(ids: &[EventId]) -> String {
    let texts: Vec<String> = ids.iter().map(EventId::to_string).collect();
    format!("[{}]", texts.join(","))
}

/// Whether a look that locks found nothing, and nothing that is locked.
fn is_free(found: mysql::Result<Option<u64>>) -> Result<bool> {
    match found.map_err(Error::from) {
        Ok(count) => Ok(count == Some(0)),
        Err(error) if error.kind() == ErrorKind::Busy => Ok(false),
        Err(error) => Err(error),
    }
}

/// The ids that the session sees in `(after, up_to]`, which is no wider than a window and the gap
/// before it.
fn ids(
    connection: &mut Connection,
    sql: &str,
    after: EventId,
    up_to: EventId,
) -> Result<Vec<EventId>> {
    Ok(connection.driver().exec(sql, (after, up_to))?)
}

/// The transactions that hold the table on MySQL. That the instrument works is shown by our own
/// lock on the table that shows the locks.
fn mysql_holders(
    driver: &mut mysql::Conn,
    table: &TableName,
) -> Result<std::result::Result<Vec<Holder>, String>> {
    let rows: Vec<(u64, u64, u64, u8)> = driver.exec(
        format!(
            "SELECT m.OBJECT_INSTANCE_BEGIN, COALESCE(m.OWNER_THREAD_ID, 0), \
             COALESCE(m.OWNER_EVENT_ID, 0), 0 FROM performance_schema.metadata_locks m WHERE {MYSQL_WRITERS} UNION ALL \
             SELECT 0, 0, 0, 1 FROM performance_schema.metadata_locks m WHERE \
             m.OBJECT_TYPE = 'TABLE' AND m.OBJECT_SCHEMA = 'performance_schema' AND \
             m.OBJECT_NAME = 'metadata_locks' AND m.OWNER_THREAD_ID = PS_CURRENT_THREAD_ID()"
        ),
        (&table.schema, &table.name),
    )?;
    if !rows.iter().any(|(.., own)| *own == 1) {
        return Ok(Err("performance_schema does not show metadata locks: set \
                       performance_schema=ON and the instrument wait/lock/metadata/sql/mdl"
            .to_owned()));
    }
    let lost: Vec<(String, u64)> = driver.query(
        "SHOW GLOBAL STATUS WHERE Variable_name IN ('Performance_schema_metadata_lock_lost', \
         'Performance_schema_thread_instances_lost')",
    )?;
    if let Some((name, _)) = lost.iter().find(|(_, count)| *count > 0) {
        return Ok(Err(format!("{name} is above 0: raise the limits of performance_schema")));
    }
    let key = |(lock, thread, event, _): &(u64, u64, u64, u8)| format!("{lock}/{thread}/{event}");
    let others = rows.iter().filter(|(.., own)| *own == 0);
    Ok(Ok(others.map(|row| holder(key(row))).collect()))
}

/// What to take for the age in ms of a lock that has none: it was taken before the plugin was
/// installed, or is being taken at this moment.
const AGELESS: i64 = 1 << 60;

/// A column of the locks that hold the table on MariaDB, and of our own clock lock (`true`).
fn mariadb_locks(
    driver: &mut mysql::Conn,
    table: &TableName,
    column: &str,
) -> Result<Vec<(i64, bool)>> {
    let own = clock(driver);
    let rows: Vec<(i64, u8)> = driver.exec(
        format!(
            "SELECT CAST(COALESCE(m.{column}, {AGELESS}) AS SIGNED), m.LOCK_TYPE = 'User lock' \
             FROM information_schema.METADATA_LOCK_INFO m WHERE ({MARIADB_WRITERS}) \
             OR (m.LOCK_TYPE = 'User lock' AND m.TABLE_SCHEMA = ?)"
        ),
        (&table.schema, &table.name, own),
    )?;
    Ok(rows.into_iter().map(|(number, own)| (number, own == 1)).collect())
}

/// What to say where the server shows no metadata locks; other errors stay errors.
fn missing_evidence(error: Error) -> Result<String> {
    match error.sql_state() {
        _ if error.kind() == ErrorKind::PermissionDenied => Ok(format!(
            "the event table is busy all the time, and the database user may not see who writes: \
             GRANT SELECT ON performance_schema.metadata_locks ({error})"
        )),
        Some("1109" | "1146") => Ok(format!(
            "the event table is busy all the time, and the server does not show who writes: \
             INSTALL SONAME 'metadata_lock_info' ({error})"
        )),
        _ => Err(error),
    }
}
