//! How long an event takes from its commit to the callback, and what waiting costs.
//!
//! `cargo bench --bench latency` measures SQLite; each `FES_TEST_<SERVER>_URL` in the environment
//! adds that server (`tests/run --only-servers` starts them). The database of the URL is used, so
//! give it one of its own. Prints a table; asserts nothing.

use futoin_eventstream::{EventStream, Options, ReceiverOptions, ReliableReceiver};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const EVENTS: usize = 300;
const PAUSE: Duration = Duration::from_millis(13);

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    if let (Some("write"), Some(url)) = (arguments.next().as_deref(), arguments.next()) {
        return write(&url);
    }
    println!("{:<34} {:>9} {:>9} {:>9}", "commit to callback", "p50 ms", "p99 ms", "idle CPU");
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}", folder.path().join("events.db").display());
    measure("SQLite", &file, &[]);
    for server in ["postgres", "postgres18", "mariadb", "mysql"] {
        let Ok(url) = std::env::var(format!("FES_TEST_{}_URL", server.to_uppercase())) else {
            continue;
        };
        measure(server, &url, &[]);
        if server.starts_with("postgres") {
            measure(&format!("{server} with NOTIFY"), &url, &[("notify", "true")]);
        }
    }
}

/// Adds events by this process and by another one; each carries the time of its commit.
fn measure(name: &str, url: &str, options: &[(&str, &str)]) {
    let table = format!("latency_{}", std::process::id());
    let options = options
        .iter()
        .fold(Options::new(), |o, (key, value)| o.set(key, value).unwrap())
        .set("event_table", &format!("{table}_{}", options.len()))
        .unwrap()
        .set("consumer_table", &format!("{table}_{}c", options.len()))
        .unwrap();
    let stream = EventStream::open_with(url, &options).unwrap();
    stream.migrate().unwrap();
    let (sender, received) = channel();
    let receiver = ReliableReceiver::new(
        &stream,
        "bench",
        "Latency",
        ReceiverOptions::new(),
        move |delivery| {
            let now = clock();
            for event in &delivery.events {
                sender.send((event.data.as_str().to_owned(), now))?;
            }
            Ok(())
        },
    )
    .unwrap();
    receiver.start().unwrap();
    std::thread::sleep(Duration::from_millis(500));

    let mut sent = Vec::with_capacity(EVENTS);
    for n in 0..EVENTS {
        std::thread::sleep(PAUSE);
        stream.add_event("SAME", &n).unwrap();
        sent.push(clock());
    }
    let came = collect(&received);
    let lags = sent.iter().zip(&came).map(|(sent, (_, came))| came.saturating_sub(*sent)).collect();
    let cpu = idle_cpu();
    report(&format!("{name}, same process"), lags, Some(cpu));

    // The other process writes the times of its commits to its standard output.
    let target = format!(
        "{url}{}event_table={table}_{n}&consumer_table={table}_{n}c",
        if url.contains('?') { '&' } else { '?' },
        n = if name.contains("NOTIFY") { 1 } else { 0 },
    );
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["write", &target])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let came = collect(&received);
    let text = String::from_utf8(output.stdout).unwrap();
    let sent = text.lines().map(|line| line.parse::<u64>().unwrap());
    let lags = sent.zip(&came).map(|(sent, (_, came))| came.saturating_sub(sent)).collect();
    report(&format!("{name}, other process"), lags, None);
    receiver.stop();
}

/// The part of the other process.
fn write(url: &str) {
    let stream = EventStream::open(url).unwrap();
    for n in 0..EVENTS {
        std::thread::sleep(PAUSE);
        stream.add_event("OTHER", &n).unwrap();
        println!("{}", clock());
    }
}

fn collect(received: &Receiver<(String, u64)>) -> Vec<(String, u64)> {
    (0..EVENTS).map(|_| received.recv_timeout(Duration::from_secs(60)).unwrap()).collect()
}

/// Microseconds of a clock that all processes share.
fn clock() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_micros() as u64
}

/// The share of one core that this process uses while nothing happens, in percent.
fn idle_cpu() -> f64 {
    // Nanoseconds on a processor, of all threads: exact, unlike the ticks of /proc/self/stat.
    let used = || -> f64 {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let times = tasks.flatten().filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<f64>().ok()
        });
        times.sum()
    };
    // Let the waits grow first.
    std::thread::sleep(Duration::from_millis(1500));
    let (before, start) = (used(), Instant::now());
    std::thread::sleep(Duration::from_secs(4));
    (used() - before) / start.elapsed().as_nanos() as f64 * 100.0
}

fn report(name: &str, mut lags: Vec<u64>, cpu: Option<f64>) {
    lags.sort_unstable();
    let at =
        |percent: usize| lags[(lags.len() * percent / 100).min(lags.len() - 1)] as f64 / 1000.0;
    let cpu = cpu.map_or(String::new(), |cpu| format!("{cpu:.2} %"));
    println!("{name:<34} {:>9.2} {:>9.2} {cpu:>9}", at(50), at(99));
}
