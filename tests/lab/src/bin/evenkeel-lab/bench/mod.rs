//! What the tunnel carries and costs, beside others on the same machine in the same minutes.

mod esp;
mod handshake;
mod idle;
pub(crate) mod network;
mod process;
mod table;
mod throughput;

use std::{fs, path::PathBuf};

use anyhow::Context;

/// What to measure, and with what.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The program of gotatun-cli; left out of the comparison without it
    #[arg(long)]
    gotatun: Option<PathBuf>,
    /// Seconds of each stream
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How often each stream is measured, all of them in turn; medians count
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// Runs inside a sandbox.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    warn_if_unoptimised();
    let before = load()?;
    let mut rows = handshake::run()?;
    rows.extend(esp::run()?);
    rows.extend(idle::run()?);
    rows.extend(throughput::run(args)?);
    table::print(&rows);
    println!("\nload average: {before} before, {} after; only the ratios compare between machines", load()?);
    Ok(())
}

/// Figures of a debug build are for trying out the benchmark itself.
fn warn_if_unoptimised() {
    if cfg!(debug_assertions) {
        println!("built without optimisation: the figures mean nothing; use `cargo xtask bench`");
    }
}

/// The machine's load over 1, 5 and 15 minutes.
fn load() -> anyhow::Result<String> {
    let line = fs::read_to_string("/proc/loadavg").context("the load average")?;
    Ok(line.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}
