//! Why a session ended, divided by who is at fault.

use super::event::MigrationRefusal;
use crate::crypto::{CertificateError, KeyExchangeError, SignatureError};
use crate::eap::EapError;
use crate::wire::{DecodeError, Exchange, Id, NotifyType};

/// Terminal outcome of a session.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// We closed it on request.
    #[error("closed by this side")]
    LocalClose,
    /// The peer deleted the IKE SA.
    #[error("the peer deleted the IKE SA")]
    PeerClosed,
    /// A request stayed unanswered while connecting.
    #[error("no answer to {exchange} on UDP port {port}")]
    NoResponse {
        /// The exchange that stayed unanswered.
        exchange: Exchange,
        /// The peer's port that it was sent to.
        port: u16,
    },
    /// The peer does not follow to another path (RFC 4555 §3.5).
    #[error("the peer does not follow to another path: {0:?}")]
    MigrationRefused(MigrationRefusal),
    /// An established peer stopped answering.
    #[error("the peer stopped answering")]
    PeerDead,
    /// NO_PROPOSAL_CHOSEN for the IKE SA.
    #[error("the peer accepts none of the proposals for the IKE SA")]
    NoProposalChosen,
    /// The peer asks for a group that was not proposed, or for ever another one.
    #[error("the peer asks for key exchange group {0}, which was not proposed")]
    InvalidKe(u16),
    /// The key exchange itself failed.
    #[error("key exchange: {0}")]
    KeyExchange(#[from] KeyExchangeError),
    /// The peer answered AUTHENTICATION_FAILED.
    #[error("the peer refused our authentication")]
    AuthenticationRejected,
    /// The peer could not prove who it is.
    #[error("the peer's authentication: {0}")]
    PeerAuth(#[from] PeerAuthFailure),
    /// The EAP method failed.
    #[error("EAP: {0}")]
    Eap(#[from] EapError),
    /// TS_UNACCEPTABLE.
    #[error("the peer accepts none of the traffic selectors")]
    TsUnacceptable,
    /// NO_PROPOSAL_CHOSEN for the CHILD SA.
    #[error("the peer accepts none of the proposals for the CHILD SA")]
    ChildNoProposal,
    /// INTERNAL_ADDRESS_FAILURE.
    #[error("the peer has no address to assign")]
    InternalAddressFailure,
    /// FAILED_CP_REQUIRED.
    #[error("the peer demands a configuration request")]
    FailedCpRequired,
    /// SINGLE_PAIR_REQUIRED.
    #[error("the peer demands traffic selectors for a single pair of addresses")]
    SinglePairRequired,
    /// NO_ADDITIONAL_SAS.
    #[error("the peer accepts no further CHILD SAs")]
    NoAdditionalSas,
    /// Any other error notification.
    #[error("the peer answered {}", .0.name().unwrap_or("an unknown error"))]
    UnexpectedNotify(NotifyType),
    /// The peer has no NAT traversal, which we need.
    #[error("the peer does not support NAT traversal")]
    NoNatTraversal,
    /// A message that could not be decoded.
    #[error("malformed message: {0}")]
    Malformed(#[from] DecodeError),
    /// A message that RFC 7296 does not allow here.
    #[error("protocol violation: {0}")]
    ProtocolViolation(&'static str),
    /// The SA could not be replaced before its lifetime ended.
    #[error("the SA's lifetime ended and the peer refused to replace it")]
    RekeyRefused,
    /// The owner of the private key could not or would not sign.
    #[error("the private key could not be used")]
    SignatureUnavailable,
    /// The local configuration cannot work.
    #[error("local configuration: {0}")]
    Local(&'static str),
}

/// Why the peer's proof of identity was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PeerAuthFailure {
    /// AUTH does not match: a wrong PSK, or an attack.
    #[error("the pre-shared key does not match")]
    PskMismatch,
    /// The AUTH payload is missing where it must be present.
    #[error("the peer did not authenticate")]
    NoAuth,
    /// AUTH of the EAP key does not match.
    #[error("the EAP key does not match")]
    EapKeyMismatch,
    /// The certificate was not accepted.
    #[error("certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// The signature was not accepted.
    #[error("signature: {0}")]
    Signature(#[from] SignatureError),
    /// IDr is not the one that the profile names.
    #[error("the peer says that it is {got}, not {expected}")]
    WrongIdentity {
        /// From the profile.
        expected: Id,
        /// From the peer.
        got: Id,
    },
    /// No certificate was sent.
    #[error("the peer sent no certificate")]
    NoCertificate,
    /// The peer authenticates by another method than the profile asks for.
    #[error("the peer authenticates by method {method}, which the profile does not allow")]
    MethodMismatch {
        /// AUTH method number (RFC 7296 §3.8).
        method: u8,
    },
}

impl Failure {
    /// From an error notification in answer to our request for the first CHILD SA or for authentication.
    pub(super) fn from_auth_notify(kind: NotifyType) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "most types have no meaning of their own here")]
        match kind {
            NotifyType::AuthenticationFailed => Self::AuthenticationRejected,
            NotifyType::NoProposalChosen => Self::ChildNoProposal,
            NotifyType::TsUnacceptable => Self::TsUnacceptable,
            NotifyType::InternalAddressFailure => Self::InternalAddressFailure,
            NotifyType::FailedCpRequired => Self::FailedCpRequired,
            NotifyType::SinglePairRequired => Self::SinglePairRequired,
            NotifyType::NoAdditionalSas => Self::NoAdditionalSas,
            other => Self::UnexpectedNotify(other),
        }
    }

    /// Whether the notification says that only the CHILD SA failed, so that an IKE SA exists and must be
    /// deleted (RFC 7296 §1.2).
    pub(super) fn leaves_ike_sa(kind: NotifyType) -> bool {
        matches!(
            kind,
            NotifyType::NoProposalChosen
                | NotifyType::TsUnacceptable
                | NotifyType::SinglePairRequired
                | NotifyType::InternalAddressFailure
                | NotifyType::FailedCpRequired
                | NotifyType::NoAdditionalSas
        )
    }
}
