//! Calls of the C interface in any order and with any arguments, as bytes tell: `main.rs` draws them at
//! random, and `fuzz/` lets libFuzzer look for them. Nothing waits for long, and only memory is written.

use futoin_eventstream::ffi::*;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};

/// How many calls have succeeded.
pub static SUCCEEDED: AtomicU64 = AtomicU64::new(0);

/// What is left of the bytes; zeros follow.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// A number, mostly a small one.
    fn number(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX,
            254 => 1 << 60,
            small => small.into(),
        }
    }

    /// Up to 31 bytes without a NUL.
    fn text(&mut self) -> CString {
        let (text, rest) = self.0.split_at(usize::from(self.byte() % 32).min(self.0.len()));
        self.0 = rest;
        CString::new(text.iter().copied().filter(|byte| *byte != 0).collect::<Vec<u8>>()).unwrap()
    }

    /// One of these, or anything.
    fn one_of(&mut self, texts: &[&CStr]) -> CString {
        match texts.get(usize::from(self.byte()) % (texts.len() + 1)) {
            Some(text) => (*text).to_owned(),
            None => self.text(),
        }
    }

    fn kind(&mut self) -> CString {
        self.one_of(&[c"USR_ADD", c"USR_MOD", c"A", c"ABCDEFGHIJKLMNOP"])
    }

    fn json(&mut self) -> CString {
        self.one_of(&[c"null", c"{\"id\":1}", c"[1,\"\\u00e4\"]", c"-1e9", c"\"\""])
    }

    fn component(&mut self) -> CString {
        self.one_of(&[c"Audit", c"Audit", c"Audit", c"Other", c"LIVE", c"ARCHIVER"])
    }

    fn sql(&mut self) -> &'static CStr {
        const SQL: [&CStr; 10] = [
            c"CREATE TABLE IF NOT EXISTS t (a)",
            c"INSERT INTO t VALUES (?)",
            c"SELECT a, ?, NULL FROM t",
            c"SELECT ?",
            c"SELECT ?, ?",
            c"DELETE FROM evt_queue",
            c"DROP TABLE evt_consumers",
            c"COMMIT",
            c"ROLLBACK",
            c"nonsense",
        ];
        SQL[usize::from(self.byte()) % SQL.len()]
    }
}

/// The handles of a program, NULL at first.
struct Handles {
    stream: *mut fes_stream,
    warehouse: *mut fes_warehouse,
    tx: *mut fes_tx,
    consumer: *mut fes_consumer,
    subscription: *mut fes_subscription,
    receiver: *mut fes_receiver,
    archiver: *mut fes_archiver,
    discarder: *mut fes_discarder,
    replay: *mut fes_replay,
    options: *mut fes_options,
    cancel: *mut fes_cancel_token,
    events: *mut fes_events,
    rows: *mut fes_rows,
    statement: *mut fes_statement,
    text: *mut fes_text,
}

/// Runs the calls that the bytes tell. Panics where one breaks a promise of the header.
pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut handles = Handles {
        stream: null_mut(),
        warehouse: null_mut(),
        tx: null_mut(),
        consumer: null_mut(),
        subscription: null_mut(),
        receiver: null_mut(),
        archiver: null_mut(),
        discarder: null_mut(),
        replay: null_mut(),
        options: null_mut(),
        cancel: null_mut(),
        events: null_mut(),
        rows: null_mut(),
        statement: null_mut(),
        text: null_mut(),
    };
    if input.byte() >= 32 {
        unsafe { handles.begin() };
    }
    while !input.0.is_empty() {
        match input.byte() % 16 {
            0..3 => unsafe { handles.open(&mut input) },
            3 => handles.close(input.byte()),
            4 => unsafe { handles.set_up(&mut input) },
            5..8 => unsafe { handles.add(&mut input) },
            8..10 => unsafe { handles.transact(&mut input) },
            10..13 => unsafe { handles.consume(&mut input) },
            13 => unsafe { handles.archive(&mut input) },
            _ => unsafe { handles.look(&mut input) },
        }
    }
    let first = input.byte();
    (0..KINDS).for_each(|number| handles.close(first.wrapping_add(number)));
}

/// How many kinds of handles there are.
const KINDS: u8 = 15;

/// Whether the call succeeds. The error of a failure has its status, and is no defect.
fn done(call: impl FnOnce(*mut *mut fes_error) -> fes_status) -> bool {
    let mut err = null_mut();
    let status = call(&mut err);
    let message = unsafe { CStr::from_ptr(fes_error_message(err)) };
    assert!(!matches!(status, fes_status::FES_PANIC | fes_status::FES_INTERNAL), "{message:?}");
    assert_eq!(status, unsafe { fes_error_code(err) });
    unsafe { fes_error_free(err) };
    let succeeds = status == fes_status::FES_OK;
    SUCCEEDED.fetch_add(succeeds.into(), Ordering::Relaxed);
    succeeds
}

/// Replaces what a place holds by what the call gives: on success only.
fn give<T>(
    place: &mut *mut T,
    close: unsafe extern "C" fn(*mut T),
    call: impl FnOnce(*mut *mut T, *mut *mut fes_error) -> fes_status,
) {
    unsafe { close(*place) };
    assert_eq!(done(|err| call(place, err)), !place.is_null());
}

unsafe extern "C" fn on_events(_: *mut c_void, seq: u64, events: *const fes_events) -> i32 {
    i32::from(seq % 5 == 3 || unsafe { fes_events_count(events) } == 0)
}

unsafe extern "C" fn on_notice(
    _: *mut c_void,
    _: u32,
    _: u64,
    text: *const c_char,
    _: *const fes_error,
) {
    assert!(!text.is_null());
}

const URL: &CStr = c"sqlite::memory:?busy_timeout_ms=1&connect_timeout_ms=20";
const USER: *const c_char = c"app".as_ptr();

impl Handles {
    /// As an ordinary program begins.
    unsafe fn begin(&mut self) {
        unsafe {
            give(&mut self.stream, fes_stream_close, |out, err| {
                fes_stream_open(URL.as_ptr(), null(), out, err)
            });
            give(&mut self.warehouse, fes_warehouse_close, |out, err| {
                fes_warehouse_open(URL.as_ptr(), null(), out, err)
            });
            let (stream, warehouse) = (self.stream, self.warehouse);
            assert!(done(|err| fes_stream_migrate(stream, err)));
            assert!(done(|err| fes_warehouse_migrate(warehouse, err)));
            give(&mut self.consumer, fes_consumer_close, |out, err| {
                fes_consumer_open(stream, USER, c"Audit".as_ptr(), out, err)
            });
            assert!(done(|err| fes_consumer_register(self.consumer, err)));
        }
    }

    unsafe fn open(&mut self, input: &mut Input) {
        let (stream, warehouse, options) = (self.stream, self.warehouse, self.options);
        let component = input.component();
        let component = component.as_ptr();
        let types = [USER, c"USR_ADD".as_ptr()];
        let (types, count) = (types.as_ptr(), usize::from(input.byte() % 3));
        unsafe {
            match input.byte() % 12 {
                0..3 => give(&mut self.stream, fes_stream_close, |out, err| {
                    fes_stream_open(URL.as_ptr(), null(), out, err)
                }),
                3 => give(&mut self.warehouse, fes_warehouse_close, |out, err| {
                    fes_warehouse_open(URL.as_ptr(), null(), out, err)
                }),
                4 => give(&mut self.tx, fes_tx_free, |out, err| fes_stream_begin(stream, out, err)),
                5 => give(&mut self.consumer, fes_consumer_close, |out, err| {
                    fes_consumer_open(stream, USER, component, out, err)
                }),
                6 => give(&mut self.subscription, fes_subscription_close, |out, err| {
                    fes_stream_subscribe(stream, USER, component, types, count, options, out, err)
                }),
                7 => give(&mut self.receiver, fes_receiver_close, |out, err| {
                    fes_receiver_open(
                        stream,
                        USER,
                        component,
                        Some(on_events),
                        null_mut(),
                        None,
                        out,
                        err,
                    )
                }),
                8 => give(&mut self.archiver, fes_archiver_close, |out, err| {
                    fes_archiver_open(stream, warehouse, options, out, err)
                }),
                9 => give(&mut self.discarder, fes_discarder_close, |out, err| {
                    fes_discarder_open(stream, options, out, err)
                }),
                10 => give(&mut self.replay, fes_replay_close, |out, err| {
                    fes_replay_open(warehouse, stream, input.number(), types, count, out, err)
                }),
                _ => {
                    fes_cancel_token_free(std::mem::replace(
                        &mut self.cancel,
                        fes_cancel_token_new(),
                    ));
                    fes_options_free(std::mem::replace(&mut self.options, fes_options_new()));
                }
            }
        }
    }

    fn close(&mut self, which: u8) {
        unsafe {
            match which % KINDS {
                0 => fes_stream_close(std::mem::replace(&mut self.stream, null_mut())),
                1 => fes_warehouse_close(std::mem::replace(&mut self.warehouse, null_mut())),
                2 => fes_tx_free(std::mem::replace(&mut self.tx, null_mut())),
                3 => fes_consumer_close(std::mem::replace(&mut self.consumer, null_mut())),
                4 => fes_subscription_close(std::mem::replace(&mut self.subscription, null_mut())),
                5 => fes_receiver_close(std::mem::replace(&mut self.receiver, null_mut())),
                6 => fes_archiver_close(std::mem::replace(&mut self.archiver, null_mut())),
                7 => fes_discarder_close(std::mem::replace(&mut self.discarder, null_mut())),
                8 => fes_replay_close(std::mem::replace(&mut self.replay, null_mut())),
                9 => fes_options_free(std::mem::replace(&mut self.options, null_mut())),
                10 => fes_cancel_token_free(std::mem::replace(&mut self.cancel, null_mut())),
                11 => fes_events_free(std::mem::replace(&mut self.events, null_mut())),
                12 => fes_rows_free(std::mem::replace(&mut self.rows, null_mut())),
                13 => fes_statement_free(std::mem::replace(&mut self.statement, null_mut())),
                _ => fes_text_free(std::mem::replace(&mut self.text, null_mut())),
            }
        }
    }

    unsafe fn set_up(&mut self, input: &mut Input) {
        let options = self.options;
        unsafe {
            match input.byte() % 8 {
                0..3 => done(|err| fes_stream_migrate(self.stream, err)),
                3 => done(|err| fes_warehouse_migrate(self.warehouse, err)),
                4 => done(|err| {
                    let (key, value) = (input.text(), input.text());
                    fes_options_set(options, key.as_ptr(), value.as_ptr(), err)
                }),
                5 => done(|err| {
                    let (poison, count) = (input.byte().into(), input.byte().into());
                    fes_receiver_set_poison(self.receiver, poison, count, err)
                }),
                6 => done(|err| {
                    let on_notice = Some(on_notice as unsafe extern "C" fn(_, _, _, _, _));
                    fes_receiver_set_on_notice(self.receiver, on_notice, null_mut(), None, err)
                }),
                _ => {
                    fes_cancel_token_cancel(self.cancel);
                    fes_cancel_token_is_cancelled(self.cancel)
                }
            }
        };
    }

    unsafe fn add(&mut self, input: &mut Input) {
        let (kind, json) = (input.kind(), input.json());
        let (kind, data, len) = (kind.as_ptr(), json.as_ptr(), json.count_bytes());
        let (stream, options) = (self.stream, self.options);
        let mut id = 0;
        unsafe {
            match input.byte() % 6 {
                0..3 => {
                    let added =
                        done(|err| fes_stream_add_event(stream, kind, data, len, &mut id, err));
                    assert_eq!(added, id > 0);
                }
                3 => _ = done(|err| fes_tx_add_event(self.tx, kind, data, len, &mut id, err)),
                4 => give(&mut self.statement, fes_statement_free, |out, err| {
                    let database = input.byte().into();
                    fes_event_statement(database, kind, data, len, options, out, err)
                }),
                _ => give(&mut self.statement, fes_statement_free, |out, err| {
                    fes_stream_statement(stream, kind, data, len, out, err)
                }),
            }
        }
    }

    unsafe fn transact(&mut self, input: &mut Input) {
        let (tx, sql) = (self.tx, input.sql().as_ptr());
        let bytes = input.text();
        let value = fes_value {
            kind: (input.byte() % 9).into(),
            number: input.number() as i64,
            real: f64::from(input.byte()) / 3.0,
            bytes: bytes.as_ptr(),
            len: bytes.count_bytes(),
        };
        let count = usize::from(input.byte() % 2);
        unsafe {
            match input.byte() % 6 {
                0..2 => _ = done(|err| fes_tx_execute(tx, sql, &value, count, null_mut(), err)),
                2..4 => give(&mut self.rows, fes_rows_free, |out, err| {
                    fes_tx_query(tx, sql, &value, count, out, err)
                }),
                4 => _ = done(|err| fes_tx_commit(tx, err)),
                _ => _ = done(|err| fes_tx_rollback(tx, err)),
            }
        }
    }

    unsafe fn consume(&mut self, input: &mut Input) {
        let (consumer, cancel, id) = (self.consumer, self.cancel, input.number());
        let limit = usize::from(input.byte());
        unsafe {
            match input.byte() % 12 {
                0..2 => _ = done(|err| fes_consumer_register(consumer, err)),
                2 => {
                    let start = (input.byte() % 5).into();
                    _ = done(|err| fes_consumer_register_at(consumer, start, id as i64, err));
                }
                3..5 => give(&mut self.events, fes_events_free, |out, err| {
                    let last = if input.byte() < 128 { null() } else { &raw const id };
                    fes_consumer_poll(consumer, last, null(), 0, limit, 0, cancel, out, err)
                }),
                5 => _ = done(|err| fes_consumer_acknowledge(consumer, id, err)),
                6 => _ = done(|err| fes_consumer_unregister(consumer, null_mut(), err)),
                7..9 => {
                    fes_events_free(self.events);
                    let out = &raw mut self.events;
                    let wait = (input.byte() % 4).into();
                    let subscription = self.subscription;
                    _ = done(|err| {
                        fes_subscription_next(subscription, wait, cancel, out, null_mut(), err)
                    });
                }
                9 => _ = done(|err| fes_subscription_ack(self.subscription, err)),
                10 => _ = done(|err| fes_receiver_start(self.receiver, err)),
                _ => _ = done(|err| fes_receiver_stop_for(self.receiver, 0, cancel, err)),
            }
        }
    }

    unsafe fn archive(&mut self, input: &mut Input) {
        let (archiver, discarder, cancel) = (self.archiver, self.discarder, self.cancel);
        let (wait, from, limit) = (input.byte() % 4, input.number(), usize::from(input.byte()));
        let (mut count, mut complete) = (0, false);
        unsafe {
            match input.byte() % 8 {
                0 => _ = done(|err| fes_archiver_start(archiver, err)),
                1 => _ = done(|err| fes_archiver_stop_for(archiver, wait.into(), cancel, err)),
                2 => {
                    let (wait, count) = (wait.into(), &raw mut count);
                    _ = done(|err| {
                        fes_archiver_run_for(archiver, wait, cancel, count, &mut complete, err)
                    });
                }
                3 => _ = done(|err| fes_discarder_run_once(discarder, &mut count, err)),
                4 => _ = done(|err| fes_discarder_start(discarder, err)),
                5 => _ = done(|err| fes_discarder_stop_for(discarder, wait.into(), cancel, err)),
                6 => give(&mut self.events, fes_events_free, |out, err| {
                    fes_warehouse_history(self.warehouse, from, null(), 0, limit, out, err)
                }),
                _ => give(&mut self.events, fes_events_free, |out, err| {
                    fes_replay_next_for(self.replay, limit, wait.into(), cancel, out, err)
                }),
            }
        }
    }

    /// Reads what was given, from its first byte to its last.
    unsafe fn look(&mut self, input: &mut Input) {
        let (stream, warehouse, examples) = (self.stream, self.warehouse, input.byte().into());
        let (from, to) = (input.number(), input.number());
        let (mut json, mut len) = (null(), 0);
        unsafe {
            match input.byte() % 6 {
                0 => {
                    let given = done(|err| fes_events_json(self.events, &mut json, &mut len, err));
                    assert_eq!(given, !json.is_null());
                    for index in 0..=fes_events_count(self.events) {
                        if let Some(event) = fes_events_get(self.events, index).as_ref() {
                            assert_eq!(CStr::from_ptr(event.r#type).count_bytes(), event.type_len);
                        }
                    }
                }
                1 => {
                    let columns = fes_rows_columns(self.rows);
                    for at in 0..(fes_rows_count(self.rows) + 1) * (columns + 1) {
                        let value = fes_rows_get(self.rows, at / (columns + 1), at % (columns + 1));
                        if let Some(value) = value.as_ref().filter(|value| value.len > 0) {
                            assert_eq!(*value.bytes.add(value.len), 0);
                        }
                    }
                }
                2 => {
                    let sql = fes_statement_sql(self.statement, &mut len);
                    assert!(sql.is_null() || CStr::from_ptr(sql).count_bytes() == len);
                    fes_statement_param(self.statement, examples, &mut len);
                }
                3 => give(&mut self.text, fes_text_free, |out, err| {
                    fes_stream_lag_json(stream, out, err)
                }),
                4 => give(&mut self.text, fes_text_free, |out, err| {
                    fes_stream_verify_json(stream, warehouse, from, to, examples, out, err)
                }),
                _ => give(&mut self.text, fes_text_free, |out, err| {
                    fes_stream_doctor_json(stream, warehouse, null(), 0, out, err)
                }),
            }
        }
    }
}
