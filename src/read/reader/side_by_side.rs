//! Reading for several who read the same events: see [`shared_chunks`](crate::read::shared_chunks).

use super::{Chunk, Reader};
use crate::backend::{Connection, ReadRange};
use crate::model::error::Result;
use crate::model::event::Event;
use crate::model::ident::Want;
use crate::model::life::{Anchor, Position};
use crate::read::shared_chunks::{
    CATCH_UP_AGE, CachedChunk, ConsumerKey, POLL_AGE, Prefix, Request,
};
use std::sync::Arc;
use std::time::Instant;

impl Reader {
    /// A key in the shared chunks for a consumer that polls.
    pub fn consumer_key(&self) -> ConsumerKey {
        self.shared_chunks.consumer_key()
    }

    /// Forgets where the consumer was, because it registers again or unregisters.
    pub fn forget(&self, key: ConsumerKey) {
        self.shared_chunks.forget(key);
    }

    /// Drops the shared chunks, because the last one who would take them has ended.
    pub fn forget_chunks(&self) {
        self.shared_chunks.clear();
    }

    /// As [`read`](Self::read), for one of several consumers that poll: without a filter, what
    /// another one has read a moment ago is not read again, only what is behind it.
    pub fn read_beside(
        &self,
        key: ConsumerKey,
        connection: &mut Connection,
        from: Position,
        want: &Want,
        limit: usize,
    ) -> Result<Chunk> {
        if want.list().is_some() {
            return self.read(connection, from, want, limit);
        }
        self.ask(connection)?;
        let chunks = &self.shared_chunks;
        let request = Request {
            after: from.id,
            want,
            limit,
            max_bytes: self.settings.max_chunk_bytes,
            doubts: self.doubts(),
            since: chunks.since(key, from.id),
            max_age: POLL_AGE,
        };
        let found = chunks.take(&request, |event| Event::clone(event));
        let anchor = found.events.last().map(Anchor::of).or(from.anchor);
        if found.full {
            chunks.record_position(key, found.up_to);
            return Ok(Chunk::new(found.events, found.up_to, anchor));
        }
        let rest = Request {
            after: found.up_to,
            limit: limit - found.events.len(),
            max_bytes: request.max_bytes - found.bytes,
            ..request
        };
        let chunk = match self.read_rest(key, connection, anchor, &rest) {
            // What is before the row that cannot be read comes first.
            Err(error) if error.unreadable().is_some() && !found.events.is_empty() => {
                chunks.record_position(key, found.up_to);
                return Ok(Chunk::new(found.events, found.up_to, anchor));
            }
            result => result?,
        };
        chunks.record_position(key, chunk.settled_to);
        let mut events = found.events;
        events.extend(chunk.events);
        Ok(Chunk { events, settled_to: chunk.settled_to, anchor: chunk.anchor })
    }

    /// Reads what is not cached, and keeps it if another consumer will want it.
    fn read_rest(
        &self,
        key: ConsumerKey,
        connection: &mut Connection,
        anchor: Option<Anchor>,
        rest: &Request<'_>,
    ) -> Result<Chunk> {
        let read = Instant::now();
        let range = ReadRange {
            limit: rest.limit,
            max_bytes: rest.max_bytes,
            ..ReadRange::all(rest.after, rest.want, &self.settings)
        };
        let chunk = self.read_range(connection, Position { id: rest.after, anchor }, range)?;
        if self.shared_chunks.is_wanted(key, rest.after, chunk.settled_to) {
            let events = chunk.events.iter().cloned().map(Arc::new).collect();
            let cached = CachedChunk::new(rest, chunk.settled_to, events, read);
            self.shared_chunks.keep(cached, self.doubts());
        }
        Ok(chunk)
    }

    /// The settled events after a position, for a subscription that catches up beside others: of those
    /// who want the same chunk one reads it. The subscription began at `since`, and knows of so many
    /// `doubts`. Never call this with a connection of the pool in hand.
    pub fn read_together(
        &self,
        from: Position,
        want: &Want,
        limit: usize,
        since: Instant,
        doubts: u64,
    ) -> Result<Prefix<Arc<Event>>> {
        let request = Request {
            after: from.id,
            want,
            limit,
            max_bytes: self.settings.max_chunk_bytes,
            doubts,
            since: Some(since),
            max_age: CATCH_UP_AGE,
        };
        let read = || {
            let read = Instant::now();
            let chunk = self.pool()?.with_retry(|c| self.read(c, from, want, limit))?;
            let events = chunk.events.into_iter().map(Arc::new).collect();
            Ok(CachedChunk::new(&request, chunk.settled_to, events, read))
        };
        self.shared_chunks.take_or_read(&request, read, || self.doubts())
    }
}
