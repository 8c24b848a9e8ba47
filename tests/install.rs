//! `make install`, and the examples in C and C++ built with what it installs, run, and compared with
//! `examples/expected`.

mod c_support;

use c_support::{library, root, run};
use std::path::{Path, PathBuf};
use std::process::Command;

const STORIES: &[&str] =
    &["standalone", "transaction", "polling", "push", "history", "discarding", "complete"];

fn make(target: &str, prefix: &Path, destination: &Path) {
    run(Command::new("make")
        .current_dir(root())
        .arg(target)
        .arg(format!("BUILT={}", library().parent().unwrap().display()))
        .arg(format!("PREFIX={}", prefix.display()))
        .arg(format!("DESTDIR={}", destination.display())));
}

/// What `pkg-config` says of the installation in `prefix`.
fn pkg_config(prefix: &Path, arguments: &[&str]) -> Vec<String> {
    let output = run(Command::new("pkg-config")
        .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"))
        .args(arguments)
        .arg("futoin_eventstream"));
    output.split_whitespace().map(str::to_owned).collect()
}

/// Runs an example with the installed library, and compares what it prints.
fn compare(program: &Path, prefix: &Path, story: &str) {
    let output = run(Command::new(program).env("LD_LIBRARY_PATH", prefix.join("lib")));
    let expected = root().join(format!("examples/expected/{story}.txt"));
    assert_eq!(output, std::fs::read_to_string(expected).unwrap(), "{}", program.display());
}

/// Whether this shell command succeeds; it has to where tests/run installs what it asks for.
fn has(command: &str, installed: bool) -> bool {
    let there = Command::new("sh").args(["-c", command]).output().unwrap().status.success();
    assert!(there || !installed || std::env::var("FES_TEST_REQUIRED").is_err(), "{command} fails");
    if !there {
        eprintln!("left out, as this fails: {command}");
    }
    there
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

#[test]
fn the_examples_build_by_pkg_config_and_print_what_they_should() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path();
    make("install", prefix, Path::new(""));
    let version = pkg_config(prefix, &["--modversion"]);
    assert_eq!(version, [env!("CARGO_PKG_VERSION")]);
    let flags = pkg_config(prefix, &["--cflags", "--libs"]);
    for (language, compiler, standard) in [("c", "gcc", "-std=c11"), ("cpp", "g++", "-std=c++17")] {
        for story in STORIES {
            let program = prefix.join(format!("{story}_{language}"));
            run(Command::new(compiler)
                .args([standard, "-Wall", "-Wextra", "-Werror", "-pthread", "-o"])
                .arg(&program)
                .arg(root().join(format!("examples/{language}/{story}.{language}")))
                .args(&flags));
            compare(&program, prefix, story);
        }
    }
    eprintln!("{} examples", 2 * STORIES.len());
}

#[test]
fn a_program_can_hold_the_library_in_itself() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path();
    make("install", prefix, Path::new(""));
    std::fs::remove_file(prefix.join("lib/libfutoin_eventstream.so")).unwrap();
    let program = prefix.join("standalone");
    run(Command::new("gcc")
        .arg("-o")
        .arg(&program)
        .arg(root().join("examples/c/standalone.c"))
        .args(pkg_config(prefix, &["--static", "--cflags", "--libs"])));
    compare(&program, Path::new("/nowhere"), "standalone");
}

/// The program's own SQLite stays the program's, and ours stays ours, whichever the linker meets first.
#[test]
fn a_program_that_holds_the_library_keeps_its_own_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path();
    make("install", prefix, Path::new(""));
    let library = prefix.join("lib/libfutoin_eventstream.a");
    let defined = run(Command::new("nm").args(["-g", "--defined-only"]).arg(&library));
    let names: Vec<&str> = defined.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    let golden = std::fs::read_to_string(root().join("include/symbols.txt")).unwrap();
    assert_eq!(names.len(), golden.lines().count(), "{names:?}");
    assert!(names.iter().all(|name| name.starts_with("fes_")), "{names:?}");
    let ours = library.display().to_string();
    let theirs = ["-lsqlite3", "-l:libsqlite3.a"];
    for (index, [first, second]) in
        theirs.iter().flat_map(|own| [[ours.as_str(), own], [own, ours.as_str()]]).enumerate()
    {
        let program = prefix.join(format!("two{index}"));
        run(Command::new("gcc")
            .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&program)
            .arg("-I")
            .arg(prefix.join("include"))
            .arg(root().join("tests/c/two_sqlites.c"))
            .args([first, second, "-lpthread", "-lm", "-ldl"]));
        let output = run(Command::new(&program).arg(prefix.join("two.db")));
        let [inside, own] = output.lines().collect::<Vec<_>>()[..] else { panic!("{output}") };
        assert_eq!(inside, rusqlite_source(), "{first} {second}");
        assert_ne!(own, inside, "the program got the library's SQLite: {first} {second}");
    }
}

/// What the SQLite that is compiled in says of itself.
fn rusqlite_source() -> String {
    let connection = futoin_eventstream::rusqlite::Connection::open_in_memory().unwrap();
    connection.query_row("SELECT sqlite_source_id()", [], |row| row.get(0)).unwrap()
}

#[test]
fn the_examples_build_by_cmake() {
    if !has("cmake --version", true) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (prefix, build) = (folder.path().join("to"), folder.path().join("build"));
    make("install", &prefix, Path::new(""));
    run(Command::new("cmake")
        .arg("-S")
        .arg(root().join("examples"))
        .arg("-B")
        .arg(&build)
        .arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display())));
    run(Command::new("cmake").arg("--build").arg(&build).args([
        "--target",
        "push_c",
        "complete_cpp",
        "standalone_static",
    ]));
    compare(&build.join("push_c"), &prefix, "push");
    compare(&build.join("complete_cpp"), &prefix, "complete");
    compare(&build.join("standalone_static"), &prefix, "standalone");
}

/// What each language of examples/ffi needs, whether tests/run installs it, and how its program is run.
const LANGUAGES: [(&str, bool, &str); 5] = [
    ("php --version", true, "php events.php"),
    ("ruby -e 'require \"ffi\"'", false, "ruby events.rb"),
    ("go version", false, "go run events.go"),
    (
        "javac --version && test -e /usr/share/java/jna.jar",
        false,
        "java -cp /usr/share/java/jna.jar Events.java",
    ),
    (
        "mcs --version && mono --version",
        false,
        "mcs -out:$PREFIX/e.exe Events.cs && mono $PREFIX/e.exe",
    ),
];

#[test]
fn programs_in_other_languages_add_poll_and_receive() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path();
    make("install", prefix, Path::new(""));
    let programs = root().join("examples/ffi");
    let expected = std::fs::read_to_string(programs.join("expected.txt")).unwrap();
    for (needs, installed, command) in LANGUAGES {
        if has(needs, installed) {
            let output = run(Command::new("sh")
                .args(["-ec", command])
                .current_dir(&programs)
                .env("PREFIX", prefix)
                .env("LD_LIBRARY_PATH", prefix.join("lib"))
                .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"))
                .env("FES_HEADER", prefix.join("include/futoin_eventstream_ffi.h")));
            assert_eq!(output, expected, "{command}");
        }
    }
}

#[test]
fn an_installation_goes_to_its_place_and_can_be_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    make("install", Path::new("/opt/fes"), folder.path());
    let found = files(folder.path());
    assert!(found.len() >= 18, "{found:?}");
    for file in &found {
        assert!(file.starts_with(folder.path().join("opt/fes")), "{}", file.display());
    }
    let pc = folder.path().join("opt/fes/lib/pkgconfig/futoin_eventstream.pc");
    let text = std::fs::read_to_string(pc).unwrap();
    assert!(text.contains("libdir=/opt/fes/lib\n") && !text.contains('@'), "{text}");
    make("uninstall", Path::new("/opt/fes"), folder.path());
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}
