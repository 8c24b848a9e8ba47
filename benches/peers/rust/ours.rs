//! This library.

use crate::workload::{self, BULK, CALLERS, Outcome, Result, TYPE, Workload};
use futoin_eventstream::{
    Archiver, Consumer, DatabaseKind, Discarder, EventStream, NewEvent, Options, Value, Want,
    Warehouse,
};
use std::time::Instant;

const USER: &str = "peers";
const COMPONENT: &str = "Reader";

fn open() -> Result<EventStream> {
    let options = Options::new().set("max_connections", &CALLERS.to_string())?;
    Ok(EventStream::open_with(&workload::url()?, &options)?)
}

/// Makes the tables, and what a workload finds there.
pub fn prepare(workload: &Workload) -> Result<()> {
    let stream = open()?;
    stream.migrate()?;
    match workload.name.as_str() {
        "tx" => {
            let mut transaction = stream.begin()?;
            transaction.execute("CREATE TABLE own(n INTEGER)", &[])?;
            transaction.commit()?;
        }
        "poll" => {
            stream.consumer(USER, COMPONENT)?.register()?;
            fill(&stream, workload)?;
        }
        "overlap" => stream.consumer(USER, COMPONENT)?.register()?,
        "archive" => {
            fill(&stream, workload)?;
            Warehouse::open(&workload::dwh_url()?)?.migrate()?;
        }
        "discard" => {
            let reader = stream.consumer(USER, COMPONENT)?;
            reader.register()?;
            reader.acknowledge(fill(&stream, workload)?)?;
        }
        _ => {}
    }
    Ok(())
}

/// Adds all events; gives the highest id.
fn fill(stream: &EventStream, workload: &Workload) -> Result<u64> {
    let events: Vec<_> = (0..workload.events).map(|n| event(workload, n)).collect::<Result<_>>()?;
    let mut highest = 0;
    for events in events.chunks(1000) {
        highest = stream.add_events(events)?[events.len() - 1];
    }
    Ok(highest)
}

fn event(workload: &Workload, n: usize) -> Result<NewEvent> {
    Ok(NewEvent::new(TYPE, &workload.data(n))?)
}

/// Does the workload, on what `prepare` has made.
pub fn run(workload: &Workload) -> Result<Outcome> {
    let stream = open()?;
    match workload.name.as_str() {
        "add" => {
            stream.add_event(TYPE, "warm")?;
            workload.one_by_one(1, |n| Ok(stream.add_event(TYPE, &workload.data(n)).map(drop)?))
        }
        "add16" => {
            warm(&stream)?;
            workload.by_callers(vec![(); CALLERS], |_, n| {
                Ok(stream.add_event(TYPE, &workload.data(n)).map(drop)?)
            })
        }
        "tx" => {
            stream.add_event(TYPE, "warm")?;
            workload.one_by_one(1, |n| add_with_own_row(&stream, workload, n))
        }
        "bulk" => {
            stream.add_event(TYPE, "warm")?;
            workload.one_by_one(BULK, |first| {
                let events: Vec<_> = (first..workload.events.min(first + BULK))
                    .map(|n| event(workload, n))
                    .collect::<Result<_>>()?;
                Ok(stream.add_events(&events).map(drop)?)
            })
        }
        "poll" => poll(&stream),
        "overlap" => {
            let reader = stream.consumer(USER, COMPONENT)?;
            let mut last = None;
            workload.read_while_others_write(|read| read_chunk(&reader, &mut last, read))
        }
        "archive" => {
            let archiver =
                Archiver::new(&stream, &Warehouse::open(&workload::dwh_url()?)?, &Options::new())?;
            counted(workload.events, || archiver.run_once())
        }
        "discard" => {
            let discarder = Discarder::new(&stream, &Options::new())?;
            // The event with the highest id stays.
            counted(workload.events - 1, || discarder.run_once())
        }
        other => Err(format!("unknown workload {other}").into()),
    }
}

/// Opens all connections.
fn warm(stream: &EventStream) -> Result<()> {
    std::thread::scope(|scope| {
        let add = || stream.add_event(TYPE, "warm");
        let threads: Vec<_> = (0..CALLERS).map(|_| scope.spawn(add)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a panic").map(drop))
    })?;
    Ok(())
}

fn add_with_own_row(stream: &EventStream, workload: &Workload, n: usize) -> Result<()> {
    let own = match stream.kind() {
        DatabaseKind::Postgres => "INSERT INTO own(n) VALUES ($1)",
        _ => "INSERT INTO own(n) VALUES (?)",
    };
    let mut transaction = stream.begin()?;
    transaction.execute(own, &[Value::from(n as i64)])?;
    transaction.add_event(TYPE, &workload.data(n))?;
    Ok(transaction.commit()?)
}

fn poll(stream: &EventStream) -> Result<Outcome> {
    let reader = stream.consumer(USER, COMPONENT)?;
    let (mut last, mut read, mut before) = (None, Vec::new(), None);
    let start = Instant::now();
    while before != Some(read.len()) {
        before = Some(read.len());
        read_chunk(&reader, &mut last, &mut read)?;
    }
    Ok(Outcome { seconds: start.elapsed(), read: Some(read) })
}

/// Acknowledges up to `last`, and reads what follows.
fn read_chunk(reader: &Consumer, last: &mut Option<u64>, read: &mut Vec<usize>) -> Result<()> {
    for event in reader.poll(*last, &Want::all())? {
        *last = Some(event.id);
        read.push(workload::number(event.data.as_str())?);
    }
    Ok(())
}

/// What others write while `overlap` reads.
pub fn write(workload: &Workload) -> Result<Outcome> {
    let stream = open()?;
    workload.overlapping(vec![(); CALLERS], |_, n, wait| {
        let mut transaction = stream.begin()?;
        transaction.add_event(TYPE, &workload.data(n))?;
        wait();
        Ok(transaction.commit()?)
    })
}

/// Measures work that counts its events itself.
fn counted(
    expected: usize,
    work: impl FnOnce() -> futoin_eventstream::Result<u64>,
) -> Result<Outcome> {
    let start = Instant::now();
    let done = work()?;
    let seconds = start.elapsed();
    if done != expected as u64 {
        return Err(format!("{done} events, not {expected}").into());
    }
    Ok(Outcome { seconds, read: None })
}
