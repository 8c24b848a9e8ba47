//! Any text through the C functions: URLs, options, JSON, names. `FES_FUZZ_COUNT` inputs in all,
//! 50,000 unless it is set; the count is printed.

use futoin_eventstream::ffi::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::ffi::{CStr, CString};
use std::ptr::{null, null_mut};

/// Text near to what is meant, text of any kind, and bytes that are no text.
fn input(near: &'static str) -> impl Strategy<Value = CString> {
    let bytes = prop_oneof![
        4 => near.prop_map(String::into_bytes),
        2 => ".{0,40}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..60),
    ];
    bytes.prop_map(|bytes| {
        CString::new(bytes.into_iter().filter(|byte| *byte != 0).collect::<Vec<u8>>()).unwrap()
    })
}

/// Runs `call` on many inputs; it gives the status, and whether there is a result.
fn fuzz(
    what: &str,
    share: f64,
    near: &'static str,
    call: impl Fn(&CStr, *mut *mut fes_error) -> (fes_status, bool),
) -> u32 {
    let total = std::env::var("FES_FUZZ_COUNT").map_or(50_000.0, |text| text.parse().unwrap());
    let count = (total * share).ceil() as u32;
    let config = Config { cases: count, failure_persistence: None, ..Config::default() };
    let accepted = std::cell::Cell::new(0);
    let checked = |text: CString| {
        let mut error = null_mut();
        let (status, result) = call(&text, &mut error);
        let code = unsafe { fes_error_code(error) };
        unsafe { fes_error_free(error) };
        prop_assert_eq!(status, code, "{:?}", text);
        prop_assert_eq!(status == fes_status::FES_OK, result, "{:?}", text);
        prop_assert!(!matches!(status, fes_status::FES_PANIC | fes_status::FES_INTERNAL));
        accepted.set(accepted.get() + u32::from(result));
        Ok(())
    };
    TestRunner::new(config).run(&input(near), checked).unwrap();
    eprintln!("{what}: {count} inputs, {} accepted", accepted.get());
    count
}

fn set_option(key: &CStr, value: &CStr, err: *mut *mut fes_error) -> (fes_status, bool) {
    unsafe {
        let options = fes_options_new();
        let status = fes_options_set(options, key.as_ptr(), value.as_ptr(), err);
        let mut out = null_mut();
        let made = fes_event_statement(1, c"A".as_ptr(), null(), 0, options, &mut out, null_mut());
        assert_eq!(made, fes_status::FES_OK);
        fes_statement_free(out);
        fes_options_free(options);
        (status, status == fes_status::FES_OK)
    }
}

#[test]
fn no_text_crashes_the_c_interface() {
    let mut stream = null_mut();
    let status =
        unsafe { fes_stream_open(c"sqlite::memory:".as_ptr(), null(), &mut stream, null_mut()) };
    assert_eq!(status, fes_status::FES_OK);
    let mut total = fuzz("JSON", 0.4, r#"[\[\]{}",:0-9a-z\\eE.+ -]{0,30}"#, |text, err| unsafe {
        let mut out = null_mut();
        let (data, len) = (text.as_ptr(), text.count_bytes());
        let status = fes_event_statement(2, c"A".as_ptr(), data, len, null(), &mut out, err);
        let given = !out.is_null();
        fes_statement_free(out);
        (status, given)
    });
    total += fuzz("component", 0.2, "[A-Za-z0-9_:-]{0,20}", |text, err| unsafe {
        let mut out = null_mut();
        let status = fes_consumer_open(stream, c"u".as_ptr(), text.as_ptr(), &mut out, err);
        fes_consumer_close(out);
        (status, !out.is_null())
    });
    total += fuzz("table name", 0.19, r#"[a-zA-Z0-9_."]{0,70}"#, |text, err| {
        set_option(c"event_table", text, err)
    });
    total += fuzz("option", 0.1, "[a-z_]{1,20}", |text, err| set_option(text, c"1", err));
    total += fuzz("option value", 0.1, "-?[0-9]{0,22}", |text, err| {
        set_option(c"max_connections", text, err)
    });
    unsafe { fes_stream_close(stream) };
    let open = |url: Vec<u8>, err| unsafe {
        let mut out = null_mut();
        let status = fes_stream_open(CString::new(url).unwrap().as_ptr(), null(), &mut out, err);
        let given = !out.is_null();
        fes_stream_close(out);
        (status, given)
    };
    // Neither asks a server, nor writes a file: any name would be one of SQLite.
    total += fuzz("URL", 0.009, "[a-z]{1,8}:[/@:a-z0-9%?&=]{0,40}", |text, err| {
        let known = [&b"sqlite"[..], b"postgres", b"mysql", b"mariadb"];
        let lower = text.to_bytes().trim_ascii_start().to_ascii_lowercase();
        let prefix = if known.iter().any(|name| lower.starts_with(name)) { &b"x"[..] } else { b"" };
        open([prefix, text.to_bytes()].concat(), err)
    });
    total += fuzz("query of a URL", 0.001, "([a-z_]{1,20}=[a-z0-9%]{0,8}&?){0,4}", |text, err| {
        open([b"sqlite::memory:?", text.to_bytes()].concat(), err)
    });
    eprintln!("{total} inputs in all");
}
