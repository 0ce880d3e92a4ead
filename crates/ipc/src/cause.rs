//! Why there is no connection: every failure by name, with its arguments and whose business it is.
use std::net::SocketAddr;

use evenkeel_profile::{ProfileName, SecretKind};
use serde::{Deserialize, Serialize, Serializer};

use crate::Timestamp;

/// Why a connection failed or ended. In JSON: `{"code": "...", "category": "...", ARGUMENTS}`.
///
/// Codes are an interface: scripts and explanations hang on them, so they are never renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case", rename_all_fields = "snake_case")]
pub enum Cause {
    // Authentication: who we are.
    /// The gateway refused our certificate, key or identity (AUTHENTICATION_FAILED) without saying more.
    AuthenticationRejected,
    /// User name or password is wrong (MSCHAPv2 E=691).
    WrongPassword,
    /// The password has expired (E=648).
    PasswordExpired,
    /// The account is disabled (E=647).
    AccountDisabled,
    /// The account may not sign in at this hour (E=646).
    OutsideLogonHours,
    /// The account has no right to dial in (E=649).
    NoDialInPermission,
    /// The gateway ended EAP with a failure, with or without a number of its own.
    EapRejected {
        /// The MSCHAPv2 error number, if one came.
        error: Option<u32>,
    },
    /// The gateway wants an EAP method that we don't have.
    EapMethodUnsupported {
        /// Its number in the IANA registry.
        method: u8,
    },
    /// The gateway broke the EAP protocol.
    EapProtocol {
        /// How.
        fault: EapFault,
    },
    /// A secret is needed and none was given.
    SecretMissing {
        /// Which.
        secret: SecretKind,
    },
    // Authentication: who the gateway is.
    /// The pre-shared keys differ.
    PskMismatch,
    /// The gateway's AUTH payload doesn't prove what it should.
    GatewayAuthInvalid,
    /// The gateway authenticates itself in another way than the profile says.
    GatewayAuthMethod,
    /// The gateway is somebody else.
    GatewayIdentity {
        /// Who the profile expects.
        expected: String,
        /// Who it says it is.
        presented: String,
    },
    /// The gateway sent no certificate.
    GatewayCertificateMissing,
    /// Its certificate has expired.
    GatewayCertificateExpired {
        /// When.
        not_after: Timestamp,
    },
    /// Its certificate is not valid yet; or our clock is wrong.
    GatewayCertificateNotYetValid {
        /// From when.
        not_before: Timestamp,
    },
    /// No CA that the profile trusts vouches for its certificate.
    GatewayCertificateUntrusted,
    /// Its certificate is for other names.
    GatewayCertificateName {
        /// Who the profile expects.
        expected: String,
        /// The names in the certificate.
        presented: Vec<String>,
    },
    /// Its certificate is for another purpose (key usage, extended key usage).
    GatewayCertificateUsage,
    /// A CA above it may not vouch for this name.
    GatewayCertificateConstraint,
    /// Its certificate can't be read or uses algorithms we don't have.
    GatewayCertificateInvalid,

    // Unreachable.
    /// The gateway's name can't be resolved.
    NameUnresolved {
        /// The name.
        name: String,
        /// How that went.
        fault: NameFault,
    },
    /// Nothing answers.
    NoResponse {
        /// The exchange that waits, `IKE_SA_INIT` or `IKE_AUTH`, say.
        exchange: String,
        /// The gateway's address and port that were tried last.
        remote: SocketAddr,
    },
    /// The system has no route to the gateway.
    NetworkUnreachable {
        /// The gateway's address.
        remote: SocketAddr,
    },
    /// The gateway answered and then fell silent (DPD).
    GatewayLost,
    /// The WireGuard peer that carried the connection in the gateway's place answers no handshake any more.
    WireguardPeerLost,

    // Configuration: both ends are there and don't fit.
    /// No IKE proposal in common.
    NoCommonIkeProposal,
    /// The gateway wants a key exchange group that the profile doesn't offer.
    NoCommonGroup,
    /// No ESP proposal in common.
    NoCommonEspProposal,
    /// There is no such profile.
    ProfileNotFound {
        /// Its name.
        name: ProfileName,
    },
    /// The profile says something that the engine can't do.
    ProfileInvalid {
        /// The key, dotted.
        key: String,
    },
    /// The private key doesn't belong to the certificate, or is of a kind we don't have.
    PrivateKeyUnusable,
    /// The gateway answers in no way, and the WireGuard peer has another pre-shared key than the profile.
    WireguardPresharedKey,

    // Refused by the gateway.
    /// The gateway serves none of the networks asked for (TS_UNACCEPTABLE).
    TrafficSelectorsRefused,
    /// The gateway has no address for us (INTERNAL_ADDRESS_FAILURE).
    NoAddressAssigned,
    /// The gateway insists on assigning an address and we asked for none (FAILED_CP_REQUIRED).
    ConfigurationRequired,
    /// The gateway takes only one pair of selectors (SINGLE_PAIR_REQUIRED).
    SinglePairRequired,
    /// The gateway takes no further CHILD SA (NO_ADDITIONAL_SAS).
    NoAdditionalSas,
    /// The gateway closed the connection.
    GatewayClosed,
    /// The gateway answered with another error.
    GatewayError {
        /// Notify message type.
        notify: u16,
        /// Its name, if registered.
        name: Option<String>,
    },
    /// The gateway's messages break the protocol.
    GatewayProtocol {
        /// What was wrong, for support.
        detail: String,
    },

    // This machine.
    /// The daemon may not do what is needed.
    DaemonNotPermitted {
        /// What: `tun`, `routes` ...
        what: String,
    },
    /// No tunnel device.
    TunUnavailable {
        /// What the system says.
        detail: String,
    },
    /// Routes could not be set.
    RoutesFailed {
        /// What the system says.
        detail: String,
    },
    /// DNS could not be set.
    DnsFailed {
        /// What the system says.
        detail: String,
    },
    /// No socket could be opened or used.
    SocketFailed {
        /// What the system says.
        detail: String,
    },
    /// This system has no back end for it yet.
    Unsupported {
        /// What: `routes`, `dns` ...
        what: String,
    },
    /// The packet threads ended.
    DataPlaneFailed {
        /// What the system says.
        detail: String,
    },
    /// A fault of Evenkeel's own.
    Internal {
        /// What, for a bug report.
        detail: String,
    },

    // Nobody's fault.
    /// Somebody asked for it.
    Cancelled,
    /// The daemon is stopping.
    DaemonStopping,
}

/// Whose business a [`Cause`] is; each has an exit code of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// One side could not prove who it is.
    Authentication,
    /// There is no way to the gateway.
    Unreachable,
    /// Profile and gateway don't fit each other.
    Configuration,
    /// The gateway understood and declined, or went wrong.
    RefusedByGateway,
    /// This machine.
    Local,
    /// It was wanted so.
    Cancelled,
}

/// How the gateway broke EAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EapFault {
    /// EAP-Success before the method was through.
    EarlySuccess,
    /// It could not show that it knows the password.
    ServerNotAuthentic,
    /// A packet that can't be read.
    Malformed,
    /// A packet that doesn't belong there.
    Unexpected,
}

/// How the look-up of a name went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NameFault {
    /// The name does not exist.
    NotFound,
    /// The name server did not answer or could not.
    NoAnswer,
}

impl Cause {
    /// Whose business it is.
    pub fn category(&self) -> Category {
        match self {
            Self::AuthenticationRejected
            | Self::WrongPassword
            | Self::PasswordExpired
            | Self::AccountDisabled
            | Self::OutsideLogonHours
            | Self::NoDialInPermission
            | Self::EapRejected { .. }
            | Self::EapMethodUnsupported { .. }
            | Self::EapProtocol { .. }
            | Self::SecretMissing { .. }
            | Self::PskMismatch
            | Self::GatewayAuthInvalid
            | Self::GatewayAuthMethod
            | Self::GatewayIdentity { .. }
            | Self::GatewayCertificateMissing
            | Self::GatewayCertificateExpired { .. }
            | Self::GatewayCertificateNotYetValid { .. }
            | Self::GatewayCertificateUntrusted
            | Self::GatewayCertificateName { .. }
            | Self::GatewayCertificateUsage
            | Self::GatewayCertificateConstraint
            | Self::GatewayCertificateInvalid => Category::Authentication,

            Self::NameUnresolved { .. }
            | Self::NoResponse { .. }
            | Self::NetworkUnreachable { .. }
            | Self::GatewayLost
            | Self::WireguardPeerLost => Category::Unreachable,

            Self::NoCommonIkeProposal
            | Self::NoCommonGroup
            | Self::NoCommonEspProposal
            | Self::ProfileNotFound { .. }
            | Self::ProfileInvalid { .. }
            | Self::PrivateKeyUnusable
            | Self::WireguardPresharedKey => Category::Configuration,

            Self::TrafficSelectorsRefused
            | Self::NoAddressAssigned
            | Self::ConfigurationRequired
            | Self::SinglePairRequired
            | Self::NoAdditionalSas
            | Self::GatewayClosed
            | Self::GatewayError { .. }
            | Self::GatewayProtocol { .. } => Category::RefusedByGateway,

            Self::DaemonNotPermitted { .. }
            | Self::TunUnavailable { .. }
            | Self::RoutesFailed { .. }
            | Self::DnsFailed { .. }
            | Self::SocketFailed { .. }
            | Self::Unsupported { .. }
            | Self::DataPlaneFailed { .. }
            | Self::Internal { .. } => Category::Local,

            Self::Cancelled | Self::DaemonStopping => Category::Cancelled,
        }
    }

    /// The stable code, as in JSON.
    pub fn code(&self) -> String {
        let value = serde_json::to_value(self).ok();
        value.and_then(|v| v.get("code")?.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// Adds the category to a cause in JSON; reading ignores it, since the code determines it.
pub(crate) fn with_category<S: Serializer>(cause: &Option<Cause>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Categorised<'c> {
        category: Category,
        #[serde(flatten)]
        cause: &'c Cause,
    }
    cause.as_ref().map(|cause| Categorised { category: cause.category(), cause }).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Status;

    #[test]
    fn a_cause_in_json_has_code_category_and_arguments() {
        let mut status = Status::off(Timestamp::from_unix(0));
        status.cause = Some(Cause::GatewayCertificateExpired { not_after: Timestamp::from_unix(0) });
        let json = serde_json::to_value(&status).expect("serialises");
        assert_eq!(
            json.get("cause"),
            Some(&serde_json::json!({
                "code": "gateway-certificate-expired",
                "category": "authentication",
                "not_after": "1970-01-01T00:00:00Z",
            }))
        );
        assert_eq!(serde_json::from_value::<Status>(json).expect("parses"), status);
    }

    #[test]
    fn codes_are_kebab_case() {
        assert_eq!(Cause::NoCommonIkeProposal.code(), "no-common-ike-proposal");
        assert_eq!(Cause::EapMethodUnsupported { method: 13 }.code(), "eap-method-unsupported");
    }
}
