//! `cargo xtask run`: the whole thing at work, in a private network on this machine.

use anyhow::bail;

/// Connect to the practice gateway through a NAT, in a private network, and show live status.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Connect to a gateway of one's own with this profile instead; needs privileges
    #[arg(long)]
    profile: Option<std::path::PathBuf>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.profile {
        Some(profile) => bail!("there is no daemon yet to connect with {}", profile.display()),
        None => bail!("there is no daemon yet to connect"),
    }
}
