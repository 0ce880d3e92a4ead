//! A certificate's public key, sorted by kind.

use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;
use x509_cert::der::asn1::UintRef;
use x509_cert::der::{Decode, Reader, SliceReader};
use x509_cert::spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::{Curve, KeyKind};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// What a certificate says about its key.
pub(super) struct PublicKey {
    pub(super) kind: PublicKeyKind,
    /// The subjectPublicKey's octets: RSAPublicKey, an uncompressed point, or 32 octets.
    pub(super) octets: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PublicKeyKind {
    Rsa { bits: u32 },
    Ecdsa(Curve),
    Ed25519,
}

pub(super) enum PublicKeyError {
    MalformedCertificate,
    UnsupportedKey,
}

impl PublicKey {
    /// The key of a DER certificate.
    pub(super) fn of_certificate(certificate: &[u8]) -> Result<Self, PublicKeyError> {
        let certificate = CertificateDer::from(certificate);
        let certificate =
            EndEntityCert::try_from(&certificate).map_err(|_| PublicKeyError::MalformedCertificate)?;
        Self::of_spki(&certificate.subject_public_key_info())
    }

    fn of_spki(spki: &[u8]) -> Result<Self, PublicKeyError> {
        let malformed = || PublicKeyError::MalformedCertificate;
        let spki = SubjectPublicKeyInfoRef::from_der(spki).map_err(|_| malformed())?;
        let octets = spki.subject_public_key.as_bytes().ok_or_else(malformed)?;
        let kind = match spki.algorithm.oid {
            RSA => PublicKeyKind::Rsa { bits: modulus_bits(octets).ok_or_else(malformed)? },
            EC => match spki.algorithm.parameters_oid().map_err(|_| malformed())? {
                P256 => PublicKeyKind::Ecdsa(Curve::P256),
                P384 => PublicKeyKind::Ecdsa(Curve::P384),
                P521 => PublicKeyKind::Ecdsa(Curve::P521),
                _ => return Err(PublicKeyError::UnsupportedKey),
            },
            ED25519 => PublicKeyKind::Ed25519,
            _ => return Err(PublicKeyError::UnsupportedKey),
        };
        Ok(Self { kind, octets: octets.to_vec() })
    }
}

impl From<PublicKeyKind> for KeyKind {
    fn from(kind: PublicKeyKind) -> Self {
        match kind {
            PublicKeyKind::Rsa { bits } => Self::Rsa { bits },
            PublicKeyKind::Ecdsa(Curve::P256) => Self::P256,
            PublicKeyKind::Ecdsa(Curve::P384) => Self::P384,
            PublicKeyKind::Ecdsa(Curve::P521) => Self::P521,
            PublicKeyKind::Ed25519 => Self::Ed25519,
        }
    }
}

/// Of an RSAPublicKey (RFC 8017 A.1.1).
pub(super) fn modulus_bits(rsa_public_key: &[u8]) -> Option<u32> {
    let mut reader = SliceReader::new(rsa_public_key).ok()?;
    let modulus = reader
        .sequence(|reader| {
            let modulus = UintRef::decode(reader)?;
            let _exponent = UintRef::decode(reader)?;
            Ok::<_, x509_cert::der::Error>(modulus)
        })
        .ok()?;
    let (first, rest) = modulus.as_bytes().split_first()?;
    u32::try_from(rest.len()).ok()?.checked_mul(8)?.checked_add(8 - first.leading_zeros())
}
