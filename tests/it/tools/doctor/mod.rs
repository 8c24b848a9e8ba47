//! `EventStream::doctor`: a healthy database has no failure, and each fault has exactly its own.

mod rights;
mod servers;
mod tables;

use crate::support::Db;
use crate::support::spare::{Spare, eventually};
use futoin_eventstream::{
    Archiver, Check, CheckStatus, DatabaseKind, DoctorOptions, EventStream, Options, Warehouse,
};
use std::collections::BTreeSet;

const PASSWORD: &str = "fes-Test-1-password";

fn look(stream: &EventStream, warehouse: Option<&Warehouse>) -> Vec<Check> {
    stream.doctor(warehouse, &DoctorOptions::new()).unwrap()
}

/// The names of the checks of this status.
fn named(checks: &[Check], status: CheckStatus) -> BTreeSet<&str> {
    checks.iter().filter(|check| check.status == status).map(|check| check.name.as_str()).collect()
}

#[track_caller]
fn fails(checks: &[Check], wanted: &[&str]) {
    assert_eq!(
        named(checks, CheckStatus::Failure),
        wanted.iter().copied().collect(),
        "{checks:#?}"
    );
}

#[track_caller]
fn check<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    let found = checks.iter().find(|check| check.name == name);
    found.unwrap_or_else(|| panic!("no check {name} in {checks:#?}"))
}

/// A role without any right, on the database's server; dropped with this.
struct Role<'a>(&'a Db, String, String);

impl<'a> Role<'a> {
    fn new(db: &'a Db, name: &str) -> Role<'a> {
        let name = format!("{}_{name}", db.name);
        let mut raw = db.raw();
        let role = if db.kind == DatabaseKind::Postgres {
            raw.exec(&format!("CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'"));
            raw.exec(&format!("GRANT CONNECT ON DATABASE {} TO {name}", db.name));
            raw.exec(&format!("GRANT USAGE ON SCHEMA public TO {name}"));
            name.clone()
        } else {
            raw.exec(&format!("CREATE USER '{name}'@'%' IDENTIFIED BY '{PASSWORD}'"));
            // Any right lets it choose the database.
            raw.exec(&format!("GRANT SHOW VIEW ON {}.* TO '{name}'@'%'", db.name));
            format!("'{name}'@'%'")
        };
        let url = db.url_with(|url| {
            url.set_username(&name).unwrap();
            url.set_password(Some(PASSWORD)).unwrap();
        });
        Role(db, role, url)
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        let mut raw = self.0.raw();
        if self.0.kind == DatabaseKind::Postgres {
            raw.exec(&format!("DROP OWNED BY {}", self.1));
            raw.exec(&format!("DROP ROLE {}", self.1));
        } else {
            raw.exec(&format!("DROP USER {}", self.1));
        }
    }
}
