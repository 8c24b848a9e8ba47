//! What a subscriber asks the database for: events before the tail, and its lease again where it was lost.
//! One errand is run at a time: by the caller, or on a thread beside a caller that will not wait for its end.
//! What the errand finds stays for the next caller.

use super::hub::Hub;
use super::member::Member;
use super::state::{Chunk, Found};
use crate::backend::DatabaseKind;
use crate::backend::lease::OwnerLease;
use crate::config::Settings;
use crate::model::error::{Error, ErrorKind, Result, panic_error};
use crate::model::ident::Ident;
use crate::model::life::Position;
use crate::sync::aside::Aside;
use crate::sync::line::{self, GRACE, Token};
use crate::sync::lock::lock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Who runs the errands of a subscription.
pub(super) struct Runner {
    shared: Arc<Shared>,
    aside: Aside,
    /// Whether the database is a server, whose answers may take long.
    server: bool,
    /// No call on a server takes longer than this, with the connection that it needs.
    longest: Option<Duration>,
}

struct Shared {
    hub: Arc<Hub>,
    member: Arc<Member>,
    /// Of a reliable subscriber.
    lease: Option<Mutex<Option<OwnerLease>>>,
    /// Ends what it is in.
    token: Token,
}

impl Runner {
    /// `lease` is that of a reliable subscriber.
    pub fn new(
        hub: Arc<Hub>,
        member: Arc<Member>,
        lease: Option<OwnerLease>,
        kind: DatabaseKind,
        settings: &Settings,
    ) -> Self {
        let server = kind != DatabaseKind::Sqlite;
        let lease = lease.map(|lease| Mutex::new(Some(lease)));
        let longest = settings.call_timeout.map(|time| (time + settings.connect_timeout) * 2);
        let shared = Shared { hub, member, lease, token: Token::default() };
        Runner { shared: Arc::new(shared), aside: Aside::new("fes-catch-up"), server, longest }
    }

    /// Whether the lease of a reliable subscriber was lost.
    pub fn has_lost_lease(&self) -> bool {
        let lease = self.shared.lease.as_ref();
        lease.is_some_and(|lease| !lock(lease).as_ref().is_some_and(OwnerLease::is_held))
    }

    /// Runs an errand, which the state says to be running: here if that ends before `end`, whatever the
    /// server does, or the caller waits for ever.
    pub fn run(&self, from: Position, end: Option<Instant>) {
        let shared = self.shared.clone();
        if self.would_wait(end) {
            return shared.run(from);
        }
        if let Err(job) = self.aside.give(move || shared.run(from)) {
            job();
        }
    }

    fn would_wait(&self, end: Option<Instant>) -> bool {
        match (end, self.longest) {
            _ if !self.server => true,
            (None, _) => true,
            (Some(end), Some(longest)) => Instant::now() + longest <= end,
            (Some(_), None) => false,
        }
    }

    /// Waits for the end of what is running, for a moment if there is one; cuts it off then. Gives the
    /// lease back.
    pub fn end(&self, at_once: bool) {
        let Shared { member, token, lease, .. } = &*self.shared;
        let hangs = at_once || line::check().is_err() || !member.wait_for_errand(GRACE);
        if hangs {
            token.cut();
            while !member.wait_for_errand(GRACE) {}
        }
        let lease = lease.as_ref().and_then(|lease| lock(lease).take());
        if let (Some(lease), true) = (&lease, hangs) {
            lease.cut();
        }
    }
}

impl Shared {
    fn run(&self, from: Position) {
        let _scope = self.token.scope();
        let doubts = self.hub.reader().doubts();
        let work = || match self.lease.as_ref().map(lock) {
            Some(mut lease) if !lease.as_ref().is_some_and(OwnerLease::is_held) => {
                self.take_lease_again(&mut lease).map(|()| None)
            }
            _ => self.read(from, doubts).map(Some),
        };
        let chunk = catch_unwind(AssertUnwindSafe(work));
        let chunk = chunk.unwrap_or_else(|panic| Err(panic_error(&*panic)));
        self.member.found(Found { doubts, chunk });
    }

    fn take_lease_again(&self, lease: &mut Option<OwnerLease>) -> Result<()> {
        // The old session is given up first: while the server still counts it as the owner, asking fails with
        // `Occupied`, so nobody can slip in between.
        *lease = None;
        *lease = Some(take_lease(&self.hub, self.member.ident())?);
        // Another owner may have moved the cursor, or another database stands there.
        self.hub.reader().doubt(false);
        self.hub.wake();
        Ok(())
    }

    fn read(&self, from: Position, doubts: u64) -> Result<Chunk> {
        let (reader, member) = (self.hub.reader(), &self.member);
        let (want, limit) = (member.want(), member.chunk());
        if self.hub.has_several() {
            let found = reader.read_together(from, want, limit, member.since(), doubts)?;
            return Ok(Chunk { events: found.events, up_to: found.up_to });
        }
        let chunk = reader.pool()?.with_retry(|c| reader.read(c, from, want, limit))?;
        let events = chunk.events.into_iter().map(Arc::new).collect();
        Ok(Chunk { events, up_to: chunk.settled_to })
    }
}

pub(super) fn take_lease(hub: &Hub, ident: &Ident) -> Result<OwnerLease> {
    let lease = OwnerLease::take(hub.reader().pool()?.backend(), ident)?;
    lease.ok_or_else(|| occupied(ident))
}

pub(super) fn occupied(ident: &Ident) -> Error {
    Error::new(
        ErrorKind::Occupied,
        format!(
            "another receiver of {ident:?} is at work, in this process or another one: there can \
             be one at a time. Stop it first, or use another component"
        ),
    )
}
