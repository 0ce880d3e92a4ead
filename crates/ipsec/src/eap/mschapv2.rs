//! The computations of MS-CHAPv2 (RFC 2759 §8) and of its session keys (RFC 3079 §3).
//!
//! MD4, DES and SHA-1 are what the protocol is made of. They are used nowhere else, and only behind a gateway that has
//! proven itself by certificate or key.

use aws_lc_rs::{constant_time, digest};
use des::Des;
use des::cipher::{BlockCipherEncrypt, KeyInit};
use md4::{Digest, Md4};
use zeroize::Zeroizing;

use crate::crypto::Secret;

pub(super) type Challenge = [u8; 16];
pub(super) type NtResponse = [u8; 24];
/// "S=" and 40 hexadecimal digits.
pub(super) type AuthenticatorResponse = [u8; 42];

/// MD4 of the password in UTF-16LE (RFC 2759 §8.3). Equivalent to the password.
pub(super) struct NtHash(Zeroizing<[u8; 16]>);

impl NtHash {
    pub(super) fn new(password: &str) -> Self {
        let utf16: Zeroizing<Vec<u8>> =
            Zeroizing::new(password.encode_utf16().flat_map(u16::to_le_bytes).collect());
        Self(Zeroizing::new(Md4::digest(utf16.as_slice()).into()))
    }

    fn hashed(&self) -> Zeroizing<[u8; 16]> {
        Zeroizing::new(Md4::digest(self.0.as_slice()).into())
    }
}

/// What both sides know once the challenges are exchanged.
pub(super) struct Exchange<'a> {
    pub(super) authenticator_challenge: &'a Challenge,
    pub(super) peer_challenge: &'a Challenge,
    /// As in the Response packet; only the part after a domain enters the computation (RFC 2759 §4).
    pub(super) user_name: &'a [u8],
}

impl Exchange<'_> {
    /// ChallengeHash (RFC 2759 §8.2).
    fn challenge_hash(&self) -> [u8; 8] {
        let user = match self.user_name.iter().position(|byte| *byte == b'\\') {
            Some(backslash) => self.user_name.get(backslash + 1..).unwrap_or_default(),
            None => self.user_name,
        };
        first(&sha1(&[self.peer_challenge, self.authenticator_challenge, user]))
    }

    /// GenerateNTResponse (RFC 2759 §8.1, §8.5).
    pub(super) fn nt_response(&self, password: &NtHash) -> NtResponse {
        let challenge = self.challenge_hash();
        let mut key = Zeroizing::new([0; 21]);
        for (to, from) in key.iter_mut().zip(password.0.iter()) {
            *to = *from;
        }
        let mut response = [0; 24];
        for (block, key) in response.as_chunks_mut::<8>().0.iter_mut().zip(key.as_chunks::<7>().0) {
            *block = des_encrypt(key, challenge);
        }
        response
    }

    /// GenerateAuthenticatorResponse (RFC 2759 §8.7): what proves that the server knows the password as well.
    pub(super) fn authenticator_response(
        &self,
        password: &NtHash,
        nt_response: &NtResponse,
    ) -> AuthenticatorResponse {
        const MAGIC_1: &[u8] = b"Magic server to client signing constant";
        const MAGIC_2: &[u8] = b"Pad to make it do more than one iteration";
        let inner = sha1(&[password.hashed().as_slice(), nt_response, MAGIC_1]);
        let outer = sha1(&[inner.as_slice(), &self.challenge_hash(), MAGIC_2]);
        let mut response = [0; 42];
        let (prefix, digits) = response.split_at_mut(2);
        prefix.copy_from_slice(b"S=");
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(outer.iter()) {
            *pair = hex_upper(*byte);
        }
        response
    }
}

/// The MSK: server's receive key, server's send key, zeros up to 64 octets. That is how Windows and strongSwan lay it
/// out; both keys have 128 bits (RFC 3079 §3.3, §3.4).
pub(super) fn master_session_key(password: &NtHash, nt_response: &NtResponse) -> Secret {
    const MAGIC_1: &[u8] = b"This is the MPPE Master Key";
    const MAGIC_2: &[u8] =
        b"On the client side, this is the send key; on the server side, it is the receive key.";
    const MAGIC_3: &[u8] =
        b"On the client side, this is the receive key; on the server side, it is the send key.";
    const PAD_1: &[u8] = &[0x00; 40];
    const PAD_2: &[u8] = &[0xf2; 40];

    let digest = sha1(&[password.hashed().as_slice(), nt_response, MAGIC_1]);
    let master_key = Zeroizing::new(first::<16>(&digest));
    let mut msk = Zeroizing::new(Vec::with_capacity(64));
    for magic in [MAGIC_2, MAGIC_3] {
        let key = sha1(&[master_key.as_slice(), PAD_1, magic, PAD_2]);
        msk.extend(key.iter().take(16));
    }
    msk.resize(64, 0);
    Secret::from(msk)
}

/// Compares in constant time.
pub(super) fn equal(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

fn sha1(parts: &[&[u8]]) -> Zeroizing<[u8; 20]> {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    for part in parts {
        context.update(part);
    }
    let mut hash = Zeroizing::new([0; 20]);
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn first<const N: usize>(hash: &[u8; 20]) -> [u8; N] {
    const { assert!(N <= 20) };
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(hash) {
        *to = *from;
    }
    out
}

/// DesEncrypt (RFC 2759 §8.6): seven octets of key become eight, each with seven bits and a parity bit that DES
/// ignores.
fn des_encrypt(key: &[u8; 7], clear: [u8; 8]) -> [u8; 8] {
    let mut packed = Zeroizing::new([0; 8]);
    for (to, from) in packed.iter_mut().skip(1).zip(key) {
        *to = *from;
    }
    let bits = Zeroizing::new(u64::from_be_bytes(*packed));
    let mut spread = Zeroizing::new([0u8; 8]);
    for (index, octet) in (0u32..).zip(spread.iter_mut()) {
        let [.., seven_bits] = (*bits >> (49 - 7 * index)).to_be_bytes();
        *octet = seven_bits << 1;
    }
    let mut block = clear.into();
    Des::new(&(*spread).into()).encrypt_block(&mut block);
    block.into()
}

fn hex_upper(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 0x0f].map(|nibble| if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text.replace(' ', "")).unwrap().try_into().unwrap()
    }

    /// RFC 2759 §9.2 and RFC 3079 §3.5.3 (the same password, user and challenges).
    #[test]
    fn the_published_example_is_reproduced() {
        let exchange = Exchange {
            authenticator_challenge: &bytes("5B 5D 7C 7D 7B 3F 2F 3E 3C 2C 60 21 32 26 26 28"),
            peer_challenge: &bytes("21 40 23 24 25 5E 26 2A 28 29 5F 2B 3A 33 7C 7E"),
            user_name: b"User",
        };
        assert_eq!(exchange.challenge_hash(), bytes("D0 2E 43 86 BC E9 12 26"));
        let password = NtHash::new("clientPass");
        assert_eq!(*password.0, bytes("44 EB BA 8D 53 12 B8 D6 11 47 44 11 F5 69 89 AE"));
        assert_eq!(*password.hashed(), bytes("41 C0 0C 58 4B D2 D9 1C 40 17 A2 A1 2F A5 9F 3F"));
        let nt_response = exchange.nt_response(&password);
        let expected = bytes("82 30 9E CD 8D 70 8B 5E A0 8F AA 39 81 CD 83 54 42 33 11 4A 3D 85 D6 DF");
        assert_eq!(nt_response, expected);
        let response = exchange.authenticator_response(&password, &nt_response);
        assert_eq!(&response, b"S=407A5589115FD0D6209F510FE9C04566932CDA56");
        let msk = master_session_key(&password, &nt_response);
        assert_eq!(msk.len(), 64);
        // RFC 3079 §3.5.3 gives the server's send key; the receive key is the other magic constant's.
        let send_key: [u8; 16] = bytes("8B 7C DC 14 9B 99 3A 1B A1 18 CB 15 3F 56 DC CB");
        assert_eq!(msk.as_bytes()[16..32], send_key);
        assert_eq!(msk.as_bytes()[32..], [0; 32]);
    }

    #[test]
    fn a_domain_before_the_user_name_does_not_enter_the_hash() {
        let hash = |user_name| {
            let (authenticator_challenge, peer_challenge) = (&[1; 16], &[2; 16]);
            Exchange { authenticator_challenge, peer_challenge, user_name }.challenge_hash()
        };
        assert_eq!(hash(b"EXAMPLE\\alice"), hash(b"alice"));
        assert_ne!(hash(b"alice@example.org"), hash(b"alice"), "only a backslash ends a domain");
    }

    #[test]
    fn expanded_des_keys_are_wiped_when_they_are_dropped() {
        fn is_wiped<Key: zeroize::ZeroizeOnDrop>() {}
        is_wiped::<Des>();
    }
}
