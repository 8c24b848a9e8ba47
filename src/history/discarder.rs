//! The discarder: deletes from the event table what every consumer has acknowledged.

use super::expiry::{Expiry, Look};
use super::{HistoryNotice, archiver_ident};
use crate::backend::Connection;
use crate::backend::history::{Discard, Discarded};
use crate::backend::pool::Pool;
use crate::config::{Options, Settings};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::ident::Ident;
use crate::model::life::Life;
use crate::read::reader::Reader;
use crate::read::rewind::{self, Standing};
use crate::stream::EventStream;
use crate::sync::cancel::CancelToken;
use crate::sync::lock::lock;
use crate::sync::runner::{Notices, Runner, run_for, runner_methods};
use crate::sync::worker::{Next, Signal, Task};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The pause after a statement, as a multiple of the time that it took.
const REST: u32 = 4;

/// Keeps the event table small: deletes, in statements of `limit_at_once` events, what **every**
/// registered consumer has acknowledged. Then it looks every `poll_period_ms`.
///
/// - As long as nobody is registered it deletes nothing; with `require_archiver`, as long as no
///   [`Archiver`](crate::Archiver) is.
/// - A consumer that registers meanwhile gets every event from the first one that is still there
///   at that moment.
/// - The event with the highest id always stays: it keeps its id from being allocated again.
/// - A consumer that does not come back holds everything up: [`lag`](crate::EventStream::lag)
///   shows it. With `expire_after_s`, one that was not seen for this time is unregistered, and a
///   notice tells so. A jump of the clock does not count: while this handle lives, ages grow by the
///   clock of this process; and what the table says is not believed at first, if no consumer at all
///   was seen for so long, or the clocks of the database and of this machine disagree (a notice).
///
/// Transactions are short, the event table is not locked, and its thread works for a fifth of the
/// time at most, so that who adds events hardly notices. Any number of discarders may run. All
/// methods may be called from any thread; dropping it stops it. Not part of FTN18; the npm package
/// does the same.
///
/// ```
/// use futoin_eventstream::{Discarder, EventStream, Options, Want};
/// # fn main() -> Result<(), futoin_eventstream::Error> {
/// let stream = EventStream::open("sqlite::memory:")?;
/// stream.migrate()?;
/// let audit = stream.consumer("app", "Audit")?;
/// audit.register()?;
/// for n in 0..10 {
///     stream.add_event("COUNTED", &n)?;
/// }
/// let discarder = Discarder::new(&stream, &Options::new().set("limit_at_once", "500")?)?;
/// assert_eq!(discarder.run_once()?, 0);
/// audit.acknowledge(10)?;
/// assert_eq!(discarder.run_once()?, 9);
/// # Ok(()) }
/// ```
pub struct Discarder {
    core: Arc<Core>,
    pub(crate) runner: Runner,
}

struct Core {
    reader: Arc<Reader>,
    settings: Settings,
    archiver: Ident,
    require_archiver: bool,
    notices: Notices<HistoryNotice>,
    /// When consumers were seen.
    expiry: Mutex<Expiry>,
}

impl Discarder {
    /// Makes a discarder, which does nothing before [`start`](Self::start) or
    /// [`run_once`](Self::run_once). Of `options` (before those of the stream), `limit_at_once`,
    /// `poll_period_ms`, `require_archiver` and `expire_after_s` matter.
    ///
    /// # Errors
    /// None for now.
    pub fn new(stream: &EventStream, options: &Options) -> Result<Self> {
        Self::beside(stream, options, false)
    }

    /// As [`new`](Self::new); `archiver` says what `require_archiver=auto` means.
    pub(crate) fn beside(stream: &EventStream, options: &Options, archiver: bool) -> Result<Self> {
        let reader = stream.reader().clone();
        let settings = options.over(&reader.settings);
        let core = Core {
            require_archiver: settings.require_archiver.unwrap_or(archiver),
            reader,
            settings,
            archiver: archiver_ident()?,
            notices: Notices::default(),
            expiry: Mutex::default(),
        };
        Ok(Discarder { core: Arc::new(core), runner: Runner::default() })
    }

    /// Calls `call` for every [`HistoryNotice`], from the discarder's thread (or that of
    /// [`run_once`](Self::run_once)), in place of what was set before. It must not block for long.
    pub fn on_notice(&self, call: impl Fn(&HistoryNotice) + Send + Sync + 'static) {
        self.core.notices.set(call);
    }

    /// Starts the discarder's thread; does nothing if it is started. One that is about to end is waited
    /// for, and a new one begins.
    ///
    /// # Errors
    /// `OutOfResources` if the system gives no thread. What happens later comes as a notice.
    pub fn start(&self) -> Result<()> {
        self.runner.start("fes-discarder", || Pass::new(self.core.clone()))
    }

    runner_methods!(runner);

    /// Discards, on this thread, all that may be discarded now; returns how many events that were.
    ///
    /// # Errors
    /// `NotMigrated`, `PermissionDenied`, and those of the database.
    pub fn run_once(&self) -> Result<u64> {
        self.run_while(|| true).map(|(count, _)| count)
    }

    /// As [`run_once`](Self::run_once), but begins no statement when `timeout` is over; `Duration::MAX` has
    /// no end. Gives how many events were discarded, and whether that is all.
    ///
    /// # Errors
    /// As [`run_once`](Self::run_once), and `Cancelled` if the token ended it: what was discarded before
    /// stays so.
    pub fn run_for(&self, timeout: Duration, cancel: Option<&CancelToken>) -> Result<(u64, bool)> {
        run_for(timeout, cancel, |go_on| self.run_while(go_on))
    }

    /// As [`run_once`](Self::run_once), a statement at a time as long as `go_on` says so; tells,
    /// too, whether all was discarded.
    fn run_while(&self, go_on: impl Fn() -> bool) -> Result<(u64, bool)> {
        let mut pass = Pass::new(self.core.clone());
        let mut total = 0;
        while go_on() {
            match pass.discard()? {
                0 => return Ok((total, true)),
                count => total += count,
            }
        }
        Ok((total, false))
    }
}

impl Core {
    /// Unregisters who was not seen for long.
    fn expire(&self, pool: &Pool) -> Result<()> {
        let seconds = self.settings.expire_after;
        let look = pool.with_retry(|connection| {
            let cursors = connection.cursors()?;
            let rows = cursors.into_iter().filter_map(|row| row.seen.map(|seen| (row.ident, seen)));
            let database = connection.stream_row()?.now;
            let client = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
            Ok(Look { database, client: client.cast_signed(), rows: rows.collect() })
        })?;
        let limit = Duration::from_secs(seconds);
        let due = lock(&self.expiry).look(Instant::now(), &look, limit);
        if let Some(why) = due.doubt {
            self.notices.report(HistoryNotice::Waiting(why));
        }
        for ident in due.idents.into_iter().filter(|ident| ident != self.archiver.as_str()) {
            // Not if it came back a moment ago.
            if pool.with(|connection| connection.expire(seconds, &ident))? {
                self.notices.report(HistoryNotice::Expired(ident));
            }
        }
        Ok(())
    }
}

struct Pass {
    core: Arc<Core>,
    /// How the last discarding left it.
    known: Discarded,
    /// Nothing was left at the last look.
    idle: bool,
    /// What ended it, if that was an error.
    fatal: Option<Error>,
    /// The doubts whether the stream is still the same, when all cursors were verified.
    seen: Option<u64>,
    /// The life of the stream then, where that can be found out.
    life: Option<Life>,
}

impl Pass {
    fn new(core: Arc<Core>) -> Self {
        let known = Discarded::default();
        Pass { core, known, idle: true, fatal: None, seen: None, life: None }
    }

    /// Where the stream may have begun anew, cursors of before are set back first: all new events
    /// below them would count as acknowledged.
    fn verify(&mut self) -> Result<()> {
        let reader = &self.core.reader;
        let pool = reader.pool()?;
        match pool.with_retry(|connection| reader.ask(connection)) {
            Err(error) if error.kind() != ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
        let doubts = reader.doubts();
        if self.seen == Some(doubts) {
            return Ok(());
        }
        self.known = Discarded::default();
        let verified = pool.with_retry(|connection| {
            let life = connection.life()?;
            for ident in connection.idents()? {
                let standing = Standing::default();
                reader.verify(connection, &Ident::stored(ident), &standing, doubts)?;
            }
            Ok(life)
        });
        match verified {
            // A role that may only discard cannot find out.
            Err(error) if error.kind() != ErrorKind::PermissionDenied => return Err(error),
            result => (self.life, self.seen) = (result.ok(), Some(doubts)),
        }
        Ok(())
    }

    fn discard(&mut self) -> Result<u64> {
        let core = self.core.clone();
        let pool = core.reader.pool()?;
        if self.idle && core.settings.expire_after > 0 {
            core.expire(&pool)?;
        }
        self.verify()?;
        // The stream may begin anew at any moment: then cursors of before say nothing of its events.
        let holds = |connection: &mut Connection| match &self.life {
            Some(life) if !rewind::holds(connection, life)? => {
                core.reader.doubt(true);
                Ok(false)
            }
            _ => Ok(true),
        };
        let order = Discard {
            known: self.known,
            limit: core.settings.limit_at_once,
            archiver: core.require_archiver.then_some(&core.archiver),
            holds: &holds,
        };
        let done = pool.with(|connection| connection.discard(&order))?;
        let events = done.events;
        self.idle = events == 0;
        // From the start again next time: somebody may have put older events there by hand.
        self.known = if self.idle { Discarded::default() } else { done };
        if events > 0 {
            core.notices.report(HistoryNotice::Discarded(events));
        }
        Ok(events)
    }
}

impl Task for Pass {
    fn step(&mut self, _: &Signal) -> Result<Next> {
        let start = Instant::now();
        match self.discard() {
            Ok(0) => Ok(Next::Sleep(self.core.settings.poll_period)),
            Ok(_) => Ok(Next::Sleep(start.elapsed() * REST)),
            Err(error) if error.kind() == ErrorKind::Closed => {
                self.fatal = Some(error);
                Ok(Next::Done)
            }
            Err(error) => Err(error),
        }
    }

    fn patience(&self) -> Option<Duration> {
        self.core.reader.settings.call_timeout
    }

    fn failed(&mut self, error: Error) {
        self.known = Discarded::default();
        self.core.notices.report(HistoryNotice::WorkerError(error));
    }

    fn ended(&mut self, _: &Signal) {
        self.core.notices.report(HistoryNotice::Stopped(self.fatal.take()));
    }
}
