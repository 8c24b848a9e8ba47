//! All tests from the outside, in one program: the module of a topic tells what belongs there.
//!
//! `cargo test --all-features --test it push::` runs those of one topic.

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
