//! X.509: whether a peer's certificate can be trusted, and whose it is (RFC 5280, RFC 4945, RFC 6125).
//!
//! [`CertificateCheck::verify`] does all of it in one call: path to a [`TrustAnchors`] entry, validity, usage, name
//! constraints, identity. rustls-webpki builds and verifies the path; this module adds what IKE needs and webpki
//! leaves out: key usage, the IPsec purposes, identities by e-mail and distinguished name, and a bound on the work that
//! an unauthenticated peer can cause.
//!
//! Decisions:
//! * A certificate that is a CA's (basicConstraints) is refused as a peer's own, even when it is itself the anchor.
//! * A self-signed certificate that is no CA's may be pinned: among the anchors it is trusted as itself, under the same
//!   checks as any other, and can't vouch for another certificate.
//! * Only subjectAltName and the whole subject name identify a peer; a common name alone is not a host name
//!   (RFC 6125 §6.4.4).
//! * Name constraints on distinguished names, e-mail addresses and URIs are not evaluated: a certificate with a name of
//!   a form that its issuer constrains so is refused, whether it would satisfy the constraint or not (CVE-2026-35331).
//!   Every certificate has a subject, so a constraint on distinguished names refuses everything below it.
//! * There is no revocation check here, and nothing is ever fetched (CVE-2022-40617).

mod anchors;
mod error;
mod fields;
mod identity;
mod name;
#[cfg(test)]
mod tests;

use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime as PkiTime};
use webpki::{
    EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage,
    RequiredEkuNotFoundContext, VerifiedPath,
};

pub use anchors::{TrustAnchorError, TrustAnchors};
pub use error::CertificateError;
use fields::Fields;
pub(crate) use name::equal as same_name;

use crate::wire::Id;

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UnixTime(pub u64);

/// What the peer is in this connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerRole {
    /// A gateway, seen from a client.
    Gateway,
    /// A client, seen from a gateway.
    Client,
}

/// The question that [`CertificateCheck::verify`] answers.
#[derive(Clone, Copy)]
pub struct CertificateCheck<'a> {
    /// The DER certificates that the peer sent: its own first, then any others in any order.
    pub chain: &'a [Vec<u8>],
    /// Whom we trust.
    pub anchors: &'a TrustAnchors,
    /// Who the peer must be.
    pub expected_id: &'a Id,
    /// The time for which the certificates must be valid.
    pub now: UnixTime,
    /// What the peer is.
    pub role: PeerRole,
}

/// A peer whose certificate has passed every check. That it holds the key is for
/// [`verify_auth`](super::verify_auth) to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedPeer {
    /// Its DER certificate.
    pub leaf: Vec<u8>,
    /// Its subject: a DER Name, as in ID_DER_ASN1_DN.
    pub subject: Vec<u8>,
}

/// More certificates than a peer has reason to send: webpki follows at most six intermediates, and cross-signed
/// ones come twice.
const MAX_CERTIFICATES: usize = 12;
/// More octets than that many certificates have.
const MAX_CHAIN_LEN: usize = 64 * 1024;
/// Path building branches where several certificates have the same subject. With three, a path of six intermediates
/// has at most 3^6 variants; without a bound, a dozen would have millions.
const MAX_SAME_SUBJECT: usize = 3;

impl CertificateCheck<'_> {
    /// Checks the peer's certificate.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn verify(&self) -> Result<VerifiedPeer, CertificateError> {
        let (leaf, others) = self.chain.split_first().ok_or(CertificateError::Missing)?;
        let intermediates = bounded(leaf, others)?;
        let fields = Fields::of(leaf)?;

        let leaf_der = CertificateDer::from(leaf.as_slice());
        let end_entity = EndEntityCert::try_from(&leaf_der).map_err(CertificateError::from_webpki)?;
        let time = PkiTime::since_unix_epoch(Duration::from_secs(self.now.0));
        end_entity
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                self.anchors.for_leaf(leaf),
                &intermediates,
                time,
                Purposes { role: self.role },
                None,
                Some(&issuers_may_sign),
            )
            .map_err(CertificateError::from_webpki)?;
        if !fields.key_usage()?.is_none_or(|usage| usage.digital_signature() || usage.non_repudiation()) {
            // RFC 4945 §5.1.3.2.
            return Err(CertificateError::KeyUsage);
        }
        if !identity::matches(&end_entity, &fields, self.expected_id)? {
            let presented = fields.ids()?.iter().take(MAX_PRESENTED).map(ToString::to_string).collect();
            return Err(CertificateError::WrongIdentity {
                expected: self.expected_id.to_string(),
                presented,
            });
        }
        Ok(VerifiedPeer { leaf: leaf.clone(), subject: fields.subject.to_vec() })
    }
}

/// Names in an error: enough for a person to see what is wrong.
const MAX_PRESENTED: usize = 20;

/// Every identity that a DER certificate presents: its subject if it isn't empty, then what subjectAltName has of
/// DNS names, e-mail addresses, IP addresses and distinguished names.
///
/// # Errors
/// [`CertificateError::Malformed`].
pub fn certificate_ids(certificate: &[u8]) -> Result<Vec<Id>, CertificateError> {
    Fields::of(certificate)?.ids()
}

/// The subject of a DER certificate as a DER Name.
///
/// # Errors
/// [`CertificateError::Malformed`].
pub fn subject_dn(certificate: &[u8]) -> Result<Vec<u8>, CertificateError> {
    Ok(Fields::of(certificate)?.subject.to_vec())
}

/// The other certificates, each once, if they and the leaf are within the bounds.
fn bounded<'a>(leaf: &[u8], others: &'a [Vec<u8>]) -> Result<Vec<CertificateDer<'a>>, CertificateError> {
    let total = others.iter().map(Vec::len).fold(leaf.len(), usize::saturating_add);
    if 1 + others.len() > MAX_CERTIFICATES || total > MAX_CHAIN_LEN {
        return Err(CertificateError::TooLarge);
    }
    let mut kept: Vec<(&[u8], CertificateDer<'_>)> = Vec::with_capacity(others.len());
    for other in others {
        // One that can't be read can't be an issuer either; the path decides whether one is missing.
        let Ok(fields) = Fields::of(other) else { continue };
        if other == leaf || kept.iter().any(|(_, kept)| kept.as_ref() == other) {
            continue;
        }
        if kept.iter().filter(|(subject, _)| *subject == fields.subject).count() == MAX_SAME_SUBJECT {
            return Err(CertificateError::TooLarge);
        }
        kept.push((fields.subject, CertificateDer::from(other.as_slice())));
    }
    Ok(kept.into_iter().map(|(_, certificate)| certificate).collect())
}

/// RFC 5280 §6.1.4 (n): an issuer whose key usage is stated must be allowed to sign certificates.
fn issuers_may_sign(path: &VerifiedPath<'_>) -> Result<(), Error> {
    for issuer in path.intermediate_certificates() {
        let issuer = issuer.der();
        let usage = Fields::of(&issuer).and_then(|fields| fields.key_usage()).map_err(|_| Error::BadDer)?;
        if usage.is_some_and(|usage| !usage.key_cert_sign()) {
            return Err(Error::EndEntityUsedAsCa);
        }
    }
    Ok(())
}

/// The extended key usages that a certificate may have, besides having none at all. They apply to intermediates too:
/// one that is restricted to other purposes can't issue for this one.
struct Purposes {
    role: PeerRole,
}

const SERVER_AUTH: KeyPurposeId<'static> = KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 7, 3, 1]);
const CLIENT_AUTH: KeyPurposeId<'static> = KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 7, 3, 2]);
/// id-kp-ipsecIKE (RFC 4945 §5.1.3.12).
const IPSEC_IKE: KeyPurposeId<'static> = KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 7, 3, 17]);
const ANY: KeyPurposeId<'static> = KeyPurposeId::new(&[0x55, 0x1d, 0x25, 0]);

impl ExtendedKeyUsageValidator for Purposes {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        let (own, required) = match self.role {
            PeerRole::Gateway => (SERVER_AUTH, KeyUsage::server_auth()),
            PeerRole::Client => (CLIENT_AUTH, KeyUsage::client_auth()),
        };
        let mut absent = true;
        for purpose in purposes {
            absent = false;
            if [own, IPSEC_IKE, ANY].contains(&purpose?) {
                return Ok(());
            }
        }
        let wrong = RequiredEkuNotFoundContext { required, present: Vec::new() };
        if absent { Ok(()) } else { Err(Error::RequiredEkuNotFoundContext(wrong)) }
    }
}
