//! Accounting for every id of a stream: where its event is, or why there is none.
//!
//! What is provable: an id up to the settled horizon whose event is in neither table can never appear. It was rolled
//! back, or its event was discarded. What a cursor has passed must be where that cursor's consumer has put it, and
//! what a consumer has not passed must still be there. Each chunk of the event table is read first, the cursors
//! then, the history last: so what writers, the archiver and the discarder do meanwhile is never taken for damage.

mod report;
mod scan;

pub use report::{Example, Finding, FindingKind, Verification, VerifyOptions, VerifyProgress};

use crate::history::Warehouse;
use crate::model::error::Result;
use crate::read::reader::Reader;
use crate::stream::EventStream;

/// Looks at the event table alone.
pub(crate) fn scan_queue(reader: &Reader, options: &VerifyOptions) -> Result<Verification> {
    scan::run(reader, None, options, |_| true)
}

impl EventStream {
    /// Accounts for every id between two points (by default all): its event is in the event table, in the history, in
    /// both and equal; or it was discarded, never committed, or is not settled yet; or something is wrong, which is a
    /// [`Finding`]. Without a warehouse only the event table and the cursors are looked at.
    ///
    /// It reads both tables once, in chunks, on one connection of each pool, writes nothing, and may run while others
    /// write, archive and discard. Memory is bounded by two chunks (`max_chunk_bytes`). 10,000,000 events take minutes.
    /// May be called from any thread.
    ///
    /// ```
    /// use futoin_eventstream::{Archiver, EventStream, Options, VerifyOptions, Warehouse};
    /// # fn main() -> Result<(), futoin_eventstream::Error> {
    /// let stream = EventStream::open("sqlite::memory:")?;
    /// let warehouse = Warehouse::open("sqlite::memory:")?;
    /// stream.migrate()?;
    /// warehouse.migrate()?;
    /// stream.add_event("USR_ADD", &"Ann")?;
    /// Archiver::new(&stream, &warehouse, &Options::new())?.run_once()?;
    /// let report = stream.verify(Some(&warehouse), &VerifyOptions::new())?;
    /// assert_eq!(report.in_both, 1);
    /// assert!(report.is_clean(), "{:?}", report.findings);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `UnsafeServer`, `NotMigrated`, `PermissionDenied`, and those of both databases. What is wrong with the events is
    /// no error, but a finding.
    pub fn verify(
        &self,
        warehouse: Option<&Warehouse>,
        options: &VerifyOptions,
    ) -> Result<Verification> {
        self.verify_while(warehouse, options, |_| true)
    }

    /// As [`verify`](Self::verify), telling `go_on` after each chunk how far it is, as long as that says `true`. After
    /// `false` the report is that of what was looked at, [`complete`](Verification::complete) is `false`, and another
    /// call goes on from [`last`](Verification::last) plus 1.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_while(
        &self,
        warehouse: Option<&Warehouse>,
        options: &VerifyOptions,
        go_on: impl FnMut(VerifyProgress) -> bool,
    ) -> Result<Verification> {
        scan::run(self.reader(), warehouse, options, go_on)
    }
}
