//! The project itself: its documents, and the npm package on the same tables.

mod architecture;
mod benchmarks;
mod examples;
mod interop;
