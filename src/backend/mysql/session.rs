//! The session on MySQL and MariaDB: its settings, which are all ours, and what the server tells of
//! its state.
//!
//! A server, its `init_connect` or a stored procedure may switch autocommit off: then ids come back,
//! events are read, and nothing was ever committed. So every setting that matters is made here, and
//! after each write the server's own word, which comes with its answer, must be that no transaction
//! is open.

use crate::model::error::{Error, ErrorKind, Result, fail};
use mysql::Conn;
use mysql::consts::SessionStateType as Tracked;

/// Run on each new connection, and after its reset, in this order. The second statement names what
/// the server tracks, so that its answer shows whether it does.
pub(super) const SETTINGS: [&str; 2] = [
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE",
    // Too long values are errors, not cut off. Nothing is left of what the server prefers: by
    // ANSI_QUOTES, NO_BACKSLASH_ESCAPES, sql_select_limit or completion_type the same statement
    // would mean something else.
    "SET SESSION session_track_transaction_info = 'STATE', session_track_state_change = 1, \
     session_track_system_variables = 'autocommit', autocommit = 1, \
     sql_mode = 'STRICT_TRANS_TABLES,STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,\
     NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', completion_type = 0, \
     sql_select_limit = 18446744073709551615, sql_safe_updates = 0, sql_auto_is_null = 0, \
     character_set_client = utf8mb4, character_set_results = utf8mb4, \
     collation_connection = utf8mb4_general_ci",
];

/// What the server has told of the session's state.
#[derive(Default)]
pub(super) struct State {
    /// Whether it tells at all; a proxy may not.
    tracks: bool,
    /// A transaction is open.
    open: bool,
    /// Something was written in it.
    wrote: bool,
    /// The transaction of `begin` is there; `Some(true)`: it has ended since.
    begun: Option<bool>,
    /// It had written something before it ended.
    wrote_before_end: bool,
    /// Something of the session was changed by the caller.
    changed: bool,
}

impl State {
    /// After the settings were made.
    pub fn of_new(client: &Conn) -> Self {
        let told = client.session_state_changes();
        State { tracks: told.is_ok_and(|told| !told.is_empty()), ..State::default() }
    }

    /// Takes what came with the answer to the last statement, which succeeded.
    pub fn observe(&mut self, client: &Conn) {
        let Ok(told) = client.session_state_changes() else { return };
        for info in told {
            match info.data_type() {
                Tracked::SESSION_TRACK_TRANSACTION_STATE => {
                    self.observe_transaction(info.data_ref())
                }
                Tracked::SESSION_TRACK_STATE_CHANGE
                | Tracked::SESSION_TRACK_SCHEMA
                | Tracked::SESSION_TRACK_SYSTEM_VARIABLES => self.changed = true,
                _ => {}
            }
        }
    }

    /// Eight characters: `T` for an explicit transaction, `I` for an implicit one, `_` for none;
    /// then what it has done, `W` and `w` for writes.
    fn observe_transaction(&mut self, state: &[u8]) {
        let state = state.strip_prefix(&[state.len().saturating_sub(1) as u8]).unwrap_or(state);
        let open = !state.starts_with(b"_");
        let wrote = open && state.iter().any(|c| matches!(c, b'W' | b'w'));
        // A transaction that has lost its writes is the next one of a chain.
        if let Some(ended) = &mut self.begun
            && (!open || (self.wrote && !wrote))
        {
            *ended = true;
            self.wrote_before_end |= self.wrote;
        }
        (self.open, self.wrote) = (open, wrote);
    }

    /// A transaction begins, as the caller wanted.
    pub fn begin(&mut self) {
        self.begun = Some(false);
        self.wrote_before_end = false;
    }

    /// Whether the transaction of `begin` has ended by a statement, with nothing written in it before.
    pub fn has_ended_empty(&self) -> bool {
        self.has_ended() && !self.wrote_before_end
    }

    /// The transaction of `begin` has ended, as the caller wanted. If another one is open by now, the
    /// answer that is observed next says so; if none is, it may say nothing.
    pub fn end(&mut self) {
        self.begun = None;
        (self.open, self.wrote) = (false, false);
    }

    /// Whether the transaction of `begin` has ended by a statement: COMMIT, DDL and others.
    pub fn has_ended(&self) -> bool {
        self.begun == Some(true)
    }

    /// The transaction turned out to be open, although the server seemed to tell of its end.
    pub fn correct(&mut self, open: bool) {
        if open {
            self.begun = Some(false);
            self.open = true;
        }
    }

    /// Whether the caller's SQL has changed something of the session.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// After a write outside of a transaction: it must be committed by now.
    pub fn check_committed(&self) -> Result<()> {
        if self.begun.is_none() && self.open {
            return Err(not_committed());
        }
        Ok(())
    }

    /// Whether the server tells of the session's state at all.
    pub fn tracks(&self) -> bool {
        self.tracks
    }

    /// Asks for autocommit once where the server does not tell of its state.
    pub fn check_autocommit(&self, client: &mut Conn) -> Result<()> {
        use mysql::prelude::Queryable;
        if self.tracks {
            return Ok(());
        }
        match client.query_first::<u8, _>("SELECT @@SESSION.autocommit")? {
            Some(1) => Ok(()),
            other => fail!(
                UnsafeServer,
                "autocommit of this session is {other:?} although it was set to 1: something between \
                 the library and the server changes it, and nothing would be committed"
            ),
        }
    }
}

fn not_committed() -> Error {
    Error::new(
        ErrorKind::ConnectionLost,
        "the server says that a transaction is still open after a write that should have been \
         committed: something has switched autocommit off in this session. Nothing of it is \
         committed, and the connection is given up",
    )
}
