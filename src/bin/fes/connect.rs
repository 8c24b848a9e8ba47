//! The databases that the arguments, or the environment, name.

use crate::args::Global;
use crate::failure::{Failure, Result};
use futoin_eventstream::{EventStream, Options, Warehouse};
use std::fs;
use std::path::Path;

impl Global {
    /// The options of the library.
    pub fn library_options(&self) -> Result<Options> {
        // Only who makes tables makes files: a mistyped path is an error in all other commands.
        let create = if self.create { "true" } else { "false" };
        let mut options = Options::new().set("create", create)?;
        for (name, value) in &self.options {
            options = options.set(name, value)?;
        }
        Ok(options)
    }

    /// The stream.
    pub fn stream(&self) -> Result<EventStream> {
        self.stream_with(&self.library_options()?)
    }

    /// The stream, with these options.
    pub fn stream_with(&self, options: &Options) -> Result<EventStream> {
        self.stream_if_given(options)?.ok_or_else(|| {
            let text = "no database is given: use --db URL, --db-file PATH, or the variables \
                        DB_EVT_TYPE, DB_EVT_HOST, ...";
            Failure::Usage(text.to_owned())
        })
    }

    /// The stream, if one is given.
    pub fn stream_if_given(&self, options: &Options) -> Result<Option<EventStream>> {
        let stream = match url(self.db.as_deref(), self.db_file.as_deref())? {
            Some(url) => EventStream::open_with(&url, options),
            None if is_set("DB_EVT_TYPE") => EventStream::from_env(options),
            None => return Ok(None),
        };
        stream.map(Some).map_err(|error| Failure::Library("the stream: ".to_owned(), error))
    }

    /// The warehouse, if one is given.
    pub fn warehouse_if_given(&self) -> Result<Option<Warehouse>> {
        let options = self.library_options()?;
        let url = url(self.dwh.as_deref(), self.dwh_file.as_deref())?;
        let warehouse = match url {
            Some(url) => Warehouse::open_with(&url, &options),
            None if is_set("DB_EVTDWH_TYPE") => Warehouse::from_env(&options),
            None => return Ok(None),
        };
        warehouse.map(Some).map_err(|error| Failure::Library("the warehouse: ".to_owned(), error))
    }

    /// The warehouse.
    pub fn warehouse(&self) -> Result<Warehouse> {
        self.warehouse_if_given()?.ok_or_else(|| {
            let text = "no warehouse is given: use --dwh URL, --dwh-file PATH, or the variables \
                        DB_EVTDWH_TYPE, DB_EVTDWH_HOST, ...";
            Failure::Usage(text.to_owned())
        })
    }
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

fn url(url: Option<&str>, file: Option<&Path>) -> Result<Option<String>> {
    let Some(file) = file else { return Ok(url.map(str::to_owned)) };
    let text = fs::read_to_string(file)
        .map_err(|why| Failure::Other(format!("cannot read {}: {why}", file.display())))?;
    match text.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => Ok(Some(line.to_owned())),
        None => Err(Failure::Other(format!("no URL stands in {}", file.display()))),
    }
}
