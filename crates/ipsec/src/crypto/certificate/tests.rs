//! Certificates made for the purpose, each wrong in one way.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose as Eku, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose as Ku,
    NameConstraints, SanType, date_time_ymd,
};

use super::*;

/// 2026-01-01T00:00:00Z.
const NOW: UnixTime = UnixTime(1_767_225_600);
const YEAR: u64 = 365 * 86_400;

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = dn(name);
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}

fn dn(name: &str) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    dn.push(DnType::OrganizationName, "Example");
    dn.push(DnType::CommonName, name);
    dn
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![Ku::KeyCertSign, Ku::CrlSign];
    params
}

fn root(params: CertificateParams) -> Ca {
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Ca { issuer: Issuer::new(params, key), der }
}

fn intermediate(params: CertificateParams, by: &Ca) -> Ca {
    let key = KeyPair::generate().unwrap();
    let der = params.signed_by(&key, &by.issuer).unwrap().der().to_vec();
    Ca { issuer: Issuer::new(params, key), der }
}

fn leaf(params: &CertificateParams, by: &Ca) -> Vec<u8> {
    params.signed_by(&KeyPair::generate().unwrap(), &by.issuer).unwrap().der().to_vec()
}

fn gateway() -> CertificateParams {
    let mut params = named("gateway");
    params.subject_alt_names = vec![SanType::DnsName("vpn.example.org".try_into().unwrap())];
    params
}

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

fn anchors(certificates: &[&Ca]) -> TrustAnchors {
    TrustAnchors::from_der(certificates.iter().map(|ca| &ca.der)).unwrap()
}

fn check(chain: &[Vec<u8>], trusted: &TrustAnchors) -> Result<VerifiedPeer, CertificateError> {
    check_as(chain, trusted, "vpn.example.org", PeerRole::Gateway, NOW)
}

fn check_as(
    chain: &[Vec<u8>],
    trusted: &TrustAnchors,
    expected: &str,
    role: PeerRole,
    now: UnixTime,
) -> Result<VerifiedPeer, CertificateError> {
    CertificateCheck { chain, anchors: trusted, expected_id: &id(expected), now, role }.verify()
}

#[test]
fn intermediates_are_found_in_any_order_among_surplus_ones() {
    let top = root(ca_params("root"));
    let middle = intermediate(ca_params("middle"), &top);
    let low = intermediate(ca_params("low"), &middle);
    let stranger = root(ca_params("stranger"));
    let own = leaf(&gateway(), &low);
    let junk = b"not a certificate".to_vec();
    let trusted = anchors(&[&stranger, &top]);
    let (m, l, s) = (&middle.der, &low.der, &stranger.der);
    for others in [vec![m, l], vec![l, m], vec![s, l, l, &top.der, &junk, m, &own]] {
        let chain: Vec<_> = [&own].into_iter().chain(others).cloned().collect();
        let peer = check(&chain, &trusted).unwrap();
        assert_eq!(peer.leaf, own);
        assert_eq!(peer.subject, subject_dn(&own).unwrap());
    }
    assert_eq!(check(&[own.clone(), low.der], &trusted), Err(CertificateError::UnknownIssuer));
    assert_eq!(check(&[], &trusted), Err(CertificateError::Missing));
    assert_eq!(check(&[own], &TrustAnchors::default()), Err(CertificateError::UnknownIssuer));
}

#[test]
fn an_authority_of_the_same_name_with_another_key_is_unknown() {
    let (real, impostor) = (root(ca_params("root")), root(ca_params("root")));
    let own = leaf(&gateway(), &impostor);
    assert_eq!(check(std::slice::from_ref(&own), &anchors(&[&real])), Err(CertificateError::UnknownIssuer));
    assert!(check(&[own], &anchors(&[&real, &impostor])).is_ok());
}

#[test]
fn validity_is_told_apart_from_everything_else() {
    let top = root(ca_params("root"));
    let trusted = anchors(&[&top]);
    let chain = [leaf(&gateway(), &top)];
    let at = |now| check_as(&chain, &trusted, "vpn.example.org", PeerRole::Gateway, now);
    // 2025-01-01 and 2027-01-01.
    let (not_before, not_after) = (UnixTime(NOW.0 - YEAR), UnixTime(NOW.0 + YEAR));
    assert!(at(not_before).is_ok() && at(not_after).is_ok());
    assert_eq!(at(UnixTime(not_before.0 - 1)), Err(CertificateError::NotYetValid { not_before }));
    assert_eq!(at(UnixTime(not_after.0 + 1)), Err(CertificateError::Expired { not_after }));
    assert_eq!(
        at(UnixTime(0)),
        Err(CertificateError::NotYetValid { not_before }),
        "a clock that was never set"
    );

    // An expired intermediate counts as much; an expired anchor does not (RFC 5280 §6.2).
    let mut old = ca_params("old");
    old.not_after = date_time_ymd(2025, 6, 1);
    let middle = intermediate(old.clone(), &top);
    let below = leaf(&gateway(), &middle);
    let outcome = check(&[below, middle.der], &trusted);
    assert!(matches!(outcome, Err(CertificateError::Expired { .. })));
    let old_root = root(old);
    assert!(check(&[leaf(&gateway(), &old_root)], &anchors(&[&old_root])).is_ok());
}

#[test]
fn extended_key_usage_must_allow_the_role() {
    let ike = Eku::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17]);
    let top = root(ca_params("root"));
    let trusted = anchors(&[&top]);
    for (usages, server, client) in [
        (vec![], true, true),
        (vec![Eku::ServerAuth], true, false),
        (vec![Eku::ClientAuth], false, true),
        (vec![Eku::ClientAuth, Eku::ServerAuth], true, true),
        (vec![ike], true, true),
        (vec![Eku::Any], true, true),
        (vec![Eku::CodeSigning, Eku::EmailProtection], false, false),
    ] {
        for (role, allowed) in [(PeerRole::Gateway, server), (PeerRole::Client, client)] {
            let mut params = gateway();
            params.extended_key_usages.clone_from(&usages);
            let direct = [leaf(&params, &top)];
            let mut restricted = ca_params("restricted");
            restricted.extended_key_usages.clone_from(&usages);
            let middle = intermediate(restricted, &top);
            let nested = [leaf(&gateway(), &middle), middle.der];
            for chain in [&direct[..], &nested[..]] {
                let outcome = check_as(chain, &trusted, "vpn.example.org", role, NOW).map(|_| ());
                let expected = if allowed { Ok(()) } else { Err(CertificateError::WrongUsage) };
                assert_eq!(outcome, expected, "{usages:?} {role:?} {}", chain.len());
            }
        }
    }
}

#[test]
fn key_usage_must_allow_signatures_of_the_peer_and_certificates_of_issuers() {
    let top = root(ca_params("root"));
    let trusted = anchors(&[&top]);
    for (usages, expected) in [
        (vec![Ku::DigitalSignature], Ok(())),
        (vec![Ku::ContentCommitment], Ok(())),
        (vec![Ku::KeyEncipherment], Err(CertificateError::KeyUsage)),
        (vec![Ku::KeyAgreement, Ku::DataEncipherment], Err(CertificateError::KeyUsage)),
    ] {
        let mut params = gateway();
        params.key_usages = usages;
        assert_eq!(check(&[leaf(&params, &top)], &trusted).map(|_| ()), expected);
    }
    let mut crl_only = ca_params("crl only");
    crl_only.key_usages = vec![Ku::CrlSign];
    let middle = intermediate(crl_only, &top);
    let chain = [leaf(&gateway(), &middle), middle.der];
    assert_eq!(check(&chain, &trusted), Err(CertificateError::IssuerNotCa));
}

#[test]
fn each_identity_matches_its_own_form_of_name_only() {
    let top = root(ca_params("root"));
    let trusted = anchors(&[&top]);
    let mut params = named("gateway");
    params.subject_alt_names = vec![
        SanType::DnsName("vpn.example.org".try_into().unwrap()),
        SanType::DnsName("*.wild.example.org".try_into().unwrap()),
        SanType::Rfc822Name("alice@example.org".try_into().unwrap()),
        SanType::IpAddress(IpAddr::from([198, 51, 100, 10])),
        SanType::IpAddress("2001:db8::1".parse().unwrap()),
    ];
    let chain = [leaf(&params, &top)];
    for right in [
        "vpn.example.org",
        "VPN.Example.ORG",
        "vpn.example.org.",
        "a.wild.example.org",
        "alice@example.org",
        "198.51.100.10",
        "2001:db8::1",
        "O=Example, CN=gateway",
        "O=EXAMPLE, CN=Gateway",
    ] {
        assert!(check_as(&chain, &trusted, right, PeerRole::Gateway, NOW).is_ok(), "{right}");
    }
    for wrong in [
        "gateway",
        "example.org",
        "evil.vpn.example.org",
        "wild.example.org",
        "a.b.wild.example.org",
        "*.wild.example.org",
        "fqdn:198.51.100.10",
        "fqdn:alice@example.org",
        "fqdn:",
        "email:vpn.example.org",
        "bob@example.org",
        "198.51.100.11",
        "2001:db8::2",
        "CN=gateway",
        "keyid:vpn.example.org",
        "keyid:gateway",
    ] {
        let expected_id = match wrong {
            "fqdn:" => Id::Fqdn(String::new()),
            text => id(text),
        };
        let check = CertificateCheck {
            chain: &chain,
            anchors: &trusted,
            expected_id: &expected_id,
            now: NOW,
            role: PeerRole::Gateway,
        };
        let Err(CertificateError::WrongIdentity { expected, presented }) = check.verify() else {
            panic!("{wrong}");
        };
        assert_eq!(expected, expected_id.to_string());
        assert_eq!(
            presented,
            [
                "CN=gateway,O=Example",
                "vpn.example.org",
                "*.wild.example.org",
                "alice@example.org",
                "198.51.100.10",
                "2001:db8::1"
            ]
        );
    }
    let other = Id::Other(99, b"vpn.example.org".to_vec());
    let check = CertificateCheck {
        chain: &chain,
        anchors: &trusted,
        expected_id: &other,
        now: NOW,
        role: PeerRole::Gateway,
    };
    assert!(matches!(check.verify(), Err(CertificateError::WrongIdentity { .. })));
}

#[test]
fn a_common_name_alone_is_no_host_name() {
    let top = root(ca_params("root"));
    let chain = [leaf(&named("vpn.example.org"), &top)];
    let outcome = check(&chain, &anchors(&[&top]));
    assert!(matches!(outcome, Err(CertificateError::WrongIdentity { .. })));
}

/// CVE-2026-35331 class. Every form, permitted and excluded, imposed by an intermediate and by the anchor itself.
#[test]
fn name_constraints_hold_or_fail_closed() {
    let dns = |name: &str| GeneralSubtree::DnsName(name.to_owned());
    let ip = |prefix| GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([198, 51, 100, 0], prefix));
    let email = |host: &str| GeneralSubtree::Rfc822Name(host.to_owned());
    let directory = |name| GeneralSubtree::DirectoryName(dn(name));
    let mut params = gateway();
    params.subject_alt_names.push(SanType::Rfc822Name("alice@example.org".try_into().unwrap()));
    params.subject_alt_names.push(SanType::IpAddress(IpAddr::from([198, 51, 100, 10])));
    for (permitted, excluded, allowed) in [
        (vec![dns("example.org")], vec![], true),
        (vec![dns("example.com"), dns("example.org")], vec![], true),
        (vec![dns("example.com")], vec![], false),
        (vec![], vec![dns("example.org")], false),
        (vec![], vec![dns("vpn.example.org")], false),
        (vec![], vec![dns("example.com")], true),
        (vec![dns("example.org")], vec![dns("vpn.example.org")], false),
        (vec![ip(24)], vec![], true),
        (vec![], vec![ip(24)], false),
        (vec![GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([192, 0, 2, 0], 24))], vec![], false),
        // Forms that are not evaluated refuse even what would satisfy them.
        (vec![email("example.org")], vec![], false),
        (vec![], vec![email("example.com")], false),
        (vec![directory("gateway")], vec![], false),
        (vec![directory("other")], vec![], false),
        (vec![], vec![directory("gateway")], false),
        (vec![], vec![directory("other")], false),
    ] {
        let mut constrained = ca_params("constrained");
        constrained.name_constraints =
            Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded });
        let description = format!("{:?}", constrained.name_constraints);
        let expected = if allowed { Ok(()) } else { Err(CertificateError::NameConstraint) };

        let anchor = root(constrained.clone());
        let by_anchor = check(&[leaf(&params, &anchor)], &anchors(&[&anchor])).map(|_| ());
        assert_eq!(by_anchor, expected, "anchor {description}");

        let top = root(ca_params("root"));
        let middle = intermediate(constrained, &top);
        // Below a further intermediate, so that the constraint reaches over it.
        let low = intermediate(ca_params("low"), &middle);
        let chain = [leaf(&params, &low), low.der, middle.der];
        assert_eq!(check(&chain, &anchors(&[&top])).map(|_| ()), expected, "intermediate {description}");
    }
}

#[test]
fn only_authorities_issue_and_no_authority_is_a_peer() {
    let top = root(ca_params("root"));
    let trusted = anchors(&[&top]);
    // A peer's certificate that issues another.
    let not_a_ca = intermediate(gateway(), &top);
    let chain = [leaf(&gateway(), &not_a_ca), not_a_ca.der];
    assert_eq!(check(&chain, &trusted), Err(CertificateError::IssuerNotCa));

    let mut ca_as_peer = gateway();
    ca_as_peer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(check(&[leaf(&ca_as_peer, &top)], &trusted), Err(CertificateError::CaUsedAsLeaf));
    let pinned_ca = root(ca_as_peer);
    let outcome = check(std::slice::from_ref(&pinned_ca.der), &anchors(&[&pinned_ca]));
    assert_eq!(outcome, Err(CertificateError::CaUsedAsLeaf));
}

#[test]
fn a_pinned_certificate_stands_for_itself_only() {
    let pinned = root(gateway());
    let trusted = anchors(&[&pinned]);
    assert!(check(std::slice::from_ref(&pinned.der), &trusted).is_ok());
    let after = UnixTime(NOW.0 + 2 * YEAR);
    let expired =
        check_as(std::slice::from_ref(&pinned.der), &trusted, "vpn.example.org", PeerRole::Gateway, after);
    assert!(matches!(expired, Err(CertificateError::Expired { .. })));
    let other_name =
        check_as(std::slice::from_ref(&pinned.der), &trusted, "other.org", PeerRole::Gateway, NOW);
    assert!(matches!(other_name, Err(CertificateError::WrongIdentity { .. })));
    // Its key does not make it an authority.
    let issued = leaf(&gateway(), &pinned);
    assert_eq!(check(std::slice::from_ref(&issued), &trusted), Err(CertificateError::UnknownIssuer));
    assert_eq!(check(&[issued, pinned.der], &trusted), Err(CertificateError::IssuerNotCa));
}

#[test]
fn path_lengths_are_kept() {
    let mut short = ca_params("short");
    short.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let top = root(ca_params("root"));
    let short = intermediate(short, &top);
    let low = intermediate(ca_params("low"), &short);
    let chain = [leaf(&gateway(), &low), low.der, short.der];
    assert_eq!(check(&chain, &anchors(&[&top])), Err(CertificateError::PathTooLong));

    let mut path = vec![root(ca_params("0"))];
    for depth in 1..=7 {
        path.push(intermediate(ca_params(&depth.to_string()), &path[depth - 1]));
    }
    for (depth, expected) in [(6, Ok(())), (7, Err(CertificateError::PathTooLong))] {
        let mut chain = vec![leaf(&gateway(), &path[depth])];
        chain.extend(path[1..=depth].iter().map(|ca| ca.der.clone()));
        assert_eq!(check(&chain, &anchors(&[&path[0]])).map(|_| ()), expected);
    }
}

#[test]
fn what_a_hostile_peer_may_make_us_do_is_bounded() {
    let top = root(ca_params("root"));
    let trusted = anchors(&[&top]);
    let own = leaf(&gateway(), &top);
    let with = |others: Vec<Vec<u8>>| check(&[vec![own.clone()], others].concat(), &trusted).map(|_| ());
    let surplus = |count: usize| (0..count).map(|n| root(ca_params(&n.to_string())).der).collect::<Vec<_>>();
    assert_eq!(with(surplus(MAX_CERTIFICATES - 1)), Ok(()));
    assert_eq!(with(surplus(MAX_CERTIFICATES)), Err(CertificateError::TooLarge));
    assert_eq!(with(vec![vec![0; MAX_CHAIN_LEN]]), Err(CertificateError::TooLarge));
    // Many authorities of one name that issue each other: without a bound, path building is exponential.
    let same = |count: usize| (0..count).map(|_| root(ca_params("same")).der).collect::<Vec<_>>();
    assert_eq!(with(same(MAX_SAME_SUBJECT)), Ok(()));
    assert_eq!(with(same(MAX_SAME_SUBJECT + 1)), Err(CertificateError::TooLarge));
}

#[test]
fn an_unknown_critical_extension_is_unsupported() {
    let top = root(ca_params("root"));
    let mut params = gateway();
    let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
    extension.set_criticality(true);
    params.custom_extensions.push(extension);
    assert_eq!(check(&[leaf(&params, &top)], &anchors(&[&top])), Err(CertificateError::Unsupported));
}

#[test]
fn truncated_and_damaged_certificates_fail_without_panic() {
    let top = root(ca_params("root"));
    let trusted = anchors(&[&top]);
    let own = leaf(&gateway(), &top);
    for len in 0..own.len() {
        assert_eq!(check(&[own[..len].to_vec()], &trusted), Err(CertificateError::Malformed));
        assert!(certificate_ids(&own[..len]).is_err() && subject_dn(&own[..len]).is_err());
        assert!(TrustAnchors::from_der([&top.der[..len.min(top.der.len() - 1)]]).is_err());
    }
    for index in 0..own.len() {
        let mut damaged = own.clone();
        damaged[index] ^= 0x01;
        assert!(check(&[damaged], &trusted).is_err(), "{index}");
    }
    let mut trailing = own;
    trailing.push(0);
    assert_eq!(check(&[trailing], &trusted), Err(CertificateError::Malformed));
}

#[test]
fn ca_key_hashes_are_those_of_the_subject_public_key_infos() {
    let (first, second) = (root(ca_params("first")), root(ca_params("second")));
    let spki = |ca: &Ca| {
        let der = CertificateDer::from(ca.der.as_slice());
        EndEntityCert::try_from(&der).unwrap().subject_public_key_info().to_vec()
    };
    let sha1 = |data: &[u8]| {
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, data).as_ref().to_vec()
    };
    let expected = [sha1(&spki(&first)), sha1(&spki(&second))].concat();
    assert_eq!(anchors(&[&first, &second]).ca_key_hashes(), expected);
}

#[test]
fn a_damaged_system_root_costs_only_itself() {
    let top = root(ca_params("root"));
    let certificates = [b"junk".to_vec(), top.der.clone()];
    assert_eq!(TrustAnchors::from_der(&certificates).err(), Some(TrustAnchorError { index: 0 }));
    let trusted = TrustAnchors::from_readable_der(&certificates);
    assert_eq!(trusted.len(), 1);
    assert!(check(&[leaf(&gateway(), &top)], &trusted).is_ok());
}
