//! Protection of SK and SKF payloads, one direction of an IKE SA (RFC 7296 §3.14, RFC 5282).

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    self, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::{constant_time, hmac};
use zeroize::Zeroizing;

use super::{Encr, Integ, KeyBits, Rng};

/// Why an SK payload could not be sealed or opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SkError {
    /// The integrity check failed: forged, damaged, or not meant for this SA.
    #[error("the integrity check of the encrypted payload failed")]
    Integrity,
    /// Too short to hold IV, padding length and integrity check value, or not a whole number of blocks.
    #[error("the encrypted payload is too short or not a whole number of blocks")]
    Length,
    /// The peer, who holds the key, claims more padding than there are octets.
    #[error("the padding length of the encrypted payload exceeds its content")]
    Padding,
    /// The key material doesn't fit the algorithms.
    #[error("the key material does not fit the algorithms")]
    Key,
    /// The library could not encrypt, or the IVs are used up.
    #[error("the encrypted payload could not be sealed")]
    Seal,
}

/// The keys of one direction.
///
/// Neither `Clone` nor able to go back: for an AEAD the IV is a counter of this value alone, so no (key, IV) pair
/// can repeat as long as each direction of each IKE SA has one `SkKey`.
pub struct SkKey {
    protection: Protection,
}

enum Protection {
    Aead { key: LessSafeKey, salt: [u8; Encr::SALT_LEN], next_iv: u64 },
    Cbc(Box<CbcKeys>),
}

struct CbcKeys {
    encrypting: EncryptingKey,
    decrypting: DecryptingKey,
    integ: Integ,
    integ_key: hmac::Key,
}

const AEAD_IV_LEN: usize = 8;
const BLOCK: usize = 16;

impl SkKey {
    /// Keys from SK_ei or SK_er (`encr_key`, an AEAD's salt at its end) and SK_ai or SK_ar (`integ_key`, empty for an
    /// AEAD).
    ///
    /// # Errors
    /// [`SkError::Key`] if a length is wrong, or an integrity algorithm is missing or given in vain.
    pub fn new(encr: Encr, integ: Option<Integ>, encr_key: &[u8], integ_key: &[u8]) -> Result<Self, SkError> {
        if encr_key.len() != encr.key_len() || integ_key.len() != integ.map_or(0, Integ::key_len) {
            return Err(SkError::Key);
        }
        let protection = match (encr, integ) {
            (Encr::AesGcm16(bits), None) => {
                let algorithm = match bits {
                    KeyBits::Bits128 => &aead::AES_128_GCM,
                    KeyBits::Bits256 => &aead::AES_256_GCM,
                };
                Protection::aead(algorithm, encr_key)?
            }
            (Encr::ChaCha20Poly1305, None) => Protection::aead(&aead::CHACHA20_POLY1305, encr_key)?,
            (Encr::AesCbc(bits), Some(integ)) => {
                let algorithm = match bits {
                    KeyBits::Bits128 => &cipher::AES_128,
                    KeyBits::Bits256 => &cipher::AES_256,
                };
                let key = || UnboundCipherKey::new(algorithm, encr_key).map_err(|_| SkError::Key);
                Protection::Cbc(Box::new(CbcKeys {
                    encrypting: EncryptingKey::cbc(key()?).map_err(|_| SkError::Key)?,
                    decrypting: DecryptingKey::cbc(key()?).map_err(|_| SkError::Key)?,
                    integ,
                    integ_key: integ.key(integ_key),
                }))
            }
            (Encr::AesGcm16(_) | Encr::ChaCha20Poly1305, Some(_)) | (Encr::AesCbc(_), None) => {
                return Err(SkError::Key);
            }
        };
        Ok(Self { protection })
    }

    /// Octets that `plain_len` octets of payloads take once sealed: IV, ciphertext with padding, ICV.
    #[must_use]
    pub fn sealed_len(&self, plain_len: usize) -> usize {
        match &self.protection {
            Protection::Aead { .. } => AEAD_IV_LEN + plain_len + 1 + Encr::TAG_LEN,
            Protection::Cbc(keys) => BLOCK + (plain_len + 1).next_multiple_of(BLOCK) + keys.integ.icv_len(),
        }
    }

    /// The most octets of payloads whose sealed form fits in `sealed_len` octets: what a fragment can carry
    /// (RFC 7383 §2.5.1).
    #[must_use]
    pub fn plain_capacity(&self, sealed_len: usize) -> usize {
        match &self.protection {
            Protection::Aead { .. } => sealed_len.saturating_sub(AEAD_IV_LEN + 1 + Encr::TAG_LEN),
            Protection::Cbc(keys) => {
                let ciphertext = sealed_len.saturating_sub(BLOCK + keys.integ.icv_len());
                (ciphertext / BLOCK * BLOCK).saturating_sub(1)
            }
        }
    }

    /// The complete message: `prefix` (IKE header through the SK or SKF header, with final lengths) and the sealed
    /// `plaintext` after it.
    ///
    /// # Errors
    /// [`SkError::Seal`] if the IVs are used up or the library fails; nothing may be sent then.
    pub fn seal(&mut self, prefix: &[u8], plaintext: &[u8], rng: &mut Rng) -> Result<Vec<u8>, SkError> {
        let sealed_len = self.sealed_len(plaintext.len());
        let mut message = Vec::with_capacity(prefix.len() + sealed_len);
        message.extend_from_slice(prefix);
        match &mut self.protection {
            Protection::Aead { key, salt, next_iv } => {
                let iv = next_iv.to_be_bytes();
                *next_iv = next_iv.checked_add(1).ok_or(SkError::Seal)?;
                message.extend_from_slice(&iv);
                let start = message.len();
                message.extend_from_slice(plaintext);
                message.push(0);
                let body = message.get_mut(start..).ok_or(SkError::Seal)?;
                let tag = key
                    .seal_in_place_separate_tag(nonce(*salt, iv), Aad::from(prefix), body)
                    .map_err(|_| SkError::Seal)?;
                message.extend_from_slice(tag.as_ref());
            }
            Protection::Cbc(keys) => {
                let CbcKeys { encrypting, integ, integ_key, .. } = keys.as_ref();
                // Unpredictable, as CBC asks for (RFC 3602 §3): drawn anew for every message.
                let iv: [u8; BLOCK] = rng.array();
                message.extend_from_slice(&iv);
                let start = message.len();
                message.extend_from_slice(plaintext);
                let pad = (plaintext.len() + 1).next_multiple_of(BLOCK) - plaintext.len() - 1;
                message.resize(message.len() + pad, 0);
                message.push(u8::try_from(pad).map_err(|_| SkError::Seal)?);
                let body = message.get_mut(start..).ok_or(SkError::Seal)?;
                encrypting
                    .less_safe_encrypt(body, EncryptionContext::Iv128(iv.into()))
                    .map_err(|_| SkError::Seal)?;
                let icv = hmac::sign(integ_key, &message);
                message.extend(icv.as_ref().iter().take(integ.icv_len()));
            }
        }
        debug_assert_eq!(message.len(), prefix.len() + sealed_len);
        Ok(message)
    }

    /// The payloads inside a message whose first `aad_len` octets (IKE header through the SK or SKF header) are in
    /// the clear. Nothing is decrypted before the integrity check has passed.
    ///
    /// # Errors
    /// See [`SkError`]; all but [`SkError::Integrity`] and [`SkError::Length`] come from a peer that holds the key.
    pub fn open(&self, datagram: &[u8], aad_len: usize) -> Result<Zeroizing<Vec<u8>>, SkError> {
        let (aad, sealed) = datagram.split_at_checked(aad_len).ok_or(SkError::Length)?;
        let mut plain = match &self.protection {
            Protection::Aead { key, salt, .. } => {
                let (iv, body) = sealed.split_first_chunk::<AEAD_IV_LEN>().ok_or(SkError::Length)?;
                if body.len() < 1 + Encr::TAG_LEN {
                    return Err(SkError::Length);
                }
                let mut body = Zeroizing::new(body.to_vec());
                let plain_len = key
                    .open_in_place(nonce(*salt, *iv), Aad::from(aad), &mut body)
                    .map_err(|_| SkError::Integrity)?
                    .len();
                body.truncate(plain_len);
                body
            }
            Protection::Cbc(keys) => {
                let CbcKeys { decrypting, integ, integ_key, .. } = keys.as_ref();
                let covered = datagram.len().checked_sub(integ.icv_len()).ok_or(SkError::Length)?;
                let (covered, icv) = datagram.split_at_checked(covered).ok_or(SkError::Length)?;
                let (iv, body) = covered
                    .get(aad_len..)
                    .and_then(|sealed| sealed.split_first_chunk::<BLOCK>())
                    .ok_or(SkError::Length)?;
                if body.is_empty() || body.len() % BLOCK != 0 {
                    return Err(SkError::Length);
                }
                let computed = hmac::sign(integ_key, covered);
                let computed = computed.as_ref().get(..integ.icv_len()).ok_or(SkError::Integrity)?;
                constant_time::verify_slices_are_equal(computed, icv).map_err(|_| SkError::Integrity)?;
                let mut body = Zeroizing::new(body.to_vec());
                decrypting
                    .decrypt(&mut body, DecryptionContext::Iv128((*iv).into()))
                    .map_err(|_| SkError::Integrity)?;
                body
            }
        };
        let pad = plain.last().copied().map(usize::from).ok_or(SkError::Length)?;
        let content = plain.len().checked_sub(1 + pad).ok_or(SkError::Padding)?;
        plain.truncate(content);
        Ok(plain)
    }
}

impl Protection {
    fn aead(algorithm: &'static aead::Algorithm, key: &[u8]) -> Result<Self, SkError> {
        let (key, salt) = key.split_last_chunk::<{ Encr::SALT_LEN }>().ok_or(SkError::Key)?;
        let key = UnboundKey::new(algorithm, key).map_err(|_| SkError::Key)?;
        Ok(Self::Aead { key: LessSafeKey::new(key), salt: *salt, next_iv: 0 })
    }
}

/// Salt and explicit IV, in this order (RFC 5282 §4, RFC 7634 §2).
fn nonce(salt: [u8; Encr::SALT_LEN], iv: [u8; AEAD_IV_LEN]) -> Nonce {
    let mut nonce = [0; Encr::SALT_LEN + AEAD_IV_LEN];
    let (head, tail) = nonce.split_at_mut(Encr::SALT_LEN);
    head.copy_from_slice(&salt);
    tail.copy_from_slice(&iv);
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITES: [(Encr, Option<Integ>); 9] = [
        (Encr::AesGcm16(KeyBits::Bits128), None),
        (Encr::AesGcm16(KeyBits::Bits256), None),
        (Encr::ChaCha20Poly1305, None),
        (Encr::AesCbc(KeyBits::Bits128), Some(Integ::HmacSha1_96)),
        (Encr::AesCbc(KeyBits::Bits128), Some(Integ::HmacSha256_128)),
        (Encr::AesCbc(KeyBits::Bits128), Some(Integ::HmacSha384_192)),
        (Encr::AesCbc(KeyBits::Bits256), Some(Integ::HmacSha256_128)),
        (Encr::AesCbc(KeyBits::Bits256), Some(Integ::HmacSha384_192)),
        (Encr::AesCbc(KeyBits::Bits256), Some(Integ::HmacSha512_256)),
    ];
    const PREFIX: [u8; 32] = [0xa5; 32];

    fn key(encr: Encr, integ: Option<Integ>) -> SkKey {
        let integ_key = vec![2; integ.map_or(0, Integ::key_len)];
        SkKey::new(encr, integ, &vec![1; encr.key_len()], &integ_key).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_at_every_length_in_every_suite() {
        let mut rng = Rng::from_seed([0; 32]);
        for (encr, integ) in SUITES {
            let mut sealing = key(encr, integ);
            let opening = key(encr, integ);
            for len in [0, 1, 14, 15, 16, 17, 31, 32, 1000] {
                let plain: Vec<u8> = (0..=u8::MAX).cycle().take(len).collect();
                let message = sealing.seal(&PREFIX, &plain, &mut rng).unwrap();
                assert_eq!(message.len(), PREFIX.len() + sealing.sealed_len(len));
                assert_eq!(*opening.open(&message, PREFIX.len()).unwrap(), plain);
            }
        }
    }

    #[test]
    fn any_changed_octet_and_any_other_length_fail_before_decryption() {
        let mut rng = Rng::from_seed([0; 32]);
        for (encr, integ) in SUITES {
            let mut sealing = key(encr, integ);
            let message = sealing.seal(&PREFIX, b"payloads", &mut rng).unwrap();
            for index in 0..message.len() {
                let mut forged = message.clone();
                forged[index] ^= 1;
                assert_eq!(sealing.open(&forged, PREFIX.len()).unwrap_err(), SkError::Integrity);
            }
            for len in 0..message.len() {
                let error = sealing.open(&message[..len], PREFIX.len()).unwrap_err();
                assert!(matches!(error, SkError::Integrity | SkError::Length));
            }
        }
    }

    #[test]
    fn no_two_messages_share_an_iv() {
        let mut rng = Rng::from_seed([0; 32]);
        for (encr, integ) in SUITES {
            let mut sealing = key(encr, integ);
            let mut ivs = std::collections::BTreeSet::new();
            for _ in 0..100 {
                let message = sealing.seal(&[], b"same", &mut rng).unwrap();
                assert!(ivs.insert(message[..encr.iv_len()].to_vec()));
            }
        }
    }

    #[test]
    fn capacity_is_the_largest_content_that_fits() {
        for (encr, integ) in SUITES {
            let key = key(encr, integ);
            for budget in 64..200 {
                let capacity = key.plain_capacity(budget);
                assert!(key.sealed_len(capacity) <= budget && key.sealed_len(capacity + 1) > budget);
            }
        }
    }

    #[test]
    fn keys_of_wrong_length_or_combination_are_refused() {
        let gcm = Encr::AesGcm16(KeyBits::Bits128);
        let cbc = Encr::AesCbc(KeyBits::Bits128);
        let sha = Integ::HmacSha256_128;
        for (encr, integ, encr_len, integ_len) in [
            (gcm, None, 16, 0),
            (gcm, None, 20, 1),
            (gcm, Some(sha), 20, 32),
            (cbc, None, 16, 0),
            (cbc, Some(sha), 16, 31),
            (cbc, Some(sha), 20, 32),
        ] {
            let error = SkKey::new(encr, integ, &vec![0; encr_len], &vec![0; integ_len]).err();
            assert_eq!(error, Some(SkError::Key));
        }
    }

    #[test]
    fn more_padding_than_content_is_refused_even_when_authentic() {
        let mut rng = Rng::from_seed([0; 32]);
        let cbc = (Encr::AesCbc(KeyBits::Bits128), Some(Integ::HmacSha256_128));
        // Seal by hand: the last plaintext octet claims 255 octets of padding in a block of 16.
        let sealing = key(cbc.0, cbc.1);
        let Protection::Cbc(keys) = &sealing.protection else { unreachable!() };
        let iv: [u8; BLOCK] = rng.array();
        let mut body = [0xff; BLOCK];
        keys.encrypting.less_safe_encrypt(&mut body, EncryptionContext::Iv128(iv.into())).unwrap();
        let mut message = [iv, body].concat();
        let icv = hmac::sign(&keys.integ_key, &message);
        message.extend_from_slice(&icv.as_ref()[..16]);
        assert_eq!(sealing.open(&message, 0).unwrap_err(), SkError::Padding);
    }
}
