//! The daemon said no to a request.
use evenkeel_ipc::RequestError;

use super::{Explanation, internal, no_profile, secret_missing};
use crate::escape::plain;
use crate::exit::{Exit, Failure};

/// The failure that a refused request makes of a command.
pub(crate) fn request_error(error: &RequestError) -> Failure {
    let (exit, explanation) = match error {
        RequestError::NotPermitted => (
            Exit::NotPermitted,
            Explanation::new(
                "You may not do this.",
                "It concerns a managed profile, another user's connection, or where this machine has been while somebody else uses it.",
                "Ask an administrator of this machine; as one, use sudo.",
            ),
        ),
        RequestError::ProfileNotFound { name } => (Exit::Configuration, no_profile(name.as_str())),
        RequestError::NetworkNotFound { id } => (
            Exit::Configuration,
            Explanation::new(
                format!("No network {id} is remembered."),
                "It was forgotten meanwhile, or the ID is of another machine.",
                "See which there are: evenkeel networks list",
            ),
        ),
        RequestError::ProfileExists { name } => (
            Exit::Configuration,
            Explanation::new(
                format!("There is a profile named {name} already."),
                "Nothing was imported.",
                "Use --replace to put this one in its place, or --name to give this one another name.",
            ),
        ),
        RequestError::ProfileInUse { name } => (
            Exit::Configuration,
            Explanation::new(
                format!("The profile {name} is in use."),
                "Nothing was changed.",
                "Disconnect first: evenkeel disconnect",
            ),
        ),
        RequestError::ProfileUnusable { key, detail } => (
            Exit::Configuration,
            Explanation::new(
                "The profile asks for something that Evenkeel can't do.",
                format!("{}: {}.", plain(key), plain(detail).trim_end_matches('.')),
                "Correct it in the file and import it again.",
            ),
        ),
        RequestError::SecretNeeded { secret } => (Exit::Authentication, secret_missing(*secret)),
        RequestError::Busy { active } => (
            Exit::Configuration,
            Explanation::new(
                format!("{active} is connected already."),
                "One connection at a time.",
                "Disconnect it first: evenkeel disconnect",
            ),
        ),
        RequestError::Cancelled => {
            (Exit::Cancelled, Explanation::new("Cancelled.", "Somebody asked to disconnect meanwhile.", ""))
        }
        RequestError::LimitReached => (
            Exit::Other,
            Explanation::new(
                "The Evenkeel daemon has too much to do.",
                "There are too many profiles, clients or requests.",
                "Close other programs that use it, or remove profiles.",
            ),
        ),
        RequestError::Internal { detail } => (Exit::Other, internal(detail)),
    };
    Failure::new(exit, explanation)
}
