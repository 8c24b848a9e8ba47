//! What only SQLite has.

use super::{Connection, Connector};
use crate::backend::abilities::{Abilities, ConnectorAbilities};
use crate::backend::cursors::Move;
use crate::backend::event_id;
use crate::config::location::SqliteFile;
use crate::model::error::Result;
use crate::model::event::EventId;
use crate::model::ident::Ident;
use rusqlite::{OptionalExtension, params};

impl ConnectorAbilities for Connector {
    /// In memory there is no write-ahead log.
    fn reads_beside_writes(&self) -> bool {
        self.has_wal()
    }

    fn file(&self) -> Option<&SqliteFile> {
        Some(&self.file)
    }
}

impl Abilities for Connection {
    fn has_open_transaction(&self) -> bool {
        !self.inner.is_autocommit()
    }

    fn change_counter(&mut self) -> Result<Option<i64>> {
        let mut statement = self.inner.prepare_cached("PRAGMA data_version")?;
        Ok(Some(statement.query_row([], |row| row.get(0))?))
    }

    /// The cursor, `None` if there is no such consumer; or `None` if there is something to be
    /// written: it is behind, or was not seen for a while.
    fn cursor_unless_due(&mut self, ident: &Ident, to: &Move) -> Result<Option<Option<EventId>>> {
        let cursor: Option<(i64, bool)> = self
            .inner
            .prepare_cached(&self.sql.cursors.due)?
            .query_row(params![ident.as_str(), to.to as i64], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match cursor {
            None => Ok(Some(None)),
            Some((stored, due)) => {
                let stored = event_id(stored)?;
                Ok((!due || stored < to.known).then_some(Some(stored)))
            }
        }
    }
}
