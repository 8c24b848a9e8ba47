//! The tour: events in, alone and with a change of the database, and out to two consumers.
//!
//! `cargo run --example quickstart` uses a new SQLite database in a temporary folder;
//! `cargo run --example quickstart -- postgres://user:password@host/database` another one.

use futoin_eventstream::{Error, Event, EventStream, NewEvent, Want};
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let url = std::env::args()
        .nth(1)
        .unwrap_or_else(|| format!("sqlite://{}", folder.path().join("app.db").display()));

    // Open the application's own database. `migrate` makes the event tables, once.
    let stream = EventStream::open(&url)?;
    stream.migrate()?;

    // A new consumer begins with the oldest event that is still there. Its cursor is kept in the database.
    let security = stream.consumer("app", "Security")?;
    let audit = stream.consumer("app", "Audit")?;
    security.register()?;
    audit.register()?;

    // 1. An event of every JSON kind. Each is durable when the call returns.
    stream.add_event("NULL_EVENT", &())?;
    stream.add_event("BOOL_EVENT", &true)?;
    stream.add_event("INT_EVENT", &123)?;
    stream.add_event("REAL_EVENT", &1.5)?;
    stream.add_event("STR_EVENT", "Some text, also 😀")?;
    stream.add_event("ARRAY_EVENT", &[1, 2, 3])?;
    stream.add_event("OBJECT_EVENT", &json!({"a": 1, "b": {"c": null}}))?;

    // 2. Many at once: one transaction, ids in order.
    let ids = stream.add_events(&[
        NewEvent::new("USR_ADD", &json!({"id": 1}))?,
        NewEvent::from_json("USR_MOD", r#"{"id": 1, "balance": 12345678901234567890.10}"#)?,
    ])?;
    println!("added many: ids {ids:?}");

    // A table of the application's own. Not with what follows: MySQL would end the transaction.
    let mut tx = stream.begin()?;
    tx.execute("CREATE TABLE IF NOT EXISTS quickstart_users(name varchar(50))", &[])?;
    tx.commit()?;

    // 3. An event together with the change it tells of: both are stored, or none.
    let name = stream.kind().placeholder(1);
    let mut tx = stream.begin()?;
    tx.execute(&format!("INSERT INTO quickstart_users(name) VALUES ({name})"), &["Ann".into()])?;
    tx.add_event("USR_ADD", &json!({"name": "Ann"}))?;
    tx.commit()?;

    // 4. Rolled back: neither the row nor the event was ever there. Dropping `tx` does the same.
    let mut tx = stream.begin()?;
    tx.execute(&format!("INSERT INTO quickstart_users(name) VALUES ({name})"), &["Bob".into()])?;
    tx.add_event("USR_ADD", &json!({"name": "Bob"}))?;
    tx.rollback()?;

    // 5. Each consumer polls what it wants, to the end. Acknowledged events never come again.
    let drain = |consumer: &futoin_eventstream::Consumer, want: &Want| -> Result<(), Error> {
        println!("{} receives:", consumer.ident());
        loop {
            let events: Vec<Event> = consumer.poll(None, want)?;
            let Some(last) = events.last() else { return Ok(()) };
            for event in &events {
                println!("  {:>3} {} {:<12} {}", event.id, event.ts, event.event_type, event.data);
            }
            consumer.acknowledge(last.id)?;
        }
    };
    drain(&security, &Want::types(&["USR_ADD", "USR_MOD"])?)?;
    drain(&audit, &Want::all())?;

    // 6. How many events has each consumer still to read? `lag` also tells what holds the stream up.
    for consumer in stream.lag()?.consumers {
        println!("{} is {} events behind", consumer.ident, consumer.events_behind);
    }
    stream.close();
    Ok(())
}
