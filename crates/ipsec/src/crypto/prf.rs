//! Pseudorandom functions (transform type 2) and the prf+ construction.

use std::fmt;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::Secret;

/// Pseudorandom functions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Prf {
    /// PRF_HMAC_SHA1 (2). Legacy.
    HmacSha1,
    /// PRF_HMAC_SHA2_256 (5).
    HmacSha256,
    /// PRF_HMAC_SHA2_384 (6).
    HmacSha384,
    /// PRF_HMAC_SHA2_512 (7).
    HmacSha512,
}

impl Prf {
    /// Transform ID.
    #[must_use]
    pub const fn transform_id(self) -> u16 {
        match self {
            Self::HmacSha1 => 2,
            Self::HmacSha256 => 5,
            Self::HmacSha384 => 6,
            Self::HmacSha512 => 7,
        }
    }

    /// The algorithm of a transform, if we have it.
    #[must_use]
    pub const fn from_transform(id: u16, key_bits: Option<u16>) -> Option<Self> {
        match (id, key_bits) {
            (2, None) => Some(Self::HmacSha1),
            (5, None) => Some(Self::HmacSha256),
            (6, None) => Some(Self::HmacSha384),
            (7, None) => Some(Self::HmacSha512),
            _ => None,
        }
    }

    /// Octets of output, which is also the preferred key length (RFC 7296 §2.13).
    #[must_use]
    pub const fn output_len(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }

    /// Whether a profile must ask for it by `legacy = true`.
    #[must_use]
    pub const fn is_legacy(self) -> bool {
        matches!(self, Self::HmacSha1)
    }

    /// `prf(key, parts[0] | parts[1] | ...)`.
    #[must_use]
    pub fn mac(self, key: &[u8], parts: &[&[u8]]) -> Secret {
        let key = self.key(key);
        Secret::new(tag(&key, parts).as_ref())
    }

    /// The first `len` octets of `prf+ (key, seed[0] | seed[1] | ...)` (RFC 7296 §2.13).
    ///
    /// The construction ends after 255 blocks; the longest output that any suite needs is below 10 blocks, so a
    /// longer request is a programming error and gives just what there is.
    #[must_use]
    pub fn plus(self, key: &[u8], seed: &[&[u8]], len: usize) -> Secret {
        let key = self.key(key);
        debug_assert!(len <= usize::from(u8::MAX) * self.output_len(), "prf+ ends after 255 blocks");
        // The final capacity at once: growing would leave copies of key material behind.
        let mut output = Zeroizing::new(Vec::with_capacity(len));
        let mut block: Option<hmac::Tag> = None;
        for counter in 1..=u8::MAX {
            let missing = len - output.len();
            if missing == 0 {
                break;
            }
            // T1 = prf (K, S | 0x01), Tn = prf (K, Tn-1 | S | n)
            let mut context = hmac::Context::with_key(&key);
            if let Some(previous) = &block {
                context.update(previous.as_ref());
            }
            for part in seed {
                context.update(part);
            }
            context.update(&[counter]);
            let next = context.sign();
            output.extend(next.as_ref().iter().take(missing));
            block = Some(next);
        }
        Secret::from(output)
    }

    fn key(self, key: &[u8]) -> hmac::Key {
        let algorithm = match self {
            Self::HmacSha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::HmacSha256 => hmac::HMAC_SHA256,
            Self::HmacSha384 => hmac::HMAC_SHA384,
            Self::HmacSha512 => hmac::HMAC_SHA512,
        };
        hmac::Key::new(algorithm, key)
    }
}

fn tag(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    context.sign()
}

/// "PRF_HMAC_SHA2_256".
impl fmt::Display for Prf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HmacSha1 => "PRF_HMAC_SHA1",
            Self::HmacSha256 => "PRF_HMAC_SHA2_256",
            Self::HmacSha384 => "PRF_HMAC_SHA2_384",
            Self::HmacSha512 => "PRF_HMAC_SHA2_512",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Prf; 4] = [Prf::HmacSha1, Prf::HmacSha256, Prf::HmacSha384, Prf::HmacSha512];

    #[test]
    fn mac_is_hmac_of_the_concatenation() {
        // RFC 4231 §4.3, test case 2.
        let mac = Prf::HmacSha256.mac(b"Jefe", &[b"what do ya want ", b"", b"for nothing?"]);
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(mac.as_bytes()), expected);
    }

    #[test]
    fn prf_plus_is_the_chain_of_rfc_7296_section_2_13() {
        for prf in ALL {
            let (key, seed): (&[u8], &[u8]) = (b"a key", b"Ni | Nr | SPIi | SPIr");
            let t1 = prf.mac(key, &[seed, &[1]]);
            let t2 = prf.mac(key, &[t1.as_bytes(), seed, &[2]]);
            let t3 = prf.mac(key, &[t2.as_bytes(), seed, &[3]]);
            let chain = [t1.as_bytes(), t2.as_bytes(), t3.as_bytes()].concat();
            for len in [0, 1, prf.output_len(), prf.output_len() + 1, chain.len()] {
                assert_eq!(prf.plus(key, &[&seed[..5], &seed[5..]], len).as_bytes(), &chain[..len]);
            }
        }
    }

    #[test]
    fn every_prf_comes_back_from_its_number() {
        for prf in ALL {
            assert_eq!(Prf::from_transform(prf.transform_id(), None), Some(prf));
        }
        assert_eq!(Prf::from_transform(5, Some(256)), None);
    }
}
