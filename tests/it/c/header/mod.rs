//! The C header is made from `src/ffi`, compiles alone in every language, and the shared library
//! exports what it declares and nothing else, and programs that were compiled with an older header go on
//! to work. `UPDATE_HEADER=1` rewrites the header, the list of symbols, and the record of what a version
//! declares (`tests/abi`) while that version is not released.

mod abi;
use crate::c::support::{library, root, run};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The header as it should be.
fn generate() -> String {
    let mut config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    config.header = Some(std::fs::read_to_string(root().join("include/preface.txt")).unwrap());
    let version = env!("CARGO_PKG_VERSION");
    let numbers = ["MAJOR", "MINOR", "PATCH"].into_iter().zip(version.split('.'));
    let parts: Vec<String> = numbers
        .map(|(part, number)| format!("/** A part of it. */\n#define FES_VERSION_{part} {number}"))
        .collect();
    let parts = parts.join("\n");
    config.after_includes = Some(format!(
        "\n/** The version of this header: see `fes_version`. */\n#define FES_VERSION \"{version}\"\n\
         {parts}"
    ));
    // From the simple to the compound, not by name.
    let order = [
        "error",
        "text",
        "options",
        "cancel",
        "events",
        "value",
        "database",
        "statement",
        "stream",
        "transaction",
        "consumer",
        "subscription",
        "user",
        "notice",
        "receiver",
        "warehouse",
        "checks",
        "archiver",
        "discarder",
        "app",
        "log",
    ];
    let mut builder = cbindgen::Builder::new().with_config(config);
    for name in order {
        builder = builder.with_src(root().join(format!("src/ffi/{name}.rs")));
    }
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    String::from_utf8(header).unwrap()
}

/// The header as a C99 compiler sees it, for readers of C that have no preprocessor: no comments, no
/// conditions, no C++, and the numbers as enumerators in place of macros.
fn declarations(header: &str) -> String {
    let mut text = String::from(
        "/* The declarations of futoin_eventstream.h, which tells what they do, for the FFI of other\n \
         * languages. Made from it (tests/it/c/header): do not edit it. */\n",
    );
    // Whether the lines of each condition that is open are wanted: nothing is defined.
    let mut wanted = Vec::new();
    let mut comment = false;
    for line in header.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        comment |= words.first().is_some_and(|word| word.starts_with("/*"));
        match words[..] {
            _ if comment => comment = !line.ends_with("*/"),
            [] | ["#include", ..] => {}
            ["#ifndef", ..] => wanted.push(true),
            ["#if" | "#ifdef", ..] => wanted.push(false),
            ["#else"] => {
                let last = wanted.last_mut().unwrap();
                *last = !*last;
            }
            ["#endif", ..] => _ = wanted.pop(),
            _ if wanted.contains(&false) => {}
            ["#define", name, number] if number.parse::<u32>().is_ok() => {
                text += &format!("enum {{ {name} = {number} }};\n");
            }
            ["#define", ..] => {}
            ["{"] => text = text.trim_end().to_owned() + " {\n",
            _ => text += &format!("{line}\n"),
        }
    }
    text
}

/// Compares a committed file with what it should be, or rewrites it.
fn compare(path: &Path, expected: &str) {
    if std::env::var_os("UPDATE_HEADER").is_some() {
        return std::fs::write(path, expected).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    let line = found.lines().zip(expected.lines()).position(|(a, b)| a != b);
    assert!(
        found == expected,
        "{} is not up to date (line {:?}): run UPDATE_HEADER=1 cargo test --test it header",
        path.display(),
        line.map(|line| line + 1)
    );
}

#[test]
fn the_headers_are_up_to_date() {
    let header = generate();
    compare(&root().join("include/futoin_eventstream.h"), &header);
    compare(&root().join("include/futoin_eventstream_ffi.h"), &declarations(&header));
}

#[test]
fn the_library_exports_what_the_golden_list_says() {
    let output = Command::new("nm").args(["-D", "--defined-only"]).arg(library()).output().unwrap();
    let symbols = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<&str> = symbols
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .filter(|name| *name != "fes_selftest_panic")
        .collect();
    names.sort_unstable();
    compare(&root().join("include/symbols.txt"), &(names.join("\n") + "\n"));
    let header = std::fs::read_to_string(root().join("include/futoin_eventstream.h")).unwrap();
    for name in names {
        assert!(name.starts_with("fes_"), "{name} is no name of this library");
        assert!(
            header.contains(&format!(" {name}(")) || header.contains(&format!("*{name}(")),
            "{name}"
        );
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Whether the changelog gives this version a date.
fn is_released() -> bool {
    let changelog = std::fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let mut titles = changelog.lines().filter_map(|line| line.strip_prefix("## "));
    let title = titles.find(|title| title.starts_with(VERSION));
    title.is_some_and(|title| !title.contains("unreleased"))
}

/// What was recorded and is not there any more.
fn broken(recorded: &BTreeSet<String>, now: &BTreeSet<String>) -> Vec<String> {
    let gone = recorded.difference(now).filter(|line| !line.starts_with("abi version "));
    gone.cloned().collect()
}

#[test]
fn what_a_released_version_declares_is_still_there() {
    let now = abi::describe(&generate());
    let text: String = now.iter().map(|line| format!("{line}\n")).collect();
    if !is_released() {
        compare(&root().join(format!("tests/abi/{VERSION}.txt")), &text);
    }
    let recorded = abi::recorded();
    assert!(
        recorded.iter().any(|(version, _)| version == VERSION),
        "tests/abi has no {VERSION}.txt"
    );
    for (version, lines) in &recorded {
        let broken = broken(lines, &now);
        assert!(broken.is_empty(), "programs made for {version} break without {broken:#?}");
    }
    if let Some((_, last)) =
        recorded.iter().rev().find(|(version, _)| version != VERSION || is_released())
    {
        let number = |lines: &BTreeSet<String>| {
            let line = lines.iter().find_map(|line| line.strip_prefix("abi version "));
            line.unwrap().parse::<u32>().unwrap()
        };
        let grew = now.len() > last.len();
        assert!(!grew || number(&now) > number(last), "what is new needs a higher FES_ABI_VERSION");
    }
}

/// The comparison above finds what breaks a program, and takes what does not.
#[test]
fn a_change_of_what_programs_use_is_found() {
    let header = generate();
    let before = abi::describe(&header);
    assert!(before.len() > 200, "{}", before.len());
    let after = |from: &str, to: &str| {
        assert!(header.contains(from), "{from}");
        broken(&before, &abi::describe(&header.replace(from, to)))
    };
    let added = "fes_status fes_new_one(uint32_t more);\nfes_status fes_subscription_ack(";
    assert_eq!(after("fes_status fes_subscription_ack(", added), Vec::<String>::new());
    assert_eq!(
        after("FES_POISON_STOP = 1", "FES_POISON_NEW = 3,\n    FES_POISON_STOP = 1").len(),
        0
    );
    assert_eq!(
        after(
            "size_t data_len;\n} fes_new_event",
            "size_t data_len;\n    int64_t ts;\n} fes_new_event"
        )
        .len(),
        0
    );
    for (from, to) in [
        ("FES_POISON_STOP = 1", "FES_POISON_STOP = 4"),
        ("FES_FOREVER 4294967295", "FES_FOREVER 0"),
        ("uint64_t seq,", "uint32_t seq,"),
        ("fes_status fes_subscription_ack(", "fes_status fes_subscription_acknowledge("),
        ("uint32_t count,", "uint64_t count,"),
        ("int64_t ts;", "int32_t ts;"),
        ("int64_t ts;", "int64_t ts;\n    int64_t more;"),
        ("size_t data_len;\n} fes_new_event", "size_t len;\n} fes_new_event"),
    ] {
        assert_ne!(after(from, to), Vec::<String>::new(), "{from} to {to}");
    }
}

#[test]
fn the_library_has_its_soname() {
    let output = Command::new("readelf").arg("-d").arg(library()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("[libfutoin_eventstream.so.0]"), "{text}");
}

#[test]
fn the_header_compiles_alone_in_every_language() {
    let folder = tempfile::tempdir().unwrap();
    for (compiler, standard, suffix) in [
        ("gcc", "c99", "c"),
        ("gcc", "c11", "c"),
        ("gcc", "c17", "c"),
        ("g++", "c++11", "cpp"),
        ("g++", "c++17", "cpp"),
    ] {
        let source = folder.path().join(format!("alone.{suffix}"));
        std::fs::write(&source, "#include <futoin_eventstream.h>\nint main(void) { return 0; }\n")
            .unwrap();
        run(Command::new(compiler)
            .arg(format!("-std={standard}"))
            .args(["-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fsyntax-only"])
            .arg("-I")
            .arg(root().join("include"))
            .arg(&source));
    }
}
