//! The tests in C and the C++ wrapper forget no function, no place for a NULL, and no status of the header.

use crate::c::support::{root, run};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// All sources of a folder with this suffix, one after the other.
fn sources(folder: &str, suffix: &str) -> String {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let wanted = |path: &&std::path::PathBuf| path.extension().is_some_and(|it| it == suffix);
    paths.iter().filter(wanted).map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn functions() -> Vec<String> {
    let names: Vec<String> = read("include/symbols.txt").lines().map(str::to_owned).collect();
    assert!(names.len() > 100);
    names
}

/// What stands between the parentheses after each `name(`, split at its commas.
fn calls(text: &str, name: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(&format!("{name}(")) {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let (mut depth, mut arguments) = (0, vec![String::new()]);
        for c in text[at + name.len()..].chars() {
            match c {
                '(' | '{' | '[' => depth += 1,
                ')' | '}' | ']' => depth -= 1,
                _ => {}
            }
            match c {
                _ if depth == 0 => break,
                ',' if depth == 1 => arguments.push(String::new()),
                '(' if depth == 1 && arguments == [""] => {}
                c => arguments.last_mut().unwrap().push(c),
            }
        }
        found.push(arguments.iter().map(|argument| argument.trim().to_owned()).collect());
    }
    found
}

#[test]
fn the_c_tests_and_the_cpp_wrapper_call_every_function() {
    let (c, cpp) = (sources("tests/c", "c"), sources("include/futoin_eventstream", "hpp"));
    for name in functions() {
        assert!(!calls(&c, &name).is_empty(), "tests/c never calls {name}");
        let by_name =
            cpp.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name);
        assert!(by_name, "the C++ wrapper does not use {name}");
    }
}

#[test]
fn the_c_tests_give_null_for_every_pointer() {
    let (c, header) = (sources("tests/c", "c"), read("include/futoin_eventstream.h"));
    let (mut places, mut missing) = (0, Vec::new());
    for name in functions() {
        let parameters = calls(&header, &name).pop().unwrap();
        for (at, parameter) in parameters.iter().enumerate() {
            let callback = parameter.starts_with("fes_on_");
            // Each call of the macros has a place for the error, and is repeated without one.
            if !(parameter.contains('*') || callback) || parameter == "fes_error **err" {
                continue;
            }
            places += 1;
            let given =
                calls(&c, &name).iter().any(|call| call.get(at).is_some_and(|it| it == "NULL"));
            if !given {
                missing.push(format!("{name}: {parameter}"));
            }
        }
    }
    assert!(missing.is_empty(), "tests/c never gives NULL for {missing:#?}");
    eprintln!("{places} places for a NULL");
}

#[test]
fn the_header_tells_the_errors_of_every_function_that_may_fail() {
    let header = read("include/futoin_eventstream.h");
    for name in functions() {
        let at = header.find(&format!("fes_status {name}(")).unwrap_or(0);
        let comment = &header[header[..at].rfind("/**").unwrap_or(0)..at];
        let getter = ["fes_error_code", "fes_selftest_panic"].contains(&name.as_str());
        assert!(at == 0 || getter || comment.contains("Errors:"), "the errors of {name}");
    }
}

/// Each parameter of each function and callback has its `@param`, in order, and each result its `@return`.
#[test]
fn the_header_tells_of_every_parameter_and_result() {
    let header = read("include/futoin_eventstream.h");
    let callbacks = header.lines().filter_map(|line| {
        let start = line.find("(*fes_on_")?;
        Some(line[start..start + line[start..].find(')')? + 1].to_owned())
    });
    let names: Vec<String> = functions().into_iter().chain(callbacks).collect();
    for name in &names {
        let declared = calls(&header, name).pop().unwrap();
        let parameters: Vec<&str> = declared
            .iter()
            .filter(|parameter| *parameter != "void")
            .map(|parameter| parameter.rsplit([' ', '*']).next().unwrap())
            .collect();
        let before = &header[..header.rfind(&format!("{name}(")).unwrap()];
        let at = before.rfind("/**").unwrap();
        let (comment, result) = before[at..].split_once("*/").unwrap();
        let told: Vec<&str> = comment
            .match_indices("@param ")
            .filter_map(|(at, word)| comment[at + word.len()..].split_whitespace().next())
            .collect();
        assert_eq!(told, parameters, "{name}");
        let gives = !["void ", "typedef void "].contains(&result.trim_start());
        assert_eq!(comment.contains("@return "), gives, "what {name} gives: {result}");
    }
    assert!(names.len() > 115, "{names:?}");
}

#[test]
fn doxygen_has_nothing_to_warn_of() {
    if Command::new("doxygen").arg("--version").output().is_err() {
        assert!(std::env::var("FES_TEST_REQUIRED").is_err(), "doxygen is missing");
        return eprintln!("left out: doxygen is not installed");
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("Doxyfile");
    let there =
        format!("{}OUTPUT_DIRECTORY = {}\n", read("docs/Doxyfile"), folder.path().display());
    std::fs::write(&settings, there).unwrap();
    run(Command::new("doxygen").current_dir(root()).arg(&settings));
    let page = std::fs::read_to_string(folder.path().join("html/futoin__eventstream_8h.html"));
    assert!(page.unwrap().contains("Parameters"));
}

#[test]
fn the_c_tests_produce_every_status() {
    let header = read("include/futoin_eventstream.h");
    let start = header.find("enum fes_status").unwrap();
    let body = &header[start..start + header[start..].find("};").unwrap()];
    let numbered = body.lines().filter_map(|line| line.trim().split_once(" = "));
    let statuses: BTreeSet<&str> = numbered.map(|(name, _)| name).collect();
    assert!(statuses.len() > 30);
    let c = sources("tests/c", "c");
    let produced = |status: &str| match status {
        "FES_OK" => c.contains("OK("),
        "FES_INVALID_ARGUMENT" => c.contains("REFUSED("),
        // A defect, which no test can ask for.
        "FES_INTERNAL" => true,
        status => {
            let mut checks = ["FAILS", "fails"].iter().flat_map(|word| calls(&c, word));
            checks.any(|call| call.iter().take(2).any(|argument| argument == status))
                || c.contains(&format!("== {status})"))
        }
    };
    for status in statuses {
        assert!(produced(status), "tests/c never produces {status}");
    }
}
