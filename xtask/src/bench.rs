//! `cargo xtask bench`: the figures we promise, measured on this machine and printed as a table of ratios.

use crate::{packages, process::Step, tools, workspace};

/// Measure, and print a table.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Seconds of each TCP stream
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How often each stream is measured
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    for needs in [packages::BUILD, packages::NETWORK, packages::PEERS] {
        packages::ensure(needs)?;
    }
    let gotatun = tools::GOTATUN.ensure()?;
    Step::cargo()
        .args(["build", "--locked", "--release", "--bins", "--workspace", "--exclude", "xtask"])
        .run()?;
    Step::new(workspace::target_dir().join("release/evenkeel-lab"))
        .args(["bench", "--seconds", &args.seconds.to_string()])
        .args(["--rounds", &args.rounds.to_string(), "--gotatun"])
        .args([gotatun])
        .interactive()
        .replace_us()
}
