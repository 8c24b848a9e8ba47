//! A disk that is full for a while: what was refused is refused, and once there is space again
//! everything goes on, in the same process and on the same handles.

use crate::support::everything;
use futoin_eventstream::{
    Archiver, Consumer, Discarder, ErrorKind, EventStream, NewEvent, Options, Result, Want,
    Warehouse,
};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// A small file system of a test's own; unmounted when dropped.
struct Disk {
    folder: tempfile::TempDir,
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let with_sudo = || Command::new("sudo").arg("-n").arg(program).args(arguments).output();
    let done = |output: std::io::Result<std::process::Output>| {
        output.is_ok_and(|output| output.status.success())
    };
    done(Command::new(program).args(arguments).output()) || done(with_sudo())
}

impl Disk {
    /// `None`, with a word on it, where mounting is not allowed; a failure where the run promised
    /// that it is.
    fn mount() -> Option<Disk> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        if run("mount", &["-t", "tmpfs", "-o", "size=3m,mode=0777", "tmpfs", path]) {
            return Some(Disk { folder });
        }
        let required = std::env::var("FES_TEST_REQUIRED").is_ok();
        assert!(!required, "a tmpfs cannot be mounted: run the tests as root, or with sudo");
        eprintln!("left out: a tmpfs cannot be mounted, because this user is not root");
        None
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn url(&self, name: &str) -> String {
        format!("sqlite://{}?busy_timeout_ms=3000", self.path(name).display())
    }

    /// Leaves not a single byte.
    fn fill(&self) {
        let mut filler =
            OpenOptions::new().create(true).append(true).open(self.path("filler")).unwrap();
        for piece in [64 << 10, 4 << 10, 512, 1] {
            while filler.write_all(&vec![0; piece]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.path("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["-l", self.folder.path().to_str().unwrap()]);
    }
}

/// What a step works on.
struct Scene {
    disk: Disk,
    stream: EventStream,
    consumer: Consumer,
    warehouse: Warehouse,
}

impl Scene {
    fn new() -> Option<Scene> {
        let disk = Disk::mount()?;
        let stream = EventStream::open(&disk.url("events.db")).unwrap();
        stream.migrate().unwrap();
        let warehouse = Warehouse::open(&disk.url("history.db")).unwrap();
        warehouse.migrate().unwrap();
        let consumer = stream.consumer("app", "Audit").unwrap();
        consumer.register().unwrap();
        let events = vec![NewEvent::new("USR_ADD", &"x".repeat(2000)).unwrap(); 200];
        stream.add_events(&events).unwrap();
        Some(Scene { disk, stream, consumer, warehouse })
    }

    fn archiver(&self) -> Archiver {
        Archiver::new(&self.stream, &self.warehouse, &Options::new()).unwrap()
    }

    /// Runs the step on the full disk until it fails, then with space again.
    fn run(&self, step: impl Fn(&Scene, u64) -> Result<()>) {
        self.disk.fill();
        let error = (0..2000).find_map(|n| step(self, n).err()).expect("a full disk");
        let text = error.to_string();
        assert!(text.contains("full") || text.contains("disk I/O"), "{error:?}");
        // More failures make it no worse.
        for n in 2000..2003 {
            let _ = step(self, n);
        }
        self.disk.free();
        // A transaction that was left open would make each of these wait for the busy timeout.
        let start = Instant::now();
        step(self, 3000).expect("the step, with space again");
        let id = self.stream.add_event("USR_ADD", &"after").expect("an event after all that");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| self.stream.add_event("USR_ADD", &"beside").unwrap());
            }
        });
        self.stream.begin().unwrap().commit().unwrap();
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        let events = everything(&self.stream);
        assert!(events.iter().any(|event| event.id == id));
        self.consumer.poll(None, &Want::all()).unwrap();
        self.archiver().run_once().unwrap();
    }
}

/// One test for each step.
macro_rules! steps {
    ($($name:ident: |$scene:ident, $n:ident| $step:expr;)+) => {$(
        #[test]
        fn $name() {
            let Some(scene) = Scene::new() else { return };
            scene.run(|$scene, $n| $step);
        }
    )+};
}

steps! {
    adding_an_event: |scene, _n| {
        scene.stream.add_event("USR_ADD", &"y".repeat(3000)).map(|_| ())
    };
    adding_many_events: |scene, _n| {
        let events: Vec<_> = (0..5).map(|n| NewEvent::new("USR_ADD", &n).unwrap()).collect();
        scene.stream.add_events(&events).map(|_| ())
    };
    a_transaction: |scene, n| {
        let mut tx = scene.stream.begin()?;
        tx.execute("CREATE TABLE IF NOT EXISTS users(name TEXT)", &[])?;
        tx.execute("INSERT INTO users(name) VALUES (?)", &[format!("{n}").into()])?;
        tx.add_event("USR_ADD", &n)?;
        tx.commit()
    };
    a_cursor: |scene, n| {
        let consumer = scene.stream.consumer("app", &format!("C{n}"))?;
        consumer.register()?;
        consumer.acknowledge(1 + n % 10)
    };
    acknowledging: |scene, n| {
        scene.consumer.acknowledge(1 + n.min(190))?;
        if scene.consumer.poll(None, &Want::all())?[0].id == 2 + n.min(190) {
            return Ok(());
        }
        panic!("a cursor that is said to be stored, and is not");
    };
    discarding: |scene, n| {
        scene.consumer.acknowledge(1 + n.min(190))?;
        let options = Options::new().set("limit_at_once", "1").unwrap();
        Discarder::new(&scene.stream, &options)?.run_once().map(|_| ())
    };
    archiving: |scene, _n| {
        scene.archiver().run_once()?;
        // On another disk the stream would have space for this.
        scene.stream.add_event("USR_ADD", &"z".repeat(100)).map(|_| ())
    };
    migrating: |scene, n| {
        let settings = Options::new().set("event_table", &format!("q{n}"))?;
        let settings = settings.set("consumer_table", &format!("c{n}"))?;
        EventStream::open_with(&scene.disk.url("events.db"), &settings)?.migrate()
    };
}

/// The history fills up, while the stream has all the space it wants.
#[test]
fn a_warehouse_on_a_full_disk_takes_the_events_later() {
    let Some(disk) = Disk::mount() else { return };
    let db = crate::support::Db::on("sqlite").unwrap();
    let stream = db.stream();
    let warehouse = Warehouse::open(&disk.url("history.db")).unwrap();
    warehouse.migrate().unwrap();
    let archiver = Archiver::new(&stream, &warehouse, &Options::new()).unwrap();
    archiver.run_once().unwrap();
    disk.fill();
    let filled = (0..500).any(|_| {
        stream.add_event("USR_ADD", &"x".repeat(4000)).unwrap();
        archiver.run_once().is_err()
    });
    assert!(filled, "a full disk");
    assert!(archiver.run_once().is_err());
    disk.free();
    archiver.run_once().unwrap();
    let archived = warehouse.history(1, &Want::all(), 1000).unwrap();
    assert_eq!(archived, everything(&stream));
}

/// The disk was full when the file was to be made.
#[test]
fn a_new_database_on_a_full_disk_is_made_later() {
    let Some(disk) = Disk::mount() else { return };
    disk.fill();
    File::create(disk.path("empty")).unwrap();
    let opened = EventStream::open(&disk.url("new.db")).and_then(|stream| stream.migrate());
    assert!(opened.is_err());
    disk.free();
    let stream = EventStream::open(&disk.url("new.db")).unwrap();
    stream.migrate().unwrap();
    assert_eq!(stream.add_event("USR_ADD", &1).unwrap(), 1);
}

/// How long a call took that must fail, and with which kind.
#[track_caller]
fn waited<T: std::fmt::Debug>(call: impl FnOnce() -> Result<T>) -> Duration {
    let start = Instant::now();
    let error = call().expect_err("somebody else is writing");
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    start.elapsed()
}

#[test]
fn who_waits_for_a_writer_waits_once_and_is_told_busy() {
    let db = crate::support::Db::on("sqlite").unwrap();
    for url in ["sqlite::memory:", &db.url] {
        let options = Options::new().set("busy_timeout_ms", "2000").unwrap();
        let stream = EventStream::open_with(url, &options).unwrap();
        stream.migrate().unwrap();
        let consumer = stream.consumer("app", "Audit").unwrap();
        consumer.register().unwrap();
        let in_memory = url == "sqlite::memory:";
        let other =
            if in_memory { stream.clone() } else { EventStream::open_with(url, &options).unwrap() };
        let mut tx = stream.begin().unwrap();
        let id = tx.add_event("A", &1).unwrap();
        let bounds = Duration::from_millis(1900)..Duration::from_millis(3800);
        std::thread::scope(|scope| {
            for handle in [&stream, &other] {
                for n in 0..3 {
                    let bounds = bounds.clone();
                    scope.spawn(move || {
                        let time = match n {
                            0 => waited(|| {
                                handle.add_events(&vec![NewEvent::new("A", &1).unwrap(); 3])
                            }),
                            1 => waited(|| handle.begin().map(|_| ())),
                            _ => waited(|| handle.consumer("app", "New").unwrap().register()),
                        };
                        assert!(bounds.contains(&time), "{n}: {time:?}");
                    });
                }
            }
        });
        // Readers of a file are not kept waiting; memory has one lock for all.
        match in_memory {
            true => assert!(waited(|| consumer.poll(None, &Want::all())) < bounds.end * 2),
            false => assert!(everything(&stream).is_empty()),
        }
        tx.commit().unwrap();
        assert_eq!(everything(&other)[0].id, id);
        other.add_event("A", &2).unwrap();
    }
}

/// What each process of the test below does; without its variable there is nothing to do.
#[test]
fn child_opens() {
    let Ok(url) = std::env::var("FES_OPEN_URL") else { return };
    let start: u128 = std::env::var("FES_OPEN_AT").unwrap().parse().unwrap();
    let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    while now() < start {
        std::thread::yield_now();
    }
    let stream = EventStream::open(&url).unwrap();
    stream.migrate().unwrap();
    stream.add_event("A", &1).unwrap();
}

#[test]
fn many_processes_open_a_new_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..6 {
        let url = format!("sqlite://{}", folder.path().join(format!("{round}.db")).display());
        let at = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() + 300;
        let children: Vec<_> = (0..8)
            .map(|_| {
                crate::support::rerun(module_path!(), "child_opens")
                    .env("FES_OPEN_URL", &url)
                    .env("FES_OPEN_AT", at.to_string())
                    .stdout(std::process::Stdio::piped())
                    .stderr(std::process::Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        assert_eq!(everything(&EventStream::open(&url).unwrap()).len(), 8);
    }
}

#[cfg(unix)]
#[test]
fn files_are_private_and_a_lease_follows_no_link() {
    use std::os::unix::fs::PermissionsExt;
    let db = crate::support::Db::on("sqlite").unwrap();
    let stream = db.stream();
    stream.add_event("A", &1).unwrap();
    let folder = db.path().parent().unwrap().to_owned();
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(&folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let subscribe = |component: &str| {
        stream.subscribe("app", component, Want::all(), &Options::new()).map(|_| ())
    };
    // Nobody is registered: no file is left for nobody.
    assert_eq!(crate::support::failure(subscribe("Nobody")), ErrorKind::NotRegistered);
    assert!(!names().iter().any(|name| name.contains("-lease-")), "{:?}", names());
    stream.consumer("app", "Audit").unwrap().register().unwrap();
    subscribe("Audit").unwrap();
    assert!(names().len() >= 4, "{:?}", names());
    for name in names() {
        let mode = std::fs::metadata(folder.join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    // A file that is there keeps its rights.
    let shared = folder.join("shared.db");
    File::create(&shared).unwrap();
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o660)).unwrap();
    EventStream::open(&format!("sqlite://{}", shared.display())).unwrap().migrate().unwrap();
    assert_eq!(std::fs::metadata(&shared).unwrap().permissions().mode() & 0o777, 0o660);
    // A link that somebody else has put there.
    stream.consumer("app", "Linked").unwrap().register().unwrap();
    let victim = folder.join("victim");
    std::os::unix::fs::symlink(&victim, folder.join("events.db-lease-app%3ALinked")).unwrap();
    let error = subscribe("Linked").expect_err("a link");
    assert!(error.to_string().contains("-lease-"), "{error}");
    assert!(!victim.exists());
}
