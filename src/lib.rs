#![deny(missing_docs)]
#![deny(unsafe_code)]
// A part of what the databases share is used by one or two of them only.
#![cfg_attr(
    not(all(feature = "sqlite", feature = "postgres", feature = "mysql", feature = "capi")),
    allow(dead_code)
)]
#![doc = include_str!("../docs/tour.md")]

mod app;
mod backend;
mod config;
mod doctor;
#[cfg(feature = "capi")]
#[doc(hidden)]
pub mod ffi;
mod history;
mod model;
mod push;
mod read;
mod receiver;
mod settle;
mod stream;
mod sync;
mod verify;
mod write;

pub use app::ServiceApp;
pub use backend::{DatabaseKind, HolderInfo};
pub use config::{OPTIONS, OptionScope, OptionSpec, OptionValues, Options};
pub use doctor::{Check, CheckStatus, DoctorOptions};
pub use history::{Archiver, Discarder, HistoryNotice, Replay, Warehouse};
pub use model::error::{Error, ErrorKind, Result};
pub use model::event::{
    Event, EventData, EventId, EventType, MAX_EVENT_ID, MAX_TYPE_LEN, NewEvent, Timestamp,
    UnreadableEvent,
};
pub use model::ident::{Component, INTERNAL_USER, Ident, LIVE, Want};
pub use model::value::{Rows, Value};
pub use push::{Deliveries, Delivery, Subscription, SubscriptionStats};
pub use read::consumer::Consumer;
pub use read::start_at::StartAt;
pub use receiver::{
    CallbackResult, LiveReceiver, Notice, PoisonPolicy, ReceiverOptions, ReceiverStats,
    ReliableReceiver,
};
pub use stream::{ConsumerLag, EventStream, Lag};
pub use sync::cancel::CancelToken;
pub use sync::runner::WorkerHealth;
pub use verify::{Example, Finding, FindingKind, Verification, VerifyOptions, VerifyProgress};
pub use write::transaction::{EventTarget, Statement, Transaction};

#[cfg(feature = "mysql")]
pub use mysql;
#[cfg(feature = "postgres")]
pub use postgres;
#[cfg(feature = "sqlite")]
pub use rusqlite;

#[cfg(not(any(feature = "sqlite", feature = "postgres", feature = "mysql")))]
compile_error!("enable at least one of the crate features `sqlite`, `postgres` and `mysql`");
