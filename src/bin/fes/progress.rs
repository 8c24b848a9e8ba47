//! Bars of progress, on standard error, where that is a terminal.

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::time::Duration;

/// How many events are done, how fast, and how long it will take. Removed from the screen at the end.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar for `total` events; `None` if their number is unknown.
    pub fn new(total: Option<u64>) -> Self {
        let template = match total {
            Some(_) => "{wide_bar} {percent:>3}%  {human_pos} of {human_len}  {rate}  {eta} left",
            None => "{spinner} {human_pos} events  {rate}  {elapsed}",
        };
        Self::with(total, template)
    }

    /// A bar for an input of `total` bytes.
    pub fn of_bytes(total: u64) -> Self {
        Self::with(Some(total), "{wide_bar} {percent:>3}%  {msg}  {eta} left")
    }

    fn with(total: Option<u64>, template: &str) -> Self {
        // Hidden by itself where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            let rate = |state: &ProgressState, out: &mut dyn Write| {
                let _ = write!(out, "{}/s", HumanCount(state.per_sec() as u64));
            };
            bar.set_style(style.with_key("rate", rate));
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Progress(bar)
    }

    /// Without a bar.
    pub fn hidden() -> Self {
        Progress(ProgressBar::hidden())
    }

    /// This many more are done.
    pub fn add(&self, count: u64) {
        self.0.inc(count);
    }

    /// This many are done in all.
    pub fn set(&self, count: u64) {
        self.0.set_position(count);
    }

    /// This many more bytes are done, and in all this many events.
    pub fn add_bytes(&self, bytes: u64, events: u64) {
        self.0.inc(bytes);
        let rate = events as f64 / self.0.elapsed().as_secs_f64().max(0.001);
        let (events, rate) = (HumanCount(events), HumanCount(rate as u64));
        self.0.set_message(format!("{events} events  {rate}/s"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
