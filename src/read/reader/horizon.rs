//! How far the stream is settled, as far as it is known, or after a look at the server.

use super::Reader;
use crate::backend::{Connection, HolderInfo, Settled, Watch};
use crate::model::error::{ErrorKind, Result, fail};
use crate::model::event::EventId;
use crate::sync::lock::lock;
use std::sync::atomic::Ordering;

impl Reader {
    /// Looks at the server, through the session that watches the event table, how far the ids
    /// after `position` are settled.
    pub fn settle(&self, position: EventId) -> Result<Settled> {
        let doubts = self.doubts.load(Ordering::Acquire);
        self.watching(|watch| {
            let look = watch.settle(position)?;
            let mut settled = lock(&self.settled);
            if self.doubts.load(Ordering::Acquire) == doubts {
                settled.add(look.after, look.horizon);
            }
            Ok(look)
        })
    }

    /// Runs `work` with the watching session, which is opened when it is first needed, and again
    /// after it broke or there was another doubt.
    pub(super) fn watching<T>(&self, work: impl Fn(&mut Watch) -> Result<T>) -> Result<T> {
        for _ in 0..2 {
            let mut slot = lock(&self.watch);
            let doubts = self.doubts.load(Ordering::Acquire);
            let (_, watch) = match &mut *slot {
                Some(opened) if opened.0 == doubts => opened,
                _ => slot.insert((doubts, Watch::open(self.pool()?.backend())?)),
            };
            match work(watch) {
                Err(error) if error.ends_connection() => {
                    *slot = None;
                    drop(slot);
                    self.doubt(false);
                    // Waited for long enough: only what broke at once is tried again.
                    if error.kind() != ErrorKind::ConnectionLost {
                        return Err(error);
                    }
                }
                result => return result,
            }
        }
        fail!(ConnectionLost, "the connection broke twice while looking for settled events")
    }

    /// How far a reader at `position` may read on, as far as is known without a look.
    pub(super) fn settled_from(&self, position: EventId) -> EventId {
        self.doubts();
        lock(&self.settled).upto_from(position)
    }

    /// Where a LIVE consumer begins that gets what comes from now on: behind the last settled id, so
    /// that it gets the events of transactions that are open now, and with them those that were
    /// committed behind the first of these. Ids that are far below the highest one are not looked at.
    pub fn live_start(&self, connection: &mut Connection) -> Result<EventId> {
        const FAR: EventId = 10_000;
        let highest = connection.highest_allocated()?;
        Ok(self.look(highest.saturating_sub(FAR))?.0.horizon.min(highest))
    }

    /// How far the stream is settled by now, from `from` on, and who holds it up.
    pub fn look(&self, from: EventId) -> Result<(Settled, Vec<HolderInfo>)> {
        let mut look = self.settle(self.settled_from(from))?;
        while look.more {
            let before = look.horizon;
            look = self.settle(before)?;
            if look.horizon == before {
                break;
            }
        }
        let holders =
            if look.visible > look.horizon { self.watching(Watch::holders)? } else { Vec::new() };
        Ok((look, holders))
    }
}
