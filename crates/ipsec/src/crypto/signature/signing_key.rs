//! Private keys.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaSignatureEncoding,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::{self, PemObject};

use super::public_key::{PublicKey, modulus_bits};
use super::{
    AuthChoice, Curve, HashAlgorithm, KeyKind, SignatureScheme, algorithm_identifier, method, rsa_sha1,
};

/// Why a private key could not be loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// The key is encrypted with a passphrase.
    #[error("the private key is encrypted")]
    Encrypted,
    /// There is no private key in the file.
    #[error("no private key found")]
    NotFound,
    /// The key can't be read, is inconsistent, or is of a kind or size that isn't supported: RSA of 2048 to 8192
    /// bits, ECDSA on P-256, P-384 or P-521, Ed25519.
    #[error("unsupported or damaged private key")]
    Unsupported,
}

/// Why a signature could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignError {
    /// The choice doesn't fit the key, or method and scheme don't fit each other.
    #[error("the key can not sign with this scheme")]
    WrongScheme,
    /// The library failed.
    #[error("signing failed")]
    Failed,
}

/// A private key that signs AUTH payloads.
pub struct SigningKey {
    pub(super) key: Key,
}

pub(super) enum Key {
    Rsa {
        pair: rsa::KeyPair,
        bits: u32,
    },
    /// The library ties a key pair to one encoding of signatures: DER for method 14, fixed for methods 9 to 11.
    Ecdsa {
        curve: Curve,
        der: EcdsaKeyPair,
        fixed: EcdsaKeyPair,
    },
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// The first private key in a PEM file, whatever else is in it.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        match PrivateKeyDer::from_pem_slice(pem) {
            Ok(PrivateKeyDer::Pkcs1(_)) if holds(pem, b"Proc-Type: 4,ENCRYPTED") => Err(KeyError::Encrypted),
            Ok(PrivateKeyDer::Pkcs1(der)) => Self::from_pkcs1_der(der.secret_pkcs1_der()),
            Ok(PrivateKeyDer::Sec1(der)) => Self::from_sec1_der(der.secret_sec1_der()),
            Ok(PrivateKeyDer::Pkcs8(der)) => Self::from_pkcs8_der(der.secret_pkcs8_der()),
            Ok(_) => Err(KeyError::Unsupported),
            Err(_) if holds(pem, b"BEGIN ENCRYPTED PRIVATE KEY") || holds(pem, b"Proc-Type: 4,ENCRYPTED") => {
                Err(KeyError::Encrypted)
            }
            Err(pem::Error::NoItemsFound) => Err(KeyError::NotFound),
            Err(_) => Err(KeyError::Unsupported),
        }
    }

    /// A key in PKCS#8 (RFC 5958), not encrypted.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`].
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        rsa::KeyPair::from_pkcs8(der)
            .ok()
            .and_then(Key::rsa)
            .or_else(|| Key::ecdsa(|algorithm| EcdsaKeyPair::from_pkcs8(algorithm, der).ok()))
            .or_else(|| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok().map(Key::Ed25519))
            .map(|key| Self { key })
            .ok_or(KeyError::Unsupported)
    }

    /// An RSA key in PKCS#1 (RFC 8017 A.1.2).
    ///
    /// # Errors
    /// [`KeyError::Unsupported`].
    pub fn from_pkcs1_der(der: &[u8]) -> Result<Self, KeyError> {
        let key = rsa::KeyPair::from_der(der).ok().and_then(Key::rsa);
        key.map(|key| Self { key }).ok_or(KeyError::Unsupported)
    }

    /// An elliptic curve key in SEC 1 (RFC 5915).
    ///
    /// # Errors
    /// [`KeyError::Unsupported`].
    pub fn from_sec1_der(der: &[u8]) -> Result<Self, KeyError> {
        let key = Key::ecdsa(|algorithm| EcdsaKeyPair::from_private_key_der(algorithm, der).ok());
        key.map(|key| Self { key }).ok_or(KeyError::Unsupported)
    }

    /// What kind of key this is.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        match &self.key {
            Key::Rsa { bits, .. } => KeyKind::Rsa { bits: *bits },
            Key::Ecdsa { curve: Curve::P256, .. } => KeyKind::P256,
            Key::Ecdsa { curve: Curve::P384, .. } => KeyKind::P384,
            Key::Ecdsa { curve: Curve::P521, .. } => KeyKind::P521,
            Key::Ed25519(_) => KeyKind::Ed25519,
        }
    }

    /// Whether the DER certificate is for this key.
    #[must_use]
    pub fn belongs_to(&self, certificate: &[u8]) -> bool {
        let ours = match &self.key {
            Key::Rsa { pair, .. } => pair.public_key().as_ref(),
            Key::Ecdsa { der, .. } => der.public_key().as_ref(),
            Key::Ed25519(pair) => pair.public_key().as_ref(),
        };
        PublicKey::of_certificate(certificate)
            .is_ok_and(|theirs| self.kind() == theirs.kind.into() && ours == theirs.octets)
    }

    /// Signs the octets of RFC 7296 §2.15. Gives the AUTH payload's authentication data, for method 14 with the
    /// AlgorithmIdentifier in front.
    ///
    /// # Errors
    /// [`SignError::WrongScheme`] for a choice that isn't one for this key, [`SignError::Failed`] if the library fails.
    pub fn sign(&self, auth: AuthChoice, octets: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = match (&self.key, auth.method, auth.scheme) {
            (Key::Rsa { pair, .. }, method::RSA, SignatureScheme::RsaPkcs1(HashAlgorithm::Sha1)) => {
                rsa_sha1::sign(pair, octets).ok_or(SignError::Failed)?
            }
            (Key::Rsa { pair, .. }, method::DIGITAL_SIGNATURE, scheme) => {
                let encoding = rsa_encoding(scheme).ok_or(SignError::WrongScheme)?;
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &SystemRandom::new(), octets, &mut signature)
                    .map_err(|_| SignError::Failed)?;
                signature
            }
            (Key::Ecdsa { curve, der, fixed }, auth_method, scheme) => {
                let own = Ecdsa::of(*curve);
                if scheme != own.scheme {
                    return Err(SignError::WrongScheme);
                }
                let pair = match auth_method {
                    method::DIGITAL_SIGNATURE => der,
                    legacy if legacy == own.legacy_method => fixed,
                    _ => return Err(SignError::WrongScheme),
                };
                let signature = pair.sign(&SystemRandom::new(), octets);
                signature.map_err(|_| SignError::Failed)?.as_ref().to_vec()
            }
            (Key::Ed25519(pair), method::DIGITAL_SIGNATURE, SignatureScheme::Ed25519) => {
                pair.try_sign(octets).map_err(|_| SignError::Failed)?.as_ref().to_vec()
            }
            (Key::Rsa { .. } | Key::Ed25519(_), _, _) => return Err(SignError::WrongScheme),
        };
        algorithm_identifier::join(auth.method, auth.scheme, &signature).ok_or(SignError::WrongScheme)
    }
}

impl Key {
    fn rsa(pair: rsa::KeyPair) -> Option<Self> {
        let bits = modulus_bits(pair.public_key().as_ref())?;
        (2048..=8192).contains(&bits).then_some(Self::Rsa { pair, bits })
    }

    /// `load` reads the key under one algorithm; it fails for all but the key's own curve.
    fn ecdsa(load: impl Fn(&'static EcdsaSigningAlgorithm) -> Option<EcdsaKeyPair>) -> Option<Self> {
        [Curve::P256, Curve::P384, Curve::P521].into_iter().find_map(|curve| {
            let own = Ecdsa::of(curve);
            Some(Self::Ecdsa { curve, der: load(own.der)?, fixed: load(own.fixed)? })
        })
    }
}

/// What goes with an ECDSA key of some curve.
struct Ecdsa {
    scheme: SignatureScheme,
    legacy_method: u8,
    der: &'static EcdsaSigningAlgorithm,
    fixed: &'static EcdsaSigningAlgorithm,
}

impl Ecdsa {
    fn of(curve: Curve) -> Self {
        match curve {
            Curve::P256 => Self {
                scheme: SignatureScheme::ECDSA_P256_SHA256,
                legacy_method: method::ECDSA_P256,
                der: &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
                fixed: &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            },
            Curve::P384 => Self {
                scheme: SignatureScheme::ECDSA_P384_SHA384,
                legacy_method: method::ECDSA_P384,
                der: &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
                fixed: &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            },
            Curve::P521 => Self {
                scheme: SignatureScheme::ECDSA_P521_SHA512,
                legacy_method: method::ECDSA_P521,
                der: &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
                fixed: &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
            },
        }
    }
}

fn rsa_encoding(scheme: SignatureScheme) -> Option<&'static RsaSignatureEncoding> {
    use HashAlgorithm::{Sha256, Sha384, Sha512};
    match scheme {
        SignatureScheme::RsaPss(Sha256) => Some(&signature::RSA_PSS_SHA256),
        SignatureScheme::RsaPss(Sha384) => Some(&signature::RSA_PSS_SHA384),
        SignatureScheme::RsaPss(Sha512) => Some(&signature::RSA_PSS_SHA512),
        SignatureScheme::RsaPkcs1(Sha256) => Some(&signature::RSA_PKCS1_SHA256),
        SignatureScheme::RsaPkcs1(Sha384) => Some(&signature::RSA_PKCS1_SHA384),
        SignatureScheme::RsaPkcs1(Sha512) => Some(&signature::RSA_PKCS1_SHA512),
        SignatureScheme::RsaPss(HashAlgorithm::Sha1 | HashAlgorithm::Identity)
        | SignatureScheme::RsaPkcs1(HashAlgorithm::Sha1 | HashAlgorithm::Identity)
        | SignatureScheme::Ecdsa(..)
        | SignatureScheme::Ed25519 => None,
    }
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
