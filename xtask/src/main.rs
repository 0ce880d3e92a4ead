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
    let done = match Cli::parse().task {
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
