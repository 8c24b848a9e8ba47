//! Whether the stream is still the one that is known: counting doubts, asking the server, having
//! consumers verified.

use super::{ASK_AGAIN, Asked, MAX_STANDINGS, Reader, lock};
use crate::backend::Connection;
use crate::consumer::Ident;
use crate::error::{Error, Result};
use crate::life::{Life, Position};
use crate::rewind::{self, Standing, Verdict};
use crate::settle::Spans;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;

impl Reader {
    /// How many doubts there were. Whoever has seen fewer has to be verified.
    pub fn doubts(&self) -> u64 {
        let breaks = self.pool().map_or(0, |pool| pool.breaks());
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
        self.recent.clear();
        self.drawn.store(0, Ordering::Release);
        let doubts = self.doubts.fetch_add(1, Ordering::AcqRel) + 1;
        if found_out {
            self.found_out.store(doubts, Ordering::Release);
        }
        drop(settled);
        lock(&self.late).0 = None;
        lock(&self.asked).when = None;
    }

    /// At most once a second, asks the server whether the stream is still the same: ids may be drawn
    /// again although no connection broke (a restore or TRUNCATE under a running application).
    pub fn ask(&self, connection: &mut Connection) -> Result<()> {
        let mut asked = lock(&self.asked);
        if asked.when.is_some_and(|when| when.elapsed() < ASK_AGAIN) {
            return Ok(());
        }
        let (before, doubts) = (asked.life, self.doubts.load(Ordering::Acquire));
        let known = self.drawn.load(Ordering::Acquire);
        asked.when = Some(Instant::now());
        drop(asked);
        let life = connection.life()?;
        if self.doubts.load(Ordering::Acquire) != doubts {
            return Ok(());
        }
        self.lives(life);
        if life.drawn < known {
            self.doubt(true);
        } else if let Some(before) = before.filter(|before| life.differs(before)) {
            self.doubt(!life.is_maintained(&before));
        } else {
            self.asks.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    }

    fn lives(&self, life: Life) {
        let mut asked = lock(&self.asked);
        *asked = Asked { when: Some(Instant::now()), life: Some(life) };
    }

    /// How often the server was asked, and showed the same life.
    pub fn asks(&self) -> u64 {
        self.asks.load(Ordering::Acquire)
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

    /// Verifies a consumer. `None` if it is not registered.
    pub fn verify(
        &self,
        connection: &mut Connection,
        ident: &Ident,
        standing: &Standing,
    ) -> Result<Option<Verdict>> {
        let found_out = self.found_out.load(Ordering::Acquire);
        let found_out = standing.seen.is_some_and(|seen| found_out > seen);
        let late = found_out && standing.is_late(self.asks());
        let verdict = rewind::verify(connection, ident, standing, late)?;
        if let Some(verdict) = &verdict {
            self.lives(verdict.life);
        }
        Ok(verdict)
    }

    /// As [`verify`](Self::verify), for who has no cursor in the database.
    pub fn verify_unregistered(
        &self,
        connection: &mut Connection,
        at: Position,
        before: Option<Life>,
    ) -> Result<(Position, Life, Option<Error>)> {
        let verdict = rewind::verify_unregistered(connection, at, before)?;
        self.lives(verdict.1);
        Ok(verdict)
    }
}
