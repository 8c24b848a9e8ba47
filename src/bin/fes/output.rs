//! Writing to standard output: JSON for programs, aligned text for people.

use crate::failure::Result;
use crate::printable::printable;
use futoin_eventstream::Event;
use serde_json::{Value, json};
use std::io::{self, BufWriter, StdoutLock, Write};

/// Standard output. Errors of writing, such as a closed pipe, come back as failures.
pub struct Out {
    /// Whether a program reads it.
    pub json: bool,
    out: BufWriter<StdoutLock<'static>>,
}

/// On which side the texts of a column stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

impl Out {
    pub fn new(json: bool) -> Self {
        Out { json, out: BufWriter::new(io::stdout().lock()) }
    }

    /// One line.
    pub fn line(&mut self, text: &str) -> Result {
        Ok(writeln!(self.out, "{text}")?)
    }

    /// The text as it is.
    pub fn bytes(&mut self, text: &[u8]) -> Result {
        Ok(self.out.write_all(text)?)
    }

    /// One JSON document in one line.
    pub fn document(&mut self, value: &Value) -> Result {
        Ok(writeln!(self.out, "{value}")?)
    }

    /// `document` for a program, `text` for a person.
    pub fn either(&mut self, document: &Value, text: &str) -> Result {
        if self.json { self.document(document) } else { self.line(text) }
    }

    /// One event in one line.
    pub fn event(&mut self, event: &Event) -> Result {
        if self.json {
            return self.event_json(event);
        }
        let (id, ts) = (event.id, event.ts);
        let event_type = printable(event.event_type.as_str());
        let data = printable(event.data.as_str());
        self.line(&format!("{id:>10}  {ts}  {event_type:<16}  {data}"))
    }

    /// One event as a line of JSON.
    pub fn event_json(&mut self, event: &Event) -> Result {
        let line = serde_json::to_string(event).unwrap_or_else(|_| {
            // Plain SQL can put into a text column what is no JSON.
            json!({
                "id": event.id.to_string(),
                "type": event.event_type.as_str(),
                "data": null,
                "invalid_data": event.data.as_str(),
                "ts": event.ts.to_string(),
            })
            .to_string()
        });
        // Between the tokens of JSON text may stand line ends; inside of strings none can.
        self.line(&line.replace(['\n', '\r'], " "))
    }

    /// A table with a line of headings.
    pub fn table<const N: usize>(
        &mut self,
        head: [(&str, Side); N],
        rows: &[[String; N]],
    ) -> Result {
        let mut widths = head.map(|(title, _)| title.len());
        for row in rows {
            for (width, text) in widths.iter_mut().zip(row) {
                *width = (*width).max(text.chars().count());
            }
        }
        let titles = head.map(|(title, _)| title.to_owned());
        for row in std::iter::once(&titles).chain(rows) {
            let mut line = String::new();
            for ((text, width), (_, side)) in row.iter().zip(widths).zip(head) {
                match side {
                    Side::Left => line.push_str(&format!("{text:<width$}  ")),
                    Side::Right => line.push_str(&format!("{text:>width$}  ")),
                }
            }
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    pub fn flush(&mut self) -> Result {
        Ok(self.out.flush()?)
    }
}

/// Whether the reader of standard output has gone, which otherwise shows only at the next write.
#[cfg(unix)]
pub fn nobody_reads() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let out = io::stdout();
    let mut looks = [PollFd::new(&out, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let looked = poll(&mut looks, Some(&now));
    looked.is_ok() && looks[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// Whether the reader of standard output has gone: not known here.
#[cfg(not(unix))]
pub fn nobody_reads() -> bool {
    false
}

/// A line to standard error, where nobody may read either.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// `1 event`, `2 events`.
pub fn events(count: u64) -> String {
    if count == 1 { "1 event".to_owned() } else { format!("{count} events") }
}

/// Seconds as people say them: `45s`, `3m 20s`, `2h 5m`, `4d 3h`.
pub fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let texts = [0, 59, 60, 3661, 90_000, -5].map(duration);
        assert_eq!(texts, ["0s", "59s", "1m 0s", "1h 1m", "1d 1h", "0s"]);
    }
}
