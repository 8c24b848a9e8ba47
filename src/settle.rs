//! The settled horizon: which ids can no longer appear.
//!
//! Ids are allocated when a row is inserted and seen when its transaction commits. Whoever can still
//! make an id appear *holds* something on the event table that the server shows, from before the
//! id is allocated until the transaction ends. So at each **look**, in this order,
//!
//! 1. read `allocated`, the highest id allocated so far;
//! 2. list the holders;
//!
//! and an id up to `allocated` is settled once every holder that was there when it may have been allocated
//! is gone. A holder that appears between two looks was not there when the earlier look listed the
//! holders, so it cannot draw an id up to the `allocated` that the earlier look read before: that is
//! its **floor**. The horizon is the lowest of `allocated` and the floors of those still there. It
//! advances while new transactions keep coming, and needs no clock.
//!
//! This module is that rule alone: no SQL, no time, no input or output.

use crate::model::event::EventId;
use std::collections::{HashMap, VecDeque};

/// Who may still make an id appear, as a look at the server names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Holder {
    /// What identifies this holding, and no later one of the same connection.
    pub key: String,
    /// Whether it may be the continuation of another holder under a new name: a prepared
    /// transaction takes over the locks of the one that prepared it.
    pub heir: bool,
}

/// The state between looks. It is derived: losing it costs only more looks.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    /// For each holder: no id up to this can come from it.
    floors: HashMap<Holder, EventId>,
    /// What the look before read as `allocated`; 0 before the first.
    allocated_before: EventId,
}

impl Tracker {
    /// What the look before read as `allocated`.
    pub fn allocated_before(&self) -> EventId {
        self.allocated_before
    }

    /// Takes one look and gives the horizon: every id up to it is settled.
    ///
    /// `allocated` must have been read before `holders` were listed.
    pub fn look(&mut self, allocated: EventId, holders: Vec<Holder>) -> EventId {
        if allocated < self.allocated_before {
            // Ids went backwards: another database stands behind the same name now.
            *self = Tracker::default();
        }
        // An heir inherits from non-heirs only. Otherwise a floor could pass from heir to heir for
        // ever.
        let inherited = self
            .floors
            .iter()
            .filter(|(holder, _)| !holder.heir)
            .map(|(_, floor)| *floor)
            .fold(self.allocated_before, EventId::min);
        let floors: HashMap<Holder, EventId> = holders
            .into_iter()
            .map(|holder| {
                let new = if holder.heir { inherited } else { self.allocated_before };
                let floor = self.floors.get(&holder).copied().unwrap_or(new);
                (holder, floor)
            })
            .collect();
        self.floors = floors;
        self.allocated_before = allocated;
        self.floors.values().copied().fold(allocated, EventId::min)
    }
}

/// The same rule where the server tells how old a holding is, instead of a name for it.
///
/// All times are milliseconds of one clock, the server's. A holder that began after an earlier
/// look was not there when that look had read `allocated`, so that is its floor.
#[derive(Debug, Default)]
pub(crate) struct AgeTracker {
    /// Past looks that may still be a floor: when, and what was allocated.
    looks: VecDeque<(i64, EventId)>,
}

impl AgeTracker {
    /// Takes one look and gives the horizon.
    ///
    /// `allocated` was read before the look; at `now` (or up to `slack` ms around it) there were
    /// holders that `began` then.
    pub fn look(&mut self, allocated: EventId, now: i64, slack: i64, began: &[i64]) -> EventId {
        let Some(oldest) = began.iter().min() else {
            self.looks.clear();
            self.looks.push_back((now, allocated));
            return allocated;
        };
        // The oldest holder has the lowest floor; looks before its floor are needed no more.
        let before = self.looks.iter().take_while(|(when, _)| when + slack < *oldest).count();
        let floor = before.checked_sub(1).map_or(0, |index| self.looks[index].1);
        self.looks.drain(..before.saturating_sub(1));
        if self.looks.len() >= MAX_LOOKS {
            // Coarser, never wrong: fewer floors to choose from.
            let mut index = 0;
            self.looks.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
        self.looks.push_back((now, allocated));
        floor.min(allocated)
    }
}

/// Bounds the memory of an [`AgeTracker`] while one holder stays.
const MAX_LOOKS: usize = 1024;

/// What looks have taught: ranges of ids that are settled.
///
/// Readers stand anywhere (a LIVE consumer now, one that skipped ahead in the middle, one that
/// begins), so what one of them has learnt holds only for those that stand in the range, too.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    /// Every id above the first, up to the second, is settled. They do not touch; that of the
    /// latest look is the last one.
    known: Vec<(EventId, EventId)>,
}

/// Up to this many readers at distant positions keep a span of their own.
const MAX_SPANS: usize = 16;

impl Spans {
    /// Adds that every id above `after`, up to `up_to`, is settled.
    pub fn add(&mut self, mut after: EventId, mut up_to: EventId) {
        if up_to <= after {
            // Nothing was learnt: no reason to forget something.
            return;
        }
        self.known.retain(|known| {
            let apart = known.1 < after || up_to < known.0;
            if !apart {
                (after, up_to) = (after.min(known.0), up_to.max(known.1));
            }
            apart
        });
        if self.known.len() >= MAX_SPANS {
            self.known.remove(0);
        }
        self.known.push((after, up_to));
    }

    /// The highest settled id for a reader at `position`.
    pub fn upto_from(&self, position: EventId) -> EventId {
        let around = self.known.iter().find(|(after, up_to)| (*after..=*up_to).contains(&position));
        around.map_or(position, |(_, up_to)| *up_to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn holders(keys: &[&str]) -> Vec<Holder> {
        keys.iter()
            .map(|key| Holder { key: (*key).to_owned(), heir: key.starts_with('-') })
            .collect()
    }

    #[test]
    fn nobody_there_settles_all_that_was_allocated() {
        assert_eq!(Tracker::default().look(7, vec![]), 7);
    }

    #[test]
    fn a_holder_of_unknown_age_settles_nothing() {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.look(7, holders(&["a"])), 0);
        assert_eq!(tracker.look(9, holders(&["a"])), 0);
        assert_eq!(tracker.look(9, holders(&[])), 9);
    }

    #[test]
    fn the_horizon_advances_while_new_holders_keep_coming() {
        let mut tracker = Tracker::default();
        tracker.look(5, holders(&["a"]));
        assert_eq!(tracker.look(8, holders(&["b"])), 5);
        assert_eq!(tracker.look(12, holders(&["c"])), 8);
    }

    #[test]
    fn a_prepared_transaction_inherits_the_floor_of_the_one_that_vanished() {
        let mut tracker = Tracker::default();
        tracker.look(3, vec![]);
        assert_eq!(tracker.look(5, holders(&["a"])), 3);
        assert_eq!(tracker.look(9, holders(&["-1/7"])), 3);
        assert_eq!(tracker.look(20, holders(&["-1/7"])), 3);
        assert_eq!(tracker.look(20, holders(&[])), 20);
    }

    #[test]
    fn prepared_transactions_that_keep_coming_do_not_hold_the_horizon() {
        let mut tracker = Tracker::default();
        let mut horizon = 0;
        for number in 1..10 {
            let key = format!("-1/{number}");
            horizon = tracker.look(number * 10, holders(&[key.as_str()]));
        }
        assert_eq!(horizon, 80);
    }

    #[test]
    fn ids_that_go_backwards_start_anew() {
        let mut tracker = Tracker::default();
        tracker.look(100, vec![]);
        assert_eq!(tracker.look(70, holders(&["a"])), 0);
    }

    #[test]
    fn by_age_a_holder_does_not_hold_what_was_allocated_before_it_began() {
        let mut tracker = AgeTracker::default();
        assert_eq!(tracker.look(5, 100, 2, &[50]), 0);
        assert_eq!(tracker.look(9, 200, 2, &[110, 120]), 5);
        assert_eq!(tracker.look(12, 300, 2, &[201]), 5);
        assert_eq!(tracker.look(12, 400, 2, &[]), 12);
    }

    #[test]
    fn by_age_memory_stays_bounded_while_one_holder_stays() {
        let mut tracker = AgeTracker::default();
        for look in 0..10_000 {
            tracker.look(look as EventId, look, 0, &[0]);
            assert!(tracker.looks.len() <= MAX_LOOKS);
        }
    }

    #[test]
    fn what_is_settled_behind_a_reader_is_not_taken_for_settled() {
        // A LIVE consumer at 100 learnt of (100, 120]; one at 50 must not jump over 51 to 100.
        let mut spans = Spans::default();
        spans.add(100, 120);
        assert_eq!([50, 100, 110, 130].map(|at| spans.upto_from(at)), [50, 120, 120, 130]);
        spans.add(40, 100);
        assert_eq!(spans.upto_from(50), 120);
    }

    #[test]
    fn a_reader_that_lags_behind_keeps_what_it_learnt_beside_one_that_does_not() {
        let mut spans = Spans::default();
        spans.add(1000, 1020);
        spans.add(10, 30);
        spans.add(30, 50);
        spans.add(1015, 1040);
        assert_eq!([10, 1000, 51].map(|at| spans.upto_from(at)), [50, 1040, 51]);
    }

    #[test]
    fn many_readers_that_stand_apart_need_bounded_memory() {
        let mut spans = Spans::default();
        (0..1000).for_each(|n| spans.add(n * 10, n * 10 + 5));
        assert_eq!(spans.known.len(), MAX_SPANS);
        assert_eq!(spans.upto_from(9990), 9995);
        (0..1000).for_each(|n| spans.add(20_000 + n, 20_000 + n));
        assert_eq!(spans.upto_from(9990), 9995, "looks that taught nothing pushed it out");
    }

    /// One step of a random history of transactions and looks.
    #[derive(Clone, Debug)]
    enum Step {
        Begin,
        Draw(usize),
        End(usize, bool),
        Prepare(usize),
        ReadDrawn,
        ListHolders,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Begin),
            5 => (0usize..8).prop_map(Step::Draw),
            4 => (0usize..8, any::<bool>()).prop_map(|(who, commit)| Step::End(who, commit)),
            1 => (0usize..8).prop_map(Step::Prepare),
            3 => Just(Step::ReadDrawn),
            3 => Just(Step::ListHolders),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// The model: open transactions hold, ids appear at commit. Whatever the horizon says is
        /// settled never appears later, and once all is quiet everything is settled.
        #[test]
        fn no_settled_id_ever_appears(steps in proptest::collection::vec(step(), 1..200)) {
            let mut tracker = Tracker::default();
            let mut open: BTreeMap<String, Vec<EventId>> = BTreeMap::new();
            let (mut serial, mut allocated, mut noted) = (0u64, 0, None);
            let (mut horizon, mut gone) = (0, BTreeSet::new());
            let nth = |open: &BTreeMap<String, Vec<EventId>>, n: usize| open.keys().nth(n).cloned();
            for step in steps {
                match step {
                    Step::Begin => {
                        serial += 1;
                        open.insert(format!("{serial:04}"), vec![]);
                    }
                    Step::Draw(who) => if let Some(key) = nth(&open, who) && !key.starts_with('-') {
                        allocated += 1;
                        open.get_mut(&key).unwrap().push(allocated);
                    },
                    Step::End(who, commit) => if let Some(key) = nth(&open, who) {
                        for id in open.remove(&key).unwrap() {
                            prop_assert!(!commit || id > horizon, "{id} came after {horizon}");
                            gone.insert(id);
                        }
                    },
                    Step::Prepare(who) => if let Some(key) = nth(&open, who) && !key.starts_with('-') {
                        let ids = open.remove(&key).unwrap();
                        open.insert(format!("-1/{key}"), ids);
                    },
                    Step::ReadDrawn => noted = Some(allocated),
                    Step::ListHolders => if let Some(allocated) = noted.take() {
                        let keys: Vec<&str> = open.keys().map(String::as_str).collect();
                        horizon = horizon.max(tracker.look(allocated, holders(&keys)));
                    },
                }
            }
            prop_assert_eq!(tracker.look(allocated, vec![]), allocated);
        }

        /// The same model by ages: looks at whole milliseconds, which may be off by the slack.
        #[test]
        fn no_id_settled_by_age_ever_appears(
            steps in proptest::collection::vec((step(), 0i64..3, 0i64..3), 1..200),
        ) {
            let mut tracker = AgeTracker::default();
            let mut open: Vec<(i64, Vec<EventId>)> = Vec::new();
            let (mut clock, mut allocated, mut horizon, mut noted) = (0, 0, 0, None);
            for (step, tick, error) in steps {
                clock += tick;
                match step {
                    Step::Begin => open.push((clock, vec![])),
                    Step::Draw(who) => if let Some((_, ids)) = open.get_mut(who) {
                        allocated += 1;
                        ids.push(allocated);
                    },
                    Step::End(who, commit) => if who < open.len() {
                        for id in open.remove(who).1 {
                            prop_assert!(!commit || id > horizon, "{id} came after {horizon}");
                        }
                    },
                    Step::Prepare(_) => {},
                    Step::ReadDrawn => noted = Some(allocated),
                    Step::ListHolders => if let Some(allocated) = noted.take() {
                        let began: Vec<i64> = open.iter().map(|(at, _)| at + error).collect();
                        horizon = horizon.max(tracker.look(allocated, clock, 3, &began));
                    },
                }
            }
            prop_assert_eq!(tracker.look(allocated, clock, 3, &[]), allocated);
        }
    }
}
