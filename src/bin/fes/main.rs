//! The command `fes`: events of a database for people, scripts and service managers.

mod add;
mod args;
mod connect;
mod consumers;
mod doctor;
mod failure;
#[cfg(unix)]
mod manager;
mod metrics;
mod output;
mod printable;
mod progress;
mod read;
mod report;
mod run;
mod service;
mod shell;
mod signals;
mod tail;
mod verify;

use args::{Cli, Command};
use clap::Parser;
use failure::{Failure, Result, redact};
use output::{Out, say};
use printable::printable;
use std::io::{IsTerminal, stderr};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_parsed(error),
    };
    cli.global.create = match &cli.command {
        Command::Migrate => true,
        Command::Run(args) => args.migrate,
        _ => false,
    };
    let mut out = Out::new(cli.global.json);
    match dispatch(&cli, &mut out).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Write the events that were read before the failure.
            let _ = out.flush();
            if let Some(text) = failure.text() {
                say(&text);
            }
            failure.code()
        }
    }
}

fn dispatch(cli: &Cli, out: &mut Out) -> Result {
    let global = &cli.global;
    match &cli.command {
        Command::Migrate => service::migrate(global, out),
        Command::Add(args) => add::add(global, args, out),
        Command::Poll(args) => read::poll(global, args, out),
        Command::Tail(args) => tail::tail(global, args, out),
        Command::Register(args) => consumers::register(global, args, out),
        Command::Unregister(args) => consumers::unregister(global, args, out),
        Command::Skip(args) => consumers::skip(global, args, out),
        Command::Consumers => consumers::consumers(global, out),
        Command::Lag(args) => consumers::lag(global, args, out),
        Command::Metrics => metrics::metrics(global, out),
        Command::Archive(args) => service::archive(global, args, out),
        Command::Discard(args) => service::discard(global, args, out),
        Command::History(args) => read::history(global, args, out),
        Command::Export(args) => read::export(global, args, out),
        Command::Verify(args) => verify::verify(global, args, out),
        Command::Doctor(args) => doctor::doctor(global, args, out),
        Command::Run(args) => run::run(global, args, out),
        Command::Completions { shell } => shell::completions(*shell, out),
        Command::Man { dir } => shell::man(dir.as_deref(), out),
    }
}

/// Help, the version, or what is wrong with the arguments, which may hold a password.
fn not_parsed(error: clap::Error) -> ExitCode {
    // The same with arguments in which a terminal finds nothing to act on.
    let shown = std::env::args_os().map(|argument| printable(&argument.to_string_lossy()));
    let text = Cli::try_parse_from(shown).err().unwrap_or(error);
    let (error, text) = (&text, text.render());
    if !error.use_stderr() {
        let mut out = Out::new(false);
        let written = out.bytes(text.to_string().as_bytes()).and_then(|()| out.flush());
        return written.err().map_or(ExitCode::SUCCESS, |failure| failure.code());
    }
    let colors = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let text = if colors { text.ansi().to_string() } else { text.to_string() };
    say(redact(&text).trim_end());
    Failure::Usage(String::new()).code()
}
