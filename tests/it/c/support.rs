//! What the tests of the C interface share: compilers, and the library that cargo built for them.
#![allow(dead_code)] // each test program uses a part of it

use std::path::{Path, PathBuf};
use std::process::Command;

/// The top of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The shared library, beside this test program.
pub fn library() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let library = program.parent().unwrap().join("libfutoin_eventstream.so");
    assert!(library.exists(), "{} is not there", library.display());
    library
}

/// A folder with the library under the name that programs ask for.
pub struct Libraries(tempfile::TempDir);

impl Libraries {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["libfutoin_eventstream.so", "libfutoin_eventstream.so.0"] {
            std::os::unix::fs::symlink(library(), folder.path().join(name)).unwrap();
        }
        Libraries(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Compiles a program of `sources`, strictly, and gives its path.
    pub fn compile(&self, name: &str, sources: &[&str], flags: &[&str]) -> PathBuf {
        let compiler = if sources[0].ends_with(".cpp") { "g++" } else { "gcc" };
        self.compile_by(compiler, name, sources, flags)
    }

    /// The same by another compiler.
    pub fn compile_by(
        &self,
        compiler: &str,
        name: &str,
        sources: &[&str],
        flags: &[&str],
    ) -> PathBuf {
        let program = self.path().join(name);
        let standard = if sources[0].ends_with(".cpp") { "-std=c++17" } else { "-std=c11" };
        run(Command::new(compiler)
            .args([standard, "-g", "-Wall", "-Wextra", "-Werror", "-pedantic", "-pthread"])
            .args(flags)
            .arg("-I")
            .arg(root().join("include"))
            .args(sources.iter().map(|source| root().join(source)))
            .arg("-o")
            .arg(&program)
            .arg("-L")
            .arg(self.path())
            .args(["-lfutoin_eventstream"])
            .arg(format!("-Wl,-rpath,{}", self.path().display())));
        program
    }
}

/// The C++ compilers: gcc's, and clang's where it is there and can build programs with these flags (its
/// sanitizers are a package of their own).
pub fn cpp_compilers(flags: &[&str]) -> Vec<&'static str> {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("empty.cpp");
    std::fs::write(&source, "int main() {}\n").unwrap();
    let mut clang = Command::new("clang++");
    clang.args(flags).arg(source).arg("-o").arg(folder.path().join("empty"));
    match clang.output().is_ok_and(|output| output.status.success()) {
        true => vec!["g++", "clang++"],
        false => vec!["g++"],
    }
}

/// Runs a command, which must succeed, and gives what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let (out, err) = (lossy(&output.stdout), lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
