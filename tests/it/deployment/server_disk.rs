//! A server whose disk is full for a while: adding fails with an error that says so, nothing that was
//! added is lost, and once there is space again everything goes on, on the same handles.

use crate::support::spare::Spare;
use crate::support::{everything, variable};
use futoin_eventstream::{
    Archiver, Discarder, ErrorKind, EventStream, Options, ReceiverOptions, ReliableReceiver,
    Warehouse,
};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// More than the slowest server takes to notice that there is space again.
const PATIENCE: Duration = Duration::from_secs(300);

/// A server whose data are on a small file system of their own.
struct Small {
    spare: Spare,
    name: String,
    data: PathBuf,
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let with_sudo = || Command::new("sudo").arg("-n").arg(program).args(arguments).output();
    let done = |output: std::io::Result<std::process::Output>| {
        output.is_ok_and(|output| output.status.success())
    };
    done(Command::new(program).args(arguments).output()) || done(with_sudo())
}

fn control(action: &str, name: &str) {
    let program = variable("FES_TEST_CONTROL").unwrap();
    let done = Command::new(program).args([action, name]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

impl Small {
    /// `None`, with a word on it, where mounting is not allowed; a failure where the run promised that
    /// it is.
    fn make(server: &'static str, arguments: &[&str]) -> Option<Small> {
        let spare = Spare::make("full", server, arguments)?;
        let name = format!("{server}-full");
        let folder = Path::new(&variable("FES_TEST_CONTROL_SOCKET")?).parent()?.to_owned();
        let data = folder.join(&name).join("data");
        control("stop", &name);
        let [to, copy] = [data.to_str()?, &format!("{}-copy", data.display())];
        assert!(run("cp", &["-a", to, copy]));
        let used =
            Command::new("du").args(["-sm", "--apparent-size", copy]).output().unwrap().stdout;
        let used = String::from_utf8(used).unwrap();
        let used: u32 = used.split_whitespace().next().unwrap().parse().unwrap();
        // Room for what a server needs to start, beside the filler.
        let size = format!("size={}m", used + 64);
        let mounted = run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", to]);
        let copied = mounted && run("cp", &["-a", "--sparse=never", &format!("{copy}/."), to]);
        assert!(!mounted || copied);
        run("rm", &["-r", copy]);
        if !mounted {
            Spare::drop(&name);
            let required = std::env::var("FES_TEST_REQUIRED").is_ok();
            assert!(!required, "a tmpfs cannot be mounted: run the tests as root, or with sudo");
            eprintln!("left out: a tmpfs cannot be mounted, because this user is not root");
            return None;
        }
        let small = Small { spare, name, data };
        control("start", &small.name);
        Some(small)
    }

    /// Leaves not a single page.
    fn fill(&self) {
        let mut filler = File::create(self.data.join("filler")).unwrap();
        for piece in [64 << 10, 4 << 10] {
            while filler.write_all(&vec![0; piece]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.data.join("filler")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.data.join("filler"));
        Spare::drop(&self.name);
        run("umount", &["-l", self.data.to_str().unwrap()]);
        let _ = std::fs::remove_dir_all(self.data.parent().unwrap());
    }
}

/// Text that no server makes smaller.
fn noise(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut digit = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state % 90) as u8)
    };
    (0..100_000).map(|_| digit()).collect()
}

fn a_full_disk_is_survived(server: &'static str, arguments: &[&str]) {
    let Some(small) = Small::make(server, arguments) else { return };
    let db = small.spare.db();
    let stream = EventStream::open(&db.url).unwrap();
    stream.migrate().unwrap();
    let warehouse = Warehouse::open(&db.url).unwrap();
    warehouse.migrate().unwrap();
    let archiver = Archiver::new(&stream, &warehouse, &Options::new()).unwrap();
    let (sender, received) = channel();
    let receiver =
        ReliableReceiver::new(&stream, "app", "Audit", ReceiverOptions::new(), move |delivery| {
            delivery.events.iter().try_for_each(|event| sender.send(event.id)).map_err(Into::into)
        })
        .unwrap();
    receiver.start().unwrap();
    let mut added: BTreeSet<u64> =
        (0..20).map(|n| stream.add_event("BEFORE", &n).unwrap()).collect();
    archiver.run_once().unwrap();

    small.fill();
    let mut unsure = 0;
    let mut refused = None;
    for n in 0..200 {
        match stream.add_event("LARGE", &noise(n)) {
            Ok(id) => drop(added.insert(id)),
            Err(error) => {
                unsure += usize::from(error.kind() == ErrorKind::ConnectionLost);
                refused = Some(error);
                break;
            }
        }
    }
    let refused = refused.expect("a full disk");
    let text = refused.to_string();
    let tells = ["No space left", "is full", "no space"].iter().any(|word| text.contains(word));
    // A server that cannot write a page of its own may end itself.
    let ended = refused.kind() == ErrorKind::ConnectionLost;
    assert!(tells || (ended && server == "mariadb"), "{refused:?}");
    // More failures make it no worse: in a transaction, of many at once, in other threads.
    for n in 200..203 {
        let many = vec![futoin_eventstream::NewEvent::new("LARGE", &noise(n)).unwrap(); 20];
        assert!(stream.add_events(&many).is_err());
        let Ok(mut transaction) = stream.begin() else { continue };
        assert!((0..20).any(|_| transaction.add_event("LARGE", &noise(n)).is_err()));
        let _ = transaction.rollback();
    }
    let _ = archiver.run_once();
    small.free();
    // Whoever looks after a server starts it again; it does nothing for one that runs.
    control("start", &small.name);

    let start = Instant::now();
    let after = loop {
        match stream.add_event("AFTER", &noise(300)) {
            Ok(id) => break id,
            Err(error) => {
                unsure += usize::from(error.kind() == ErrorKind::ConnectionLost);
                assert!(start.elapsed() < PATIENCE, "still: {error}");
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    added.insert(after);
    let mut transaction = stream.begin().unwrap();
    added.insert(transaction.add_event("AFTER", &1).unwrap());
    transaction.commit().unwrap();
    let last = *added.last().unwrap();

    let there: BTreeSet<u64> = everything(&stream).iter().map(|event| event.id).collect();
    assert!(there.is_superset(&added), "lost: {:?}", added.difference(&there));
    assert!(there.len() - added.len() <= unsure, "{:?}", there.difference(&added));
    let mut got = BTreeSet::new();
    while !got.contains(&last) {
        let left = PATIENCE.saturating_sub(start.elapsed());
        got.insert(received.recv_timeout(left).expect("the receiver is deaf"));
    }
    assert_eq!(got, there);
    receiver.stop();
    archiver.run_once().unwrap();
    let rows = db.raw().number("SELECT count(*) FROM evt_history");
    assert_eq!(rows, there.len() as i64);
    Discarder::new(&stream, &Options::new()).unwrap().run_once().unwrap();
    assert!(db.raw().number("SELECT count(*) FROM evt_queue") < rows);
    drop((archiver, warehouse, stream, db));
}

#[test]
fn a_full_disk_of_postgres_is_survived() {
    a_full_disk_is_survived("postgres", &[]);
}

#[test]
fn a_full_disk_of_mariadb_is_survived() {
    a_full_disk_is_survived("mariadb", &[]);
}

#[test]
fn a_full_disk_of_mysql_is_survived() {
    a_full_disk_is_survived("mysql", &["--skip-log-bin"]);
}
