//! Reaching a server: the first of its hosts that will do, in limited time, and with what the process has
//! left of descriptors and threads.

use crate::config::Settings;
use crate::config::location::{Host, Server};
use crate::config::settings::{Keepalive, SessionAttrs};
use crate::model::error::{Error, ErrorKind, Result, fail};
use crate::sync::deadline::Deadlines;
use crate::sync::line::{GRACE, Line, Token, in_time, told_to_end};
use crate::sync::lock::lock;
use std::fs::File;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

/// A connection that is being made takes up to so many descriptors.
const DESCRIPTORS: usize = 8;
/// The thread is given so much longer than what it does, whose own error says more.
const SLACK: Duration = Duration::from_millis(50);

/// Where a server is, and how long its answers may take.
pub(crate) struct Reach {
    /// For messages.
    what: &'static str,
    hosts: Vec<Host>,
    socket: Option<PathBuf>,
    limit: Duration,
    call_timeout: Option<Duration>,
    keepalive: Keepalive,
    pub session: SessionAttrs,
    lines: Mutex<Vec<Weak<Line>>>,
    /// Ends calls where the driver limits each of their reads only.
    deadlines: Mutex<Option<Deadlines>>,
    /// Ends the connections that are being made when all is closed.
    closing: Token,
}

impl Reach {
    pub fn new(what: &'static str, server: &Server, settings: &Settings) -> Arc<Self> {
        Arc::new(Reach {
            what,
            hosts: server.hosts.clone(),
            socket: server.socket.clone(),
            limit: settings.connect_timeout,
            call_timeout: settings.call_timeout,
            keepalive: settings.keepalive,
            session: settings.session,
            lines: Mutex::default(),
            deadlines: Mutex::default(),
            closing: Token::default(),
        })
    }

    fn noted(&self) -> MutexGuard<'_, Vec<Weak<Line>>> {
        lock(&self.lines)
    }

    /// The line of a new connection.
    pub fn line(&self) -> Arc<Line> {
        let line = Line::new(self.call_timeout);
        let mut lines = self.noted();
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Arc::downgrade(&line));
        line
    }

    /// The line of a new connection whose calls are ended from outside when their time is over.
    pub fn watched_line(&self) -> Result<Arc<Line>> {
        let line = self.line();
        if self.call_timeout.is_some() {
            let mut deadlines = lock(&self.deadlines);
            if self.closing.is_cut() {
                return Err(told_to_end());
            }
            match &*deadlines {
                Some(deadlines) => deadlines.watch(&line),
                None => deadlines.insert(Deadlines::start()?).watch(&line),
            }
        }
        Ok(line)
    }

    /// Gives calls in flight a moment to end, then cuts them off, and the connections that are being made.
    pub fn close(&self) {
        let lines: Vec<Arc<Line>> = self.noted().iter().filter_map(Weak::upgrade).collect();
        let start = Instant::now();
        while lines.iter().any(|line| line.in_call()) && start.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(2));
        }
        lines.iter().filter(|line| line.in_call()).for_each(|line| line.cut());
        self.closing.cut();
        // The thread that a close may wait for must not wait for this lock.
        let deadlines = lock(&self.deadlines).take();
        drop(deadlines);
    }

    pub fn call_timeout(&self) -> Option<Duration> {
        self.call_timeout
    }

    /// After so long without a sign of life a host is taken for dead.
    pub fn dead_after(&self) -> Option<Duration> {
        (self.keepalive.idle > 0).then(|| self.keepalive.patience())
    }

    /// Connects to the first host that `dial` finds good, which is given its share of the time. It runs
    /// on a thread of its own, because looking up a name or beginning a connection cannot be ended from
    /// outside.
    pub fn connect<T: Send + 'static>(
        self: &Arc<Self>,
        dial: impl Fn(&Host, Duration) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let own = self.clone();
        let _scope = self.closing.scope();
        let result = in_time("fes-connect", self.limit + SLACK, move || own.try_hosts(dial));
        result.map_err(|error| match error.kind() {
            ErrorKind::Timeout if error.is_lost() => error,
            ErrorKind::Timeout => {
                let limit = self.limit.as_millis();
                let doing = format!(
                    "cannot connect to {} at {}: connect_timeout_ms={limit}",
                    self.what,
                    self.place()
                );
                error.context(doing).with_kind(ErrorKind::ConnectFailed)
            }
            ErrorKind::OutOfResources => error.context(format!("cannot connect to {}", self.what)),
            _ => error,
        })
    }

    /// For messages.
    fn place(&self) -> String {
        match &self.socket {
            Some(path) => format!("the socket {}", path.display()),
            None => self.hosts.iter().map(Host::to_string).collect::<Vec<_>>().join(", "),
        }
    }

    fn try_hosts<T>(&self, dial: impl Fn(&Host, Duration) -> Result<T>) -> Result<T> {
        let end = Instant::now() + self.limit;
        let count = if self.socket.is_some() { 1 } else { self.hosts.len() };
        let mut errors: Vec<Error> = Vec::new();
        for (index, host) in self.hosts.iter().take(count).enumerate() {
            let rest = end.saturating_duration_since(Instant::now());
            let share = (rest / (count - index) as u32).max(Duration::from_millis(1));
            let place = match &self.socket {
                Some(_) => self.place(),
                None => host.to_string(),
            };
            let result = with_descriptors(|| dial(host, share));
            match result {
                Ok(connection) => return Ok(connection),
                Err(error) if error.kind() == ErrorKind::OutOfResources => return Err(error),
                Err(error) => errors.push(
                    error.while_connecting(format!("cannot connect to {} at {place}", self.what)),
                ),
            }
        }
        Err(joined(errors))
    }
}

/// One error for all hosts that were tried. It helps to try again if it helps with one of them.
fn joined(mut errors: Vec<Error>) -> Error {
    let Some(last) = errors.pop() else {
        return Error::new(ErrorKind::Internal, "there is no host to connect to");
    };
    if errors.is_empty() {
        return last;
    }
    errors.push(last);
    let texts: Vec<String> = errors.iter().map(Error::to_string).collect();
    let error = Error::new(ErrorKind::ConnectFailed, texts.join("; "));
    match errors.iter().any(Error::is_retriable) {
        true => error,
        false => error.lasting(),
    }
}

/// The addresses of a host. Given as such, an address is not looked up.
pub(crate) fn addresses(host: &Host) -> Result<Vec<SocketAddr>> {
    let found = (host.name.as_str(), host.port).to_socket_addrs();
    let found: Vec<SocketAddr> = found
        .map_err(|why| Error::new(ErrorKind::ConnectFailed, format!("no address: {why}")))?
        .collect();
    if found.is_empty() {
        fail!(ConnectFailed, "the name has no address");
    }
    Ok(found)
}

/// Runs what makes a connection, if there are descriptors for it. The drivers do not look: one of them
/// would panic.
fn with_descriptors<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    static AT_WORK: AtomicUsize = AtomicUsize::new(0);
    struct Working;
    impl Drop for Working {
        fn drop(&mut self) {
            AT_WORK.fetch_sub(1, Ordering::AcqRel);
        }
    }
    let others = AT_WORK.fetch_add(1, Ordering::AcqRel);
    let _working = Working;
    has_descriptors(DESCRIPTORS * (others + 1))?;
    work()
}

/// Fails if the process cannot open so many files more.
pub(crate) fn has_descriptors(count: usize) -> Result<()> {
    let spare = (0..count).map(|_| File::open("/dev/null")).collect::<std::io::Result<Vec<_>>>();
    match spare {
        Err(why) if is_out_of_descriptors(&why) => Err(Error::new(
            ErrorKind::OutOfResources,
            format!("no descriptor is left ({why}): raise the limit of open files (ulimit -n)"),
        )),
        // There may be no such file, or no such system.
        _ => Ok(()),
    }
}

fn is_out_of_descriptors(why: &std::io::Error) -> bool {
    // EMFILE of the process and ENFILE of the system: the same numbers on all systems.
    matches!(why.raw_os_error(), Some(23 | 24))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Options;
    use crate::config::location::Location;

    fn reach(hosts: &str) -> Arc<Reach> {
        let url = format!("postgres://u@{hosts}/d?connect_timeout_ms=900");
        let (location, settings) = crate::config::url::parse(&url, &Options::new()).unwrap();
        let Location::Postgres(server) = location else { panic!() };
        Reach::new("PostgreSQL", &server, &settings)
    }

    #[test]
    fn hosts_are_tried_in_order_each_with_its_share_of_the_time() {
        let good = reach("a,b:1,c:2").connect(|host, share| match host.name.as_str() {
            "c" => Ok((host.to_string(), share)),
            "a" => {
                std::thread::sleep(share);
                fail!(Timeout, "silent")
            }
            _ => fail!(ConnectionLost, "refused"),
        });
        let (host, share) = good.unwrap();
        assert_eq!(host, "c:2");
        let least = Duration::from_millis(400);
        assert!(share > least && share <= Duration::from_millis(600), "{share:?}");
    }

    #[test]
    fn an_error_names_every_host_and_is_lasting_if_all_are() {
        let all = |lasting: usize| {
            let error = reach("a,b").connect(move |host, _| -> Result<()> {
                let error = Error::new(ErrorKind::ConnectFailed, "bad");
                let is_lasting = host.name == "a" || lasting == 2;
                Err(if is_lasting { error.lasting() } else { error })
            });
            error.unwrap_err()
        };
        let text = all(1).to_string();
        assert!(text.contains("a:5432: bad") && text.contains("b:5432: bad"), "{text}");
        assert!(all(1).is_retriable() && !all(2).is_retriable());
    }
}
