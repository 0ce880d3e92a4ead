//! Project Wycheproof through this crate's own interfaces: what it calls invalid is refused, what it calls valid is
//! accepted as far as IKE can express it. The numbers of cases are asserted, so that no test can come to be empty.
#![expect(clippy::unwrap_used, reason = "tests")]

use evenkeel_ipsec::crypto::{
    Encr, Group, HashAlgorithm, Integ, KeyBits, KeyExchange, Prf, SignatureError, SignatureScheme, SkError,
    SkKey, VerifyPolicy, verify_auth,
};
use wycheproof::{EllipticCurve, HashFunction, Mgf, TestResult};

/// What happened to the cases of a test.
#[derive(Default, PartialEq, Eq, Debug)]
struct Tally {
    /// Right results, or signatures that verified.
    accepted: usize,
    refused: usize,
    /// Valid cases that IKE has no way to say.
    inexpressible: usize,
}

impl Tally {
    fn of(accepted: usize, refused: usize, inexpressible: usize) -> Self {
        Self { accepted, refused, inexpressible }
    }

    fn count(&mut self, accepted: bool) {
        if accepted {
            self.accepted += 1;
        } else {
            self.refused += 1;
        }
    }
}

#[test]
fn x25519() {
    let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).unwrap();
    let mut tally = Tally::default();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let pair = KeyExchange::from_private_value(Group::X25519, &test.private_key).unwrap();
        let outcome = pair.agree(&test.public_key);
        // RFC 8031 §3.1: the one output that must be refused. Every other is computed, twist and non-canonical values
        // included.
        let must_fail = test.result.must_fail() || test.shared_secret.iter().all(|byte| *byte == 0);
        match &outcome {
            Ok(secret) => assert_eq!(secret.as_bytes(), &test.shared_secret[..], "{}", test.tc_id),
            Err(_) => assert!(must_fail, "{} {}", test.tc_id, test.comment),
        }
        assert_eq!(outcome.is_err(), must_fail, "{} {}", test.tc_id, test.comment);
        tally.count(outcome.is_ok());
    }
    assert_eq!(tally, Tally::of(487, 31, 0));
}

#[test]
fn ecdh() {
    use wycheproof::ecdh::{TestName, TestSet};

    let mut tally = Tally::default();
    for (name, group, private_len) in [
        (TestName::EcdhSecp256r1Ecpoint, Group::P256, 32),
        (TestName::EcdhSecp384r1Ecpoint, Group::P384, 48),
        (TestName::EcdhSecp521r1Ecpoint, Group::P521, 66),
    ] {
        for test in TestSet::load(name).unwrap().test_groups.iter().flat_map(|group| &group.tests) {
            let pair =
                KeyExchange::from_private_value(group, &fixed_len(&test.private_key, private_len)).unwrap();
            // RFC 5903 §7: the point without its leading 0x04. Anything else goes in as it is.
            let point = match test.public_key.split_first() {
                Some((0x04, point)) => point,
                Some(_) | None => &test.public_key[..],
            };
            let outcome = pair.agree(point);
            let is_compressed = matches!(test.public_key.first(), Some(0x02 | 0x03));
            match (&outcome, test.result) {
                (Ok(secret), TestResult::Valid | TestResult::Acceptable) => {
                    assert_eq!(secret.as_bytes(), &test.shared_secret[..], "{name:?} {}", test.tc_id);
                    tally.accepted += 1;
                }
                (Err(_), TestResult::Invalid) => tally.refused += 1,
                (Err(_), TestResult::Valid | TestResult::Acceptable) if is_compressed => {
                    tally.inexpressible += 1;
                }
                (_, result) => panic!("{name:?} {} {}: {result:?}", test.tc_id, test.comment),
            }
        }
    }
    assert_eq!(tally, Tally::of(1733, 70, 3));
}

#[test]
fn rsa_pkcs1_signatures() {
    use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};

    let mut tally = Tally::default();
    for name in [
        TestName::Rsa2048Sha256,
        TestName::Rsa2048Sha384,
        TestName::Rsa2048Sha512,
        TestName::Rsa3072Sha256,
        TestName::Rsa3072Sha384,
        TestName::Rsa3072Sha512,
        TestName::Rsa4096Sha256,
        TestName::Rsa4096Sha384,
        TestName::Rsa4096Sha512,
        TestName::Rsa8192Sha256,
        TestName::Rsa8192Sha384,
        TestName::Rsa8192Sha512,
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            let hash = hash(group.hash).unwrap();
            let certificate = certificate(&group.der);
            for test in group.tests {
                let scheme = SignatureScheme::RsaPkcs1(hash);
                let digital = verify(&certificate, 14, &method_14(scheme, &test.sig), &test.msg);
                let legacy = verify(&certificate, 1, &test.sig, &test.msg);
                // Method 1 doesn't name a hash, so one made with another of ours verifies too, as what it is.
                let same = legacy == Ok(scheme);
                assert_eq!(digital.is_ok(), same, "{name:?} {} {}", test.tc_id, test.comment);
                check(test.result, &digital, scheme, &format!("{name:?} {} {}", test.tc_id, test.comment));
                tally.count(digital.is_ok());
            }
        }
    }
    assert_eq!(tally, Tally::of(89, 3017, 0));
}

/// All sets, those with parameters that we don't take included: what is valid under those must fail under ours.
#[test]
fn rsa_pss_signatures() {
    use wycheproof::rsa_pss_verify::{TestGroupTypeId, TestName, TestSet};

    let mut tally = Tally::default();
    for name in TestName::all() {
        for group in TestSet::load(name).unwrap().test_groups {
            let is_ours = group.mgf == Mgf::Mgf1
                && group.test_type == TestGroupTypeId::RsaPssVerify
                && group.mgf_hash == Some(group.hash)
                && hash(group.hash).is_some_and(|hash| group.salt_size == hash_len(hash))
                && group.key_size >= 2048;
            let certificate = certificate(&group.der);
            for test in group.tests {
                let schemes = match hash(group.hash) {
                    Some(hash) if is_ours => vec![hash],
                    Some(_) | None => {
                        vec![HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512]
                    }
                };
                for hash in schemes {
                    let scheme = SignatureScheme::RsaPss(hash);
                    let outcome = verify(&certificate, 14, &method_14(scheme, &test.sig), &test.msg);
                    let place = format!("{name:?} {} {}", test.tc_id, test.comment);
                    if is_ours {
                        check(test.result, &outcome, scheme, &place);
                        tally.count(outcome.is_ok());
                    } else if test.result == TestResult::Valid {
                        assert!(outcome.is_err(), "{place}");
                        tally.inexpressible += 1;
                    }
                }
            }
        }
    }
    assert_eq!(tally, Tally::of(514, 274, 5682));
}

#[test]
fn ecdsa_signatures() {
    use wycheproof::ecdsa::{TestName, TestSet};

    let mut tally = Tally::default();
    for name in [
        TestName::EcdsaSecp256r1Sha256,
        TestName::EcdsaSecp384r1Sha256,
        TestName::EcdsaSecp384r1Sha384,
        TestName::EcdsaSecp384r1Sha512,
        TestName::EcdsaSecp521r1Sha512,
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            let hash = hash(group.hash).unwrap();
            let scheme = SignatureScheme::Ecdsa(curve(group.key.curve), hash);
            let certificate = certificate(&group.der);
            for test in group.tests {
                let outcome = verify(&certificate, 14, &method_14(scheme, &test.sig), &test.msg);
                check(test.result, &outcome, scheme, &format!("{name:?} {} {}", test.tc_id, test.comment));
                tally.count(outcome.is_ok());
            }
        }
    }
    assert_eq!(tally, Tally::of(993, 1551, 0));
}

/// Methods 9, 10 and 11.
#[test]
fn ecdsa_signatures_of_fixed_length() {
    use wycheproof::ecdsa::{TestName, TestSet};

    let mut tally = Tally::default();
    for (name, method, scheme) in [
        (TestName::EcdsaSecp256r1Sha256P1363, 9, SignatureScheme::ECDSA_P256_SHA256),
        (TestName::EcdsaSecp384r1Sha384P1363, 10, SignatureScheme::ECDSA_P384_SHA384),
        (TestName::EcdsaSecp521r1Sha512P1363, 11, SignatureScheme::ECDSA_P521_SHA512),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            let certificate = certificate(&group.der);
            for test in group.tests {
                let outcome = verify(&certificate, method, &test.sig, &test.msg);
                check(test.result, &outcome, scheme, &format!("{name:?} {} {}", test.tc_id, test.comment));
                tally.count(outcome.is_ok());
            }
        }
    }
    assert_eq!(tally, Tally::of(597, 263, 0));
}

/// Curves that we don't have must not verify anything.
#[test]
fn ecdsa_keys_on_other_curves_are_unsupported() {
    use wycheproof::ecdsa::{TestName, TestSet};

    let mut groups = 0;
    for name in [
        TestName::EcdsaSecp224r1Sha256,
        TestName::EcdsaSecp256k1Sha256,
        TestName::EcdsaBrainpool256r1Sha256,
        TestName::EcdsaBrainpool384r1Sha384,
        TestName::EcdsaBrainpool512r1Sha512,
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            let certificate = certificate(&group.der);
            let scheme = SignatureScheme::ECDSA_P256_SHA256;
            for test in group.tests.iter().take(3) {
                let outcome = verify(&certificate, 14, &method_14(scheme, &test.sig), &test.msg);
                assert_eq!(outcome, Err(SignatureError::UnsupportedKey), "{name:?}");
            }
            groups += 1;
        }
    }
    assert_eq!(groups, 543);
}

#[test]
fn ed25519_signatures() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    let mut tally = Tally::default();
    for group in set.test_groups {
        let certificate = certificate(&group.der);
        for test in group.tests {
            let scheme = SignatureScheme::Ed25519;
            let outcome = verify(&certificate, 14, &method_14(scheme, &test.sig), &test.msg);
            check(test.result, &outcome, scheme, &format!("{} {}", test.tc_id, test.comment));
            tally.count(outcome.is_ok());
        }
    }
    assert_eq!(tally, Tally::of(88, 63, 0));
}

#[test]
fn hmac() {
    use wycheproof::mac::{TestName, TestSet};

    let mut tally = Tally::default();
    for (name, prf) in [
        (TestName::HmacSha1, Prf::HmacSha1),
        (TestName::HmacSha256, Prf::HmacSha256),
        (TestName::HmacSha384, Prf::HmacSha384),
        (TestName::HmacSha512, Prf::HmacSha512),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let mac = prf.mac(&test.key, &[&test.msg]);
                let is_equal = mac.as_bytes()[..group.tag_size / 8] == test.tag[..];
                assert_eq!(is_equal, !test.result.must_fail(), "{name:?} {}", test.tc_id);
                tally.count(is_equal);
            }
        }
    }
    assert_eq!(tally, Tally::of(264, 428, 0));
}

#[test]
fn aead() {
    use wycheproof::aead::{TestName, TestSet};

    let mut tally = Tally::default();
    for name in [TestName::AesGcm, TestName::ChaCha20Poly1305] {
        for group in TestSet::load(name).unwrap().test_groups {
            let encr = match (name, group.key_size) {
                (TestName::AesGcm, 128) => Encr::AesGcm16(KeyBits::Bits128),
                (TestName::AesGcm, 256) => Encr::AesGcm16(KeyBits::Bits256),
                (TestName::ChaCha20Poly1305, 256) => Encr::ChaCha20Poly1305,
                (_, _) => continue,
            };
            for test in group.tests {
                let (12, 16) = (test.nonce.len(), test.tag.len()) else {
                    tally.inexpressible += 1;
                    continue;
                };
                // The nonce is salt and IV (RFC 5282 §4); the plaintext ends in a padding length.
                let (salt, iv) = test.nonce.split_at(4);
                let key = SkKey::new(encr, None, &[&test.key[..], salt].concat(), &[]).unwrap();
                let message = [&test.aad[..], iv, &test.ct, &test.tag].concat();
                let outcome = key.open(&message, test.aad.len());
                let place = format!("{name:?} {} {}", test.tc_id, test.comment);
                match expected_plaintext(&test.pt, test.result) {
                    Err(SkError::Length) => assert_eq!(outcome, Err(SkError::Length), "{place}"),
                    expected => assert_eq!(outcome.map(|plain| plain.to_vec()), expected, "{place}"),
                }
                tally.count(!test.result.must_fail());
            }
        }
    }
    assert_eq!(tally, Tally::of(335, 114, 89));
}

/// The valid cases of AES-CBC, under a right integrity check value of our own making.
#[test]
fn aes_cbc() {
    let set = wycheproof::cipher::TestSet::load(wycheproof::cipher::TestName::AesCbcPkcs5).unwrap();
    let integ = Integ::HmacSha256_128;
    let mut tally = Tally::default();
    for group in set.test_groups {
        let encr = match group.key_size {
            128 => Encr::AesCbc(KeyBits::Bits128),
            256 => Encr::AesCbc(KeyBits::Bits256),
            _ => continue,
        };
        for test in group.tests.iter().filter(|test| test.result == TestResult::Valid) {
            let integ_key = [7; 32];
            let covered = [&test.nonce[..], &test.ct].concat();
            let icv = Prf::HmacSha256.mac(&integ_key, &[&covered]);
            let message = [covered.as_slice(), &icv.as_bytes()[..integ.icv_len()]].concat();
            let key = SkKey::new(encr, Some(integ), &test.key, &integ_key).unwrap();
            // PKCS #5 padding is n times n; read as IKE's, n says how many octets go before it.
            let padding = 16 - test.pt.len() % 16;
            let mut padded = test.pt.to_vec();
            padded.resize(padded.len() + padding, u8::try_from(padding).unwrap());
            let expected = match padded.len().checked_sub(padding + 1) {
                Some(len) => Ok(padded[..len].to_vec()),
                None => Err(SkError::Padding),
            };
            assert_eq!(key.open(&message, 0).map(|plain| plain.to_vec()), expected, "{}", test.tc_id);
            tally.count(true);
        }
    }
    assert_eq!(tally, Tally::of(48, 0, 0));
}

/// What opening a case must give: its plaintext read as payloads, padding and padding length.
fn expected_plaintext(plain: &[u8], result: TestResult) -> Result<Vec<u8>, SkError> {
    let Some((padding, content)) = plain.split_last() else { return Err(SkError::Length) };
    if result.must_fail() {
        return Err(SkError::Integrity);
    }
    let len = content.len().checked_sub(usize::from(*padding)).ok_or(SkError::Padding)?;
    Ok(content[..len].to_vec())
}

fn check(
    expected: TestResult,
    outcome: &Result<SignatureScheme, SignatureError>,
    scheme: SignatureScheme,
    place: &str,
) {
    match expected {
        TestResult::Valid => assert_eq!(*outcome, Ok(scheme), "{place}"),
        // What a careful verifier may refuse, ours does.
        TestResult::Acceptable | TestResult::Invalid => assert!(outcome.is_err(), "{place}"),
    }
}

fn verify(
    certificate: &[u8],
    method: u8,
    data: &[u8],
    message: &[u8],
) -> Result<SignatureScheme, SignatureError> {
    let policy = VerifyPolicy { sha1: false, hashes: HashAlgorithm::ANNOUNCED.to_vec() };
    verify_auth(certificate, method, data, message, &policy)
}

/// The authentication data of method 14: AlgorithmIdentifiers as in RFC 7427 appendix A, written out a second time.
fn method_14(scheme: SignatureScheme, signature: &[u8]) -> Vec<u8> {
    use HashAlgorithm::{Identity, Sha1, Sha256, Sha384, Sha512};
    let identifier = match scheme {
        SignatureScheme::RsaPkcs1(hash) => {
            let last = match hash {
                Sha1 => "05",
                Sha256 => "0b",
                Sha384 => "0c",
                Sha512 => "0d",
                Identity => unreachable!(),
            };
            format!("300d06092a864886f70d0101{last}0500")
        }
        SignatureScheme::RsaPss(hash) => {
            let (last, salt) = match hash {
                Sha256 => ("01", "20"),
                Sha384 => ("02", "30"),
                Sha512 => ("03", "40"),
                Sha1 | Identity => unreachable!(),
            };
            let hash = format!("300d06096086480165030402{last}0500");
            format!(
                "304106092a864886f70d01010a3034a00f{hash}a11c301a06092a864886f70d010108{hash}a2030201{salt}"
            )
        }
        SignatureScheme::Ecdsa(_, hash) => {
            let last = match hash {
                Sha256 => "02",
                Sha384 => "03",
                Sha512 => "04",
                Sha1 | Identity => unreachable!(),
            };
            format!("300a06082a8648ce3d0403{last}")
        }
        SignatureScheme::Ed25519 => "300506032b6570".to_owned(),
    };
    let identifier = hex::decode(identifier).unwrap();
    [&[u8::try_from(identifier.len()).unwrap()], identifier.as_slice(), signature].concat()
}

/// A certificate around a SubjectPublicKeyInfo: well-formed, signed by nobody.
fn certificate(spki: &[u8]) -> Vec<u8> {
    let algorithm = hex::decode("300a06082a8648ce3d040302").unwrap();
    let empty_name = [0x30, 0x00];
    let validity = tlv(0x30, &[tlv(0x17, b"250101000000Z"), tlv(0x17, b"270101000000Z")].concat());
    let version = tlv(0xa0, &[0x02, 0x01, 0x02]);
    let serial = [0x02, 0x01, 0x01];
    let tbs = [&version, &serial[..], &algorithm, &empty_name, &validity, &empty_name, spki].concat();
    tlv(0x30, &[tlv(0x30, &tbs), algorithm, tlv(0x03, &[0, 0])].concat())
}

fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let len = u16::try_from(contents.len()).unwrap().to_be_bytes();
    let mut out = match len {
        [0, short @ 0..=0x7f] => vec![tag, short],
        [0, long] => vec![tag, 0x81, long],
        [high, low] => vec![tag, 0x82, high, low],
    };
    out.extend_from_slice(contents);
    out
}

/// Big-endian, with leading zeros added or taken away.
fn fixed_len(number: &[u8], len: usize) -> Vec<u8> {
    let significant = &number[number.iter().take_while(|byte| **byte == 0).count()..];
    [vec![0; len - significant.len()].as_slice(), significant].concat()
}

fn curve(curve: EllipticCurve) -> evenkeel_ipsec::crypto::Curve {
    use evenkeel_ipsec::crypto::Curve;
    #[expect(clippy::wildcard_enum_match_arm, reason = "the sets are chosen by curve")]
    match curve {
        EllipticCurve::Secp256r1 => Curve::P256,
        EllipticCurve::Secp384r1 => Curve::P384,
        EllipticCurve::Secp521r1 => Curve::P521,
        other => panic!("{other:?}"),
    }
}

fn hash(hash: HashFunction) -> Option<HashAlgorithm> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the hashes that we have")]
    match hash {
        HashFunction::Sha2_256 => Some(HashAlgorithm::Sha256),
        HashFunction::Sha2_384 => Some(HashAlgorithm::Sha384),
        HashFunction::Sha2_512 => Some(HashAlgorithm::Sha512),
        _ => None,
    }
}

fn hash_len(hash: HashAlgorithm) -> usize {
    match hash {
        HashAlgorithm::Sha256 => 32,
        HashAlgorithm::Sha384 => 48,
        HashAlgorithm::Sha512 => 64,
        HashAlgorithm::Sha1 | HashAlgorithm::Identity => unreachable!(),
    }
}
