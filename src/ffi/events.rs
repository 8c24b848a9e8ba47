//! `fes_events`: a batch of events as one array, or as one JSON text.

use super::text::{give_text, terminated};
use super::{Done, Out, borrow, fes_error, fes_status, free, guard, guard_or, layout, no_memory};
use crate::model::event::{Event, Timestamp, UnreadableEvent, check_json};
use crate::sync::lock::lock;
use std::ffi::{CStr, c_char};
use std::fmt::Write as _;
use std::sync::{Mutex, OnceLock};

/// One event. The texts belong to the `fes_events` that it is in. This structure stays as it is: what
/// later versions tell of an event comes by further functions of `fes_events`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fes_event {
    /// Positive, increasing within a stream, gaps allowed, below 10^18.
    pub id: u64,
    /// The type, with a NUL at its end.
    pub r#type: *const c_char,
    /// Bytes of the type without the NUL.
    pub type_len: usize,
    /// The JSON text as it was written, with a NUL at its end.
    pub data: *const c_char,
    /// Bytes of the data without the NUL.
    pub data_len: usize,
    /// When it was added, by the clock of the database: seconds since 1970-01-01T00:00:00Z.
    pub ts: i64,
}

layout!(fes_event, 48, id: 0, r#type: 8, type_len: 16, data: 24, data_len: 32, ts: 40);

/// A batch of events in order of their ids. Belongs to the caller, who frees it with
/// `fes_events_free`; the one that a callback gets belongs to the library and ends with the
/// callback. It does not change, so any number of threads may read it.
pub struct fes_events {
    list: Vec<fes_event>,
    /// What the pointers of `list` point into.
    texts: Vec<u8>,
    /// Whether all of their data was seen to be JSON when it was read.
    checked: bool,
    json: OnceLock<Vec<u8>>,
    data_json: OnceLock<Vec<u8>>,
    /// Why the callback that was given them fails.
    refusal: Mutex<Option<String>>,
}

// The pointers of the list point into `texts`, which does not change.
unsafe impl Send for fes_events {}
unsafe impl Sync for fes_events {}

impl fes_events {
    pub(super) fn new<'a>(events: impl Iterator<Item = &'a Event> + Clone, checked: bool) -> Self {
        let sizes = |event: &Event| event.event_type.as_str().len() + event.data.as_str().len() + 2;
        let mut texts = Vec::with_capacity(events.clone().map(sizes).sum());
        let mut places = Vec::new();
        let mut put = |text: &str| {
            let start = texts.len();
            texts.extend_from_slice(text.as_bytes());
            texts.push(0);
            (start, text.len())
        };
        for event in events.clone() {
            places.push((put(event.event_type.as_str()), put(event.data.as_str())));
        }
        let start = texts.as_ptr().cast::<c_char>();
        let list = events.zip(places).map(|(event, (kind, data))| fes_event {
            id: event.id,
            r#type: start.wrapping_add(kind.0),
            type_len: kind.1,
            data: start.wrapping_add(data.0),
            data_len: data.1,
            ts: event.ts.unix(),
        });
        fes_events {
            list: list.collect(),
            texts,
            checked,
            json: OnceLock::new(),
            data_json: OnceLock::new(),
            refusal: Mutex::default(),
        }
    }

    /// What `fes_events_refuse` was told last.
    pub(super) fn refusal(&self) -> Option<String> {
        lock(&self.refusal).take()
    }

    fn text(&self, start: *const c_char, len: usize) -> &str {
        let at = start as usize - self.texts.as_ptr() as usize;
        self.texts.get(at..at + len).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default()
    }

    /// The data of an event, which plain SQL may have made of anything.
    fn data(&self, event: &fes_event) -> crate::Result<&str> {
        let data = self.text(event.data, event.data_len);
        match self.checked || check_json(data).is_ok() {
            true => Ok(data),
            false => {
                let kind = self.text(event.r#type, event.type_len);
                Err(UnreadableEvent::no_json(event.id, kind, data, timestamp(event)).error())
            }
        }
    }

    fn make_data_json(&self) -> crate::Result<Vec<u8>> {
        let mut out = String::new();
        out.try_reserve(self.texts.len() + 2).map_err(no_memory)?;
        for event in &self.list {
            out.push(if out.is_empty() { '[' } else { ',' });
            out.push_str(self.data(event)?);
        }
        out.push_str(if out.is_empty() { "[]" } else { "]" });
        Ok(terminated(out))
    }

    fn make_json(&self) -> crate::Result<Vec<u8>> {
        let mut out = String::new();
        out.try_reserve(self.texts.len() + 64 * self.list.len() + 2).map_err(no_memory)?;
        out.push('[');
        for event in &self.list {
            let kind = serde_json::Value::from(self.text(event.r#type, event.type_len));
            let data = self.data(event)?;
            let ts = timestamp(event);
            let comma = if out.len() > 1 { "," } else { "" };
            let id = event.id;
            let _ =
                write!(out, r#"{comma}{{"id":"{id}","type":{kind},"data":{data},"ts":"{ts}"}}"#);
        }
        out.push(']');
        Ok(terminated(out))
    }
}

/// It was one before.
fn timestamp(event: &fes_event) -> Timestamp {
    Timestamp::from_unix(event.ts).unwrap_or(Timestamp::EPOCH)
}

/// How many events there are.
///
/// @param events NULL, or the events
/// @return their number; 0 for NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_events_count(events: *const fes_events) -> usize {
    unsafe { events.as_ref() }.map_or(0, |events| events.list.len())
}

/// One event of a batch. The events are one array: the one at 0 is followed by all others.
///
/// @param events NULL, or the events, to which the one that is returned belongs
/// @param index which one, from 0
/// @return the event; NULL if there is none
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_events_get(
    events: *const fes_events,
    index: usize,
) -> *const fes_event {
    let event = unsafe { events.as_ref() }.and_then(|events| events.list.get(index));
    event.map_or(std::ptr::null(), |event| event)
}

/// Gives the text that `make` makes at the first call.
unsafe fn give_json(
    events: *const fes_events,
    cache: impl FnOnce(&fes_events) -> &OnceLock<Vec<u8>>,
    make: impl FnOnce(&fes_events) -> crate::Result<Vec<u8>>,
    json: *mut *const c_char,
    len: *mut usize,
) -> Done {
    unsafe {
        let len = Out::optional(len, 0);
        let json = Out::required(json, std::ptr::null(), "json")?;
        let events = borrow(events, "events")?;
        let cache = cache(events);
        let text = match cache.get() {
            Some(text) => text,
            None => {
                let made = make(events)?;
                cache.get_or_init(|| made)
            }
        };
        json.set(give_text(Some(text), len.0));
        Ok(())
    }
}

/// All events as one JSON array of `{"id":"1","type":"A","data":...,"ts":"2017-07-14T02:40:00Z"}`
/// (ids are strings, because JSON readers round large numbers). Made at the first call.
///
/// @param events the events, to which the text belongs
/// @param json gets the text, ended by a NUL
/// @param len NULL, or gets its bytes without the NUL
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_CORRUPT_EVENT` if plain SQL put something into the table that is
///   not JSON
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_events_json(
    events: *const fes_events,
    json: *mut *const c_char,
    len: *mut usize,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        give_json(events, |events| &events.json, fes_events::make_json, json, len)
    })
}

/// The data of all events as one JSON array, in their order: what a language that takes the rest
/// from `fes_events_get` parses once for a batch. Made at the first call.
///
/// @param events the events, to which the text belongs
/// @param json gets the text, ended by a NUL
/// @param len NULL, or gets its bytes without the NUL
/// @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
/// @return `FES_OK`. Errors: `FES_CORRUPT_EVENT` if plain SQL put something into the table that is
///   not JSON
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_events_data_json(
    events: *const fes_events,
    json: *mut *const c_char,
    len: *mut usize,
    err: *mut *mut fes_error,
) -> fes_status {
    guard(err, || unsafe {
        give_json(events, |events| &events.data_json, fes_events::make_data_json, json, len)
    })
}

/// Tells why a `fes_on_events` fails, which is the text of `FES_NOTICE_RECEIVER_ERROR` and
/// `FES_NOTICE_SKIPPED` then: `return fes_events_refuse(events, "the disk is full");`.
///
/// @param events the events that the callback was given, or NULL: nothing is told
/// @param why the reason, which is copied, or NULL: none; bytes that are not UTF-8 are replaced
/// @return 1, for the callback to return
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_events_refuse(events: *const fes_events, why: *const c_char) -> i32 {
    guard_or((), || {
        let Some(events) = (unsafe { events.as_ref() }) else { return };
        if !why.is_null() {
            let why = unsafe { CStr::from_ptr(why) }.to_string_lossy();
            *lock(&events.refusal) = Some(why.into_owned());
        }
    });
    1
}

/// Frees events, with all texts of them.
///
/// @param events NULL, or the events
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fes_events_free(events: *mut fes_events) {
    unsafe { free(events) };
}
