//! Two SQLite libraries in one process lose data: POSIX locks belong to the process, so neither
//! sees the locks of the other, and either one's `close` drops both's. This guard looks, before a
//! file is opened, whether another library of the process already has it open.
//! See <https://www.sqlite.org/howtocorrupt.html>, section 2.2.1.

use crate::model::error::{Result, fail};
use nix::sys::stat::fstat;
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// A file, whatever its name: device and inode.
type FileId = (u64, u64);

/// Descriptors of each file that our own SQLite opened.
static OURS: Mutex<Option<HashMap<FileId, BTreeSet<RawFd>>>> = Mutex::new(None);

/// Set once nobody else in this process can use our SQLite library.
static UNSHARED: AtomicBool = AtomicBool::new(false);

/// From now on every descriptor of a database file that is not ours is foreign: inside the shared
/// library of the C interface nobody can reach our SQLite. A Rust program may, by `rusqlite`.
pub(crate) fn nobody_shares_our_library() {
    UNSHARED.store(true, Ordering::Relaxed);
}

/// Goes with a connection to a file, and is dropped after it.
pub(crate) struct Opened(FileId);

impl Opened {
    /// Whether it is still the file of this name.
    pub fn is_at(&self, path: &Path) -> bool {
        file_id(path) == Some(self.0)
    }
}

impl Drop for Opened {
    /// Forgets closed descriptors: the next file of that number may be a foreign library's.
    fn drop(&mut self) {
        let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = ours.get_or_insert_default();
        if let Some(known) = ours.get_mut(&self.0) {
            known.retain(|descriptor| refers_to(*descriptor, self.0));
            if known.is_empty() {
                ours.remove(&self.0);
            }
        }
    }
}

/// Runs `connect`, which opens `path` and does nothing else, unless a foreign SQLite library has the
/// file open.
///
/// # Errors
/// [`ForeignSqlite`](crate::ErrorKind::ForeignSqlite), and those of `connect`.
pub(crate) fn open<T>(
    path: &Path,
    allow_foreign: bool,
    connect: impl FnOnce() -> Result<T>,
) -> Result<(T, Option<Opened>)> {
    // Looking at all descriptors takes its time where there are thousands. What another thread of
    // ours opens meanwhile is known under the lock.
    let before = file_id(path).map(|id| (id, descriptors(id)));
    let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    let ours = ours.get_or_insert_default();
    let mut seen = BTreeSet::new();
    if let Some((id, found)) = before {
        seen = found;
        let known = ours.get(&id);
        let is_strange = |descriptor: &RawFd| {
            !known.is_some_and(|known| known.contains(descriptor)) && refers_to(*descriptor, id)
        };
        if !allow_foreign
            && seen.iter().any(is_strange)
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
        seen.extend(known.into_iter().flatten());
    }
    let lowest = lowest_free();
    let connection = connect()?;
    let id = file_id(path);
    if let Some(id) = id {
        let known = ours.entry(id).or_default();
        let is_new = |descriptor: &RawFd| !seen.contains(descriptor) && refers_to(*descriptor, id);
        // The system gives the lowest free number, so the first look nearly always finds it.
        match (lowest..lowest.saturating_add(NEAR)).find(is_new) {
            Some(descriptor) => {
                known.insert(descriptor);
            }
            None => known.extend(descriptors(id).into_iter().filter(is_new)),
        }
    }
    Ok((connection, id.map(Opened)))
}

/// So many descriptors are looked at for the one that was opened last, before all are.
const NEAR: RawFd = 16;

/// About the number that the next descriptor gets.
fn lowest_free() -> RawFd {
    File::open("/dev/null").map_or(0, |file| file.as_raw_fd())
}

/// Whether the descriptor, if there is one of this number, is of this file.
fn refers_to(descriptor: RawFd, id: FileId) -> bool {
    fstat(descriptor).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == id)
}

fn file_id(path: &Path) -> Option<FileId> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// So many descriptors are listed; if there are more, every number is asked for.
const FEW: usize = 200;

/// The descriptors of this process that refer to the file.
fn descriptors(id: FileId) -> BTreeSet<RawFd> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return BTreeSet::new() };
    let mut numbers =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    let refers = |descriptor: &RawFd| refers_to(*descriptor, id);
    let first: Vec<RawFd> = numbers.by_ref().take(FEW).collect();
    if first.len() < FEW {
        return first.into_iter().filter(refers).collect();
    }
    // The kernel takes microseconds to list a descriptor, and a tenth of that to tell its file.
    match table_size() {
        Some(size) => (0..size).filter(refers).collect(),
        None => first.into_iter().chain(numbers).filter(refers).collect(),
    }
}

/// The size of this process's table of descriptors, above which there is none, where it is not so
/// large that listing those that are open takes less time.
fn table_size() -> Option<RawFd> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let size = status.lines().find_map(|line| line.strip_prefix("FDSize:"))?.trim().parse().ok()?;
    (size <= 1 << 17).then_some(size)
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
