//! `fes migrate`, `fes archive`, `fes discard` and `fes run`.

use crate::args::{Follow, Global, Run};
use crate::failure::{Failure, Result};
use crate::output::{Out, events};
use crate::progress::Progress;
use crate::report::{Report, Work};
use crate::signals::{SLICE, Stop};
use futoin_eventstream::{
    Archiver, DatabaseKind, Discarder, Error, EventStream, HistoryNotice, Options, ServiceApp,
};
use serde_json::json;
use std::io::{IsTerminal, stderr};
use std::sync::Arc;
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
        return follow(&archiver, &stop, out);
    }
    let behind = || {
        let lag = stream.lag().ok()?;
        let archiver = lag.consumers.into_iter().find(|consumer| consumer.ident == ARCHIVER)?;
        Some(archiver.events_behind)
    };
    let progress = Progress::new(if stderr().is_terminal() { behind() } else { None });
    let count = once(&stream, archiver, progress, &stop)?;
    out.either(&json!({"archived": count}), &format!("{} archived", events(count)))
}

pub fn discard(global: &Global, args: &Follow, out: &mut Out) -> Result {
    let stop = Stop::on_signals()?;
    let stream = global.stream()?;
    let discarder = Discarder::new(&stream, &Options::new())?;
    if args.follow {
        return follow(&discarder, &stop, out);
    }
    let count = once(&stream, discarder, Progress::new(None), &stop)?;
    out.either(&json!({"discarded": count}), &format!("{} discarded", events(count)))
}

/// One pass on a thread of its own, so that a signal ends it after the batch that it is at.
fn once<W: Work>(stream: &EventStream, work: W, progress: Progress, stop: &Stop) -> Result<u64> {
    let progress = Arc::new(progress);
    let bar = progress.clone();
    work.on_notice(move |notice| match notice {
        HistoryNotice::ProcessedEvents(count) => bar.add(*count as u64),
        HistoryNotice::Discarded(count) => bar.add(*count),
        _ => {}
    });
    let pass = thread::spawn(move || work.run_once());
    while !pass.is_finished() {
        if stop.is_set() {
            // What it asks for next is refused.
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
    Ok(done?)
}

/// Works until a signal comes.
fn follow(work: &impl Work, stop: &Stop, out: &mut Out) -> Result {
    let (mut report, notes) = Report::new(out);
    work.on_notice(move |notice| notes.take(notice));
    work.start()?;
    let failed = report.until(stop);
    work.stop();
    report.end();
    failed
}

pub fn run(global: &Global, args: &Run, out: &mut Out) -> Result {
    let stop = Stop::on_signals()?;
    let mut options = global.library_options()?;
    if args.discard {
        options = options.set("enable_discarder", "true")?;
    }
    let app = ServiceApp::of(global.stream_with(&options)?, global.warehouse_if_given()?)?;
    if app.archiver().is_none() && app.discarder().is_none() {
        let text = "nothing to run: give a warehouse (--dwh), or --discard";
        return Err(Failure::Usage(text.to_owned()));
    }
    if args.migrate {
        app.migrate()?;
    }
    let (mut report, notes) = Report::new(out);
    app.on_notice(move |notice| notes.take(notice));
    app.start()?;
    report.started(app.archiver().is_some(), app.discarder().is_some());
    let failed = report.until(&stop);
    app.close();
    report.end();
    failed
}
