//! Bars of progress, on standard error, where that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// How many events are done, how fast, and how long it will take. Removed from the screen at the end.
pub struct Progress(ProgressBar);

impl Progress {
    /// Of `total` events, or of nobody knows how many.
    pub fn new(total: Option<u64>) -> Self {
        // Hidden by itself where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let template = match total {
            Some(_) => {
                "{wide_bar} {percent:>3}%  {human_pos} of {human_len}  {per_sec}  {eta} left"
            }
            None => "{spinner} {human_pos} events  {per_sec}  {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
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
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
