//! Why a certificate is refused.

use webpki::Error;

use super::UnixTime;

/// Why a peer's certificate is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CertificateError {
    /// The peer sent none.
    #[error("the peer sent no certificate")]
    Missing,
    /// The certificate, or one on its path, has expired.
    #[error("the certificate has expired")]
    Expired {
        /// The last second of its validity.
        not_after: UnixTime,
    },
    /// The certificate, or one on its path, is not valid yet; often a wrong clock.
    #[error("the certificate is not valid yet")]
    NotYetValid {
        /// The first second of its validity.
        not_before: UnixTime,
    },
    /// No path leads to a trust anchor. An issuer of the right name and the wrong key counts as unknown.
    #[error("the certificate is not issued by a trusted authority")]
    UnknownIssuer,
    /// The certificate is genuine, and somebody else's.
    #[error("the certificate is for {}, not for {expected}", presented.join(", "))]
    WrongIdentity {
        /// Who the peer should be.
        expected: String,
        /// Whom the certificate is for: the first 20 identities.
        presented: Vec<String>,
    },
    /// The extended key usage, of it or of an intermediate, excludes this use.
    #[error("the certificate's extended key usage does not allow this use")]
    WrongUsage,
    /// The key usage excludes signatures.
    #[error("the certificate's key usage does not allow signatures")]
    KeyUsage,
    /// A CA's certificate in place of the peer's own.
    #[error("the peer's certificate is one of a certification authority")]
    CaUsedAsLeaf,
    /// A certificate on the path is none of a CA, or mustn't sign certificates.
    #[error("the certificate is issued by something that is no certification authority")]
    IssuerNotCa,
    /// More intermediates than a CA on the path, or we, allow.
    #[error("the certificate's path is too long")]
    PathTooLong,
    /// A name is outside what a CA on the path may certify, or is constrained in a way that we can't evaluate.
    #[error("the certificate violates a name constraint of its issuer")]
    NameConstraint,
    /// More certificates, octets or possible paths than any honest peer has.
    #[error("too many certificates")]
    TooLarge,
    /// A signature algorithm, key, version or critical extension that isn't supported: SHA-1, RSA below 2048 bits.
    #[error("the certificate uses something that is not supported")]
    Unsupported,
    /// The certificate can't be read.
    #[error("malformed certificate")]
    Malformed,
}

impl CertificateError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library's list is open and long; whatever isn't named is a fault in the encoding"
    )]
    pub(super) fn from_webpki(error: Error) -> Self {
        match error {
            Error::CertExpired { not_after, .. } => {
                Self::Expired { not_after: UnixTime(not_after.as_secs()) }
            }
            Error::CertNotValidYet { not_before, .. } => {
                Self::NotYetValid { not_before: UnixTime(not_before.as_secs()) }
            }
            Error::UnknownIssuer | Error::InvalidSignatureForPublicKey | Error::CertDistrusted => {
                Self::UnknownIssuer
            }
            Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => Self::WrongUsage,
            Error::CaUsedAsEndEntity => Self::CaUsedAsLeaf,
            Error::EndEntityUsedAsCa => Self::IssuerNotCa,
            Error::PathLenConstraintViolated | Error::MaximumPathDepthExceeded => Self::PathTooLong,
            Error::NameConstraintViolation
            | Error::MalformedNameConstraint
            | Error::InvalidNetworkMaskConstraint => Self::NameConstraint,
            Error::MaximumSignatureChecksExceeded
            | Error::MaximumPathBuildCallsExceeded
            | Error::MaximumNameConstraintComparisonsExceeded => Self::TooLarge,
            Error::UnsupportedCertVersion
            | Error::UnsupportedCriticalExtension
            | Error::UnsupportedNameType
            | Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Self::Unsupported,
            _ => Self::Malformed,
        }
    }
}
