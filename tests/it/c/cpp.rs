//! The C++ wrapper: the programs of `tests/cpp`, with and without exceptions, with the sanitizers, and what must not
//! compile. By gcc, and by clang where it is.

use crate::c::support::{Libraries, cpp_compilers, root, run};
use std::path::{Path, PathBuf};
use std::process::Command;

const SANITIZERS: &[&str] = &["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

fn check(flags: &[&str]) {
    let libraries = Libraries::new();
    for compiler in cpp_compilers(flags) {
        for source in ["tests/cpp/api.cpp", "tests/cpp/traps.cpp"] {
            let mut all = vec!["-Wconversion", "-Wshadow"];
            all.extend(flags);
            let program = libraries.compile_by(compiler, "cpp_tests", &[source], &all);
            let output = run(Command::new(program).arg(libraries.path()));
            eprint!("{compiler} {flags:?} {source}: {output}");
        }
    }
}

#[test]
fn the_wrapper_throws() {
    check(&[]);
}

#[test]
fn the_wrapper_works_without_exceptions() {
    check(&["-DFES_NO_EXCEPTIONS"]);
    check(&["-fno-exceptions", "-std=c++20"]);
}

#[test]
fn the_wrapper_is_one_of_cpp20_too() {
    check(&["-std=c++20"]);
}

#[test]
fn the_wrapper_misuses_no_address() {
    check(SANITIZERS);
    check(&[SANITIZERS, &["-fno-exceptions"]].concat());
}

/// Without optimization every inline function is there twice, and the linker takes the first.
#[test]
fn one_program_may_have_sources_with_and_without_exceptions() {
    let libraries = Libraries::new();
    for compiler in cpp_compilers(&[]) {
        let object = |source: &str, flags: &[&str]| -> PathBuf {
            let object = libraries.path().join(source).with_extension("o");
            run(compile(compiler, &root().join("tests/cpp").join(source))
                .args(flags)
                .args(["-Wall", "-Wextra", "-Werror", "-O0", "-c", "-o"])
                .arg(&object));
            object
        };
        let (throwing, returning) =
            (object("throwing.cpp", &[]), object("returning.cpp", &["-fno-exceptions"]));
        for objects in [[&throwing, &returning], [&returning, &throwing]] {
            let program = libraries.path().join("both");
            run(Command::new(compiler)
                .args(objects)
                .arg("-o")
                .arg(&program)
                .arg("-L")
                .arg(libraries.path())
                .args(["-lfutoin_eventstream", "-pthread"])
                .arg(format!("-Wl,-rpath,{}", libraries.path().display())));
            eprint!("{compiler}: {}", run(&mut Command::new(program)));
        }
    }
}

fn compile(compiler: &str, source: &Path) -> Command {
    let mut command = Command::new(compiler);
    command.arg("-std=c++17").arg("-I").arg(root().join("include")).arg(source);
    command
}

const HEAD: &str = "#include <futoin_eventstream.hpp>\n\
    std::string_view body(fes::Stream &stream, fes::Consumer &consumer, fes::Transaction &tx, \
    const fes::Cancel &cancel, int *pointer) {\n\
    (void)stream, (void)consumer, (void)tx, (void)cancel, (void)pointer;\n";

/// What a compiler says of a function with these statements, the first of them in line 4.
fn compiled<'a>(
    compiler: &str,
    flags: &[&str],
    statements: impl Iterator<Item = &'a str>,
) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("case.cpp");
    let lines: String = statements.map(|statement| format!("{{ {statement} }}\n")).collect();
    std::fs::write(&source, format!("{HEAD}{lines}return {{}};\n}}\n")).unwrap();
    let output = compile(compiler, &source).args(flags).arg("-fsyntax-only").output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Each pair is the same thing, wrong and right; the compiler refuses the wrong one in these `words`.
fn refuses(compiler: &str, flags: &[&str], words: &str, pairs: &[(&str, &str)]) {
    let (good, message) = compiled(compiler, flags, pairs.iter().map(|pair| pair.1));
    assert!(good, "{compiler} {flags:?}: {message}");
    let (_, message) = compiled(compiler, flags, pairs.iter().map(|pair| pair.0));
    for (line, (wrong, _)) in (4..).zip(pairs) {
        let here = format!("case.cpp:{line}:");
        let mut errors = message.lines().filter(|line| line.contains("error:"));
        let found = errors.any(|error| error.contains(&here) && error.contains(words));
        assert!(found, "{compiler} {flags:?} compiles {wrong}: {message}");
    }
}

#[test]
fn views_of_what_ends_with_the_statement_do_not_compile() {
    let pairs = [
        ("auto it = consumer.poll().json();", "auto all = consumer.poll(); auto it = all.json();"),
        (
            "auto it = consumer.poll().data_json();",
            "auto all = consumer.poll(); auto it = all.data_json();",
        ),
        (
            "auto it = consumer.poll().back().data;",
            "auto all = consumer.poll(); auto it = all.back().data;",
        ),
        (
            "fes::Event it = consumer.poll()[0];",
            "auto all = consumer.poll(); fes::Event it = all[0];",
        ),
        (
            "auto it = consumer.poll().begin();",
            "auto all = consumer.poll(); auto it = all.begin();",
        ),
        ("auto it = consumer.poll().end();", "auto all = consumer.poll(); auto it = all.end();"),
        (
            "auto it = tx.query(\"SELECT 1\").at(0, 0).text();",
            "auto rows = tx.query(\"SELECT 1\"); auto it = rows.at(0, 0).text();",
        ),
        ("auto it = fes::Value(\"x\").text();", "fes::Value value(\"x\"); auto it = value.text();"),
        (
            "auto it = stream.statement(\"A\").sql();",
            "auto all = stream.statement(\"A\"); auto it = all.sql();",
        ),
        (
            "for (auto &it : stream.subscribe(\"a\", \"B\").deliveries(cancel)) (void)it;",
            "auto all = stream.subscribe(\"a\", \"B\"); for (auto &it : all.deliveries(cancel)) (void)it;",
        ),
        (
            "auto all = stream.subscribe(\"a\", \"B\"); for (auto &it : all.deliveries(fes::Cancel())) (void)it;",
            "auto all = stream.subscribe(\"a\", \"B\"); for (auto &it : all.deliveries(cancel)) (void)it;",
        ),
        ("fes::Stream copy(stream);", "fes::Stream moved(std::move(stream));"),
    ];
    for compiler in cpp_compilers(&[]) {
        refuses(compiler, &[], "deleted", &pairs);
    }
}

#[test]
fn pointers_are_no_values() {
    let pairs = [
        ("fes::Value value(pointer);", "fes::Value value(*pointer);"),
        ("fes::Value value(static_cast<void *>(pointer));", "fes::Value value(nullptr);"),
        ("fes::Value value(L\"x\");", "fes::Value value(\"x\");"),
        ("(void)tx.query(\"SELECT ?\", {pointer});", "(void)tx.query(\"SELECT ?\", {*pointer});"),
    ];
    for compiler in cpp_compilers(&[]) {
        refuses(compiler, &[], "", &pairs);
    }
}

#[test]
fn failures_and_handles_are_not_ignored() {
    let handles = [
        ("consumer.poll();", "(void)consumer.poll();"),
        ("stream.begin();", "auto own = stream.begin();"),
        ("stream.consumer(\"a\", \"B\");", "auto own = stream.consumer(\"a\", \"B\");"),
        ("tx.query(\"SELECT 1\");", "auto rows = tx.query(\"SELECT 1\");"),
        ("fes::Stream::from_env();", "auto own = fes::Stream::from_env();"),
    ];
    let failures = [
        ("tx.commit();", "if (!tx.commit()) return \"failed\";"),
        ("tx.execute(\"x\");", "(void)tx.execute(\"x\");"),
        ("stream.migrate();", "(void)stream.migrate();"),
        ("stream.add_event(\"A\");", "if (stream.add_event(\"A\") == 0) return \"failed\";"),
        ("consumer.acknowledge(1);", "(void)consumer.acknowledge(1);"),
        ("fes::set_log({});", "(void)fes::set_log({});"),
    ];
    for compiler in cpp_compilers(&[]) {
        let without = ["-Werror", "-fno-exceptions"];
        refuses(compiler, &["-Werror"], "nodiscard", &handles);
        refuses(compiler, &without, "nodiscard", &handles);
        refuses(compiler, &without, "nodiscard", &failures);
        let (good, message) = compiled(compiler, &["-Werror"], failures.iter().map(|pair| pair.0));
        assert!(good, "{message}");
    }
}

#[test]
fn clang_tells_of_views_that_outlive_their_function() {
    let pairs = [
        ("fes::Events events = consumer.poll(); return events.json();", "(void)consumer.poll();"),
        ("fes::Value value(\"x\"); return value.text();", "fes::Value value(\"x\");"),
    ];
    for compiler in cpp_compilers(&[]).into_iter().filter(|compiler| compiler.contains("clang")) {
        refuses(compiler, &["-Werror"], "address of stack memory", &pairs);
    }
}

#[test]
fn an_older_cpp_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("old.cpp");
    std::fs::write(&source, "#include <futoin_eventstream.hpp>\nint main() {}\n").unwrap();
    for compiler in cpp_compilers(&[]) {
        for standard in ["-std=c++11", "-std=c++14"] {
            let output =
                compile(compiler, &source).args([standard, "-fsyntax-only"]).output().unwrap();
            let message = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success());
            assert_eq!(message.matches("error:").count(), 1, "{message}");
            assert!(message.contains("needs C++17"), "{message}");
        }
    }
}
