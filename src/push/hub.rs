//! The hub: one thread that reads the tail of the stream once, for all subscriptions of a handle,
//! and stores their cursors. It runs while there is a subscription.

use super::listener::{ListenTask, Notices};
use super::member::Member;
use super::queue::Piece;
use crate::backend::cursors::Move;
use crate::backend::{Connection, DatabaseKind};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::{Event, EventId};
use crate::model::ident::{Ident, Want};
use crate::model::life::{Life, Position};
use crate::read::reader::Reader;
use crate::read::tail::{Tail, Waiter};
use crate::sync::line;
use crate::sync::lock::lock;
use crate::sync::wakeup::WakeupSubscription;
use crate::sync::worker::{Next, Signal, Task, Worker};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The poll intervals where a counter of changes makes a check nearly free (SQLite): while events
/// arrive, and after a second without any. What costs then is the waking of the thread.
const CHEAP_LOOK: Duration = Duration::from_millis(2);
const CHEAP_IDLE_LOOK: Duration = Duration::from_millis(10);
const IDLE: Duration = Duration::from_secs(1);
/// When nobody has wanted anything for that long, it waits until somebody does.
const REST: Duration = Duration::from_secs(3600);
/// How often the table is read although nothing seems to have changed.
const SAFETY_LOOK: Duration = Duration::from_secs(1);
/// Where the server notifies, this is how often the table is read when nothing came for a second.
const NOTIFIED_IDLE_LOOK: Duration = Duration::from_millis(100);

type Members = Arc<Mutex<MemberList>>;

#[derive(Default)]
struct MemberList {
    map: HashMap<u64, Arc<Member>>,
    /// Those who wait in a poll.
    waiters: HashMap<u64, Arc<Waiter>>,
    /// Where a thread that rests has to begin for members that came meanwhile.
    begin: Option<EventId>,
    /// A member attached since the last read; the next read must not be skipped.
    newcomer: bool,
}

/// The subscriptions of a stream handle, and the thread that serves them.
pub(crate) struct Hub {
    reader: Arc<Reader>,
    members: Members,
    threads: Mutex<Threads>,
}

#[derive(Default)]
struct Threads {
    next_key: u64,
    /// How many want the thread to stay, although they are no members.
    held: usize,
    hub: Option<Worker>,
    /// Waits for the server's notifications, where they are switched on.
    listener: Option<Worker>,
}

impl Hub {
    pub fn new(reader: Arc<Reader>) -> Self {
        Hub { reader, members: Members::default(), threads: Mutex::default() }
    }

    /// Whether there are several members, which may share what one of them reads to catch up.
    pub fn has_several(&self) -> bool {
        lock(&self.members).map.len() > 1
    }

    pub fn reader(&self) -> &Arc<Reader> {
        &self.reader
    }

    /// Adds a member, which from now on gets what comes after `from`, the highest id allocated when it
    /// asked. Starts the thread with the first one.
    pub(super) fn attach(&self, member: Arc<Member>, from: EventId) -> Result<u64> {
        let mut threads = lock(&self.threads);
        self.start(&mut threads, Some(from))?;
        threads.next_key += 1;
        let mut members = lock(&self.members);
        members.map.insert(threads.next_key, member);
        members.newcomer = true;
        members.begin = Some(members.begin.map_or(from, |begin| begin.min(from)));
        drop(members);
        threads.wake();
        Ok(threads.next_key)
    }

    /// Starts the thread, unless it runs. It reads on after `from`, or from the end of the stream on.
    fn start(&self, threads: &mut Threads, from: Option<EventId>) -> Result<()> {
        if threads.hub.is_some() {
            return Ok(());
        }
        let notices = Arc::<Notices>::default();
        let task = HubTask {
            reader: self.reader.clone(),
            members: self.members.clone(),
            position: Position::at(from.unwrap_or(0)),
            resting: from.is_none(),
            life: None,
            doubts: None,
            sleep: self.reader.settings.sleep_min,
            connection: None,
            listening: None,
            counter: None,
            read_at: Instant::now(),
            moved_at: Instant::now(),
            used_at: Instant::now(),
            notices: notices.clone(),
        };
        let worker = Worker::start("fes-hub", task)?;
        let backend = self.reader.pool()?;
        if self.reader.settings.notify && backend.backend().kind() == DatabaseKind::Postgres {
            let reader = self.reader.clone();
            let hub = worker.signal().clone();
            let heard = Instant::now();
            let task = ListenTask { reader, hub, notices, connection: None, heard };
            threads.listener = Some(Worker::start("fes-listen", task)?);
        }
        threads.hub = Some(worker);
        Ok(())
    }

    /// Has the thread look now.
    pub fn wake(&self) {
        lock(&self.threads).wake();
    }

    /// Whether a member of this ident is attached.
    pub fn has(&self, ident: &Ident) -> bool {
        lock(&self.members).map.values().any(|member| member.ident() == ident)
    }

    /// Removes a member; the last one ends the thread.
    pub fn detach(&self, key: u64) {
        let threads = lock(&self.threads);
        let mut members = lock(&self.members);
        members.map.remove(&key);
        if members.map.len() <= 1 {
            self.reader.forget_chunks();
        }
        drop(members);
        self.end_unless_used(threads);
    }

    fn end_unless_used(&self, mut threads: MutexGuard<'_, Threads>) {
        let used = threads.held > 0 || !lock(&self.members).map.is_empty();
        let ended = (!used).then(|| (threads.hub.take(), threads.listener.take()));
        drop(threads);
        if let Some(workers) = ended {
            close(workers);
        }
    }

    /// Ends every subscription.
    pub fn close(&self) {
        let members: Vec<Arc<Member>> = lock(&self.members).map.drain().map(|(_, m)| m).collect();
        for member in members {
            member.close();
        }
        wake_all(&lock(&self.members));
        let mut threads = lock(&self.threads);
        let ended = (threads.hub.take(), threads.listener.take());
        drop(threads);
        close(ended);
    }
}

impl Threads {
    fn wake(&self) {
        if let Some(worker) = &self.hub {
            worker.signal().wake();
        }
    }
}

impl Tail for Hub {
    fn hold(&self) -> Result<()> {
        let mut threads = lock(&self.threads);
        self.start(&mut threads, None)?;
        threads.held += 1;
        Ok(())
    }

    fn release(&self) {
        let mut threads = lock(&self.threads);
        threads.held = threads.held.saturating_sub(1);
        self.end_unless_used(threads);
    }

    fn attach(&self, waiter: Arc<Waiter>) -> u64 {
        let mut threads = lock(&self.threads);
        threads.next_key += 1;
        lock(&self.members).waiters.insert(threads.next_key, waiter);
        threads.wake();
        threads.next_key
    }

    fn detach(&self, key: u64) {
        lock(&self.members).waiters.remove(&key);
    }
}

fn wake_all(members: &MemberList) {
    members.waiters.values().for_each(|waiter| waiter.wake());
}

/// Ends the threads, also where they hang in a call on a server.
fn close((hub, listener): (Option<Worker>, Option<Worker>)) {
    for worker in hub.iter().chain(&listener) {
        worker.signal().stop();
    }
    // A caller that was told to end at once is waited for no longer.
    let at_once = line::check().is_err();
    for worker in hub.iter().chain(&listener) {
        if at_once {
            worker.cut();
        }
        worker.close();
    }
}

/// The thread's own part.
struct HubTask {
    reader: Arc<Reader>,
    members: Members,
    /// Read up to here.
    position: Position,
    /// Nobody wanted anything for a while: it begins anew at the end of the stream.
    resting: bool,
    /// The stream as it was when the doubts were these.
    life: Option<Life>,
    doubts: Option<u64>,
    /// The next wait when nothing comes.
    sleep: Duration,
    connection: Option<Connection>,
    listening: Option<WakeupSubscription>,
    /// Of [`Connection::change_counter`], at the last look.
    counter: Option<i64>,
    read_at: Instant,
    /// When events came last, or were said to.
    moved_at: Instant,
    /// When there was somebody last.
    used_at: Instant,
    notices: Arc<Notices>,
}

impl HubTask {
    /// Whether nobody has wanted anything for a while. Then it gives its connection back.
    fn rests(&mut self) -> bool {
        let mut members = lock(&self.members);
        if !members.map.is_empty() || !members.waiters.is_empty() {
            self.used_at = Instant::now();
            return false;
        }
        if self.used_at.elapsed() < IDLE {
            return false;
        }
        members.begin = None;
        drop(members);
        self.resting = true;
        self.connection = None;
        true
    }

    /// Begins at the end of the stream, after a rest. Whoever waits asks the database once more: it
    /// may not have seen everything up to there.
    fn resume(&mut self, connection: &mut Connection) -> Result<()> {
        let end = self.reader.live_start(connection)?;
        let begin = lock(&self.members).begin.take();
        self.position = Position::at(begin.map_or(end, |begin| begin.min(end)));
        (self.resting, self.counter) = (false, None);
        wake_all(&lock(&self.members));
        Ok(())
    }

    fn members(&self) -> Vec<Arc<Member>> {
        lock(&self.members).map.values().cloned().collect()
    }

    /// Sees to it that everybody stands in the stream as it is now; gives the doubts that there are.
    fn verify(&mut self, connection: &mut Connection) -> Result<u64> {
        let doubts = self.reader.doubts();
        let members = self.members();
        if self.doubts != Some(doubts) {
            let reader = &self.reader;
            let (at, life, rewound) =
                reader.verify_unregistered(connection, self.position, self.life, doubts)?;
            self.position = at;
            (self.life, self.doubts, self.counter) = (Some(life), Some(doubts), None);
            wake_all(&lock(&self.members));
            for member in &members {
                rewound.iter().for_each(|error| member.rewind_live(at.id, error));
            }
            for member in &members {
                member.verify(&self.reader, connection, doubts)?;
            }
            // What they have dropped is read again, unless they are far behind.
            let near = |id: &EventId| id + self.reader.settings.queue_max as EventId >= at.id;
            let needed = members.iter().filter_map(|member| member.needs()).filter(near).min();
            if let Some(id) = needed.filter(|id| *id < at.id) {
                self.position = Position::at(id);
            }
        }
        for member in &members {
            member.verify(&self.reader, connection, doubts)?;
        }
        Ok(doubts)
    }

    /// Reads on, and gives it to all.
    fn read(&mut self, connection: &mut Connection, doubts: u64) -> Result<Next> {
        let settings = &self.reader.settings;
        let limit = settings.max_chunk_events;
        let chunk = match self.reader.read(connection, self.position, &Want::all(), limit) {
            Err(error) if error.unreadable().is_some() => {
                self.pass_over(&error);
                return Ok(Next::Again);
            }
            // What that means is found out at the next step.
            Err(error) if error.kind() == ErrorKind::StreamRewound => return Ok(Next::Again),
            result => result?,
        };
        if self.reader.doubts() != doubts {
            return Ok(Next::Again);
        }
        let (full, end) = (chunk.events.len() >= limit, chunk.end());
        let events: Vec<Arc<Event>> = chunk.events.into_iter().map(Arc::new).collect();
        let piece = Piece { after: self.position.id, up_to: end.id, events: &events };
        for member in self.members() {
            member.offer(&piece);
        }
        for waiter in lock(&self.members).waiters.values() {
            waiter.offer(&events);
        }
        let progress = piece.up_to > piece.after;
        let moved = self.notices.came.swap(false, Ordering::AcqRel) || progress;
        if moved {
            self.moved_at = Instant::now();
        }
        if !progress {
            // Are ids allocated again below what was read?
            let read = self.members().iter().map(|member| member.position()).max();
            let highest = read.unwrap_or(0).max(self.position.id);
            if !self.reader.is_allocated(connection, highest)? {
                self.reader.doubt(false);
                return Ok(Next::Again);
            }
            self.reader.check_reachable(connection)?;
        }
        self.position = end;
        self.read_at = Instant::now();
        self.sleep = match moved {
            true => settings.sleep_min,
            false => (self.sleep + settings.sleep_step).min(settings.sleep_max),
        };
        let notified = self.notices.listening.load(Ordering::Acquire);
        if notified && self.moved_at.elapsed() >= IDLE {
            self.sleep = settings.sleep_max.max(NOTIFIED_IDLE_LOOK);
        }
        Ok(if full { Next::Again } else { Next::Sleep(self.sleep) })
    }

    /// Goes on behind the event that cannot be read, so that it holds up only those who want it.
    fn pass_over(&mut self, error: &Error) {
        let Some(row) = error.unreadable() else { return };
        log::warn!("futoin-eventstream: hub: {error}");
        for member in self.members() {
            member.pass_over(row.id, error);
        }
        wake_all(&lock(&self.members));
        self.position = Position::at(row.id);
        self.moved_at = Instant::now();
    }

    /// Stores the cursors that are due, in one transaction, in the order of their idents so that
    /// two hubs never wait for each other.
    fn store_cursors(&self, connection: &mut Connection, doubts: u64) -> Result<()> {
        let mut due: Vec<(Arc<Member>, (Position, Move))> = self
            .members()
            .into_iter()
            .filter_map(|member| member.due(doubts).map(|cursor| (member, cursor)))
            .collect();
        if due.is_empty() {
            return Ok(());
        }
        due.sort_by(|a, b| a.0.ident().as_str().cmp(b.0.ident().as_str()));
        let cursors: Vec<Option<EventId>> = connection.in_transaction(|connection| {
            let stored = |(member, (_, to)): &(Arc<Member>, (Position, Move))| {
                connection.advance(member.ident(), to)
            };
            due.iter().map(stored).collect()
        })?;
        for ((member, (at, _)), cursor) in due.iter().zip(cursors) {
            if !member.stored(*at, cursor, self.reader.asks()) {
                // Somebody has moved it back, or it is missing.
                self.reader.doubt(false);
            }
        }
        Ok(())
    }

    /// Whether nothing can have changed since the last read, by the counter of changes.
    fn is_quiet(&mut self, counter: i64) -> bool {
        let newcomer = std::mem::take(&mut lock(&self.members).newcomer);
        let same = self.counter.replace(counter) == Some(counter) && !newcomer;
        same && self.read_at.elapsed() < SAFETY_LOOK
    }
}

impl Task for HubTask {
    fn step(&mut self, signal: &Signal) -> Result<Next> {
        if self.listening.is_none() {
            self.listening = Some(self.reader.writer.wakes(signal.clone()));
        }
        if self.rests() {
            return Ok(Next::Sleep(REST));
        }
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.counter = None;
                self.reader.pool()?.backend().connect()?
            }
        };
        let begun = match self.resting {
            true => self.resume(&mut connection),
            false => Ok(()),
        };
        let next = begun.and_then(|()| self.verify(&mut connection)).and_then(|doubts| {
            let counter = connection.change_counter()?;
            self.store_cursors(&mut connection, doubts)?;
            if counter.is_some_and(|counter| self.is_quiet(counter)) {
                let busy = self.moved_at.elapsed() < IDLE;
                return Ok(Next::Sleep(if busy { CHEAP_LOOK } else { CHEAP_IDLE_LOOK }));
            }
            match self.read(&mut connection, doubts)? {
                Next::Sleep(time) if counter.is_some() => Ok(Next::Sleep(time.min(CHEAP_LOOK))),
                next => Ok(next),
            }
        });
        match next {
            Err(error) if error.ends_connection() || connection.has_open_transaction() => {
                self.reader.doubt(false);
                Err(error)
            }
            result => {
                self.connection = Some(connection);
                result
            }
        }
    }

    fn patience(&self) -> Option<Duration> {
        self.reader.settings.call_timeout
    }

    fn failed(&mut self, error: Error) {
        log::warn!("futoin-eventstream: hub: {error}");
        for member in self.members() {
            member.fail(&error);
        }
        wake_all(&lock(&self.members));
    }
}
