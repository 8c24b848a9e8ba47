//! What only MySQL and MariaDB, or only a server, have.

use super::session::State;
use super::{Connection, Connector, connect};
use crate::backend::abilities::Hold;
use crate::backend::abilities::Piece;
use crate::backend::abilities::{Abilities, ConnectorAbilities};
use crate::backend::reach::Reach;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::ident::Ident;
use crate::model::value::Value;
use mysql::prelude::Queryable;
use std::sync::Arc;
use std::time::Duration;

impl ConnectorAbilities for Arc<Connector> {
    fn reach(&self) -> Option<&Reach> {
        Some(&self.reach)
    }

    fn generation(&self) -> u64 {
        self.servers_reached()
    }
}

/// Ends the transaction of a discarding, if it is open, and puts the session back into its first state.
const END_OF_DISCARD: &str = "ROLLBACK; SET SESSION innodb_lock_wait_timeout = DEFAULT";

/// A connection that cannot be put back is not used again.
fn lost(why: mysql::Error) -> Error {
    Error::from(why).with_kind(ErrorKind::ConnectionLost)
}

impl Abilities for Connection {
    /// From now on each call may take so long.
    fn limit(&mut self, limit: Duration) -> Result<()> {
        self.line.limit(limit);
        connect::limit_calls(&self.client, Some(limit))
    }

    /// Whether the caller's SQL may have changed something of the session, as the server tells.
    fn session_is_changed(&self) -> bool {
        self.state.is_changed()
    }

    /// Puts the session back into the state of a new one.
    fn reset(&mut self) -> Result<bool> {
        self.client.reset()?;
        self.limits = None;
        self.state = State::of_new(&self.client);
        let database = self.sql.database.clone();
        self.client.select_db(&database)?;
        Ok(true)
    }

    fn is_stale(&self) -> bool {
        self.has_moved()
    }

    fn check_no_replica(&mut self) -> Result<()> {
        self.refuse_replica()
    }

    fn begin_discard(&mut self) -> Result<bool> {
        self.check_server()?;
        let text = format!(
            "SET SESSION innodb_lock_wait_timeout = 1; \
             SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION; {}",
            self.sql.history.any_event
        );
        let begun = self.client.query_drop(text);
        if begun.is_err() {
            // The transaction may have begun: nobody else may be given the connection in it.
            self.client.query_drop(END_OF_DISCARD).map_err(lost)?;
        }
        begun?;
        Ok(true)
    }

    fn end_discard(&mut self, _: Piece, commit: bool) -> Result<bool> {
        let committed = if commit { self.client.query_drop("COMMIT") } else { Ok(()) };
        self.client.query_drop(END_OF_DISCARD).map_err(lost)?;
        committed?;
        Ok(commit)
    }

    /// An advisory lock of the session, named after the event table with its database.
    fn take_lease(&mut self, ident: &Ident) -> Result<Option<Hold>> {
        let sql = format!(
            "SELECT GET_LOCK(CONCAT('fes:', SHA2(CONCAT('{}', ':', ?), 224)), 0)",
            self.sql.table
        );
        let rows = self.query(&sql, &[ident.as_str().into()])?;
        let taken = rows.first().and_then(|row| row.first()).and_then(Value::as_i64);
        Ok((taken == Some(1)).then_some(Hold::Lock))
    }

    fn keep_lease(&mut self, _: &Hold) -> Result<bool> {
        self.ping().map(|()| true)
    }

    fn release_lease(&mut self, _: &Hold) -> Result<()> {
        self.execute_batch("SELECT RELEASE_ALL_LOCKS()")
    }

    fn end_when_idle(&mut self, time: Duration) -> Result<()> {
        self.execute_batch(&format!("SET SESSION wait_timeout = {}", time.as_secs()))
    }
}
