//! When the stream was rewound: a restore, a failover that lost commits, a table made anew. Whoever
//! reads stands in the life before then, and its position there means nothing.
//!
//! After every break of a connection, and whenever something looks different, each consumer is
//! *verified* before its cursor is written again:
//!
//! - The stored cursor counts. What was given or acknowledged behind it holds only if the last event
//!   that was given is still the same one.
//! - The stored cursor itself is set back if it stands above the highest id drawn, or if the event
//!   that was there is another one, or is gone although it was not discarded: discarding begins with
//!   the oldest, so that nothing below it would be there.
//!
//! A repeat is allowed, a hole is not: where nothing can be proven, reading begins earlier.

use crate::backend::{Connection, ReadRange};
use crate::consumer::{Ident, Want};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventId;
use crate::life::{Anchor, Life, Mark, Position};
use std::time::{Duration, Instant};

/// How often a consumer compares its last event, whatever it reads.
const COMPARE_AGAIN: Duration = Duration::from_secs(1);

/// What a reliable consumer knows of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    /// Where its stored cursor was when it was seen last.
    pub stored: Position,
    /// The last event that was given.
    given: Option<Anchor>,
    /// The last event that was given before the server was last asked for its life.
    proven: Option<Anchor>,
    /// How often it had been asked when `given` was.
    given_at: u64,
    /// The life that this is all about; `None` before the first look.
    pub life: Option<Life>,
    /// The doubts that were there when it was verified.
    pub seen: Option<u64>,
    /// Ids up to this were given before the stream was rewound, and up to that since then: what is
    /// between the two means nothing, and its caller does not know yet.
    before: EventId,
    since: EventId,
    /// When its last event was compared.
    compared: Option<Instant>,
}

/// What became of a consumer's position.
pub(crate) struct Verdict {
    /// The stored cursor as it is now.
    pub stored: Position,
    /// Everything up to here was given, or is behind the stored cursor.
    pub upto: EventId,
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
    /// The event was given; the server had been asked so often for its life.
    pub fn gave(&mut self, event: Option<Anchor>, asked: u64) {
        if event.is_some() {
            if self.given_at < asked {
                self.proven = self.given;
            }
            (self.given, self.given_at) = (event, asked);
            self.since = self.since.max(event.map_or(0, |event| event.id));
        }
    }

    /// Whether the id was given by this process.
    pub fn has_given(&self, id: EventId) -> bool {
        self.given.is_some_and(|anchor| id <= anchor.id) || id <= self.stored.id
    }

    /// What a caller acknowledges; nothing, if that is of the time before the stream was rewound.
    pub fn fresh(&self, last_id: Option<EventId>) -> Option<EventId> {
        last_id.filter(|id| *id <= self.since || *id > self.before)
    }

    /// Takes what was found out when so many doubts were there.
    pub fn adopt(&mut self, verdict: &Verdict, doubts: u64) {
        if verdict.rewound.is_some() {
            let given = self.given.map_or(0, |anchor| anchor.id);
            self.before = self.before.max(given).max(self.stored.id);
            self.since = verdict.stored.id;
        }
        if verdict.rewound.is_some() || verdict.relearn {
            (self.given, self.proven) = (None, None);
        }
        self.stored = verdict.stored;
        if verdict.relearn {
            self.stored.anchor = None;
        }
        (self.life, self.seen) = (Some(verdict.life), Some(doubts));
    }

    /// The cursor was moved, to `at` or, by somebody else, further.
    pub fn moved(&mut self, at: Position, cursor: EventId) {
        if cursor == at.id {
            self.stored = at;
        } else if cursor > self.stored.id {
            self.stored = Position::at(cursor);
        }
    }

    /// Whether the last event may have been given in another life already, if that was found out by
    /// asking so often.
    pub fn is_late(&self, asked: u64) -> bool {
        self.given_at >= asked
    }

    /// At most once a second, the event that is to be looked at: reads with a filter do not meet it.
    pub fn anchor_to_compare(&mut self) -> Option<Anchor> {
        if self.compared.is_some_and(|when| when.elapsed() < COMPARE_AGAIN) {
            return None;
        }
        self.compared = Some(Instant::now());
        self.given.or(self.stored.anchor)
    }

    /// What is known of the position `id`, for a cursor that goes there.
    pub fn position(&self, id: EventId) -> Position {
        let known = [self.given, self.proven, self.stored.anchor];
        let anchor = known.into_iter().flatten().filter(|a| a.id <= id).max_by_key(|a| a.id);
        Position { id, anchor }
    }

    /// What is written beside a cursor at that position.
    pub fn mark(&self, at: Position) -> Option<String> {
        let life = self.life?;
        Some(Mark { cursor: at.id, anchor: at.anchor, life }.to_string())
    }
}

/// Looks whether the stream is still the one that the consumer knows; `None` if it is not registered.
/// A stored cursor that means nothing any more is set back. `late` says that its last event may be one
/// of another life.
pub(crate) fn verify(
    connection: &mut Connection,
    ident: &Ident,
    standing: &Standing,
    late: bool,
) -> Result<Option<Verdict>> {
    loop {
        // In this order: the cursor of a consumer at work moves on, and so does the highest id drawn.
        let Some(cursor) = connection.cursor(ident)? else { return Ok(None) };
        let life = connection.life()?;
        let mut why = Vec::new();
        let given = standing.given.filter(|anchor| anchor.id > cursor.id);
        let goes_on = match given {
            Some(anchor) => {
                let mut same = is_same(connection, anchor, standing.life.as_ref(), &life)?;
                if same && late {
                    same = was_same(connection, standing, cursor.id, &life)?;
                }
                if !same {
                    why.push(format!("event {}, which was given, is not the same now", anchor.id));
                }
                same
            }
            None => false,
        };
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
        let mut stored = at;
        if !goes_on && let Some((to, reason)) = floor(connection, at, before.as_ref(), &life)? {
            if !connection.set_back(ident, cursor.id, to)? {
                continue;
            }
            why.push(reason);
            stored = Position { id: to, anchor: known.filter(|anchor| anchor.id <= to) };
        }
        let rewound = (!why.is_empty()).then(|| {
            let changes = standing.life.or(before).map(|before| life.changes(&before));
            error(&why, &changes.unwrap_or_default(), stored.id)
        });
        let upto = match given {
            Some(anchor) if goes_on && rewound.is_none() => anchor.id,
            _ => stored.id,
        };
        let relearn = before.or(standing.life).is_some_and(|before| before.form != life.form);
        return Ok(Some(Verdict { stored, upto, life, relearn, rewound }));
    }
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
    let beyond = at.id > life.drawn;
    let Some(anchor) = at.anchor else {
        let anew = before.is_some_and(|before| before.made != life.made);
        let why = match beyond {
            true => format!(
                "the stored cursor is {}, but the highest event id drawn is {}: the database was \
                 restored, lost its last commits in a crash, or its event table was made anew",
                at.id, life.drawn
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
                "the stored cursor is {}, but the highest event id drawn is {}",
                at.id, life.drawn
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

/// Whether the stream was the same when the last event was given, after the last look at its life.
fn was_same(
    connection: &mut Connection,
    standing: &Standing,
    cursor: EventId,
    life: &Life,
) -> Result<bool> {
    let before = standing.life.as_ref();
    Ok(match standing.proven {
        Some(anchor) => match look(connection, anchor)? {
            Found::Same => true,
            Found::Other(other) => is_text_only(anchor, other, before, life),
            // It may have been discarded.
            Found::Gone(below) => anchor.id <= cursor && !below,
        },
        None => before.is_none_or(|before| {
            (before.place, before.made) == (life.place, life.made) && before.drawn <= life.drawn
        }),
    })
}

fn is_same(
    connection: &mut Connection,
    anchor: Anchor,
    before: Option<&Life>,
    life: &Life,
) -> Result<bool> {
    Ok(match look(connection, anchor)? {
        Found::Same => true,
        Found::Other(other) => is_text_only(anchor, other, before, life),
        Found::Gone(_) => false,
    })
}

/// Whether the event is the same, but for its text, which a column of another type changed.
fn is_text_only(anchor: Anchor, other: Anchor, before: Option<&Life>, life: &Life) -> bool {
    other.head == anchor.head && before.is_some_and(|before| before.form != life.form)
}

fn look(connection: &mut Connection, anchor: Anchor) -> Result<Found> {
    let want = Want::all();
    let one = |after, upto| ReadRange {
        after,
        upto,
        want: &want,
        limit: 1,
        max_bytes: usize::MAX,
        check_json: false,
        anchored: false,
    };
    let found = match connection.read(&one(anchor.id - 1, anchor.id)) {
        Ok(batch) => batch.events.first().map(Anchor::of),
        // It is there, and cannot be compared.
        Err(error) if error.kind() == ErrorKind::CorruptEvent => return Ok(Found::Same),
        Err(error) => return Err(error),
    };
    match found {
        Some(found) if found == anchor => Ok(Found::Same),
        Some(found) => Ok(Found::Other(found)),
        None => match connection.read(&one(0, anchor.id)) {
            Ok(batch) => Ok(Found::Gone(!batch.events.is_empty())),
            Err(error) if error.kind() == ErrorKind::CorruptEvent => Ok(Found::Gone(true)),
            Err(error) => Err(error),
        },
    }
}

/// Whether another event is there than the one that was.
pub(crate) fn is_another(connection: &mut Connection, anchor: Anchor) -> Result<bool> {
    Ok(matches!(look(connection, anchor)?, Found::Other(_)))
}

/// For who has no cursor in the database: where it goes on, and what happened if the stream was
/// rewound. It misses what was drawn again below its position.
pub(crate) fn verify_unregistered(
    connection: &mut Connection,
    at: Position,
    before: Option<Life>,
) -> Result<(Position, Life, Option<Error>)> {
    let life = connection.life()?;
    let anchor = at.anchor.filter(|anchor| anchor.id > 0);
    let why = if at.id > life.drawn {
        format!("the position is {}, but the highest event id drawn is {}", at.id, life.drawn)
    } else {
        let found = anchor.map(|anchor| look(connection, anchor)).transpose()?;
        match anchor.zip(found) {
            Some((anchor, Found::Other(other))) => {
                if is_text_only(anchor, other, before.as_ref(), &life) {
                    return Ok((Position::at(at.id), life, None));
                }
                format!("event {} is another one than it was", anchor.id)
            }
            _ => return Ok((at, life, None)),
        }
    };
    let id = at.id.min(life.drawn);
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
