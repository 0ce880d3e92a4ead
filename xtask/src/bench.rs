//! `cargo xtask bench`: the figures we promise, measured on this machine and printed as a table of ratios.

use anyhow::bail;

/// Measure, and print a table.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> anyhow::Result<()> {
    bail!("there is nothing to measure yet")
}
