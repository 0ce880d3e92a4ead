//! Private keys of client certificates: recognised, decrypted where a passphrase is given, kept as PEM.
use pkcs8::pkcs5::EncryptionScheme;
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
    /// Its passphrase would have to be stretched for longer, or in more memory, than any tool asks for.
    #[error("takes too long to decrypt; allowed: at most 10,000,000 rounds of PBKDF2, or 256 MiB for scrypt")]
    TooCostly,
    /// Encrypted in a way that isn't supported.
    #[error(
        "is encrypted in OpenSSL's old format; allowed: PKCS#8, which `openssl pkcs8 -topk8 -in OLD -out NEW` makes"
    )]
    OldEncryption,
}

/// OpenSSL's default is 2,048; today's advice is some hundred thousand.
const MAX_PBKDF2_ROUNDS: u32 = 10_000_000;
/// OpenSSL's default is 16 MiB.
const MAX_SCRYPT_BYTES: u64 = 256 << 20;

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
    if !is_affordable(&encrypted.encryption_algorithm) {
        return Err(KeyError::TooCostly);
    }
    let plain = encrypted.decrypt(passphrase.expose()).map_err(|_| KeyError::WrongPassphrase)?;
    pkcs8_to_pem(plain.as_bytes())
}

/// Whether the file, which chooses what its passphrase costs to try, chooses modestly. A damaged or hostile one could
/// keep the importer busy for days, or take all memory.
fn is_affordable(scheme: &EncryptionScheme) -> bool {
    // PBES1 counts to 65,535 at most.
    let Some(pbes2) = scheme.pbes2() else { return true };
    if let Some(pbkdf2) = pbes2.kdf.pbkdf2() {
        return pbkdf2.iteration_count <= MAX_PBKDF2_ROUNDS;
    }
    // RFC 7914 §2: 128 * N * r octets, and the work of that p times.
    pbes2.kdf.scrypt().is_some_and(|scrypt| {
        let factors = [scrypt.cost_parameter, scrypt.block_size.into(), scrypt.parallelization.into()];
        let cost = factors.into_iter().try_fold(128_u64, u64::checked_mul);
        cost.is_some_and(|cost| cost <= MAX_SCRYPT_BYTES)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pkcs8::pkcs5::pbes2::{Kdf, Pbkdf2Params, ScryptParams};
    use pkcs8::pkcs5::scrypt;
    use x509_cert::der::Encode;

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

    /// The encrypted key with another way to stretch the passphrase.
    fn sealed_with(kdf: Kdf) -> String {
        let (_, document) = SecretDocument::from_pem(SEALED).expect("PEM");
        let mut info = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).expect("DER");
        if let EncryptionScheme::Pbes2(parameters) = &mut info.encryption_algorithm {
            parameters.kdf = kdf;
        }
        let der = info.to_der().expect("DER");
        encode_string("ENCRYPTED PRIVATE KEY", LineEnding::LF, &der).expect("PEM")
    }

    #[test]
    fn a_file_that_would_keep_the_importer_busy_for_days_is_refused_at_once() {
        let pbkdf2 = |iteration_count| {
            let modest = Pbkdf2Params::hmac_sha256(1_000, b"salt").expect("parameters");
            Kdf::Pbkdf2(Pbkdf2Params { iteration_count, ..modest })
        };
        let scrypt = |log_n, r, p| {
            let cost = scrypt::Params::new(log_n, r, p).expect("parameters");
            Kdf::Scrypt(ScryptParams::from_params_and_salt(cost, b"salt").expect("parameters"))
        };
        for costly in [pbkdf2(MAX_PBKDF2_ROUNDS + 1), pbkdf2(u32::MAX), scrypt(20, 8, 1), scrypt(14, 8, 17)] {
            let pem = sealed_with(costly);
            assert_eq!(refusal(pem.as_bytes(), Some("sesame")), Some(KeyError::TooCostly));
        }
        for modest in [pbkdf2(1_000), scrypt(10, 8, 1)] {
            let pem = sealed_with(modest);
            assert_eq!(refusal(pem.as_bytes(), Some("sesame")), Some(KeyError::WrongPassphrase));
        }
    }
}
