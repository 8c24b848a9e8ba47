//! What only some of the databases have. For the others it is as it is written here: there is nothing to
//! do, and nothing there.

use super::Connection;
use super::cursors::Move;
use super::reach::Reach;
use crate::config::Settings;
use crate::config::location::SqliteFile;
use crate::model::check::Seen;
use crate::model::error::Result;
use crate::model::event::EventId;
use crate::model::ident::Ident;
use std::time::Duration;

/// Of what connections are made from.
pub(crate) trait ConnectorAbilities {
    /// Whether one connection can read while another one commits.
    fn reads_beside_writes(&self) -> bool {
        true
    }

    /// How often new connections have reached another server than those before.
    fn generation(&self) -> u64 {
        0
    }

    /// How the server is reached, if there is one.
    fn reach(&self) -> Option<&Reach> {
        None
    }

    /// The file, if there is one.
    fn file(&self) -> Option<&SqliteFile> {
        None
    }
}

/// A piece of the event table: the events after `after`, up to `cut`, to be deleted by statements
/// for `step` ids each, of which at most `count` are there.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    pub after: EventId,
    pub cut: EventId,
    pub step: u64,
    pub count: u64,
}

impl Piece {
    /// For one statement.
    pub fn whole(after: EventId, cut: EventId, count: u64) -> Self {
        Piece { after, cut, step: cut.saturating_sub(after), count }
    }

    /// After which id, and up to which, each statement deletes.
    pub fn statements(self) -> impl Iterator<Item = (EventId, EventId)> {
        let ends = move |start| (start, self.cut.min(start + self.step));
        (self.after..self.cut).step_by(self.step.max(1) as usize).map(ends)
    }
}

/// What keeps others away.
pub(crate) enum Hold {
    /// An advisory lock of the session.
    Lock,
    /// A row that is put off at each look, behind a pooler that keeps no sessions.
    Row { ident: String, owner: String },
}

/// Of a connection.
pub(crate) trait Abilities {
    /// From now on each call may take so long.
    fn limit(&mut self, _: Duration) -> Result<()> {
        Ok(())
    }

    /// Whether the address leads to another server than it did when this connection was made.
    fn is_stale(&self) -> bool {
        false
    }

    /// Whether the driver itself has given the connection up.
    fn is_closed(&self) -> bool {
        false
    }

    /// Refuses what writes on a replica that takes writes.
    fn check_no_replica(&mut self) -> Result<()> {
        Ok(())
    }

    /// Puts the session back into the state of a new one; `false` where that takes a new connection.
    fn reset(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Whether the server has told that the caller's SQL changed something of the session.
    fn session_is_changed(&self) -> bool {
        false
    }

    /// Whether a transaction is known to be open.
    fn has_open_transaction(&self) -> bool {
        false
    }

    /// A number that changes when another connection commits.
    fn change_counter(&mut self) -> Result<Option<i64>> {
        Ok(None)
    }

    /// Asks for notifications of new events.
    fn listen(&mut self, _: &Settings) -> Result<()> {
        Ok(())
    }

    /// Waits for a notification, at most for this time; whether there was one.
    fn wait_for_notification(&mut self, _: Duration) -> Result<bool> {
        Ok(false)
    }

    /// Makes what options want beside the tables, after these were made.
    fn end_migration(&mut self, _: &Settings) -> Result<()> {
        Ok(())
    }

    /// The cursor, which is `None` without such a consumer, where that can be had without a write; `None`
    /// if something has to be written.
    fn cursor_unless_due(&mut self, _: &Ident, _: &Move) -> Result<Option<Option<EventId>>> {
        Ok(None)
    }

    /// Begins the transaction in which a piece is deleted, and keeps everybody from making the event table anew
    /// until its end. `false` where the deletion itself does all of that.
    fn begin_discard(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Ends the transaction in which a piece was deleted; whether it was committed.
    fn end_discard(&mut self, _: Piece, _commit: bool) -> Result<bool> {
        Ok(false)
    }

    /// Takes the lease of an ident; `None` while somebody else has it.
    fn take_lease(&mut self, _: &Ident) -> Result<Option<Hold>> {
        Ok(None)
    }

    /// Whether the lease is still there; puts off its end, if it has one.
    fn keep_lease(&mut self, _: &Hold) -> Result<bool> {
        Ok(true)
    }

    /// Gives the lease back.
    fn release_lease(&mut self, _: &Hold) -> Result<()> {
        Ok(())
    }

    /// Has the server end the session when nothing is said in it for so long.
    fn end_when_idle(&mut self, _: Duration) -> Result<()> {
        Ok(())
    }

    /// The process of the server that works for this connection; empty where there is no such thing.
    fn process(&mut self) -> Result<String> {
        Ok(String::new())
    }

    /// Whether a pooler gives the sessions of one connection to another, as the outcome of a check.
    fn pooler(&mut self, _: &mut Connection) -> Result<Option<Seen>> {
        Ok(None)
    }
}
