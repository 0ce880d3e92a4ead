//! Certificates at both ends, long chains and what must be refused.

use super::*;
use crate::crypto::{CertificateError, SigningKey, TrustAnchors};
use crate::ike::{Failure, LocalAuth, PeerAuth, PeerAuthFailure, ResponderAuth};
use crate::wire::Id;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use std::sync::Arc;
use std::time::Duration;

struct Authority {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn root(name: &str) -> Self {
        let (params, key) = Self::parts(name);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { der, issuer: Issuer::new(params, key) }
    }

    fn intermediate(&self, name: &str) -> Self {
        let (params, key) = Self::parts(name);
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Self { der, issuer: Issuer::new(params, key) }
    }

    fn parts(name: &str) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        (params, KeyPair::generate().unwrap())
    }

    fn issue(&self, san: SanType, change: impl FnOnce(&mut CertificateParams)) -> (Vec<u8>, Arc<SigningKey>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![san];
        change(&mut params);
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        (der, Arc::new(SigningKey::from_pem(key.serialize_pem().as_bytes()).unwrap()))
    }
}

fn gateway_name() -> SanType {
    SanType::DnsName("vpn.example.org".try_into().unwrap())
}

fn anchors(authority: &Authority) -> Arc<TrustAnchors> {
    Arc::new(TrustAnchors::from_der([&authority.der]).unwrap())
}

/// A gateway with a certificate for a client with one; `change` is applied to the gateway's.
fn options(
    seed: u64,
    root: &Authority,
    change: impl FnOnce(&mut CertificateParams),
) -> (Options, Arc<SigningKey>) {
    let (gateway, gateway_key) = root.issue(gateway_name(), change);
    let (client, client_key) =
        root.issue(SanType::Rfc822Name("alice@example.org".try_into().unwrap()), |_| {});
    let mut options = Options::psk(seed);
    options.client_auth = LocalAuth::Certificate { chain: vec![client], key: client_key.kind() };
    options.peer_auth = PeerAuth::Certificate { anchors: anchors(root) };
    options.responder_auth = ResponderAuth::Certificate { chain: vec![gateway], key: gateway_key };
    options.peers.anchors = Some(anchors(root));
    options.peers.psks.clear();
    (options, client_key)
}

fn refused(options: Options, key: Arc<SigningKey>) -> Failure {
    let mut pair = Pair::new(options);
    pair.key = Some(key);
    assert!(pair.run_until(Duration::from_secs(60), |pair| pair.client_failure.is_some()));
    assert_eq!(pair.client_plane.installed, 0);
    pair.client_failure.take().unwrap()
}

#[test]
fn certificates_at_both_ends_take_two_round_trips() {
    let root = Authority::root("Root");
    let (options, key) = options(1, &root, |_| {});
    let mut pair = Pair::new(options);
    pair.key = Some(key);
    pair.connect();
    assert_eq!(pair.client.info().expect("established").round_trips, 2);
    pair.exchange_packets();
    pair.run_for(Duration::from_secs(1));
}

#[test]
fn older_gateways_get_the_older_signature_methods() {
    let root = Authority::root("Root");
    let (options, key) = options(2, &root, |_| {});
    let mut pair = Pair::new(options);
    pair.key = Some(key);
    let mut faults = pair.responder.faults().clone();
    faults.no_signature_hashes = true;
    pair.responder.set_faults(faults);
    pair.connect();
    let sign = pair.client_events.iter().find(|event| event.starts_with("SignAuth")).expect("signed");
    assert!(sign.contains("method: 9"), "ECDSA-256 by RFC 4754: {sign}");
}

#[test]
fn a_long_chain_is_fragmented_both_ways_and_survives_loss() {
    let root = Authority::root("Root");
    let mut chain = vec![root.intermediate("Intermediate 1")];
    for depth in 2..=4 {
        let next = chain.last().unwrap().intermediate(&format!("Intermediate {depth}"));
        chain.push(next);
    }
    let last = chain.last().unwrap();
    let (gateway, gateway_key) = last.issue(gateway_name(), |_| {});
    let (client, client_key) =
        last.issue(SanType::Rfc822Name("alice@example.org".try_into().unwrap()), |_| {});
    let with_chain = |leaf: Vec<u8>| -> Vec<Vec<u8>> {
        std::iter::once(leaf).chain(chain.iter().rev().map(|authority| authority.der.clone())).collect()
    };
    for seed in 0..20 {
        let (mut options, _) = options(100 + seed, &root, |_| {});
        options.client_auth =
            LocalAuth::Certificate { chain: with_chain(client.clone()), key: client_key.kind() };
        options.responder_auth =
            ResponderAuth::Certificate { chain: with_chain(gateway.clone()), key: Arc::clone(&gateway_key) };
        options.network = Network { loss: 100, duplicates: 50, jitter_ms: 100, ..Network::default() };
        options.timers.retransmits_connecting = 12;
        options.fragment_size = 576;
        let mut pair = Pair::new(options);
        pair.key = Some(Arc::clone(&client_key));
        pair.connect();
        assert!(pair.sent >= 12, "seed {seed}: {} datagrams are no fragments", pair.sent);
    }
}

#[test]
fn fragments_fill_what_they_may_and_no_more() {
    let root = Authority::root("Root");
    for (suite, block) in [("aes256gcm16-prfsha256-x25519", 1), ("aes256-sha256-x25519", 16)] {
        for limit in [200, 576, 577, 1280] {
            let (mut options, key) = options(11, &root, |params| {
                params.subject_alt_names.extend((0..40).map(|n| {
                    SanType::DnsName(format!("a-name-that-takes-room-{n}.example.org").try_into().unwrap())
                }));
            });
            options.ike = crate::crypto::IkeProposals(vec![suite.parse().unwrap()]);
            options.responder_ike = options.ike.clone();
            options.fragment_size = limit;
            let mut pair = Pair::new(options);
            pair.key = Some(key);
            let largest: std::rc::Rc<std::cell::Cell<usize>> = std::rc::Rc::default();
            let seen = std::rc::Rc::clone(&largest);
            pair.filter = Some(Box::new(move |_, payload| {
                // IKE_SA_INIT is not fragmented (RFC 7383 §2.3); it has no non-ESP marker here.
                if payload.starts_with(&[0; 4]) {
                    seen.set(seen.get().max(20 + 8 + payload.len()));
                }
                false
            }));
            pair.connect();
            let range = limit - block..=limit;
            assert!(range.contains(&largest.get()), "{suite}: {} octets of {limit}", largest.get());
        }
    }
}

#[test]
fn a_gateway_without_fragmentation_gets_whole_messages() {
    let root = Authority::root("Root");
    let (mut options, key) = options(3, &root, |_| {});
    options.fragment_size = 576;
    let mut pair = Pair::new(options);
    pair.key = Some(key);
    let mut faults = pair.responder.faults().clone();
    faults.no_fragmentation = true;
    pair.responder.set_faults(faults);
    pair.connect();
    assert_eq!(pair.sent, 4);
}

#[test]
fn an_unknown_ca_is_refused() {
    let (mut options, key) = options(4, &Authority::root("Root"), |_| {});
    options.peer_auth = PeerAuth::Certificate { anchors: anchors(&Authority::root("Other")) };
    let failure = refused(options, key);
    assert!(
        matches!(failure, Failure::PeerAuth(PeerAuthFailure::Certificate(CertificateError::UnknownIssuer))),
        "{failure:?}"
    );
}

#[test]
fn an_expired_certificate_is_refused() {
    let (options, key) = options(5, &Authority::root("Root"), |params| {
        params.not_after = rcgen::date_time_ymd(2026, 1, 1);
    });
    let failure = refused(options, key);
    assert!(
        matches!(failure, Failure::PeerAuth(PeerAuthFailure::Certificate(CertificateError::Expired { .. }))),
        "{failure:?}"
    );
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let (options, key) = options(6, &Authority::root("Root"), |params| {
        params.subject_alt_names = vec![SanType::DnsName("other.example.org".try_into().unwrap())];
    });
    let failure = refused(options, key);
    assert!(
        matches!(
            failure,
            Failure::PeerAuth(PeerAuthFailure::Certificate(CertificateError::WrongIdentity { .. }))
        ),
        "{failure:?}"
    );
}

#[test]
fn another_idr_than_the_profiles_is_refused() {
    let (mut options, key) = options(7, &Authority::root("Root"), |_| {});
    options.remote_id = Some(Id::Fqdn("head-office.example.org".into()));
    let failure = refused(options, key);
    assert!(matches!(failure, Failure::PeerAuth(PeerAuthFailure::WrongIdentity { .. })), "{failure:?}");
}

#[test]
fn a_certificate_for_mail_only_is_refused() {
    let (options, key) = options(8, &Authority::root("Root"), |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
    });
    let failure = refused(options, key);
    assert!(
        matches!(failure, Failure::PeerAuth(PeerAuthFailure::Certificate(CertificateError::WrongUsage))),
        "{failure:?}"
    );
}

#[test]
fn a_key_that_cannot_sign_ends_the_attempt() {
    let (options, _) = options(9, &Authority::root("Root"), |_| {});
    let mut pair = Pair::new(options);
    assert!(pair.run_until(Duration::from_secs(5), |pair| pair.client_failure.is_some()));
    assert!(matches!(pair.client_failure, Some(Failure::SignatureUnavailable)));
}

#[test]
fn a_gateway_that_answers_a_certificate_profile_with_a_psk_is_refused() {
    use crate::crypto::Secret;
    let (mut options, key) = options(10, &Authority::root("Root"), |_| {});
    options.responder_auth = ResponderAuth::Psk;
    options.peers.psks = vec![(None, Secret::new(pair::PSK))];
    let failure = refused(options, key);
    assert!(
        matches!(failure, Failure::PeerAuth(PeerAuthFailure::MethodMismatch { method: 2 })),
        "{failure:?}"
    );
}
