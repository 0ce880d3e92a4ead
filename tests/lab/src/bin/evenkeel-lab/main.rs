//! The lab as a program: what the task runner asks of it.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for terminals")]

mod bench;

use std::process::{ExitCode, ExitStatus};

use clap::{Parser, Subcommand};
use evenkeel_lab::sandbox::{self, Entry};

/// Networks of namespaces with NAT and real gateways.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Say whether this machine can run the lab
    Check,
    /// Measure throughput and cost beside others
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Check => Entry::detect().map(|_entry| ExitStatus::default()),
        Task::Bench(args) => sandbox::run_program(|| bench::run(&args)),
    };
    match done {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_said_by_itself) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
