//! The time that a call on a server may take, and how another thread ends a call that hangs.
//!
//! Each connection to a server has a [`Line`]. While a call is in flight the line knows when it must
//! have ended; the socket underneath fails then. A [`Token`] stands for somebody who may want to stop:
//! calls that are made in its [scope](Token::scope) are ended by [`Token::cut`], and refused afterwards.

use crate::model::error::{Error, ErrorKind, Result, fail};
use crate::sync::lock::lock;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::task::Waker;
use std::time::{Duration, Instant};

/// A healthy call may still end in this time after it was told to; one that hangs is cut off then.
pub(crate) const GRACE: Duration = Duration::from_millis(150);

/// Times are counted from here.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The line to a server, as those see it who limit or end its calls.
pub(crate) struct Line {
    /// The longest time of a call, in microseconds; `u64::MAX` without a limit.
    limit: AtomicU64,
    /// Microseconds since [`START`] at which the call in flight must have ended; 0 if there is none.
    until: AtomicU64,
    cut: AtomicBool,
    /// A call failed, and the connection is of no more use.
    broken: AtomicBool,
    end: Mutex<End>,
    /// The thread that ends calls from outside, where the driver cannot limit a whole call.
    watched: OnceLock<Arc<dyn Watch>>,
}

/// Ends the calls of lines from outside.
pub(crate) trait Watch: Send + Sync {
    /// A call begins that must have ended at `until`, a time of [`micros`].
    fn call_begins(&self, until: u64);

    /// A line has another limit.
    fn limit_changed(&self);
}

/// How a call that hangs is ended.
enum End {
    Nothing,
    /// Waking the task that waits: it sees that the line is cut.
    Wake(Waker),
    Shutdown(Box<dyn Fn() + Send>),
}

impl Line {
    pub fn new(limit: Option<Duration>) -> Arc<Self> {
        let end = Mutex::new(End::Nothing);
        let (cut, broken) = (AtomicBool::new(false), AtomicBool::new(false));
        let limit = AtomicU64::new(in_micros(limit));
        let until = AtomicU64::new(0);
        Arc::new(Line { limit, until, cut, broken, end, watched: OnceLock::new() })
    }

    /// From now on calls may take so long.
    pub fn limit(&self, limit: Duration) {
        self.limit.store(in_micros(Some(limit)), Ordering::Release);
        if let Some(watched) = self.watched.get() {
            watched.limit_changed();
        }
    }

    /// The shortest time after which a call that begins now may have to be ended.
    pub fn shortest(&self) -> Option<Duration> {
        let limit = self.limit.load(Ordering::Acquire);
        (limit < u64::MAX).then(|| Duration::from_micros(limit))
    }

    /// Has calls that begin told to the thread that ends them.
    pub fn watched_by(&self, watched: Arc<dyn Watch>) {
        let _ = self.watched.set(watched);
    }

    /// Where a blocking socket is to be shut down.
    pub fn shutdown_by(&self, shutdown: impl Fn() + Send + 'static) {
        *lock(&self.end) = End::Shutdown(Box::new(shutdown));
    }

    /// Begins a call, which ends when what is returned is dropped. Fails if the thread is in the scope
    /// of a token that was cut.
    pub fn call(self: &Arc<Self>) -> Result<Call> {
        self.call_within(self.shortest())
    }

    /// As [`call`](Self::call), with another limit than that of the connection.
    pub fn call_within(self: &Arc<Self>, limit: Option<Duration>) -> Result<Call> {
        if self.broken.load(Ordering::Acquire) {
            fail!(ConnectionLost, "the connection broke in a call before");
        }
        let tokens = CURRENT.with_borrow(Clone::clone);
        for (index, token) in tokens.iter().enumerate() {
            if !token.enter(self) {
                tokens[..index].iter().for_each(|token| token.leave(self));
                return Err(told_to_end());
            }
        }
        let before = self.until.load(Ordering::Relaxed);
        let until = limit.map_or(u64::MAX, |limit| micros(Instant::now() + limit));
        let until = if before == 0 { until } else { until.min(before) };
        self.until.store(until, Ordering::Release);
        if let Some(watched) = self.watched.get() {
            watched.call_begins(until);
        }
        Ok(Call { line: self.clone(), before, limit, tokens })
    }

    /// When the call in flight must have ended.
    pub fn until(&self) -> Option<Instant> {
        match self.until.load(Ordering::Acquire) {
            0 | u64::MAX => None,
            micros => Some(moment(micros)),
        }
    }

    pub fn in_call(&self) -> bool {
        self.until.load(Ordering::Acquire) != 0
    }

    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Who waits is to be woken by this when the line is cut.
    pub fn waits(&self, waker: &Waker) {
        let mut end = lock(&self.end);
        match &*end {
            End::Wake(old) if old.will_wake(waker) => {}
            _ => *end = End::Wake(waker.clone()),
        }
    }

    /// What is said last, when the connection is closed, must be said quickly.
    pub fn last_words(&self) {
        self.until.store(micros(Instant::now() + GRACE), Ordering::Release);
    }

    /// Ends the call in flight, and every later one.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.end_call();
    }

    /// Ends the call in flight, because its time is over.
    pub fn end_call(&self) {
        match &*lock(&self.end) {
            End::Nothing => {}
            End::Wake(waker) => waker.wake_by_ref(),
            End::Shutdown(shutdown) => shutdown(),
        }
    }
}

fn in_micros(limit: Option<Duration>) -> u64 {
    limit.map_or(u64::MAX, |limit| u64::try_from(limit.as_micros()).unwrap_or(u64::MAX - 1))
}

/// At least 1, because 0 means none.
pub(crate) fn micros(when: Instant) -> u64 {
    let time = when.saturating_duration_since(*START).as_micros();
    u64::try_from(time).unwrap_or(u64::MAX).clamp(1, u64::MAX - 1)
}

/// The moment that [`micros`] gave.
pub(crate) fn moment(micros: u64) -> Instant {
    *START + Duration::from_micros(micros)
}

pub(crate) fn told_to_end() -> Error {
    Error::new(ErrorKind::Timeout, "the call was cut off, because it was told to end").lost()
}

/// A call in flight.
pub(crate) struct Call {
    line: Arc<Line>,
    /// Of the call around it.
    before: u64,
    limit: Option<Duration>,
    tokens: Vec<Token>,
}

impl Call {
    /// Says of a failure of the connection what it was: the end of the time, or of the patience.
    pub fn explain<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            if error.kind() != ErrorKind::ConnectionLost {
                return error;
            }
            self.line.broken.store(true, Ordering::Release);
            if self.line.is_cut() {
                return told_to_end();
            }
            match (self.line.until(), self.limit) {
                (Some(until), Some(limit)) if Instant::now() >= until => {
                    let message = format!(
                        "the server did not answer within {} ms (option call_timeout_ms); the \
                         connection was given up",
                        limit.as_millis()
                    );
                    Error::new(ErrorKind::Timeout, message).lost()
                }
                _ => error,
            }
        })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.line.until.store(self.before, Ordering::Release);
        for token in &self.tokens {
            token.leave(&self.line);
        }
    }
}

/// Stands for a caller that may want to stop what others do for it. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Token(Arc<Mutex<Calls>>);

#[derive(Default)]
struct Calls {
    cut: bool,
    lines: Vec<Arc<Line>>,
}

thread_local! {
    /// The tokens of the scopes that this thread is in.
    static CURRENT: RefCell<Vec<Token>> = const { RefCell::new(Vec::new()) };
}

impl Token {
    /// Until what is returned is dropped, calls of this thread are ended by this token, too.
    pub fn scope(&self) -> Scope {
        Scope::of(vec![self.clone()])
    }

    /// The tokens of this thread, for a thread that works for it.
    pub fn current() -> Vec<Token> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Ends the calls in flight, and refuses later ones.
    pub fn cut(&self) {
        let mut calls = lock(&self.0);
        calls.cut = true;
        let lines = calls.lines.clone();
        drop(calls);
        lines.iter().for_each(|line| line.cut());
    }

    pub fn is_cut(&self) -> bool {
        lock(&self.0).cut
    }

    /// Whether a call may begin.
    fn enter(&self, line: &Arc<Line>) -> bool {
        let mut calls = lock(&self.0);
        if !calls.cut {
            calls.lines.push(line.clone());
        }
        !calls.cut
    }

    fn leave(&self, line: &Arc<Line>) {
        let mut calls = lock(&self.0);
        if let Some(index) = calls.lines.iter().rposition(|own| Arc::ptr_eq(own, line)) {
            calls.lines.swap_remove(index);
        }
    }
}

/// Fails if the thread is in the scope of a token that was cut.
pub(crate) fn check() -> Result<()> {
    match CURRENT.with_borrow(|tokens| tokens.iter().any(Token::is_cut)) {
        true => Err(told_to_end()),
        false => Ok(()),
    }
}

/// The tokens of a thread, for a while.
pub(crate) struct Scope(usize);

impl Scope {
    pub fn of(tokens: Vec<Token>) -> Self {
        let count = tokens.len();
        CURRENT.with_borrow_mut(|current| current.extend(tokens));
        Scope(count)
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let count = self.0;
        CURRENT.with_borrow_mut(|current| current.truncate(current.len().saturating_sub(count)));
    }
}

/// Runs what may hang where nothing can end it on a thread of its own, and waits for it until `limit`,
/// or until the scope of this thread is cut. What comes too late is dropped.
pub(crate) fn in_time<T: Send + 'static>(
    name: &str,
    limit: Duration,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    use std::sync::mpsc::{RecvTimeoutError, sync_channel};
    const SLICE: Duration = Duration::from_millis(20);
    let end = Instant::now() + limit;
    let tokens = Token::current();
    let (sender, result) = sync_channel(1);
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _scope = Scope::of(tokens);
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let done = done.unwrap_or_else(|panic| Err(crate::model::error::panic_error(&*panic)));
        let _ = sender.send(done);
    });
    thread.map_err(|why| no_thread(name, &why))?;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match result.recv_timeout(left.min(SLICE)) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => fail!(Internal, "thread {name} ended early"),
            Err(RecvTimeoutError::Timeout) => check()?,
        }
        if left.is_zero() {
            let limit = limit.as_millis();
            fail!(Timeout, "no answer within {limit} ms");
        }
    }
}

/// The system gives no thread.
pub(crate) fn no_thread(name: &str, why: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::OutOfResources,
        format!(
            "the system gives no thread {name} ({why}): raise the limit of threads (ulimit -u), or \
             use fewer of them"
        ),
    )
}

#[cfg(test)]
impl Line {
    /// Lets calls begin again after one that broke.
    pub fn mend(&self) {
        self.broken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_knows_its_end_and_a_call_inside_of_it_does_not_prolong_it() {
        let line = Line::new(Some(Duration::from_secs(10)));
        assert!(!line.in_call() && line.until().is_none());
        let outer = line.call_within(Some(Duration::from_secs(1))).unwrap();
        let end = line.until().unwrap();
        let inner = line.call().unwrap();
        assert_eq!(line.until().unwrap(), end);
        drop(inner);
        assert_eq!(line.until().unwrap(), end);
        drop(outer);
        assert!(!line.in_call());
    }

    #[test]
    fn a_cut_token_ends_its_calls_and_refuses_later_ones() {
        let (token, line) = (Token::default(), Line::new(None));
        let scope = token.scope();
        let call = line.call().unwrap();
        token.cut();
        assert!(line.is_cut());
        let lost = Error::new(ErrorKind::ConnectionLost, "gone");
        assert_eq!(call.explain::<()>(Err(lost)).unwrap_err().kind(), ErrorKind::Timeout);
        drop(call);
        let other = Line::new(None);
        assert!(other.call().is_err() && check().is_err());
        drop(scope);
        assert!(other.call().is_ok() && check().is_ok());
    }

    #[test]
    fn a_call_that_nothing_can_end_is_left_alone() {
        let slow = || {
            std::thread::sleep(Duration::from_secs(1));
            Ok(())
        };
        let start = Instant::now();
        let late = in_time("test", Duration::from_millis(30), slow).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Timeout);
        let token = Token::default();
        let scope = token.scope();
        token.cut();
        assert!(in_time("test", Duration::from_secs(60), slow).unwrap_err().is_lost());
        drop(scope);
        assert!(start.elapsed() < Duration::from_millis(900));
        assert_eq!(in_time("test", Duration::from_secs(60), || Ok(7)).unwrap(), 7);
    }
}
