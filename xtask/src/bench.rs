//! `cargo xtask bench`: the figures we promise, measured on this machine and printed as a table of ratios.

use crate::{packages, process::Step, tools, workspace};

/// The case of `network` that takes no network: virtual time.
const IDLE: &str = "idle";

/// Measure, and print a table.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Seconds of each TCP stream
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How often each stream is measured
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

#[derive(clap::Subcommand)]
enum What {
    /// Networks that are in the way, or change: how long they hold a connection up, and what an idle one costs
    Network(Network),
}

#[derive(clap::Args)]
struct Network {
    /// How often each figure is measured; medians count
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only this case; may be given several times: idle, and what `evenkeel-lab bench-network --help` lists
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    for needs in [packages::BUILD, packages::NETWORK, packages::PEERS] {
        packages::ensure(needs)?;
    }
    if let Some(What::Network(network)) = &args.what {
        return run_network(network);
    }
    let gotatun = tools::GOTATUN.ensure()?;
    build()?;
    lab("bench")
        .args(["--seconds", &args.seconds.to_string()])
        .args(["--rounds", &args.rounds.to_string(), "--gotatun"])
        .args([gotatun])
        .replace_us()
}

fn run_network(args: &Network) -> anyhow::Result<()> {
    build()?;
    let (idle, others): (Vec<&String>, Vec<&String>) = args.only.iter().partition(|case| *case == IDLE);
    if args.only.is_empty() || !idle.is_empty() {
        Step::cargo()
            .args([
                "run",
                "--locked",
                "--release",
                "-p",
                "evenkeel-tunnel",
                "--example",
                "idle",
                "--",
                "--print",
            ])
            .run()?;
    }
    if !args.only.is_empty() && others.is_empty() {
        return Ok(());
    }
    let only = others.into_iter().flat_map(|case| ["--only", case]);
    lab("bench-network").args(["--rounds", &args.rounds.to_string()]).args(only).replace_us()
}

fn build() -> anyhow::Result<()> {
    Step::cargo()
        .args(["build", "--locked", "--release", "--bins", "--workspace", "--exclude", "xtask"])
        .run()
}

/// The lab, for a benchmark on this terminal.
fn lab(benchmark: &str) -> Step {
    Step::new(workspace::target_dir().join("release/evenkeel-lab")).args([benchmark]).interactive()
}
