//! Servers that are killed and started again under work. They are the servers that all tests use, so this is a
//! program of its own.

#[macro_use]
#[path = "../it/support/mod.rs"]
mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};
use support::{Db, SERVERS, variable};

/// One test at a time has a server for itself, from before its database is made until that is dropped.
static TURNS: [Mutex<()>; SERVERS.len()] = [const { Mutex::new(()) }; SERVERS.len()];

fn turn(server: &str) -> MutexGuard<'static, ()> {
    let index = SERVERS.iter().position(|name| *name == server).expect("a server");
    TURNS[index].lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills or starts the server of the database.
fn control(db: &Db, action: &str) {
    let program = variable("FES_TEST_CONTROL").unwrap();
    let status = std::process::Command::new(program).args([action, db.server]).status().unwrap();
    assert!(status.success(), "{action} {}", db.server);
}

/// Makes of one function a test for each server, which it may kill.
macro_rules! on_each_server_to_kill {
    ($name:ident, $body:expr) => {
        on_each_server_to_kill!($name, [postgres, postgres18, mariadb, mysql], $body);
    };
    ($name:ident, [$($server:ident),+], $body:expr) => {
        mod $name {
            use super::*;
            $(#[test]
            fn $server() {
                let body: fn(&Db) = $body;
                if $crate::variable("FES_TEST_CONTROL").is_none() {
                    return;
                }
                let _turn = $crate::turn(stringify!($server));
                if let Some(db) = Db::on(stringify!($server)) {
                    body(&db);
                }
            })+
        }
    };
}

mod history;
mod receiver;
mod stream;
