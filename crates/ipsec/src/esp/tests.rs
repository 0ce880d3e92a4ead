//! Both directions against each other, against hand-made packets, and against a model.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use proptest::prelude::*;

use super::transform::Transform;
use super::*;
use crate::crypto::{Encr, EspSuite, Integ, KeyBits, Secret};
use crate::wire::{EspSpi, TrafficSelector};

const SPI: EspSpi = EspSpi(0xc0ff_ee01);
const LOCAL: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const REMOTE: Ipv4Addr = Ipv4Addr::new(10, 10, 3, 4);

fn suites() -> Vec<EspSuite> {
    let mut suites = Vec::new();
    for esn in [false, true] {
        for encr in
            [Encr::AesGcm16(KeyBits::Bits128), Encr::AesGcm16(KeyBits::Bits256), Encr::ChaCha20Poly1305]
        {
            suites.push(EspSuite { encr, integ: None, esn });
        }
        for bits in [KeyBits::Bits128, KeyBits::Bits256] {
            for integ in
                [Integ::HmacSha1_96, Integ::HmacSha256_128, Integ::HmacSha384_192, Integ::HmacSha512_256]
            {
                suites.push(EspSuite { encr: Encr::AesCbc(bits), integ: Some(integ), esn });
            }
        }
    }
    suites
}

const GCM: EspSuite = EspSuite { encr: Encr::AesGcm16(KeyBits::Bits256), integ: None, esn: false };
const GCM_ESN: EspSuite = EspSuite { esn: true, ..GCM };

fn keys(suite: EspSuite) -> EspKeys {
    let encr = match suite.encr {
        Encr::AesGcm16(KeyBits::Bits128) => 20,
        Encr::AesGcm16(KeyBits::Bits256) | Encr::ChaCha20Poly1305 => 36,
        Encr::AesCbc(KeyBits::Bits128) => 16,
        Encr::AesCbc(KeyBits::Bits256) => 32,
    };
    let integ = match suite.integ {
        None => 0,
        Some(Integ::HmacSha1_96) => 20,
        Some(Integ::HmacSha256_128) => 32,
        Some(Integ::HmacSha384_192) => 48,
        Some(Integ::HmacSha512_256) => 64,
    };
    EspKeys { encr: Secret::new(vec![0x5a; encr]), integ: Secret::new(vec![0xa5; integ]) }
}

fn selector(first: impl Into<IpAddr>, last: impl Into<IpAddr>) -> TrafficSelector {
    TrafficSelector { protocol: 0, start_port: 0, end_port: u16::MAX, start: first.into(), end: last.into() }
}

fn selectors() -> SelectorPair {
    SelectorPair {
        local: vec![selector(LOCAL, LOCAL), selector(v6(2), v6(2))],
        remote: vec![
            selector(Ipv4Addr::new(10, 10, 0, 0), Ipv4Addr::new(10, 10, 255, 255)),
            selector(v6(0x1000), v6(0x1fff)),
        ],
    }
}

fn v6(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host)
}

/// The sender at `LOCAL`, and the receiver at the other end, for whom that side is remote.
fn pair(suite: EspSuite) -> (OutboundSa, InboundSa) {
    pair_with(suite, &selectors())
}

fn pair_with(suite: EspSuite, selectors: &SelectorPair) -> (OutboundSa, InboundSa) {
    let mirrored = SelectorPair { local: selectors.remote.clone(), remote: selectors.local.clone() };
    let out = OutboundSa::new(SPI, suite, &keys(suite), [9; 32], selectors, Arc::default()).unwrap();
    let inbound = InboundSa::new(SPI, suite, &keys(suite), &mirrored, Arc::default()).unwrap();
    (out, inbound)
}

fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, payload_len: usize) -> Vec<u8> {
    let mut packet = vec![0; 20];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(20 + payload_len as u16).to_be_bytes());
    packet[9] = 17;
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&destination.octets());
    packet.extend((0..payload_len).map(|n| n as u8));
    packet
}

fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, payload_len: usize) -> Vec<u8> {
    let mut packet = vec![0; 40];
    packet[0] = 0x60;
    packet[4..6].copy_from_slice(&(payload_len as u16).to_be_bytes());
    packet[6] = 17;
    packet[8..24].copy_from_slice(&source.octets());
    packet[24..40].copy_from_slice(&destination.octets());
    packet.extend((0..payload_len).map(|n| n as u8));
    packet
}

fn seal(sa: &mut OutboundSa, inner: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut slot = vec![0xee; sa.headroom() + inner.len() + sa.max_trailer()];
    slot[sa.headroom()..][..inner.len()].copy_from_slice(inner);
    let len = sa.seal(&mut slot, inner.len())?;
    assert_eq!(len, sa.sealed_len(inner.len()));
    slot.truncate(len);
    Ok(slot)
}

fn seal_padded(sa: &mut OutboundSa, inner: &[u8], limit: usize) -> Result<Vec<u8>, SealError> {
    // What lies in the slot from before must not get out.
    let mut slot = vec![0xee; limit.max(sa.headroom() + inner.len())];
    slot[sa.headroom()..][..inner.len()].copy_from_slice(inner);
    let len = sa.seal_padded(&mut slot, inner.len(), limit)?;
    assert_eq!(Some(len), sa.padded_len(inner.len(), limit));
    slot.truncate(len);
    Ok(slot)
}

/// An authentic packet with whatever a strange or hostile peer may put inside.
fn forge(suite: EspSuite, sequence: u64, plaintext: &[u8]) -> Vec<u8> {
    let transform = Transform::sealing(suite, &keys(suite), &[9; 32]).unwrap();
    let mut esp = [&SPI.0.to_be_bytes()[..], &(sequence as u32).to_be_bytes()].concat();
    esp.resize(8 + transform.iv_len(), 0);
    esp.extend_from_slice(plaintext);
    esp.resize(esp.len() + transform.icv_len(), 0);
    transform.seal(&mut esp, sequence, suite.esn).unwrap();
    esp
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    hex::decode(digits).unwrap()
}

#[test]
fn every_suite_carries_packets_of_every_length_of_both_families() {
    for suite in suites() {
        let (mut out, mut inbound) = pair(suite);
        let (mut packets, mut bytes) = (0, 0);
        for payload_len in (0..80).chain([1380, 1400, 1480]) {
            for inner in [ipv4(LOCAL, REMOTE, payload_len), ipv6(v6(2), v6(0x1234), payload_len)] {
                let mut esp = seal(&mut out, &inner).unwrap();
                assert_eq!(esp[..4], SPI.0.to_be_bytes());
                let opened = inbound.open(&mut esp).unwrap();
                assert_eq!(*opened.packet, *inner, "{suite}");
                let offset = opened.offset;
                assert_eq!(esp[offset..][..inner.len()], *inner);
                packets += 1;
                bytes += inner.len() as u64;
            }
        }
        for counters in [out.counters().snapshot(), inbound.counters().snapshot()] {
            assert_eq!(counters, CounterSnapshot { packets, bytes, drops: [0; 8] });
        }
        assert_eq!((out.sequence(), inbound.sequence()), (packets, packets));
    }
}

/// RFC 7634 Appendix A.
#[test]
fn the_chacha20_poly1305_example_packet_is_reproduced_and_opened() {
    let suite = EspSuite { encr: Encr::ChaCha20Poly1305, integ: None, esn: false };
    let keys = EspKeys { encr: Secret::new((0x80..=0xa3).collect::<Vec<u8>>()), integ: Secret::new([]) };
    let inner = hex("45000054a6f200004001e778c6336405c00002050800 5b7a3a080000553bec10000736270809
        0a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637");
    let packet = hex("01020304000000051011121314151617
        24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c6
        14ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3
        cbec163fac469b502773f6fb94e664da9165b82829f641e0
        76aaa8266b7fb0f7b11b369907e1ad43");

    let transform = Transform::sealing(suite, &keys, &[0; 32]).unwrap();
    let mut sealed = hex("0102030400000005");
    sealed.resize(16, 0);
    sealed.extend_from_slice(&inner);
    sealed.extend_from_slice(&[1, 2, 2, 4]);
    sealed.resize(sealed.len() + 16, 0);
    // The example's IV is not its sequence number, which is why this goes below `OutboundSa`.
    transform.seal(&mut sealed, 0x1011_1213_1415_1617, false).unwrap();
    assert_eq!(sealed, packet);

    let any = selector(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    let selectors = SelectorPair { local: vec![any], remote: vec![any] };
    let mut sa = InboundSa::new(EspSpi(0x0102_0304), suite, &keys, &selectors, Arc::default()).unwrap();
    assert_eq!(*sa.open(&mut sealed).unwrap().packet, *inner);
}

#[test]
fn a_changed_byte_anywhere_is_refused_and_does_not_move_the_window() {
    for suite in suites() {
        let (mut out, mut inbound) = pair(suite);
        let esp = seal(&mut out, &ipv4(LOCAL, REMOTE, 30)).unwrap();
        for position in 4..esp.len() {
            let mut forged = esp.clone();
            forged[position] ^= 0x10;
            assert!(inbound.open(&mut forged).is_err(), "{suite} byte {position}");
            assert_eq!(inbound.sequence(), 0);
        }
        inbound.open(&mut esp.clone()).unwrap();
        assert_eq!(inbound.open(&mut esp.clone()).unwrap_err(), OpenError::Replay);
    }
}

#[test]
fn every_truncation_is_refused() {
    for suite in suites() {
        let (mut out, mut inbound) = pair(suite);
        let esp = seal(&mut out, &ipv4(LOCAL, REMOTE, 30)).unwrap();
        for len in 0..esp.len() {
            assert!(inbound.open(&mut esp[..len].to_vec()).is_err(), "{suite} cut to {len}");
        }
    }
}

#[test]
fn another_spi_is_malformed_for_this_sa() {
    let (mut out, mut inbound) = pair(GCM);
    let mut esp = seal(&mut out, &ipv4(LOCAL, REMOTE, 30)).unwrap();
    esp[0] ^= 1;
    assert_eq!(inbound.open(&mut esp).unwrap_err(), OpenError::Malformed);
}

#[test]
fn ivs_never_repeat_and_for_cbc_never_count() {
    for suite in suites() {
        let (mut out, _) = pair(suite);
        let iv = 8..out.headroom();
        let ivs: Vec<Vec<u8>> =
            (0..100).map(|_| seal(&mut out, &ipv4(LOCAL, REMOTE, 8)).unwrap()[iv.clone()].to_vec()).collect();
        assert_eq!(ivs.iter().collect::<BTreeSet<_>>().len(), ivs.len());
        if matches!(suite.encr, Encr::AesCbc(_)) {
            assert!(ivs.windows(2).all(|pair| pair[0][..4] != pair[1][..4]), "predictable IVs");
        }
    }
}

#[test]
fn a_padded_packet_has_the_greatest_length_below_the_limit() {
    for suite in suites() {
        let (mut out, mut inbound) = pair(suite);
        let step = if matches!(suite.encr, Encr::AesCbc(_)) { 16 } else { 4 };
        let inner = ipv4(LOCAL, REMOTE, 30);
        for limit in 300..=364 {
            let esp = seal_padded(&mut out, &inner, limit).unwrap();
            assert!(esp.len() <= limit && limit < esp.len() + step, "{suite}: {} for {limit}", esp.len());
            assert_eq!(*inbound.open(&mut esp.clone()).unwrap().packet, *inner);
        }
        // As long as it would be anyway, and a byte less.
        let least = out.sealed_len(inner.len());
        assert_eq!(seal_padded(&mut out, &inner, least).unwrap().len(), least);
        assert_eq!(seal_padded(&mut out, &inner, least - 1), Err(SealError::NoRoom));
        assert_eq!(seal_padded(&mut out, &inner, 0), Err(SealError::NoRoom));
    }
}

#[test]
fn a_padded_packet_is_never_refused_by_the_padding_rules_of_another_receiver() {
    // What the receiver sees behind the ICV: padding 1, 2, 3, ... shorter than a block, zeros before it.
    for suite in suites() {
        let (mut out, _) = pair(suite);
        let transform = Transform::opening(suite, &keys(suite)).unwrap();
        let inner = ipv4(LOCAL, REMOTE, 21);
        let mut esp = seal_padded(&mut out, &inner, 400).unwrap();
        transform.open(&mut esp, 1, suite.esn).unwrap();
        let payload = &esp[out.headroom()..esp.len() - transform.icv_len()];
        let (body, &[padding, next_header]) = payload.split_last_chunk::<2>().unwrap();
        assert_eq!(next_header, 4);
        assert!(usize::from(padding) < transform.alignment());
        let (content, padding) = body.split_at(body.len() - usize::from(padding));
        assert!(padding.iter().zip(1..).all(|(byte, expected)| *byte == expected), "{padding:?}");
        let (packet, tfc) = content.split_at(inner.len());
        assert_eq!(packet, inner);
        assert!(tfc.len() > 200 && tfc.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn tfc_padding_is_cut_by_the_inner_length() {
    for inner in [ipv4(LOCAL, REMOTE, 10), ipv6(v6(2), v6(0x1234), 10)] {
        let (_, mut inbound) = pair(GCM);
        let next_header = if inner[0] >> 4 == 4 { 4 } else { 41 };
        let mut plaintext = [&inner[..], &[0x77; 60]].concat();
        let padding = plaintext.len().wrapping_neg().wrapping_sub(2) % 4;
        plaintext.extend((1..=padding).map(|n| n as u8));
        plaintext.extend([padding as u8, next_header]);
        let mut esp = forge(GCM, 1, &plaintext);
        assert_eq!(*inbound.open(&mut esp).unwrap().packet, *inner);
    }
}

#[test]
fn a_dummy_packet_is_dropped_and_counted_but_its_number_is_used_up() {
    let (_, mut inbound) = pair(GCM);
    let esp = forge(GCM, 1, &[0xab, 0xcd, 0, 59]);
    assert_eq!(inbound.open(&mut esp.clone()).unwrap_err(), OpenError::Dummy);
    assert_eq!(inbound.open(&mut esp.clone()).unwrap_err(), OpenError::Replay);
    assert_eq!(inbound.counters().snapshot().dropped(DropReason::Dummy), 1);
}

#[test]
fn what_an_authentic_peer_puts_inside_wrongly_is_refused() {
    let good = ipv4(LOCAL, REMOTE, 10);
    let mut short_header = good.clone();
    short_header[0] = 0x44;
    let mut too_long = good.clone();
    too_long[3] += 1;
    let mut version_5 = good.clone();
    version_5[0] = 0x55;
    let cases: [(&str, Vec<u8>, OpenError); 8] = [
        ("transport mode", [&good[..], &[0, 17]].concat(), OpenError::BadInner),
        ("IPv4 labelled IPv6", [&good[..], &[0, 41]].concat(), OpenError::BadInner),
        ("header below 20 bytes", [&short_header[..], &[0, 4]].concat(), OpenError::BadInner),
        ("length beyond the payload", [&too_long[..], &[0, 4]].concat(), OpenError::BadInner),
        ("unknown version", [&version_5[..], &[0, 4]].concat(), OpenError::BadInner),
        ("nothing", vec![1, 2, 2, 4], OpenError::BadInner),
        ("padding longer than the payload", vec![1, 2, 200, 4], OpenError::BadPadding),
        ("padding of zeros", [&good[..28], &[0, 0, 2, 4]].concat(), OpenError::BadPadding),
    ];
    for (name, plaintext, expected) in cases {
        let (_, mut inbound) = pair(GCM);
        let error = inbound.open(&mut forge(GCM, 1, &plaintext)).unwrap_err();
        assert_eq!(error, expected, "{name}");
        assert!(error.is_authentic());
    }
}

#[test]
fn packets_outside_the_selectors_pass_in_neither_direction() {
    let elsewhere = Ipv4Addr::new(10, 11, 0, 1);
    let other_source = Ipv4Addr::new(10, 0, 0, 3);
    for inner in [
        ipv4(LOCAL, elsewhere, 9),
        ipv4(other_source, REMOTE, 9),
        ipv4(REMOTE, LOCAL, 9),
        ipv6(v6(2), v6(2), 9),
    ] {
        let (mut out, mut inbound) = pair(GCM);
        assert!(!out.permits(&inner));
        assert_eq!(seal(&mut out, &inner).unwrap_err(), SealError::SelectorMismatch);
        assert_eq!((out.sequence(), out.counters().snapshot().dropped(DropReason::Selector)), (0, 1));

        let everything = SelectorPair {
            local: vec![
                selector(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST),
                selector(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from_bits(u128::MAX)),
            ],
            ..SelectorPair::default()
        };
        let everything = SelectorPair { remote: everything.local.clone(), ..everything };
        let (mut liberal, _) = pair_with(GCM, &everything);
        let error = inbound.open(&mut seal(&mut liberal, &inner).unwrap()).unwrap_err();
        assert!(matches!(error, OpenError::SelectorMismatch { .. }), "{error}");
        assert_eq!(inbound.counters().snapshot().dropped(DropReason::Selector), 1);
    }
}

#[test]
fn selectors_with_protocol_and_ports_look_into_the_packet() {
    let mut remote = selector(REMOTE, REMOTE);
    (remote.protocol, remote.start_port, remote.end_port) = (17, 53, 53);
    let pair = SelectorPair { local: vec![selector(LOCAL, LOCAL)], remote: vec![remote] };
    let (out, _) = pair_with(GCM, &pair);

    let mut dns = ipv4(LOCAL, REMOTE, 12);
    dns[20..24].copy_from_slice(&[0x80, 0, 0, 53]);
    assert!(out.permits(&dns));
    let mut other_port = dns.clone();
    other_port[23] = 54;
    assert!(!out.permits(&other_port));
    let mut tcp = dns.clone();
    tcp[9] = 6;
    assert!(!out.permits(&tcp));
    let mut later_fragment = dns.clone();
    later_fragment[7] = 1;
    assert!(!out.permits(&later_fragment), "its ports cannot be seen");
}

#[test]
fn an_opaque_selector_takes_just_the_packets_whose_ports_are_hidden() {
    let mut remote = selector(REMOTE, REMOTE);
    (remote.start_port, remote.end_port) = (u16::MAX, 0);
    let (out, _) =
        pair_with(GCM, &SelectorPair { local: vec![selector(LOCAL, LOCAL)], remote: vec![remote] });
    let mut packet = ipv4(LOCAL, REMOTE, 12);
    assert!(!out.permits(&packet));
    packet[7] = 1;
    assert!(out.permits(&packet));
}

#[test]
fn icmp_selectors_compare_type_and_code() {
    let mut remote = selector(REMOTE, REMOTE);
    (remote.protocol, remote.start_port, remote.end_port) = (1, 0x0800, 0x0800);
    let (out, _) =
        pair_with(GCM, &SelectorPair { local: vec![selector(LOCAL, LOCAL)], remote: vec![remote] });
    let mut echo = ipv4(LOCAL, REMOTE, 12);
    echo[9] = 1;
    echo[20..22].copy_from_slice(&[8, 0]);
    assert!(out.permits(&echo));
    echo[20] = 5;
    assert!(!out.permits(&echo));
}

#[test]
fn ipv6_ports_are_found_behind_extension_headers() {
    let mut remote = selector(v6(0x1000), v6(0x1000));
    (remote.protocol, remote.start_port, remote.end_port) = (17, 53, 53);
    let (out, _) =
        pair_with(GCM, &SelectorPair { local: vec![selector(v6(2), v6(2))], remote: vec![remote] });
    let udp = [0x80, 0, 0, 53, 0, 8, 0, 0];
    let with_chain = |first: u8, chain: &[u8]| {
        let mut packet = ipv6(v6(2), v6(0x1000), chain.len() + udp.len());
        packet[6] = first;
        packet[40..40 + chain.len()].copy_from_slice(chain);
        packet[40 + chain.len()..].copy_from_slice(&udp);
        packet
    };
    assert!(out.permits(&with_chain(17, &[])));
    // hop-by-hop, destination options of 16 bytes, a first fragment
    let chain = [&[60, 0, 0, 0, 0, 0, 0, 0][..], &[44, 1], &[0; 14], &[17, 0, 0, 1, 0, 0, 0, 9]].concat();
    assert!(out.permits(&with_chain(0, &chain)));
    let later_fragment = [17, 0, 0, 8, 0, 0, 0, 9];
    assert!(!out.permits(&with_chain(44, &later_fragment)));
    let endless = [60, 255, 0, 0, 0, 0, 0, 0];
    assert!(!out.permits(&with_chain(60, &endless)));
}

#[test]
fn a_sequence_that_is_used_up_seals_nothing_more() {
    let (mut out, mut inbound) = pair(GCM);
    out.skip_to(u64::from(u32::MAX) - 1);
    let mut last = seal(&mut out, &ipv4(LOCAL, REMOTE, 9)).unwrap();
    assert_eq!(last[4..8], [0xff; 4]);
    inbound.open(&mut last).unwrap();
    assert_eq!(out.remaining(), 0);
    assert_eq!(seal(&mut out, &ipv4(LOCAL, REMOTE, 9)).unwrap_err(), SealError::SequenceExhausted);
    assert_eq!(out.counters().snapshot().dropped(DropReason::Exhausted), 1);
}

#[test]
fn esn_carries_across_the_subspace_and_late_packets_of_the_old_one_still_count() {
    for suite in suites().into_iter().filter(|suite| suite.esn) {
        let (mut out, mut inbound) = pair(suite);
        let inner = ipv4(LOCAL, REMOTE, 9);
        inbound.open(&mut seal(&mut out, &inner).unwrap()).unwrap();
        // A receiver follows jumps of less than 2^32 without the window.
        out.skip_to(1 << 31);
        inbound.open(&mut seal(&mut out, &inner).unwrap()).unwrap();
        out.skip_to(u64::from(u32::MAX) - 3);
        let late = seal(&mut out, &inner).unwrap();
        for _ in 0..10 {
            inbound.open(&mut seal(&mut out, &inner).unwrap()).unwrap();
        }
        assert_eq!(inbound.sequence(), (1 << 32) + 7);
        inbound.open(&mut late.clone()).unwrap();
        assert_eq!(inbound.open(&mut late.clone()).unwrap_err(), OpenError::Replay);
    }
}

#[test]
fn esn_and_32_bit_ends_do_not_understand_each_other() {
    for suite in suites().into_iter().filter(|suite| suite.esn) {
        let (mut out, _) = pair(suite);
        let (_, mut inbound) = pair(EspSuite { esn: false, ..suite });
        let mut esp = seal(&mut out, &ipv4(LOCAL, REMOTE, 9)).unwrap();
        assert_eq!(inbound.open(&mut esp).unwrap_err(), OpenError::Icv, "{suite}");
    }
}

#[test]
fn a_slot_without_room_is_refused_before_a_number_is_taken() {
    let (mut out, _) = pair(GCM);
    let inner = ipv4(LOCAL, REMOTE, 9);
    let mut slot = vec![0; out.sealed_len(inner.len()) - 1];
    slot[16..][..inner.len()].copy_from_slice(&inner);
    assert_eq!(out.seal(&mut slot, inner.len()), Err(SealError::NoRoom));
    assert_eq!(out.sequence(), 0);
}

#[test]
fn keys_that_do_not_fit_the_suite_are_refused() {
    let new = |suite: EspSuite, encr: usize, integ: usize| {
        let keys = EspKeys { encr: Secret::new(vec![1; encr]), integ: Secret::new(vec![1; integ]) };
        InboundSa::new(SPI, suite, &keys, &selectors(), Arc::default()).err()
    };
    let cbc = |integ| EspSuite { encr: Encr::AesCbc(KeyBits::Bits128), integ, esn: false };
    assert_eq!(new(GCM, 32, 0), Some(InvalidKeys::EncrLength(32)));
    assert_eq!(new(GCM, 36, 32), Some(InvalidKeys::IntegLength(32)));
    assert_eq!(
        new(EspSuite { integ: Some(Integ::HmacSha256_128), ..GCM }, 36, 32),
        Some(InvalidKeys::Integrity)
    );
    assert_eq!(new(cbc(None), 16, 0), Some(InvalidKeys::Integrity));
    assert_eq!(new(cbc(Some(Integ::HmacSha256_128)), 16, 20), Some(InvalidKeys::IntegLength(20)));
    assert_eq!(new(cbc(Some(Integ::HmacSha256_128)), 32, 32), Some(InvalidKeys::EncrLength(32)));
}

proptest! {
    /// Any order of arrival with duplicates: what is delivered is what a set would deliver.
    #[test]
    fn each_packet_is_delivered_at_most_once_in_any_order(
        start in prop_oneof![Just(0u64), Just((1u64 << 32) - 40)],
        arrivals in prop::collection::vec(0usize..80, 1..300),
    ) {
        let (mut out, mut inbound) = pair(GCM_ESN);
        let inner = ipv4(LOCAL, REMOTE, 9);
        if start > 0 {
            inbound.open(&mut forge_ok(start / 2)).unwrap();
            inbound.open(&mut forge_ok(start)).unwrap();
            out.skip_to(start);
        }
        let packets: Vec<_> = (0..80).map(|_| seal(&mut out, &inner).unwrap()).collect();
        let mut delivered = BTreeSet::new();
        for index in arrivals {
            let result = inbound.open(&mut packets[index].clone()).map(|opened| opened.packet.to_vec());
            let expected = if delivered.insert(index) { Ok(inner.clone()) } else { Err(OpenError::Replay) };
            prop_assert_eq!(result, expected);
        }
    }

    /// Padded and plain packets in any order: each is delivered as it was, and no sequence number or IV is used twice.
    #[test]
    fn padding_changes_neither_the_packet_nor_the_uniqueness_of_sequence_numbers(
        suite in prop::sample::select(suites()),
        packets in prop::collection::vec((any::<bool>(), 0usize..1400, prop::option::of(0usize..1500)), 1..20),
    ) {
        let (mut out, mut inbound) = pair(suite);
        let (mut numbers, mut ivs) = (BTreeSet::new(), BTreeSet::new());
        for (v6_inside, payload_len, limit) in packets {
            let inner =
                if v6_inside { ipv6(v6(2), v6(0x1234), payload_len) } else { ipv4(LOCAL, REMOTE, payload_len) };
            let before = out.sequence();
            let sealed = match limit {
                None => seal(&mut out, &inner),
                Some(limit) => seal_padded(&mut out, &inner, limit),
            };
            let Ok(mut esp) = sealed else {
                prop_assert!(limit.is_some_and(|limit| limit < out.sealed_len(inner.len())));
                prop_assert_eq!(out.sequence(), before, "a refused packet takes no number");
                continue;
            };
            prop_assert!(numbers.insert(esp[4..8].to_vec()));
            prop_assert!(ivs.insert(esp[8..out.headroom()].to_vec()));
            prop_assert_eq!(&*inbound.open(&mut esp).unwrap().packet, &*inner);
        }
    }

    #[test]
    fn no_datagram_opens_or_panics_by_chance(bytes in prop::collection::vec(any::<u8>(), 0..200), own_spi: bool) {
        for suite in suites() {
            let (_, mut inbound) = pair(suite);
            let mut bytes = bytes.clone();
            if own_spi && bytes.len() >= 4 {
                bytes[..4].copy_from_slice(&SPI.0.to_be_bytes());
            }
            prop_assert!(inbound.open(&mut bytes).is_err());
        }
    }

    /// After the ICV the content is the peer's word: arbitrary plaintext must be judged, never trusted.
    #[test]
    fn no_authentic_plaintext_panics(bytes in prop::collection::vec(any::<u8>(), 1..40), head in prop::sample::select(vec![0x45u8, 0x60, 0x4f, 0x00])) {
        let mut plaintext = bytes.repeat(4);
        plaintext[0] = head;
        let (_, mut inbound) = pair(GCM);
        if let Ok(opened) = inbound.open(&mut forge(GCM, 1, &plaintext)) {
            prop_assert!(opened.packet.len() < plaintext.len());
        }
    }
}

fn forge_ok(sequence: u64) -> Vec<u8> {
    let mut plaintext = ipv4(LOCAL, REMOTE, 10);
    plaintext.extend([0, 4]);
    forge(GCM_ESN, sequence, &plaintext)
}

/// A promise of the ciphers' own crate, made by a feature that can get lost.
#[test]
fn expanded_aes_keys_are_wiped_when_they_are_dropped() {
    fn is_wiped<Key: zeroize::ZeroizeOnDrop>() {}
    is_wiped::<aes::Aes128Enc>();
    is_wiped::<aes::Aes128Dec>();
    is_wiped::<aes::Aes256Enc>();
    is_wiped::<aes::Aes256Dec>();
}
