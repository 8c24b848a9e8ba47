//! Threads that work in the background, what wakes them, and what ends them.

pub(crate) mod aside;
pub(crate) mod cancel;
pub(crate) mod deadline;
pub(crate) mod line;
pub(crate) mod lock;
pub(crate) mod runner;
pub(crate) mod wakeup;
pub(crate) mod worker;
