//! libFuzzer chooses the calls of `tests/c_fuzz/calls.rs`.
#![no_main]

#[path = "../tests/c_fuzz/calls.rs"]
mod calls;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| calls::run(bytes));
