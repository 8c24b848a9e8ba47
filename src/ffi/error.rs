//! `fes_status` and `fes_error`.

use super::{guard_or, layout, text};
use crate::model::error::Error;
use crate::model::error::panic_error;
use crate::model::event::{EventId, UnreadableEvent};
use std::any::Any;
use std::error::Error as _;
use std::ffi::{CStr, CString, c_char};
use std::sync::OnceLock;

/// What a call came to. The numbers never change and are never used again for something else; new
/// ones may be added, so a `switch` needs a `default`. `fes_status_name` gives a name.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum fes_status {
    /// It was done.
    FES_OK = 0,
    /// An event type that is not 1 to 16 of `A` to `Z` and `_`.
    FES_INVALID_TYPE = 1,
    /// Event data that is not JSON, or that the server cannot hold.
    FES_INVALID_DATA = 2,
    /// An event above the option `max_event_bytes`.
    FES_TOO_LARGE = 3,
    /// A component that is not 1 to 16 letters, digits and `_`.
    FES_INVALID_COMPONENT = 4,
    /// A user that is empty or holds something else than printable ASCII without `:`.
    FES_INVALID_USER = 5,
    /// `user:component` is longer than 64 characters.
    FES_IDENT_TOO_LONG = 6,
    /// An id that is no event id, or above the highest one that was ever allocated.
    FES_INVALID_LAST_ID = 7,
    /// An unknown option, or a value of one that makes no sense.
    FES_INVALID_OPTION = 8,
    /// A database URL that cannot be understood.
    FES_INVALID_URL = 9,
    /// Another argument that makes no sense: NULL where something must be, text that is not UTF-8,
    /// an impossible length, an unknown enumerator.
    FES_INVALID_ARGUMENT = 10,
    /// The consumer is not registered.
    FES_NOT_REGISTERED = 20,
    /// The component `LIVE` cannot do this.
    FES_LIVE_NOT_ALLOWED = 21,
    /// The options of the stream forbid this.
    FES_SECURITY_ERROR = 22,
    /// The server refused; the message names the privilege that is missing.
    FES_PERMISSION_DENIED = 23,
    /// Another receiver of the same consumer is at work, here or in another process. Retriable.
    FES_OCCUPIED = 24,
    /// No connection: address, password, TLS, or none free in time. Retriable.
    FES_CONNECT_FAILED = 30,
    /// The connection broke; a write may or may not have happened. Retriable.
    FES_CONNECTION_LOST = 31,
    /// Somebody else held a lock for too long. Retriable.
    FES_BUSY = 32,
    /// The server undid the transaction because of another one. Retriable, from its beginning.
    FES_CONFLICT = 33,
    /// The call did not end in the time it was given. Retriable.
    FES_TIMEOUT = 34,
    /// The process has no descriptor, thread or memory left for the call. Retriable.
    FES_OUT_OF_RESOURCES = 35,
    /// The transaction was ended behind its handle: by COMMIT, ROLLBACK or DDL in the caller's own SQL.
    FES_TRANSACTION_ENDED = 36,
    /// The tables are missing: call `fes_stream_migrate` or `fes_warehouse_migrate`.
    FES_NOT_MIGRATED = 40,
    /// Tables of these names exist, but they are something else.
    FES_FOREIGN_SCHEMA = 41,
    /// The tables were made by a newer version.
    FES_NEWER_SCHEMA = 42,
    /// The server, as it is set up, cannot keep the promise of order without loss.
    FES_UNSAFE_SERVER = 43,
    /// Somebody else in this process has the SQLite file open.
    FES_FOREIGN_SQLITE = 44,
    /// A row that cannot be read as an event.
    FES_CORRUPT_EVENT = 45,
    /// The history has another event of the same id.
    FES_HISTORY_CONFLICT = 46,
    /// The stream lost events or began anew: a restore, a failover that lost commits, TRUNCATE. Reading
    /// goes on from the stored cursor, or from the beginning where that is lower. Retriable.
    FES_STREAM_REWOUND = 47,
    /// An event appeared below ids that were settled before: its id was allocated, or given, before its
    /// INSERT. Consumers that have passed over it will not get it.
    FES_LATE_EVENT = 48,
    /// The caller's own statement violated a constraint.
    FES_CONSTRAINT = 50,
    /// The database refused a statement for another reason.
    FES_DATABASE = 51,
    /// The stream, the subscription or the transaction has ended.
    FES_CLOSED = 60,
    /// A cancel token ended the wait.
    FES_CANCELLED = 70,
    /// A defect of this library.
    FES_INTERNAL = 99,
    /// A defect of this library that was caught at the C boundary. The handles of the call should
    /// only be closed.
    FES_PANIC = 100,
}

use fes_status::*;

/// Every status with its name; those of errors are numbered and named as [`ErrorKind`].
const STATUSES: &[(fes_status, &CStr)] = &[
    (FES_OK, c"Ok"),
    (FES_INVALID_TYPE, c"InvalidType"),
    (FES_INVALID_DATA, c"InvalidData"),
    (FES_TOO_LARGE, c"TooLarge"),
    (FES_INVALID_COMPONENT, c"InvalidComponent"),
    (FES_INVALID_USER, c"InvalidUser"),
    (FES_IDENT_TOO_LONG, c"IdentTooLong"),
    (FES_INVALID_LAST_ID, c"InvalidLastId"),
    (FES_INVALID_OPTION, c"InvalidOption"),
    (FES_INVALID_URL, c"InvalidUrl"),
    (FES_INVALID_ARGUMENT, c"InvalidArgument"),
    (FES_NOT_REGISTERED, c"NotRegistered"),
    (FES_LIVE_NOT_ALLOWED, c"LiveNotAllowed"),
    (FES_SECURITY_ERROR, c"SecurityError"),
    (FES_PERMISSION_DENIED, c"PermissionDenied"),
    (FES_OCCUPIED, c"Occupied"),
    (FES_CONNECT_FAILED, c"ConnectFailed"),
    (FES_CONNECTION_LOST, c"ConnectionLost"),
    (FES_BUSY, c"Busy"),
    (FES_CONFLICT, c"Conflict"),
    (FES_TIMEOUT, c"Timeout"),
    (FES_OUT_OF_RESOURCES, c"OutOfResources"),
    (FES_TRANSACTION_ENDED, c"TransactionEnded"),
    (FES_NOT_MIGRATED, c"NotMigrated"),
    (FES_FOREIGN_SCHEMA, c"ForeignSchema"),
    (FES_NEWER_SCHEMA, c"NewerSchema"),
    (FES_UNSAFE_SERVER, c"UnsafeServer"),
    (FES_FOREIGN_SQLITE, c"ForeignSqlite"),
    (FES_CORRUPT_EVENT, c"CorruptEvent"),
    (FES_HISTORY_CONFLICT, c"HistoryConflict"),
    (FES_STREAM_REWOUND, c"StreamRewound"),
    (FES_LATE_EVENT, c"LateEvent"),
    (FES_CONSTRAINT, c"Constraint"),
    (FES_DATABASE, c"Database"),
    (FES_CLOSED, c"Closed"),
    (FES_CANCELLED, c"Cancelled"),
    (FES_INTERNAL, c"Internal"),
    (FES_PANIC, c"Panic"),
];

fn status(number: u32) -> Option<(fes_status, &'static CStr)> {
    STATUSES.iter().copied().find(|(status, _)| *status as u32 == number)
}

/// Why a call failed. Belongs to the caller, who frees it with `fes_error_free`; the one that a
/// callback gets belongs to the library and ends with the callback. It does not change, so any
/// number of threads may look at it.
pub struct fes_error {
    pub(super) code: fes_status,
    message: CString,
    sql_state: CString,
    retriable: bool,
    unreadable: Option<Box<Row>>,
}

/// A row that cannot be read as an event: which one it is, and what stands there. Belongs to the
/// `fes_error` that tells of it. This structure stays as it is.
#[repr(C)]
pub struct fes_unreadable {
    /// Its id.
    pub id: u64,
    /// The column that cannot be read: `type`, `data` or `ts`.
    pub column: *const c_char,
    /// The bytes of the type, with a NUL at their end; NULL if the database has NULL there.
    pub r#type: *const c_char,
    /// Bytes of the type without the NUL at the end.
    pub type_len: usize,
    /// The bytes of the data, with a NUL at their end; NULL if the database has NULL there.
    pub data: *const c_char,
    /// Bytes of the data without the NUL at the end.
    pub data_len: usize,
    /// The time stamp as the database shows it, with a NUL at its end.
    pub ts: *const c_char,
}

layout!(
    fes_unreadable, 56, id: 0, column: 8, r#type: 16, type_len: 24, data: 32, data_len: 40, ts: 48
);

/// What the pointers of a `fes_unreadable` point into.
struct Row {
    id: EventId,
    column: CString,
    event_type: Option<Vec<u8>>,
    data: Option<Vec<u8>>,
    ts: CString,
    shown: OnceLock<fes_unreadable>,
}

// The pointers of `shown` point into the row, which does not change.
unsafe impl Send for Row {}
unsafe impl Sync for Row {}

impl Row {
    fn new(row: &UnreadableEvent) -> Box<Self> {
        let terminated =
            |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| [bytes.as_slice(), &[0]].concat());
        Box::new(Row {
            id: row.id,
            column: c_text(row.column),
            event_type: terminated(&row.event_type),
            data: terminated(&row.data),
            ts: c_text(&row.ts),
            shown: OnceLock::new(),
        })
    }

    fn show(&self) -> &fes_unreadable {
        let bytes = |bytes: &Option<Vec<u8>>| match bytes {
            Some(bytes) => (bytes.as_ptr().cast::<c_char>(), bytes.len() - 1),
            None => (std::ptr::null(), 0),
        };
        let (event_type, data) = (bytes(&self.event_type), bytes(&self.data));
        self.shown.get_or_init(|| fes_unreadable {
            id: self.id,
            column: self.column.as_ptr(),
            r#type: event_type.0,
            type_len: event_type.1,
            data: data.0,
            data_len: data.1,
            ts: self.ts.as_ptr(),
        })
    }
}

impl fes_error {
    pub(super) fn new(code: fes_status, message: &str) -> Box<Self> {
        let (message, sql_state) = (c_text(message), CString::default());
        Box::new(fes_error { code, message, sql_state, retriable: false, unreadable: None })
    }

    pub(super) fn from_panic(panic: &(dyn Any + Send)) -> Box<Self> {
        Self::new(FES_PANIC, &panic_error(panic).to_string())
    }
}

impl From<&Error> for fes_error {
    fn from(error: &Error) -> Self {
        let mut message = error.message().to_owned();
        let mut source = error.source();
        while let Some(deeper) = source {
            let text = deeper.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = deeper.source();
        }
        fes_error {
            code: status(error.kind() as u32).map_or(FES_INTERNAL, |(status, _)| status),
            message: c_text(&message),
            sql_state: c_text(error.sql_state().unwrap_or_default()),
            retriable: error.is_retriable(),
            unreadable: error.unreadable().map(Row::new),
        }
    }
}

impl From<Error> for Box<fes_error> {
    fn from(error: Error) -> Self {
        Box::new(fes_error::from(&error))
    }
}

/// Text that C can read: it ends at the first NUL.
pub(super) fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// The name of a status. May be called from a signal handler.
///
/// @param status a `fes_status`
/// @return a constant text, for example `NotRegistered`; `Unknown` for a number that is none
#[unsafe(no_mangle)]
pub extern "C" fn fes_status_name(status: u32) -> *const c_char {
    self::status(status).map_or(c"Unknown", |(_, name)| name).as_ptr()
}

/// Makes an error, for the caller's own tests of how it takes one.
///
/// @param code a `fes_status` other than `FES_OK`
/// @param message what went wrong, ended by a NUL; it is copied
/// @return the error, to be freed with `fes_error_free`; NULL if the code is unknown, or the
///   message NULL or not UTF-8
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_error_new(code: u32, message: *const c_char) -> *mut fes_error {
    guard_or(std::ptr::null_mut(), || {
        let message = unsafe { text(message, "message") };
        match (status(code), message) {
            (Some((code, _)), Ok(message)) if code != FES_OK => {
                let mut error = fes_error::new(code, message);
                error.retriable = RETRIABLE.contains(&code);
                Box::into_raw(error)
            }
            _ => std::ptr::null_mut(),
        }
    })
}

const RETRIABLE: [fes_status; 8] = [
    FES_OCCUPIED,
    FES_CONNECT_FAILED,
    FES_CONNECTION_LOST,
    FES_BUSY,
    FES_CONFLICT,
    FES_TIMEOUT,
    FES_OUT_OF_RESOURCES,
    FES_STREAM_REWOUND,
];

/// The status of an error.
///
/// @param error NULL, or the error
/// @return its status; `FES_OK` for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_error_code(error: *const fes_error) -> fes_status {
    unsafe { error.as_ref() }.map_or(FES_OK, |error| error.code)
}

/// The name of the status of an error: see `fes_status_name`.
///
/// @param error NULL, or the error
/// @return a constant text; `Ok` for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_error_name(error: *const fes_error) -> *const c_char {
    fes_status_name(unsafe { fes_error_code(error) } as u32)
}

/// What went wrong and what to do.
///
/// @param error NULL, or the error, to which the text belongs
/// @return UTF-8 text, ended by a NUL; empty for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_error_message(error: *const fes_error) -> *const c_char {
    unsafe { error.as_ref() }.map_or(c"", |error| &error.message).as_ptr()
}

/// The server's own code: SQLSTATE on PostgreSQL, the error number on MySQL and MariaDB, the
/// extended result code on SQLite.
///
/// @param error NULL, or the error, to which the text belongs
/// @return the code, ended by a NUL; empty if there is none, and for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_error_sql_state(error: *const fes_error) -> *const c_char {
    unsafe { error.as_ref() }.map_or(c"", |error| &error.sql_state).as_ptr()
}

/// Whether the same call may succeed later without a change by the caller. After
/// `FES_CONNECTION_LOST` of a write, look first whether it happened.
///
/// @param error NULL, or the error
/// @return whether it may; false for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_error_is_retriable(error: *const fes_error) -> bool {
    unsafe { error.as_ref() }.is_some_and(|error| error.retriable)
}

/// The row that could not be read, of an error `FES_CORRUPT_EVENT` about one.
///
/// @param error NULL, or the error
/// @return the row, which belongs to the error; NULL if there is none
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_error_unreadable(error: *const fes_error) -> *const fes_unreadable {
    let row = unsafe { error.as_ref() }.and_then(|error| error.unreadable.as_deref());
    row.map_or(std::ptr::null(), |row| row.show())
}

/// Frees an error.
///
/// @param error NULL, or the error
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_error_free(error: *mut fes_error) {
    unsafe { super::free(error) };
}

/// Panics inside the boundary, to prove that it is caught. Only with the feature `selftest`.
///
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_PANIC`
#[cfg(feature = "selftest")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_selftest_panic(err: *mut *mut fes_error) -> fes_status {
    #[allow(clippy::panic)]
    super::guard(err, || panic!("a panic on purpose"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::error::ErrorKind;

    #[test]
    fn every_kind_of_error_has_a_status_of_its_number_and_name() {
        use ErrorKind::*;
        let kinds = [
            InvalidType,
            InvalidData,
            TooLarge,
            InvalidComponent,
            InvalidUser,
            IdentTooLong,
            InvalidLastId,
            InvalidOption,
            InvalidUrl,
            InvalidArgument,
            NotRegistered,
            LiveNotAllowed,
            SecurityError,
            PermissionDenied,
            Occupied,
            ConnectFailed,
            ConnectionLost,
            Busy,
            Conflict,
            Timeout,
            OutOfResources,
            TransactionEnded,
            NotMigrated,
            ForeignSchema,
            NewerSchema,
            UnsafeServer,
            ForeignSqlite,
            CorruptEvent,
            HistoryConflict,
            StreamRewound,
            LateEvent,
            Constraint,
            Database,
            Closed,
            Internal,
        ];
        for kind in kinds {
            let (code, name) = status(kind as u32).unwrap();
            assert_eq!((code as u32, name.to_str().unwrap()), (kind as u32, kind.name().as_str()));
            let retriable = Error::new(kind, "").is_retriable();
            assert_eq!(RETRIABLE.contains(&code), retriable, "{kind:?}");
        }
        assert_eq!(STATUSES.len(), kinds.len() + 3, "with Ok, Cancelled and Panic");
    }

    #[test]
    fn a_message_with_a_nul_reaches_its_end() {
        let error = Box::<fes_error>::from(Error::new(ErrorKind::Busy, "a\0b"));
        assert_eq!(error.message.to_str().unwrap(), "a\u{fffd}b");
    }
}
