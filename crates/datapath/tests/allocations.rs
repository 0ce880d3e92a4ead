//! The ESP stage allocates nothing per packet, whatever the suite.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use evenkeel_ipsec::crypto::{Encr, EspSuite, Integ, KeyBits, Secret};
use evenkeel_ipsec::esp::{EspKeys, InboundSa, OpenError, OutboundSa, SelectorPair};
use evenkeel_ipsec::wire::{EspSpi, TrafficSelector};
use evenkeel_platform::allocations::{CountingAllocator, allocations};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const INNER: usize = 1400;

fn packet() -> Vec<u8> {
    let mut packet = vec![0; INNER];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(INNER as u16).to_be_bytes());
    packet
}

#[test]
fn sealing_and_opening_allocate_nothing() {
    // With ports, so that the upper layer is looked at too.
    let selector = TrafficSelector {
        protocol: 0,
        start_port: 0,
        end_port: 60_000,
        start: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        end: IpAddr::V4(Ipv4Addr::BROADCAST),
    };
    let selectors = SelectorPair { local: vec![selector], remote: vec![selector] };
    let aead = |encr| EspSuite { encr, integ: None, esn: true };
    let cbc = |integ| EspSuite { encr: Encr::AesCbc(KeyBits::Bits256), integ: Some(integ), esn: true };
    for (suite, encr, integ) in [
        (aead(Encr::AesGcm16(KeyBits::Bits128)), 20, 0),
        (aead(Encr::AesGcm16(KeyBits::Bits256)), 36, 0),
        (aead(Encr::ChaCha20Poly1305), 36, 0),
        (cbc(Integ::HmacSha1_96), 32, 20),
        (cbc(Integ::HmacSha256_128), 32, 32),
        (cbc(Integ::HmacSha512_256), 32, 64),
    ] {
        let keys = EspKeys { encr: Secret::new(vec![1; encr]), integ: Secret::new(vec![2; integ]) };
        let mut outbound =
            OutboundSa::new(EspSpi(9), suite, &keys, [0; 32], &selectors, Arc::default()).unwrap();
        let mut inbound = InboundSa::new(EspSpi(9), suite, &keys, &selectors, Arc::default()).unwrap();
        let mut inner = packet();
        inner[9] = 17;
        let mut slot = vec![0; outbound.sealed_len(INNER) + 64];
        let mut round = || {
            let before = allocations();
            for _ in 0..1000 {
                slot[outbound.headroom()..][..INNER].copy_from_slice(&inner);
                let len = outbound.seal(&mut slot, INNER).unwrap();
                slot[9] ^= 1;
                assert_eq!(inbound.open(&mut slot[..len]).unwrap_err(), OpenError::Icv);
                slot[outbound.headroom()..][..INNER].copy_from_slice(&inner);
                let len = outbound.seal(&mut slot, INNER).unwrap();
                assert_eq!(inbound.open(&mut slot[..len]).unwrap().packet.len(), INNER);
                slot[outbound.headroom()..][..INNER].copy_from_slice(&inner);
                let limit = slot.len();
                let len = outbound.seal_padded(&mut slot, INNER, limit).unwrap();
                assert_eq!(inbound.open(&mut slot[..len]).unwrap().packet.len(), INNER);
            }
            allocations() - before
        };
        // The counter is the process's, and the test harness has a thread of its own that allocates once in a while;
        // what the stage allocated would show in every round.
        assert_eq!((0..3).map(|_| round()).min(), Some(0), "{suite}");
    }
    // The counter counts.
    let before = allocations();
    drop(packet());
    assert!(allocations() > before);
}
