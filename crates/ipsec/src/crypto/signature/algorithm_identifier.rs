//! The AlgorithmIdentifier in front of a method 14 signature (RFC 7427 §3).
//!
//! There are few that we make or take, so they are compared as whole byte strings and never parsed: salt length, mask
//! function and trailer of PSS can't be anything but what they should (CVE-2021-41990 class).

use super::{HashAlgorithm, SignatureScheme, method};

/// DER object identifiers, contents only.
mod oid {
    pub(super) const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
    pub(super) const MGF1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08];
    pub(super) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
}

const NULL: &[u8] = &[0x05, 0x00];
const TAG_INTEGER: u8 = 0x02;
const TAG_OID: u8 = 0x06;
const TAG_SEQUENCE: u8 = 0x30;

/// The ways in which a hash or RSA AlgorithmIdentifier can end. With NULL is right; without must be accepted
/// (RFC 4055 §2.1, §5).
const PARAMETERS: [&[u8]; 2] = [NULL, &[]];

/// The AlgorithmIdentifier of a scheme; `None` for those that method 14 doesn't have with us.
pub(super) fn encode(scheme: SignatureScheme) -> Option<Vec<u8>> {
    match scheme {
        SignatureScheme::RsaPkcs1(hash) => Some(sequence(&[&rsa_pkcs1(hash)?, NULL])),
        SignatureScheme::RsaPss(hash) => rsa_pss(hash, NULL, NULL),
        SignatureScheme::Ecdsa(_, hash) => ecdsa(hash),
        SignatureScheme::Ed25519 => Some(sequence(&[&tlv(TAG_OID, oid::ED25519)])),
    }
}

/// What an AlgorithmIdentifier says about a signature. The curve of an ECDSA key is the key's own matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Identified {
    RsaPkcs1(HashAlgorithm),
    RsaPss(HashAlgorithm),
    Ecdsa(HashAlgorithm),
    Ed25519,
}

/// Splits the authentication data of method 14: one octet of length, the AlgorithmIdentifier, the signature. The inner
/// `None` stands for an algorithm that we don't take, the outer for malformed data.
pub(super) fn split(auth_data: &[u8]) -> Option<(Option<Identified>, &[u8])> {
    let (&length, rest) = auth_data.split_first()?;
    let (identifier, signature) = rest.split_at_checked(usize::from(length))?;
    Some((identify(identifier), signature))
}

/// The authentication data of an AUTH payload: for method 14 length and AlgorithmIdentifier before the signature.
pub(super) fn join(auth_method: u8, scheme: SignatureScheme, signature: &[u8]) -> Option<Vec<u8>> {
    if auth_method != method::DIGITAL_SIGNATURE {
        return Some(signature.to_vec());
    }
    let identifier = encode(scheme)?;
    let length = u8::try_from(identifier.len()).ok()?;
    Some([&[length], identifier.as_slice(), signature].concat())
}

fn identify(identifier: &[u8]) -> Option<Identified> {
    use HashAlgorithm::{Sha1, Sha256, Sha384, Sha512};
    for hash in [Sha1, Sha256, Sha384, Sha512] {
        for parameters in PARAMETERS {
            if rsa_pkcs1(hash).is_some_and(|oid| sequence(&[&oid, parameters]) == identifier) {
                return Some(Identified::RsaPkcs1(hash));
            }
            for mgf_parameters in PARAMETERS {
                if rsa_pss(hash, parameters, mgf_parameters).is_some_and(|pss| pss == identifier) {
                    return Some(Identified::RsaPss(hash));
                }
            }
        }
        if ecdsa(hash).is_some_and(|ecdsa| ecdsa == identifier) {
            return Some(Identified::Ecdsa(hash));
        }
    }
    (encode(SignatureScheme::Ed25519)? == identifier).then_some(Identified::Ed25519)
}

/// sha*WithRSAEncryption (RFC 8017 appendix C), tag included.
fn rsa_pkcs1(hash: HashAlgorithm) -> Option<Vec<u8>> {
    let last = match hash {
        HashAlgorithm::Sha1 => 5,
        HashAlgorithm::Sha256 => 11,
        HashAlgorithm::Sha384 => 12,
        HashAlgorithm::Sha512 => 13,
        HashAlgorithm::Identity => return None,
    };
    Some(tlv(TAG_OID, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last]))
}

/// ecdsa-with-SHA2 (RFC 5758 §3.2), without parameters. With SHA-1 it isn't taken.
fn ecdsa(hash: HashAlgorithm) -> Option<Vec<u8>> {
    let last = match hash {
        HashAlgorithm::Sha256 => 2,
        HashAlgorithm::Sha384 => 3,
        HashAlgorithm::Sha512 => 4,
        HashAlgorithm::Sha1 | HashAlgorithm::Identity => return None,
    };
    Some(sequence(&[&tlv(TAG_OID, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, last])]))
}

/// id-RSASSA-PSS with explicit parameters (RFC 7427 A.4.3): one hash throughout, a salt of its length, the default
/// trailer left out as DER demands. With SHA-1 it isn't taken.
fn rsa_pss(hash: HashAlgorithm, hash_parameters: &[u8], mgf_parameters: &[u8]) -> Option<Vec<u8>> {
    // id-sha2 arc, and the octets of the hash.
    let (last, salt) = match hash {
        HashAlgorithm::Sha256 => (1, 32),
        HashAlgorithm::Sha384 => (2, 48),
        HashAlgorithm::Sha512 => (3, 64),
        HashAlgorithm::Sha1 | HashAlgorithm::Identity => return None,
    };
    let hash_oid = tlv(TAG_OID, &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last]);
    let hash = sequence(&[&hash_oid, hash_parameters]);
    let mgf = sequence(&[&tlv(TAG_OID, oid::MGF1), &sequence(&[&hash_oid, mgf_parameters])]);
    let parameters = sequence(&[&tlv(0xa0, &hash), &tlv(0xa1, &mgf), &tlv(0xa2, &tlv(TAG_INTEGER, &[salt]))]);
    Some(sequence(&[&tlv(TAG_OID, oid::RSA_PSS), &parameters]))
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(TAG_SEQUENCE, &parts.concat())
}

/// Everything in this file is shorter than 128 octets, so every length is one octet.
fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    debug_assert!(contents.len() < 0x80);
    let mut out = vec![tag, contents.len().to_le_bytes()[0]];
    out.extend_from_slice(contents);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::signature::Curve;
    use HashAlgorithm::{Identity, Sha1, Sha256, Sha384, Sha512};

    /// RFC 7427 appendix A, RFC 8420 appendix A; PSS with the explicit parameters of A.4.3 and SHA-256.
    #[test]
    fn encodings_are_those_of_the_rfcs() {
        for (scheme, expected) in [
            (SignatureScheme::RsaPkcs1(Sha1), "300d06092a864886f70d0101050500"),
            (SignatureScheme::RsaPkcs1(Sha256), "300d06092a864886f70d01010b0500"),
            (SignatureScheme::RsaPkcs1(Sha384), "300d06092a864886f70d01010c0500"),
            (SignatureScheme::RsaPkcs1(Sha512), "300d06092a864886f70d01010d0500"),
            (SignatureScheme::ECDSA_P256_SHA256, "300a06082a8648ce3d040302"),
            (SignatureScheme::ECDSA_P384_SHA384, "300a06082a8648ce3d040303"),
            (SignatureScheme::ECDSA_P521_SHA512, "300a06082a8648ce3d040304"),
            (SignatureScheme::Ed25519, "300506032b6570"),
            (
                SignatureScheme::RsaPss(Sha256),
                "304106092a864886f70d01010a3034a00f300d06096086480165030402010500\
                 a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120",
            ),
        ] {
            assert_eq!(hex::encode(encode(scheme).unwrap()), expected, "{scheme}");
        }
        for scheme in [
            SignatureScheme::RsaPss(Sha1),
            SignatureScheme::Ecdsa(Curve::P256, Sha1),
            SignatureScheme::RsaPkcs1(Identity),
        ] {
            assert_eq!(encode(scheme), None);
        }
    }

    #[test]
    fn what_is_encoded_is_identified_and_nothing_near_it() {
        for hash in [Sha256, Sha384, Sha512] {
            for scheme in
                [SignatureScheme::RsaPss(hash), SignatureScheme::RsaPkcs1(hash), SignatureScheme::Ed25519]
            {
                let data = join(14, scheme, b"signature").unwrap();
                let (identified, signature) = split(&data).unwrap();
                let expected = match scheme {
                    SignatureScheme::RsaPkcs1(hash) => Identified::RsaPkcs1(hash),
                    SignatureScheme::RsaPss(hash) => Identified::RsaPss(hash),
                    SignatureScheme::Ecdsa(_, hash) => Identified::Ecdsa(hash),
                    SignatureScheme::Ed25519 => Identified::Ed25519,
                };
                assert_eq!((identified, signature), (Some(expected), &b"signature"[..]));
                // One changed bit anywhere is another algorithm or none, never the same.
                let identifier = encode(scheme).unwrap();
                for bit in 0..identifier.len() * 8 {
                    let mut changed = identifier.clone();
                    changed[bit / 8] ^= 1 << (bit % 8);
                    assert_ne!(identify(&changed), Some(expected));
                }
            }
        }
    }

    #[test]
    fn absent_hash_parameters_are_accepted() {
        let data = sequence(&[&rsa_pkcs1(Sha256).unwrap()]);
        assert_eq!(identify(&data), Some(Identified::RsaPkcs1(Sha256)));
        assert_eq!(identify(&rsa_pss(Sha512, &[], &[]).unwrap()), Some(Identified::RsaPss(Sha512)));
    }

    #[test]
    fn truncated_authentication_data_is_malformed() {
        let data = join(14, SignatureScheme::Ed25519, &[]).unwrap();
        for len in 0..data.len() {
            assert_eq!(split(&data[..len]), None);
        }
        assert_eq!(split(&[0]), Some((None, &[][..])));
    }
}
