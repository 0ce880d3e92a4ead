//! Why a tunnel is not up.

use evenkeel_ipsec::eap::EapError;
use evenkeel_ipsec::ike::Failure;

/// The last thing that went wrong. It stays visible while the tunnel tries again.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The gateway's name gave no address.
    #[error("the gateway's address is not known: {0}")]
    Resolve(#[from] ResolveError),
    /// No packet could be sent towards the gateway.
    #[error("no way to the gateway: {0}")]
    Path(#[from] PathError),
    /// The IKE session ended.
    #[error(transparent)]
    Session(#[from] Failure),
    /// The WireGuard peer that carried the tunnel does not answer any more.
    #[error("the WireGuard peer has fallen silent")]
    PeerSilent,
    /// This machine's network could not be configured.
    #[error("this machine's network could not be configured: {0}")]
    Configure(#[from] ConfigureError),
}

/// Why a name gave no address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResolveError {
    /// There is no such name, or it has no address.
    #[error("no such name")]
    NotFound,
    /// The resolver did not answer, or could not be asked.
    #[error("no answer from the resolver")]
    Unavailable,
}

/// Why no socket could be opened towards an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathError {
    /// The system has no route to it.
    #[error("no route")]
    NoRoute,
    /// The system forbids it, or is out of sockets.
    #[error("refused by the operating system")]
    Refused,
    /// The other end refused, or a stream ended.
    #[error("closed by the other end")]
    Closed,
    /// No answer in time.
    #[error("no answer")]
    Silent,
    /// Something there speaks another protocol.
    #[error("something else answers there")]
    NotTheGateway,
    /// The WireGuard peer answers, and has another pre-shared key.
    #[error("another pre-shared key there")]
    OtherKey,
    /// There is nothing to put packets into: no tunnel interface, no threads.
    #[error("the data plane could not be started")]
    NoDataPlane,
}

/// Why this machine's network could not be configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigureError {
    /// The tunnel interface.
    #[error("the tunnel interface")]
    Interface,
    /// Routes or routing rules.
    #[error("routes")]
    Routes,
    /// DNS.
    #[error("DNS")]
    Dns,
    /// This build has no code for this operating system.
    #[error("not supported on this operating system")]
    Unsupported,
}

/// What to do about a cause, once the connection has been up. Before that a person is there to decide, and only other
/// addresses are tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Remedy {
    /// Another address of the gateway may do better; with none left, pause and begin again.
    NextAddress,
    /// The same again later may do better.
    Retry,
    /// Trying again can't help, or would lock an account out, or would talk to an impostor: a person must act.
    GiveUp,
}

impl Cause {
    /// Whether the gateway has said nothing, which says nothing about it.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Self::Resolve(_)) || self.remedy() == Remedy::NextAddress
    }

    /// Whether the gateway has refused us: a verdict that holds whatever else carries the tunnel.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Session(Failure::AuthenticationRejected | Failure::Eap(EapError::Failure { .. }))
        )
    }

    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            Self::Resolve(_) => Remedy::Retry,
            Self::Path(PathError::NoDataPlane) => Remedy::GiveUp,
            Self::Path(
                PathError::NoRoute
                | PathError::Refused
                | PathError::Closed
                | PathError::Silent
                | PathError::NotTheGateway
                | PathError::OtherKey,
            ) => Remedy::NextAddress,
            Self::PeerSilent => Remedy::Retry,
            Self::Configure(_) => Remedy::GiveUp,
            Self::Session(failure) => match failure {
                Failure::NoResponse { .. } => Remedy::NextAddress,
                Failure::PeerClosed
                | Failure::PeerDead
                | Failure::MigrationRefused(_)
                | Failure::RekeyRefused
                | Failure::InternalAddressFailure
                | Failure::NoAdditionalSas
                | Failure::UnexpectedNotify(_)
                | Failure::Malformed(_)
                | Failure::ProtocolViolation(_)
                | Failure::KeyExchange(_) => Remedy::Retry,
                Failure::LocalClose
                | Failure::NoProposalChosen
                | Failure::InvalidKe(_)
                | Failure::AuthenticationRejected
                | Failure::PeerAuth(_)
                | Failure::Eap(_)
                | Failure::TsUnacceptable
                | Failure::ChildNoProposal
                | Failure::FailedCpRequired
                | Failure::SinglePairRequired
                | Failure::NoNatTraversal
                | Failure::SignatureUnavailable
                | Failure::Local(_) => Remedy::GiveUp,
            },
        }
    }
}
