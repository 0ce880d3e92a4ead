//! Signatures in AUTH payloads: RFC 7427 and RFC 8420 (method 14), and the older methods 1 (RFC 7296 §2.15) and 9, 10
//! and 11 (RFC 4754).
//!
//! [`choose_auth`] says how to sign, [`SigningKey::sign`] does it, [`verify_auth`] checks the peer's. RSA padding salts
//! and ECDSA nonces are drawn inside the library; signing is therefore not part of what a seed replays, and the state
//! machine asks for signatures by an event.

mod algorithm_identifier;
mod public_key;
mod rsa_sha1;
mod signing_key;
#[cfg(test)]
mod tests;
mod verify;

use std::fmt;

pub use signing_key::{KeyError, SignError, SigningKey};
pub use verify::{SignatureError, VerifyPolicy, verify_auth};

/// Hash algorithms of SIGNATURE_HASH_ALGORITHMS (RFC 7427 §4, RFC 8420 §2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HashAlgorithm {
    /// SHA-1. Never announced.
    Sha1 = 1,
    /// SHA2-256.
    Sha256 = 2,
    /// SHA2-384.
    Sha384 = 3,
    /// SHA2-512.
    Sha512 = 4,
    /// The message itself is signed: Ed25519.
    Identity = 5,
}

impl HashAlgorithm {
    /// What we announce, in this order.
    pub const ANNOUNCED: [Self; 4] = [Self::Sha256, Self::Sha384, Self::Sha512, Self::Identity];

    /// The number in the notification.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// From the number in the notification; unknown ones are to be skipped.
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Sha1),
            2 => Some(Self::Sha256),
            3 => Some(Self::Sha384),
            4 => Some(Self::Sha512),
            5 => Some(Self::Identity),
            _ => None,
        }
    }
}

/// "SHA2_256".
impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA2_256",
            Self::Sha384 => "SHA2_384",
            Self::Sha512 => "SHA2_512",
            Self::Identity => "IDENTITY",
        })
    }
}

/// Curves of ECDSA keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
}

/// How something is signed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SignatureScheme {
    /// RSASSA-PKCS1-v1_5.
    RsaPkcs1(HashAlgorithm),
    /// RSASSA-PSS with MGF1 over the same hash and a salt as long as the hash.
    RsaPss(HashAlgorithm),
    /// ECDSA.
    Ecdsa(Curve, HashAlgorithm),
    /// Ed25519.
    Ed25519,
}

impl SignatureScheme {
    /// ECDSA on P-256 with SHA2-256.
    pub const ECDSA_P256_SHA256: Self = Self::Ecdsa(Curve::P256, HashAlgorithm::Sha256);
    /// ECDSA on P-384 with SHA2-384.
    pub const ECDSA_P384_SHA384: Self = Self::Ecdsa(Curve::P384, HashAlgorithm::Sha384);
    /// ECDSA on P-521 with SHA2-512.
    pub const ECDSA_P521_SHA512: Self = Self::Ecdsa(Curve::P521, HashAlgorithm::Sha512);

    /// The hash algorithm that the verifier must have announced.
    #[must_use]
    pub const fn hash(self) -> HashAlgorithm {
        match self {
            Self::RsaPkcs1(hash) | Self::RsaPss(hash) | Self::Ecdsa(_, hash) => hash,
            Self::Ed25519 => HashAlgorithm::Identity,
        }
    }
}

/// "RSA_PSS_SHA2_256", "ECDSA_P256_SHA2_256", "ED25519".
impl fmt::Display for SignatureScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RsaPkcs1(hash) => write!(f, "RSA_PKCS1_{hash}"),
            Self::RsaPss(hash) => write!(f, "RSA_PSS_{hash}"),
            Self::Ecdsa(curve, hash) => write!(f, "ECDSA_{curve:?}_{hash}"),
            Self::Ed25519 => f.write_str("ED25519"),
        }
    }
}

/// What kind of key signs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KeyKind {
    /// RSA.
    Rsa {
        /// Bits of the modulus.
        bits: u32,
    },
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521.
    P521,
    /// Ed25519.
    Ed25519,
}

/// Authentication methods (IANA "IKEv2 Authentication Method").
pub(crate) mod method {
    pub(crate) const RSA: u8 = 1;
    pub(crate) const ECDSA_P256: u8 = 9;
    pub(crate) const ECDSA_P384: u8 = 10;
    pub(crate) const ECDSA_P521: u8 = 11;
    pub(crate) const DIGITAL_SIGNATURE: u8 = 14;
}

/// How to make an AUTH payload.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AuthChoice {
    /// The AUTH payload's method.
    pub method: u8,
    /// What to sign with; for methods other than 14 implied by the method.
    pub scheme: SignatureScheme,
}

/// How a key of this kind signs for a peer that announced `peer_hashes`; `None` if it sent no
/// SIGNATURE_HASH_ALGORITHMS, and so knows nothing of RFC 7427.
///
/// A digital signature (method 14) if the peer has a fitting hash: PSS for RSA (RFC 8247 §3.2), and for ECDSA the hash
/// of the curve's size. Else the older methods; Ed25519 has none, and is tried as method 14 regardless.
#[must_use]
pub fn choose_auth(kind: KeyKind, peer_hashes: Option<&[HashAlgorithm]>) -> AuthChoice {
    use HashAlgorithm::{Sha256, Sha384, Sha512};
    let has = |hash: &HashAlgorithm| peer_hashes.is_some_and(|hashes| hashes.contains(hash));
    let digital = |scheme| AuthChoice { method: method::DIGITAL_SIGNATURE, scheme };
    let ecdsa = |method, scheme: SignatureScheme| match has(&scheme.hash()) {
        true => digital(scheme),
        false => AuthChoice { method, scheme },
    };
    match kind {
        KeyKind::Rsa { .. } => match [Sha256, Sha384, Sha512].into_iter().find(has) {
            Some(hash) => digital(SignatureScheme::RsaPss(hash)),
            None => {
                AuthChoice { method: method::RSA, scheme: SignatureScheme::RsaPkcs1(HashAlgorithm::Sha1) }
            }
        },
        KeyKind::P256 => ecdsa(method::ECDSA_P256, SignatureScheme::ECDSA_P256_SHA256),
        KeyKind::P384 => ecdsa(method::ECDSA_P384, SignatureScheme::ECDSA_P384_SHA384),
        KeyKind::P521 => ecdsa(method::ECDSA_P521, SignatureScheme::ECDSA_P521_SHA512),
        KeyKind::Ed25519 => digital(SignatureScheme::Ed25519),
    }
}
