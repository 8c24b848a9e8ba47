//! What the service manager is told: the protocol of `sd_notify(3)`, one datagram for each message. The crate
//! `sd-notify` cannot reach abstract sockets, which systemd uses too.

use std::env;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// The service manager, if one listens (`NOTIFY_SOCKET`), and its watchdog.
pub struct Manager {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
    pinged: Option<Instant>,
}

impl Manager {
    pub fn of_environment() -> Self {
        let to = env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let address = address(name.as_bytes())?;
            let socket = UnixDatagram::unbound().ok()?;
            // It must not hold the work up.
            socket.set_nonblocking(true).ok()?;
            Some((socket, address))
        });
        let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 0);
        Manager { to, watchdog: watchdog.map(Duration::from_micros), pinged: None }
    }

    /// The longest time that a worker may be at one step before the watchdog is not fed any more.
    pub fn patience(&self) -> Option<Duration> {
        self.watchdog
    }

    pub fn ready(&self) {
        self.send("READY=1\nSTATUS=at work");
    }

    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Not ready yet, and not to be given up for this time.
    pub fn waiting(&self, why: &str, time: Duration) {
        let why = why.replace('\n', " ");
        self.send(&format!("STATUS=waiting: {why}\nEXTEND_TIMEOUT_USEC={}", time.as_micros()));
    }

    /// Feeds the watchdog, if that is due.
    pub fn alive(&mut self) {
        let Some(limit) = self.watchdog else { return };
        if self.pinged.is_none_or(|at| at.elapsed() >= limit / 3) {
            self.pinged = Some(Instant::now());
            self.send("WATCHDOG=1");
        }
    }

    /// Nobody who listens is no reason to stop working.
    fn send(&self, message: &str) {
        if let Some((socket, address)) = &self.to {
            let _ = socket.send_to_addr(message.as_bytes(), address);
        }
    }
}

fn address(name: &[u8]) -> Option<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let [b'@', rest @ ..] = name {
        use std::os::linux::net::SocketAddrExt;
        return SocketAddr::from_abstract_name(rest).ok();
    }
    SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)).ok()
}
