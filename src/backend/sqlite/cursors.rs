//! Cursors on SQLite, and what identifies the life of the stream.

use super::Connection;
use crate::backend::abilities::Abilities;
use crate::backend::cursors::{Cursor, Marks, Move};
use crate::backend::event_id;
use crate::config::Settings;
use crate::model::error::Result;
use crate::model::event::EventId;
use crate::model::ident::Ident;
use crate::model::life::{Life, hash};
use rusqlite::{OptionalExtension, params};

/// The statements of cursors, with their table names.
pub(super) struct Sql {
    pub due: String,
    advance: String,
    advance_marked: String,
    cursor: String,
    cursor_marked: String,
    set_back: String,
    has_mark: String,
    idents: String,
    life: String,
    pub marks: Marks,
}

impl Sql {
    pub fn new(settings: &Settings, highest: &str) -> Self {
        let consumers = settings.consumer_table.quoted('"');
        let (table, schema) = (&settings.event_table.name, &settings.event_table.schema);
        let schema = schema.as_deref().unwrap_or("main");
        // Nothing is written where the cursor is before what the caller knows of.
        let advance = |mark: &str| {
            format!(
                "UPDATE {consumers} SET last_evt_id = CASE WHEN last_evt_id < ?3 THEN last_evt_id \
                 ELSE max(last_evt_id, ?2) END, last_time = datetime('now'){mark} \
                 WHERE ident = ?1 RETURNING last_evt_id"
            )
        };
        Sql {
            due: format!(
                "SELECT last_evt_id, last_evt_id < ?2 OR last_time < datetime('now', '-10 seconds') \
                 FROM {consumers} WHERE ident = ?1"
            ),
            advance: advance(""),
            advance_marked: advance(
                ", mark = CASE WHEN last_evt_id >= ?3 AND last_evt_id < ?2 THEN ?4 ELSE mark END",
            ),
            cursor: format!("SELECT last_evt_id, NULL FROM {consumers} WHERE ident = ?1"),
            cursor_marked: format!("SELECT last_evt_id, mark FROM {consumers} WHERE ident = ?1"),
            set_back: format!(
                "UPDATE {consumers} SET last_evt_id = ?3 WHERE ident = ?1 AND last_evt_id = ?2"
            ),
            idents: format!("SELECT ident FROM {consumers}"),
            has_mark: format!(
                "SELECT count(*) FROM pragma_table_info('{}', '{}') WHERE name = 'mark'",
                settings.consumer_table.name,
                settings.consumer_table.schema.as_deref().unwrap_or("main")
            ),
            life: format!(
                "SELECT ({highest}), rootpage FROM \"{schema}\".sqlite_master \
                 WHERE type = 'table' AND lower(name) = lower('{table}')"
            ),
            marks: Marks::default(),
        }
    }
}

impl Connection {
    pub fn advance(&mut self, ident: &Ident, to: &Move) -> Result<Option<EventId>> {
        if let Some(cursor) = self.cursor_unless_due(ident, to)? {
            return Ok(cursor);
        }
        let all = self.sql.clone();
        let sql = &all.cursors;
        let (name, next, known) = (ident.as_str(), to.to as i64, to.known as i64);
        let mark = match &to.mark {
            Some(mark) if self.has_marks()? => Some(mark),
            _ => None,
        };
        let stored: Result<Option<i64>> = self.write(|| {
            let text = if mark.is_some() { &sql.advance_marked } else { &sql.advance };
            let mut statement = self.inner.prepare_cached(text)?;
            let mut rows = match mark {
                Some(mark) => statement.query(params![name, next, known, mark])?,
                None => statement.query(params![name, next, known])?,
            };
            let cursor = rows.next()?.map(|row| row.get(0)).transpose()?;
            // The step after the last row is what commits, and says whether that failed.
            rows.next()?;
            Ok(cursor)
        });
        stored.inspect_err(|_| sql.marks.forget())?.map(event_id).transpose()
    }

    /// Whether the table of consumers has the column.
    fn has_marks(&self) -> Result<bool> {
        self.sql.cursors.marks.get(|| {
            let mut statement = self.inner.prepare_cached(&self.sql.cursors.has_mark)?;
            Ok(statement.query_row([], |row| row.get::<_, i64>(0))? > 0)
        })
    }

    pub fn cursor(&mut self, ident: &Ident) -> Result<Option<Cursor>> {
        let sql = &self.sql.cursors;
        sql.marks.forget();
        let text = if self.has_marks()? { &sql.cursor_marked } else { &sql.cursor };
        let row: Option<(i64, Option<String>)> = self
            .inner
            .prepare_cached(text)?
            .query_row([ident.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        row.map(|(id, mark)| Ok(Cursor::new(event_id(id)?, mark.as_deref()))).transpose()
    }

    pub fn idents(&mut self) -> Result<Vec<String>> {
        let mut statement = self.inner.prepare_cached(&self.sql.cursors.idents)?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub fn set_back(&mut self, ident: &Ident, from: EventId, to: EventId) -> Result<bool> {
        self.write(|| {
            let mut statement = self.inner.prepare_cached(&self.sql.cursors.set_back)?;
            Ok(statement.execute(params![ident.as_str(), from as i64, to as i64])? > 0)
        })
    }

    /// Of the file that has the name of the database.
    pub fn life(&mut self) -> Result<Life> {
        self.check_file()?;
        let mut statement = self.inner.prepare_cached(&self.sql.cursors.life)?;
        let row: Option<(i64, i64)> =
            statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((allocated, root)) = row else {
            crate::model::error::fail!(NotMigrated, "there is no event table: run migrate()");
        };
        let moved = hash(root as u64, "");
        Ok(Life { allocated: event_id(allocated)?, place: 0, made: 0, moved, form: 0 })
    }
}
