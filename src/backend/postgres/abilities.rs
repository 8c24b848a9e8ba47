//! What only PostgreSQL, or only a server, has.

use super::sql::{channel, notify_sql};
use super::{Connection, Connector, lease, name_grant, session};
use crate::backend;
use crate::backend::abilities::Hold;
use crate::backend::abilities::Piece;
use crate::backend::abilities::{Abilities, ConnectorAbilities};
use crate::backend::reach::Reach;
use crate::backend::sigpipe::quietly;
use crate::config::Settings;
use crate::config::settings::Pooler;
use crate::model::check::Seen;
use crate::model::error::{Error, Result};
use crate::model::ident::Ident;
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use std::sync::Arc;
use std::time::Duration;

impl ConnectorAbilities for Arc<Connector> {
    fn reach(&self) -> Option<&Reach> {
        Some(&self.reach)
    }
}

impl Abilities for Connection {
    fn limit(&mut self, limit: Duration) -> Result<()> {
        self.line.limit(limit);
        Ok(())
    }

    fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Puts the session back into the state of a new one.
    fn reset(&mut self) -> Result<bool> {
        self.prepared.clear();
        self.target = None;
        self.discards = false;
        if !self.pooled {
            session::reset(&mut self.client, &self.settings, &self.mark)?;
        }
        Ok(true)
    }

    fn has_open_transaction(&self) -> bool {
        self.in_transaction
    }

    fn listen(&mut self, settings: &Settings) -> Result<()> {
        Ok(self.client.batch_execute(&format!("LISTEN \"{}\"", channel(&settings.event_table)))?)
    }

    fn wait_for_notification(&mut self, time: Duration) -> Result<bool> {
        quietly(|| {
            let mut notifications = self.client.notifications();
            if notifications.timeout_iter(time).next()?.is_none() {
                return Ok(false);
            }
            // One is enough, however many came.
            while notifications.iter().next()?.is_some() {}
            Ok(true)
        })
    }

    fn end_migration(&mut self, settings: &Settings) -> Result<()> {
        if settings.notify {
            self.execute_batch(&notify_sql(&settings.event_table))
        } else if settings.pooler == Pooler::Transaction {
            self.execute_batch(&lease::create_sql(settings))
        } else {
            Ok(())
        }
    }

    /// Ends it in one round trip; whether it was committed. SHARE MODE keeps out whoever adds or changes a
    /// consumer; where one of them has not acknowledged the piece, the division by zero keeps the rest
    /// from being done.
    fn end_discard(&mut self, piece: Piece, commit: bool) -> Result<bool> {
        if !commit {
            return self.rollback().map(|()| false);
        }
        let (cut, consumers) = (piece.cut, &self.sql.consumers_table);
        let text = format!(
            "SET LOCAL lock_timeout = '500ms'; LOCK TABLE {consumers} IN SHARE MODE; \
             SELECT 1 / (min(last_evt_id) >= {cut})::int FROM {consumers} HAVING 1 = \
             1 / (count(*) > 0)::int; COMMIT"
        );
        let grant = format!("SELECT, UPDATE on {consumers}");
        match self.driver().simple_query(&text).map_err(Error::from) {
            Ok(_) => {
                self.in_transaction = false;
                Ok(true)
            }
            Err(error) => {
                self.rollback()?;
                match error.sql_state() {
                    Some(state) if state == SqlState::DIVISION_BY_ZERO.code() => Ok(false),
                    _ => Err(name_grant(error, || grant)),
                }
            }
        }
    }

    fn take_lease(&mut self, ident: &Ident) -> Result<Option<Hold>> {
        if !self.pooled {
            return Ok(self.take_lock(ident.as_str())?.then_some(Hold::Lock));
        }
        let (ident, owner) = (ident.as_str().to_owned(), session::new_mark());
        let taken = self.hold_lease(&ident, &owner)?;
        Ok(taken.then_some(Hold::Row { ident, owner }))
    }

    fn keep_lease(&mut self, hold: &Hold) -> Result<bool> {
        match hold {
            Hold::Lock => self.has_lock(),
            Hold::Row { ident, owner } => self.hold_lease(ident, owner),
        }
    }

    fn release_lease(&mut self, hold: &Hold) -> Result<()> {
        match hold {
            Hold::Lock => self.execute_batch("SELECT pg_advisory_unlock_all()"),
            Hold::Row { ident, owner } => self.drop_lease(ident, owner),
        }
    }

    /// PostgreSQL knows that from 14 on; before it has only the system's questions whether the host is there.
    fn end_when_idle(&mut self, time: Duration) -> Result<()> {
        self.execute_batch(&format!(
            "SELECT pg_catalog.set_config(name, '{}', false) FROM pg_catalog.pg_settings \
             WHERE name = 'idle_session_timeout'",
            time.as_millis()
        ))
    }

    fn process(&mut self) -> Result<String> {
        self.pid()
    }

    fn pooler(&mut self, other: &mut backend::Connection) -> Result<Option<Seen>> {
        self.shares_session(other).map(Some)
    }
}
