//! Events that appear below ids that were settled before, because their ids were allocated, or given, before
//! their INSERT. No look at the server can foresee them, but afterwards they show: a window of the newest
//! settled ids is compared with what was known of it.

use crate::model::error::{Error, ErrorKind};
use crate::model::event::EventId;
use std::collections::VecDeque;

/// Late events are looked for among so many ids below the newest settled one.
pub(crate) const WINDOW: EventId = 10_000;

/// The newest settled ids that have events.
pub(crate) struct LateWindow {
    /// Nothing is known of ids up to this.
    floor: EventId,
    /// Every event up to this is known, but for late ones.
    up_to: EventId,
    known: VecDeque<EventId>,
}

impl LateWindow {
    /// Knows the events in `(floor, up_to]`, which are `known`, in order.
    pub fn new(floor: EventId, up_to: EventId, known: impl IntoIterator<Item = EventId>) -> Self {
        let mut window = LateWindow { floor, up_to, known: known.into_iter().collect() };
        window.prune();
        window
    }

    /// The ids to compare are those after this, of which there are at most [`WINDOW`].
    pub fn start(&self) -> EventId {
        self.floor.max(self.up_to.saturating_sub(WINDOW))
    }

    pub fn up_to(&self) -> EventId {
        self.up_to
    }

    /// These events follow, in order; there is no other one up to `up_to`.
    pub fn extend(&mut self, ids: impl IntoIterator<Item = EventId>, up_to: EventId) {
        self.known.extend(ids);
        self.up_to = self.up_to.max(up_to);
        self.prune();
    }

    /// Which of `present`, the ids after [`start`](Self::start) that are there now, in order, are
    /// late. They are known from now on.
    pub fn late(&mut self, present: &[EventId]) -> Vec<EventId> {
        let start = self.start();
        let known = self.known.make_contiguous();
        let late: Vec<EventId> = present
            .iter()
            .copied()
            .filter(|id| (start + 1..=self.up_to).contains(id) && known.binary_search(id).is_err())
            .collect();
        for id in &late {
            let (Ok(at) | Err(at)) = self.known.binary_search(id);
            self.known.insert(at, *id);
        }
        late
    }

    /// These could not be dealt with: they are to be found again.
    pub fn forget(&mut self, ids: &[EventId]) {
        self.known.retain(|id| !ids.contains(id));
    }

    fn prune(&mut self) {
        let start = self.start();
        while self.known.front().is_some_and(|id| *id <= start) {
            self.known.pop_front();
        }
    }
}

/// The error that names late events.
pub(crate) fn late_error(ids: &[EventId], consequence: &str) -> Error {
    const SHOWN: usize = 20;
    let shown: Vec<String> = ids.iter().take(SHOWN).map(EventId::to_string).collect();
    let more = match ids.len() {
        0..=SHOWN => String::new(),
        count => format!(" and {} others", count - SHOWN),
    };
    Error::new(
        ErrorKind::LateEvent,
        format!(
            "events appeared below ids that were settled before: {}{more}. Their ids were allocated, or \
             given, before their INSERT: leave the id out, so that the database draws it; with the \
             option strict_ids, migrate() makes it refuse others. {consequence}",
            shown.join(", ")
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn an_event_is_late_once_and_only_within_the_window() {
        let mut window = LateWindow::new(0, 4, [1, 2, 4]);
        assert!(window.late(&[1, 2, 4, 5]).is_empty());
        assert_eq!(window.late(&[1, 2, 3, 4]), [3]);
        assert!(window.late(&[1, 2, 3, 4]).is_empty());
        window.forget(&[3]);
        assert_eq!(window.late(&[2, 3]), [3]);
        window.extend([5, 7], 9);
        assert_eq!(window.late(&[5, 6, 7, 9, 10]), [6, 9]);
        window.extend([20_000], 20_000);
        assert_eq!(window.start(), 10_000);
        assert_eq!(window.late(&[8, 10_000, 10_001, 20_000]), [10_001]);
        assert!(window.known.len() < 4);
        assert_eq!(LateWindow::new(5, 9, [7]).late(&[1, 5, 6, 7]), [6]);
    }

    proptest! {
        #[test]
        fn what_was_not_known_is_late_and_nothing_else(
            known in proptest::collection::btree_set(1u64..60, 0..40),
            present in proptest::collection::btree_set(1u64..80, 0..60),
        ) {
            let mut window = LateWindow::new(0, 60, known.iter().copied());
            let sorted: Vec<u64> = present.iter().copied().collect();
            let late: BTreeSet<u64> = window.late(&sorted).into_iter().collect();
            let expected: BTreeSet<u64> =
                present.difference(&known).copied().filter(|id| *id <= 60).collect();
            prop_assert_eq!(late, expected);
            prop_assert_eq!(window.late(&sorted), Vec::<u64>::new());
        }
    }
}
