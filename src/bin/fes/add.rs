//! `fes add`: one event, or one for each line of standard input.

use crate::args::{Add, Global};
use crate::failure::{Failure, Result};
use crate::output::{Out, events, say};
use crate::progress::Progress;
use crate::signals::{SLICE, Stop};
use futoin_eventstream::{ErrorKind, EventId, EventStream, NewEvent};
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;

/// The longest line.
const MAX_LINE: usize = 32 << 20;
/// The limit of one transaction, and of one piece of input. A single event may be larger.
const MAX_BYTES: usize = 4 << 20;

pub fn add(global: &Global, args: &Add, out: &mut Out) -> Result {
    let Some(event_type) = &args.event_type else { return add_lines(global, args, out) };
    let event = match args.json_data.as_deref() {
        None => NewEvent::new(event_type, &())?,
        Some("-") => {
            let mut text = String::new();
            io::stdin()
                .read_to_string(&mut text)
                .map_err(|why| Failure::Other(format!("cannot read standard input: {why}")))?;
            NewEvent::from_json(event_type, text.trim())?
        }
        Some(text) => NewEvent::from_json(event_type, text)?,
    };
    let id = global.stream()?.add(&event)?;
    out.either(&json!({"id": id.to_string()}), &id.to_string())
}

fn add_lines(global: &Global, args: &Add, out: &mut Out) -> Result {
    let stop = Stop::on_signals()?;
    let stream = global.stream()?;
    let (sender, pieces) = mpsc::sync_channel(4);
    let from = args.from_line;
    // Ends with the input, or with the process.
    thread::spawn(move || read_lines(io::stdin(), from, &sender));
    let mut adder = Adder::new(&stream, args.batch as usize);
    let done = adder.run(&pieces, &stop);
    let Adder { progress, added, first, last, .. } = adder;
    drop(progress);
    match done {
        Ok(()) => out.either(
            &json!({
                "added": added,
                "first_id": first.map(|id| id.to_string()),
                "last_id": last.map(|id| id.to_string()),
            }),
            &match (first, last) {
                (Some(first), Some(last)) => {
                    format!("{} added, ids {first} to {last}", events(added))
                }
                _ => "nothing to add".to_owned(),
            },
        ),
        Err(failure) => Err(failure),
    }
}

/// The number of a line, and its length in bytes.
type Line = (u64, usize);

/// Some lines of the input.
#[derive(Default)]
struct Piece {
    events: Vec<(Line, NewEvent)>,
    bytes: usize,
    /// The line after them, and what is wrong with it.
    wrong: Option<(u64, String)>,
}

fn read_lines(input: impl Read, from: u64, sender: &SyncSender<Piece>) {
    let mut input = BufReader::with_capacity(1 << 16, input);
    let mut piece = Piece::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        match (&mut input).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) if line.len() > MAX_LINE => {
                piece.wrong = Some((number, format!("longer than {MAX_LINE} bytes")));
            }
            Ok(_) if number < from || line.trim_ascii().is_empty() => {}
            Ok(_) => match parse(&line) {
                Ok(event) => {
                    piece.bytes += line.len();
                    piece.events.push(((number, line.len()), event));
                }
                Err(why) => piece.wrong = Some((number, why)),
            },
            Err(why) => piece.wrong = Some((number, format!("cannot read standard input: {why}"))),
        }
        let wrong = piece.wrong.is_some();
        let ready = wrong || piece.bytes >= MAX_BYTES || input.buffer().is_empty();
        if ready && (sender.send(std::mem::take(&mut piece)).is_err() || wrong) {
            return;
        }
    }
    // Fails where nobody waits for it any more.
    let _ = sender.send(piece);
}

/// Reads `{"type": "...", "data": ...}`. What `fes export` writes besides is passed over.
fn parse(line: &[u8]) -> std::result::Result<NewEvent, String> {
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned())?;
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(line.trim_end())
        .map_err(|why| format!("not a JSON object (column {})", why.column()))?;
    let known = ["type", "data", "id", "ts"];
    if let Some(other) = fields.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("unknown field {other:?}: there are type and data"));
    }
    let event_type = fields.get("type").ok_or("no field \"type\"")?.get();
    let event_type: String =
        serde_json::from_str(event_type).map_err(|_| "the type is no text".to_owned())?;
    let data = fields.get("data").map_or("null", |data| data.get());
    NewEvent::from_json(&event_type, data).map_err(|error| error.to_string())
}

/// Adds what the reading thread has read, batch by batch.
struct Adder<'a> {
    stream: &'a EventStream,
    most: usize,
    batch: Vec<NewEvent>,
    /// Of the batch.
    lines: Vec<Line>,
    bytes: usize,
    progress: Progress,
    /// Whether the bar counts bytes: the input is a file.
    sized: bool,
    added: u64,
    /// The last line that was added.
    line: u64,
    first: Option<EventId>,
    last: Option<EventId>,
}

impl<'a> Adder<'a> {
    fn new(stream: &'a EventStream, most: usize) -> Self {
        // Elsewhere, or where it is no file, nobody knows how much will come.
        let input = std::fs::metadata("/dev/stdin").ok().filter(|file| file.is_file());
        Adder {
            stream,
            most,
            batch: Vec::new(),
            lines: Vec::new(),
            bytes: 0,
            sized: input.is_some(),
            progress: input
                .map_or_else(|| Progress::new(None), |file| Progress::of_bytes(file.len())),
            added: 0,
            line: 0,
            first: None,
            last: None,
        }
    }

    fn run(&mut self, pieces: &mpsc::Receiver<Piece>, stop: &Stop) -> Result {
        loop {
            if stop.is_set() {
                say(&format!("interrupted: {}", self.so_far()));
                return Err(Failure::Interrupted);
            }
            match pieces.recv_timeout(SLICE) {
                Ok(piece) => self.take(piece)?,
                // The input pauses: what came is not kept waiting.
                Err(RecvTimeoutError::Timeout) => self.flush()?,
                Err(RecvTimeoutError::Disconnected) => return self.flush(),
            }
        }
    }

    fn take(&mut self, piece: Piece) -> Result {
        for (line, event) in piece.events {
            self.bytes += event.data.as_str().len();
            self.batch.push(event);
            self.lines.push(line);
            if self.batch.len() >= self.most || self.bytes >= MAX_BYTES {
                self.flush()?;
            }
        }
        let Some((line, why)) = piece.wrong else { return Ok(()) };
        self.flush()?;
        Err(Failure::Other(format!("line {line}: {why}\n  {}", self.so_far())))
    }

    fn so_far(&self) -> String {
        match self.added {
            0 => "nothing was added".to_owned(),
            added => format!("{} added, those of the lines up to {}", events(added), self.line),
        }
    }

    fn flush(&mut self) -> Result {
        let (batch, lines) = (std::mem::take(&mut self.batch), std::mem::take(&mut self.lines));
        self.bytes = 0;
        let (Some(&(from, _)), Some(&(to, _))) = (lines.first(), lines.last()) else {
            return Ok(());
        };
        match self.stream.add_events(&batch) {
            Ok(ids) => {
                let bytes = lines.iter().map(|(_, length)| length).sum();
                self.note((to, bytes), &ids);
                Ok(())
            }
            // One of them is what the database refuses: finds out which.
            Err(error)
                if batch.len() > 1
                    && matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::TooLarge) =>
            {
                for (event, (line, length)) in batch.iter().zip(lines) {
                    let id = self.stream.add(event).map_err(|error| {
                        Failure::Library(format!("line {line} ({}): ", self.so_far()), error)
                    })?;
                    self.note((line, length), &[id]);
                }
                Ok(())
            }
            Err(error) => {
                let doing = format!("lines {from} to {to} (before them {}): ", self.so_far());
                Err(Failure::Library(doing, error))
            }
        }
    }

    /// These events were added, of lines up to this one, of this many bytes.
    fn note(&mut self, (line, bytes): Line, ids: &[EventId]) {
        self.first = self.first.or(ids.first().copied());
        self.last = ids.last().copied().or(self.last);
        self.line = line;
        self.added += ids.len() as u64;
        match self.sized {
            true => self.progress.add_bytes(bytes as u64, self.added),
            false => self.progress.add(ids.len() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_events_and_data_is_kept_as_it_is() {
        let event = parse(b"{\"data\": {\"b\":1.0, \"a\":2}, \"type\":\"A\", \"id\":\"7\"}\r\n");
        let event = event.unwrap();
        assert_eq!(event.data.as_str(), r#"{"b":1.0, "a":2}"#);
        assert_eq!(parse(b"{\"type\":\"\\u0041\"}").unwrap().data.as_str(), "null");
        for line in ["[]", "{", r#"{"type":1}"#, r#"{"data":1}"#, r#"{"type":"A","x":1}"#] {
            assert!(parse(line.as_bytes()).is_err(), "{line}");
        }
        assert!(parse(b"{\"type\":\"\xff\"}").is_err());
    }
}
