//! MySQL and MariaDB servers on which events would be lost: replicas, read-only ones, several ones by
//! turns, and those that become one of these while a stream is open. All of them are refused, also
//! by a role that has no right but those that the docs name.

use crate::support::proxy::Proxy;
use crate::support::spare::{Replicated, Spare, eventually};
use crate::support::{Db, Raw, failure, splitter};
use futoin_eventstream::{
    Archiver, Discarder, ErrorKind, EventStream, NewEvent, Options, Result, Want, Warehouse,
};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Tests that share the pair, and those that change it as a whole.
static PAIR: RwLock<()> = RwLock::new(());

/// Makes of one function, which takes the kind of server, a test for each kind.
macro_rules! on_mysql_and_mariadb {
    ($name:ident, $body:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            #[test]
            fn mariadb() {
                let body: fn(&'static str) = $body;
                body("mariadb")
            }
            #[test]
            fn mysql() {
                let body: fn(&'static str) = $body;
                body("mysql")
            }
        }
    };
}

mod moves;
mod replica;

fn shared() -> impl Drop {
    PAIR.read().unwrap_or_else(PoisonError::into_inner)
}

fn alone() -> impl Drop {
    PAIR.write().unwrap_or_else(PoisonError::into_inner)
}

/// The database's URL for a new user who has these rights, of which each names what it is on.
fn role(db: &Db, grants: &[&str]) -> String {
    let name = format!("u{}", &db.name[4..]);
    let mut raw = db.raw();
    raw.exec(&format!("CREATE USER {name} IDENTIFIED BY 'fes-Test-1-password'"));
    for grant in grants {
        raw.exec(&format!("GRANT {grant} TO {name}").replace("app.", &format!("{}.", db.name)));
    }
    db.url_with(|url| {
        url.set_username(&name).unwrap();
        url.set_password(Some("fes-Test-1-password")).unwrap();
    })
}

/// What docs/grants.md gives a consumer, an archiver and a discarder together.
const RIGHTS: [&str; 2] =
    ["SELECT, DELETE ON app.evt_queue", "SELECT, INSERT, UPDATE, DELETE ON app.evt_consumers"];

/// And what shows the sources of a MySQL server.
const SEES_SOURCES: &str = "SELECT ON performance_schema.replication_connection_configuration";

fn open(url: &str, promised: bool) -> EventStream {
    let promised = if promised { "true" } else { "false" };
    let options = Options::new().set("single_writer_node", promised).unwrap();
    EventStream::open_with(url, &options.set("connect_timeout_ms", "5000").unwrap()).unwrap()
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T>, seen: &[&str]) {
    let error = result.expect_err("a refusal");
    assert_eq!(error.kind(), ErrorKind::UnsafeServer, "{error}");
    let message = error.to_string();
    assert!(message.contains("single_writer_node=true"), "{message}");
    assert!(seen.iter().any(|seen| message.contains(seen)), "{message}");
}

fn poll(stream: &EventStream) -> Result<Vec<u64>> {
    let events = stream.consumer("app", "Audit")?.poll(None, &Want::all())?;
    Ok(events.iter().map(|event| event.id).collect())
}

fn through(url: &str, port: u16) -> EventStream {
    let mut url = url::Url::parse(url).unwrap();
    url.set_port(Some(port)).unwrap();
    open(url.as_str(), false)
}
