//! Polls of a LIVE consumer, which has no cursor in the database.

use crate::backend::Connection;
use crate::model::error::{ErrorKind, Result};
use crate::model::event::{Event, EventId};
use crate::model::ident::Want;
use crate::model::life::{Life, Position};
use crate::read::reader::doubt::{TRIES, broke_again};
use crate::read::reader::{Chunk, Reader};
use crate::read::shared_chunks::ConsumerKey;

/// Where a LIVE consumer is.
#[derive(Default)]
pub(super) struct LivePosition {
    /// The last event that was given or acknowledged, or where it started.
    last: Option<Position>,
    /// What the last poll learnt if it found nothing.
    known_empty: Option<KnownEmpty>,
    /// The doubts that were there at the last poll, and the life of the stream.
    seen: Option<u64>,
    life: Option<Life>,
    /// Ids up to this were given before the stream was rewound, and up to that since then.
    before: EventId,
    since: EventId,
}

/// After `after`, up to `up_to`, there is no event of `want`: it need not be read again.
struct KnownEmpty {
    after: EventId,
    want: Want,
    up_to: EventId,
}

impl LivePosition {
    /// Goes on after `last_id`, unless it is of before the stream was rewound.
    pub fn acknowledge(&mut self, reader: &Reader, last_id: EventId) -> Result<()> {
        if last_id > self.since && last_id <= self.before {
            return Ok(());
        }
        reader.pool()?.with_retry(|c| reader.check_allocated(c, last_id, "last_id"))?;
        if self.last.is_none_or(|last| last.id < last_id) {
            self.last = Some(Position::at(last_id));
        }
        Ok(())
    }

    /// As [`Consumer::poll_at_most`](crate::Consumer::poll_at_most).
    pub fn poll(
        &mut self,
        reader: &Reader,
        key: ConsumerKey,
        last_id: Option<EventId>,
        want: &Want,
        limit: usize,
    ) -> Result<Vec<Event>> {
        for _ in 0..TRIES {
            let doubts = reader.doubts();
            if self.seen.replace(doubts).is_some_and(|seen| seen != doubts) {
                self.verify(reader, doubts)?;
            }
            let last_id = last_id.filter(|id| *id <= self.since || *id > self.before);
            let read = reader
                .pool()?
                .with_retry(|connection| self.read(reader, key, connection, last_id, want, limit));
            let (chunk, after) = match read {
                Err(error) if error.kind() == ErrorKind::StreamRewound => continue,
                result => result?,
            };
            if reader.doubts() != doubts {
                continue;
            }
            let chunk = match chunk {
                Ok(chunk) => chunk,
                // Told once: the next poll goes on behind the row that cannot be read.
                Err(error) => {
                    let up_to = error.unreadable().map_or(after, |row| row.id);
                    self.last = Some(Position::at(up_to));
                    self.known_empty = Some(KnownEmpty { after, want: want.clone(), up_to });
                    return Err(error);
                }
            };
            let last = chunk.events.last().map_or(after, |event| event.id);
            self.last = Some(Position { id: last, anchor: chunk.anchor });
            self.since = self.since.max(last);
            self.life = reader.life();
            self.known_empty = chunk.events.is_empty().then(|| KnownEmpty {
                after,
                want: want.clone(),
                up_to: chunk.settled_to,
            });
            return Ok(chunk.events);
        }
        Err(broke_again())
    }

    /// What there is for a LIVE consumer, or the error of a row that cannot be read; and after which
    /// id that is.
    fn read(
        &self,
        reader: &Reader,
        key: ConsumerKey,
        connection: &mut Connection,
        last_id: Option<EventId>,
        want: &Want,
        limit: usize,
    ) -> Result<(Result<Chunk>, EventId)> {
        let known = self.last.filter(|known| last_id.is_none_or(|id| id == known.id));
        let from = match (known, last_id) {
            (Some(known), _) => known,
            (None, Some(id)) => Position::at(id),
            (None, None) => Position::at(reader.live_start(connection)?),
        };
        let given = self.last.is_some_and(|known| from.id <= known.id);
        if given && !reader.is_allocated(connection, from.id)? {
            reader.doubt(false);
        } else {
            reader.check_allocated(connection, from.id, "last_id")?;
        }
        let begin = match &self.known_empty {
            Some(known_empty) if known_empty.after == from.id && known_empty.want == *want => {
                Position { id: known_empty.up_to, anchor: from.anchor }
            }
            _ => from,
        };
        match reader.read_beside(key, connection, begin, want, limit) {
            Err(error) if error.unreadable().is_none() => Err(error),
            chunk => {
                if chunk.as_ref().is_ok_and(|chunk| chunk.events.is_empty()) {
                    reader.check_reachable(connection)?;
                }
                Ok((chunk, from.id))
            }
        }
    }

    /// Says once that the stream was rewound.
    fn verify(&mut self, reader: &Reader, doubts: u64) -> Result<()> {
        self.known_empty = None;
        let Some(at) = self.last else { return Ok(()) };
        let (now, life, rewound) = reader.pool()?.with_retry(|connection| {
            reader.verify_unregistered(connection, at, self.life, doubts)
        })?;
        (self.last, self.life) = (Some(now), Some(life));
        match rewound {
            Some(error) => {
                self.before = self.before.max(at.id);
                self.since = now.id;
                Err(error)
            }
            None => Ok(()),
        }
    }
}
