//! Two SQLite libraries in one process lose data: POSIX locks belong to the process, so neither
//! sees the locks of the other, and either one's `close` drops both's. This guard looks, before a
//! file is opened, whether another library of the process already has it open.
//! See <https://www.sqlite.org/howtocorrupt.html>, section 2.2.1.

use crate::error::{Result, fail};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// A file, whatever its name: device and inode.
type FileId = (u64, u64);

/// Descriptors of each file that our own SQLite opened.
static OURS: Mutex<Option<HashMap<FileId, BTreeSet<u32>>>> = Mutex::new(None);

/// Set once nobody else in this process can use our SQLite library.
static UNSHARED: AtomicBool = AtomicBool::new(false);

/// From now on every descriptor of a database file that is not ours is foreign: inside the shared
/// library of the C interface nobody can reach our SQLite. A Rust program may, by `rusqlite`.
pub(crate) fn nobody_shares_our_library() {
    UNSHARED.store(true, Ordering::Relaxed);
}

/// Goes with a connection to a file, and is dropped after it.
pub(crate) struct Opened(FileId);

impl Drop for Opened {
    /// Forgets closed descriptors: the next file of that number may be a foreign library's.
    fn drop(&mut self) {
        let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = ours.get_or_insert_default();
        if let Some(known) = ours.get_mut(&self.0) {
            let open = descriptors(self.0);
            known.retain(|descriptor| open.contains(descriptor));
            if known.is_empty() {
                ours.remove(&self.0);
            }
        }
    }
}

/// Runs `connect`, which opens `path`, unless a foreign SQLite library has the file open.
///
/// # Errors
/// [`ForeignSqlite`](crate::ErrorKind::ForeignSqlite), and those of `connect`.
pub(crate) fn open<T>(
    path: &Path,
    allow_foreign: bool,
    connect: impl FnOnce() -> Result<T>,
) -> Result<(T, Option<Opened>)> {
    let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    let ours = ours.get_or_insert_default();
    let before = file_id(path).map(descriptors).unwrap_or_default();
    let mut mine: BTreeSet<u32> = file_id(path)
        .and_then(|id| ours.get(&id))
        .map(|known| known.intersection(&before).copied().collect())
        .unwrap_or_default();
    let others = before.difference(&mine).next().is_some();
    if others
        && !allow_foreign
        && let Some(library) = foreign_library()
    {
        fail!(
            ForeignSqlite,
            "{path:?} is open in this process by another SQLite library ({library}): two \
                 libraries in one process break each other's locks and lose events. Close it \
                 there first, add events with statement() on that connection, or use another \
                 process; the option allow_foreign_sqlite=true accepts the loss"
        );
    }
    let connection = connect()?;
    let id = file_id(path);
    if let Some(id) = id {
        mine.extend(descriptors(id).difference(&before));
        ours.insert(id, mine);
    }
    Ok((connection, id.map(Opened)))
}

fn file_id(path: &Path) -> Option<FileId> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// The descriptors of this process that refer to the file.
fn descriptors(id: FileId) -> BTreeSet<u32> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return BTreeSet::new() };
    entries
        .flatten()
        .filter(|entry| file_id(&entry.path()) == Some(id))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The name of a SQLite library that is loaded into this process and is not ours. A Rust program
/// that uses `rusqlite` beside this crate shares its SQLite with us: there is none.
fn foreign_library() -> Option<String> {
    let program = fs::read_link("/proc/self/exe").unwrap_or_default();
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]))
        .filter(|path| Path::new(path) != program)
        .filter_map(|path| path.rsplit('/').next())
        .find(|name| name.contains("sqlite") && (name.contains(".so") || name.ends_with(".node")))
        .map(str::to_owned)
        .or_else(|| UNSHARED.load(Ordering::Relaxed).then(|| "linked into the program".to_owned()))
}
