//! Verification of the peer's AUTH payload.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

use super::algorithm_identifier::{self, Identified};
use super::public_key::{PublicKey, PublicKeyError, PublicKeyKind};
use super::{Curve, HashAlgorithm, SignatureScheme, method};

/// Why the peer's signature was not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignatureError {
    /// The signature is wrong.
    #[error("the signature does not verify")]
    Invalid,
    /// The authentication method isn't one of signatures, or not one that we have.
    #[error("authentication method {0} is not supported")]
    UnsupportedMethod(u8),
    /// The AlgorithmIdentifier names nothing that we take, or parameters that we don't.
    #[error("the signature algorithm is not supported")]
    UnsupportedAlgorithm,
    /// The signature uses a hash that we did not announce, or SHA-1 where that isn't allowed.
    #[error("the signature uses {0}, which is not allowed")]
    HashNotAllowed(HashAlgorithm),
    /// The algorithm isn't one for the certificate's key.
    #[error("the signature algorithm does not fit the certificate's key")]
    WrongKey,
    /// The certificate's key is of a kind or size that isn't supported.
    #[error("the certificate's key is not supported")]
    UnsupportedKey,
    /// The certificate can't be read.
    #[error("malformed certificate")]
    MalformedCertificate,
    /// The authentication data is too short for its own lengths.
    #[error("malformed authentication data")]
    Malformed,
}

/// What is allowed in the peer's AUTH payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyPolicy {
    /// Whether RSA PKCS#1 v1.5 over SHA-1 is taken, which gateways without RFC 7427 sign with (method 1).
    pub sha1: bool,
    /// The hash algorithms that we announced; a digital signature (method 14) must use one of them.
    pub hashes: Vec<HashAlgorithm>,
}

/// Verifies the authentication data of an AUTH payload over the octets of RFC 7296 §2.15 with the key of a DER
/// certificate, which is to be checked apart. Gives what it was signed with.
///
/// # Errors
/// See [`SignatureError`].
pub fn verify_auth(
    certificate: &[u8],
    auth_method: u8,
    auth_data: &[u8],
    octets: &[u8],
    allowed: &VerifyPolicy,
) -> Result<SignatureScheme, SignatureError> {
    let key = PublicKey::of_certificate(certificate)?;
    match auth_method {
        method::RSA => verify_rsa_legacy(&key, auth_data, octets, allowed),
        method::ECDSA_P256 => verify_ecdsa_legacy(&key, Curve::P256, auth_data, octets),
        method::ECDSA_P384 => verify_ecdsa_legacy(&key, Curve::P384, auth_data, octets),
        method::ECDSA_P521 => verify_ecdsa_legacy(&key, Curve::P521, auth_data, octets),
        method::DIGITAL_SIGNATURE => verify_digital(&key, auth_data, octets, allowed),
        other => Err(SignatureError::UnsupportedMethod(other)),
    }
}

/// Method 14 (RFC 7427).
fn verify_digital(
    key: &PublicKey,
    auth_data: &[u8],
    octets: &[u8],
    allowed: &VerifyPolicy,
) -> Result<SignatureScheme, SignatureError> {
    let (identified, signature) = algorithm_identifier::split(auth_data).ok_or(SignatureError::Malformed)?;
    let scheme = match (identified.ok_or(SignatureError::UnsupportedAlgorithm)?, key.kind) {
        (Identified::RsaPkcs1(hash), PublicKeyKind::Rsa { .. }) => SignatureScheme::RsaPkcs1(hash),
        (Identified::RsaPss(hash), PublicKeyKind::Rsa { .. }) => SignatureScheme::RsaPss(hash),
        (Identified::Ecdsa(hash), PublicKeyKind::Ecdsa(curve)) => SignatureScheme::Ecdsa(curve, hash),
        (Identified::Ed25519, PublicKeyKind::Ed25519) => SignatureScheme::Ed25519,
        (Identified::RsaPkcs1(_) | Identified::RsaPss(_) | Identified::Ecdsa(_) | Identified::Ed25519, _) => {
            return Err(SignatureError::WrongKey);
        }
    };
    if !allowed.hashes.contains(&scheme.hash()) {
        return Err(SignatureError::HashNotAllowed(scheme.hash()));
    }
    verify(key, scheme, octets, signature)?;
    Ok(scheme)
}

/// Method 1. The hash stands inside the padding only, where the verification compares it; SHA-1 is the default
/// (RFC 7296 §3.8), and the others are tried first.
fn verify_rsa_legacy(
    key: &PublicKey,
    signature: &[u8],
    octets: &[u8],
    allowed: &VerifyPolicy,
) -> Result<SignatureScheme, SignatureError> {
    use HashAlgorithm::{Sha1, Sha256, Sha384, Sha512};
    let PublicKeyKind::Rsa { .. } = key.kind else {
        return Err(SignatureError::WrongKey);
    };
    for hash in [Sha256, Sha384, Sha512, Sha1] {
        let scheme = SignatureScheme::RsaPkcs1(hash);
        match verify(key, scheme, octets, signature) {
            Ok(()) if hash == Sha1 && !allowed.sha1 => return Err(SignatureError::HashNotAllowed(Sha1)),
            Ok(()) => return Ok(scheme),
            Err(SignatureError::Invalid) => {}
            Err(error) => return Err(error),
        }
    }
    Err(SignatureError::Invalid)
}

/// Methods 9, 10 and 11: `r | s`, each as long as the curve's order (RFC 4754 §3).
fn verify_ecdsa_legacy(
    key: &PublicKey,
    curve: Curve,
    signature: &[u8],
    octets: &[u8],
) -> Result<SignatureScheme, SignatureError> {
    if key.kind != PublicKeyKind::Ecdsa(curve) {
        return Err(SignatureError::WrongKey);
    }
    let (algorithm, scheme): (&dyn VerificationAlgorithm, _) = match curve {
        Curve::P256 => (&signature::ECDSA_P256_SHA256_FIXED, SignatureScheme::ECDSA_P256_SHA256),
        Curve::P384 => (&signature::ECDSA_P384_SHA384_FIXED, SignatureScheme::ECDSA_P384_SHA384),
        Curve::P521 => (&signature::ECDSA_P521_SHA512_FIXED, SignatureScheme::ECDSA_P521_SHA512),
    };
    verify_with(algorithm, key, octets, signature)?;
    Ok(scheme)
}

fn verify(
    key: &PublicKey,
    scheme: SignatureScheme,
    octets: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    if let PublicKeyKind::Rsa { bits } = key.kind
        && !(2048..=8192).contains(&bits)
    {
        return Err(SignatureError::UnsupportedKey);
    }
    let algorithm = algorithm(scheme).ok_or(SignatureError::UnsupportedAlgorithm)?;
    verify_with(algorithm, key, octets, signature)
}

fn verify_with(
    algorithm: &'static dyn VerificationAlgorithm,
    key: &PublicKey,
    octets: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    UnparsedPublicKey::new(algorithm, &key.octets)
        .verify(octets, signature)
        .map_err(|_| SignatureError::Invalid)
}

fn algorithm(scheme: SignatureScheme) -> Option<&'static dyn VerificationAlgorithm> {
    use HashAlgorithm::{Identity, Sha1, Sha256, Sha384, Sha512};
    let algorithm: &dyn VerificationAlgorithm = match scheme {
        SignatureScheme::RsaPkcs1(Sha1) => &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        SignatureScheme::RsaPkcs1(Sha256) => &signature::RSA_PKCS1_2048_8192_SHA256,
        SignatureScheme::RsaPkcs1(Sha384) => &signature::RSA_PKCS1_2048_8192_SHA384,
        SignatureScheme::RsaPkcs1(Sha512) => &signature::RSA_PKCS1_2048_8192_SHA512,
        SignatureScheme::RsaPss(Sha256) => &signature::RSA_PSS_2048_8192_SHA256,
        SignatureScheme::RsaPss(Sha384) => &signature::RSA_PSS_2048_8192_SHA384,
        SignatureScheme::RsaPss(Sha512) => &signature::RSA_PSS_2048_8192_SHA512,
        SignatureScheme::Ecdsa(Curve::P256, Sha256) => &signature::ECDSA_P256_SHA256_ASN1,
        SignatureScheme::Ecdsa(Curve::P256, Sha384) => &signature::ECDSA_P256_SHA384_ASN1,
        SignatureScheme::Ecdsa(Curve::P256, Sha512) => &signature::ECDSA_P256_SHA512_ASN1,
        SignatureScheme::Ecdsa(Curve::P384, Sha256) => &signature::ECDSA_P384_SHA256_ASN1,
        SignatureScheme::Ecdsa(Curve::P384, Sha384) => &signature::ECDSA_P384_SHA384_ASN1,
        SignatureScheme::Ecdsa(Curve::P384, Sha512) => &signature::ECDSA_P384_SHA512_ASN1,
        SignatureScheme::Ecdsa(Curve::P521, Sha256) => &signature::ECDSA_P521_SHA256_ASN1,
        SignatureScheme::Ecdsa(Curve::P521, Sha384) => &signature::ECDSA_P521_SHA384_ASN1,
        SignatureScheme::Ecdsa(Curve::P521, Sha512) => &signature::ECDSA_P521_SHA512_ASN1,
        SignatureScheme::Ed25519 => &signature::ED25519,
        SignatureScheme::RsaPss(Sha1 | Identity)
        | SignatureScheme::RsaPkcs1(Identity)
        | SignatureScheme::Ecdsa(_, Sha1 | Identity) => return None,
    };
    Some(algorithm)
}

impl From<PublicKeyError> for SignatureError {
    fn from(error: PublicKeyError) -> Self {
        match error {
            PublicKeyError::MalformedCertificate => Self::MalformedCertificate,
            PublicKeyError::UnsupportedKey => Self::UnsupportedKey,
        }
    }
}
