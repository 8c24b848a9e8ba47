//! Any text through the C functions: JSON, names, options, URLs. A million inputs (or
//! `FES_FUZZ_COUNT`); the count and the seed are printed, and `FES_FUZZ_SEED` runs the same again. And programs
//! of calls in any order, one for 4000 inputs.
//!
//! Once the C interface was used, a SQLite connection that is not the library's own counts as foreign in the whole
//! process, so this is a program of its own.

mod calls;

use futoin_eventstream::OPTIONS;
use futoin_eventstream::ffi::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::ptr::{null, null_mut};

const JSON: &[&str] = &[
    "",
    "null",
    "-12.5e-3",
    "1e999999",
    r#""a\u00e4\ud83d\ude00\n""#,
    r#"{"a":[1,{"b":null}],"c":"d"}"#,
    "[[[[[[[[[[]]]]]]]]]]",
    " {\"x\" : true , \"x\" : false}\n",
];
const JSON_PARTS: &[&str] = &[
    "[", "]", "{", "}", "\"", "\\", "\\u", "\\ud800", ",", ":", "-", ".", "e", "9", " ", "é",
    "\u{1}",
];
const NAMES: &[&str] = &["a", "Audit", "LIVE", "A_9", "abcdefghijklmnop", "-internal", "app", ""];
const NAME_PARTS: &[&str] =
    &["_", "9", "Z", ":", "-", ".", " ", "\"", "é", "\n", "aaaaaaaaaaaaaaaa"];
const TABLES: &[&str] =
    &["evt_queue", "schema.table", "_", "a.b", "x23456789012345678901234567890123456789012345678"];
const VALUES: &[&str] = &[
    "",
    "true",
    "false",
    "0",
    "1",
    "60",
    "1000",
    "3600000",
    "-1",
    "full",
    "auto",
    "t",
    "99999999999",
];
const VALUE_PARTS: &[&str] =
    &["0", "9", "-", "+", ".", "e", " ", "x", "_", "é", "000000000000000000"];
const URLS: &[&str] = &[
    "postgres://u:p@h:5432/db?sslmode=verify-full&sslrootcert=/none",
    "mysql://u:p%40@[::1]:3306/d%2Db?ssl-mode=VERIFY_CA&ssl-ca=/none",
    "postgresql:///db?host=/run",
    "mariadb://h/d?ssl-insecure=true&max_connections=3",
    "postgres://user@h/d?sslmode=prefer&notify=true&event_table=a.b",
    "sqlite:a.db?busy_timeout_ms=5",
    "sqlite:///tmp/a%20b.db",
    "sqlite::memory:",
    "nonsense",
];
const URL_PARTS: &[&str] = &[
    "/", ":", "@", "?", "&", "=", "%", "%00", "%ff", "[", "]", "..", "\\", " ", "\t", "é", "xn--",
    "0",
];

/// What is meant with a few changes, or bytes of any kind; never with a NUL.
fn near(
    seeds: &'static [&'static str],
    parts: &'static [&'static str],
) -> impl Strategy<Value = CString> {
    let changes = vec((any::<Index>(), 0..3u8, select(parts)), 0..4);
    let changed = (select(seeds), changes).prop_map(|(seed, changes)| {
        let mut bytes = seed.as_bytes().to_vec();
        for (place, kind, part) in changes {
            let at = place.index(bytes.len() + 1);
            let end = if kind > 0 { (at + usize::from(kind)).min(bytes.len()) } else { at };
            bytes.splice(at..end, part.bytes().take(if kind == 1 { 0 } else { usize::MAX }));
        }
        bytes
    });
    let bytes = prop_oneof![7 => changed, 1 => vec(any::<u8>(), 0..60)];
    bytes.prop_map(|bytes| {
        let bytes: Vec<u8> = bytes.into_iter().filter(|byte| *byte != 0).collect();
        CString::new(bytes).unwrap()
    })
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

/// Runs `call` on a share of the inputs; it gives the status, and whether there is a result.
struct Fuzz {
    seed: u64,
    wanted: f64,
    done: u64,
}

impl Fuzz {
    fn run<S: Strategy>(
        &mut self,
        what: &str,
        share: f64,
        inputs: S,
        call: impl Fn(&S::Value, *mut *mut fes_error) -> (fes_status, bool),
    ) {
        let count = (self.wanted * share).round() as u32;
        let config = Config { cases: count, failure_persistence: None, ..Config::default() };
        let seed = [self.seed.to_le_bytes(), self.done.to_le_bytes()].concat();
        let random = TestRng::from_seed(RngAlgorithm::XorShift, &seed);
        let accepted = Cell::new(0_u64);
        let checked = |input: S::Value| {
            let mut error = null_mut();
            let (status, result) = call(&input, &mut error);
            let code = unsafe { fes_error_code(error) };
            unsafe { fes_error_free(error) };
            prop_assert_eq!(status, code);
            prop_assert_eq!(status == fes_status::FES_OK, result);
            prop_assert!(!matches!(status, fes_status::FES_PANIC | fes_status::FES_INTERNAL));
            accepted.set(accepted.get() + u64::from(result));
            Ok(())
        };
        TestRunner::new_with_rng(config, random).run(&inputs, checked).unwrap();
        eprintln!("{what}: {count} inputs, {} accepted", accepted.get());
        let some = accepted.get() > 0 && accepted.get() < u64::from(count);
        assert!(some || count < 1000, "{what}: inputs of one kind only");
        self.done += u64::from(count);
    }
}

/// Whether the bytes are so many letters, digits and underscores.
fn is_name(name: &[u8], longest: usize) -> bool {
    let good = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    (1..=longest).contains(&name.len()) && name.iter().all(good)
}

fn is_table(name: &[u8]) -> bool {
    let parts: Vec<&[u8]> = name.split(|byte| *byte == b'.').collect();
    let is_part = |part: &&[u8]| is_name(part, 48) && !part[0].is_ascii_digit();
    parts.len() <= 2 && parts.iter().all(is_part)
}

fn statement(data: &CStr, err: *mut *mut fes_error) -> (fes_status, bool) {
    unsafe {
        let mut out = null_mut();
        let len = data.count_bytes();
        let status =
            fes_event_statement(2, c"A".as_ptr(), data.as_ptr(), len, null(), &mut out, err);
        let given = !out.is_null();
        fes_statement_free(out);
        let text = data.to_str();
        let is_json =
            text.is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok());
        assert_eq!(given, is_json, "{data:?}");
        (status, given)
    }
}

fn consumer(
    stream: *const fes_stream,
    user: &CStr,
    component: &CStr,
    err: *mut *mut fes_error,
) -> (fes_status, bool) {
    unsafe {
        let mut out = null_mut();
        let status = fes_consumer_open(stream, user.as_ptr(), component.as_ptr(), &mut out, err);
        fes_consumer_close(out);
        (status, !out.is_null())
    }
}

fn set_option(key: &CStr, value: &CStr, err: *mut *mut fes_error) -> (fes_status, bool) {
    unsafe {
        let options = fes_options_new();
        let status = fes_options_set(options, key.as_ptr(), value.as_ptr(), err);
        if status == fes_status::FES_OK {
            let mut out = null_mut();
            let data = c"1".as_ptr(); // of the least max_event_bytes
            fes_event_statement(1, c"A".as_ptr(), data, 1, options, &mut out, null_mut());
            let sql = CStr::from_ptr(fes_statement_sql(out, null_mut())).to_str().unwrap();
            let plain = |c: char| c.is_ascii_alphanumeric() || "_.\"(), ?'".contains(c);
            assert!(sql.chars().all(plain), "{sql}");
            fes_statement_free(out);
        }
        fes_options_free(options);
        (status, status == fes_status::FES_OK)
    }
}

/// The URL so changed that neither a file is written nor a server asked, after it was understood.
fn harmless(url: &CStr) -> CString {
    // SQLite takes a ".." off the path by itself: so deep that none leads out.
    const NOWHERE: &[u8] = b"/no-such-folder/1/2/3/4/5/6/7/8/";
    let text: Vec<u8> = url.to_bytes().iter().copied().filter(|byte| *byte != b'#').collect();
    let bytes = match text.strip_prefix(b"sqlite:") {
        Some(b":memory:") => text,
        Some(rest) => [b"sqlite:", NOWHERE, rest].concat(),
        None => {
            let mark = if text.contains(&b'?') { &b"&socket="[..] } else { b"?socket=" };
            [&text, mark, NOWHERE].concat()
        }
    };
    CString::new(bytes).unwrap()
}

fn open(url: &CStr, err: *mut *mut fes_error) -> (fes_status, bool) {
    unsafe {
        let mut out = null_mut();
        let status = fes_stream_open(url.as_ptr(), null(), &mut out, err);
        let given = !out.is_null();
        fes_stream_close(out);
        (status, given)
    }
}

#[test]
fn no_order_of_calls_crashes_the_c_interface() {
    let seed = number("FES_FUZZ_SEED", std::process::id().into());
    let count = number("FES_FUZZ_COUNT", 1_000_000).div_ceil(4000) as u32;
    eprintln!("FES_FUZZ_SEED={seed}");
    let config = Config { cases: count, failure_persistence: None, ..Config::default() };
    let random = TestRng::from_seed(RngAlgorithm::XorShift, &[seed.to_le_bytes(); 2].concat());
    let checked = |bytes: Vec<u8>| {
        calls::run(&bytes);
        Ok(())
    };
    TestRunner::new_with_rng(config, random).run(&vec(any::<u8>(), 0..1000), checked).unwrap();
    let succeeded = calls::SUCCEEDED.load(std::sync::atomic::Ordering::Relaxed);
    eprintln!("{count} programs, {succeeded} calls that succeeded");
    assert!(succeeded > 10 * u64::from(count) || count < 100, "programs that do nothing");
}

#[test]
fn no_text_crashes_the_c_interface() {
    let mut stream = null_mut();
    let url = c"sqlite::memory:".as_ptr();
    let status = unsafe { fes_stream_open(url, null(), &mut stream, null_mut()) };
    assert_eq!(status, fes_status::FES_OK);
    let seed = number("FES_FUZZ_SEED", std::process::id().into());
    let wanted = number("FES_FUZZ_COUNT", 1_000_000);
    eprintln!("FES_FUZZ_SEED={seed}");
    let mut fuzz = Fuzz { seed, wanted: wanted as f64, done: 0 };
    let keys: &'static [&'static str] =
        OPTIONS.iter().map(|spec| spec.name).collect::<Vec<_>>().leak();
    fuzz.run("JSON", 0.4, near(JSON, JSON_PARTS), |data, err| statement(data, err));
    fuzz.run("component", 0.15, near(NAMES, NAME_PARTS), |name, err| {
        let answer = consumer(stream, c"u", name, err);
        assert_eq!(answer.1, is_name(name.to_bytes(), 16), "{name:?}");
        answer
    });
    fuzz.run("user", 0.05, near(NAMES, NAME_PARTS), |name, err| consumer(stream, name, c"C", err));
    fuzz.run("table name", 0.15, near(TABLES, NAME_PARTS), |name, err| {
        let answer = set_option(c"event_table", name, err);
        assert_eq!(answer.1, is_table(name.to_bytes()), "{name:?}");
        answer
    });
    fuzz.run("option", 0.05, near(keys, NAME_PARTS), |key, err| set_option(key, c"1", err));
    let values = (select(keys), near(VALUES, VALUE_PARTS));
    fuzz.run("option value", 0.1, values, |(key, value), err| {
        set_option(&CString::new(*key).unwrap(), value, err)
    });
    unsafe { fes_stream_close(stream) };
    fuzz.run("URL", 0.1, near(URLS, URL_PARTS), |url, err| open(&harmless(url), err));
    eprintln!("{} inputs in all", fuzz.done);
}
