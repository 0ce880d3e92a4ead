//! Modular exponentiation groups (RFC 2409 §6.2, RFC 3526).
//!
//! The exponentiation is crypto-bigint's constant-time Montgomery ladder over fixed windows: its time depends on
//! the group, never on the exponent's bits.
//!
//! Exponents are shorter than the primes. Every prime here is safe (p = 2q + 1 with q prime) and the generator 2
//! has order q, so the best attack on a short exponent is the square-root kind: an exponent of twice the group's
//! strength loses nothing. RFC 3526 §8 estimates the strength twice and gives exponent sizes of up to 320, 420
//! and 480 bits for groups 14, 15 and 16; those are rounded up to whole 64-bit words. It makes the exchange four to
//! eight times as fast as with full-length exponents.

use std::sync::LazyLock;

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use zeroize::Zeroizing;

use super::Secret;

/// Group 2.
pub(super) static GROUP_2: LazyLock<ModpGroup> = LazyLock::new(|| ModpGroup::new(P1024, 256));
/// Group 14.
pub(super) static GROUP_14: LazyLock<ModpGroup> = LazyLock::new(|| ModpGroup::new(P2048, 320));
/// Group 15.
pub(super) static GROUP_15: LazyLock<ModpGroup> = LazyLock::new(|| ModpGroup::new(P3072, 448));
/// Group 16.
pub(super) static GROUP_16: LazyLock<ModpGroup> = LazyLock::new(|| ModpGroup::new(P4096, 512));

/// A safe prime with what Montgomery arithmetic modulo it needs, and the generator 2.
pub(super) struct ModpGroup {
    params: BoxedMontyParams,
    exponent_bits: u32,
}

/// A private exponent, zeroized when dropped.
pub(super) struct Exponent(Zeroizing<BoxedUint>);

impl ModpGroup {
    #[expect(clippy::expect_used, reason = "the primes are constants of this file, and every one is tested")]
    fn new(prime_hex: &str, exponent_bits: u32) -> Self {
        let prime = hex::decode(prime_hex).expect("constant");
        let modulus = Odd::new(BoxedUint::from_be_slice_vartime(&prime)).expect("constant");
        Self { params: BoxedMontyParams::new_vartime(modulus), exponent_bits }
    }

    /// Octets of a private exponent.
    pub(super) fn exponent_len(&self) -> usize {
        self.exponent_bits.div_ceil(8) as usize
    }

    /// A private exponent from big-endian octets; `None` if it is zero or longer than this group's.
    pub(super) fn exponent(&self, value: &[u8]) -> Option<Exponent> {
        let exponent = Zeroizing::new(BoxedUint::from_be_slice(value, self.exponent_bits).ok()?);
        bool::from(exponent.is_nonzero()).then_some(Exponent(exponent))
    }

    /// `2^exponent mod p`, as long as the prime.
    pub(super) fn public(&self, exponent: &Exponent) -> Vec<u8> {
        let two = BoxedUint::from_be_slice_truncated(&[2], self.params.bits_precision());
        self.power(two, exponent).to_vec()
    }

    /// `peer^exponent mod p`, as long as the prime; `None` unless `1 < peer < p-1`. The prime being safe, that range
    /// holds no element of small order.
    pub(super) fn shared(&self, exponent: &Exponent, peer: &[u8]) -> Option<Secret> {
        let peer = BoxedUint::from_be_slice(peer, self.params.bits_precision()).ok()?;
        let last = self.params.modulus().as_ref().wrapping_sub(BoxedUint::one());
        (peer > BoxedUint::one() && peer < last).then(|| Secret::from(self.power(peer, exponent)))
    }

    fn power(&self, base: BoxedUint, exponent: &Exponent) -> Zeroizing<Vec<u8>> {
        let power = BoxedMontyForm::new(base, &self.params).pow_bounded_exp(&exponent.0, self.exponent_bits);
        let power = Zeroizing::new(power.retrieve());
        Zeroizing::new(power.to_be_bytes().into_vec())
    }
}

/// 1024-bit prime: 2^1024 - 2^960 - 1 + 2^64 * (floor(2^894 pi) + 129093).
const P1024: &str = concat!(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74",
    "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437",
    "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF",
);

/// 2048-bit prime: 2^2048 - 2^1984 - 1 + 2^64 * (floor(2^1918 pi) + 124476).
const P2048: &str = concat!(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74",
    "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437",
    "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05",
    "98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB",
    "9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B",
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718",
    "3995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF",
);

/// 3072-bit prime: 2^3072 - 2^3008 - 1 + 2^64 * (floor(2^2942 pi) + 1690314).
const P3072: &str = concat!(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74",
    "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437",
    "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05",
    "98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB",
    "9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B",
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718",
    "3995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33",
    "A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7",
    "ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864",
    "D87602733EC86A64521F2B18177B200CBBE117577A615D6C770988C0BAD946E2",
    "08E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF",
);

/// 4096-bit prime: 2^4096 - 2^4032 - 1 + 2^64 * (floor(2^3966 pi) + 240904).
const P4096: &str = concat!(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74",
    "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437",
    "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05",
    "98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB",
    "9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B",
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718",
    "3995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33",
    "A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7",
    "ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864",
    "D87602733EC86A64521F2B18177B200CBBE117577A615D6C770988C0BAD946E2",
    "08E24FA074E5AB3143DB5BFCE0FD108E4B82D120A92108011A723C12A787E6D7",
    "88719A10BDBA5B2699C327186AF4E23C1A946834B6150BDA2583E9CA2AD44CE8",
    "DBBBC2DB04DE8EF92E8EFC141FBECAA6287C59474E6BC05D99B2964FA090C3A2",
    "233BA186515BE7ED1F612970CEE2D7AFB81BDD762170481CD0069127D5B05AA9",
    "93B4EA988D8FDDC186FFB7DC90A6C08F4DF435C934063199FFFFFFFFFFFFFFFF",
);

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> [&'static ModpGroup; 4] {
        [&GROUP_2, &GROUP_14, &GROUP_15, &GROUP_16]
    }

    /// Fermat for base 2 and both p and (p-1)/2: a digit mistyped in a constant can't survive it.
    #[test]
    fn the_primes_are_safe_and_two_generates_the_large_subgroup() {
        for group in groups() {
            let bits = group.params.bits_precision();
            let one = BoxedUint::one_with_precision(bits);
            let q = group.params.modulus().as_ref().shr_vartime(1).unwrap();
            let two = BoxedUint::from_be_slice_truncated(&[2], bits);
            // 2^q = 1 mod p: 2 is a quadratic residue, of order q.
            assert_eq!(BoxedMontyForm::new(two.clone(), &group.params).pow(&q).retrieve(), one);
            // 2^(q-1) = 1 mod q.
            let params = BoxedMontyParams::new_vartime(Odd::new(q.clone()).unwrap());
            let exponent = q.wrapping_sub(BoxedUint::one());
            assert_eq!(BoxedMontyForm::new(two, &params).pow(&exponent).retrieve(), one);
        }
    }

    #[test]
    fn only_values_strictly_between_one_and_p_minus_one_are_accepted() {
        for group in groups() {
            let exponent = group.exponent(&[5]).unwrap();
            let p = group.params.modulus().as_ref().clone();
            let bits = group.params.bits_precision();
            let number = |n: u8| BoxedUint::from_be_slice_truncated(&[n], bits);
            let bad = [number(0), number(1), p.wrapping_sub(number(1)), p.clone(), BoxedUint::max(bits)];
            for value in bad {
                assert!(group.shared(&exponent, &value.to_be_bytes()).is_none());
            }
            for value in [number(2), p.wrapping_sub(number(2))] {
                assert!(group.shared(&exponent, &value.to_be_bytes()).is_some());
            }
        }
    }

    #[test]
    fn a_small_power_is_computed_right_and_padded_to_the_modulus() {
        let exponent = GROUP_14.exponent(&[10]).unwrap();
        let public = GROUP_14.public(&exponent);
        assert_eq!(public.len(), 256);
        assert_eq!(&public[254..], [0x04, 0x00]);
        assert!(public[..254].iter().all(|byte| *byte == 0));
        assert!(GROUP_14.exponent(&[0; 40]).is_none(), "a zero exponent");
    }
}
