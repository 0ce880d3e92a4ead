//! Sentences for typed causes: what happened, why, and what to do now.
use evenkeel_ipc::{Category, Cause, Portal, Status};

use crate::escape::plain;
use crate::exit::Failure;

mod authentication;
mod connection;
mod request;

pub(crate) use authentication::secret_missing;
pub(crate) use request::request_error;

/// What a person needs to hear when something did not work. Its parts are already safe to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Explanation {
    /// One sentence.
    pub(crate) what: String,
    /// The fact behind it.
    pub(crate) why: String,
    /// What helps. May be empty.
    pub(crate) now: String,
}

impl Explanation {
    pub(crate) fn new(what: impl Into<String>, why: impl Into<String>, now: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), now: now.into() }
    }
}

/// The failure that a connection's cause makes of a command.
pub(crate) fn failure(cause: &Cause, status: &Status) -> Failure {
    Failure::new(cause.category().into(), explanation(cause, status))
}

/// A cause in words. The status says which gateway it is about.
pub(crate) fn explanation(cause: &Cause, status: &Status) -> Explanation {
    match cause.category() {
        Category::Authentication => authentication::authentication(cause, status),
        Category::Unreachable => connection::unreachable(cause, status),
        Category::Configuration => connection::configuration(cause),
        Category::RefusedByGateway => connection::refused(cause),
        Category::Local => connection::local(cause),
        Category::Cancelled => connection::cancelled(cause),
    }
}

/// What a person should know of a connection that only `legacy = true` has made possible.
pub(crate) fn legacy_in_use(status: &Status) -> Option<String> {
    let names: Vec<_> = status.legacy.iter().map(|name| plain(name)).collect();
    let (last, before) = names.split_last()?;
    let (list, are) = if before.is_empty() {
        (last.clone(), "is")
    } else {
        (format!("{} and {last}", before.join(", ")), "are")
    };
    Some(format!("{list} {are} broken or close to it; ask the gateway's operator for newer algorithms."))
}

/// What a person should know of a connection that a WireGuard peer carries.
pub(crate) fn on_wireguard(status: &Status) -> Option<String> {
    let peer = status.wireguard.as_ref()?;
    Some(format!(
        "a WireGuard peer, {}, in place of {}, which has not answered. It is another server with rules of its own; the \
         connection goes back to the gateway by itself.",
        peer.endpoint,
        gateway(status)
    ))
}

/// What a person is to do where a captive portal holds the connection back.
pub(crate) fn sign_in(portal: &Portal) -> String {
    match &portal.url {
        Some(url) => format!(
            "This network wants you to sign in first: {}; the connection continues by itself afterwards.",
            plain(url.as_str())
        ),
        None => "This network wants you to sign in first: open any page in a browser; the connection continues by \
                 itself afterwards."
            .to_owned(),
    }
}

const ASK_OPERATOR: &str = "Ask whoever runs the gateway.";

fn gateway(status: &Status) -> String {
    status.gateway.as_ref().map_or_else(|| "the gateway".to_owned(), |host| plain(host.as_str()))
}

fn unworded(cause: &Cause) -> Explanation {
    Explanation::new("The connection failed.", format!("The daemon says {}.", plain(&cause.code())), "")
}

fn internal(detail: &str) -> Explanation {
    Explanation::new(
        "Evenkeel has a fault of its own.",
        format!("{}.", plain(detail).trim_end_matches('.')),
        "Please report it with `evenkeel log`.",
    )
}

fn no_profile(name: &str) -> Explanation {
    Explanation::new(
        format!("There is no profile named {}.", plain(name)),
        "Or it belongs to another user of this machine.",
        "`evenkeel profile list` shows what there is; `evenkeel profile import FILE` adds one.",
    )
}

#[cfg(test)]
mod tests {
    use evenkeel_ipc::{EapFault, NameFault, Timestamp};
    use evenkeel_profile::SecretKind;

    use super::*;

    fn status() -> Status {
        let mut status = Status::off(Timestamp::from_unix(0));
        status.gateway = "vpn.example.com".parse().ok();
        status
    }

    /// One of each kind, arguments hostile where they come from outside.
    fn causes() -> Vec<Cause> {
        let evil = || "\u{1b}[2J".to_owned();
        let remote = "198.51.100.1:4500".parse().expect("address");
        let time = Timestamp::from_unix(1_800_000_000);
        vec![
            Cause::AuthenticationRejected,
            Cause::WrongPassword,
            Cause::PasswordExpired,
            Cause::AccountDisabled,
            Cause::OutsideLogonHours,
            Cause::NoDialInPermission,
            Cause::EapRejected { error: Some(709) },
            Cause::EapRejected { error: None },
            Cause::EapMethodUnsupported { method: 13 },
            Cause::EapProtocol { fault: EapFault::EarlySuccess },
            Cause::SecretMissing { secret: SecretKind::Password },
            Cause::PskMismatch,
            Cause::GatewayAuthInvalid,
            Cause::GatewayAuthMethod,
            Cause::GatewayIdentity { expected: evil(), presented: evil() },
            Cause::GatewayCertificateMissing,
            Cause::GatewayCertificateExpired { not_after: time },
            Cause::GatewayCertificateNotYetValid { not_before: time },
            Cause::GatewayCertificateUntrusted,
            Cause::GatewayCertificateName { expected: evil(), presented: vec![evil(); 9] },
            Cause::GatewayCertificateUsage,
            Cause::GatewayCertificateConstraint,
            Cause::GatewayCertificateInvalid,
            Cause::NameUnresolved { name: evil(), fault: NameFault::NotFound },
            Cause::NameUnresolved { name: evil(), fault: NameFault::NoAnswer },
            Cause::NoResponse { exchange: evil(), remote },
            Cause::NoResponse { exchange: "IKE_AUTH".to_owned(), remote },
            Cause::NetworkUnreachable { remote },
            Cause::GatewayLost,
            Cause::WireguardPeerLost,
            Cause::NoCommonIkeProposal,
            Cause::NoCommonGroup,
            Cause::NoCommonEspProposal,
            Cause::ProfileNotFound { name: "Lab".parse().expect("name") },
            Cause::ProfileInvalid { key: evil() },
            Cause::PrivateKeyUnusable,
            Cause::WireguardPresharedKey,
            Cause::TrafficSelectorsRefused,
            Cause::NoAddressAssigned,
            Cause::ConfigurationRequired,
            Cause::SinglePairRequired,
            Cause::NoAdditionalSas,
            Cause::GatewayClosed,
            Cause::GatewayError { notify: 44, name: Some(evil()) },
            Cause::GatewayError { notify: 16_000, name: None },
            Cause::GatewayProtocol { detail: evil() },
            Cause::DaemonNotPermitted { what: evil() },
            Cause::TunUnavailable { detail: evil() },
            Cause::RoutesFailed { detail: evil() },
            Cause::DnsFailed { detail: evil() },
            Cause::SocketFailed { detail: evil() },
            Cause::Unsupported { what: evil() },
            Cause::DataPlaneFailed { detail: evil() },
            Cause::Internal { detail: evil() },
            Cause::Cancelled,
            Cause::DaemonStopping,
        ]
    }

    #[test]
    fn every_cause_is_worded_and_safe_to_print() {
        for cause in causes() {
            let Explanation { what, why, now } = explanation(&cause, &status());
            for part in [&what, &why, &now] {
                assert!(!part.chars().any(char::is_control), "{cause:?}: {part:?}");
                assert!(!part.contains(".."), "{cause:?}: {part}");
            }
            assert!(what.ends_with('.') && why.ends_with('.'), "{cause:?}: {what} {why}");
            assert_ne!(what, "The connection failed.", "{cause:?} has no words of its own");
        }
    }

    #[test]
    fn every_cause_is_documented_by_its_code() {
        let docs = include_str!("../../../docs/cli.md");
        for cause in causes() {
            assert!(
                docs.contains(&format!("\n| `{}` |", cause.code())),
                "docs/cli.md lacks {}",
                cause.code()
            );
        }
    }
}
