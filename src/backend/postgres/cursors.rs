//! Cursors on PostgreSQL, and what identifies the life of the stream.

use super::{Connection, first, name_grant, no_sequence, watch};
use crate::backend::cursors::{Cursor, Marks, Move};
use crate::backend::event_id;
use crate::config::Settings;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::EventId;
use crate::model::ident::Ident;
use crate::model::life::{Life, hash};
use std::sync::atomic::{AtomicBool, Ordering};

/// The statements of cursors, with their table names.
pub(super) struct Sql {
    advance: String,
    advance_marked: String,
    cursor: String,
    cursor_marked: String,
    set_back: String,
    has_mark: String,
    pub marks: Marks,
    /// The role may not ask which server this is.
    nameless: AtomicBool,
}

impl Sql {
    pub fn new(settings: &Settings) -> Self {
        let consumers = settings.consumer_table.quoted('"');
        let now = "clock_timestamp() AT TIME ZONE 'UTC'";
        // Nothing is written where the cursor is before what the caller knows of.
        let advance = |mark: &str| {
            format!(
                "WITH moved AS (UPDATE {consumers} SET {mark}last_evt_id = GREATEST(last_evt_id, \
                 $2), last_time = {now} WHERE ident = $1 AND last_evt_id >= $3 AND \
                 (last_evt_id < $2 OR last_time < {now} - interval '10 seconds') \
                 RETURNING last_evt_id) SELECT GREATEST(last_evt_id, \
                 (SELECT last_evt_id FROM moved)) FROM {consumers} WHERE ident = $1"
            )
        };
        Sql {
            advance: advance(""),
            advance_marked: advance(
                "mark = CASE WHEN last_evt_id < $2 THEN $4::text ELSE mark END, ",
            ),
            cursor: format!("SELECT last_evt_id, NULL::text FROM {consumers} WHERE ident = $1"),
            cursor_marked: format!(
                "SELECT last_evt_id, mark::text FROM {consumers} WHERE ident = $1"
            ),
            set_back: format!(
                "UPDATE {consumers} SET last_evt_id = $3 WHERE ident = $1 AND last_evt_id = $2 \
                 RETURNING last_evt_id"
            ),
            has_mark: format!(
                "SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass('{consumers}') \
                 AND attname = 'mark' AND NOT attisdropped"
            ),
            marks: Marks::default(),
            nameless: AtomicBool::new(false),
        }
    }
}

impl Connection {
    pub fn advance(&mut self, ident: &Ident, to: &Move) -> Result<Option<EventId>> {
        let all = self.sql.clone();
        let sql = &all.cursors;
        let grant = || format!("SELECT, UPDATE on {}", all.consumers_table);
        let (next, known) = (to.to as i64, to.known as i64);
        let rows = match &to.mark {
            Some(mark) if self.has_marks()? => {
                let params: super::Params<'_> = &[&ident.as_str(), &next, &known, &mark.as_str()];
                self.run(&sql.advance_marked, params, grant)
            }
            _ => self.run(&sql.advance, &[&ident.as_str(), &next, &known], grant),
        };
        let rows = rows.inspect_err(|_| sql.marks.forget())?;
        rows.first().map(|row| event_id(row.try_get(0)?)).transpose()
    }

    /// Whether the table of consumers has the column.
    fn has_marks(&mut self) -> Result<bool> {
        let all = self.sql.clone();
        all.cursors.marks.get(|| {
            let rows = self.run(&all.cursors.has_mark, &[], String::new)?;
            Ok(first(&rows)?.try_get::<_, i64>(0)? > 0)
        })
    }

    pub fn cursor(&mut self, ident: &Ident) -> Result<Option<Cursor>> {
        let all = self.sql.clone();
        all.cursors.marks.forget();
        let sql = match self.has_marks()? {
            true => &all.cursors.cursor_marked,
            false => &all.cursors.cursor,
        };
        let grant = || format!("SELECT on {}", all.consumers_table);
        let rows = self.run(sql, &[&ident.as_str()], grant)?;
        let cursor = rows.first().map(|row| {
            let mark: Option<String> = row.try_get(1)?;
            Ok(Cursor::new(event_id(row.try_get(0)?)?, mark.as_deref()))
        });
        cursor.transpose()
    }

    pub fn idents(&mut self) -> Result<Vec<String>> {
        let all = self.sql.clone();
        let sql = format!("SELECT ident::text FROM {}", all.consumers_table);
        let rows = self.run(&sql, &[], || format!("SELECT on {}", all.consumers_table))?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    pub fn set_back(&mut self, ident: &Ident, from: EventId, to: EventId) -> Result<bool> {
        let all = self.sql.clone();
        let grant = || format!("SELECT, UPDATE on {}", all.consumers_table);
        let params: super::Params<'_> = &[&ident.as_str(), &(from as i64), &(to as i64)];
        Ok(!self.run(&all.cursors.set_back, params, grant)?.is_empty())
    }

    pub fn was_asked(&self) -> bool {
        self.life.is_some()
    }

    /// One round trip, but for the first time.
    pub fn life(&mut self) -> Result<Life> {
        match self.try_life() {
            // Made anew under another name, or not readable for this role.
            Err(error) if self.life.take().is_some() && error.kind() == ErrorKind::NotMigrated => {
                self.try_life()
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                self.sql.cursors.nameless.store(true, Ordering::Relaxed);
                self.life = None;
                self.try_life()
            }
            result => result,
        }
    }

    fn try_life(&mut self) -> Result<Life> {
        let sequence = match &self.life {
            Some(sequence) => sequence.clone(),
            None => {
                let queue = self.sql.queue.clone();
                let find = "SELECT pg_get_serial_sequence($1::text, 'id')";
                let rows = self.run(find, &[&queue], String::new)?;
                let found: Option<String> = first(&rows)?.try_get(0)?;
                self.life.insert(found.ok_or_else(|| no_sequence(&queue))?).clone()
            }
        };
        let sql = life_sql(&self.sql, &sequence);
        let rows = self
            .fetch(&sql, &[])
            .map_err(|error| name_grant(error, || format!("SELECT on the sequence {sequence}")))?;
        let row = first(&rows)?;
        if row.try_get::<_, Option<String>>(1)?.as_deref() != Some(sequence.as_str()) {
            self.life = None;
            return self.try_life();
        }
        let digest = |column| Ok::<_, Error>(hash(0, row.try_get(column)?));
        Ok(Life {
            allocated: event_id(row.try_get(0)?)?,
            place: digest(2)?,
            made: digest(3)?,
            moved: digest(4)?,
            form: digest(5)?,
        })
    }
}

/// The statement has the name of the sequence.
fn life_sql(sql: &super::Sql, sequence: &str) -> String {
    let queue = &sql.queue;
    // A standby has no timeline of its own; poolers and hosters may hide who it is.
    let place = match sql.cursors.nameless.load(Ordering::Relaxed) {
        true => "''",
        false => {
            "(SELECT system_identifier::text FROM pg_control_system()) || '/' || \
             CASE WHEN pg_is_in_recovery() THEN '' ELSE \
             left(pg_walfile_name(pg_current_wal_lsn()), 8) END"
        }
    };
    format!(
        "SELECT {}, pg_get_serial_sequence('{queue}', 'id'), {place}, \
         concat_ws('/', d.oid, t.oid, s.oid, s.relfilenode), t.relfilenode::text, \
         (SELECT atttypid::text FROM pg_attribute WHERE attrelid = t.oid AND attname = 'data') \
         FROM {sequence}, pg_class t, pg_class s, pg_database d \
         WHERE t.oid = '{queue}'::regclass AND s.oid = '{sequence}'::regclass \
         AND d.datname = current_database()",
        watch::ALLOCATED
    )
}
