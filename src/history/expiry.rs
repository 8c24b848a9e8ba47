//! Which consumers were not seen for long, whatever the clocks do.
//!
//! When a consumer was last seen is written by the clock of the database. If that jumps forward (a machine that was
//! asleep, a clock that was set), everybody looks unseen at once. So the age of what was seen before grows by the
//! monotonic clock of this process alone, and what a consumer's row says is believed only at first sight, where the
//! two wall clocks agree and at least one consumer was seen lately.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The two wall clocks, in seconds since 1970, and what the consumer table says.
pub(super) struct Look {
    pub database: i64,
    pub client: i64,
    /// Idents, and when they were last seen by the database's clock.
    pub rows: Vec<(String, i64)>,
}

/// What is remembered between looks.
#[derive(Default)]
pub(super) struct Expiry {
    before: Option<Instant>,
    known: HashMap<String, Known>,
}

struct Known {
    seen: i64,
    /// Its age at the look that found it changed, and when that was.
    age: Duration,
    at: Instant,
}

/// What a look taught.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// Who was not seen for longer than the limit.
    pub idents: Vec<String>,
    /// Why the ages in the table are not believed.
    pub doubt: Option<String>,
}

impl Expiry {
    pub fn look(&mut self, now: Instant, look: &Look, limit: Duration) -> Due {
        let since = self.before.replace(now).map(|before| now.saturating_duration_since(before));
        let doubt = if since.is_none() { doubt(look, limit) } else { None };
        let table = |seen: i64| Duration::from_secs((look.database - seen).max(0).unsigned_abs());
        let mut known = HashMap::new();
        let mut idents = Vec::new();
        for (ident, seen) in &look.rows {
            let (age, at) = match (self.known.remove(ident), since) {
                (Some(old), _) if old.seen == *seen => (old.age, old.at),
                // It was seen since the last look.
                (_, Some(since)) => (table(*seen).min(since), now),
                (_, None) if doubt.is_some() => (Duration::ZERO, now),
                (_, None) => (table(*seen), now),
            };
            if age + now.saturating_duration_since(at) > limit {
                idents.push(ident.clone());
            }
            known.insert(ident.clone(), Known { seen: *seen, age, at });
        }
        self.known = known;
        Due { idents, doubt }
    }
}

/// Why the clock of the database cannot be believed.
fn doubt(look: &Look, limit: Duration) -> Option<String> {
    let limit_s = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
    let stale = |seen: i64| look.database - seen > limit_s;
    if !look.rows.iter().any(|(_, seen)| stale(*seen)) {
        return None;
    }
    let (skew, most) = ((look.database - look.client).abs(), (limit_s / 10).clamp(30, 300));
    let why = if skew > most {
        format!("the clock of the database differs by {skew} s from the one here")
    } else if look.rows.iter().all(|(_, seen)| stale(*seen)) {
        "no consumer at all was seen for so long, as after a jump of the clock".to_owned()
    } else {
        return None;
    };
    Some(format!("{why}: nobody is unregistered before {limit_s} s have passed here, too"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(3600);
    const DAY: i64 = 86_400;

    fn look(clock: i64, rows: &[(&str, i64)]) -> Look {
        let rows = rows.iter().map(|(ident, seen)| ((*ident).to_owned(), *seen)).collect();
        Look { database: clock, client: clock, rows }
    }

    fn due(expiry: &mut Expiry, now: Instant, look: &Look) -> Vec<String> {
        expiry.look(now, look, LIMIT).idents
    }

    #[test]
    fn who_is_away_is_due_at_first_sight() {
        let mut expiry = Expiry::default();
        let rows = [("dead", 100_000 - 3601), ("slow", 100_000 - 3600), ("alive", 99_999)];
        let found = expiry.look(Instant::now(), &look(100_000, &rows), LIMIT);
        assert_eq!(found, Due { idents: vec!["dead".to_owned()], doubt: None });
    }

    #[test]
    fn a_jump_of_the_clock_makes_nobody_due() {
        let (mut expiry, start) = (Expiry::default(), Instant::now());
        let rows = [("a", 99_990), ("b", 99_000)];
        assert!(due(&mut expiry, start, &look(100_000, &rows)).is_empty());
        // One of them comes again, by the new clock; the other one is at work for an hour.
        let rows = [("a", 100_000 + DAY), ("b", 99_000)];
        let later = |minutes: u64| start + Duration::from_secs(minutes * 60);
        let at = |minutes: i64| 100_000 + DAY + minutes * 60;
        assert!(due(&mut expiry, later(1), &look(at(1), &rows)).is_empty());
        assert!(due(&mut expiry, later(40), &look(at(40), &rows)).is_empty());
        // Its 1000 s at first sight, and what has passed since.
        assert_eq!(due(&mut expiry, later(44), &look(at(44), &rows)), ["b"]);
    }

    #[test]
    fn after_a_jump_before_the_first_look_the_own_clock_counts() {
        let (mut expiry, start) = (Expiry::default(), Instant::now());
        let rows = [("a", 100_000), ("b", 100_010)];
        let jumped = look(100_000 + DAY, &rows);
        let found = expiry.look(start, &jumped, LIMIT);
        assert!(found.idents.is_empty() && found.doubt.unwrap().contains("no consumer at all"));
        assert!(due(&mut expiry, start + LIMIT / 2, &jumped).is_empty());
        let end = start + LIMIT + Duration::from_secs(1);
        assert_eq!(due(&mut expiry, end, &jumped), ["a", "b"]);
    }

    #[test]
    fn clocks_that_disagree_are_not_believed() {
        let mut expiry = Expiry::default();
        let rows = [("dead", 100_000), ("alive", 100_000 + DAY)];
        let jumped = Look { client: 100_020, ..look(100_000 + DAY, &rows) };
        let found = expiry.look(Instant::now(), &jumped, LIMIT);
        assert!(found.idents.is_empty() && found.doubt.unwrap().contains("differs by 86380 s"));
    }

    #[test]
    fn a_clock_that_goes_back_makes_nobody_due() {
        let (mut expiry, start) = (Expiry::default(), Instant::now());
        let rows = [("a", 100_000 + DAY), ("b", 100_000)];
        assert!(due(&mut expiry, start, &look(100_001, &rows)).is_empty());
        let next = start + Duration::from_secs(60);
        assert!(due(&mut expiry, next, &look(100_061, &rows)).is_empty());
    }

    #[test]
    fn who_was_registered_since_is_no_older_than_that() {
        let (mut expiry, start) = (Expiry::default(), Instant::now());
        assert!(due(&mut expiry, start, &look(100_000, &[("a", 99_999)])).is_empty());
        let rows = [("a", 100_050), ("new", 100_000 - DAY)];
        let next = start + Duration::from_secs(60);
        assert!(due(&mut expiry, next, &look(100_060, &rows)).is_empty());
    }
}
