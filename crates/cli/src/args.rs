//! The command line.
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use evenkeel_ipc::NetworkId;
use evenkeel_profile::ProfileName;

use crate::exit;

/// Connects to IKEv2 VPN gateways and says plainly what is going on.
#[derive(Debug, Parser)]
#[command(name = "evenkeel", version, after_long_help = exit::help(), subcommand_required = true)]
#[command(arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Args {
    /// Where the daemon listens: a socket path, on Windows a pipe name [default: the system's place for sockets]
    #[arg(long, global = true, value_name = "PATH", env = "EVENKEEL_SOCKET", value_hint = ValueHint::FilePath)]
    #[arg(hide_env_values = true)]
    pub(crate) socket: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Import, list, show and remove profiles
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// Connect and wait until it is done
    Connect(Connect),
    /// Disconnect
    Disconnect,
    /// Show the connection: whether bytes move, addresses, algorithms
    Status(Status),
    /// List, show and forget the networks that are remembered
    #[command(subcommand)]
    Networks(NetworksCommand),
    /// Show the daemon's log
    Log(Log),
    /// Print a completion script for a shell
    #[command(
        after_help = "For bash: evenkeel completions bash > ~/.local/share/bash-completion/completions/evenkeel"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages into a folder
    Man {
        /// The folder; it must exist
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// Import a profile: Evenkeel's TOML, an Apple .mobileconfig or a strongSwan .sswan
    Import(Import),
    /// List the profiles
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a profile; never its secrets
    Show {
        /// Its name
        name: ProfileName,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a profile and its stored secrets
    Remove {
        /// Its name
        name: ProfileName,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum NetworksCommand {
    /// List the networks, the last visited first
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what was learned of a network
    Show {
        /// Its ID, from the list
        id: NetworkId,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Forget a network, or all of them; what is in use is learned anew
    Forget {
        /// Its ID, from the list
        #[arg(required_unless_present = "all")]
        id: Option<NetworkId>,
        /// All networks
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// The file; certificates and keys that it names are read from beside it
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Give the profile another name than the file does
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<ProfileName>,
    /// Take the place of a profile of the same name
    #[arg(long)]
    pub(crate) replace: bool,
    /// For every user of this machine; needs an administrator
    #[arg(long)]
    pub(crate) managed: bool,
    /// Read the passphrase of an encrypted key or PKCS#12 file from standard input
    #[arg(long)]
    pub(crate) passphrase_stdin: bool,
    /// Only check the file; import nothing
    #[arg(long, conflicts_with_all = ["replace", "managed"])]
    pub(crate) check: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Connect {
    /// The profile
    pub(crate) name: ProfileName,
    /// Wait at most so many seconds; 0 returns as soon as the daemon has begun. Without it: 60, and 600 for somebody to
    /// sign in where the network wants that first
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub(crate) wait: Option<u64>,
    /// Read the password or pre-shared key from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// As JSON; with --watch one object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep showing it until Ctrl-C
    #[arg(long, short)]
    pub(crate) watch: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Log {
    /// The last so many lines
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    pub(crate) lines: u32,
    /// As JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn forgetting_all_networks_is_said_in_so_many_words() {
        let parse =
            |rest: &[&str]| Args::try_parse_from(["evenkeel", "networks", "forget"].iter().chain(rest));
        assert!(parse(&["0123456789abcdef"]).is_ok() && parse(&["--all"]).is_ok());
        for wrong in [&[][..], &["0123"], &["--all", "0123456789abcdef"]] {
            assert_eq!(parse(wrong).expect_err("refused").exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn names_that_could_mislead_are_refused_as_usage() {
        let error = Args::try_parse_from(["evenkeel", "connect", "a/b"]).expect_err("refused");
        assert_eq!(error.exit_code(), 2);
    }
}
