//! `cargo xtask test`: every layer of tests, each reported by name with the number of its tests.
//!
//! A layer is what it needs: `unit` and `doc` need nothing, `simulation` a virtual clock and minutes, `vectors` published
//! files, `lab` namespaces and strongSwan. What can't run here is reported as not run, with the reason; and so is `hours`,
//! which runs only when it is named.

mod layer;
mod summary;

use std::path::PathBuf;

use anyhow::bail;

use crate::{packages, process::Step, tools};
use layer::{Layer, Outcome};

pub(crate) use summary::Tally;

/// Install what is missing, then run every layer of tests.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this layer (repeatable)
    #[arg(long = "layer", value_enum)]
    layers: Vec<Layer>,
    /// Fail when a layer can't run here, instead of only reporting it
    #[arg(long)]
    strict: bool,
    /// Only tests whose name contains this
    filter: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    packages::ensure(packages::BUILD)?;
    packages::ensure(packages::UNIT)?;
    let runner = Runner::find();
    let mut report = Vec::new();
    for layer in Layer::ALL {
        if args.layers.is_empty() && !layer.runs_by_itself() {
            report.push((layer, Outcome::Left));
        } else if args.layers.is_empty() || args.layers.contains(&layer) {
            println!("\n== {layer}: {}", layer.about());
            report.push((layer, layer.run(&runner, args.filter.as_deref())?));
        }
    }
    conclude(&report, args.strict)
}

/// What runs the tests.
pub(crate) enum Runner {
    /// cargo-nextest, where it is: a process and a time limit per test.
    Nextest(PathBuf),
    /// Plain `cargo test`, where nextest can't be had.
    Cargo,
}

impl Runner {
    fn find() -> Self {
        match tools::NEXTEST.ensure() {
            Ok(program) => Self::Nextest(program),
            Err(error) => {
                println!("cargo-nextest can't be installed, so `cargo test` runs the tests: {error:#}");
                Self::Cargo
            }
        }
    }

    /// The command that builds and runs tests, without a selection of packages yet.
    fn step(&self) -> Step {
        match self {
            // By its path: what was installed into the cache is no subcommand that cargo would find.
            Self::Nextest(program) => {
                Step::new(program).args(["nextest", "run", "--locked", "--no-tests", "pass"])
            }
            Self::Cargo => Step::cargo().args(["test", "--locked", "--no-fail-fast"]),
        }
    }

    /// How its closing lines are read.
    fn tally(&self) -> Tally {
        match self {
            Self::Nextest(_) => Tally::of_nextest(),
            Self::Cargo => Tally::of_libtest(),
        }
    }
}

/// Prints the table and the closing line, and fails if anything failed.
fn conclude(report: &[(Layer, Outcome)], strict: bool) -> anyhow::Result<()> {
    println!("\n{:<12} {:>7} {:>7}", "layer", "passed", "failed");
    let (mut passed, mut failed, mut broken, mut missing) = (0, 0, Vec::new(), Vec::new());
    for (layer, outcome) in report {
        let name = layer.to_string();
        match outcome {
            Outcome::Ran { tally, success } => {
                let remark = if *success { "" } else { "  FAILED" };
                println!("{name:<12} {:>7} {:>7}{remark}", tally.passed, tally.failed);
                passed += tally.passed;
                failed += tally.failed;
                if !success {
                    broken.push(name);
                }
            }
            Outcome::Left => println!("{name:<12} NOT RUN: {}; --layer {name} runs it", layer.about()),
            Outcome::NotRun { reason } => {
                println!("{name:<12} NOT RUN: {reason}");
                missing.push(name);
            }
        }
    }
    println!("\n{passed} passed, {failed} failed");
    if !broken.is_empty() {
        bail!("failed layers: {}", broken.join(", "));
    }
    if passed == 0 {
        bail!("no test ran");
    }
    if strict && !missing.is_empty() {
        bail!("layers that did not run: {}", missing.join(", "));
    }
    Ok(())
}
