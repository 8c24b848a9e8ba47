//! The archiver, the discarder, the warehouse and `verify`.

mod archiver;
mod discarder;
mod verify;
