//! The C and C++ interface, as it is built, installed and called.

mod api;
mod coverage;
mod cpp;
mod header;
mod host;
mod install;
pub mod support;
