//! Both sides are who they say, and still there is no connection.
use evenkeel_ipc::{Cause, NameFault, Status};

use super::{ASK_OPERATOR, Explanation, gateway, internal, no_profile, unworded};
use crate::escape::plain;

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "one category a function; the last arm words any other code"
)]
pub(super) fn unreachable(cause: &Cause, status: &Status) -> Explanation {
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
        // An answer on port 500 and none on 4500: the first message came through and the second did not.
        Cause::NoResponse { exchange, remote } if exchange == "IKE_AUTH" => Explanation::new(
            format!("{} answers, but this network lets no VPN through.", gateway(status)),
            format!("The first message was answered; nothing comes back from {remote} (UDP) since."),
            "Try another network, a phone's say. Whoever runs this one has to let UDP port 4500 through.",
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
        Cause::WireguardPeerLost => Explanation::new(
            "The WireGuard peer has stopped answering.",
            "It carried the connection in the gateway's place and then fell silent.",
            "Check that this machine is still online.",
        ),
        other => unworded(other),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "one category a function; the last arm words any other code"
)]
pub(super) fn configuration(cause: &Cause) -> Explanation {
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
        Cause::WireguardPresharedKey => Explanation::new(
            "The WireGuard peer has another pre-shared key.",
            "The gateway does not answer, and the peer's answer does not fit the profile's preshared_key.",
            "Ask whoever runs the peer for the key and import the profile again, with --replace.",
        ),
        other => unworded(other),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "one category a function; the last arm words any other code"
)]
pub(super) fn refused(cause: &Cause) -> Explanation {
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
pub(super) fn local(cause: &Cause) -> Explanation {
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
pub(super) fn cancelled(cause: &Cause) -> Explanation {
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
