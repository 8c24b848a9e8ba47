//! The discarder deletes what every consumer has acknowledged, and nothing else.

use futoin_eventstream::{Discarder, EventStream, Options, Want};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or("sqlite::memory:".into());
    let stream = EventStream::open(&url)?;
    stream.migrate()?;
    let audit = stream.consumer("app", "Audit")?;
    audit.register()?;
    let discarder = Discarder::new(&stream, &Options::new())?;

    stream.add_event("USR_ADD", &1)?;
    let second = stream.add_event("USR_ADD", &2)?;
    stream.add_event("USR_ADD", &3)?;
    println!("discarded {}", discarder.run_once()?); // or discarder.start(), for ever
    audit.acknowledge(second)?;
    println!("discarded {}", discarder.run_once()?);
    for event in audit.poll(None, &Want::all())? {
        println!("left: {} {} {}", event.id, event.event_type, event.data);
    }
    Ok(())
}
