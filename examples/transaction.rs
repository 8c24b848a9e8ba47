//! A change and the event that tells of it: both, or none.

use futoin_eventstream::{DatabaseKind, EventStream, NewEvent, Options, Result, Statement, Value};
use serde_json::json;

fn add_user(stream: &EventStream, name: &str, keep: bool) -> Result<()> {
    let mark = stream.kind().placeholder(1);
    let mut tx = stream.begin()?;
    tx.execute(&format!("INSERT INTO users(name) VALUES ({mark})"), &[name.into()])?;
    tx.add_event("USR_ADD", &json!({ "name": name }))?;
    if keep { tx.commit() } else { tx.rollback() } // dropping `tx` rolls back, too
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or("sqlite::memory:".into());
    let stream = EventStream::open(&url)?;
    stream.migrate()?;
    let mut tx = stream.begin()?;
    tx.execute("CREATE TABLE users(name VARCHAR(80))", &[])?;
    tx.commit()?;

    add_user(&stream, "Ann", true)?;
    add_user(&stream, "Bob", false)?;

    let mut tx = stream.begin()?;
    for row in tx.query("SELECT name FROM users", &[])? {
        if let Value::Text(name) = &row[0] {
            println!("user: {name}");
        }
    }
    tx.commit()?;

    // The same on a connection of your own: run this statement in its transaction.
    // For `rusqlite`, `postgres` and `mysql` there is `add_event_to`, which does so.
    let event = NewEvent::new("USR_ADD", &json!({}))?;
    let statement = Statement::new(DatabaseKind::Postgres, &event, &Options::new())?;
    println!("{}", &statement.sql[..51]);
    Ok(())
}
