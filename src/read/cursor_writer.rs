//! Stores the cursor of a consumer while it reads on, on a thread beside: a commit waits for the disk.

use crate::model::error::Result;
use crate::model::event::EventId;
use crate::sync::aside::Aside;
use crate::sync::line::{Scope, Token};
use crate::sync::worker::panic_error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::sync_channel;

/// The cursor writer of one consumer.
pub(crate) struct CursorWriter(Aside);

impl Default for CursorWriter {
    fn default() -> Self {
        CursorWriter(Aside::new("fes-cursor"))
    }
}

impl CursorWriter {
    /// Runs `store` on the thread and `work` here, and waits for both. `None` in place of what
    /// `store` gave if the thread was not to be had: then it did not run.
    pub fn store_while<T>(
        &self,
        store: impl FnOnce() -> Result<EventId> + Send + 'static,
        work: impl FnOnce() -> T,
    ) -> (Option<Result<EventId>>, T) {
        let (sender, stored) = sync_channel(1);
        let tokens = Token::current();
        // A job that is given back is dropped, and its sender with it.
        let _ = self.0.give(move || {
            let _scope = Scope::of(tokens);
            let result = catch_unwind(AssertUnwindSafe(store));
            let _ = sender.send(result.unwrap_or_else(|panic| Err(panic_error(&*panic))));
        });
        let worked = work();
        (stored.recv().ok(), worked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::current;

    #[test]
    fn a_cursor_is_stored_on_another_thread() {
        let (sender, thread) = std::sync::mpsc::channel();
        let store = move || {
            sender.send(current().id()).unwrap();
            Ok(7)
        };
        let (stored, here) = CursorWriter::default().store_while(store, || current().id());
        assert_eq!(stored.unwrap().unwrap(), 7);
        assert_ne!(thread.recv().unwrap(), here);
    }

    #[test]
    fn a_panic_while_storing_is_an_error() {
        let (stored, worked) =
            CursorWriter::default().store_while(|| panic!("while storing"), || 7);
        assert!(stored.unwrap().unwrap_err().to_string().contains("while storing"));
        assert_eq!(worked, 7);
    }
}
