//! `fes completions` and `fes man`, made from the arguments.

use crate::args::Cli;
use crate::failure::{Failure, Result};
use crate::output::Out;
use clap::CommandFactory;
use clap_complete::Shell;
use std::path::Path;

pub fn completions(shell: Shell, out: &mut Out) -> Result {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "fes", &mut text);
    out.bytes(&text)
}

pub fn man(dir: Option<&Path>, out: &mut Out) -> Result {
    let Some(dir) = dir else {
        let mut text = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut text)?;
        return out.bytes(&text);
    };
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
        .map_err(|why| Failure::Other(format!("cannot write into {}: {why}", dir.display())))
}
