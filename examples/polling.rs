//! Two consumers poll what they want, and acknowledge.

use futoin_eventstream::{Consumer, EventStream, Result, Want};

fn drain(consumer: &Consumer, who: &str, want: &Want) -> Result<()> {
    loop {
        let events = consumer.poll(None, want)?;
        let Some(last) = events.last() else { return Ok(()) };
        for event in &events {
            println!("{who}: {} {} {}", event.id, event.event_type, event.data);
        }
        consumer.acknowledge(last.id)?;
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or("sqlite::memory:".into());
    let stream = EventStream::open(&url)?;
    stream.migrate()?;
    let (audit, mailer) = (stream.consumer("app", "Audit")?, stream.consumer("app", "Mailer")?);
    audit.register()?;
    mailer.register()?;
    let additions = Want::types(&["USR_ADD"])?;

    stream.add_event("USR_ADD", &1)?;
    stream.add_event("USR_MOD", &1)?;
    drain(&audit, "audit", &Want::all())?;
    drain(&mailer, "mailer", &additions)?;
    stream.add_event("USR_ADD", &2)?;
    drain(&audit, "audit", &Want::all())?;
    drain(&mailer, "mailer", &additions)?;
    Ok(())
}
