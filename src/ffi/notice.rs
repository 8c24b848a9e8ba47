//! Notices: what receivers, archivers and discarders tell about themselves.

use super::error::{c_text, fes_error};
use super::user::UserData;
use super::{Done, refuse};
use crate::history::HistoryNotice;
use crate::model::error::Error;
use crate::receiver::Notice;
use std::ffi::{c_char, c_void};

/// What a notice is about.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum fes_notice {
    /// Receiver: registered and subscribed, events come from now on.
    FES_NOTICE_READY = 1,
    /// Receiver, archiver: `number` events came, and are worked on next.
    FES_NOTICE_NEW_EVENTS = 2,
    /// Archiver: `number` events are in the history and acknowledged.
    FES_NOTICE_PROCESSED_EVENTS = 3,
    /// Discarder: `number` events were deleted.
    FES_NOTICE_DISCARDED = 4,
    /// Discarder: the consumer `text` was not seen for `expire_after_s`, and was unregistered.
    FES_NOTICE_EXPIRED = 5,
    /// Archiver, discarder: it does nothing for now, because of `text`.
    FES_NOTICE_WAITING = 6,
    /// The library or the stream's database failed, with `error`; it will be tried again. Only a receiver
    /// whose consumer was unregistered by somebody (`FES_NOT_REGISTERED`) ends after it, unless the option
    /// `reregister` is `true`.
    FES_NOTICE_WORKER_ERROR = 7,
    /// The callback (`text`), or the archiver's warehouse (`error`), failed; it will be tried again.
    FES_NOTICE_RECEIVER_ERROR = 8,
    /// Receiver: the event `number` was given up; `text` is the callback's last error.
    FES_NOTICE_SKIPPED = 9,
    /// It has ended, by `stop` or with `error`.
    FES_NOTICE_STOPPED = 10,
}

use fes_notice::*;

/// Called for every notice, from the thread of what it is about, one at a time; those of
/// `fes_archiver_run_once` and its like come from the thread that called it. It must not block for long.
///
/// It must not close the handle it is about. Every other function may be called, with these
/// differences for that handle: `stop`, `stop_for` and `fes_app_stop_for` ask the thread to end and do
/// not wait for it; `fes_archiver_run_once` and `_run_for` give `FES_INVALID_ARGUMENT`;
/// `start` does nothing, except that inside `FES_NOTICE_STOPPED` it begins anew; `fes_receiver_set_...` do
/// as in every receiver that is started; `set_on_notice` counts from the next notice on.
///
/// @param user the `user_data` that it was set with
/// @param notice a `fes_notice`, which tells what the others mean
/// @param number of events, or an id; 0 if there is none
/// @param text never NULL, empty if there is none; it ends with the call
/// @param error NULL if there is none; it ends with the call
pub type fes_on_notice = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        notice: u32,
        number: u64,
        text: *const c_char,
        error: *const fes_error,
    ),
>;

/// A callback with what it is called with.
pub(super) struct Teller {
    call: unsafe extern "C" fn(*mut c_void, u32, u64, *const c_char, *const fes_error),
    user: UserData,
}

impl Teller {
    pub fn new(call: fes_on_notice, user: UserData) -> Done<Self> {
        let call = call.ok_or_else(|| refuse("on_notice is NULL"))?;
        Ok(Teller { call, user })
    }

    fn tell(&self, notice: fes_notice, number: u64, text: &str, error: Option<&Error>) {
        let text = c_text(text);
        let error = error.map(fes_error::from);
        let error = error.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        unsafe { (self.call)(self.user.get(), notice as u32, number, text.as_ptr(), error) };
    }

    pub fn of_receiver(&self, notice: &Notice) {
        match notice {
            Notice::Ready => self.tell(FES_NOTICE_READY, 0, "", None),
            Notice::NewEvents(count) => self.tell(FES_NOTICE_NEW_EVENTS, *count as u64, "", None),
            Notice::WorkerError(error) => self.tell(FES_NOTICE_WORKER_ERROR, 0, "", Some(error)),
            Notice::ReceiverError(text) => self.tell(FES_NOTICE_RECEIVER_ERROR, 0, text, None),
            Notice::Skipped { id, error, .. } => self.tell(FES_NOTICE_SKIPPED, *id, error, None),
            Notice::Stopped => self.tell(FES_NOTICE_STOPPED, 0, "", None),
        }
    }

    pub fn of_history(&self, notice: &HistoryNotice) {
        use HistoryNotice::*;
        match notice {
            NewEvents(count) => self.tell(FES_NOTICE_NEW_EVENTS, *count as u64, "", None),
            ProcessedEvents(count) => {
                self.tell(FES_NOTICE_PROCESSED_EVENTS, *count as u64, "", None)
            }
            Discarded(count) => self.tell(FES_NOTICE_DISCARDED, *count, "", None),
            Expired(ident) => self.tell(FES_NOTICE_EXPIRED, 0, ident, None),
            Waiting(why) => self.tell(FES_NOTICE_WAITING, 0, why, None),
            WorkerError(error) => self.tell(FES_NOTICE_WORKER_ERROR, 0, "", Some(error)),
            ReceiverError(error) => self.tell(FES_NOTICE_RECEIVER_ERROR, 0, "", Some(error)),
            Stopped(error) => self.tell(FES_NOTICE_STOPPED, 0, "", error.as_ref()),
        }
    }
}
