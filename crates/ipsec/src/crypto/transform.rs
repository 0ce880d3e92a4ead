//! Encryption and integrity algorithms by name (IANA "Internet Key Exchange Version 2 Parameters").

use std::fmt;

use aws_lc_rs::hmac;

/// AES key sizes in use; 192 bits is left out because nothing asks for it (RFC 8221 §5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum KeyBits {
    /// 128 bits.
    Bits128,
    /// 256 bits.
    Bits256,
}

impl KeyBits {
    /// Key length in bits, as in the Key Length attribute.
    #[must_use]
    pub const fn bits(self) -> u16 {
        match self {
            Self::Bits128 => 128,
            Self::Bits256 => 256,
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Bits128 => 16,
            Self::Bits256 => 32,
        }
    }

    const fn from_bits(bits: u16) -> Option<Self> {
        match bits {
            128 => Some(Self::Bits128),
            256 => Some(Self::Bits256),
            _ => None,
        }
    }
}

/// Encryption algorithms (transform type 1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Encr {
    /// ENCR_AES_GCM_16 (20; RFC 4106, RFC 5282).
    AesGcm16(KeyBits),
    /// ENCR_CHACHA20_POLY1305 (28; RFC 7634).
    ChaCha20Poly1305,
    /// ENCR_AES_CBC (12; RFC 3602).
    AesCbc(KeyBits),
}

impl Encr {
    /// Octets of salt that follow an AEAD key in the keying material (RFC 4106 §8.1, RFC 7634 §2).
    pub const SALT_LEN: usize = 4;
    /// Octets of an AEAD's authentication tag.
    pub const TAG_LEN: usize = 16;

    /// Transform ID.
    #[must_use]
    pub const fn transform_id(self) -> u16 {
        match self {
            Self::AesCbc(_) => 12,
            Self::AesGcm16(_) => 20,
            Self::ChaCha20Poly1305 => 28,
        }
    }

    /// The Key Length attribute, or `None` for a cipher of fixed key length, which must not carry one
    /// (RFC 7296 §3.3.5).
    #[must_use]
    pub const fn key_bits(self) -> Option<u16> {
        match self {
            Self::AesCbc(bits) | Self::AesGcm16(bits) => Some(bits.bits()),
            Self::ChaCha20Poly1305 => None,
        }
    }

    /// The algorithm of a transform, if we have it.
    #[must_use]
    pub fn from_transform(id: u16, key_bits: Option<u16>) -> Option<Self> {
        match (id, key_bits) {
            (12, Some(bits)) => KeyBits::from_bits(bits).map(Self::AesCbc),
            (20, Some(bits)) => KeyBits::from_bits(bits).map(Self::AesGcm16),
            (28, None) => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// Octets taken from the keying material: the key, and for an AEAD the salt after it.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesCbc(bits) => bits.bytes(),
            Self::AesGcm16(bits) => bits.bytes() + Self::SALT_LEN,
            Self::ChaCha20Poly1305 => 32 + Self::SALT_LEN,
        }
    }

    /// Octets of the explicit IV in each message or packet.
    #[must_use]
    pub const fn iv_len(self) -> usize {
        match self {
            Self::AesCbc(_) => 16,
            Self::AesGcm16(_) | Self::ChaCha20Poly1305 => 8,
        }
    }

    /// Octets that the ciphertext must be a multiple of; ESP aligns to 4 on top of it (RFC 4303 §2.4).
    #[must_use]
    pub const fn block(self) -> usize {
        match self {
            Self::AesCbc(_) => 16,
            Self::AesGcm16(_) | Self::ChaCha20Poly1305 => 1,
        }
    }

    /// Whether the algorithm protects integrity by itself, and so goes without an integrity transform.
    #[must_use]
    pub const fn is_aead(self) -> bool {
        match self {
            Self::AesCbc(_) => false,
            Self::AesGcm16(_) | Self::ChaCha20Poly1305 => true,
        }
    }
}

/// "AES_GCM_16_256".
impl fmt::Display for Encr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AesCbc(bits) => write!(f, "AES_CBC_{}", bits.bits()),
            Self::AesGcm16(bits) => write!(f, "AES_GCM_16_{}", bits.bits()),
            Self::ChaCha20Poly1305 => f.write_str("CHACHA20_POLY1305"),
        }
    }
}

/// Integrity algorithms (transform type 3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Integ {
    /// AUTH_HMAC_SHA1_96 (2; RFC 2404). Legacy.
    HmacSha1_96,
    /// AUTH_HMAC_SHA2_256_128 (12; RFC 4868).
    HmacSha256_128,
    /// AUTH_HMAC_SHA2_384_192 (13; RFC 4868).
    HmacSha384_192,
    /// AUTH_HMAC_SHA2_512_256 (14; RFC 4868).
    HmacSha512_256,
}

impl Integ {
    /// Transform ID.
    #[must_use]
    pub const fn transform_id(self) -> u16 {
        match self {
            Self::HmacSha1_96 => 2,
            Self::HmacSha256_128 => 12,
            Self::HmacSha384_192 => 13,
            Self::HmacSha512_256 => 14,
        }
    }

    /// The algorithm of a transform, if we have it. None of ours takes a Key Length attribute.
    #[must_use]
    pub const fn from_transform(id: u16, key_bits: Option<u16>) -> Option<Self> {
        match (id, key_bits) {
            (2, None) => Some(Self::HmacSha1_96),
            (12, None) => Some(Self::HmacSha256_128),
            (13, None) => Some(Self::HmacSha384_192),
            (14, None) => Some(Self::HmacSha512_256),
            _ => None,
        }
    }

    /// Octets of key: the hash's output length (RFC 4868 §2.1.1).
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::HmacSha1_96 => 20,
            Self::HmacSha256_128 => 32,
            Self::HmacSha384_192 => 48,
            Self::HmacSha512_256 => 64,
        }
    }

    /// Octets of the truncated integrity check value.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        match self {
            Self::HmacSha1_96 => 12,
            Self::HmacSha256_128 => 16,
            Self::HmacSha384_192 => 24,
            Self::HmacSha512_256 => 32,
        }
    }

    /// Whether a profile must ask for it by `legacy = true`.
    #[must_use]
    pub const fn is_legacy(self) -> bool {
        matches!(self, Self::HmacSha1_96)
    }

    /// The keyed hash whose output is truncated to [`Integ::icv_len`].
    #[must_use]
    pub fn key(self, key: &[u8]) -> hmac::Key {
        let algorithm = match self {
            Self::HmacSha1_96 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::HmacSha256_128 => hmac::HMAC_SHA256,
            Self::HmacSha384_192 => hmac::HMAC_SHA384,
            Self::HmacSha512_256 => hmac::HMAC_SHA512,
        };
        hmac::Key::new(algorithm, key)
    }
}

/// "HMAC_SHA2_256_128".
impl fmt::Display for Integ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HmacSha1_96 => "HMAC_SHA1_96",
            Self::HmacSha256_128 => "HMAC_SHA2_256_128",
            Self::HmacSha384_192 => "HMAC_SHA2_384_192",
            Self::HmacSha512_256 => "HMAC_SHA2_512_256",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENCR: [Encr; 5] = [
        Encr::AesCbc(KeyBits::Bits128),
        Encr::AesCbc(KeyBits::Bits256),
        Encr::AesGcm16(KeyBits::Bits128),
        Encr::AesGcm16(KeyBits::Bits256),
        Encr::ChaCha20Poly1305,
    ];

    #[test]
    fn every_encryption_transform_comes_back_from_its_numbers() {
        for encr in ENCR {
            assert_eq!(Encr::from_transform(encr.transform_id(), encr.key_bits()), Some(encr));
        }
    }

    #[test]
    fn a_missing_or_surplus_key_length_is_not_our_algorithm() {
        assert_eq!(Encr::from_transform(20, None), None);
        assert_eq!(Encr::from_transform(12, Some(192)), None);
        assert_eq!(Encr::from_transform(28, Some(256)), None);
        assert_eq!(Integ::from_transform(12, Some(256)), None);
    }
}
