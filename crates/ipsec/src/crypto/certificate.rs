//! X.509 (RFC 5280, RFC 4945): what a certificate check is asked. No certificate is accepted by this revision.

use crate::wire::Id;

/// Seconds since 1970, for validity periods.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct UnixTime(pub u64);

/// Certification authorities that are trusted.
pub struct TrustAnchors;

impl TrustAnchors {
    /// SHA-1 hashes of their public keys, for CERTREQ (RFC 7296 §3.7).
    #[must_use]
    pub fn ca_key_hashes(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// Why a certificate was not accepted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CertificateError {
    /// Nothing is accepted.
    #[error("unsupported certificate")]
    Unsupported,
}

/// Whose certificate it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerRole {
    /// A gateway's.
    Gateway,
    /// A client's.
    Client,
}

/// A chain to be checked.
pub struct CertificateCheck<'a> {
    /// DER certificates, leaf first.
    pub chain: &'a [Vec<u8>],
    /// Whom to trust.
    pub anchors: &'a TrustAnchors,
    /// Whom the leaf must name.
    pub expected_id: &'a Id,
    /// The time.
    pub now: UnixTime,
    /// What the leaf is used for.
    pub role: PeerRole,
}

impl CertificateCheck<'_> {
    /// Checks the chain.
    ///
    /// # Errors
    /// Always, in this revision.
    pub fn verify(&self) -> Result<(), CertificateError> {
        Err(CertificateError::Unsupported)
    }
}
