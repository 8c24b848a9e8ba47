//! All together: the service app archives and discards, while a transaction adds and a consumer reads.

use futoin_eventstream::{HistoryNotice, Options, ServiceApp, Want};
use serde_json::json;
use std::sync::mpsc::channel;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut urls = std::env::args().skip(1);
    let mut url = || urls.next().unwrap_or("sqlite::memory:".into());
    let options = Options::new().set("enable_discarder", "true")?;
    let app = ServiceApp::open(&url(), Some(&url()), &options)?;
    app.migrate()?;

    // Called by the threads of the app.
    let (archived, is_archived) = channel();
    app.on_notice(move |notice| match notice {
        HistoryNotice::ProcessedEvents(count) => _ = archived.send(*count),
        HistoryNotice::WorkerError(error) | HistoryNotice::ReceiverError(error) => {
            eprintln!("{error}");
        }
        _ => {}
    });
    app.start()?;

    let audit = app.stream().consumer("app", "Audit")?;
    audit.register()?;
    let mut tx = app.stream().begin()?;
    tx.add_event("USR_ADD", &json!({"name": "Ann"}))?;
    tx.add_event("USR_MOD", &json!({"name": "Ann"}))?;
    tx.commit()?;

    let events = audit.poll_for(None, &Want::all(), 1000, LIMIT, None)?;
    for event in &events {
        println!("audit: {} {} {}", event.id, event.event_type, event.data);
    }
    audit.acknowledge(events.last().ok_or("no event came")?.id)?;

    let mut total = 0;
    while total < 2 {
        total += is_archived.recv_timeout(LIMIT)?;
    }
    println!("archived {total}");
    app.close();
    Ok(())
}
