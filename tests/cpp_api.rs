//! The C++ wrapper: `tests/cpp`, with and without exceptions, and with the sanitizers of gcc.

mod c_support;

use c_support::{Libraries, run};
use std::process::Command;

fn check(flags: &[&str]) {
    let libraries = Libraries::new();
    let mut all = vec!["-Wconversion", "-Wshadow"];
    all.extend(flags);
    let program = libraries.compile("cpp_tests", &["tests/cpp/api.cpp"], &all);
    eprint!("{flags:?}: {}", run(Command::new(program).arg(libraries.path())));
}

#[test]
fn the_wrapper_throws() {
    check(&[]);
}

#[test]
fn the_wrapper_works_without_exceptions() {
    check(&["-DFES_NO_EXCEPTIONS"]);
    check(&["-fno-exceptions"]);
}

#[test]
fn the_wrapper_misuses_no_address() {
    check(&["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
}
