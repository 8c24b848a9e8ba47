//! The project itself: its documents, and the npm package on the same tables.

mod architecture;
mod interop;
