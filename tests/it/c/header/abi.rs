//! What programs that were compiled before rely on: a line for each function, enumerator, constant
//! and field of the header, with the numbers and places that a compiler gives them.

use crate::c::support::{root, run};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Structures that programs hand in with their size, so that later versions may be longer.
const GROWING: &[&str] = &["fes_new_event"];

/// The lines of a header.
pub fn describe(header: &str) -> BTreeSet<String> {
    let code = plain(header);
    let (mut lines, mut probe) = (BTreeSet::new(), Vec::new());
    probe.push("abi version %d\", FES_ABI_VERSION".to_owned());
    for name in constants(header) {
        probe.push(format!("constant {name} %lld\", (long long){name}"));
    }
    for statement in statements(&code) {
        match statement.split_whitespace().next() {
            Some("enum") => enumerators(&statement, &mut probe),
            Some("typedef") if statement.contains('{') => structure(&statement, &mut probe),
            Some("typedef") if statement.starts_with("typedef enum ") => {}
            // Only in builds for tests.
            _ if statement.contains("fes_selftest") => {}
            _ => drop(lines.insert(declaration(&statement))),
        }
    }
    lines.extend(measure(header, &probe));
    lines
}

/// The lines that were recorded for each version, the oldest first.
pub fn recorded() -> Vec<(String, BTreeSet<String>)> {
    let folder = std::fs::read_dir(root().join("tests/abi")).unwrap();
    let mut paths: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    let numbers = |path: &Path| -> Vec<u32> {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        name.split('.').map(|number| number.parse().unwrap()).collect()
    };
    paths.sort_by_key(|path| numbers(path));
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let version = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (version, text.lines().map(str::to_owned).collect())
    };
    paths.into_iter().map(read).collect()
}

/// The code without comments and without lines for the preprocessor.
fn plain(header: &str) -> String {
    let mut code = String::new();
    for part in header.split("/*") {
        code.push_str(part.split_once("*/").map_or(part, |(_, rest)| rest));
    }
    let is_code = |line: &&str| {
        let line = line.trim();
        !line.starts_with('#') && line != ": uint32_t" && !line.starts_with("extern \"C\"")
    };
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.filter(is_code).collect::<Vec<_>>().join("\n")
}

/// Splits at the semicolons that are in no braces.
fn statements(code: &str) -> Vec<String> {
    let (mut depth, mut found, mut current) = (0, Vec::new(), String::new());
    for c in code.chars() {
        match c {
            '{' => depth += 1,
            // The last one ends `extern "C"`.
            '}' if depth == 0 => continue,
            '}' => depth -= 1,
            ';' if depth == 0 => {
                found.push(
                    std::mem::take(&mut current).split_whitespace().collect::<Vec<_>>().join(" "),
                );
                continue;
            }
            _ => {}
        }
        current.push(c);
    }
    assert_eq!(current.trim(), "");
    found
}

/// Constants that hold for ever; those of the version do not.
fn constants(header: &str) -> impl Iterator<Item = &str> {
    let defined = header.lines().filter_map(|line| line.strip_prefix("#define FES_"));
    let names = defined.filter_map(|rest| rest.split_once(' ')).map(|(name, _)| name);
    let kept = names.filter(|name| !name.contains("VERSION"));
    kept.map(|name| &header[header.find(&format!("FES_{name} ")).unwrap()..][..name.len() + 4])
}

fn body(statement: &str) -> &str {
    let (start, end) = (statement.find('{').unwrap(), statement.rfind('}').unwrap());
    &statement[start + 1..end]
}

fn enumerators(statement: &str, probe: &mut Vec<String>) {
    let name = statement.split_whitespace().nth(1).unwrap();
    for part in body(statement).split(',').filter_map(|part| part.split_once('=')) {
        let member = part.0.trim();
        probe.push(format!("enumerator {name} {member} %lld\", (long long){member}"));
    }
}

fn structure(statement: &str, probe: &mut Vec<String>) {
    let name = statement.rsplit(' ').next().unwrap();
    for field in body(statement).split(';').map(str::trim).filter(|field| !field.is_empty()) {
        let member = field.rsplit([' ', '*']).next().unwrap();
        let kind = field.strip_suffix(member).unwrap().trim();
        probe.push(format!(
            "field {name} {member} at %zu of %zu: {kind}\", offsetof({name}, {member}), sizeof((({name} *)0)->{member})"
        ));
    }
    if !GROWING.contains(&name) {
        probe.push(format!("size {name} %zu\", sizeof({name})"));
    }
}

/// A function, an opaque type or the type of a callback, without the names of parameters: programs do
/// not see them.
fn declaration(statement: &str) -> String {
    let Some((head, parameters)) = statement.trim_end_matches(')').rsplit_once('(') else {
        return statement.to_owned();
    };
    let named = |parameter: &str| {
        let name = parameter.rsplit([' ', '*']).next().unwrap();
        parameter
            .trim()
            .strip_suffix(name)
            .filter(|kind| !kind.is_empty())
            .unwrap_or("void")
            .trim()
            .to_owned()
    };
    let kinds: Vec<String> = parameters.split(',').map(|it| named(it.trim())).collect();
    format!("{head}({})", kinds.join(", "))
}

/// Has a C compiler fill in the numbers.
fn measure(header: &str, probe: &[String]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let (source, program) = (folder.path().join("probe.c"), folder.path().join("probe"));
    let prints: Vec<String> = probe
        .iter()
        .map(|line| {
            let (text, values) = line.split_once("\", ").unwrap();
            format!("    printf(\"{text}\\n\", {values});\n")
        })
        .collect();
    let code = format!(
        "{header}\n#include <stdio.h>\nint main(void) {{\n{}    return 0;\n}}\n",
        prints.concat()
    );
    std::fs::write(&source, code).unwrap();
    run(Command::new("gcc").arg("-std=c11").arg(&source).arg("-o").arg(&program));
    run(&mut Command::new(&program)).lines().map(str::to_owned).collect()
}
