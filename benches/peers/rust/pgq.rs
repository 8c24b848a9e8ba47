//! PgQ, called by the driver that this library uses, with prepared statements. Its ticker is called
//! by hand, outside of what is measured: the reader finds batches of 1000 events.

use crate::workload::{self, BULK, CALLERS, Outcome, Result, TYPE, Workload};
use futoin_eventstream::postgres::{Client, NoTls, Statement};
use std::time::Instant;

const QUEUE: &str = "peers";
const READER: &str = "reader";
const BATCH: usize = 1000;

/// Makes the queue and does the workload.
pub fn run(workload: &Workload) -> Result<Outcome> {
    let mut client = connect()?;
    client.batch_execute(&format!(
        "CREATE EXTENSION pgq; SELECT pgq.create_queue('{QUEUE}');
         SELECT pgq.set_queue_config('{QUEUE}', 'ticker_max_count', '{BATCH}');
         SELECT pgq.register_consumer('{QUEUE}', '{READER}');
         CREATE TABLE own(n INTEGER)"
    ))?;
    match workload.name.as_str() {
        "add" => {
            let mut adder = Adder::new()?;
            workload.one_by_one(1, |n| adder.add(&workload.data(n).to_string()))
        }
        "add16" => {
            let adders = (0..CALLERS).map(|_| Adder::new()).collect::<Result<_>>()?;
            workload
                .by_callers(adders, |adder: &mut Adder, n| adder.add(&workload.data(n).to_string()))
        }
        "tx" => tx(&mut client, workload),
        "bulk" => bulk(&mut client, workload),
        "poll" => poll(&mut client, workload),
        other => Err(format!("unknown workload {other}").into()),
    }
}

fn connect() -> Result<Client> {
    Ok(Client::connect(&workload::url()?, NoTls)?)
}

/// A connection with the prepared statement that adds an event.
struct Adder {
    client: Client,
    insert: Statement,
}

impl Adder {
    fn new() -> Result<Self> {
        let mut client = connect()?;
        let insert =
            client.prepare(&format!("SELECT pgq.insert_event('{QUEUE}', '{TYPE}', $1)"))?;
        Ok(Adder { client, insert })
    }

    fn add(&mut self, data: &str) -> Result<()> {
        self.client.query_one(&self.insert, &[&data])?;
        Ok(())
    }
}

fn tx(client: &mut Client, workload: &Workload) -> Result<Outcome> {
    let own = client.prepare("INSERT INTO own(n) VALUES ($1)")?;
    let insert = client.prepare(&format!("SELECT pgq.insert_event('{QUEUE}', '{TYPE}', $1)"))?;
    workload.one_by_one(1, |n| {
        let mut transaction = client.transaction()?;
        transaction.execute(&own, &[&(n as i32)])?;
        transaction.query_one(&insert, &[&workload.data(n).to_string()])?;
        Ok(transaction.commit()?)
    })
}

/// One statement for each bulk, which is what costs PgQ least.
fn bulk(client: &mut Client, workload: &Workload) -> Result<Outcome> {
    let insert = client.prepare(&format!(
        "SELECT count(pgq.insert_event('{QUEUE}', '{TYPE}', data)) FROM unnest($1::text[]) AS data"
    ))?;
    workload.one_by_one(BULK, |first| {
        let last = workload.events.min(first + BULK);
        let data: Vec<_> = (first..last).map(|n| workload.data(n).to_string()).collect();
        client.query_one(&insert, &[&data])?;
        Ok(())
    })
}

fn poll(client: &mut Client, workload: &Workload) -> Result<Outcome> {
    client.query("SELECT pgq.ticker($1)", &[&QUEUE])?;
    let fill = client.prepare(
        "SELECT count(pgq.insert_event($1, 'BENCH', data)) FROM unnest($2::text[]) AS data",
    )?;
    for first in (0..workload.events).step_by(BATCH) {
        let last = workload.events.min(first + BATCH);
        let data: Vec<_> = (first..last).map(|n| workload.data(n).to_string()).collect();
        client.query_one(&fill, &[&QUEUE, &data])?;
        client.query("SELECT pgq.force_tick($1)", &[&QUEUE])?;
        client.query("SELECT pgq.ticker($1)", &[&QUEUE])?;
    }

    client.batch_execute("ANALYZE")?;
    let next = client.prepare(&format!("SELECT pgq.next_batch('{QUEUE}', '{READER}')"))?;
    let get = client.prepare("SELECT ev_id, ev_type, ev_data, ev_time FROM pgq.get_batch_events($1)")?;
    let finish = client.prepare("SELECT pgq.finish_batch($1)")?;
    let mut read = Vec::new();
    let start = Instant::now();
    while let Some(batch) = client.query_one(&next, &[])?.get::<_, Option<i64>>(0) {
        for row in client.query(&get, &[&batch])? {
            // What an application gets: owned id, type, data and time.
            let _event: (i64, String, std::time::SystemTime) = (row.get(0), row.get(1), row.get(3));
            read.push(workload::number(&row.get::<_, String>(2))?);
        }
        client.query_one(&finish, &[&batch])?;
    }
    Ok(Outcome { seconds: start.elapsed(), read: Some(read) })
}
