//! libFuzzer chooses the calls of `tests/it/c/calls.rs`.
#![no_main]

#[path = "../tests/it/c/calls.rs"]
mod calls;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| calls::run(bytes));
