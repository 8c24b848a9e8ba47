//! A descriptor for event loops (`poll`, `epoll`, libuv, GLib, asyncio): it is readable while somebody
//! should ask what there is.

use crate::sync::lock::lock;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard};

/// An eventfd where there is one, else a pair of sockets.
pub(super) struct Alarm {
    /// What is watched, and read to silence it.
    watched: File,
    /// Where the descriptor has another end.
    bell: Option<File>,
    raised: Mutex<bool>,
}

impl Alarm {
    /// Makes one that is raised.
    pub fn new() -> io::Result<Self> {
        let (watched, bell) = descriptors()?;
        let alarm = Alarm { watched, bell, raised: Mutex::default() };
        alarm.raise();
        Ok(alarm)
    }

    fn raised(&self) -> MutexGuard<'_, bool> {
        lock(&self.raised)
    }

    /// Makes it readable.
    pub fn raise(&self) {
        let mut raised = self.raised();
        if !*raised {
            let mut bell = self.bell.as_ref().unwrap_or(&self.watched);
            *raised = bell.write_all(&1_u64.to_ne_bytes()).is_ok();
        }
    }

    /// Makes it not readable.
    pub fn silence(&self) {
        let mut raised = self.raised();
        if *raised {
            // There is nothing to read if a program has read it against the rules.
            let _ = (&self.watched).read(&mut [0; 8]);
            *raised = false;
        }
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watched.as_fd()
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn descriptors() -> io::Result<(File, Option<File>)> {
    use rustix::event::{EventfdFlags, eventfd};
    Ok((eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?.into(), None))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
use sockets as descriptors;

#[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
fn sockets() -> io::Result<(File, Option<File>)> {
    use std::os::fd::OwnedFd;
    let (watched, bell) = std::os::unix::net::UnixStream::pair()?;
    for end in [&watched, &bell] {
        end.set_nonblocking(true)?;
    }
    Ok((OwnedFd::from(watched).into(), Some(OwnedFd::from(bell).into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn is_readable(alarm: &Alarm) -> bool {
        let mut watched = [PollFd::new(alarm, PollFlags::IN)];
        poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }

    #[test]
    fn it_is_readable_while_it_is_raised() {
        for (watched, bell) in [descriptors().unwrap(), sockets().unwrap()] {
            let alarm = Alarm { watched, bell, raised: Mutex::default() };
            assert!(!is_readable(&alarm));
            for _ in 0..3 {
                alarm.raise();
                alarm.raise();
                assert!(is_readable(&alarm));
                alarm.silence();
                assert!(!is_readable(&alarm));
                alarm.silence();
            }
        }
    }
}
