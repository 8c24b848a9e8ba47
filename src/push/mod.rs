//! Push: events come to the consumer instead of being asked for (FTN18 section 2.3).
//!
//! One [`hub`] thread for each stream handle reads the tail of the stream once and hands it to all
//! subscriptions, each with a bounded [`queue`]. A reliable [`subscription`] that is behind (it has
//! history to catch up, or its queue overflowed) reads from the database until it meets the tail
//! again.

#[cfg(unix)]
mod alarm;
mod errand;
mod hub;
mod listener;
mod member;
mod queue;
mod state;
mod subscription;

pub(crate) use hub::Hub;
pub use state::Delivery;
pub(crate) use subscription::Waiting;
pub use subscription::{Deliveries, Subscription, SubscriptionStats};
