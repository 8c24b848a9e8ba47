//! When the stream was rewound: a restore, a failover that lost commits, a table made anew. Whoever
//! reads stands in the life before then, and its position there means nothing.
//!
//! After every break of a connection, and whenever something looks different, each consumer is
//! *verified* before its cursor is written again:
//!
//! - The stored cursor counts. What was given or acknowledged behind it holds only if the last event
//!   that was given is still the same one.
//! - What was given, and where the cursor was moved to, since the server was last asked for its life may
//!   be of two lives. So the last event of each delivery since then must be the same one, too.
//! - The stored cursor itself is set back if it stands above the highest id allocated, or if the event
//!   that was there is another one, or is gone although it was not discarded: discarding begins with
//!   the oldest, so that nothing below it would be there.
//!
//! A repeat is allowed, a hole is not: where nothing can be proven, reading begins earlier.

use crate::backend::{Connection, ReadRange};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::{EventId, MAX_EVENT_ID};
use crate::model::ident::{Ident, Want};
use crate::model::life::{Anchor, Life, Mark, Position};
use std::time::{Duration, Instant};

/// How often a consumer compares its last events, whatever it reads.
const COMPARE_AGAIN: Duration = Duration::from_secs(1);

/// What a reliable consumer knows of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// Where its stored cursor was when it was seen last.
    pub stored: Position,
    /// What was given.
    trail: Trail,
    /// The life that this is all about; `None` before the first look.
    pub life: Option<Life>,
    /// The doubts that were there when it was verified.
    pub seen: Option<u64>,
    /// Since when its row is missing.
    pub missed: Option<Instant>,
    /// Ids up to this were given before the stream was rewound, and up to that since then: what is
    /// between the two means nothing, and its caller does not know yet.
    before: EventId,
    since: EventId,
    /// When its last events were compared.
    compared: Option<Instant>,
}

/// The events that a consumer was given, as far as they may be of two lives.
#[derive(Clone, Debug, Default)]
struct Trail {
    /// Given before the server was last asked for its life, or where it began.
    start: Position,
    /// The last event of each delivery since then, with the number of the question before it.
    given: Vec<(Anchor, u64)>,
    /// Some of them are not here.
    thinned: bool,
    /// Where the cursor was before it was moved since then, and the number of the question before that.
    sure: EventId,
    moved: u64,
}

/// How often the server was asked for its life: what was given between two answers is of one life if
/// they are the same.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asks {
    /// Questions so far.
    pub begun: u64,
    /// The last one that was answered with the life that is known.
    pub same: u64,
}

/// Most deliveries that are remembered one by one.
const TRAIL: usize = 64;

impl Trail {
    fn last(&self) -> Option<Anchor> {
        self.given.last().map(|(anchor, _)| *anchor).or(self.start.anchor)
    }

    fn anchors(&self) -> impl Iterator<Item = Anchor> {
        self.start.anchor.into_iter().chain(self.given.iter().map(|(anchor, _)| *anchor))
    }

    fn push(&mut self, event: Anchor, asks: Asks) {
        let proven = self.given.iter().take_while(|(_, asked)| *asked < asks.same).count();
        if let Some((anchor, _)) = self.given.drain(..proven).next_back() {
            (self.start, self.thinned) = (Position { id: anchor.id, anchor: Some(anchor) }, false);
        }
        if self.given.len() >= TRAIL {
            self.given.remove(0);
            self.thinned = true;
        }
        self.given.push((event, asks.begun));
    }
}

/// What became of a consumer's position.
pub(crate) struct Verdict {
    /// The stored cursor as it is now.
    pub stored: Position,
    /// Everything up to here was given, or is behind the stored cursor.
    pub up_to: EventId,
    pub life: Life,
    /// The text of an event is another one because its column is: it has to be learnt anew.
    pub relearn: bool,
    /// The stream was rewound: what happened.
    pub rewound: Option<Error>,
}

/// What is there in the place of an event.
enum Found {
    Same,
    /// Another event, or the same one with another text.
    Other(Anchor),
    /// Nothing, and whether there is something before it.
    Gone(bool),
}

impl Standing {
    /// The last event of a delivery was given. Whether the server should be asked for its life soon.
    pub fn gave(&mut self, event: Option<Anchor>, asks: Asks) -> bool {
        if let Some(event) = event {
            self.trail.push(event, asks);
            self.since = self.since.max(event.id);
        }
        self.trail.given.len() >= TRAIL / 2
    }

    /// Whether the id was given by this process.
    pub fn has_given(&self, id: EventId) -> bool {
        self.trail.last().is_some_and(|anchor| id <= anchor.id) || id <= self.stored.id
    }

    /// What a caller acknowledges; nothing, if that is of the time before the stream was rewound.
    pub fn fresh(&self, last_id: Option<EventId>) -> Option<EventId> {
        last_id.filter(|id| *id <= self.since || *id > self.before)
    }

    /// Takes what was found out when so many doubts were there.
    pub fn adopt(&mut self, verdict: &Verdict, doubts: u64) {
        if verdict.rewound.is_some() {
            let given = self.trail.last().map_or(0, |anchor| anchor.id);
            self.before = self.before.max(given).max(self.stored.id);
            self.since = verdict.stored.id;
        }
        let begins = self.seen.is_none() || self.life.is_none();
        self.stored = verdict.stored;
        if verdict.relearn {
            self.stored.anchor = None;
        }
        if verdict.rewound.is_some() || verdict.relearn || begins {
            self.trail = Trail { start: self.stored, sure: self.stored.id, ..Trail::default() };
        }
        (self.life, self.seen, self.missed) = (Some(verdict.life), Some(doubts), None);
    }

    /// The cursor was moved, to `at` or, by somebody else, further.
    pub fn moved(&mut self, at: Position, cursor: EventId, asks: Asks) {
        if self.trail.moved < asks.same {
            self.trail.sure = self.stored.id;
        }
        if cursor > self.stored.id {
            self.trail.moved = asks.begun;
        }
        if cursor == at.id {
            self.stored = at;
        } else if cursor > self.stored.id {
            self.stored = Position::at(cursor);
        }
    }

    /// Where the cursor has to go back to because it was moved too far while the stream may have been
    /// another one; everything up to `firm` was given in this one, and more of it unless `broken`.
    fn overdone(
        &self,
        cursor: EventId,
        firm: EventId,
        broken: bool,
        changed: bool,
        asks: Asks,
    ) -> Option<EventId> {
        let sure = if self.trail.moved < asks.same { self.stored.id } else { self.trail.sure };
        // A lower one was restored, or is somebody else's.
        let to = match broken {
            true if cursor >= self.stored.id => firm,
            false if cursor == self.stored.id && changed => firm.max(sure),
            _ => return None,
        };
        (cursor > to).then_some(to)
    }

    /// At most once a second, the events that are to be looked at: reads with a filter do not meet them.
    pub fn due_for_comparison(&mut self) -> Vec<Anchor> {
        if self.compared.is_some_and(|when| when.elapsed() < COMPARE_AGAIN) {
            return Vec::new();
        }
        self.compared = Some(Instant::now());
        self.trail.anchors().collect()
    }

    /// Its row is gone, and somebody else may register under its name: what was given means nothing then.
    pub fn forget(&mut self) {
        let given = self.trail.last().map_or(0, |anchor| anchor.id);
        let before = self.before.max(given).max(self.stored.id);
        *self = Standing { before, ..Standing::default() };
    }

    /// What is known of the position `id`, for a cursor that goes there.
    pub fn position(&self, id: EventId) -> Position {
        let known = self.trail.anchors().chain(self.stored.anchor);
        let anchor = known.filter(|anchor| anchor.id <= id).max_by_key(|anchor| anchor.id);
        Position { id, anchor }
    }

    /// What is written beside a cursor at that position.
    pub fn mark(&self, at: Position) -> Option<String> {
        let life = self.life?;
        Some(Mark { cursor: at.id, anchor: at.anchor, life }.to_string())
    }
}

/// Looks whether the stream is still the one that the consumer knows; `None` if it is not registered.
/// A stored cursor that means nothing any more is set back. `changed` says that the stream may have been
/// another one since the server was last asked, when `asks` was so.
pub(crate) fn verify(
    connection: &mut Connection,
    ident: &Ident,
    standing: &Standing,
    changed: bool,
    asks: Asks,
) -> Result<Option<Verdict>> {
    loop {
        // In this order: the cursor of a consumer at work moves on, and so does the highest id allocated.
        let Some(cursor) = connection.cursor(ident)? else { return Ok(None) };
        let life = connection.life()?;
        let changed =
            changed || standing.life.is_some_and(|before| is_another_life(&before, &life));
        let mut why = Vec::new();
        let (firm, broken) = firm(connection, standing, cursor.id, &life, changed)?;
        let given = standing.trail.last().filter(|anchor| anchor.id > cursor.id);
        let goes_on = given.is_some() && broken.is_none();
        let back = standing.overdone(cursor.id, firm, broken.is_some(), changed, asks);
        why.extend(broken);
        if cursor.id < standing.stored.id {
            why.push(format!(
                "the stored cursor of {ident} went back from {} to {}",
                standing.stored.id, cursor.id
            ));
        }
        // What stands beside the cursor was written in the life that moved it there.
        let (before, known) = match cursor.mark {
            Some(mark) => (Some(mark.life), mark.anchor),
            None if standing.stored.id == cursor.id => (standing.life, standing.stored.anchor),
            None => (None, None),
        };
        let at = Position { id: cursor.id, anchor: known };
        let back = match back {
            Some(to) => Some((to, None)),
            None if goes_on => None,
            None => floor(connection, at, before.as_ref(), &life)?
                .map(|(to, reason)| (to, Some(reason))),
        };
        let mut stored = at;
        if let Some((to, reason)) = back {
            if !connection.set_back(ident, cursor.id, to)? {
                continue;
            }
            why.extend(reason);
            let known = standing.position(to).anchor;
            stored = Position { id: to, anchor: at.anchor.filter(|a| a.id <= to).or(known) };
        }
        let rewound = (!why.is_empty()).then(|| {
            let changes = standing.life.or(before).map(|before| life.changes(&before));
            error(&why, &changes.unwrap_or_default(), stored.id)
        });
        let up_to = match given {
            Some(anchor) if goes_on && rewound.is_none() => anchor.id,
            _ => stored.id,
        };
        let relearn = before.or(standing.life).is_some_and(|before| before.form != life.form);
        return Ok(Some(Verdict { stored, up_to, life, relearn, rewound }));
    }
}

/// How far everything that was given is of this life, and what is not, in words.
fn firm(
    connection: &mut Connection,
    standing: &Standing,
    cursor: EventId,
    life: &Life,
    changed: bool,
) -> Result<(EventId, Option<String>)> {
    let (trail, before) = (&standing.trail, standing.life.as_ref());
    let mut firm = 0;
    if trail.start.anchor.is_none() && !trail.given.is_empty() {
        let other = |before: &Life| {
            (before.place, before.made) != (life.place, life.made)
                || before.allocated > life.allocated
        };
        if trail.start.id > 0 && changed && before.is_some_and(other) {
            let why =
                format!("nothing is known of event {}, behind which it was read", trail.start.id);
            return Ok((0, Some(why)));
        }
        firm = trail.start.id;
    }
    for anchor in trail.anchors() {
        let is_same = match look(connection, anchor)? {
            Found::Same => true,
            Found::Other(other) => is_text_only(anchor, other, before, life),
            // It may have been discarded, which begins with the oldest events, or deleted by hand.
            Found::Gone(below) => anchor.id <= cursor && !(below && changed),
        };
        let is_behind_a_gap = trail.thinned && changed && anchor.id > trail.start.id;
        if !is_same || is_behind_a_gap {
            let what = if is_same { "may not have been" } else { "is not the same now" };
            let why = format!("event {}, which was given, {what}", anchor.id);
            return Ok((firm, Some(why)));
        }
        firm = anchor.id;
    }
    Ok((firm, None))
}

/// Where a stored cursor that means nothing any more is to be set back to, and why.
fn floor(
    connection: &mut Connection,
    at: Position,
    before: Option<&Life>,
    life: &Life,
) -> Result<Option<(EventId, String)>> {
    if at.id == 0 {
        return Ok(None);
    }
    let beyond = at.id > life.allocated;
    let Some(anchor) = at.anchor else {
        let anew = before.is_some_and(|before| before.made != life.made);
        let why = match beyond {
            true => format!(
                "the stored cursor is {}, but the highest event id allocated is {}: the database was \
                 restored, lost its last commits in a crash, or its event table was made anew",
                at.id, life.allocated
            ),
            false => format!("the stored cursor {} is of an event table that is gone", at.id),
        };
        return Ok((beyond || anew).then_some((0, why)));
    };
    let why = match look(connection, anchor)? {
        Found::Same if !beyond => return Ok(None),
        Found::Other(other) if !beyond && is_text_only(anchor, other, before, life) => {
            return Ok(None);
        }
        Found::Same => {
            let why = format!(
                "the stored cursor is {}, but the highest event id allocated is {}",
                at.id, life.allocated
            );
            return Ok(Some((anchor.id, why)));
        }
        Found::Other(_) => format!("event {} is another one than it was", anchor.id),
        // Discarding begins with the oldest events.
        Found::Gone(below) => {
            let changed = before.is_none_or(|before| life.differs(before));
            if beyond || (below && changed) {
                format!("event {} is gone, and was not discarded", anchor.id)
            } else {
                return Ok(None);
            }
        }
    };
    Ok(Some((0, format!("{why}, and the stored cursor was {}", at.id))))
}

/// Whether the event is the same, but for its text, which a column of another type changed.
fn is_text_only(anchor: Anchor, other: Anchor, before: Option<&Life>, life: &Life) -> bool {
    other.head == anchor.head && before.is_some_and(|before| before.form != life.form)
}

fn look(connection: &mut Connection, anchor: Anchor) -> Result<Found> {
    let found = match connection.read(&one(&Want::all(), anchor.id - 1, anchor.id)) {
        Ok(batch) => batch.events.first().map(Anchor::of),
        // It is there, and cannot be compared.
        Err(error) if error.kind() == ErrorKind::CorruptEvent => return Ok(Found::Same),
        Err(error) => return Err(error),
    };
    match found {
        Some(found) if found == anchor => Ok(Found::Same),
        Some(found) => Ok(Found::Other(found)),
        None => Ok(Found::Gone(is_any(connection, 0, anchor.id)?)),
    }
}

/// Whether an event is there above `after` and up to `up_to`.
fn is_any(connection: &mut Connection, after: EventId, up_to: EventId) -> Result<bool> {
    match connection.read(&one(&Want::all(), after, up_to)) {
        Err(error) if error.kind() == ErrorKind::CorruptEvent => Ok(true),
        found => Ok(!found?.events.is_empty()),
    }
}

/// At most one event of a range of ids.
fn one(want: &Want, after: EventId, up_to: EventId) -> ReadRange<'_> {
    ReadRange {
        after,
        up_to,
        want,
        limit: 1,
        max_bytes: usize::MAX,
        check_json: false,
        anchored: false,
    }
}

/// Whether more changed than what maintenance changes.
fn is_another_life(before: &Life, life: &Life) -> bool {
    life.differs(before) && !life.is_maintained(before)
}

/// Whether another event is there than the one that was.
pub(crate) fn is_another(connection: &mut Connection, anchor: Anchor) -> Result<bool> {
    Ok(matches!(look(connection, anchor)?, Found::Other(_)))
}

/// Whether the stored cursors mean what they meant when the stream had this life, as far as that shows at
/// once. Where the life does not show a TRUNCATE, the last event of a cursor is compared: of the highest one beside
/// which the event is noted.
pub(crate) fn holds(connection: &mut Connection, before: &Life) -> Result<bool> {
    let life = connection.life()?;
    let is_another = is_another_life(before, &life);
    if is_another || life.made != 0 {
        return Ok(!is_another);
    }
    let mut rows = connection.cursors()?;
    rows.sort_by_key(|row| std::cmp::Reverse(row.last_id));
    if rows.first().is_some_and(|row| row.last_id > i128::from(life.allocated)) {
        return Ok(false);
    }
    for row in rows {
        let cursor = connection.cursor(&Ident::stored(row.ident))?;
        if let Some(anchor) = cursor.and_then(|cursor| cursor.mark).and_then(|mark| mark.anchor) {
            return match look(connection, anchor)? {
                Found::Same => Ok(true),
                Found::Other(_) => Ok(false),
                // It was discarded, or somebody has deleted it by hand; but the highest event is never discarded.
                Found::Gone(below) => Ok(!below || is_any(connection, anchor.id, MAX_EVENT_ID)?),
            };
        }
    }
    Ok(true)
}

/// Where a reader without a cursor in the database goes on, and what happened if the stream was rewound.
/// The reader misses events whose ids were allocated again below its position.
pub(crate) fn verify_unregistered(
    connection: &mut Connection,
    at: Position,
    before: Option<Life>,
) -> Result<(Position, Life, Option<Error>)> {
    let life = connection.life()?;
    let anchor = at.anchor.filter(|anchor| anchor.id > 0);
    let why = if at.id > life.allocated {
        format!(
            "the position is {}, but the highest event id allocated is {}",
            at.id, life.allocated
        )
    } else {
        let found = anchor.map(|anchor| look(connection, anchor)).transpose()?;
        match anchor.zip(found) {
            Some((anchor, Found::Other(other))) => {
                if is_text_only(anchor, other, before.as_ref(), &life) {
                    return Ok((Position::at(at.id), life, None));
                }
                format!("event {} is another one than it was", anchor.id)
            }
            Some((anchor, Found::Gone(true)))
                if before.is_some_and(|b| is_another_life(&b, &life)) =>
            {
                format!("event {} is gone, and was not discarded", anchor.id)
            }
            _ => return Ok((at, life, None)),
        }
    };
    let id = at.id.min(life.allocated);
    let changes = before.map(|before| life.changes(&before)).unwrap_or_default();
    Ok((Position::at(id), life, Some(error(&[why], &changes, id))))
}

/// The error that tells of it.
pub(crate) fn error(why: &[String], changes: &[String], cursor: EventId) -> Error {
    let mut told = why.to_vec();
    told.extend_from_slice(changes);
    Error::new(
        ErrorKind::StreamRewound,
        format!(
            "the stream was rewound ({}): reading goes on after id {cursor}, and events may come \
             again",
            told.join("; ")
        ),
    )
}
