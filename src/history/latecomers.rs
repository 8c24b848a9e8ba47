//! The archiver's look for events that appeared below those it has copied.

use super::HistoryNotice;
use super::archiver::core::Core;
use crate::backend::ReadRange;
use crate::backend::verify::Place;
use crate::model::error::Result;
use crate::model::event::{Event, EventId};
use crate::model::ident::Want;
use crate::read::late::{LateWindow, WINDOW, late_error};
use std::time::{Duration, Instant};

/// How often it looks. One look reads the ids of at most [`WINDOW`] events, by the primary key.
const LOOK: Duration = Duration::from_secs(2);

/// What it knows of the newest events that are in the history.
pub(super) struct Latecomers {
    window: Option<LateWindow>,
    looked: Instant,
}

impl Latecomers {
    pub fn new() -> Self {
        Latecomers { window: None, looked: Instant::now() }
    }

    /// Everything is to be asked again.
    pub fn forget(&mut self) {
        self.window = None;
    }

    /// Events were put into the history, or passed over: all that there is up to `done`.
    pub fn stored(&mut self, ids: impl Iterator<Item = EventId>, done: EventId) {
        if let Some(window) = &mut self.window {
            window.extend(ids, done);
        }
    }

    /// Looks, if it is time to: copies what is late, and tells of it. `after` is the last id that is
    /// in the history.
    pub fn look_sometimes(&mut self, core: &Core, after: EventId) -> Result<()> {
        if self.window.is_some() && self.looked.elapsed() < LOOK {
            return Ok(());
        }
        self.look(core, after)
    }

    /// As [`look_sometimes`](Self::look_sometimes), at once.
    pub fn look(&mut self, core: &Core, after: EventId) -> Result<()> {
        self.looked = Instant::now();
        let window = match &mut self.window {
            Some(window) => window,
            None => self.window.insert(begin(core, after)?),
        };
        let start = window.start();
        let pool = core.reader.pool()?;
        let present = pool.with_retry(|c| c.ids(Place::Queue, start, WINDOW as usize))?;
        let late = window.late(&present);
        if late.is_empty() {
            return Ok(());
        }
        let copied = copy(core, &late);
        if copied.is_err() {
            window.forget(&late);
        }
        let copied = copied?;
        if !copied.is_empty() {
            let consequence = "The archiver has copied them to the history. Consumers that had \
                               passed over them will not get them";
            core.notices.report(HistoryNotice::WorkerError(late_error(&copied, consequence)));
        }
        Ok(())
    }
}

/// What is in the history below `after`. A history that begins later, because the older one was moved
/// away, lacks nothing before its beginning.
fn begin(core: &Core, after: EventId) -> Result<LateWindow> {
    let pool = core.warehouse.pool()?;
    let start = after.saturating_sub(WINDOW);
    let (first, known) = pool.with_retry(|connection| {
        let first = connection.ids(Place::History, 0, 1)?.first().copied();
        Ok((first, connection.ids(Place::History, start, WINDOW as usize)?))
    })?;
    let floor = first.map_or(after, |first| start.max(first - 1)).min(after);
    Ok(LateWindow::new(floor, after, known.into_iter().filter(|id| *id <= after)))
}

/// Copies these events to the history, where they can be read; gives the ids of those.
fn copy(core: &Core, ids: &[EventId]) -> Result<Vec<EventId>> {
    let pool = core.reader.pool()?;
    let mut events: Vec<Event> = Vec::new();
    for id in ids {
        let want = Want::all();
        let range = ReadRange {
            after: id - 1,
            up_to: *id,
            want: &want,
            limit: 1,
            max_bytes: usize::MAX,
            check_json: false,
            anchored: false,
        };
        match pool.with_retry(|connection| connection.read(&range)) {
            // Somebody has decided that the history is to lack it.
            Err(error) if error.unreadable().is_some() => {}
            batch => events.extend(batch?.events),
        }
    }
    let mut rest = &events[..];
    while !rest.is_empty() {
        rest = &rest[core.store(rest)?..];
    }
    Ok(events.iter().map(|event| event.id).collect())
}
