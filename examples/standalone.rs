//! Events of their own: each is durable when the call returns.

use futoin_eventstream::{EventStream, NewEvent};
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or("sqlite::memory:".into());
    let stream = EventStream::open(&url)?;
    stream.migrate()?;
    println!("added {}", stream.add_event("USR_ADD", &json!({"name": "Ann"}))?);

    // Many at once: all or none.
    let ids = stream.add_events(&[
        NewEvent::new("USR_MOD", &json!({"id": 1}))?,
        NewEvent::from_json("USR_DEL", "null")?,
    ])?;
    println!("added {} and {}", ids[0], ids[1]);

    // Text that is no event type is refused.
    if let Err(error) = stream.add_event("lower case", &()) {
        println!("refused: {:?}", error.kind());
    }
    Ok(())
}
