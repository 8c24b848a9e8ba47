//! `make install`, and the examples in C and C++ built with what it installs, run, and compared with
//! `examples/expected`.

use crate::c::support::{library, root, run};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

const STORIES: &[&str] =
    &["standalone", "transaction", "polling", "push", "history", "discarding", "complete"];

/// The compilers of C and C++.
fn compilers() -> impl Iterator<Item = (&'static str, &'static str)> {
    let all = [("gcc", "g++"), ("clang", "clang++")];
    all.into_iter().filter(|(c, _)| has(&format!("{c} --version"), true))
}

fn make(target: &str, variables: &[(&str, &Path)]) {
    let built = library();
    let mut command = Command::new("make");
    command.current_dir(root()).arg(target);
    for (name, value) in [("BUILT", built.parent().unwrap())].iter().chain(variables) {
        command.arg(format!("{name}={}", value.display()));
    }
    run(&mut command);
}

/// An installation that all tests of a run share, and none changes. It was moved to where it is.
fn installed() -> &'static Path {
    static PREFIX: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (first, then) = (folder.join("before/fes"), folder.join("fes"));
        for path in [&first, &then] {
            _ = std::fs::remove_dir_all(path);
        }
        make("install", &[("PREFIX", &first)]);
        std::fs::rename(&first, &then).unwrap();
        then
    });
    &PREFIX
}

/// What `pkg-config` says of the installation whose libraries are in this folder.
fn pkg_config(libraries: &Path, arguments: &[&str]) -> Vec<String> {
    let output = run(Command::new("pkg-config")
        .env("PKG_CONFIG_PATH", libraries.join("pkgconfig"))
        .args(arguments)
        .arg("futoin_eventstream"));
    output.split_whitespace().map(str::to_owned).collect()
}

/// Runs an example with the installed library, and compares what it prints.
fn compare(program: &Path, story: &str) {
    let output = run(Command::new(program).env("LD_LIBRARY_PATH", installed().join("lib")));
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

/// Whether the program needs the shared library.
fn is_shared(program: &Path) -> bool {
    let needed = run(Command::new("readelf").arg("-d").arg(program));
    needed.contains("NEEDED") && needed.contains("[libfutoin_eventstream.so.0]")
}

/// Compiles an example, strictly.
fn compile(compiler: &str, source: &str, flags: &[String], program: &Path) {
    let standard = if source.ends_with(".c") { "-std=c11" } else { "-std=c++17" };
    run(Command::new(compiler)
        .args([standard, "-Wall", "-Wextra", "-Werror", "-pthread", "-o"])
        .arg(program)
        .arg(root().join("examples").join(source))
        .args(flags));
}

#[test]
fn the_examples_build_by_pkg_config_and_print_what_they_should() {
    let (libraries, folder) = (installed().join("lib"), tempfile::tempdir().unwrap());
    assert_eq!(pkg_config(&libraries, &["--modversion"]), [env!("CARGO_PKG_VERSION")]);
    let flags = pkg_config(&libraries, &["--cflags", "--libs"]);
    for (language, compiler) in [("c", "gcc"), ("cpp", "g++")] {
        for story in STORIES {
            let program = folder.path().join(format!("{story}_{language}"));
            compile(compiler, &format!("{language}/{story}.{language}"), &flags, &program);
            compare(&program, story);
        }
    }
    eprintln!("{} examples", 2 * STORIES.len());
}

#[test]
fn pkg_config_gives_the_shared_library_and_with_static_the_other_one() {
    let (libraries, folder) = (installed().join("lib"), tempfile::tempdir().unwrap());
    let program = folder.path().join("program");
    for (c, cpp) in compilers() {
        for mode in [None, Some("--static")] {
            let arguments: Vec<&str> = mode.into_iter().chain(["--cflags", "--libs"]).collect();
            let flags = pkg_config(&libraries, &arguments);
            for (compiler, source) in [(c, "c/standalone.c"), (cpp, "cpp/standalone.cpp")] {
                compile(compiler, source, &flags, &program);
                assert_eq!(is_shared(&program), mode.is_none(), "{compiler} {mode:?}");
                compare(&program, "standalone");
            }
        }
    }
}

/// The program's own SQLite stays the program's, and ours stays ours, whichever the linker meets first.
#[test]
fn a_program_that_holds_the_library_keeps_its_own_sqlite() {
    let (prefix, folder) = (installed(), tempfile::tempdir().unwrap());
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
        let program = folder.path().join(format!("two{index}"));
        run(Command::new("gcc")
            .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&program)
            .arg("-I")
            .arg(prefix.join("include"))
            .arg(root().join("tests/c/two_sqlites.c"))
            .args([first, second, "-lpthread", "-lm", "-ldl"]));
        let output = run(Command::new(&program).arg(folder.path().join("two.db")));
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

/// Programs of a build by CMake or Meson; the last one has the library in itself.
const PROGRAMS: [&str; 3] = ["push_c", "complete_cpp", "standalone_static"];

fn compare_built(build: &Path) {
    for program in PROGRAMS {
        let (story, kind) = program.split_once('_').unwrap();
        assert_eq!(is_shared(&build.join(program)), kind != "static", "{program}");
        compare(&build.join(program), story);
    }
}

/// Configures a project by CMake, and gives what that prints.
fn cmake(project: &Path, build: &Path, compilers: (&str, &str)) -> String {
    run(Command::new("cmake")
        .arg("-S")
        .arg(project)
        .arg("-B")
        .arg(build)
        .arg(format!("-DCMAKE_PREFIX_PATH={}", installed().display()))
        .envs([("CC", compilers.0), ("CXX", compilers.1)]))
}

#[test]
fn the_examples_build_by_cmake() {
    for compilers in compilers().filter(|_| has("cmake --version", true)) {
        let folder = tempfile::tempdir().unwrap();
        cmake(&root().join("examples"), folder.path(), compilers);
        run(Command::new("cmake").arg("--build").arg(folder.path()).arg("--target").args(PROGRAMS));
        compare_built(folder.path());
    }
}

#[test]
fn the_examples_build_by_meson() {
    for (c, cpp) in compilers().filter(|_| has("meson --version", true)) {
        let folder = tempfile::tempdir().unwrap();
        run(Command::new("meson")
            .arg("setup")
            .arg(folder.path())
            .arg(root().join("examples"))
            .envs([("CC", c), ("CXX", cpp)])
            .env("PKG_CONFIG_PATH", installed().join("lib/pkgconfig")));
        run(Command::new("meson").args(["compile", "-C"]).arg(folder.path()).args(PROGRAMS));
        compare_built(folder.path());
    }
}

#[test]
fn cmake_takes_this_minor_version_or_the_range_that_it_is_asked_for() {
    if !has("cmake --version", true) {
        return;
    }
    let numbers: Vec<u32> =
        env!("CARGO_PKG_VERSION").split('.').map(|number| number.parse().unwrap()).collect();
    let [major, minor, patch] = numbers[..] else { panic!("{numbers:?}") };
    let (this, older) = (format!("{major}.{minor}"), format!("{major}.{}", minor - 1));
    let newer = format!("{major}.{}", minor + 1);
    let good = [this.clone(), format!("{this}.{patch}"), format!("{older}...{newer}")];
    let bad = [
        older.clone(),
        newer.clone(),
        format!("{this}.{}", patch + 1),
        format!("{}", major + 1),
        format!("{older}...<{this}.{patch}"),
        format!("{newer}...{}", major + 1),
    ];
    let folder = tempfile::tempdir().unwrap();
    let project = format!(
        "cmake_minimum_required(VERSION 3.19)
        project(versions C)
        foreach(wanted {} {})
            unset(futoin_eventstream_DIR CACHE)
            find_package(futoin_eventstream ${{wanted}} QUIET)
            message(STATUS \"wanted ${{wanted}}: ${{futoin_eventstream_FOUND}}\")
        endforeach()",
        good.join(" "),
        bad.join(" ")
    );
    std::fs::write(folder.path().join("CMakeLists.txt"), project).unwrap();
    let output = cmake(folder.path(), &folder.path().join("build"), ("gcc", "g++"));
    for (versions, found) in [(&good[..], "1"), (&bad[..], "0")] {
        for wanted in versions {
            assert!(output.contains(&format!("wanted {wanted}: {found}\n")), "{wanted}: {output}");
        }
    }
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
    ("mcs --version && mono --version", false, "mcs -out:$TO/e.exe Events.cs && mono $TO/e.exe"),
];

#[test]
fn programs_in_other_languages_add_poll_and_receive() {
    let (prefix, folder) = (installed(), tempfile::tempdir().unwrap());
    let programs = root().join("examples/ffi");
    let expected = std::fs::read_to_string(programs.join("expected.txt")).unwrap();
    for (needs, installed, command) in LANGUAGES {
        if has(needs, installed) {
            let output = run(Command::new("sh")
                .args(["-ec", command])
                .current_dir(&programs)
                .env("TO", folder.path())
                .env("LD_LIBRARY_PATH", prefix.join("lib"))
                .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"))
                .env("FES_HEADER", prefix.join("include/futoin_eventstream_ffi.h")));
            assert_eq!(output, expected, "{command}");
        }
    }
}

#[test]
fn a_package_of_a_distribution_goes_to_its_place_and_can_be_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let there = [
        ("PREFIX", Path::new("/usr")),
        ("LIBDIR", Path::new("/usr/lib/x86_64-linux-gnu")),
        ("DESTDIR", folder.path()),
    ];
    make("install", &there);
    let found = files(folder.path());
    let usr = folder.path().join("usr");
    assert!(found.len() >= 28 && found.iter().all(|file| file.starts_with(&usr)), "{found:?}");
    for name in ["LICENSE", "README.md", "docs/options.md"] {
        assert!(found.contains(&usr.join("share/doc/futoin_eventstream").join(name)), "{name}");
    }
    let libraries = usr.join("lib/x86_64-linux-gnu");
    // The compiler looks there by itself, and in the right order only if it is not told to.
    assert_eq!(pkg_config(&libraries, &["--cflags", "--libs"]), ["-lfutoin_eventstream"]);
    let config = libraries.join("cmake/futoin_eventstream/futoin_eventstream-config.cmake");
    let config = std::fs::read_to_string(config).unwrap();
    assert!(
        config.contains("{_fes_here}/../../../../include\"") && !config.contains('@'),
        "{config}"
    );
    make("uninstall", &there);
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}
