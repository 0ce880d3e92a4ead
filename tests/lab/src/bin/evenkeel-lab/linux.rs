//! What the task runner asks of the lab.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for terminals")]

mod bench;
mod demo;
mod interrupt;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use evenkeel_lab::sandbox::{self, Entry};
use evenkeel_platform::allocations::CountingAllocator;

/// For the benchmark, which counts what the ESP stage allocates.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

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
    /// Connect to the practice gateway through a NAT and show live status
    Demo(demo::Args),
    /// Connect this machine with a profile of one's own and show live status; takes root
    Own(demo::OwnArgs),
    /// Measure throughput and cost beside others
    Bench(bench::Args),
    /// Measure how long networks that are in the way hold a connection up
    BenchNetwork(bench::network::Args),
}

pub(crate) fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Check => Entry::detect().map(drop),
        Task::Demo(args) => sandbox::run_program(&Entry::ALL, || demo::run(&args)),
        Task::Own(args) => demo::run_own(&args),
        Task::Bench(args) => sandbox::run_program(&Entry::PRIVILEGED_FIRST, || bench::run(&args)),
        Task::BenchNetwork(args) => {
            sandbox::run_program(&Entry::PRIVILEGED_FIRST, || bench::network::run(&args))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
