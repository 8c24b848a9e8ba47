//! What the workers tell while they work, as lines of text or JSON.

use crate::failure::{Failure, Result, redact};
use crate::output::{Out, events, printable};
use crate::signals::{SLICE, Stop};
use futoin_eventstream::{Archiver, Discarder, Error, HistoryNotice};
use serde_json::{Value, json};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How often it is told how many events were done.
const TELL: Duration = Duration::from_secs(10);

/// A worker that can be watched.
pub trait Work: Send + 'static {
    fn on_notice(&self, call: impl Fn(&HistoryNotice) + Send + Sync + 'static);
    fn start(&self) -> futoin_eventstream::Result<()>;
    fn stop(&self);
    fn run_once(&self) -> futoin_eventstream::Result<u64>;
}

macro_rules! work {
    ($name:ident) => {
        impl Work for $name {
            fn on_notice(&self, call: impl Fn(&HistoryNotice) + Send + Sync + 'static) {
                self.on_notice(call);
            }
            fn start(&self) -> futoin_eventstream::Result<()> {
                self.start()
            }
            fn stop(&self) {
                self.stop();
            }
            fn run_once(&self) -> futoin_eventstream::Result<u64> {
                self.run_once()
            }
        }
    };
}

work!(Archiver);
work!(Discarder);

/// What is told from a worker's thread.
enum Note {
    Archived(u64),
    Discarded(u64),
    Line(Value, String),
    Failed(Error),
}

/// The side of the workers.
pub struct Notes(Sender<Note>);

impl Notes {
    /// Passes a notice on.
    pub fn take(&self, notice: &HistoryNotice) {
        let line = |what: &str, text: &str, error: Option<&Error>| {
            let text = redact(&printable(text));
            let kind = error.map(|error| error.kind().name());
            let value = json!({"notice": what, "message": text, "error": kind});
            Note::Line(value, text)
        };
        let note = match notice {
            HistoryNotice::ProcessedEvents(count) => Note::Archived(*count as u64),
            HistoryNotice::Discarded(count) => Note::Discarded(*count),
            HistoryNotice::Expired(ident) => {
                line("expired", &format!("{ident} was not seen for long: unregistered"), None)
            }
            HistoryNotice::Waiting(why) => line("waiting", &format!("waiting: {why}"), None),
            HistoryNotice::WorkerError(error) => {
                let text = format!("stream: {error} ({}); trying again", error.kind().name());
                line("error", &text, Some(error))
            }
            HistoryNotice::ReceiverError(error) => {
                let text = format!("warehouse: {error} ({}); trying again", error.kind().name());
                line("error", &text, Some(error))
            }
            HistoryNotice::Stopped(Some(error)) => {
                Note::Failed(Error::new(error.kind(), error.to_string()))
            }
            _ => return,
        };
        // Fails where nobody wants to know any more.
        let _ = self.0.send(note);
    }
}

/// The side of the command. Errors of writing are passed over: the work goes on.
pub struct Report<'a> {
    out: &'a mut Out,
    notes: Receiver<Note>,
    archived: u64,
    discarded: u64,
    /// How many of both were told, and when.
    told: (u64, Instant),
}

impl<'a> Report<'a> {
    pub fn new(out: &'a mut Out) -> (Self, Notes) {
        let (sender, notes) = channel();
        let told = (0, Instant::now());
        (Report { out, notes, archived: 0, discarded: 0, told }, Notes(sender))
    }

    /// Tells what is at work.
    pub fn started(&mut self, archiver: bool, discarder: bool) {
        let both = [("archiver", archiver), ("discarder", discarder)];
        let names: Vec<&str> = both.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        let value = json!({"notice": "started", "workers": names});
        self.tell(&value, &format!("started: {}", names.join(" and ")));
    }

    /// Tells what comes, until a signal comes or a worker gives up.
    pub fn until(&mut self, stop: &Stop) -> Result {
        while !stop.is_set() {
            match self.notes.recv_timeout(SLICE) {
                Ok(note) => self.note(note)?,
                Err(RecvTimeoutError::Timeout) => {}
                // The workers keep the other side as long as they live.
                Err(RecvTimeoutError::Disconnected) => stop.wait(SLICE),
            }
            if self.told.1.elapsed() >= TELL && self.told.0 < self.archived + self.discarded {
                self.tell_counts("progress");
            }
        }
        Ok(())
    }

    /// Tells the sums, after the workers have stopped.
    pub fn end(&mut self) {
        while let Ok(note) = self.notes.try_recv() {
            let _ = self.note(note);
        }
        self.tell_counts("stopped");
    }

    fn note(&mut self, note: Note) -> Result {
        match note {
            Note::Archived(count) => self.archived += count,
            Note::Discarded(count) => self.discarded += count,
            Note::Line(value, text) => self.tell(&value, &text),
            Note::Failed(error) => return Err(Failure::from(error)),
        }
        Ok(())
    }

    fn tell_counts(&mut self, what: &str) {
        let (archived, discarded) = (self.archived, self.discarded);
        self.told = (archived + discarded, Instant::now());
        let value = json!({"notice": what, "archived": archived, "discarded": discarded});
        let text = format!("{what}: {} archived, {discarded} discarded", events(archived));
        self.tell(&value, &text);
    }

    fn tell(&mut self, value: &Value, text: &str) {
        let _ = self.out.either(value, text).and_then(|()| self.out.flush());
    }
}
