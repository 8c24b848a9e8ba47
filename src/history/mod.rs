//! The history: the [`warehouse`] that keeps all events, the [`archiver`] that copies them there,
//! the [`discarder`] that then shortens the event table, and the [`replay`] that reads both as one
//! stream.

mod archiver;
mod discarder;
mod expiry;
mod latecomers;
mod replay;
mod same;
mod warehouse;

pub use archiver::Archiver;
pub use discarder::Discarder;
pub use replay::Replay;
pub(crate) use same::same_json;
pub use warehouse::Warehouse;

use crate::model::error::{Error, Result};
use crate::model::ident::{Component, INTERNAL_USER, Ident};
use crate::sync::runner::Notices;

/// The component of the archiver, of the user [`INTERNAL_USER`].
const ARCHIVER: &str = "ARCHIVER";

/// `-internal:ARCHIVER`.
pub(crate) fn archiver_ident() -> Result<Ident> {
    Ident::new(INTERNAL_USER, &Component::new(ARCHIVER)?)
}

/// What an [`Archiver`] or a [`Discarder`] tells about its work, from its own thread.
///
/// ```
/// use futoin_eventstream::{Archiver, EventStream, HistoryNotice, Options, Warehouse};
/// # fn main() -> Result<(), futoin_eventstream::Error> {
/// # let (stream, warehouse) = (EventStream::open("sqlite::memory:")?, Warehouse::open("sqlite::memory:")?);
/// let archiver = Archiver::new(&stream, &warehouse, &Options::new())?;
/// archiver.on_notice(|notice| match notice {
///     HistoryNotice::ProcessedEvents(count) => println!("{count} events more in the history"),
///     HistoryNotice::WorkerError(error) | HistoryNotice::ReceiverError(error) => {
///         eprintln!("it will be tried again: {error}")
///     }
///     _ => {}
/// });
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum HistoryNotice {
    /// The archiver has read this many events, and writes them to the history now.
    NewEvents(usize),
    /// This many events are in the history and acknowledged.
    ProcessedEvents(usize),
    /// This many events were deleted from the event table.
    Discarded(u64),
    /// The consumer of this ident was not seen for `expire_after_s`, and was unregistered.
    Expired(String),
    /// It does nothing for now, for this reason. Told once, until it works again.
    Waiting(String),
    /// The library, or the database of the stream, failed; it will be tried again. Of kind
    /// [`LateEvent`](crate::ErrorKind::LateEvent): the archiver has found, and copied, events below
    /// those it had copied before, and goes on.
    WorkerError(Error),
    /// The warehouse failed; it will be tried again.
    ReceiverError(Error),
    /// It has ended: by `stop`, or by an error that trying again cannot help.
    Stopped(Option<Error>),
}

impl Notices<HistoryNotice> {
    /// Logs what is wrong, and calls back.
    fn report(&self, notice: HistoryNotice) {
        match &notice {
            HistoryNotice::WorkerError(error) | HistoryNotice::ReceiverError(error) => {
                log::warn!("futoin-eventstream: {error}");
            }
            HistoryNotice::Stopped(Some(error)) => log::error!("futoin-eventstream: {error}"),
            _ => {}
        }
        self.tell(&notice);
    }
}
