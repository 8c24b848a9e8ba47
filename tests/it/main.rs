//! All tests from the outside, in one program: the module of a topic tells what belongs there.
//!
//! `cargo test --all-features --test it push::` runs those of one topic. Programs of their own are only the tests that
//! count what a whole process has (`tests/leaks.rs`), load a second SQLite into it (`tests/sqlite_traps.rs`), call the C
//! interface in it (`tests/c_fuzz/`), or kill the servers of all the others (`tests/restart/`).

#[macro_use]
mod support;

mod c;
mod deployment;
mod history;
mod order;
mod project;
mod push;
mod read;
mod tables;
mod tools;
mod write;
