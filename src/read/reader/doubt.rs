//! Whether the stream is still the one that is known: counting doubts, asking the server, having
//! consumers verified.

use super::{ASK_AGAIN, MAX_STANDINGS, Reader};
use crate::backend::Connection;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::ident::Ident;
use crate::model::life::{Anchor, Life, Position};
use crate::read::rewind::{self, Asks, Standing, Verdict};
use crate::settle::Spans;
use crate::sync::line;
use crate::sync::lock::lock;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A consumer that was there is missed for so long before it counts as unregistered, and looked for so
/// often.
pub(crate) const MISSED: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// So often a poll begins again because connections broke meanwhile.
pub(crate) const TRIES: usize = 4;

pub(crate) fn broke_again() -> Error {
    Error::new(ErrorKind::ConnectionLost, "connections broke again and again during the call")
}

impl Reader {
    /// How many doubts there were. Whoever has seen fewer has to be verified.
    pub fn doubts(&self) -> u64 {
        let breaks = self.pool().map_or(0, |pool| pool.generation());
        if self.breaks.load(Ordering::Acquire) != breaks
            && self.breaks.swap(breaks, Ordering::AcqRel) != breaks
        {
            self.doubt(false);
        }
        self.doubts.load(Ordering::Acquire)
    }

    /// The stream may not be the one that is known any more: everything that was learnt of it is
    /// forgotten here, and by whoever keeps a part of it, and counts doubts. `found_out` says
    /// that the server was asked, so that what was read since it was asked last is in doubt, too.
    pub fn doubt(&self, found_out: bool) {
        let mut settled = lock(&self.settled);
        *settled = Spans::default();
        self.shared_chunks.clear();
        self.allocated.store(0, Ordering::Release);
        let doubts = self.doubts.fetch_add(1, Ordering::AcqRel) + 1;
        if found_out {
            self.found_out.store(doubts, Ordering::Release);
        }
        drop(settled);
        lock(&self.late).0 = None;
        lock(&self.asked).when = None;
    }

    /// Asks the server whether the stream is still the same: ids may be allocated again although no connection
    /// broke (a restore or TRUNCATE under a running application). At most once a second, and first of all
    /// on a new connection, which may lead elsewhere.
    pub fn ask(&self, connection: &mut Connection) -> Result<()> {
        let mut asked = lock(&self.asked);
        let recent = asked.when.is_some_and(|when| when.elapsed() < ASK_AGAIN);
        if recent && connection.was_asked() {
            return Ok(());
        }
        asked.when = Some(Instant::now());
        let before = asked.life;
        drop(asked);
        let doubts = self.doubts.load(Ordering::Acquire);
        let known = self.allocated.load(Ordering::Acquire);
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let life = connection.life()?;
        if self.doubts.load(Ordering::Acquire) != doubts {
            return Ok(());
        }
        if life.allocated < known {
            self.doubt(true);
        } else if self.lives(before, life, doubts) {
            self.same.fetch_max(number, Ordering::AcqRel);
        }
        Ok(())
    }

    /// The life that is shown next is not compared with those before: the tables were migrated.
    pub fn forget_life(&self) {
        lock(&self.asked).life = None;
    }

    /// The stream has this life; the one of `before` was known when it was asked. Whether it is the same. If
    /// it is not, and nobody has found that out since there are so many doubts, it is one more.
    fn lives(&self, before: Option<(Life, u64)>, life: Life, doubts: u64) -> bool {
        lock(&self.asked).life = Some((life, doubts));
        let Some((known, when)) = before.filter(|(known, _)| life.differs(known)) else {
            return true;
        };
        if when == doubts && self.doubts.load(Ordering::Acquire) == doubts {
            self.doubt(!life.is_maintained(&known));
        }
        false
    }

    /// How often the server was asked.
    pub fn asks(&self) -> Asks {
        let same = self.same.load(Ordering::Acquire);
        Asks { begun: self.begun.load(Ordering::Acquire), same }
    }

    /// The consumer was given an event.
    pub fn gave(&self, standing: &mut Standing, event: Option<Anchor>) {
        if standing.gave(event, self.asks()) {
            lock(&self.asked).when = None;
        }
    }

    /// What is known of a consumer, by whichever handle.
    pub fn standing(&self, ident: &Ident) -> Arc<Mutex<Standing>> {
        let mut standings = lock(&self.standings);
        if let Some(known) = standings.get(ident) {
            return known.clone();
        }
        if standings.len() >= MAX_STANDINGS {
            standings.retain(|_, standing| Arc::strong_count(standing) > 1);
        }
        let standing = Arc::<Mutex<Standing>>::default();
        standings.insert(ident.clone(), standing.clone());
        standing
    }

    /// Verifies a consumer when there were so many doubts. `None` if it is not registered.
    pub fn verify(
        &self,
        connection: &mut Connection,
        ident: &Ident,
        standing: &Standing,
        doubts: u64,
    ) -> Result<Option<Verdict>> {
        let found_out = self.found_out.load(Ordering::Acquire);
        let found_out = standing.seen.is_some_and(|seen| found_out > seen);
        let before = lock(&self.asked).life;
        let verdict = rewind::verify(connection, ident, standing, found_out, self.asks())?;
        if let Some(verdict) = &verdict {
            self.lives(before, verdict.life, doubts);
        }
        Ok(verdict)
    }

    /// As [`verify`](Self::verify), on a connection of the pool. One that was there before is looked for
    /// again and again for a while: a restore has its row away for a moment.
    pub fn find(&self, ident: &Ident, standing: &Standing, doubts: u64) -> Result<Option<Verdict>> {
        let end = Instant::now() + MISSED;
        loop {
            let verify = |c: &mut Connection| self.verify(c, ident, standing, doubts);
            let verdict = self.pool()?.with_retry(verify)?;
            if verdict.is_some() || standing.life.is_none() || Instant::now() >= end {
                return Ok(verdict);
            }
            line::check()?;
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// As [`verify`](Self::verify), for who has no cursor in the database.
    pub fn verify_unregistered(
        &self,
        connection: &mut Connection,
        at: Position,
        before: Option<Life>,
        doubts: u64,
    ) -> Result<(Position, Life, Option<Error>)> {
        let known = lock(&self.asked).life;
        let verdict = rewind::verify_unregistered(connection, at, before)?;
        self.lives(known, verdict.1, doubts);
        Ok(verdict)
    }

    /// The life of the stream, as it is known.
    pub fn life(&self) -> Option<Life> {
        lock(&self.asked).life.map(|(life, _)| life)
    }
}
