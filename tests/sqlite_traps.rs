//! Two SQLite libraries in one process break each other's locks: a file that another one has open
//! is refused, and only such a file. The other library is the system's `libsqlite3.so.0`, which is
//! loaded as Python or Node.js load theirs.
//!
//! The other library is seen by the whole process, so this is a program of its own.

#[macro_use]
#[path = "it/support/mod.rs"]
mod support;

use crate::support::{Db, everything, failure};
use futoin_eventstream::{ErrorKind, EventStream, rusqlite};
use libloading::{Library, Symbol};
use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

type Open = unsafe extern "C" fn(*const c_char, *mut *mut c_void) -> c_int;
type Close = unsafe extern "C" fn(*mut c_void) -> c_int;
type Exec = unsafe extern "C" fn(
    *mut c_void,
    *const c_char,
    *const c_void,
    *mut c_void,
    *mut *mut c_char,
) -> c_int;

/// What is loaded is seen by the whole process: one test at a time.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The system's SQLite, loaded until dropped.
struct Foreign(Library);

/// A connection of it.
struct ForeignConnection<'a> {
    library: &'a Foreign,
    handle: *mut c_void,
}

impl Foreign {
    fn load() -> Foreign {
        // SAFETY: loading SQLite runs no code that depends on this process.
        Foreign(unsafe { Library::new("libsqlite3.so.0") }.expect("Debian package libsqlite3-0"))
    }

    fn open(&self, path: &Path) -> ForeignConnection<'_> {
        let path = CString::new(path.to_str().unwrap()).unwrap();
        let mut handle = null_mut();
        // SAFETY: the signature of sqlite3_open; both pointers live during the call.
        let code = unsafe {
            let open: Symbol<Open> = self.0.get(b"sqlite3_open\0").unwrap();
            open(path.as_ptr(), &mut handle)
        };
        assert_eq!(code, 0);
        ForeignConnection { library: self, handle }
    }
}

impl ForeignConnection<'_> {
    fn exec(&self, sql: &str) {
        let sql = CString::new(sql).unwrap();
        // SAFETY: the signature of sqlite3_exec, without a callback, on an open connection.
        let code = unsafe {
            let exec: Symbol<Exec> = self.library.0.get(b"sqlite3_exec\0").unwrap();
            exec(self.handle, sql.as_ptr(), std::ptr::null(), null_mut(), null_mut())
        };
        assert_eq!(code, 0, "{sql:?}");
    }
}

impl Drop for ForeignConnection<'_> {
    fn drop(&mut self) {
        // SAFETY: the signature of sqlite3_close, on a connection that is open and used no more.
        let code = unsafe {
            let close: Symbol<Close> = self.library.0.get(b"sqlite3_close\0").unwrap();
            close(self.handle)
        };
        assert_eq!(code, 0);
    }
}

fn db() -> Db {
    Db::on("sqlite").unwrap()
}

#[test]
fn a_file_that_another_library_has_open_is_refused() {
    let _turn = turn();
    let db = db();
    db.stream().close();
    let library = Foreign::load();
    let foreign = library.open(&db.path());
    foreign.exec("BEGIN IMMEDIATE");
    let error = EventStream::open(&db.url).err().expect("a refusal");
    assert_eq!(error.kind(), ErrorKind::ForeignSqlite);
    let message = error.to_string();
    for part in ["events.db", "libsqlite3.so.0", "statement()", "allow_foreign_sqlite"] {
        assert!(message.contains(part), "{message}");
    }
    // It did no harm to the lock of the other one, which is what all this is about.
    foreign.exec("INSERT INTO evt_queue(type, data, ts) VALUES ('A', '1', datetime('now'))");
    foreign.exec("COMMIT");
    drop(foreign);
    assert_eq!(everything(&EventStream::open(&db.url).unwrap()).len(), 1);
}

#[test]
fn another_name_of_the_file_does_not_hide_it() {
    let _turn = turn();
    let db = db();
    db.stream().close();
    let folder = tempfile::tempdir().unwrap();
    let (symbolic, hard) = (folder.path().join("symbolic.db"), folder.path().join("hard.db"));
    std::os::unix::fs::symlink(db.path(), &symbolic).unwrap();
    std::fs::hard_link(db.path(), &hard).unwrap();
    let library = Foreign::load();
    let _foreign = library.open(&db.path());
    for path in [symbolic, hard] {
        let opened = EventStream::open(&format!("sqlite://{}", path.display()));
        assert_eq!(failure(opened.map(drop)), ErrorKind::ForeignSqlite);
    }
}

#[test]
fn a_descriptor_that_was_ours_before_does_not_hide_it() {
    let _turn = turn();
    let db = db();
    let library = Foreign::load();
    for _ in 0..5 {
        // Closing ours gives its number to the next file that is opened.
        db.stream().close();
        let foreign = library.open(&db.path());
        assert_eq!(failure(EventStream::open(&db.url).map(drop)), ErrorKind::ForeignSqlite);
        drop(foreign);
    }
}

#[test]
fn a_new_connection_of_an_open_stream_is_refused_too() {
    let _turn = turn();
    let db = db();
    let stream = db.stream_with(&[("connect_timeout_ms", "500")]);
    stream.add_event("USR_ADD", &1).unwrap();
    let library = Foreign::load();
    let foreign = library.open(&db.path());
    // The only connection there is goes on; a second one is not made.
    let _first = stream.begin().unwrap();
    let error = stream.lag().unwrap_err();
    assert!(error.to_string().contains("another SQLite library"), "{error}");
    drop(foreign);
    stream.lag().unwrap();
}

#[test]
fn only_the_file_matters_not_that_another_library_is_loaded() {
    let _turn = turn();
    let (db, other) = (db(), db());
    let library = Foreign::load();
    let foreign = library.open(&other.path());
    foreign.exec("CREATE TABLE t(a)");
    // Our own connections, of several streams, are not foreign.
    let stream = db.stream();
    let beside = db.stream();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let streams = [&stream, &beside];
            scope.spawn(move || streams[n % 2].add_event("USR_ADD", &n).unwrap());
        }
    });
    stream.close();
    assert_eq!(everything(&beside).len(), 4);
    assert_eq!(everything(&db.stream()).len(), 4);
}

#[test]
fn whoever_accepts_the_loss_may_open_it() {
    let _turn = turn();
    let db = db();
    db.stream().close();
    let library = Foreign::load();
    let _foreign = library.open(&db.path());
    let stream = db.stream_with(&[("allow_foreign_sqlite", "true")]);
    stream.add_event("USR_ADD", &1).unwrap();
    let url = format!("{}?allow_foreign_sqlite=true", db.url);
    assert_eq!(everything(&EventStream::open(&url).unwrap()).len(), 1);
}

#[test]
fn the_same_library_beside_is_no_trap() {
    let _turn = turn();
    let db = db();
    let mut own = rusqlite::Connection::open(db.path()).unwrap();
    own.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE users(name TEXT)").unwrap();
    let stream = db.stream();
    let beside = db.stream_with(&[("busy_timeout_ms", "100")]);
    let mut tx = own.transaction().unwrap();
    tx.execute("INSERT INTO users VALUES ('Ann')", []).unwrap();
    stream.add_event_to(&mut tx, "USR_ADD", "Ann").unwrap();
    assert_eq!(failure(beside.add_event("USR_ADD", "Bob")), ErrorKind::Busy);
    tx.commit().unwrap();
    beside.add_event("USR_ADD", "Bob").unwrap();
    assert_eq!(everything(&stream).len(), 2);
}

#[test]
fn a_mistyped_path_is_an_error_where_files_must_exist() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    let url = format!("sqlite://{}", path.display());
    let strict = format!("{url}?create=false");
    let error = futoin_eventstream::EventStream::open(&strict).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), futoin_eventstream::ErrorKind::ConnectFailed);
    assert!(!error.is_retriable() && error.to_string().contains("events.db"), "{error}");
    assert!(!path.exists());
    let stream = futoin_eventstream::EventStream::open(&url).unwrap();
    stream.migrate().unwrap();
    let again = futoin_eventstream::EventStream::open(&strict).unwrap();
    again.add_event("EVENT", &1).unwrap();
}
