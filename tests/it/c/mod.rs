//! The C and C++ interface, as it is built, installed and called.

mod api;
pub mod calls;
mod coverage;
mod cpp;
mod fuzz;
mod header;
mod host;
mod install;
pub mod support;
