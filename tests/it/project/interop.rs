//! This library and the `futoin-eventstream` npm package (1.3.9) on the same tables, each in
//! processes of its own: `tests/interop/peer.js` is the other side. MySQL 9 is not among the
//! servers, because the package's driver cannot log in there.

use crate::support::Db;
use futoin_eventstream::{DatabaseKind, Event, EventStream, NewEvent, Want};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop");

/// Whether the npm package is installed; where the run promised it, it must be.
fn installed() -> bool {
    let found = Path::new(FOLDER).join("node_modules/futoin-eventstream").is_dir();
    if !found {
        let required = std::env::var("FES_TEST_REQUIRED").is_ok();
        assert!(!required, "the npm package is missing: run `npm run setup` in {FOLDER}");
        eprintln!("left out: the npm package, because {FOLDER}/node_modules is missing");
    }
    found
}

/// A command of the peer.
fn peer(db: &Db, arguments: &[&str]) -> Command {
    let mut command = Command::new("node");
    command.current_dir(FOLDER).arg("peer.js").args(arguments);
    name(&mut command, db, "");
    command
}

/// Names a database: the active one, or (with the prefix `dwh-`) the warehouse.
fn name(command: &mut Command, db: &Db, prefix: &str) {
    let mut option = |name: &str, value: &str| {
        command.args([&format!("--{prefix}{name}"), value]);
    };
    if db.kind == DatabaseKind::Sqlite {
        option("type", "sqlite");
        option("db", db.path().to_str().unwrap());
        return;
    }
    let url = url::Url::parse(&db.url).unwrap();
    option("type", if db.kind == DatabaseKind::Postgres { "postgresql" } else { "mysql" });
    option("db", &db.name);
    option("user", url.username());
    option("port", &url.port().unwrap().to_string());
    let variable = format!("FES_PEER_PASSWORD{}", prefix.len());
    option("pass-env", &variable);
    command.env(variable, url.password().unwrap());
}

/// Runs a command of the peer; gives the lines it printed, or what it complained of.
fn try_npm(db: &Db, arguments: &[&str]) -> Result<Vec<Value>, String> {
    let output = peer(db, arguments).output().expect("node, of Node.js 18 or newer");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        return Err(text(&output.stderr));
    }
    Ok(text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn npm(db: &Db, arguments: &[&str]) -> Vec<Value> {
    try_npm(db, arguments).unwrap_or_else(|why| panic!("{arguments:?}: {why}"))
}

/// The ids that the peer printed for the events it added.
fn npm_add(db: &Db, arguments: &[&str]) -> Vec<u64> {
    let printed = npm(db, &[&["add"], arguments].concat()).remove(0);
    let ids = printed.as_array().unwrap().iter();
    ids.map(|id| id.as_str().unwrap().parse().unwrap()).collect()
}

/// The events of a consumer of the peer, to the end.
fn npm_drain(db: &Db, component: &str) -> Vec<Value> {
    let arguments = ["drain", "--consumer-user", "app", "--component", component];
    let mut lines = npm(db, &arguments);
    lines.pop();
    lines
}

fn ids(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.id).collect()
}

/// An event as the peer prints it.
fn printed(event: &Event) -> Value {
    serde_json::to_value(event).unwrap()
}

on_servers!(events_of_either_reach_the_other, [sqlite, postgres, mariadb], |db| {
    if !installed() {
        return;
    }
    // The package's own tables, before and after they are taken over.
    npm(db, &["schema"]);
    let mut expected =
        npm_add(db, &["--event", "NPM_A", "--data", "{\"b\":[1.5,\"é\"],\"a\":null}"]);
    let stream = EventStream::open(&db.url).unwrap();
    expected.push(stream.add_event("OURS", &json!({"n": 1})).unwrap());
    stream.migrate().unwrap();
    let consumer = stream.consumer("app", "Ours").unwrap();
    consumer.register().unwrap();
    npm(db, &["register", "--consumer-user", "app", "--component", "Npm"]);

    let events = [
        NewEvent::new("OURS", &()).unwrap(),
        NewEvent::from_json("OURS", " {\"z\": 12.50, \"z2\": \"\\u00e9\\n\"} ").unwrap(),
        NewEvent::new("OURS", &"x".repeat(100_000)).unwrap(),
    ];
    expected.extend(stream.add_events(&events).unwrap());
    expected.extend(npm_add(db, &["--event", "NPM_B", "--count", "3"]));
    npm(db, &["add-xfer", "--event", "NPM_C", "--data", "\"in a transaction\""]);

    let got = consumer.poll(None, &Want::all()).unwrap();
    assert_eq!(ids(&got[..8]), expected);
    assert_eq!((got.len(), got[8].data.as_str()), (9, "\"in a transaction\""));
    assert_eq!(got[0].data.as_str(), "{\"b\":[1.5,\"é\"],\"a\":null}");
    assert_eq!(got[5].data.as_str(), "{\"n\":0}");
    // The same events, data and times on the other side.
    assert_eq!(npm_drain(db, "Npm"), got.iter().map(printed).collect::<Vec<_>>());
});

on_servers!(the_package_works_where_given_ids_are_refused, [sqlite, postgres, mariadb], |db| {
    if !installed() {
        return;
    }
    npm(db, &["schema"]);
    let mut expected = npm_add(db, &["--event", "NPM_A", "--count", "2"]);
    let stream = db.stream_with(&[("strict_ids", "true")]);
    expected.extend(npm_add(db, &["--event", "NPM_B", "--count", "3"]));
    npm(db, &["register", "--consumer-user", "app", "--component", "Npm"]);
    npm(db, &["add-xfer", "--event", "NPM_C", "--data", "\"in a transaction\""]);
    let all = crate::support::everything(&stream);
    assert_eq!(ids(&all[..5]), expected);
    assert_eq!(npm_drain(db, "Npm"), all.iter().map(printed).collect::<Vec<_>>());
    let now = db.now_sql();
    let given = format!("INSERT INTO evt_queue(id, type, data, ts) VALUES (99, 'A', '1', {now})");
    assert!(db.raw().try_exec(&given).is_err());
});

on_servers!(a_consumer_of_either_is_continued_by_the_other, [sqlite, postgres, mariadb], |db| {
    if !installed() {
        return;
    }
    let stream = db.stream();
    let added = stream.add_events(&vec![NewEvent::new("A", &1).unwrap(); 8]).unwrap();
    let shared = ["--consumer-user", "app", "--component", "Shared"];
    let npm_poll = |last_id: Option<u64>| -> Vec<u64> {
        let last_id = last_id.map(|id| id.to_string());
        let mut arguments = [&["poll", "--count", "2"], &shared[..]].concat();
        arguments.extend(last_id.as_deref().into_iter().flat_map(|id| ["--last-id", id]));
        let lines = npm(db, &arguments);
        lines.iter().map(|line| line["id"].as_str().unwrap().parse().unwrap()).collect()
    };
    let ours = stream.consumer("app", "Shared").unwrap();

    // Registered there, continued here, and there again: the cursor in the database is the truth.
    npm(db, &[&["register"], &shared[..]].concat());
    ours.register().unwrap();
    assert_eq!(npm_poll(None), added[..2]);
    assert_eq!(npm_poll(Some(added[1])), added[2..4]);
    assert_eq!(ids(&ours.poll_at_most(None, &Want::all(), 3).unwrap()), added[2..5]);
    ours.acknowledge(added[4]).unwrap();
    assert_eq!(npm_poll(Some(added[0])), added[5..7]);
    assert_eq!(ids(&ours.poll(Some(added[6]), &Want::all()).unwrap()), added[7..]);
    assert_eq!(stream.lag().unwrap().consumers.len(), 1);

    assert!(ours.unregister().unwrap());
    let refused = try_npm(db, &[&["poll"], &shared[..]].concat()).unwrap_err();
    assert!(refused.contains("NotRegistered"), "{refused}");
    ours.register().unwrap();
    assert_eq!(npm_poll(None), added[..2]);
});

on_servers!(both_may_write_at_the_same_time, [sqlite, postgres, mariadb], |db| {
    if !installed() {
        return;
    }
    let stream = db.stream();
    let consumer = stream.consumer("app", "Ours").unwrap();
    consumer.register().unwrap();
    let (mut added, got) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| npm_add(db, &["--event", "NPM", "--count", "150"]));
        let ours = scope.spawn(|| {
            let add = |_| stream.add_event("OURS", &()).unwrap();
            (0..150).map(add).collect::<Vec<u64>>()
        });
        let mut got: Vec<u64> = Vec::new();
        loop {
            // Looked at before the poll: what is empty after the end stays so.
            let ended = theirs.is_finished() && ours.is_finished();
            let events = consumer.poll(got.last().copied(), &Want::all()).unwrap();
            if events.is_empty() && ended {
                break;
            }
            got.extend(ids(&events));
        }
        ([theirs.join().unwrap(), ours.join().unwrap()].concat(), got)
    });
    added.sort_unstable();
    assert_eq!(got, added);
});

mod archivers {
    use super::*;
    use futoin_eventstream::{Archiver, Options, Warehouse};
    use std::process::{Child, Stdio};
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    /// A stream and its warehouse, with the package's own tables, taken over.
    fn pair(db: &Db, dwh: &Db) -> (EventStream, Warehouse) {
        npm(db, &["schema"]);
        npm(dwh, &["schema", "--dwh"]);
        let warehouse = Warehouse::open(&dwh.url).unwrap();
        warehouse.migrate().unwrap();
        (db.stream(), warehouse)
    }

    /// The package's archiver, which works until it is killed.
    struct Theirs(Child);

    impl Theirs {
        fn start(db: &Db, dwh: &Db) -> Theirs {
            let mut command = peer(db, &["archive", "--seconds", "60"]);
            name(&mut command, dwh, "dwh-");
            Theirs(command.stdout(Stdio::null()).spawn().unwrap())
        }

        /// Waits until the history has this many events.
        fn until(&self, warehouse: &Warehouse, count: usize) {
            let start = Instant::now();
            while history(warehouse).len() < count {
                assert!(start.elapsed() < Duration::from_secs(30), "it archives nothing");
                sleep(Duration::from_millis(5));
            }
        }
    }

    impl Drop for Theirs {
        /// SIGKILL.
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn history(warehouse: &Warehouse) -> Vec<Event> {
        warehouse.history(0, &Want::all(), 100_000).unwrap()
    }

    /// Data that the package writes as it was, though it reads and writes it anew.
    fn add(stream: &EventStream, count: usize) {
        let data = json!({"n": [1, 2.5, null], "text": "é\n\\"});
        stream.add_events(&vec![NewEvent::new("OURS", &data).unwrap(); count]).unwrap();
    }

    fn take_turns(db: &Db, dwh: &Db) {
        let (stream, warehouse) = pair(db, dwh);
        let ours = Archiver::new(&stream, &warehouse, &Options::new()).unwrap();
        let mut count = 0;
        for round in 1..=2 {
            npm_add(db, &["--event", "NPM", "--count", "5"]);
            add(&stream, 250);
            count += 255;
            let theirs = Theirs::start(db, dwh);
            // The second time it is killed on its way: in the middle, or before it acknowledges.
            theirs.until(&warehouse, if round == 1 { count } else { count - 254 });
            drop(theirs);
            add(&stream, 100);
            count += 100;
            ours.run_once().unwrap();
            assert_eq!(history(&warehouse).len(), count);
            assert_eq!(history(&warehouse), crate::support::everything(&stream));
        }
        assert_eq!(stream.lag().unwrap().consumers.len(), 1);
    }

    on_servers!(of_both_take_turns_on_one_history, [sqlite, postgres, mariadb], |db| {
        if installed() {
            take_turns(db, &Db::on(db.server).unwrap());
        }
    });

    on_servers!(of_both_take_turns_between_two_kinds, [sqlite, postgres], |db| {
        let other = if db.kind == DatabaseKind::Sqlite { "mariadb" } else { "sqlite" };
        if let Some(dwh) = Db::on(other)
            && installed()
        {
            take_turns(db, &dwh);
        }
    });
}

/// What the package does not get right is right here, on the tables that both use.
mod beyond {
    use super::*;

    on_servers!(emoji, [sqlite, postgres, mariadb], |db| {
        if !installed() {
            return;
        }
        npm(db, &["schema"]);
        let stream = db.stream();
        let theirs = try_npm(db, &["add", "--event", "NPM", "--data", "\"😀\""]);
        assert_eq!(theirs.is_err(), db.kind == DatabaseKind::Mysql, "{theirs:?}");
        stream.add_event("OURS", "😀 𝒜").unwrap();
        let events = crate::support::everything(&stream);
        assert_eq!(events.last().unwrap().data.as_str(), "\"😀 𝒜\"");
    });

    on_servers!(a_filtered_poll_beside_an_open_writer, [postgres], |db| {
        if !installed() {
            return;
        }
        let stream = db.stream();
        let ours = stream.consumer("app", "Ours").unwrap();
        ours.register().unwrap();
        let npm_poll = ["poll", "--consumer-user", "app", "--component", "Npm", "--want", "WANTED"];
        npm(db, &["register", "--consumer-user", "app", "--component", "Npm"]);
        let want = Want::types(&["WANTED"]).unwrap();

        let mut tx = stream.begin().unwrap();
        let wanted = tx.add_event("WANTED", &()).unwrap();
        stream.add_event("OTHER", &()).unwrap();
        assert!(ours.poll(None, &want).unwrap().is_empty());
        assert_eq!(npm(db, &npm_poll), [] as [Value; 0]);
        tx.commit().unwrap();
        assert_eq!(ids(&ours.poll(None, &want).unwrap()), [wanted]);
        // The package has jumped over it.
        assert_eq!(npm(db, &npm_poll), [] as [Value; 0]);
    });

    on_servers!(an_event_without_data, [sqlite, postgres, mariadb], |db| {
        if !installed() {
            return;
        }
        let stream = db.stream();
        stream.add_event("NO_DATA", &()).unwrap();
        npm(db, &["register", "--consumer-user", "app", "--component", "Npm"]);
        assert_eq!(npm_drain(db, "Npm")[0]["data"], Value::Null);
    });
}
