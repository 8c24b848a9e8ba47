//! Events as they come: taken from a subscription, or given to a callback.

use futoin_eventstream::{Delivery, EventStream, Options, ReceiverOptions, ReliableReceiver, Want};
use std::sync::mpsc::channel;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

fn print(who: &str, delivery: &Delivery) {
    for event in &delivery.events {
        println!("{who}: {} {} {}", event.id, event.event_type, event.data);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or("sqlite::memory:".into());
    let stream = EventStream::open(&url)?;
    stream.migrate()?;
    stream.consumer("app", "Audit")?.register()?;
    stream.add_event("USR_ADD", &1)?;

    let subscription = stream.subscribe("app", "Audit", Want::all(), &Options::new())?;
    if let Some(delivery) = subscription.next(LIMIT)? {
        print("subscription", &delivery);
        subscription.ack()?;
    }
    subscription.close()?;

    // The receiver's own thread calls this. `Ok` acknowledges, an error brings the same events again.
    let (received, is_received) = channel();
    let on_events = move |delivery: &Delivery| {
        print("receiver", delivery);
        for event in &delivery.events {
            received.send(event.id)?;
        }
        Ok(())
    };
    let options = ReceiverOptions::new();
    let receiver = ReliableReceiver::new(&stream, "app", "Mailer", options, on_events)?;
    receiver.start()?; // registers itself
    stream.add_event("USR_MOD", &1)?;
    for _ in 0..2 {
        is_received.recv_timeout(LIMIT)?;
    }
    receiver.stop();
    Ok(())
}
