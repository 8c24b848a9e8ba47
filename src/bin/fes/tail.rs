//! `fes tail`: following the stream.

use crate::args::{Global, Tail};
use crate::failure::{Failure, Result, redact};
use crate::output::{Out, nobody_reads, say};
use crate::printable::printable;
use crate::read::want;
use crate::signals::{SLICE, Stop};
use futoin_eventstream::{EventId, LIVE, Options, Subscription};
use std::io::{IsTerminal, stderr};
use std::time::Duration;

/// The wait after an error that may go away.
const RETRY: Duration = Duration::from_secs(1);

pub fn tail(global: &Global, args: &Tail, out: &mut Out) -> Result {
    let stop = Stop::on_signals()?;
    let want = want(&args.reader.want)?;
    let (user, component) = args.reader.names();
    let stream = global.stream()?;
    let consumer = stream.consumer(user, component)?;
    if args.register {
        consumer.register()?;
    }
    let subscription = stream.subscribe(user, component, want, &Options::new())?;
    if stderr().is_terminal() {
        say(&format!("following as {}; Ctrl-C ends it", subscription.ident()));
    }
    let followed = follow(&subscription, args.limit, &stop, out);
    // Stores the cursor, however it ended.
    let closed = subscription.close();
    let partly = followed?;
    closed?;
    match partly {
        Some(id) if component != LIVE => Ok(consumer.acknowledge(id)?),
        _ => Ok(()),
    }
}

/// Writes events, and acknowledges them when they are written. Gives the last id written of a
/// delivery that `limit` has cut.
fn follow(
    subscription: &Subscription,
    limit: Option<u64>,
    stop: &Stop,
    out: &mut Out,
) -> Result<Option<EventId>> {
    let mut left = limit.unwrap_or(u64::MAX);
    let mut told = String::new();
    loop {
        stop.check()?;
        if nobody_reads() {
            return Err(Failure::Closed);
        }
        let delivery = match subscription.next(SLICE) {
            Ok(Some(delivery)) => delivery,
            Ok(None) => continue,
            Err(error) if error.is_retriable() => {
                let text = redact(&printable(&error.to_string()));
                if told != text {
                    say(&format!("{text} ({}); trying again", error.kind().name()));
                    told = text;
                }
                stop.wait(RETRY);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        told.clear();
        for (index, event) in delivery.events.iter().enumerate() {
            out.event(event)?;
            left -= 1;
            if left == 0 && index + 1 < delivery.events.len() {
                out.flush()?;
                return Ok(Some(event.id));
            }
        }
        out.flush()?;
        subscription.ack()?;
        if left == 0 {
            return Ok(None);
        }
    }
}
