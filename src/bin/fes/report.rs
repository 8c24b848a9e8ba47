//! What the workers tell while they work, as lines of text or JSON.

use crate::args::Stamps;
use crate::failure::{Failure, Result, redact};
use crate::manager::Manager;
use crate::output::{Out, duration, events};
use crate::printable::printable;
use crate::signals::{SLICE, Stop};
use futoin_eventstream::{Archiver, Discarder, Error, HistoryNotice, Timestamp, WorkerHealth};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often it is told how many events were done.
const TELL: Duration = Duration::from_secs(10);

/// So long a worker may finish what it is at after a signal; then what hangs is cut off.
pub const STOP: Duration = Duration::from_secs(4);

/// A worker that can be watched.
pub trait Work: Send + 'static {
    fn on_notice(&self, call: impl Fn(&HistoryNotice) + Send + Sync + 'static);
    fn start(&self) -> futoin_eventstream::Result<()>;
    fn stop(&self);
    fn run_once(&self) -> futoin_eventstream::Result<u64>;
    fn health(&self) -> Workers;
}

/// The names of those that are at work, and how they fare.
pub type Workers = Vec<(&'static str, WorkerHealth)>;

macro_rules! work {
    ($name:ident, $text:literal) => {
        impl Work for $name {
            fn on_notice(&self, call: impl Fn(&HistoryNotice) + Send + Sync + 'static) {
                self.on_notice(call);
            }
            fn start(&self) -> futoin_eventstream::Result<()> {
                self.start()
            }
            fn stop(&self) {
                // A signal ends it, whatever the servers do.
                self.stop_for(STOP);
            }
            fn run_once(&self) -> futoin_eventstream::Result<u64> {
                self.run_once()
            }
            fn health(&self) -> Workers {
                vec![($text, self.health())]
            }
        }
    };
}

work!(Archiver, "archiver");
work!(Discarder, "discarder");

/// The notices of a worker, from its thread.
enum Note {
    Archived(u64),
    Discarded(u64),
    Line(Value, String),
    /// As a line, of a failure that it works on after.
    Trouble(Value, String),
    Failed(Error),
}

/// The side of the workers.
pub struct Notes(Sender<Note>);

impl Notes {
    /// Passes a notice on.
    pub fn take(&self, notice: &HistoryNotice) {
        let line = |what: &str, text: &str, error: Option<&Error>| {
            let message = redact(text);
            let text = printable(&message);
            let kind = error.map(|error| error.kind().name());
            let value = json!({"notice": what, "message": message, "error": kind});
            if error.is_some() { Note::Trouble(value, text) } else { Note::Line(value, text) }
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
    /// Whether lines begin with the time.
    stamps: bool,
    /// A failure was told, and nothing better since.
    trouble: bool,
    hangup: Arc<AtomicBool>,
    pub manager: Manager,
}

impl<'a> Report<'a> {
    pub fn new(out: &'a mut Out, stamps: Stamps) -> Result<(Self, Notes)> {
        let (sender, notes) = channel();
        let journal = || std::env::var_os("JOURNAL_STREAM").is_some();
        let report = Report {
            out,
            notes,
            archived: 0,
            discarded: 0,
            told: (0, Instant::now()),
            stamps: stamps == Stamps::Always || stamps == Stamps::Auto && !journal(),
            trouble: false,
            hangup: Stop::on_hangup()?,
            manager: Manager::of_environment(),
        };
        Ok((report, Notes(sender)))
    }

    /// Tells that servers are waited for.
    pub fn waiting(&mut self, error: &Error, what: &str) {
        let kind = error.kind().name();
        let message = redact(&format!("{what}{error} ({kind}); waiting for it"));
        let text = printable(&message);
        let value = json!({"notice": "waiting", "message": message, "error": kind});
        self.tell(&value, &text);
    }

    /// Tells what is at work.
    pub fn started(&mut self, archiver: bool, discarder: bool) {
        let both = [("archiver", archiver), ("discarder", discarder)];
        let names: Vec<&str> = both.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        let value = json!({"notice": "started", "workers": names});
        self.tell(&value, &format!("started: {}", names.join(" and ")));
    }

    /// Tells what comes, until a signal comes or a worker gives up.
    pub fn until(&mut self, stop: &Stop, health: impl Fn() -> Workers) -> Result {
        self.manager.ready();
        while !stop.is_set() {
            self.watch(&health());
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

    /// Feeds the watchdog while no worker hangs, and tells what has changed.
    fn watch(&mut self, workers: &Workers) {
        let patience = self.manager.patience().unwrap_or(Duration::MAX);
        let hangs = |health: &WorkerHealth| {
            !health.running || health.busy_for.is_some_and(|time| time >= patience)
        };
        if !workers.iter().any(|(_, health)| hangs(health)) {
            self.manager.alive();
        }
        if self.trouble && workers.iter().all(|(_, health)| health.running && health.failures == 0)
        {
            self.trouble = false;
            self.tell(&json!({"notice": "recovered"}), "it works again");
        }
        if self.hangup.swap(false, Ordering::AcqRel) {
            self.status(workers);
        }
    }

    fn status(&mut self, workers: &Workers) {
        let (archived, discarded) = (self.archived, self.discarded);
        let mut text = format!("status: {} archived, {discarded} discarded", events(archived));
        let mut list = Vec::new();
        for (name, health) in workers {
            let busy = health.busy_for.map(|time| time.as_secs_f64());
            let state = match (health.running, health.failures, busy) {
                (false, ..) => "ended".to_owned(),
                (_, 0, None) => "waits for work".to_owned(),
                (_, 0, Some(busy)) => format!("at work for {}", duration(busy as i64)),
                (_, failures, _) => format!("failed {failures} times in a row"),
            };
            text += &format!("; {name}: {state}");
            let (running, failures) = (health.running, health.failures);
            list.push(
                json!({"name": name, "running": running, "failures": failures, "busy_s": busy}),
            );
        }
        let value = json!({"notice": "status", "archived": archived, "discarded": discarded, "workers": list});
        self.tell(&value, &text);
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
            Note::Trouble(value, text) => {
                self.trouble = true;
                self.tell(&value, &text);
            }
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
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let now = Timestamp::from_unix(now.cast_signed()).filter(|_| self.stamps);
        let told = match (now, value) {
            (Some(now), Value::Object(fields)) if self.out.json => {
                let mut fields = fields.clone();
                fields.insert("time".to_owned(), now.to_string().into());
                self.out.document(&Value::Object(fields))
            }
            (Some(now), _) => self.out.line(&format!("{now} {text}")),
            (None, _) => self.out.either(value, text),
        };
        let _ = told.and_then(|()| self.out.flush());
    }
}
