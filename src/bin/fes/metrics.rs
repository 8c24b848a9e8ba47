//! `fes metrics`: Prometheus text.

use crate::args::Global;
use crate::failure::Result;
use crate::output::Out;
use crate::printable::printable;
use futoin_eventstream::{ConsumerLag, Lag};
use std::time::Instant;

pub fn metrics(global: &Global, out: &mut Out) -> Result {
    let start = Instant::now();
    let lag = global.stream()?.lag()?;
    let mut text = text(&lag);
    one(
        &mut text,
        "evt_look_seconds",
        "gauge",
        "How long it took to find these numbers.",
        format!("{:.6}", start.elapsed().as_secs_f64()),
    );
    out.bytes(text.as_bytes())
}

/// The metrics of each consumer: name, type, help, and the field that it comes from.
type PerConsumer = (&'static str, &'static str, &'static str, fn(&ConsumerLag) -> String);

const PER_CONSUMER: &[PerConsumer] = &[
    (
        "evt_consumer_acknowledged_ids_total",
        "counter",
        "The cursor: every event up to this id is acknowledged.",
        |consumer| consumer.last_id.to_string(),
    ),
    (
        "evt_consumer_behind_events",
        "gauge",
        "Events after the cursor, wanted or not.",
        |consumer| consumer.events_behind.to_string(),
    ),
    (
        "evt_consumer_behind_seconds",
        "gauge",
        "Age of the oldest event after the cursor; 0 if there is none.",
        |consumer| consumer.seconds_behind.to_string(),
    ),
    (
        "evt_consumer_seen_seconds",
        "gauge",
        "Time since the consumer polled or acknowledged, to about 10 s.",
        |consumer| consumer.seconds_since_seen.to_string(),
    ),
    (
        "evt_consumer_registered_seconds",
        "gauge",
        "Time since the consumer was registered.",
        |consumer| consumer.seconds_registered.to_string(),
    ),
];

fn text(lag: &Lag) -> String {
    let mut out = String::new();
    let help = "Event ids allocated so far: the highest id, also of what was rolled back.";
    one(&mut out, "evt_ids_total", "counter", help, lag.highest_id);
    one(&mut out, "evt_consumers", "gauge", "Registered consumers.", lag.consumers.len());
    let help = "The first event id that readers wait for; 0 if they wait for none.";
    one(&mut out, "evt_unsettled_id", "gauge", help, lag.first_unsettled.unwrap_or(0));
    let help = "Open transactions that readers wait for, as far as the server tells.";
    one(&mut out, "evt_holders", "gauge", help, lag.holders.len());
    let help = "1 if the server withholds what readers need: `fes lag` tells the grant that helps.";
    one(&mut out, "evt_blocked", "gauge", help, u8::from(lag.blocked.is_some()));
    for (name, kind, help, value) in PER_CONSUMER {
        if lag.consumers.is_empty() {
            break;
        }
        out += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for consumer in &lag.consumers {
            let label = label(&consumer.ident);
            out += &format!("{name}{{consumer=\"{label}\"}} {}\n", value(consumer));
        }
    }
    out
}

fn one(out: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    *out += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
}

/// A label's value, escaped as the format asks for, without what a terminal would act on.
fn label(text: &str) -> String {
    printable(text).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_holds_nothing_that_a_terminal_acts_on() {
        assert_eq!(label("a\u{1b}[2J\u{202e}"), "a\\\\u{1b}[2J\\\\u{202e}");
        assert_eq!(label("a\"b\\c"), "a\\\"b\\\\c");
    }
}
