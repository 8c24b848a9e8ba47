//! `fes migrate`, `fes archive` and `fes discard`.

use crate::args::{Follow, Global, Stamps};
use crate::failure::{Failure, Result};
use crate::output::{Out, events, say};
use crate::printable::printable;
use crate::progress::Progress;
use crate::report::{Report, Work};
use crate::signals::{SLICE, Stop};
use futoin_eventstream::{
    Archiver, DatabaseKind, Discarder, Error, EventStream, HistoryNotice, Options,
};
use serde_json::json;
use std::io::{IsTerminal, stderr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The ident of the archiver.
const ARCHIVER: &str = "-internal:ARCHIVER";

pub fn migrate(global: &Global, out: &mut Out) -> Result {
    let warehouse = global.warehouse_if_given()?;
    let stream = match &warehouse {
        Some(_) => global.stream_if_given(&global.library_options()?)?,
        None => Some(global.stream()?),
    };
    if let Some(stream) = &stream {
        stream.migrate()?;
    }
    if let Some(warehouse) = &warehouse {
        let context = |error| Failure::Library("the warehouse: ".to_owned(), error);
        warehouse.migrate().map_err(context)?;
    }
    let stream = stream.map(|stream| name(stream.kind()));
    let warehouse = warehouse.map(|warehouse| name(warehouse.kind()));
    if out.json {
        return out.document(&json!({"stream": stream, "warehouse": warehouse}));
    }
    for (what, kind) in [("stream", stream), ("warehouse", warehouse)] {
        if let Some(kind) = kind {
            out.line(&format!("the tables of the {what} are up to date ({kind})"))?;
        }
    }
    Ok(())
}

fn name(kind: DatabaseKind) -> String {
    format!("{kind:?}").to_lowercase()
}

pub fn archive(global: &Global, args: &Follow, out: &mut Out) -> Result {
    let stop = Stop::on_signals()?;
    let warehouse = global.warehouse()?;
    let stream = global.stream()?;
    let archiver = Archiver::new(&stream, &warehouse, &Options::new())?;
    if args.follow {
        return follow(&archiver, &stop, args.timestamps, out);
    }
    let behind = || {
        let lag = stream.lag().ok()?;
        let archiver = lag.consumers.into_iter().find(|consumer| consumer.ident == ARCHIVER)?;
        Some(archiver.events_behind)
    };
    let progress = Progress::new(if stderr().is_terminal() { behind() } else { None });
    let (count, _) = once(&stream, archiver, progress, &stop)?;
    out.either(&json!({"archived": count}), &format!("{} archived", events(count)))
}

pub fn discard(global: &Global, args: &Follow, out: &mut Out) -> Result {
    let stop = Stop::on_signals()?;
    let stream = global.stream()?;
    let discarder = Discarder::new(&stream, &Options::new())?;
    if args.follow {
        return follow(&discarder, &stop, args.timestamps, out);
    }
    let (count, expired) = once(&stream, discarder, Progress::new(None), &stop)?;
    if !out.json {
        for ident in &expired {
            out.line(&format!("{} was not seen for long: unregistered", printable(ident)))?;
        }
    }
    let value = json!({"discarded": count, "expired": expired});
    out.either(&value, &format!("{} discarded", events(count)))
}

/// One pass on a thread of its own, so that a signal ends it after the batch that it is at. Gives how many events that
/// were, and the consumers that were unregistered.
fn once<W: Work>(
    stream: &EventStream,
    work: W,
    progress: Progress,
    stop: &Stop,
) -> Result<(u64, Vec<String>)> {
    let progress = Arc::new(progress);
    let bar = progress.clone();
    let expired = Arc::new(Mutex::new(Vec::new()));
    let gone = expired.clone();
    work.on_notice(move |notice| match notice {
        HistoryNotice::ProcessedEvents(count) => bar.add(*count as u64),
        HistoryNotice::Discarded(count) => bar.add(*count),
        HistoryNotice::Expired(ident) => {
            gone.lock().unwrap_or_else(PoisonError::into_inner).push(ident.clone());
        }
        HistoryNotice::Waiting(why) => say(&printable(why)),
        _ => {}
    });
    let pass = thread::spawn(move || work.run_once());
    while !pass.is_finished() {
        if stop.is_set() {
            // Its next request is refused.
            stream.close();
            break;
        }
        thread::sleep(SLICE / 10);
    }
    let done: std::result::Result<u64, Error> =
        pass.join().map_err(|_| Failure::Other("the pass ended by a panic".to_owned()))?;
    if stop.is_set() && done.is_err() {
        return Err(Failure::Interrupted);
    }
    let expired = std::mem::take(&mut *expired.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((done?, expired))
}

/// Works until a signal comes.
fn follow(work: &impl Work, stop: &Stop, stamps: Stamps, out: &mut Out) -> Result {
    let (mut report, notes) = Report::new(out, stamps)?;
    work.on_notice(move |notice| notes.take(notice));
    work.start()?;
    let failed = report.until(stop, || work.health());
    report.manager.stopping();
    work.stop();
    report.end();
    failed
}
