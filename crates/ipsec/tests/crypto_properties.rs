//! Properties of negotiation, and what arbitrary bytes do to everything that a peer can reach before it has proven who
//! it is: nothing but an error.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::LazyLock;

use evenkeel_ipsec::crypto::{
    CertificateCheck, Encr, EspProposal, EspProposals, Group, HashAlgorithm, IkeProposal, IkeProposals,
    Integ, KeyBits, KeyExchange, PeerRole, Prf, Rng, Secret, SigningKey, SkKey, TrustAnchors, UnixTime,
    VerifyPolicy, certificate_ids, subject_dn, verify_auth,
};
use evenkeel_ipsec::eap::{EapAction, EapPeer};
use evenkeel_ipsec::wire::{EspSpi, Id, Proposal, Protocol, Spi, Transform, TransformType};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;

const AEAD: [Encr; 3] =
    [Encr::AesGcm16(KeyBits::Bits128), Encr::AesGcm16(KeyBits::Bits256), Encr::ChaCha20Poly1305];
const CBC: [Encr; 2] = [Encr::AesCbc(KeyBits::Bits128), Encr::AesCbc(KeyBits::Bits256)];
const INTEG: [Integ; 3] = [Integ::HmacSha1_96, Integ::HmacSha256_128, Integ::HmacSha512_256];
const PRF: [Prf; 3] = [Prf::HmacSha1, Prf::HmacSha256, Prf::HmacSha512];
const GROUPS: [Group; 4] = [Group::X25519, Group::P256, Group::Modp2048, Group::Modp1024];

fn some<T: Clone + std::fmt::Debug + 'static>(all: &[T]) -> impl Strategy<Value = Vec<T>> + use<T> {
    subsequence(all.to_vec(), 1..=all.len()).prop_shuffle()
}

fn protection() -> impl Strategy<Value = (Vec<Encr>, Vec<Integ>)> {
    prop_oneof![(some(&AEAD), Just(Vec::new())), (some(&CBC), some(&INTEG))]
}

fn ike_proposals() -> impl Strategy<Value = IkeProposals> {
    let proposal = (protection(), some(&PRF), some(&GROUPS));
    vec(proposal.prop_map(|((encr, integ), prf, groups)| IkeProposal { encr, integ, prf, groups }), 1..4)
        .prop_map(IkeProposals)
}

fn esp_proposals() -> impl Strategy<Value = EspProposals> {
    let groups = prop_oneof![Just(Vec::new()), some(&GROUPS)];
    let proposal = (protection(), groups, some(&[true, false]));
    vec(proposal.prop_map(|((encr, integ), groups, esn)| EspProposal { encr, integ, groups, esn }), 1..4)
        .prop_map(EspProposals)
}

fn transform() -> impl Strategy<Value = Transform> {
    let kind = prop_oneof![
        Just(TransformType::Encr),
        Just(TransformType::Prf),
        Just(TransformType::Integ),
        Just(TransformType::Ke),
        Just(TransformType::Esn),
        (0..=u8::MAX).prop_map(TransformType::Other),
    ];
    let key_bits = prop_oneof![Just(None), Just(Some(128)), Just(Some(256)), any::<u16>().prop_map(Some)];
    (kind, 0_u16..40, key_bits, any::<bool>()).prop_map(|(kind, id, key_bits, unknown_attribute)| Transform {
        kind,
        id,
        key_bits,
        unknown_attribute,
    })
}

fn wire_proposals() -> impl Strategy<Value = Vec<Proposal>> {
    let protocol = prop_oneof![Just(Protocol::Ike), Just(Protocol::Esp), Just(Protocol::Ah)];
    let proposal = (0..5_u8, protocol, vec(transform(), 0..8));
    vec(
        proposal.prop_map(|(number, protocol, transforms)| Proposal {
            number,
            protocol,
            spi: Spi::None,
            transforms,
        }),
        0..4,
    )
}

fn meet<T: PartialEq>(a: &[T], b: &[T]) -> bool {
    a.iter().any(|a| b.contains(a))
}

fn protection_meets(a: (&[Encr], &[Integ]), b: (&[Encr], &[Integ])) -> bool {
    meet(a.0, b.0) && (a.1.is_empty() && b.1.is_empty() || meet(a.1, b.1))
}

proptest! {
    #[test]
    fn ike_negotiation_succeeds_exactly_when_two_proposals_meet(
        client in ike_proposals(),
        gateway in ike_proposals(),
    ) {
        let common = client.0.iter().any(|a| gateway.0.iter().any(|b| {
            protection_meets((&a.encr, &a.integ), (&b.encr, &b.integ))
                && meet(&a.prf, &b.prf)
                && meet(&a.groups, &b.groups)
        }));
        match gateway.select(&client.to_wire(Spi::None)) {
            None => prop_assert!(!common),
            Some((answer, suite, _)) => {
                prop_assert_eq!(client.accept(&[answer]), Ok((suite, Spi::None)));
                prop_assert_eq!(suite.integ.is_none(), suite.encr.is_aead());
            }
        }
    }

    #[test]
    fn esp_negotiation_succeeds_exactly_when_two_proposals_meet(
        client in esp_proposals(),
        gateway in esp_proposals(),
        with_ke: bool,
    ) {
        let common = client.0.iter().any(|a| gateway.0.iter().any(|b| {
            protection_meets((&a.encr, &a.integ), (&b.encr, &b.integ))
                && meet(&a.esn, &b.esn)
                && (!with_ke || a.groups.is_empty() && b.groups.is_empty() || meet(&a.groups, &b.groups))
        }));
        let spi = Spi::Esp(EspSpi(0x1234));
        let offer = if with_ke { client.to_wire(spi) } else { client.to_wire_without_ke(spi) };
        match gateway.select(&offer, with_ke) {
            None => prop_assert!(!common),
            Some((answer, suite, group, peer)) => {
                prop_assert_eq!(peer, spi);
                prop_assert!(with_ke || group.is_none());
                prop_assert_eq!(client.accept(&[answer], with_ke), Ok((suite, group, Spi::None)));
                prop_assert_eq!(suite.integ.is_none(), suite.encr.is_aead());
            }
        }
    }

    /// Whatever a responder answers, a suite that is accepted was offered.
    #[test]
    fn no_answer_brings_in_what_was_not_offered(ours in ike_proposals(), answer in wire_proposals()) {
        if let Ok((suite, _)) = ours.accept(&answer) {
            prop_assert!(ours.0.iter().any(|p| p.encr.contains(&suite.encr)
                && suite.integ.is_none_or(|integ| p.integ.contains(&integ))
                && p.prf.contains(&suite.prf)
                && p.groups.contains(&suite.group)));
        }
        if let Some((_, suite, _)) = ours.select(&answer) {
            prop_assert!(ours.0.iter().any(|p| p.encr.contains(&suite.encr) && p.groups.contains(&suite.group)));
        }
    }

    #[test]
    fn no_bytes_open_without_the_key(bytes in vec(any::<u8>(), 0..200), aad_len in 0..220_usize) {
        for (encr, integ) in [
            (Encr::AesGcm16(KeyBits::Bits256), None),
            (Encr::ChaCha20Poly1305, None),
            (Encr::AesCbc(KeyBits::Bits128), Some(Integ::HmacSha256_128)),
        ] {
            let key = SkKey::new(encr, integ, &vec![1; encr.key_len()], &vec![2; integ.map_or(0, Integ::key_len)]);
            prop_assert!(key.unwrap().open(&bytes, aad_len).is_err());
        }
    }

    #[test]
    fn no_public_value_of_random_octets_panics(len in 0..140_usize, octet: u8, bytes in vec(any::<u8>(), 132)) {
        let mut value = bytes;
        value.resize(len, octet);
        for pair in &*PAIRS {
            // A random string may be an X25519 value; on the other groups of these lengths it is next to never one.
            let outcome = pair.agree(&value);
            prop_assert!(outcome.is_err() || value.len() == pair.group().public_len());
        }
    }

    #[test]
    fn no_random_signature_verifies(method in 0..20_u8, data in vec(any::<u8>(), 0..300), octets in vec(any::<u8>(), 0..50)) {
        let policy = VerifyPolicy { sha1: true, hashes: HashAlgorithm::ANNOUNCED.to_vec() };
        for certificate in &PKI.leaves {
            prop_assert!(verify_auth(certificate, method, &data, &octets, &policy).is_err());
        }
    }

    #[test]
    fn no_spliced_certificate_is_trusted(at in 0..1000_usize, cut in 0..20_usize, put in vec(any::<u8>(), 0..20)) {
        for leaf in &PKI.leaves {
            let at = at % leaf.len();
            let mut spliced = leaf.clone();
            spliced.splice(at..leaf.len().min(at + cut), put.iter().copied());
            let outcome = check(&[spliced.clone()]);
            prop_assert_eq!(outcome, &spliced == leaf);
            // As an intermediate it does no harm.
            prop_assert!(check(&[leaf.clone(), spliced]));
        }
    }

    #[test]
    fn random_octets_are_no_certificate_and_no_key(bytes in vec(any::<u8>(), 0..400)) {
        prop_assert!(certificate_ids(&bytes).is_err() && subject_dn(&bytes).is_err());
        prop_assert!(TrustAnchors::from_der([&bytes]).is_err());
        prop_assert!(SigningKey::from_pem(&bytes).is_err());
        prop_assert!(SigningKey::from_pkcs8_der(&bytes).is_err());
        prop_assert!(!check(&[bytes]));
    }

    /// A gateway that doesn't know the password, in any number of packets.
    #[test]
    fn no_sequence_of_eap_packets_reaches_success(
        packets in vec((1..5_u8, prop_oneof![Just(26_u8), 0..30_u8], vec(any::<u8>(), 0..60)), 1..30)
    ) {
        let mut rng = Rng::from_seed([9; 32]);
        let mut peer = EapPeer::new("alice".to_owned(), Secret::new(*b"secret"), &mut rng);
        for (code, method, data) in packets {
            let length = u8::try_from(5 + data.len()).unwrap();
            let packet = [&[code, 1, 0, length, method], data.as_slice()].concat();
            let is_success = matches!(peer.handle(&packet), Ok(EapAction::Success { .. }));
            prop_assert!(!is_success);
        }
    }
}

static PAIRS: LazyLock<Vec<KeyExchange>> = LazyLock::new(|| {
    let mut rng = Rng::from_seed([3; 32]);
    GROUPS.map(|group| KeyExchange::generate(group, &mut rng).unwrap()).into()
});

struct Pki {
    anchors: TrustAnchors,
    leaves: Vec<Vec<u8>>,
}

static PKI: LazyLock<Pki> = LazyLock::new(|| {
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let anchors = TrustAnchors::from_der([ca.self_signed(&ca_key).unwrap().der()]).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let leaf = rcgen::CertificateParams::new(["gateway.example".to_owned()]).unwrap();
    let leaves = [&rcgen::PKCS_RSA_SHA256, &rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519]
        .map(|algorithm| {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            leaf.signed_by(&key, &issuer).unwrap().der().to_vec()
        })
        .into();
    Pki { anchors, leaves }
});

fn check(chain: &[Vec<u8>]) -> bool {
    let expected_id = &Id::Fqdn("gateway.example".to_owned());
    // 2026-01-01.
    let (now, role) = (UnixTime(1_767_225_600), PeerRole::Gateway);
    CertificateCheck { chain, anchors: &PKI.anchors, expected_id, now, role }.verify().is_ok()
}
