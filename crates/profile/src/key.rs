//! Private keys of client certificates: recognised, decrypted where a passphrase is given, kept as PEM.
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, SecretDocument};
use rustls_pki_types::pem::{PemObject, SectionKind};
use thiserror::Error;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::pem::{LineEnding, encode_string};
use x509_cert::der::{Decode, Tag, Tagged};
use zeroize::Zeroizing;

use crate::Secret;

/// Why bytes are no usable private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Not one private key in there.
    #[error("holds no private key; allowed: PEM with PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY")]
    None,
    /// The block can't be decoded.
    #[error("holds a damaged private key")]
    Malformed,
    /// Encrypted and no passphrase given.
    #[error("is encrypted and needs its passphrase")]
    PassphraseNeeded,
    /// Encrypted with another passphrase.
    #[error("can't be decrypted: wrong passphrase, or a damaged file")]
    WrongPassphrase,
    /// Encrypted in a way that isn't supported.
    #[error(
        "is encrypted in OpenSSL's old format; allowed: PKCS#8, which `openssl pkcs8 -topk8 -in OLD -out NEW` makes"
    )]
    OldEncryption,
}

const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// The first private key of a PEM file, unencrypted.
pub(crate) fn read_private_key(bytes: &[u8], passphrase: Option<&Secret>) -> Result<Secret, KeyError> {
    let text = std::str::from_utf8(bytes).map_err(|_| KeyError::None)?;
    if let Some((_, rest)) = text.split_once(ENCRYPTED) {
        let passphrase = passphrase.ok_or(KeyError::PassphraseNeeded)?;
        return decrypt(rest, passphrase);
    }
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(KeyError::OldEncryption);
    }
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
        let (kind, der) = section.map_err(|_| KeyError::Malformed)?;
        let der = Zeroizing::new(der);
        let label = if kind == SectionKind::PrivateKey {
            return pkcs8_to_pem(&der);
        } else if kind == SectionKind::RsaPrivateKey {
            "RSA PRIVATE KEY"
        } else if kind == SectionKind::EcPrivateKey {
            "EC PRIVATE KEY"
        } else {
            continue;
        };
        return to_pem(label, &der);
    }
    Err(KeyError::None)
}

/// PKCS#8 DER as PEM.
pub(crate) fn pkcs8_to_pem(der: &[u8]) -> Result<Secret, KeyError> {
    PrivateKeyInfoRef::try_from(der).map_err(|_| KeyError::Malformed)?;
    to_pem("PRIVATE KEY", der)
}

fn to_pem(label: &str, der: &[u8]) -> Result<Secret, KeyError> {
    let outer = AnyRef::from_der(der).map_err(|_| KeyError::Malformed)?;
    if outer.tag() != Tag::Sequence {
        return Err(KeyError::Malformed);
    }
    encode_string(label, LineEnding::LF, der).map(Secret::new).map_err(|_| KeyError::Malformed)
}

fn decrypt(after_label: &str, passphrase: &Secret) -> Result<Secret, KeyError> {
    let (body, _) = after_label.split_once("-----END").ok_or(KeyError::Malformed)?;
    let pem = format!("{ENCRYPTED}{body}-----END ENCRYPTED PRIVATE KEY-----\n");
    let (_, document) = SecretDocument::from_pem(&pem).map_err(|_| KeyError::Malformed)?;
    let encrypted =
        EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|_| KeyError::Malformed)?;
    let plain = encrypted.decrypt(passphrase.expose()).map_err(|_| KeyError::WrongPassphrase)?;
    pkcs8_to_pem(plain.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    // openssl genpkey -algorithm ed25519 | openssl pkcs8 -topk8 -passout pass:sesame -v2 aes-256-cbc
    const SEALED: &str = include_str!("../tests/data/ed25519-sesame.key");

    fn refusal(bytes: &[u8], passphrase: Option<&str>) -> Option<KeyError> {
        read_private_key(bytes, passphrase.map(Secret::new).as_ref()).err()
    }

    #[test]
    fn a_plain_pkcs8_key_is_taken() {
        let key = rcgen::KeyPair::generate().expect("key").serialize_pem();
        let taken = read_private_key(key.as_bytes(), None).expect("taken");
        assert_eq!(taken.expose().replace('\n', ""), key.replace(['\n', '\r'], ""));
    }

    #[test]
    fn an_encrypted_key_opens_with_its_passphrase_only() {
        assert_eq!(refusal(SEALED.as_bytes(), None), Some(KeyError::PassphraseNeeded));
        assert_eq!(refusal(SEALED.as_bytes(), Some("open")), Some(KeyError::WrongPassphrase));
        let key = read_private_key(SEALED.as_bytes(), Some(&Secret::new("sesame"))).expect("opens");
        assert!(key.expose().starts_with("-----BEGIN PRIVATE KEY-----"));
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_reason() {
        assert_eq!(refusal(b"hello", None), Some(KeyError::None));
        assert_eq!(refusal(&[0xff, 0xfe], None), Some(KeyError::None));
        let cut = b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
        assert_eq!(refusal(cut, None), Some(KeyError::Malformed));
        let old =
            b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n";
        assert_eq!(refusal(old, None), Some(KeyError::OldEncryption));
    }
}
