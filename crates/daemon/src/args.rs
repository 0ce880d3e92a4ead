//! The command line of evenkeeld.

use std::path::PathBuf;

use clap::Parser;
use tracing_subscriber::filter::LevelFilter;

/// The privileged half of Evenkeel: it holds the VPN connection; `evenkeel` and the desktop app tell it what to do.
#[derive(Debug, Parser)]
#[command(name = "evenkeeld", version)]
pub struct Args {
    /// Folder of the profiles [default: the system's place for configuration]
    #[arg(long, value_name = "DIR", env = "EVENKEEL_CONFIG_DIR")]
    pub config_dir: Option<PathBuf>,

    /// Folder of sealed secrets and of the journals that undo network changes after a crash [default: the
    /// system's place for state]
    #[arg(long, value_name = "DIR", env = "EVENKEEL_STATE_DIR")]
    pub state_dir: Option<PathBuf>,

    /// Where clients reach the daemon: a socket path, on Windows a pipe name [default: the system's place for sockets]
    #[arg(long, value_name = "PATH", env = "EVENKEEL_SOCKET")]
    pub socket: Option<PathBuf>,

    /// How much to log: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "EVENKEEL_LOG")]
    pub log_level: LevelFilter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_command_line_logs_at_info() {
        let args = Args::try_parse_from(["evenkeeld"]).unwrap();
        assert_eq!(args.log_level, LevelFilter::INFO);
    }

    #[test]
    fn an_unknown_level_is_refused() {
        Args::try_parse_from(["evenkeeld", "--log-level", "loud"]).unwrap_err();
    }
}
