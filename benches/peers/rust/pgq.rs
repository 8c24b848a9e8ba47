//! PgQ, called by the driver that this library uses, with prepared statements. Its ticker is called
//! by hand, outside of what is measured: the reader finds batches of 1000 events.

use crate::workload::{self, BULK, CALLERS, Outcome, Result, TYPE, Workload};
use futoin_eventstream::postgres::{Client, NoTls, Statement};
use std::time::{Instant, SystemTime};

const QUEUE: &str = "peers";
const READER: &str = "reader";
const BATCH: usize = 1000;
/// Adds many events by one statement, which is what costs PgQ least.
const MANY: &str =
    "SELECT count(pgq.insert_event('peers', 'BENCH', data)) FROM unnest($1::text[]) AS data";

/// Makes the queue, with a batch for every 1000 events that a reading workload finds.
pub fn prepare(workload: &Workload) -> Result<()> {
    let mut client = connect()?;
    client.batch_execute(&format!(
        "CREATE EXTENSION pgq; SELECT pgq.create_queue('{QUEUE}');
         SELECT pgq.register_consumer('{QUEUE}', '{READER}');
         CREATE TABLE own(n INTEGER)"
    ))?;
    if workload.name == "poll" {
        for first in (0..workload.events).step_by(BATCH) {
            client.query_one(MANY, &[&data(workload, first, BATCH)])?;
            tick(&mut client)?;
        }
        client.batch_execute("ANALYZE")?;
    }
    Ok(())
}

/// Does the workload, on what `prepare` has made.
pub fn run(workload: &Workload) -> Result<Outcome> {
    let mut client = connect()?;
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
        "poll" => {
            let mut reader = Reader::new(client)?;
            let (mut read, start) = (Vec::new(), Instant::now());
            while reader.read_batch(&mut read)? {}
            Ok(Outcome { seconds: start.elapsed(), read: Some(read) })
        }
        "overlap" => {
            let mut reader = Reader::new(client)?;
            workload.read_while_others_write(|read| {
                tick(&mut reader.client)?;
                reader.read_batch(read).map(drop)
            })
        }
        other => Err(format!("unknown workload {other}").into()),
    }
}

/// What others write while `overlap` reads.
pub fn write(workload: &Workload) -> Result<Outcome> {
    let adders = (0..CALLERS).map(|_| Adder::new()).collect::<Result<_>>()?;
    workload.overlapping(adders, |adder: &mut Adder, n, wait| {
        let mut transaction = adder.client.transaction()?;
        transaction.query_one(&adder.insert, &[&workload.data(n).to_string()])?;
        wait();
        Ok(transaction.commit()?)
    })
}

/// Ends a batch, as PgQ's daemon does.
fn tick(client: &mut Client) -> Result<()> {
    client.query("SELECT pgq.force_tick($1)", &[&QUEUE])?;
    client.query("SELECT pgq.ticker($1)", &[&QUEUE])?;
    Ok(())
}

/// The JSON texts of up to `count` events.
fn data(workload: &Workload, first: usize, count: usize) -> Vec<String> {
    let last = workload.events.min(first + count);
    (first..last).map(|n| workload.data(n).to_string()).collect()
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

fn bulk(client: &mut Client, workload: &Workload) -> Result<Outcome> {
    let insert = client.prepare(MANY)?;
    workload.one_by_one(BULK, |first| {
        client.query_one(&insert, &[&data(workload, first, BULK)])?;
        Ok(())
    })
}

/// A connection with the prepared statements that read.
struct Reader {
    client: Client,
    next: Statement,
    get: Statement,
    finish: Statement,
}

impl Reader {
    fn new(mut client: Client) -> Result<Self> {
        let next = client.prepare(&format!("SELECT pgq.next_batch('{QUEUE}', '{READER}')"))?;
        let get = client
            .prepare("SELECT ev_id, ev_type, ev_data, ev_time FROM pgq.get_batch_events($1)")?;
        let finish = client.prepare("SELECT pgq.finish_batch($1)")?;
        Ok(Reader { client, next, get, finish })
    }

    /// Reads and finishes a batch, if there is one.
    fn read_batch(&mut self, read: &mut Vec<usize>) -> Result<bool> {
        let row = self.client.query_one(&self.next, &[])?;
        let Some(batch) = row.get::<_, Option<i64>>(0) else {
            return Ok(false);
        };
        for row in self.client.query(&self.get, &[&batch])? {
            // What an application gets: owned id, type, data and time.
            let _event: (i64, String, SystemTime) = (row.get(0), row.get(1), row.get(3));
            read.push(workload::number(&row.get::<_, String>(2))?);
        }
        self.client.query_one(&self.finish, &[&batch])?;
        Ok(true)
    }
}
