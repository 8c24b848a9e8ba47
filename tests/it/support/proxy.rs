//! A TCP proxy between a test and a server, which can be made to misbehave while it runs.
//!
//! It has a free port of the loopback interface. [`Proxy::set`] changes at once what becomes of
//! connections, also of those that are open.
//!
//! ```ignore
//! let proxy = Proxy::before(&db.url);
//! let stream = EventStream::open(&proxy.url(&db.url)).unwrap();
//! proxy.set(Mode::Silent);
//! ```

use nix::sys::socket::{setsockopt, sockopt};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Bytes pass in both directions.
    Forward,
    /// Connections are accepted, and what comes is swallowed: nobody answers. A connection that lost bytes
    /// stays silent for ever, also when the path is healed; an open one that had nothing to say goes on.
    Silent,
    /// What clients say reaches the server, and its answers are swallowed: the fate of a write is unknown.
    Mute,
    /// Nothing passes, and nothing is lost: all of it passes when the path is healed.
    Held,
    /// Each piece waits so long before it passes.
    Slow(Duration),
    /// What the server says comes byte by byte, with so long between two.
    Drip(Duration),
    /// Open connections are reset, and new ones as soon as they are accepted.
    Reset,
    /// Open connections are reset, and nobody listens.
    Refuse,
}

/// A proxy; dropping it resets its connections.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    target: Mutex<SocketAddr>,
    mode: Mutex<Mode>,
    listener: Mutex<Option<TcpListener>>,
    open: Mutex<Vec<Weak<Pair>>>,
    accepted: AtomicUsize,
    ended: AtomicBool,
}

/// A connection and its continuation.
struct Pair {
    client: TcpStream,
    server: Option<TcpStream>,
    /// Nothing passes any more, upwards and downwards: it lost bytes.
    deaf: [AtomicBool; 2],
    cut: AtomicBool,
}

/// So often a thread looks at the mode when nothing comes.
const LOOK: Duration = Duration::from_millis(5);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// A proxy to an address, forwarding.
    pub fn to(target: impl ToSocketAddrs) -> Proxy {
        let target = target.to_socket_addrs().unwrap().next().expect("an address");
        let listener = listen(0);
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            mode: Mutex::new(Mode::Forward),
            listener: Mutex::new(Some(listener)),
            open: Mutex::default(),
            accepted: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let own = shared.clone();
        thread::Builder::new().name("proxy".to_owned()).spawn(move || own.accept()).unwrap();
        Proxy { port, shared }
    }

    /// A proxy to the server of a database URL.
    pub fn before(url: &str) -> Proxy {
        Proxy::to(address(url))
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same database through this proxy.
    pub fn url(&self, url: &str) -> String {
        let mut url = url::Url::parse(url).unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(self.port)).unwrap();
        url.into()
    }

    /// Changes what becomes of connections, from now on, open ones too.
    pub fn set(&self, mode: Mode) {
        let mut now = lock(&self.shared.mode);
        let mut listener = lock(&self.shared.listener);
        *now = mode;
        match mode {
            Mode::Refuse => *listener = None,
            _ if listener.is_none() => *listener = Some(listen(self.port)),
            _ => {}
        }
        drop((now, listener));
        if matches!(mode, Mode::Refuse | Mode::Reset) {
            self.cut();
        }
    }

    /// Connections that come from now on go to the server of another URL; open ones stay.
    pub fn point_to(&self, url: &str) {
        *lock(&self.shared.target) = address(url);
    }

    /// Resets the open connections.
    pub fn cut(&self) {
        for pair in lock(&self.shared.open).drain(..).filter_map(|pair| pair.upgrade()) {
            pair.reset();
        }
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Acquire)
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        lock(&self.shared.open).iter().filter(|pair| pair.strong_count() > 0).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        *lock(&self.shared.listener) = None;
        self.cut();
    }
}

fn address(url: &str) -> SocketAddr {
    let url = url::Url::parse(url).unwrap();
    let host = url.host_str().expect("a host").trim_matches(['[', ']']).to_owned();
    let port = url.port().unwrap_or(if url.scheme().starts_with("postgres") { 5432 } else { 3306 });
    (host, port).to_socket_addrs().unwrap().next().expect("an address")
}

fn listen(port: u16) -> TcpListener {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    // A port that was closed may still be busy for a moment.
    let tried =
        (0..100).find_map(|_| bind().map_err(|_| thread::sleep(Duration::from_millis(20))).ok());
    let listener = tried.unwrap_or_else(|| bind().unwrap());
    listener.set_nonblocking(true).unwrap();
    listener
}

impl Shared {
    fn mode(&self) -> Mode {
        *lock(&self.mode)
    }

    fn accept(self: &Arc<Self>) {
        while !self.ended.load(Ordering::Acquire) {
            let client = lock(&self.listener).as_ref().and_then(|socket| socket.accept().ok());
            match client {
                Some((client, _)) => self.join(client),
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Joins a client with the server.
    fn join(self: &Arc<Self>, client: TcpStream) {
        self.accepted.fetch_add(1, Ordering::AcqRel);
        let (mode, target) = (self.mode(), *lock(&self.target));
        let server = match mode {
            Mode::Silent | Mode::Reset | Mode::Refuse => None,
            _ => TcpStream::connect(target).ok(),
        };
        let deaf = [(); 2].map(|()| AtomicBool::new(mode == Mode::Silent));
        let pair = Pair { client, server, deaf, cut: AtomicBool::new(false) };
        if pair.server.is_none() && mode != Mode::Silent {
            return pair.reset();
        }
        let pair = Arc::new(pair);
        let mut open = lock(&self.open);
        open.retain(|pair| pair.strong_count() > 0);
        open.push(Arc::downgrade(&pair));
        drop(open);
        for upwards in [true, false] {
            let (shared, pair) = (self.clone(), pair.clone());
            thread::spawn(move || {
                if shared.pump(&pair, upwards).is_err() {
                    pair.reset();
                }
            });
        }
    }

    /// Passes on what comes from one side until it ends.
    fn pump(&self, pair: &Pair, upwards: bool) -> std::io::Result<()> {
        let (from, to) = match (&pair.server, upwards) {
            (Some(server), true) => (&pair.client, Some(server)),
            (Some(server), false) => (server, Some(&pair.client)),
            (None, true) => (&pair.client, None),
            (None, false) => return Ok(()),
        };
        from.set_nonblocking(false)?;
        from.set_nodelay(true)?;
        from.set_read_timeout(Some(LOOK))?;
        let (mut from, mut bytes) = (from, vec![0; 64 << 10]);
        loop {
            if pair.cut.load(Ordering::Acquire) || self.ended.load(Ordering::Acquire) {
                return Err(ErrorKind::ConnectionReset.into());
            }
            if self.mode() == Mode::Held {
                thread::sleep(LOOK);
                continue;
            }
            let count = match from.read(&mut bytes) {
                Ok(count) => count,
                Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    continue;
                }
                Err(why) => return Err(why),
            };
            if let (Some(mut to), true) = (to, self.passes(pair, upwards)?) {
                match count {
                    0 => return to.shutdown(Shutdown::Write),
                    _ if !upwards => self.drip(pair, to, &bytes[..count])?,
                    _ => to.write_all(&bytes[..count])?,
                }
            }
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// Passes on what a server says: at once, or byte by byte as long as the mode asks for that.
    fn drip(&self, pair: &Pair, mut to: &TcpStream, mut bytes: &[u8]) -> std::io::Result<()> {
        while let (Mode::Drip(time), [first, rest @ ..]) = (self.mode(), bytes) {
            if pair.cut.load(Ordering::Acquire) || self.ended.load(Ordering::Acquire) {
                return Err(ErrorKind::ConnectionReset.into());
            }
            to.write_all(&[*first])?;
            thread::sleep(time);
            bytes = rest;
        }
        to.write_all(bytes)
    }

    /// Whether a piece passes; one that does not makes the connection deaf.
    fn passes(&self, pair: &Pair, upwards: bool) -> std::io::Result<bool> {
        while self.mode() == Mode::Held && !pair.cut.load(Ordering::Acquire) {
            thread::sleep(LOOK);
        }
        let deaf = &pair.deaf[usize::from(!upwards)];
        match self.mode() {
            Mode::Silent => pair.deaf.iter().for_each(|deaf| deaf.store(true, Ordering::Release)),
            Mode::Mute if !upwards => deaf.store(true, Ordering::Release),
            Mode::Reset | Mode::Refuse => return Err(ErrorKind::ConnectionReset.into()),
            Mode::Slow(time) => thread::sleep(time),
            Mode::Mute | Mode::Forward | Mode::Held | Mode::Drip(_) => {}
        }
        Ok(!deaf.load(Ordering::Acquire))
    }
}

impl Pair {
    /// Ends both sides by a reset, not by an orderly end.
    fn reset(&self) {
        self.cut.store(true, Ordering::Release);
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        for socket in [Some(&self.client), self.server.as_ref()].into_iter().flatten() {
            let _ = setsockopt(socket.as_raw_fd(), sockopt::Linger, &linger);
        }
    }
}
