//! `cargo xtask lint`: every check that needs no running program. All of them run; the failed ones are named last.

mod arrows;
mod source;
mod switches;

use anyhow::bail;

use crate::{packages, process::Step, tools};

/// Formatting, clippy, documentation, architecture, licences, unused dependencies, spelling.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these checks, by name
    only: Vec<String>,
}

type Check = fn() -> anyhow::Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("fmt", || Step::cargo().args(["fmt", "--all", "--check"]).run()),
    ("source", source::check),
    ("arrows", arrows::check),
    ("typos", || Step::new(tools::typos()?).args(["--config", "_typos.toml"]).run()),
    ("machete", || Step::new(tools::MACHETE.ensure()?).args(["--with-metadata"]).run()),
    ("deny", deny),
    ("clippy", || {
        Step::cargo()
            .args(["clippy", "--locked", "--workspace", "--all-targets", "--all-features", "--"])
            .args(["-D", "warnings"])
            .run()
    }),
    ("doc", || {
        Step::cargo()
            .args(["doc", "--locked", "--workspace", "--all-features", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings")
            .run()
    }),
];

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    packages::ensure(packages::BUILD)?;
    if let Some(unknown) = args.only.iter().find(|name| !CHECKS.iter().any(|(known, _)| known == name)) {
        let known: Vec<&str> = CHECKS.iter().map(|(name, _)| *name).collect();
        bail!("there is no check `{unknown}`; there are {}", known.join(", "));
    }
    let wanted: Vec<_> = CHECKS
        .iter()
        .filter(|(name, _)| args.only.is_empty() || args.only.iter().any(|only| only == name))
        .collect();
    let mut failed = Vec::new();
    for (name, check) in &wanted {
        println!("lint: {name}");
        if let Err(error) = check() {
            eprintln!("{error:#}");
            failed.push(*name);
        }
    }
    if !failed.is_empty() {
        bail!("lint: {} of {} checks failed: {}", failed.len(), wanted.len(), failed.join(", "));
    }
    println!("lint: {} checks passed", wanted.len());
    Ok(())
}

/// Licences, bans and sources. The advisory database is a git repository that a CI without internet can't fetch, so
/// advisories are looked up only where one has been fetched by hand.
fn deny() -> anyhow::Result<()> {
    Step::new(tools::DENY.ensure()?)
        .args(["--all-features", "--log-level", "error", "check", "--hide-inclusion-graph"])
        .args(["licenses", "bans", "sources"])
        .run()
}
