#![deny(missing_docs)]
#![deny(unsafe_code)]
#![doc = include_str!("../docs/tour.md")]

mod ahead;
mod app;
mod aside;
mod backend;
mod cancel;
mod config;
mod consumer;
mod doctor;
mod error;
mod event;
#[doc(hidden)]
pub mod ffi;
mod generator;
mod group;
mod hint;
mod history;
mod late;
mod life;
mod line;
mod poll;
mod push;
mod reader;
mod receiver;
mod recent;
mod rewind;
mod settle;
mod start;
mod storing;
mod stream;
mod tail;
mod url;
mod value;
mod verify;
mod worker;

pub use app::ServiceApp;
pub use backend::{DatabaseKind, HolderInfo};
pub use cancel::CancelToken;
pub use config::{OPTIONS, OptionSpec, Options};
pub use consumer::{Component, INTERNAL_USER, Ident, LIVE, Want};
pub use doctor::{Check, CheckStatus, DoctorOptions};
pub use error::{Error, ErrorKind, Result};
pub use event::{
    Event, EventData, EventId, EventType, MAX_EVENT_ID, MAX_TYPE_LEN, NewEvent, Timestamp,
    UnreadableEvent,
};
pub use generator::{EventTarget, Statement, Transaction};
pub use history::{Archiver, Discarder, HistoryNotice, Replay, Warehouse, WorkerHealth};
pub use poll::Consumer;
pub use push::{Deliveries, Delivery, Subscription, SubscriptionStats};
pub use receiver::{
    CallbackResult, LiveReceiver, Notice, Poison, ReceiverOptions, ReceiverStats, ReliableReceiver,
};
pub use start::StartAt;
pub use stream::{ConsumerLag, EventStream, Lag};
pub use value::{Rows, Value};
pub use verify::{Example, Finding, FindingKind, Verification, VerifyOptions, VerifyProgress};

pub use {mysql, postgres, rusqlite};
