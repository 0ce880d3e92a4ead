//! `cargo xtask run`: the whole thing at work.
//!
//! Without a profile, everything is in namespaces of its own (no root, nothing on this machine changes, nothing is left
//! behind): practice gateway, NAT, daemon. With a profile it is this machine that connects, which takes root.

use std::path::PathBuf;

use anyhow::bail;

use crate::{
    packages,
    process::{Step, find_program},
    workspace,
};

/// Connect to the practice gateway through a NAT, in a private network, and show live status.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Connect this machine to a gateway of one's own with this profile instead; needs privileges
    #[arg(long)]
    pub(crate) profile: Option<PathBuf>,
    /// End by itself after so many seconds
    #[arg(long)]
    pub(crate) seconds: Option<u64>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    packages::ensure(packages::BUILD)?;
    packages::ensure(packages::NETWORK)?;
    Step::cargo().args(["build", "--locked", "--bins", "--workspace", "--exclude", "xtask"]).run()?;
    let lab = workspace::target_dir().join("debug/evenkeel-lab");
    let seconds = args.seconds.iter().flat_map(|seconds| ["--seconds".to_owned(), seconds.to_string()]);
    let step = match &args.profile {
        None => Step::new(lab).args(["demo"]),
        Some(profile) => {
            let profile = std::path::absolute(profile)?;
            println!(
                "this connects this very machine: its routes and DNS change until Ctrl-C, which takes root"
            );
            let step = match (packages::is_root(), find_program("sudo")) {
                (true, _) => Step::new(lab),
                (false, Some(sudo)) => Step::new(sudo).args([lab]),
                (false, None) => bail!("neither root nor sudo: this can't be done here"),
            };
            step.args(["own", "--profile"]).args([profile])
        }
    };
    step.args(seconds).interactive().replace_us()
}
