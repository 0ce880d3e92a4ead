//! What the tunnel carries and costs, beside others on the same machine in the same minutes.

mod table;
mod throughput;

use std::path::PathBuf;

/// What to measure, and with what.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The program of gotatun-cli; left out of the comparison without it
    #[arg(long)]
    gotatun: Option<PathBuf>,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// Runs inside a sandbox.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    throughput::run(args)
}
