//! ARCHITECTURE.md tells of every module and every thread that there is, and of no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The words in backquotes that stand in the first column of the table with this title.
fn first_column(title: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let table = text.lines().skip_while(|line| !line.starts_with(&format!("| {title} |")));
    let rows = table.skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1).map(str::to_owned));
    let words = |cell: String| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    cells.flat_map(words).collect()
}

fn files(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn the_list_of_modules_is_that_of_the_code() {
    let entries = fs::read_dir(root().join("src")).unwrap();
    let modules = entries.map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() { format!("{name}/") } else { name }
    });
    assert_eq!(first_column("module"), modules.collect());
}

#[test]
fn the_list_of_threads_is_that_of_the_code() {
    let mut texts = Vec::new();
    files(&root().join("src"), &mut texts);
    let names = texts.iter().flat_map(|text| text.split("\"fes-").skip(1));
    let names = names.filter_map(|rest| rest.split_once('"').map(|(name, _)| name));
    let is_name =
        |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    let names = names.filter(is_name).map(|name| format!("fes-{name}"));
    assert_eq!(first_column("thread"), names.collect());
}

#[test]
fn every_test_that_the_documents_name_is_there() {
    let mut documents = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    documents.extend(fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    let texts = documents.iter().filter(|path| path.extension().is_some_and(|end| end == "md"));
    let mut named = 0;
    for path in texts {
        let text = fs::read_to_string(path).unwrap();
        for file in text.split('`').filter(|word| word.starts_with("tests/") && !word.contains(' '))
        {
            named += 1;
            let is_placeholder = file.contains("VERSION");
            assert!(is_placeholder || root().join(file).exists(), "{}: {file}", path.display());
        }
    }
    assert!(named > 20, "{named}");
}
