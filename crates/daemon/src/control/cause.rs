//! From the engine's failures to the causes that clients know. Every variant has its place; a new one does not compile
//! until it has one too.

use std::net::{IpAddr, SocketAddr};

use evenkeel_ipc::{Cause, EapFault, NameFault, Timestamp};
use evenkeel_ipsec::crypto::{CertificateError, UnixTime};
use evenkeel_ipsec::eap::{EapError, MschapCode, MschapError};
use evenkeel_ipsec::ike::{Failure, PeerAuthFailure};
use evenkeel_ipsec::wire::Exchange;
use evenkeel_tunnel::{self as tunnel, PathError, ResolveError};

/// What a cause is about beside itself.
pub(super) struct Circumstances<'a> {
    /// The gateway as the profile names it.
    pub(super) host: &'a str,
    /// Its address that was tried last.
    pub(super) remote: Option<IpAddr>,
    /// What the machine has said about its own last fault.
    pub(super) fault: Option<&'a Cause>,
}

pub(super) fn cause_of(cause: &tunnel::Cause, around: &Circumstances<'_>) -> Cause {
    match cause {
        tunnel::Cause::Resolve(error) => Cause::NameUnresolved {
            name: around.host.to_owned(),
            fault: match error {
                ResolveError::NotFound => NameFault::NotFound,
                ResolveError::Unavailable => NameFault::NoAnswer,
            },
        },
        tunnel::Cause::Path(PathError::OtherKey) => Cause::WireguardPresharedKey,
        tunnel::Cause::PeerSilent => Cause::WireguardPeerLost,
        tunnel::Cause::Path(_) | tunnel::Cause::Configure(_) => {
            around.fault.cloned().unwrap_or_else(|| Cause::Internal { detail: cause.to_string() })
        }
        tunnel::Cause::Session(failure) => of_session(failure, around),
    }
}

fn of_session(failure: &Failure, around: &Circumstances<'_>) -> Cause {
    match failure {
        Failure::LocalClose => Cause::Cancelled,
        Failure::PeerClosed => Cause::GatewayClosed,
        Failure::NoResponse { exchange, port } => match around.remote {
            Some(remote) => {
                Cause::NoResponse { exchange: name_of(*exchange), remote: SocketAddr::new(remote, *port) }
            }
            None => Cause::Internal { detail: failure.to_string() },
        },
        Failure::PeerDead => Cause::GatewayLost,
        Failure::NoProposalChosen => Cause::NoCommonIkeProposal,
        Failure::InvalidKe(_) => Cause::NoCommonGroup,
        Failure::AuthenticationRejected => Cause::AuthenticationRejected,
        Failure::PeerAuth(failure) => of_peer_auth(failure),
        Failure::Eap(error) => of_eap(error),
        Failure::TsUnacceptable => Cause::TrafficSelectorsRefused,
        Failure::ChildNoProposal => Cause::NoCommonEspProposal,
        Failure::InternalAddressFailure => Cause::NoAddressAssigned,
        Failure::FailedCpRequired => Cause::ConfigurationRequired,
        Failure::SinglePairRequired => Cause::SinglePairRequired,
        Failure::NoAdditionalSas => Cause::NoAdditionalSas,
        Failure::UnexpectedNotify(notify) => {
            Cause::GatewayError { notify: notify.number(), name: notify.name().map(str::to_owned) }
        }
        Failure::NoNatTraversal
        | Failure::Malformed(_)
        | Failure::ProtocolViolation(_)
        | Failure::RekeyRefused
        | Failure::MigrationRefused(_)
        | Failure::KeyExchange(_) => Cause::GatewayProtocol { detail: failure.to_string() },
        Failure::SignatureUnavailable => Cause::PrivateKeyUnusable,
        Failure::Local(detail) => Cause::Internal { detail: (*detail).to_owned() },
    }
}

fn of_peer_auth(failure: &PeerAuthFailure) -> Cause {
    match failure {
        PeerAuthFailure::PskMismatch => Cause::PskMismatch,
        PeerAuthFailure::NoAuth | PeerAuthFailure::EapKeyMismatch | PeerAuthFailure::Signature(_) => {
            Cause::GatewayAuthInvalid
        }
        PeerAuthFailure::Certificate(error) => of_certificate(error),
        PeerAuthFailure::WrongIdentity { expected, got } => {
            Cause::GatewayIdentity { expected: expected.to_string(), presented: got.to_string() }
        }
        PeerAuthFailure::NoCertificate => Cause::GatewayCertificateMissing,
        PeerAuthFailure::MethodMismatch { .. } => Cause::GatewayAuthMethod,
    }
}

fn of_certificate(error: &CertificateError) -> Cause {
    let time = |UnixTime(seconds): &UnixTime| Timestamp::from_unix(*seconds);
    match error {
        CertificateError::Missing => Cause::GatewayCertificateMissing,
        CertificateError::Expired { not_after } => {
            Cause::GatewayCertificateExpired { not_after: time(not_after) }
        }
        CertificateError::NotYetValid { not_before } => {
            Cause::GatewayCertificateNotYetValid { not_before: time(not_before) }
        }
        CertificateError::UnknownIssuer => Cause::GatewayCertificateUntrusted,
        CertificateError::WrongIdentity { expected, presented } => {
            Cause::GatewayCertificateName { expected: expected.clone(), presented: presented.clone() }
        }
        CertificateError::WrongUsage | CertificateError::KeyUsage | CertificateError::CaUsedAsLeaf => {
            Cause::GatewayCertificateUsage
        }
        CertificateError::IssuerNotCa | CertificateError::PathTooLong | CertificateError::NameConstraint => {
            Cause::GatewayCertificateConstraint
        }
        CertificateError::TooLarge | CertificateError::Unsupported | CertificateError::Malformed => {
            Cause::GatewayCertificateInvalid
        }
    }
}

fn of_eap(error: &EapError) -> Cause {
    let broke = |fault| Cause::EapProtocol { fault };
    match error {
        EapError::Failure { mschap: None } => Cause::EapRejected { error: None },
        EapError::Failure { mschap: Some(MschapError { code, .. }) } => match code {
            MschapCode::AuthenticationFailure => Cause::WrongPassword,
            MschapCode::PasswordExpired => Cause::PasswordExpired,
            MschapCode::AccountDisabled => Cause::AccountDisabled,
            MschapCode::RestrictedLogonHours => Cause::OutsideLogonHours,
            MschapCode::NoDialinPermission => Cause::NoDialInPermission,
            MschapCode::ChangingPassword | MschapCode::Other(_) => {
                Cause::EapRejected { error: Some(code.number()) }
            }
        },
        EapError::UnsupportedMethod(method) => Cause::EapMethodUnsupported { method: *method },
        EapError::EarlySuccess => broke(EapFault::EarlySuccess),
        EapError::ServerNotAuthentic => broke(EapFault::ServerNotAuthentic),
        EapError::Malformed => broke(EapFault::Malformed),
        EapError::OutOfOrder | EapError::TooManyPackets | EapError::Ended => broke(EapFault::Unexpected),
        EapError::UnusableCredentials => Cause::ProfileInvalid { key: "auth.identity".to_owned() },
    }
}

fn name_of(exchange: Exchange) -> String {
    match exchange {
        Exchange::IkeSaInit => "IKE_SA_INIT".to_owned(),
        Exchange::IkeAuth => "IKE_AUTH".to_owned(),
        Exchange::CreateChildSa => "CREATE_CHILD_SA".to_owned(),
        Exchange::Informational => "INFORMATIONAL".to_owned(),
        Exchange::Other(number) => number.to_string(),
    }
}
