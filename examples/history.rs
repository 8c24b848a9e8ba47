//! The archiver copies events to the warehouse; a replay reads both as one stream.

use futoin_eventstream::{Archiver, Event, EventStream, Options, Want, Warehouse};

fn print(who: &str, events: &[Event]) {
    for event in events {
        println!("{who}: {} {} {}", event.id, event.event_type, event.data);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut urls = std::env::args().skip(1);
    let mut url = || urls.next().unwrap_or("sqlite::memory:".into());
    let (stream, warehouse) = (EventStream::open(&url())?, Warehouse::open(&url())?);
    stream.migrate()?;
    warehouse.migrate()?;
    let archiver = Archiver::new(&stream, &warehouse, &Options::new())?;

    stream.add_event("USR_ADD", &1)?;
    stream.add_event("USR_MOD", &1)?;
    println!("archived {}", archiver.run_once()?); // or archiver.start(), for ever
    print("history", &warehouse.history(1, &Want::all(), 1000)?);

    stream.add_event("USR_DEL", &1)?;
    let mut replay = warehouse.replay(&stream, 1, &Want::all());
    loop {
        let events = replay.next(1000)?;
        if events.is_empty() {
            return Ok(());
        }
        print("replay", &events);
    }
}
