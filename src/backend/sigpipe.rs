//! No call of a driver raises SIGPIPE in the program that the library is a part of.
//!
//! Writing to a socket whose other end is gone raises it, and it ends every program that does not
//! ignore it, as C programs do not by default. The standard library prevents that for a plain write,
//! but not for a vectored one, which TLS is written with. There is no way to the driver's writes, so
//! the signal is blocked in the calling thread for the time of the driver's work, and taken away
//! after work that may have raised it. The disposition of the process stays as it is, and callbacks
//! and threads of the program see their own mask.
//!
//! Two changes of the mask cost less than a microsecond beside a round trip to a server. SQLite has
//! no socket and pays nothing.

use crate::sync::lock::lock;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

/// Runs work of a driver. The signal is looked for only after a failure: work that hides a failed
/// write from its caller must use [`Silence`] itself.
pub(crate) fn quietly<T: Outcome>(work: impl FnOnce() -> T) -> T {
    let mut silence = Silence::begin();
    let result = work();
    silence.raised = result.is_failure();
    result
}

/// What a driver's work gives.
pub(crate) trait Outcome {
    /// Whether a write may have failed.
    fn is_failure(&self) -> bool;
}

impl<T, E> Outcome for Result<T, E> {
    fn is_failure(&self) -> bool {
        self.is_err()
    }
}

impl Outcome for bool {
    fn is_failure(&self) -> bool {
        !self
    }
}

/// SIGPIPE is blocked in this thread until this is dropped, on the same thread.
pub(crate) struct Silence {
    /// The signal may wait in this thread: it is taken away at the end.
    raised: bool,
    #[cfg(unix)]
    mask: Option<nix::sys::signal::SigSet>,
}

impl Silence {
    /// Blocks the signal. What fails here fails for every thread alike, so it is not reported.
    pub fn begin() -> Self {
        Silence {
            raised: true,
            #[cfg(unix)]
            mask: pipe().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK).ok(),
        }
    }
}

#[cfg(unix)]
fn pipe() -> nix::sys::signal::SigSet {
    let mut set = nix::sys::signal::SigSet::empty();
    set.add(nix::sys::signal::Signal::SIGPIPE);
    set
}

#[cfg(unix)]
impl Drop for Silence {
    fn drop(&mut self) {
        let Some(mask) = self.mask else { return };
        // A blocked signal is kept only once however often it is raised. So one that is raised here
        // is there for certain, and taking it away takes away the driver's, too, without waiting.
        // Where the caller has blocked it, the caller's own may wait, and harms nobody.
        if self.raised
            && !mask.contains(nix::sys::signal::Signal::SIGPIPE)
            && nix::sys::signal::raise(nix::sys::signal::Signal::SIGPIPE).is_ok()
        {
            let _ = pipe().wait();
        }
        let _ = mask.thread_set_mask();
    }
}

/// What holds a driver's connection: it says goodbye to the server when it is dropped, which may
/// fail like every other write.
pub(crate) struct Quiet<C> {
    // The fields are dropped in this order.
    _begin: Begin,
    inner: C,
    _end: End,
}

type Between = Arc<Mutex<Option<Silence>>>;

struct Begin(Between);
struct End(Between);

impl<C> Quiet<C> {
    pub fn new(inner: C) -> Self {
        let between = Between::default();
        Quiet { _begin: Begin(between.clone()), inner, _end: End(between) }
    }
}

impl Drop for Begin {
    fn drop(&mut self) {
        *lock(&self.0) = Some(Silence::begin());
    }
}

impl Drop for End {
    fn drop(&mut self) {
        lock(&self.0).take();
    }
}

impl<C> Deref for Quiet<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.inner
    }
}

impl<C> DerefMut for Quiet<C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.inner
    }
}
