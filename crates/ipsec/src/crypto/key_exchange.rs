//! Ephemeral Diffie-Hellman: one interface over curves and MODP groups.

use aws_lc_rs::agreement;
use zeroize::Zeroizing;

use super::modp::{self, ModpGroup};
use super::{Group, Rng, Secret};

/// Why a key exchange failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyExchangeError {
    /// The peer's value hasn't the group's length.
    #[error("the public value has {actual} octets where {group} has {expected}")]
    Length {
        /// The group of the exchange.
        group: Group,
        /// Octets that the group's values have.
        expected: usize,
        /// Octets that came.
        actual: usize,
    },
    /// The peer's value is no point of the curve, is of small order, or is out of range.
    #[error("the public value is not a valid element of {0}")]
    InvalidPublicValue(Group),
    /// The private value is unusable: out of range, of the wrong length, or refused by the library.
    #[error("not a private value of {0}")]
    InvalidPrivateValue(Group),
}

/// One side's ephemeral key pair: used for one exchange, then dropped.
pub struct KeyExchange {
    group: Group,
    private: Private,
    public: Vec<u8>,
}

enum Private {
    Curve(agreement::PrivateKey),
    Modp(&'static ModpGroup, modp::Exponent),
}

/// Where a group's arithmetic is done.
enum Arithmetic {
    Curve { algorithm: &'static agreement::Algorithm, private_len: usize, top_mask: u8 },
    Modp(&'static ModpGroup),
}

/// SEC 1 prefix of an uncompressed point; RFC 5903 §7 leaves it out of the KE payload.
const UNCOMPRESSED: u8 = 0x04;

/// A candidate scalar falls outside the range with a probability below 2^-1 (P-521, after masking) and mostly
/// far below that, so this many failures in a row mean a broken generator.
const MAX_CANDIDATES: usize = 128;

impl KeyExchange {
    /// A fresh key pair.
    ///
    /// # Errors
    /// [`KeyExchangeError::InvalidPrivateValue`] if every candidate is refused, which a sound generator never
    /// brings about.
    pub fn generate(group: Group, rng: &mut Rng) -> Result<Self, KeyExchangeError> {
        let (len, top_mask) = match arithmetic(group) {
            Arithmetic::Curve { private_len, top_mask, .. } => (private_len, top_mask),
            Arithmetic::Modp(modp) => (modp.exponent_len(), u8::MAX),
        };
        let mut candidate = Zeroizing::new(vec![0; len]);
        for _ in 0..MAX_CANDIDATES {
            rng.fill(&mut candidate);
            if let Some(top) = candidate.first_mut() {
                *top &= top_mask;
            }
            if let Ok(pair) = Self::from_private_value(group, &candidate) {
                return Ok(pair);
            }
        }
        Err(KeyExchangeError::InvalidPrivateValue(group))
    }

    /// The key pair of a given private value (big-endian; for X25519 the 32 octets of RFC 7748 §5): what
    /// published test vectors start from.
    ///
    /// # Errors
    /// [`KeyExchangeError::InvalidPrivateValue`] if the value is zero, too large or of the wrong length.
    pub fn from_private_value(group: Group, value: &[u8]) -> Result<Self, KeyExchangeError> {
        let invalid = KeyExchangeError::InvalidPrivateValue(group);
        let (private, public) = match arithmetic(group) {
            Arithmetic::Curve { algorithm, .. } => {
                let key = agreement::PrivateKey::from_private_key(algorithm, value).map_err(|_| invalid)?;
                let public = key.compute_public_key().map_err(|_| invalid)?;
                let public = match (group, public.as_ref()) {
                    (Group::X25519, u) => u.to_vec(),
                    (_, [UNCOMPRESSED, point @ ..]) => point.to_vec(),
                    (_, _) => return Err(invalid),
                };
                (Private::Curve(key), public)
            }
            Arithmetic::Modp(modp) => {
                let exponent = modp.exponent(value).ok_or(invalid)?;
                let public = modp.public(&exponent);
                (Private::Modp(modp, exponent), public)
            }
        };
        debug_assert_eq!(public.len(), group.public_len());
        Ok(Self { group, private, public })
    }

    /// A responder's half: a fresh key pair for the peer's public value, and the shared secret of both.
    ///
    /// # Errors
    /// Those of [`KeyExchange::generate`] and [`KeyExchange::agree`].
    pub fn respond(group: Group, peer: &[u8], rng: &mut Rng) -> Result<(Self, Secret), KeyExchangeError> {
        let own = Self::generate(group, rng)?;
        let shared = own.agree(peer)?;
        Ok((own, shared))
    }

    /// The group of the exchange.
    #[must_use]
    pub fn group(&self) -> Group {
        self.group
    }

    /// Our public value as the KE payload carries it.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The shared secret `g^ir` (RFC 7296 §2.14, RFC 5903 §7, RFC 8031 §2.2), leading zeros kept.
    ///
    /// # Errors
    /// The peer's value hasn't exactly the group's length, is no point of the curve, isn't strictly between 1
    /// and p-1, or leads to the all-zero X25519 output (RFC 8031 §3.1).
    pub fn agree(&self, peer: &[u8]) -> Result<Secret, KeyExchangeError> {
        let expected = self.group.public_len();
        if peer.len() != expected {
            return Err(KeyExchangeError::Length { group: self.group, expected, actual: peer.len() });
        }
        let invalid = KeyExchangeError::InvalidPublicValue(self.group);
        match &self.private {
            Private::Curve(key) => {
                let mut point = Vec::with_capacity(1 + expected);
                if self.group != Group::X25519 {
                    point.push(UNCOMPRESSED);
                }
                point.extend_from_slice(peer);
                let peer = agreement::UnparsedPublicKey::new(key.algorithm(), point);
                let secret = agreement::agree(key, peer, invalid, |secret| Ok(Secret::new(secret)))?;
                // RFC 8031 §3.1. The library refuses it too, but that is not ours to rely on. On the other curves a
                // point with x = 0 is as good as any.
                if self.group == Group::X25519 && is_zero(&secret) {
                    return Err(invalid);
                }
                Ok(secret)
            }
            Private::Modp(modp, exponent) => modp.shared(exponent, peer).ok_or(invalid),
        }
    }
}

/// Looks at every octet, whatever they are.
fn is_zero(secret: &Secret) -> bool {
    secret.as_bytes().iter().fold(0, |all, byte| all | byte) == 0
}

fn arithmetic(group: Group) -> Arithmetic {
    let curve = |algorithm, private_len, top_mask| Arithmetic::Curve { algorithm, private_len, top_mask };
    match group {
        Group::X25519 => curve(&agreement::X25519, 32, 0xff),
        Group::P256 => curve(&agreement::ECDH_P256, 32, 0xff),
        Group::P384 => curve(&agreement::ECDH_P384, 48, 0xff),
        // The order has 521 bits: one in the top octet.
        Group::P521 => curve(&agreement::ECDH_P521, 66, 0x01),
        Group::Modp1024 => Arithmetic::Modp(&modp::GROUP_2),
        Group::Modp2048 => Arithmetic::Modp(&modp::GROUP_14),
        Group::Modp3072 => Arithmetic::Modp(&modp::GROUP_15),
        Group::Modp4096 => Arithmetic::Modp(&modp::GROUP_16),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(group: Group, seed: u8) -> KeyExchange {
        KeyExchange::generate(group, &mut Rng::from_seed([seed; 32])).unwrap()
    }

    #[test]
    fn both_sides_agree_in_every_group() {
        for group in Group::ALL {
            let (ours, theirs) = (pair(group, 1), pair(group, 2));
            assert_eq!(ours.public().len(), group.public_len(), "{group}");
            assert_ne!(ours.public(), theirs.public(), "{group}");
            let secret = ours.agree(theirs.public()).unwrap();
            assert_eq!(secret, theirs.agree(ours.public()).unwrap(), "{group}");
            // RFC 5903 §7: only the x coordinate of a point is the secret.
            let is_point = matches!(group, Group::P256 | Group::P384 | Group::P521);
            let secret_len = group.public_len() / if is_point { 2 } else { 1 };
            assert_eq!(secret.len(), secret_len, "{group}");
        }
    }

    #[test]
    fn a_public_value_of_any_other_length_is_refused() {
        for group in Group::ALL {
            let ours = pair(group, 1);
            let theirs = pair(group, 2);
            let expected = group.public_len();
            let mut longer = theirs.public().to_vec();
            longer.push(0);
            let mut prefixed = vec![UNCOMPRESSED];
            prefixed.extend_from_slice(theirs.public());
            for wrong in [&[], &theirs.public()[1..], &longer, &prefixed] {
                let error = KeyExchangeError::Length { group, expected, actual: wrong.len() };
                assert_eq!(ours.agree(wrong).unwrap_err(), error);
            }
        }
    }

    #[test]
    fn degenerate_public_values_are_refused_in_every_group() {
        for group in Group::ALL {
            let ours = pair(group, 3);
            let mut one = vec![0; group.public_len()];
            let low = if group == Group::X25519 { 0 } else { one.len() - 1 };
            one[low] = 1;
            // Zero and one: small order on Curve25519, off the curve, or outside 1 < y < p-1.
            for bad in [vec![0; group.public_len()], one] {
                assert_eq!(ours.agree(&bad).unwrap_err(), KeyExchangeError::InvalidPublicValue(group));
            }
        }
    }
}
