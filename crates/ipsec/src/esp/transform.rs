//! The ciphers of ESP, applied in place: AES-GCM-16 (RFC 4106), ChaCha20-Poly1305 (RFC 7634), and AES-CBC
//! (RFC 3602) with HMAC (RFC 4868, RFC 2404).

use aes::cipher::{
    Block, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit,
};
use aes::{Aes128Dec, Aes128Enc, Aes256, Aes256Dec, Aes256Enc};
use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{constant_time, hmac};

use super::HEADER_LEN;
use crate::crypto::{Encr, EspSuite, Integ, KeyBits, Secret};

const AEAD_IV: usize = 8;
const AEAD_TAG: usize = 16;
const SALT: usize = 4;
const CBC_BLOCK: usize = 16;

/// Key material of one direction, cut from KEYMAT in this order (RFC 7296 §2.17).
pub struct EspKeys {
    /// Encryption key; for an AEAD the 4-byte salt stands behind it.
    pub encr: Secret,
    /// Integrity key; empty for an AEAD.
    pub integ: Secret,
}

/// The keys do not fit the suite: a mistake on our side, never the peer's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidKeys {
    /// The encryption key has the wrong length.
    #[error("encryption key of {0} bytes does not fit the suite")]
    EncrLength(usize),
    /// The integrity key has the wrong length.
    #[error("integrity key of {0} bytes does not fit the suite")]
    IntegLength(usize),
    /// AES-CBC without an integrity algorithm, or an AEAD with one.
    #[error("the suite must authenticate exactly once")]
    Integrity,
}

/// The library refused: a length beyond what the cipher can take, or an ICV that does not match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refused;

/// One key in one direction. Where the packet's parts lie is the same for both.
pub(super) enum Transform {
    Aead(Aead),
    Cbc(Box<Cbc>),
}

impl Transform {
    /// For sealing; `iv_seed` makes AES-CBC's IVs.
    pub(super) fn sealing(suite: EspSuite, keys: &EspKeys, iv_seed: &[u8; 32]) -> Result<Self, InvalidKeys> {
        Self::new(suite, keys, Some(iv_seed))
    }

    /// For opening.
    pub(super) fn opening(suite: EspSuite, keys: &EspKeys) -> Result<Self, InvalidKeys> {
        Self::new(suite, keys, None)
    }

    fn new(suite: EspSuite, keys: &EspKeys, iv_seed: Option<&[u8; 32]>) -> Result<Self, InvalidKeys> {
        let encr = keys.encr.as_bytes();
        match (suite.encr, suite.integ) {
            (Encr::AesGcm16(KeyBits::Bits128), None) => Aead::new(&aead::AES_128_GCM, keys).map(Self::Aead),
            (Encr::AesGcm16(KeyBits::Bits256), None) => Aead::new(&aead::AES_256_GCM, keys).map(Self::Aead),
            (Encr::ChaCha20Poly1305, None) => Aead::new(&aead::CHACHA20_POLY1305, keys).map(Self::Aead),
            (Encr::AesCbc(bits), Some(integ)) => {
                let mac = Mac::new(integ, keys.integ.as_bytes())?;
                let cipher = match (bits, iv_seed) {
                    (KeyBits::Bits128, Some(seed)) => CbcCipher::Seal128(expand(encr)?, IvSource::new(seed)),
                    (KeyBits::Bits256, Some(seed)) => CbcCipher::Seal256(expand(encr)?, IvSource::new(seed)),
                    (KeyBits::Bits128, None) => CbcCipher::Open128(expand(encr)?),
                    (KeyBits::Bits256, None) => CbcCipher::Open256(expand(encr)?),
                };
                Ok(Self::Cbc(Box::new(Cbc { cipher, mac })))
            }
            (Encr::AesGcm16(_) | Encr::ChaCha20Poly1305, Some(_)) | (Encr::AesCbc(_), None) => {
                Err(InvalidKeys::Integrity)
            }
        }
    }

    pub(super) const fn iv_len(&self) -> usize {
        match self {
            Self::Aead(_) => AEAD_IV,
            Self::Cbc(_) => CBC_BLOCK,
        }
    }

    pub(super) const fn icv_len(&self) -> usize {
        match self {
            Self::Aead(_) => AEAD_TAG,
            Self::Cbc(cbc) => cbc.mac.icv_len,
        }
    }

    /// What the plaintext with its trailer must be a multiple of (RFC 4303 §2.4: at least 4).
    pub(super) const fn alignment(&self) -> usize {
        match self {
            Self::Aead(_) => 4,
            Self::Cbc(_) => CBC_BLOCK,
        }
    }

    /// Encrypts and authenticates a whole packet whose SPI, sequence number, plaintext and trailer are in
    /// place. `sequence` must not occur twice for a key: the AEADs take it as IV.
    #[inline]
    pub(super) fn seal(&self, esp: &mut [u8], sequence: u64, esn: bool) -> Result<(), Refused> {
        match self {
            Self::Aead(aead) => aead.seal(esp, sequence, esn),
            Self::Cbc(cbc) => cbc.seal(esp, sequence, esn),
        }
    }

    /// Verifies and decrypts a whole packet of at least header, IV and ICV.
    #[inline]
    pub(super) fn open(&self, esp: &mut [u8], sequence: u64, esn: bool) -> Result<(), Refused> {
        match self {
            Self::Aead(aead) => aead.open(esp, sequence, esn),
            Self::Cbc(cbc) => cbc.open(esp, sequence, esn),
        }
    }
}

fn expand<Cipher: KeyInit>(key: &[u8]) -> Result<Cipher, InvalidKeys> {
    Cipher::new_from_slice(key).map_err(|_| InvalidKeys::EncrLength(key.len()))
}

/// AES-GCM or ChaCha20-Poly1305: the nonce is salt and IV, in both RFCs.
pub(super) struct Aead {
    key: LessSafeKey,
    salt: [u8; SALT],
}

impl Aead {
    fn new(algorithm: &'static aead::Algorithm, keys: &EspKeys) -> Result<Self, InvalidKeys> {
        if !keys.integ.as_bytes().is_empty() {
            return Err(InvalidKeys::IntegLength(keys.integ.as_bytes().len()));
        }
        let encr = keys.encr.as_bytes();
        let wrong_length = InvalidKeys::EncrLength(encr.len());
        let (key, salt) = encr.split_last_chunk::<SALT>().ok_or(wrong_length)?;
        let key = UnboundKey::new(algorithm, key).map_err(|_| wrong_length)?;
        Ok(Self { key: LessSafeKey::new(key), salt: *salt })
    }

    #[inline]
    fn nonce(&self, iv: [u8; AEAD_IV]) -> Nonce {
        let mut nonce = [0; SALT + AEAD_IV];
        nonce[..SALT].copy_from_slice(&self.salt);
        nonce[SALT..].copy_from_slice(&iv);
        Nonce::assume_unique_for_key(nonce)
    }

    #[inline]
    fn seal(&self, esp: &mut [u8], sequence: u64, esn: bool) -> Result<(), Refused> {
        let (header, rest) = esp.split_first_chunk_mut::<HEADER_LEN>().ok_or(Refused)?;
        let (iv, rest) = rest.split_first_chunk_mut::<AEAD_IV>().ok_or(Refused)?;
        let (plaintext, icv) = rest.split_last_chunk_mut::<AEAD_TAG>().ok_or(Refused)?;
        *iv = sequence.to_be_bytes();
        let aad = AeadHeader::new(header, sequence, esn);
        let tag = self
            .key
            .seal_in_place_separate_tag(self.nonce(*iv), Aad::from(aad.as_slice()), plaintext)
            .map_err(|_| Refused)?;
        icv.copy_from_slice(tag.as_ref());
        Ok(())
    }

    #[inline]
    fn open(&self, esp: &mut [u8], sequence: u64, esn: bool) -> Result<(), Refused> {
        let (header, rest) = esp.split_first_chunk_mut::<HEADER_LEN>().ok_or(Refused)?;
        let (iv, rest) = rest.split_first_chunk_mut::<AEAD_IV>().ok_or(Refused)?;
        let aad = AeadHeader::new(header, sequence, esn);
        self.key
            .open_in_place(self.nonce(*iv), Aad::from(aad.as_slice()), rest)
            .map(|_| ())
            .map_err(|_| Refused)
    }
}

/// The additional data: SPI and sequence number, with ESN all 64 bits of it (RFC 4106 §5, RFC 7634 §2.1).
struct AeadHeader {
    bytes: [u8; 12],
    len: usize,
}

impl AeadHeader {
    #[inline]
    fn new(header: &[u8; HEADER_LEN], sequence: u64, esn: bool) -> Self {
        let mut bytes = [0; 12];
        if esn {
            bytes[..4].copy_from_slice(&header[..4]);
            bytes[4..].copy_from_slice(&sequence.to_be_bytes());
            return Self { bytes, len: 12 };
        }
        bytes[..HEADER_LEN].copy_from_slice(header);
        Self { bytes, len: HEADER_LEN }
    }

    #[inline]
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// AES-CBC, then HMAC over what is sent.
pub(super) struct Cbc {
    cipher: CbcCipher,
    mac: Mac,
}

enum CbcCipher {
    Seal128(Aes128Enc, IvSource),
    Seal256(Aes256Enc, IvSource),
    Open128(Aes128Dec),
    Open256(Aes256Dec),
}

impl Cbc {
    fn seal(&self, esp: &mut [u8], sequence: u64, esn: bool) -> Result<(), Refused> {
        let authenticated = esp.len().checked_sub(self.mac.icv_len).ok_or(Refused)?;
        let (packet, icv) = esp.split_at_mut(authenticated);
        let (iv, plaintext) = packet
            .get_mut(HEADER_LEN..)
            .and_then(|rest| rest.split_first_chunk_mut::<CBC_BLOCK>())
            .ok_or(Refused)?;
        match &self.cipher {
            CbcCipher::Seal128(cipher, ivs) => {
                *iv = ivs.iv(sequence);
                cbc_encrypt(cipher, iv, plaintext)?;
            }
            CbcCipher::Seal256(cipher, ivs) => {
                *iv = ivs.iv(sequence);
                cbc_encrypt(cipher, iv, plaintext)?;
            }
            CbcCipher::Open128(_) | CbcCipher::Open256(_) => return Err(Refused),
        }
        icv.copy_from_slice(&self.mac.sign(packet, sequence, esn).as_ref()[..self.mac.icv_len]);
        Ok(())
    }

    fn open(&self, esp: &mut [u8], sequence: u64, esn: bool) -> Result<(), Refused> {
        let authenticated = esp.len().checked_sub(self.mac.icv_len).ok_or(Refused)?;
        let (packet, icv) = esp.split_at_mut(authenticated);
        let expected = self.mac.sign(packet, sequence, esn);
        constant_time::verify_slices_are_equal(&expected.as_ref()[..self.mac.icv_len], icv)
            .map_err(|_| Refused)?;
        let (iv, ciphertext) = packet
            .get_mut(HEADER_LEN..)
            .and_then(|rest| rest.split_first_chunk_mut::<CBC_BLOCK>())
            .ok_or(Refused)?;
        match &self.cipher {
            CbcCipher::Open128(cipher) => cbc_decrypt(cipher, iv, ciphertext),
            CbcCipher::Open256(cipher) => cbc_decrypt(cipher, iv, ciphertext),
            CbcCipher::Seal128(..) | CbcCipher::Seal256(..) => Err(Refused),
        }
    }
}

fn cbc_encrypt<Cipher>(cipher: &Cipher, iv: &[u8; CBC_BLOCK], data: &mut [u8]) -> Result<(), Refused>
where
    Cipher: BlockCipherEncrypt<BlockSize = aes::cipher::consts::U16>,
{
    let (blocks, []) = Block::<Cipher>::slice_as_chunks_mut(data) else { return Err(Refused) };
    cbc::Encryptor::inner_iv_init(cipher, iv.into()).encrypt_blocks(blocks);
    Ok(())
}

fn cbc_decrypt<Cipher>(cipher: &Cipher, iv: &[u8; CBC_BLOCK], data: &mut [u8]) -> Result<(), Refused>
where
    Cipher: BlockCipherDecrypt<BlockSize = aes::cipher::consts::U16>,
{
    let (blocks, []) = Block::<Cipher>::slice_as_chunks_mut(data) else { return Err(Refused) };
    cbc::Decryptor::inner_iv_init(cipher, iv.into()).decrypt_blocks(blocks);
    Ok(())
}

/// Unpredictable IVs (RFC 3602 §3) without a random number generator's state: a permutation of the sequence
/// number under a key that serves nothing else (NIST SP 800-38A Appendix C), so none repeats either.
struct IvSource(Aes256Enc);

impl IvSource {
    fn new(seed: &[u8; 32]) -> Self {
        Self(Aes256Enc::new(seed.into()))
    }

    fn iv(&self, sequence: u64) -> [u8; CBC_BLOCK] {
        let mut block = Block::<Aes256>::default();
        block[..8].copy_from_slice(&sequence.to_be_bytes());
        self.0.encrypt_block(&mut block);
        block.into()
    }
}

/// A truncated HMAC.
struct Mac {
    key: hmac::Key,
    icv_len: usize,
}

impl Mac {
    fn new(integ: Integ, key: &[u8]) -> Result<Self, InvalidKeys> {
        let (algorithm, icv_len) = match integ {
            Integ::HmacSha1_96 => (hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, 12),
            Integ::HmacSha256_128 => (hmac::HMAC_SHA256, 16),
            Integ::HmacSha384_192 => (hmac::HMAC_SHA384, 24),
            Integ::HmacSha512_256 => (hmac::HMAC_SHA512, 32),
        };
        // RFC 4868 §2.1.1, RFC 2404 §3: the key is as long as the hash.
        if key.len() != algorithm.tag_len() {
            return Err(InvalidKeys::IntegLength(key.len()));
        }
        Ok(Self { key: hmac::Key::new(algorithm, key), icv_len })
    }

    /// With ESN the high half counts as if it stood behind the packet (RFC 4303 §2.2.1).
    fn sign(&self, packet: &[u8], sequence: u64, esn: bool) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(packet);
        if esn {
            context.update(&((sequence >> 32) as u32).to_be_bytes());
        }
        context.sign()
    }
}
