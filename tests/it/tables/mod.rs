//! The tables: made, migrated, and what stands in them.

mod fidelity;
mod migrate;
mod rows;
mod texts_my;
