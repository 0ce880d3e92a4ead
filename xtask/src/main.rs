//! The task runner: everything that people and CI do with this repository, as `cargo xtask TASK`.
//!
//! Each task is a module; [`process`] runs commands, [`packages`] and [`tools`] bring what a fresh machine lacks.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a task runner talks to a terminal")]

mod bench;
mod cross;
mod fuzz;
mod lint;
mod packages;
mod process;
mod run;
mod test;
mod tools;
mod workspace;

use std::{
    ffi::OsString,
    io,
    process::{Command, ExitCode},
};

use clap::{Parser, Subcommand};

/// Build, check and try out Evenkeel.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing, then run every layer of tests
    Test(test::Args),
    /// Connect to the practice gateway through a NAT, in a private network, and show live status
    Run(run::Args),
    /// Formatting, clippy, documentation, architecture, licences, unused dependencies, spelling
    Lint(lint::Args),
    /// Measure, and print a table
    Bench(bench::Args),
    /// Run a fuzz target for a while
    Fuzz(fuzz::Args),
    /// Check the code for Windows and macOS
    Cross(cross::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse_from(words(std::env::args_os())).task {
        Task::Test(args) => test::run(&args),
        Task::Run(args) => run::run(&args),
        Task::Lint(args) => lint::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Cross(args) => cross::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The command line without a `--` right after the task's name: `cargo xtask run -- --profile FILE` is what `cargo run`
/// teaches, and here it ends no options.
fn words(line: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    line.enumerate().filter(|(at, word)| *at != 2 || word != "--").map(|(_, word)| word)
}

/// Becomes `command`. Returns only if it can't be started.
#[cfg(unix)]
fn replace_us_by(command: &mut Command) -> io::Error {
    std::os::unix::process::CommandExt::exec(command)
}

/// Runs `command` and ends as it does, which is the nearest to becoming it. Returns only if it can't be started.
#[cfg(not(unix))]
fn replace_us_by(command: &mut Command) -> io::Error {
    match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task, clap::Error> {
        let line = ["xtask"].into_iter().chain(line.split(' ')).map(OsString::from);
        Cli::try_parse_from(words(line)).map(|cli| cli.task)
    }

    #[test]
    fn options_may_stand_behind_two_dashes_as_with_cargo_run() {
        for line in ["run --profile a.toml --seconds 9", "run -- --profile a.toml --seconds 9"] {
            let Ok(Task::Run(args)) = parsed(line) else { panic!("{line}") };
            assert_eq!((args.profile.as_deref(), args.seconds), (Some("a.toml".as_ref()), Some(9)), "{line}");
        }
        assert!(parsed("run --seconds 9 -- --profile a.toml").is_err(), "elsewhere they end the options");
    }
}
