//! Sentences for typed causes: what happened, why, and what to do now.
use evenkeel_ipc::{Category, Cause, EapFault, NameFault, RequestError, Status};
use evenkeel_profile::SecretKind;

use crate::escape::plain;
use crate::exit::{Exit, Failure};

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
        Category::Authentication => authentication(cause, status),
        Category::Unreachable => unreachable(cause, status),
        Category::Configuration => configuration(cause),
        Category::RefusedByGateway => refused(cause),
        Category::Local => local(cause),
        Category::Cancelled => cancelled(cause),
    }
}

const ASK_OPERATOR: &str = "Ask whoever runs the gateway.";
const CHECK_CA: &str = "Don't go round this: somebody may be in between. Ask whoever runs the gateway for its CA \
                        certificate and import the profile again with it.";

fn gateway(status: &Status) -> String {
    status.gateway.as_ref().map_or_else(|| "the gateway".to_owned(), |host| plain(host.as_str()))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "one category a function; the last arm words any other code"
)]
fn authentication(cause: &Cause, status: &Status) -> Explanation {
    let gateway = gateway(status);
    let account = |what: &str, why: &str| Explanation::new(what, why, "Ask whoever runs your accounts.");
    match cause {
        Cause::AuthenticationRejected => Explanation::new(
            "The gateway did not accept who you are.",
            format!(
                "{gateway} refused the certificate, key or identity and does not say which (AUTHENTICATION_FAILED)."
            ),
            "Check identity, local_id and certificate in the profile; the gateway's log says what it disliked.",
        ),
        Cause::WrongPassword => Explanation::new(
            "The user name or the password is wrong.",
            format!("{gateway} says so (MSCHAPv2 error 691)."),
            "Try again. If it keeps happening, check the user name in the profile, and whether the password changed.",
        ),
        Cause::PasswordExpired => {
            account("Your password has expired.", "The gateway says so (MSCHAPv2 error 648).").replacing_now(
                "Change it where you usually do, the intranet say, then connect with the new one.",
            )
        }
        Cause::AccountDisabled => {
            account("Your account is disabled.", "The gateway says so (MSCHAPv2 error 647).")
        }
        Cause::OutsideLogonHours => {
            account("Your account may not connect at this hour.", "The gateway says so (MSCHAPv2 error 646).")
        }
        Cause::NoDialInPermission => account(
            "Your account may not use the VPN.",
            "It has no permission to dial in, says the gateway (MSCHAPv2 error 649).",
        ),
        Cause::EapRejected { error } => Explanation::new(
            "The gateway did not accept user name and password.",
            match error {
                Some(number) => format!("It answered with MSCHAPv2 error {number}."),
                None => "It ended EAP with a failure and gave no reason.".to_owned(),
            },
            "Check the user name in the profile and the password; then ask whoever runs the gateway.",
        ),
        Cause::EapMethodUnsupported { method } => Explanation::new(
            "The gateway wants to check you in a way that Evenkeel can't do.",
            format!("It insists on EAP method {method}; Evenkeel has MSCHAPv2."),
            "Ask whoever runs the gateway to allow EAP-MSCHAPv2, or for a certificate.",
        ),
        Cause::EapProtocol { fault } => Explanation::new(
            "The gateway could not be trusted with your password.",
            match fault {
                EapFault::EarlySuccess => "It claimed success before it had proved to know your password.",
                EapFault::ServerNotAuthentic => "It could not prove to know your password.",
                EapFault::Malformed => "It sent EAP packets that can't be read.",
                EapFault::Unexpected => "It sent EAP packets out of turn.",
            },
            "Nothing you can mend; tell whoever runs the gateway.",
        ),
        Cause::SecretMissing { secret } => secret_missing(*secret),
        Cause::PskMismatch => Explanation::new(
            "You and the gateway don't have the same pre-shared key.",
            "What the gateway sent was not made with the key that you gave.",
            "Type the key again, exactly; also check remote_id in the profile.",
        ),
        Cause::GatewayAuthInvalid => Explanation::new(
            "The gateway could not prove who it is.",
            format!("Its signature does not fit its certificate, so this may not be {gateway}."),
            "Try from another network. If it happens there too, tell whoever runs the gateway.",
        ),
        Cause::GatewayAuthMethod => Explanation::new(
            "The gateway proves itself in another way than the profile says.",
            "One side uses a pre-shared key where the other expects a certificate.",
            "Check auth.method in the profile with whoever runs the gateway.",
        ),
        Cause::GatewayIdentity { expected, presented } => Explanation::new(
            "The gateway is not the one that the profile names.",
            format!("It says it is {}; the profile expects {}.", plain(presented), plain(expected)),
            "If the gateway's name changed, correct remote_id in the profile; otherwise somebody may be in between.",
        ),
        Cause::GatewayCertificateMissing => Explanation::new(
            "The gateway did not show a certificate.",
            "Without one it can't prove who it is.",
            ASK_OPERATOR,
        ),
        Cause::GatewayCertificateExpired { not_after } => Explanation::new(
            "The gateway's certificate has expired.",
            format!("It was valid until {not_after}."),
            "Check this machine's date. If it is right, ask whoever runs the gateway to renew the certificate.",
        ),
        Cause::GatewayCertificateNotYetValid { not_before } => Explanation::new(
            "The gateway's certificate is not valid yet.",
            format!("It is valid from {not_before}."),
            "Check this machine's date and time; most often they are wrong.",
        ),
        Cause::GatewayCertificateUntrusted => Explanation::new(
            "The gateway's certificate is not trusted.",
            "No certificate authority that the profile trusts vouches for it.",
            CHECK_CA,
        ),
        Cause::GatewayCertificateName { expected, presented } => Explanation::new(
            "The gateway's certificate is for another name.",
            format!("The profile expects {}; the certificate names {}.", plain(expected), names(presented)),
            "If one of these is the gateway, correct remote_id in the profile; otherwise somebody may be in between.",
        ),
        Cause::GatewayCertificateUsage => Explanation::new(
            "The gateway's certificate is not meant for a gateway.",
            "Its key usage does not allow it to prove a VPN gateway's identity.",
            "Ask whoever runs the gateway for a certificate with extended key usage serverAuth.",
        ),
        Cause::GatewayCertificateConstraint => Explanation::new(
            "The gateway's certificate authority may not vouch for this name.",
            "A certificate above the gateway's limits the names below it, and this name is outside.",
            ASK_OPERATOR,
        ),
        Cause::GatewayCertificateInvalid => Explanation::new(
            "The gateway's certificate can't be used.",
            "It is damaged, or uses algorithms that Evenkeel doesn't have.",
            ASK_OPERATOR,
        ),
        other => unworded(other),
    }
}

/// What to say when a secret is needed and there is nobody to ask.
pub(crate) fn secret_missing(secret: SecretKind) -> Explanation {
    match secret {
        SecretKind::Password => Explanation::new(
            "A password is needed.",
            "None is stored with the profile, and none was given.",
            "Run the command on a terminal to be asked for it, or feed it with --password-stdin.",
        ),
        SecretKind::Psk => Explanation::new(
            "The pre-shared key is needed.",
            "None is stored with the profile, and none was given.",
            "Run the command on a terminal to be asked for it, or feed it with --password-stdin.",
        ),
        SecretKind::PrivateKey => Explanation::new(
            "The private key of your certificate is missing.",
            "It is not stored with the profile.",
            "Import the profile again, with --replace.",
        ),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "one category a function; the last arm words any other code"
)]
fn unreachable(cause: &Cause, status: &Status) -> Explanation {
    match cause {
        Cause::NameUnresolved { name, fault: NameFault::NotFound } => Explanation::new(
            format!("There is no host named {}.", plain(name)),
            "The name server knows of none.",
            "Check the gateway in the profile for a typing mistake. Some names exist only inside the company.",
        ),
        Cause::NameUnresolved { name, fault: NameFault::NoAnswer } => Explanation::new(
            format!("The address of {} can't be looked up.", plain(name)),
            "The name server did not answer.",
            "Check that this machine is online; a page in the browser will tell, and a hotel's sign-in page too.",
        ),
        Cause::NoResponse { exchange, remote } => Explanation::new(
            format!("{} does not answer.", gateway(status)),
            format!("Nothing came back from {remote} (UDP) to {}.", plain(exchange)),
            "Check that this machine is online. If it is, this network may block VPNs: try another one, a phone's say. \
             If that fails too, the gateway may be down.",
        ),
        Cause::NetworkUnreachable { remote } => Explanation::new(
            "This machine has no way to the gateway.",
            format!("The system has no route to {}.", remote.ip()),
            "Check that this machine is online.",
        ),
        Cause::GatewayLost => Explanation::new(
            "The gateway has stopped answering.",
            "It was connected and then fell silent.",
            "Check that this machine is still online; the gateway may also have been restarted.",
        ),
        other => unworded(other),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "one category a function; the last arm words any other code"
)]
fn configuration(cause: &Cause) -> Explanation {
    let proposals = |what: &str, key: &str| {
        let now = format!(
            "Ask whoever runs the gateway which algorithms it takes and set {key} in the profile; an old gateway may \
             need legacy = true."
        );
        Explanation::new(what, "None of the algorithms that the profile allows is allowed there.", now)
    };
    match cause {
        Cause::NoCommonIkeProposal => {
            proposals("You and the gateway have no algorithms in common (IKE).", "[ike] proposals")
        }
        Cause::NoCommonGroup => {
            proposals("You and the gateway have no key exchange in common.", "[ike] proposals")
        }
        Cause::NoCommonEspProposal => {
            proposals("You and the gateway have no algorithms in common (ESP).", "[esp] proposals")
        }
        Cause::ProfileNotFound { name } => no_profile(name.as_str()),
        Cause::ProfileInvalid { key } => Explanation::new(
            "The profile asks for something that Evenkeel can't do.",
            format!("It is the value of {}.", plain(key)),
            "Correct it and import the profile again, with --replace.",
        ),
        Cause::PrivateKeyUnusable => Explanation::new(
            "The private key can't be used.",
            "It does not belong to the certificate, or is of a kind that Evenkeel doesn't have.",
            "Import the profile again with the key that belongs to the certificate.",
        ),
        other => unworded(other),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "one category a function; the last arm words any other code"
)]
fn refused(cause: &Cause) -> Explanation {
    let what = |what: &str, why: &str, now: &str| Explanation::new(what, why, now);
    match cause {
        Cause::TrafficSelectorsRefused => what(
            "The gateway does not serve the networks that the profile asks for.",
            "It answered TS_UNACCEPTABLE.",
            "Check remote_ts in the profile with whoever runs the gateway; without it, you get what it offers.",
        ),
        Cause::NoAddressAssigned => what(
            "The gateway has no address for you.",
            "It answered INTERNAL_ADDRESS_FAILURE; its address pool may be used up.",
            "Try again in a few minutes, then ask whoever runs the gateway.",
        ),
        Cause::ConfigurationRequired => what(
            "The gateway insists on assigning an address.",
            "It answered FAILED_CP_REQUIRED.",
            "Remove local_ts from the profile.",
        ),
        Cause::SinglePairRequired => what(
            "The gateway takes only one network at a time.",
            "It answered SINGLE_PAIR_REQUIRED.",
            "Name a single network in remote_ts.",
        ),
        Cause::NoAdditionalSas => what(
            "The gateway takes no further connection from you.",
            "It answered NO_ADDITIONAL_SAS.",
            "Disconnect your other devices, or ask whoever runs the gateway.",
        ),
        Cause::GatewayClosed => what(
            "The gateway closed the connection.",
            "It gave no reason; it may be restarting, or your session was ended.",
            "Connect again. If it happens again, ask whoever runs the gateway.",
        ),
        Cause::GatewayError { notify, name } => Explanation::new(
            "The gateway refused.",
            match name {
                Some(name) => format!("It answered {} ({notify}).", plain(name)),
                None => format!("It answered error {notify}, which has no registered meaning."),
            },
            ASK_OPERATOR,
        ),
        Cause::GatewayProtocol { detail } => Explanation::new(
            "The gateway broke the protocol.",
            format!("{}.", plain(detail)),
            "Tell whoever runs the gateway, and send them `evenkeel log`.",
        ),
        other => unworded(other),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "one category a function; the last arm words any other code"
)]
fn local(cause: &Cause) -> Explanation {
    let said = |detail: &str| format!("The system says: {}.", plain(detail).trim_end_matches('.'));
    match cause {
        Cause::DaemonNotPermitted { what } => Explanation::new(
            "The Evenkeel daemon lacks a permission.",
            format!("It may not set up: {}.", plain(what)),
            "Run it as the system service it is installed as.",
        ),
        Cause::TunUnavailable { detail } => Explanation::new(
            "This machine has no tunnel device for Evenkeel.",
            said(detail),
            "On Linux, check that /dev/net/tun exists (sudo modprobe tun).",
        ),
        Cause::RoutesFailed { detail } => Explanation::new(
            "The routes into the tunnel could not be set.",
            said(detail),
            "Disconnect other VPNs and try again; `evenkeel log` says more.",
        ),
        Cause::DnsFailed { detail } => Explanation::new(
            "The name servers of the VPN could not be set.",
            said(detail),
            "`evenkeel log` says more.",
        ),
        Cause::SocketFailed { detail } => Explanation::new(
            "This machine could not open a connection to the network.",
            said(detail),
            "Check that no firewall here holds Evenkeel back.",
        ),
        Cause::Unsupported { what } => Explanation::new(
            "Evenkeel can't do this on this system yet.",
            format!("There is no support here for: {}.", plain(what)),
            "",
        ),
        Cause::DataPlaneFailed { detail } => Explanation::new(
            "Evenkeel's packet processing stopped.",
            said(detail),
            "Connect again. If it happens again, report it with `evenkeel log`.",
        ),
        Cause::Internal { detail } => internal(detail),
        other => unworded(other),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "one category a function; the last arm words any other code"
)]
fn cancelled(cause: &Cause) -> Explanation {
    match cause {
        Cause::Cancelled => Explanation::new("Disconnected.", "Somebody asked for it.", ""),
        Cause::DaemonStopping => Explanation::new(
            "Disconnected.",
            "The Evenkeel daemon is being stopped.",
            "Connect again once it runs.",
        ),
        other => unworded(other),
    }
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

fn names(presented: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut list: Vec<String> = presented.iter().take(SHOWN).map(|name| plain(name)).collect();
    if list.is_empty() {
        return "nobody".to_owned();
    }
    if presented.len() > SHOWN {
        list.push(format!("{} more", presented.len() - SHOWN));
    }
    list.join(", ")
}

/// The failure that a refused request makes of a command.
pub(crate) fn request_error(error: &RequestError) -> Failure {
    let (exit, explanation) = match error {
        RequestError::NotPermitted => (
            Exit::NotPermitted,
            Explanation::new(
                "You may not do this.",
                "It concerns a managed profile, or another user's connection.",
                "Ask an administrator of this machine; as one, use sudo.",
            ),
        ),
        RequestError::ProfileNotFound { name } => (Exit::Configuration, no_profile(name.as_str())),
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

impl Explanation {
    fn replacing_now(mut self, now: &str) -> Self {
        now.clone_into(&mut self.now);
        self
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_ipc::Timestamp;

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
            Cause::NetworkUnreachable { remote },
            Cause::GatewayLost,
            Cause::NoCommonIkeProposal,
            Cause::NoCommonGroup,
            Cause::NoCommonEspProposal,
            Cause::ProfileNotFound { name: "Lab".parse().expect("name") },
            Cause::ProfileInvalid { key: evil() },
            Cause::PrivateKeyUnusable,
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

    #[test]
    fn long_lists_of_names_are_cut() {
        let presented = (0..1000).map(|n| format!("host{n}")).collect::<Vec<_>>();
        assert_eq!(names(&presented), "host0, host1, host2, host3, host4, 995 more");
    }
}
