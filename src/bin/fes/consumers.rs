//! `fes register`, `fes unregister`, `fes consumers` and `fes lag`.

use crate::args::{Consumer, Global, Lag as LagArgs, Register, Skip, Start};
use crate::failure::{Failure, Result, redact};
use crate::output::Side::{Left, Right};
use crate::output::{Out, duration, nobody_reads, say};
use crate::printable::printable;
use crate::signals::Stop;
use futoin_eventstream::{ConsumerLag, EventStream, Lag, StartAt, UnreadableEvent, Want};
use serde_json::{Value, json};
use std::io::{IsTerminal, stdout};
use std::time::Duration;

pub fn register(global: &Global, args: &Register, out: &mut Out) -> Result {
    let stream = global.stream()?;
    let consumer = stream.consumer(&args.consumer.user, &args.consumer.component)?;
    consumer.register_at(match args.at {
        Start::Beginning => StartAt::Beginning,
        Start::Now => StartAt::Now,
        Start::Id(id) => StartAt::Id(id),
        Start::Time(ts) => StartAt::Time(ts),
    })?;
    let ident = consumer.ident().as_str();
    out.either(&json!({"ident": ident, "registered": true}), &format!("{ident} is registered"))
}

pub fn unregister(global: &Global, args: &Consumer, out: &mut Out) -> Result {
    let consumer = global.stream()?.consumer(&args.user, &args.component)?;
    let was = consumer.unregister()?;
    let ident = consumer.ident().as_str();
    let text = if was { "is unregistered" } else { "was not registered" };
    out.either(
        &json!({"ident": ident, "registered": false, "was_registered": was}),
        &format!("{ident} {text}"),
    )
}

pub fn skip(global: &Global, args: &Skip, out: &mut Out) -> Result {
    // Events that only some readers refuse, such as Node.js, can be passed over here, too.
    let options = global.library_options()?.set("check_json", "true")?;
    let stream = global.stream_with(&options)?;
    let consumer = stream.consumer(&args.consumer.user, &args.consumer.component)?;
    let ident = consumer.ident().as_str();
    let next = consumer.next_unreadable()?;
    let Some(id) = args.id else {
        return match next {
            Some(row) => {
                let text = printable(&row.show());
                out.either(&json!({"ident": ident, "unreadable": unreadable_json(&row)}), &text)
            }
            None => out.either(
                &json!({"ident": ident, "unreadable": null}),
                &format!("the next event of {ident}, if there is one, can be read"),
            ),
        };
    };
    let shown = match next {
        None if args.force => {
            let events = consumer.poll_at_most(None, &Want::all(), 1)?;
            let Some(event) = events.first().filter(|event| event.id == id) else {
                let next = events.first().map_or("none".to_owned(), |event| event.id.to_string());
                let text = format!("event {id} is not the next one of {ident}, but {next}");
                return Err(Failure::Other(text));
            };
            consumer.acknowledge(id)?;
            serde_json::to_value(event).unwrap_or_default()
        }
        _ => unreadable_json(&consumer.skip(id)?),
    };
    out.either(
        &json!({"ident": ident, "skipped": shown}),
        &format!("{ident} has passed over event {id}: {}", printable(&shown.to_string())),
    )
}

fn unreadable_json(row: &UnreadableEvent) -> Value {
    let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|b| b.escape_ascii().to_string());
    json!({
        "id": row.id.to_string(),
        "column": row.column,
        "type": bytes(&row.event_type),
        "data": bytes(&row.data),
        "ts": row.ts,
    })
}

pub fn consumers(global: &Global, out: &mut Out) -> Result {
    let lag = global.stream()?.lag()?;
    if out.json {
        return out.document(&Value::Array(lag.consumers.iter().map(consumer_json).collect()));
    }
    if lag.consumers.is_empty() {
        return out.line("no consumer is registered");
    }
    let rows: Vec<_> = lag
        .consumers
        .iter()
        .map(|consumer| {
            [
                printable(&consumer.ident),
                consumer.last_id.to_string(),
                format!("{} ago", duration(consumer.seconds_registered)),
                format!("{} ago", duration(consumer.seconds_since_seen)),
            ]
        })
        .collect();
    out.table(
        [("CONSUMER", Left), ("CURSOR", Right), ("REGISTERED", Right), ("SEEN", Right)],
        &rows,
    )
}

pub fn lag(global: &Global, args: &LagArgs, out: &mut Out) -> Result {
    if !args.watch {
        return show(&global.stream()?.lag()?, out);
    }
    let stop = Stop::on_signals()?;
    let stream = global.stream()?;
    let screen = !out.json && stdout().is_terminal();
    let mut first = true;
    loop {
        look(&stream, screen, first, out)?;
        out.flush()?;
        first = false;
        // Slices, so that it ends with its reader.
        for _ in 0..args.interval {
            stop.wait(Duration::from_secs(1));
            stop.check()?;
            if nobody_reads() {
                return Err(Failure::Closed);
            }
        }
    }
}

/// One look of `--watch`: drawn over the one before, or below it.
fn look(stream: &EventStream, screen: bool, first: bool, out: &mut Out) -> Result {
    let lag = stream.lag();
    if screen {
        out.bytes(b"\x1b[H\x1b[2J\x1b[3J")?;
    } else if !first && !out.json {
        out.line("")?;
    }
    match lag {
        Ok(lag) => show(&lag, out),
        Err(error) if error.is_retriable() => {
            let text = format!("{error} ({}); trying again", error.kind().name());
            say(&redact(&printable(&text)));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn show(lag: &Lag, out: &mut Out) -> Result {
    if out.json {
        return out.document(&lag_json(lag));
    }
    out.line(&format!("highest id  {}", lag.highest_id))?;
    if let Some(id) = lag.first_unsettled {
        out.line(&format!("unsettled   from id {id} on: transactions that add events are open"))?;
    }
    for holder in &lag.holders {
        let mut line = format!("held by     {}", printable(&holder.id));
        if let Some(application) = &holder.application {
            line += &format!(" ({})", printable(application));
        }
        if let Some(since) = &holder.since {
            line += &format!(" since {}", printable(since));
        }
        out.line(&line)?;
    }
    if let Some(why) = &lag.blocked {
        out.line(&format!("blocked     {}", printable(why)))?;
    }
    for warning in &lag.warnings {
        out.line(&format!("warning     {}", printable(warning)))?;
    }
    if lag.consumers.is_empty() {
        return out.line("no consumer is registered");
    }
    out.line("")?;
    let rows: Vec<_> = lag
        .consumers
        .iter()
        .map(|consumer| {
            [
                printable(&consumer.ident),
                consumer.last_id.to_string(),
                consumer.events_behind.to_string(),
                match consumer.events_behind {
                    0 => "-".to_owned(),
                    _ => duration(consumer.seconds_behind),
                },
                format!("{} ago", duration(consumer.seconds_since_seen)),
            ]
        })
        .collect();
    let head = [
        ("CONSUMER", Left),
        ("CURSOR", Right),
        ("EVENTS BEHIND", Right),
        ("TIME BEHIND", Right),
        ("SEEN", Right),
    ];
    out.table(head, &rows)
}

fn consumer_json(consumer: &ConsumerLag) -> Value {
    json!({
        "ident": consumer.ident,
        "last_id": consumer.last_id.to_string(),
        "events_behind": consumer.events_behind,
        "seconds_behind": consumer.seconds_behind,
        "seconds_since_seen": consumer.seconds_since_seen,
        "seconds_registered": consumer.seconds_registered,
    })
}

/// The same document as that of the C interface.
fn lag_json(lag: &Lag) -> Value {
    let holders = lag.holders.iter().map(
        |holder| json!({"id": holder.id, "since": holder.since, "application": holder.application}),
    );
    json!({
        "highest_id": lag.highest_id.to_string(),
        "first_unsettled": lag.first_unsettled.map(|id| id.to_string()),
        "holders": holders.collect::<Vec<_>>(),
        "blocked": lag.blocked,
        "warnings": lag.warnings,
        "consumers": lag.consumers.iter().map(consumer_json).collect::<Vec<_>>(),
    })
}
