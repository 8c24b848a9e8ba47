//! Events that appear below what was settled.

use super::Reader;
use crate::backend::Connection;
use crate::backend::verify::Place as Table;
use crate::model::error::Result;
use crate::model::event::EventId;
use crate::read::late::{LateWindow, WINDOW};
use crate::sync::lock::lock;

impl Reader {
    /// Which events have appeared, since an earlier call, below what was settled then: among the
    /// newest settled ids, after `from` and up to `horizon`. All that were found by this handle, a
    /// thousand at most.
    pub fn latecomers(
        &self,
        connection: &mut Connection,
        from: EventId,
        horizon: EventId,
    ) -> Result<Vec<EventId>> {
        const MOST: usize = 1000;
        let mut slot = lock(&self.late);
        let (window, found) = &mut *slot;
        let start = horizon.saturating_sub(WINDOW).max(from);
        if let Some(known) = window.take_if(|known| known.up_to() <= horizon) {
            let mut known = known;
            let present = connection.ids(Table::Queue, known.start(), WINDOW as usize)?;
            found.extend(known.late(&present));
            found.sort_unstable();
            found.truncate(MOST);
        }
        let present = connection.ids(Table::Queue, start, WINDOW as usize)?;
        let present = present.into_iter().filter(|id| *id <= horizon);
        *window = Some(LateWindow::new(start, horizon, present));
        Ok(found.clone())
    }
}
