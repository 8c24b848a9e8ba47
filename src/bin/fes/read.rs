//! `fes poll`, `fes history` and `fes export`: reading to an end.

use crate::args::{Export, Global, History, Poll, Reader, Source};
use crate::failure::{Failure, Result};
use crate::output::{Out, say};
use crate::progress::Progress;
use crate::signals::Stop;
use futoin_eventstream::{Event, EventId, EventStream, LIVE, Want};
use std::io::{IsTerminal, stdout};

/// The user of LIVE readers, who need no name.
const USER: &str = "fes";
/// How many events are read at once.
const CHUNK: usize = 1000;

impl Reader {
    /// User and component; LIVE where none is named.
    pub fn names(&self) -> (&str, &str) {
        let component = self.component.as_deref().unwrap_or(LIVE);
        (self.user.as_deref().unwrap_or(USER), component)
    }
}

/// The wanted types; none means all.
pub fn want(types: &[String]) -> Result<Want> {
    Ok(if types.is_empty() { Want::all() } else { Want::types(types)? })
}

pub fn poll(global: &Global, args: &Poll, out: &mut Out) -> Result {
    let want = want(&args.reader.want)?;
    let (user, component) = args.reader.names();
    let consumer = global.stream()?.consumer(user, component)?;
    let last_id = if consumer.is_live() { args.last_id.or(Some(0)) } else { args.last_id };
    if args.ack && consumer.is_live() {
        return Err(Failure::Usage("LIVE has nothing to acknowledge: leave out --ack".to_owned()));
    }
    let events = consumer.poll_at_most(last_id, &want, args.limit as usize)?;
    for event in &events {
        out.event(event)?;
    }
    out.flush()?;
    match events.last() {
        Some(last) if args.ack => Ok(consumer.acknowledge(last.id)?),
        _ => Ok(()),
    }
}

pub fn history(global: &Global, args: &History, out: &mut Out) -> Result {
    let want = want(&args.want)?;
    let warehouse = global.warehouse()?;
    let (mut from, mut left) = (args.from, args.limit);
    while left > 0 {
        let limit = left.min(CHUNK as u64) as usize;
        let events = warehouse.history(from, &want, limit)?;
        let Some(last) = events.last() else { return Ok(()) };
        from = last.id + 1;
        left -= events.len() as u64;
        for event in &events {
            out.event(event)?;
        }
    }
    Ok(())
}

pub fn export(global: &Global, args: &Export, out: &mut Out) -> Result {
    let stop = Stop::on_signals()?;
    let want = want(&args.want)?;
    let given = match args.source {
        Some(Source::Active) => None,
        Some(_) => Some(global.warehouse()?),
        None => global.warehouse_if_given()?,
    };
    match (args.source, given) {
        (Some(Source::History), Some(warehouse)) => {
            let progress = bar(None);
            let mut from = args.from;
            pump(out, &stop, EventId::MAX, &progress, 0, || {
                let events = warehouse.history(from, &want, CHUNK)?;
                from = events.last().map_or(from, |event| event.id + 1);
                Ok(events)
            })
        }
        (_, Some(warehouse)) => {
            let stream = global.stream()?;
            let mut replay = warehouse.replay(&stream, args.from, &want);
            bounded(&stream, args.from, out, &stop, || Ok(replay.next(CHUNK)?))
        }
        (_, None) => {
            let stream = global.stream()?;
            let live = stream.live(USER)?;
            let mut last = args.from.saturating_sub(1);
            bounded(&stream, args.from, out, &stop, || {
                let events = live.poll(Some(last), &want)?;
                last = events.last().map_or(last, |event| event.id);
                Ok(events)
            })
        }
    }
}

/// Writes the events up to the highest one that there is now, so that it ends.
fn bounded(
    stream: &EventStream,
    from: EventId,
    out: &mut Out,
    stop: &Stop,
    next: impl FnMut() -> Result<Vec<Event>>,
) -> Result {
    let upto = stream.lag()?.highest_id;
    if upto < from {
        return Ok(());
    }
    let before = from.saturating_sub(1);
    let progress = bar(Some(upto - before));
    pump(out, stop, upto, &progress, before, next)?;
    drop(progress);
    if let Some(id) = stream.lag()?.first_unsettled.filter(|id| *id <= upto) {
        say(&format!(
            "warning: events from id {id} on may be left out, because transactions that add \
             events are open: see `fes lag`"
        ));
    }
    Ok(())
}

/// Writes what `next` gives until there is nothing more, or nothing more up to `upto`.
fn pump(
    out: &mut Out,
    stop: &Stop,
    upto: EventId,
    progress: &Progress,
    before: EventId,
    mut next: impl FnMut() -> Result<Vec<Event>>,
) -> Result {
    let mut count = 0;
    loop {
        stop.check()?;
        let events = next()?;
        let Some(last) = events.last().map(|event| event.id) else { return Ok(()) };
        for event in events.iter().take_while(|event| event.id <= upto) {
            out.event_json(event)?;
            count += 1;
        }
        // Ids where the end is known, else events.
        progress.set(if upto == EventId::MAX { count } else { last.min(upto) - before });
        if last >= upto {
            return Ok(());
        }
    }
}

/// A bar, unless the events go to the same screen.
fn bar(total: Option<u64>) -> Progress {
    if stdout().is_terminal() { Progress::hidden() } else { Progress::new(total) }
}
