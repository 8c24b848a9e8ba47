//! The picture and the tables of the benchmarks are those of the results in benches/results.

use std::path::Path;
use std::process::Command;

#[test]
fn the_picture_and_the_tables_are_those_of_the_results() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/picture");
    match Command::new("python3").arg(script).arg("--check").output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout))
        }
        Err(error) if std::env::var("FES_TEST_REQUIRED").is_err() => eprintln!("left out: {error}"),
        Err(error) => panic!("python3: {error}"),
    }
}
