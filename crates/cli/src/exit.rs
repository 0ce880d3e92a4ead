//! Exit codes: an interface for scripts.
use std::io;

use evenkeel_ipc::Category;

use crate::explain::Explanation;

/// What the program ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Ok = 0,
    Other = 1,
    Usage = 2,
    Authentication = 3,
    Unreachable = 4,
    Configuration = 5,
    Refused = 6,
    ThisMachine = 7,
    DaemonNotRunning = 8,
    NotPermitted = 9,
    Timeout = 10,
    Cancelled = 11,
    SignInNeeded = 12,
}

impl Exit {
    pub(crate) const ALL: [(Self, &str); 13] = [
        (Self::Ok, "done; for connect: connected"),
        (Self::Other, "an error that none of the others covers"),
        (Self::Usage, "the command line is wrong"),
        (Self::Authentication, "one side could not prove who it is: password, key, certificate"),
        (Self::Unreachable, "no way to the gateway: its name, the network, or no answer"),
        (Self::Configuration, "the profile is wrong, missing, or does not fit the gateway"),
        (Self::Refused, "the gateway refused, or closed the connection"),
        (Self::ThisMachine, "this machine could not set up the tunnel, its routes or DNS"),
        (Self::DaemonNotRunning, "the daemon is not running, or can't be used"),
        (Self::NotPermitted, "not permitted"),
        (Self::Timeout, "it took longer than --wait"),
        (Self::Cancelled, "cancelled"),
        (Self::SignInNeeded, "the network wants somebody to sign in first, and nobody did in time"),
    ];

    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<Category> for Exit {
    fn from(category: Category) -> Self {
        match category {
            Category::Authentication => Self::Authentication,
            Category::Unreachable => Self::Unreachable,
            Category::Configuration => Self::Configuration,
            Category::RefusedByGateway => Self::Refused,
            Category::Local => Self::ThisMachine,
            Category::Cancelled => Self::Cancelled,
        }
    }
}

/// The section of `--help` and of the manual page.
pub(crate) fn help() -> String {
    let mut text = "Exit codes:\n".to_owned();
    for (exit, meaning) in Exit::ALL {
        text.push_str(&format!("  {:>2}  {meaning}\n", exit.code()));
    }
    text.push_str("\nEnvironment:\n  NO_COLOR          no colours\n  EVENKEEL_SOCKET   as --socket\n");
    text
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// None if there is nobody to tell.
    pub(crate) explanation: Option<Explanation>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, explanation: Explanation) -> Self {
        Self { exit, explanation: Some(explanation) }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            // `evenkeel log | head` has what it wants.
            return Self { exit: Exit::Ok, explanation: None };
        }
        Self::new(
            Exit::Other,
            Explanation::new("Something went wrong on this machine.", error.to_string(), ""),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_has_a_meaning_and_a_place_of_its_own() {
        for (position, (exit, meaning)) in Exit::ALL.iter().enumerate() {
            assert_eq!(usize::from(exit.code()), position);
            assert!(!meaning.is_empty());
        }
    }

    #[test]
    fn the_manual_names_every_code() {
        let docs = include_str!("../../../docs/cli.md");
        for (exit, meaning) in Exit::ALL {
            assert!(
                docs.contains(&format!("| {} | {meaning} |", exit.code())),
                "docs/cli.md lacks {}",
                exit.code()
            );
        }
    }
}
