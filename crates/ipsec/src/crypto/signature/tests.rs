//! Signing against verifying, over every kind of key and every way to sign.

use rcgen::{KeyPair, RsaKeySize, SignatureAlgorithm};

use super::*;
use HashAlgorithm::{Identity, Sha1, Sha256, Sha384, Sha512};

const OCTETS: &[u8] = b"RealMessage1 | NonceRData | MACedIDForI";

struct Identified {
    key: SigningKey,
    certificate: Vec<u8>,
}

fn identified(pair: &KeyPair) -> Identified {
    let certificate =
        rcgen::CertificateParams::new(["gateway".to_owned()]).unwrap().self_signed(pair).unwrap();
    let key = SigningKey::from_pkcs8_der(pair.serialized_der()).unwrap();
    Identified { key, certificate: certificate.der().to_vec() }
}

fn ec(algorithm: &'static SignatureAlgorithm) -> Identified {
    identified(&KeyPair::generate_for(algorithm).unwrap())
}

fn rsa() -> Identified {
    identified(&KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap())
}

fn all() -> [(Identified, KeyKind); 5] {
    [
        (rsa(), KeyKind::Rsa { bits: 2048 }),
        (ec(&rcgen::PKCS_ECDSA_P256_SHA256), KeyKind::P256),
        (ec(&rcgen::PKCS_ECDSA_P384_SHA384), KeyKind::P384),
        (ec(&rcgen::PKCS_ECDSA_P521_SHA512), KeyKind::P521),
        (ec(&rcgen::PKCS_ED25519), KeyKind::Ed25519),
    ]
}

fn policy(sha1: bool) -> VerifyPolicy {
    VerifyPolicy { sha1, hashes: HashAlgorithm::ANNOUNCED.to_vec() }
}

#[test]
fn every_key_signs_what_every_peer_can_verify() {
    for (identity, kind) in all() {
        assert_eq!(identity.key.kind(), kind);
        for hashes in [None, Some(&[Sha1][..]), Some(&[Sha256]), Some(&[Sha384]), Some(&[Sha512, Identity])] {
            let choice = choose_auth(kind, hashes);
            let data = identity.key.sign(choice, OCTETS).unwrap();
            let verify = |octets: &[u8], data: &[u8]| {
                verify_auth(&identity.certificate, choice.method, data, octets, &policy(true))
            };
            assert_eq!(verify(OCTETS, &data), Ok(choice.scheme), "{kind:?} {hashes:?}");
            assert_eq!(verify(b"other octets", &data), Err(SignatureError::Invalid));
            for index in [data.len() - 1, data.len() - 20, data.len() - 40] {
                let mut forged = data.clone();
                forged[index] ^= 1;
                assert_eq!(verify(OCTETS, &forged), Err(SignatureError::Invalid));
            }
            let mut longer = data.clone();
            longer.push(0);
            assert_eq!(verify(OCTETS, &longer), Err(SignatureError::Invalid));
            assert!(verify(OCTETS, &data[..data.len() - 1]).is_err());
            assert!(verify(OCTETS, &[]).is_err());
        }
    }
}

#[test]
fn a_key_knows_its_certificate() {
    let identities = all();
    for (index, (identity, _)) in identities.iter().enumerate() {
        for (other_index, (other, _)) in identities.iter().enumerate() {
            assert_eq!(identity.key.belongs_to(&other.certificate), index == other_index);
        }
    }
    assert!(!rsa().key.belongs_to(&rsa().certificate), "another key of the same kind");
}

#[test]
fn rsa_pkcs1_in_method_14_verifies_with_every_announced_hash() {
    let identity = rsa();
    for hash in [Sha256, Sha384, Sha512] {
        let choice = AuthChoice { method: 14, scheme: SignatureScheme::RsaPkcs1(hash) };
        let data = identity.key.sign(choice, OCTETS).unwrap();
        let verified = verify_auth(&identity.certificate, 14, &data, OCTETS, &policy(false));
        assert_eq!(verified, Ok(choice.scheme));
    }
}

#[test]
fn hashes_that_were_not_announced_are_refused_even_with_a_right_signature() {
    let identity = rsa();
    let choice = choose_auth(identity.key.kind(), Some(&[Sha384]));
    let data = identity.key.sign(choice, OCTETS).unwrap();
    let announced = VerifyPolicy { sha1: true, hashes: vec![Sha256, Sha512] };
    let outcome = verify_auth(&identity.certificate, 14, &data, OCTETS, &announced);
    assert_eq!(outcome, Err(SignatureError::HashNotAllowed(Sha384)));
    // Method 1 over SHA-1, where the profile does not allow it.
    let choice = choose_auth(identity.key.kind(), None);
    let data = identity.key.sign(choice, OCTETS).unwrap();
    let outcome = verify_auth(&identity.certificate, 1, &data, OCTETS, &policy(false));
    assert_eq!(outcome, Err(SignatureError::HashNotAllowed(Sha1)));
}

#[test]
fn method_1_takes_the_newer_hashes_too() {
    let identity = rsa();
    let choice = AuthChoice { method: 14, scheme: SignatureScheme::RsaPkcs1(Sha256) };
    let data = identity.key.sign(choice, OCTETS).unwrap();
    let (_, signature) = algorithm_identifier::split(&data).unwrap();
    let verified = verify_auth(&identity.certificate, 1, signature, OCTETS, &policy(false));
    assert_eq!(verified, Ok(choice.scheme));
}

#[test]
fn a_signature_by_another_kind_of_key_is_named_as_such() {
    let (rsa, p256) = (rsa(), ec(&rcgen::PKCS_ECDSA_P256_SHA256));
    for hashes in [None, Some(&[Sha256][..])] {
        let choice = choose_auth(KeyKind::P256, hashes);
        let data = p256.key.sign(choice, OCTETS).unwrap();
        let outcome = verify_auth(&rsa.certificate, choice.method, &data, OCTETS, &policy(true));
        assert_eq!(outcome, Err(SignatureError::WrongKey));
    }
    assert_eq!(
        verify_auth(&p256.certificate, 10, &[0; 96], OCTETS, &policy(true)),
        Err(SignatureError::WrongKey)
    );
    for method in [0, 2, 3, 12, 13, 15, 255] {
        let outcome = verify_auth(&rsa.certificate, method, &[0; 256], OCTETS, &policy(true));
        assert_eq!(outcome, Err(SignatureError::UnsupportedMethod(method)));
    }
    let outcome = verify_auth(b"not a certificate", 14, &[0; 256], OCTETS, &policy(true));
    assert_eq!(outcome, Err(SignatureError::MalformedCertificate));
}

#[test]
fn a_key_refuses_choices_that_are_not_its_own() {
    let (rsa, p256) = (rsa(), ec(&rcgen::PKCS_ECDSA_P256_SHA256));
    for (identity, method, scheme) in [
        (&rsa, 14, SignatureScheme::Ed25519),
        (&rsa, 14, SignatureScheme::RsaPkcs1(Sha1)),
        (&rsa, 14, SignatureScheme::RsaPss(Sha1)),
        (&rsa, 1, SignatureScheme::RsaPkcs1(Sha256)),
        (&rsa, 9, SignatureScheme::ECDSA_P256_SHA256),
        (&p256, 10, SignatureScheme::ECDSA_P256_SHA256),
        (&p256, 14, SignatureScheme::ECDSA_P384_SHA384),
        (&p256, 14, SignatureScheme::Ecdsa(Curve::P256, Sha512)),
    ] {
        let outcome = identity.key.sign(AuthChoice { method, scheme }, OCTETS);
        assert_eq!(outcome, Err(SignError::WrongScheme), "{method} {scheme}");
    }
}

/// CVE-2018-16151, CVE-2018-16152, CVE-2018-17540: what a lenient parser of the padding would take. Each block is
/// made by the private operation itself, so only the verification's strictness refuses it.
#[test]
fn pkcs1_padding_is_verified_to_the_last_bit() {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};

    let identity = rsa();
    let signing_key::Key::Rsa { pair, .. } = &identity.key.key else { unreachable!() };
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let sign_block = |block: &[u8]| rsa_sha1::private_operation(private.as_ref(), block).unwrap();
    let right = rsa_sha1::encode(OCTETS, 256).unwrap();
    let verify =
        |block: &[u8]| verify_auth(&identity.certificate, 1, &sign_block(block), OCTETS, &policy(true));
    assert_eq!(verify(&right), Ok(SignatureScheme::RsaPkcs1(Sha1)));

    let digest_info = right[256 - 35..].to_vec();
    let padded = |ff: usize, tail: &[u8]| {
        let mut block = vec![0x00, 0x01];
        block.resize(2 + ff, 0xff);
        block.push(0);
        block.extend_from_slice(tail);
        block
    };
    let mut without_null = digest_info.clone();
    without_null.drain(11..13);
    (without_null[1], without_null[3]) = (0x1f, 0x07);
    let mut trailing = padded(256 - 3 - 35 - 8, &digest_info);
    trailing.extend_from_slice(&[0xa5; 8]);
    let mut garbage_after_short_padding = padded(8, &digest_info);
    garbage_after_short_padding.resize(256, 0x42);
    let mut parameters = digest_info.clone();
    parameters.splice(11..13, [0x04, 0x02, 0xaa, 0xbb]);
    (parameters[1], parameters[3]) = (0x23, 0x0b);
    let mut long_form_length = digest_info.clone();
    long_form_length.splice(1..2, [0x81, 0x21]);
    let mut wrong_type = right.clone();
    wrong_type[1] = 2;
    let mut damaged_padding = right.clone();
    damaged_padding[100] = 0xfe;
    for (name, block) in [
        ("no NULL", padded(256 - 3 - without_null.len(), &without_null)),
        ("trailing octets", trailing),
        ("short padding", garbage_after_short_padding),
        ("octets in the parameters", padded(256 - 3 - parameters.len(), &parameters)),
        ("length in long form", padded(256 - 3 - long_form_length.len(), &long_form_length)),
        ("block type 2", wrong_type),
        ("damaged padding", damaged_padding),
    ] {
        assert_eq!(block.len(), 256, "{name}");
        assert_eq!(verify(&block), Err(SignatureError::Invalid), "{name}");
    }
}

#[test]
fn keys_load_from_sec1_and_pkcs1() {
    use aws_lc_rs::encoding::{AsBigEndian, AsDer, Pkcs8V1Der};

    let p256 = ec(&rcgen::PKCS_ECDSA_P256_SHA256);
    let signing_key::Key::Ecdsa { der, .. } = &p256.key.key else { unreachable!() };
    // ECPrivateKey (RFC 5915 §3) without the optional public key.
    let private = der.private_key().as_be_bytes().unwrap();
    let curve = hex::decode("a00a06082a8648ce3d030107").unwrap();
    let sec1 = [&[0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20], private.as_ref(), &curve].concat();
    assert!(SigningKey::from_sec1_der(&sec1).unwrap().belongs_to(&p256.certificate));

    let rsa = rsa();
    let signing_key::Key::Rsa { pair, .. } = &rsa.key.key else { unreachable!() };
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    // Past version and algorithm: the RSAPrivateKey inside the octet string.
    let pkcs1 = &pkcs8.as_ref()[26..];
    assert!(SigningKey::from_pkcs1_der(pkcs1).unwrap().belongs_to(&rsa.certificate));
    assert_eq!(SigningKey::from_pkcs1_der(&sec1).err(), Some(KeyError::Unsupported));
}

#[test]
fn keys_load_from_pem_whatever_else_is_in_it() {
    for (algorithm, kind) in
        [(&rcgen::PKCS_ECDSA_P256_SHA256, KeyKind::P256), (&rcgen::PKCS_ED25519, KeyKind::Ed25519)]
    {
        let pair = KeyPair::generate_for(algorithm).unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&pair).unwrap();
        let pem = certificate.pem() + &pair.serialize_pem();
        assert_eq!(SigningKey::from_pem(pem.as_bytes()).unwrap().kind(), kind);
    }
    let error = |pem: &str| SigningKey::from_pem(pem.as_bytes()).err();
    assert_eq!(error(""), Some(KeyError::NotFound));
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert_eq!(error(encrypted), Some(KeyError::Encrypted));
    let traditional = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMAA=\n\
                       -----END RSA PRIVATE KEY-----\n";
    assert_eq!(error(traditional), Some(KeyError::Encrypted));
    let damaged = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    assert_eq!(error(damaged), Some(KeyError::Unsupported));
}

const RSA: KeyKind = KeyKind::Rsa { bits: 2048 };

#[test]
fn digital_signatures_are_chosen_when_the_peer_can_verify_them() {
    let all = HashAlgorithm::ANNOUNCED;
    for (kind, hashes, expected) in [
        (RSA, &all[..], SignatureScheme::RsaPss(Sha256)),
        (RSA, &[Sha1, Sha512], SignatureScheme::RsaPss(Sha512)),
        (KeyKind::P256, &all, SignatureScheme::ECDSA_P256_SHA256),
        (KeyKind::P384, &all, SignatureScheme::ECDSA_P384_SHA384),
        (KeyKind::P521, &all, SignatureScheme::ECDSA_P521_SHA512),
        (KeyKind::Ed25519, &[Identity], SignatureScheme::Ed25519),
    ] {
        assert_eq!(choose_auth(kind, Some(hashes)), AuthChoice { method: 14, scheme: expected });
    }
}

#[test]
fn older_peers_get_the_older_methods() {
    for (kind, method) in [(RSA, 1), (KeyKind::P256, 9), (KeyKind::P384, 10), (KeyKind::P521, 11)] {
        assert_eq!(choose_auth(kind, None).method, method);
        assert_eq!(choose_auth(kind, Some(&[Sha1])).method, method);
    }
    assert_eq!(choose_auth(KeyKind::P384, Some(&[Sha256])).method, 10);
    assert_eq!(choose_auth(KeyKind::P384, Some(&[Sha384])).method, 14);
    assert_eq!(choose_auth(KeyKind::Ed25519, None).method, 14);
}
