//! Databases to measure in, on the servers of `PEERS_URL`.

use crate::workload::{Result, url};
use futoin_eventstream::{mysql, postgres};
use mysql::prelude::Queryable;

/// Makes an empty database.
pub fn create(name: &str) -> Result<()> {
    execute(&format!("CREATE DATABASE {name}"))
}

/// Removes a database, also from under a side that was killed.
pub fn drop(name: &str) -> Result<()> {
    let force = if url()?.starts_with("postgres:") { " WITH (FORCE)" } else { "" };
    execute(&format!("DROP DATABASE {name}{force}"))
}

fn execute(sql: &str) -> Result<()> {
    let url = url()?;
    if url.starts_with("postgres:") {
        postgres::Client::connect(&url, postgres::NoTls)?.batch_execute(sql)?;
    } else {
        mysql::Conn::new(mysql::Opts::from_url(&url)?)?.query_drop(sql)?;
    }
    Ok(())
}
