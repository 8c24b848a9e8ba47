//! The one error type: what was wrong, of which kind, and whether trying again can help.

use crate::model::unreadable::UnreadableEvent;
use std::error::Error as StdError;
use std::fmt;

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure an [`Error`] reports. The numbers are those of the C ABI and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum ErrorKind {
    /// An event type that is not `^[A-Z_]{1,16}$`.
    InvalidType = 1,
    /// Event data that is not JSON, or that the server cannot hold.
    InvalidData = 2,
    /// An event or a batch above a configured limit.
    TooLarge = 3,
    /// A component that is not `^[A-Za-z0-9_]{1,16}$`.
    InvalidComponent = 4,
    /// A user that is empty or holds a character other than printable ASCII without `:`.
    InvalidUser = 5,
    /// `user:component` is longer than 64 characters.
    IdentTooLong = 6,
    /// A `last_id` that is no event id, or above the highest id that was ever allocated.
    InvalidLastId = 7,
    /// An unknown option, or an option's value that makes no sense.
    InvalidOption = 8,
    /// A database URL that cannot be understood.
    InvalidUrl = 9,
    /// Another argument that makes no sense.
    InvalidArgument = 10,
    /// The consumer was not registered (FTN18 `NotRegistered`).
    NotRegistered = 20,
    /// The component `LIVE` cannot do this (FTN18 `LiveNotAllowed`).
    LiveNotAllowed = 21,
    /// The configuration of the stream forbids this (FTN18 `SecurityError`).
    SecurityError = 22,
    /// The server refused: a privilege is missing. The message names it.
    PermissionDenied = 23,
    /// Another receiver of the same ident is at work, here or in another process.
    Occupied = 24,
    /// No connection could be made: address, password, TLS, or no free connection in time.
    ConnectFailed = 30,
    /// The connection broke during the call. A write may or may not have happened.
    ConnectionLost = 31,
    /// Somebody else held a lock for too long.
    Busy = 32,
    /// The server undid the transaction because of another one: run it again.
    Conflict = 33,
    /// The call did not end in the time it was given.
    Timeout = 34,
    /// The process has no descriptor, thread or memory left for the call.
    OutOfResources = 35,
    /// The transaction was ended behind its handle: by COMMIT, ROLLBACK or DDL in the caller's own SQL.
    TransactionEnded = 36,
    /// The tables are missing: run `migrate()`.
    NotMigrated = 40,
    /// Tables of these names exist, but they are not event tables.
    ForeignSchema = 41,
    /// The tables were made by a newer version of this library.
    NewerSchema = 42,
    /// This server, as it is set up, cannot keep the promise of order without loss.
    UnsafeServer = 43,
    /// Another SQLite library in this process has the database file open.
    ForeignSqlite = 44,
    /// A row that cannot be read as an event.
    CorruptEvent = 45,
    /// The history has another event of the same id.
    HistoryConflict = 46,
    /// The stream lost events or began anew: a restore, a failover that lost commits, TRUNCATE. Reading
    /// goes on from the stored cursor, or from the beginning where that is lower.
    StreamRewound = 47,
    /// An event appeared below ids that were settled before: its id was allocated, or given, before its
    /// INSERT. Consumers that have passed over it will not get it.
    LateEvent = 48,
    /// A constraint of the database was violated by the caller's statement.
    Constraint = 50,
    /// The database refused a statement for another reason.
    Database = 51,
    /// The stream, or the transaction, was closed before.
    Closed = 60,
    /// A [`CancelToken`](crate::CancelToken) ended the wait.
    Cancelled = 70,
    /// A defect of this library. Please report it.
    Internal = 99,
}

impl ErrorKind {
    /// The kind's name, the same in every language, for example `NotRegistered`.
    ///
    /// ```
    /// assert_eq!(futoin_eventstream::ErrorKind::NotRegistered.name(), "NotRegistered");
    /// ```
    pub fn name(self) -> String {
        format!("{self:?}")
    }
}

/// An error: its [`kind`](Error::kind), a message that names the value and what to do,
/// and whether [trying again](Error::is_retriable) can help.
///
/// ```
/// use futoin_eventstream::{ErrorKind, NewEvent};
/// let error = NewEvent::new("lower case", &1).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidType);
/// assert!(error.to_string().contains("lower case"));
/// assert!(!error.is_retriable());
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    sql_state: Option<String>,
    unreadable: Option<Box<UnreadableEvent>>,
    /// The connection is of no more use, whatever the kind says.
    lost: bool,
    /// Trying again cannot help, although it can with others of the kind.
    lasting: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What is to be said of a write whose connection broke.
const UNKNOWN_FATE: &str = "what was to be written may or may not have been written";

impl Error {
    /// Makes an error of `kind` with `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Error(Box::new(Inner {
            kind,
            message,
            sql_state: None,
            unreadable: None,
            lost: false,
            lasting: false,
            source: None,
        }))
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message without that of the [source](StdError::source).
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The server's own code: SQLSTATE on PostgreSQL, the error number on MySQL and MariaDB,
    /// the extended result code on SQLite.
    pub fn sql_state(&self) -> Option<&str> {
        self.0.sql_state.as_deref()
    }

    /// The row that could not be read as an event; of errors of kind
    /// [`CorruptEvent`](ErrorKind::CorruptEvent) only.
    pub fn unreadable(&self) -> Option<&UnreadableEvent> {
        self.0.unreadable.as_deref()
    }

    /// Whether the same call may succeed later without a change by the caller. For
    /// [`ErrorKind::ConnectFailed`] it depends on the reason: a server that is down may come back, a wrong
    /// password stays wrong.
    ///
    /// For [`ErrorKind::ConnectionLost`] during a write, look first whether the write happened.
    pub fn is_retriable(&self) -> bool {
        use ErrorKind::*;
        let helps = matches!(
            self.0.kind,
            Occupied
                | ConnectFailed
                | ConnectionLost
                | Busy
                | Conflict
                | Timeout
                | OutOfResources
                | StreamRewound
        );
        helps && !self.0.lasting
    }

    /// A copy without the source, which cannot be cloned.
    pub(crate) fn copy(&self) -> Self {
        let Inner { kind, message, sql_state, unreadable, lost, lasting, .. } = &*self.0;
        Error(Box::new(Inner {
            kind: *kind,
            message: message.clone(),
            sql_state: sql_state.clone(),
            unreadable: unreadable.clone(),
            lost: *lost,
            lasting: *lasting,
            source: None,
        }))
    }

    pub(crate) fn with_unreadable(mut self, row: UnreadableEvent) -> Self {
        self.0.unreadable = Some(Box::new(row));
        self
    }

    /// The connection is of no more use after this error.
    pub(crate) fn lost(mut self) -> Self {
        self.0.lost = true;
        self
    }

    /// Whether the connection is of no more use.
    pub(crate) fn is_lost(&self) -> bool {
        self.0.lost || self.0.kind == ErrorKind::ConnectionLost
    }

    /// Trying again cannot help.
    pub(crate) fn lasting(mut self) -> Self {
        self.0.lasting = true;
        self
    }

    /// The error of a write: where the connection broke, nobody knows what became of it.
    pub(crate) fn of_unknown_fate(mut self) -> Self {
        if self.is_lost() {
            self.0.kind = ErrorKind::ConnectionLost;
            if !self.0.message.contains(UNKNOWN_FATE) {
                self.0.message.push_str("; ");
                self.0.message.push_str(UNKNOWN_FATE);
            }
        }
        self
    }

    pub(crate) fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    pub(crate) fn with_sql_state(mut self, state: impl Into<String>) -> Self {
        self.0.sql_state = Some(state.into());
        self
    }

    /// Whether the connection is of no use any more: it broke, or its server is not the one, or not of
    /// the kind, that it should be. Another connection may reach another server.
    pub(crate) fn ends_connection(&self) -> bool {
        self.is_lost() || self.kind() == ErrorKind::UnsafeServer
    }

    /// Puts what was being done in front of the message.
    pub(crate) fn context(mut self, doing: impl fmt::Display) -> Self {
        self.0.message = format!("{doing}: {}", self.0.message);
        self
    }

    /// The error of a connection that could not be made; a missing privilege stays one.
    pub(crate) fn while_connecting(self, doing: impl fmt::Display) -> Self {
        let error = self.context(doing);
        match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::UnsafeServer => error,
            _ => error.with_kind(ErrorKind::ConnectFailed),
        }
    }

    /// The same message under another kind, for a caller that knows better what it means.
    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({:?})", self.0.kind, self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Ends the function with an [`Error`] of the given kind and formatted message.
macro_rules! fail {
    ($kind:ident, $($message:tt)+) => {
        return Err($crate::model::error::Error::new(
            $crate::model::error::ErrorKind::$kind,
            format!($($message)+),
        ))
    };
}
pub(crate) use fail;

/// The error that stands for a caught panic.
pub(crate) fn panic_error(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("of unknown kind");
    Error::new(ErrorKind::Internal, format!("a panic was caught: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_and_display_show_kind_and_message() {
        let error = Error::new(ErrorKind::Busy, "held").context("adding").with_sql_state("5");
        assert_eq!(error.to_string(), "adding: held");
        assert_eq!(format!("{error:?}"), "Busy(\"adding: held\")");
        assert_eq!(error.sql_state(), Some("5"));
        assert!(error.is_retriable());
    }
}
