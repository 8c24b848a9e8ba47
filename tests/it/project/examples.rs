//! The examples in Rust tell the same stories as those in the other languages, and print the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The names, without their endings, of the files in `folder` that end so.
fn names(folder: &Path, ending: &str) -> BTreeSet<String> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|end| end == ending));
    paths.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

fn stories() -> BTreeSet<String> {
    names(&examples().join("expected"), "txt")
}

#[test]
fn every_language_tells_the_same_stories() {
    let stories = stories();
    assert_eq!(stories.len(), 7);
    let languages = [("c", "c"), ("cpp", "cpp"), ("python", "py"), ("node", "mjs")];
    for (folder, ending) in languages {
        let mut told = names(&examples().join(folder), ending);
        told.remove("example"); // what the stories share
        assert_eq!(told, stories, "{folder}");
    }
    let mut told = names(&examples(), "rs");
    assert!(told.remove("quickstart"));
    assert_eq!(told, stories);
}

/// Cargo builds the examples for `cargo test`, but not for `cargo test --test it`.
#[test]
fn the_examples_print_what_they_should() {
    let program = std::env::current_exe().unwrap();
    let folder = program.ancestors().nth(2).unwrap().join("examples");
    for story in stories() {
        let program = folder.join(&story);
        if !program.exists() && std::env::var("FES_TEST_REQUIRED").is_err() {
            eprintln!("left out, as it is not built: {story}");
            continue;
        }
        assert!(program.exists(), "{story} is not built: cargo build --all-features --examples");
        let output = Command::new(&program).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{story}: {errors}");
        let expected =
            fs::read_to_string(examples().join("expected").join(&story).with_extension("txt"));
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected.unwrap(), "{story}");
    }
}
