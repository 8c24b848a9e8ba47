//! `fes`, the doctor, and the service.

#[cfg(all(feature = "cli", unix))]
mod cli;
mod doctor;
#[cfg(all(feature = "cli", unix))]
mod service;
