//! `fes run`: the service.

use crate::args::{Global, Run};
use crate::failure::{Failure, Result};
use crate::output::{Out, say};
use crate::report::{Report, STOP, Workers};
use crate::signals::{SLICE, Stop};
use futoin_eventstream::{Error, ErrorKind, ServiceApp};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The waits between two attempts to begin: from the first, doubled up to the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// How often the same reason for waiting is told.
const TELL: Duration = Duration::from_secs(10);
/// How long the workers have for their end. The service manager, or a person, waits for it.
const LAST: Duration = Duration::from_secs(9);

pub fn run(global: &Global, args: &Run, out: &mut Out) -> Result {
    let stop = Stop::on_signals()?;
    // A wrong option is reported at once, whether or not the servers answer.
    global.library_options()?;
    let (mut report, notes) = Report::new(out, args.timestamps)?;
    let Some(app) = begin(global, args, &stop, &mut report)? else { return Ok(()) };
    app.on_notice(move |notice| notes.take(notice));
    app.start()?;
    report.started(app.archiver().is_some(), app.discarder().is_some());
    let failed = report.until(&stop, || health(&app));
    report.manager.stopping();
    let closed = close(app);
    report.end();
    failed.and(closed)
}

fn health(app: &ServiceApp) -> Workers {
    let archiver = app.archiver().map(|archiver| ("archiver", archiver.health()));
    let discarder = app.discarder().map(|discarder| ("discarder", discarder.health()));
    archiver.into_iter().chain(discarder).collect()
}

/// Opens the databases, as soon as they are there; `None` if a signal came first.
fn begin(
    global: &Global,
    args: &Run,
    stop: &Stop,
    report: &mut Report<'_>,
) -> Result<Option<ServiceApp>> {
    let mut wait = WAITS.0;
    let mut told: Option<(String, Instant)> = None;
    while !stop.is_set() {
        // On a thread of its own: a server that says nothing must not keep a signal waiting.
        let (sender, receiver) = channel();
        let (global, discard, migrate) = (global.clone(), args.discard, args.migrate);
        let attempt = move || drop(sender.send(open(&global, discard, migrate)));
        thread::Builder::new()
            .name("fes-open".to_owned())
            .spawn(attempt)
            .map_err(|why| Failure::Other(format!("cannot start a thread: {why}")))?;
        let opened = loop {
            match receiver.recv_timeout(SLICE) {
                Ok(opened) => break opened,
                Err(RecvTimeoutError::Timeout) if stop.is_set() => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::Other("opening ended by a panic".to_owned()));
                }
            }
        };
        match opened {
            Ok(app) => return Ok(Some(app)),
            Err(Failure::Library(what, error)) if error.is_retriable() => {
                let text = format!("{what}{error}");
                report.manager.waiting(&crate::failure::redact(&text), wait + 2 * TELL);
                let old = |(before, at): &(String, Instant)| *before == text && at.elapsed() < TELL;
                if !told.as_ref().is_some_and(old) {
                    report.waiting(&error, &what);
                    told = Some((text, Instant::now()));
                }
                stop.wait(wait);
                wait = (wait * 2).min(WAITS.1);
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(None)
}

fn open(global: &Global, discard: bool, migrate: bool) -> Result<ServiceApp> {
    let mut options = global.library_options()?;
    if discard {
        options = options.set("enable_discarder", "true")?;
    }
    let app = ServiceApp::of(global.stream_with(&options)?, global.warehouse_if_given()?)?;
    if app.archiver().is_none() && app.discarder().is_none() {
        let text = "nothing to run: give a warehouse (--dwh), or --discard";
        return Err(Failure::Usage(text.to_owned()));
    }
    if migrate {
        app.migrate().map_err(|error| Failure::Library("making the tables: ".to_owned(), error))?;
    }
    Ok(app)
}

/// Ends the workers; what hangs in a call on a server is cut off, and a callback that hangs is left behind.
fn close(app: ServiceApp) -> Result {
    let (sender, closed) = channel();
    let app = Arc::new(app);
    let closing = app.clone();
    thread::spawn(move || {
        closing.close_for(STOP);
        let _ = sender.send(());
    });
    if closed.recv_timeout(LAST).is_ok() {
        return Ok(());
    }
    // Dropping it would wait, too.
    std::mem::forget(app);
    say("a call on a server does not end: ended all the same");
    let text =
        "the workers did not end in time; nothing is lost, but the last events may come again";
    Err(Error::new(ErrorKind::Timeout, text).into())
}
