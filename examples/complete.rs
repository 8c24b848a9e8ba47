//! The complete example: one thread adds, a LIVE and a reliable receiver print what they get.
//!
//! `cargo run --example complete`, or with the URL of a database behind `--`.

use futoin_eventstream::{
    Delivery, EventStream, LiveReceiver, Notice, ReceiverOptions, ReliableReceiver, Want,
};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

fn print(who: &str, delivery: &Delivery) {
    for event in &delivery.events {
        println!("{who:<8} #{} {} {} {}", delivery.seq, event.id, event.event_type, event.data);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let url = std::env::args()
        .nth(1)
        .unwrap_or_else(|| format!("sqlite://{}", folder.path().join("app.db").display()));
    let stream = EventStream::open(&url)?;
    stream.migrate()?;

    // Both say when they are ready, so that the LIVE one misses nothing of this short run.
    let (ready, is_ready) = channel();
    let say_ready = move |notice: &Notice| {
        if let Notice::Ready = notice {
            let _ = ready.send(());
        }
    };

    let options = ReceiverOptions::new().on_notice(say_ready.clone());
    let live = LiveReceiver::new(&stream, "app", options, |delivery| {
        print("live", delivery);
        Ok(())
    })?;

    let (done, is_done) = channel();
    let options = ReceiverOptions::new().want(Want::types(&["EVEN"])?).on_notice(say_ready);
    let reliable = ReliableReceiver::new(&stream, "app", "Evens", options, move |delivery| {
        print("reliable", delivery);
        // An error here would bring the same events again.
        let last = delivery.events.iter().any(|event| event.data.as_str() == "8");
        if last { Ok(done.send(())?) } else { Ok(()) }
    })?;

    live.start()?;
    reliable.start()?;
    is_ready.recv()?;
    is_ready.recv()?;

    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=9 {
                let event_type = if n % 2 == 0 { "EVEN" } else { "ODD" };
                stream.add_event(event_type, &n).expect("the event is added");
                thread::sleep(Duration::from_millis(20));
            }
        });
    });

    is_done.recv_timeout(Duration::from_secs(30))?;
    reliable.stop();
    live.stop();
    stream.close();
    Ok(())
}
