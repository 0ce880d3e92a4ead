//! ESP in both directions.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use evenkeel_ipsec::crypto::{Encr, EspSuite, Integ, KeyBits, Secret};
use evenkeel_ipsec::esp::{EspKeys, InboundSa, OpenError, OutboundSa, SaCounters, SelectorPair};
use evenkeel_ipsec::wire::{EspSpi, TrafficSelector};

use crate::Outcome;

const SPI: EspSpi = EspSpi(0xc0de_0001);
const KEY: [u8; 32] = [7; 32];
const SALT: [u8; 4] = [9; 4];

/// The suite that the first octet of an input chooses.
fn suite(choice: u8) -> EspSuite {
    let (encr, integ) = match choice & 3 {
        0 | 1 => (Encr::AesGcm16(KeyBits::Bits256), None),
        2 => (Encr::ChaCha20Poly1305, None),
        _ => (Encr::AesCbc(KeyBits::Bits256), Some(Integ::HmacSha256_128)),
    };
    EspSuite { encr, integ, esn: choice & 4 != 0 }
}

fn keys(suite: EspSuite) -> EspKeys {
    let encr = if suite.integ.is_some() { KEY.to_vec() } else { [&KEY[..], &SALT].concat() };
    EspKeys { encr: Secret::new(encr), integ: Secret::new(suite.integ.map_or(Vec::new(), |_| KEY.to_vec())) }
}

/// One subnet of each family at either end; the far end's IPv4 subnet only by TCP to and from port 443.
fn selectors() -> SelectorPair {
    let subnet = |ip: IpAddr, prefix| TrafficSelector::from_cidr(ip, prefix).into_iter();
    let v4 = |third: u8| subnet(Ipv4Addr::new(10, third, 0, 0).into(), 16);
    let v6 = |third: u16| subnet(Ipv6Addr::new(0xfd00, 0, third, 0, 0, 0, 0, 0).into(), 64);
    let web = v4(2).map(|any| TrafficSelector { protocol: 6, start_port: 443, end_port: 443, ..any });
    SelectorPair { local: v4(1).chain(v6(1)).collect(), remote: web.chain(v6(2)).collect() }
}

fn mirrored(SelectorPair { local, remote }: SelectorPair) -> SelectorPair {
    SelectorPair { local: remote, remote: local }
}

fn inbound(suite: EspSuite, selectors: &SelectorPair) -> Option<InboundSa> {
    InboundSa::new(SPI, suite, &keys(suite), selectors, Arc::new(SaCounters::default())).ok()
}

/// One octet for the suite, then packets in [frames](crate::frames). Of each packet, the first octet says whether it is
/// authentic: then eight octets of sequence number follow, and what is to be inside (inner packet, padding, trailer);
/// else an ESP packet as an attacker would make it.
pub fn esp_open(input: &[u8]) -> Outcome {
    let mut outcome = Outcome::Refused;
    let Some((choice, packets)) = input.split_first() else {
        return outcome;
    };
    let suite = suite(*choice);
    let selectors = selectors();
    let mut sa = inbound(suite, &selectors).expect("the keys fit the suite");
    let mut accepted = BTreeSet::new();
    for packet in crate::frames(packets) {
        match packet {
            [kind, s0, s1, s2, s3, s4, s5, s6, s7, content @ ..]
                if kind & 1 == 1 && matches!(suite.encr, Encr::AesGcm16(_)) =>
            {
                let sequence = u64::from_be_bytes([*s0, *s1, *s2, *s3, *s4, *s5, *s6, *s7]);
                let sequence = if suite.esn { sequence } else { sequence & 0xffff_ffff };
                let mut esp = seal_content(sequence, suite.esn, content);
                match sa.open(&mut esp) {
                    Ok(opened) => {
                        assert!(accepted.insert(sequence), "sequence number {sequence} was accepted twice");
                        assert_eq!(opened.packet, &content[..opened.packet.len()]);
                        assert_covered(opened.packet, &selectors);
                        outcome = Outcome::Accepted;
                    }
                    Err(error) if error.is_authentic() => {
                        assert!(accepted.insert(sequence), "sequence number {sequence} was accepted twice");
                    }
                    Err(OpenError::Replay) => {
                        assert!(accepted.contains(&sequence) || suite.esn || sequence == 0)
                    }
                    // With ESN, a sequence number far from the window is taken for another one.
                    Err(error) => assert!(error != OpenError::Icv || suite.esn, "{error}"),
                }
            }
            [_, esp @ ..] => {
                let mut esp = [&SPI.0.to_be_bytes()[..], esp].concat();
                assert!(sa.open(&mut esp).is_err(), "a forged packet was opened");
            }
            [] => {}
        }
    }
    outcome
}

/// One octet for the suite, one for where the packet is damaged on its way, and an inner packet to send.
pub fn esp_seal(input: &[u8]) -> Outcome {
    let [choice, damage, inner @ ..] = input else {
        return Outcome::Refused;
    };
    let suite = suite(*choice);
    let selectors = selectors();
    let counters = Arc::new(SaCounters::default());
    let mut outbound = OutboundSa::new(SPI, suite, &keys(suite), [3; 32], &selectors, counters)
        .expect("the keys fit the suite");

    let mut slot = vec![0; outbound.headroom()];
    slot.extend_from_slice(inner);
    slot.resize(slot.len() + outbound.max_trailer(), 0);
    let Ok(len) = outbound.seal(&mut slot, inner.len()) else {
        return Outcome::Refused;
    };
    assert_eq!(len, outbound.sealed_len(inner.len()));
    slot.truncate(len);
    assert_covered(inner, &mirrored(selectors.clone()));

    let mut sa = inbound(suite, &mirrored(selectors)).expect("the keys fit the suite");
    let mut damaged = slot.clone();
    let at = usize::from(*damage) * len / 256;
    damaged[at] ^= 1 << (damage & 7);
    assert!(sa.open(&mut damaged).is_err(), "damaged at {at}");
    let opened = sa.open(&mut slot).expect("what was sealed opens");
    assert_eq!(opened.packet, inner);
    assert!(matches!(sa.open(&mut slot), Err(OpenError::Replay)));
    Outcome::Accepted
}

/// AES-GCM as RFC 4106 prescribes it, apart from the code under test.
fn seal_content(sequence: u64, esn: bool, content: &[u8]) -> Vec<u8> {
    let iv = sequence.to_be_bytes();
    let [.., q0, q1, q2, q3] = iv;
    let spi = SPI.0.to_be_bytes();
    let header = [spi, [q0, q1, q2, q3]].concat();
    let aad = if esn { [&spi[..], &iv].concat() } else { header.clone() };

    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &KEY).expect("a key of 32 octets"));
    let nonce = Nonce::try_assume_unique_for_key(&[&SALT[..], &iv].concat()).expect("a nonce of 12 octets");
    let mut sealed = content.to_vec();
    key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed).expect("short enough");
    [&header[..], &iv, &sealed].concat()
}

/// An inner packet from the far end to us, by its own header.
fn assert_covered(packet: &[u8], selectors: &SelectorPair) {
    let (source, destination): (IpAddr, IpAddr) = match packet.first().map(|octet| octet >> 4) {
        Some(4) => (address::<4>(packet, 12).into(), address::<4>(packet, 16).into()),
        Some(6) => (address::<16>(packet, 8).into(), address::<16>(packet, 24).into()),
        version => panic!("an inner packet of version {version:?}"),
    };
    let covers = |list: &[TrafficSelector], ip| list.iter().any(|selector| selector.contains(ip));
    assert!(covers(&selectors.remote, source), "{source} is not at the far end");
    assert!(covers(&selectors.local, destination), "{destination} is not ours");
}

fn address<const N: usize>(packet: &[u8], at: usize) -> [u8; N] {
    *packet.get(at..).and_then(<[u8]>::first_chunk).expect("an inner packet with its addresses")
}
