//! The ESP stage alone, packets of 1,400 bytes through `OutboundSa::seal` and `InboundSa::open`, beside the bare AEAD of
//! aws-lc-rs on the same bytes. The two take turns, so that a machine that speeds up or slows down does so for both.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use evenkeel_ipsec::crypto::{Encr, EspSuite, Integ, KeyBits, Secret};
use evenkeel_ipsec::esp::{EspKeys, InboundSa, OutboundSa, SelectorPair};
use evenkeel_ipsec::wire::{EspSpi, TrafficSelector};
use evenkeel_platform::allocations::allocations;

use super::table::Row;

const PACKET: usize = 1400;
const SLOT: usize = PACKET + 80;
/// As many as one train has.
const PACKETS: usize = 44;
const ROUNDS: usize = 1500;

struct Stage {
    outbound: OutboundSa,
    inbound: InboundSa,
    slots: Vec<u8>,
    inner: Vec<u8>,
}

impl Stage {
    fn new(suite: EspSuite, encr_len: usize, integ_len: usize) -> anyhow::Result<Self> {
        let keys = EspKeys { encr: Secret::new(vec![7; encr_len]), integ: Secret::new(vec![9; integ_len]) };
        let (source, destination) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 10, 0, 1));
        let exactly = |address: Ipv4Addr| TrafficSelector {
            protocol: 0,
            start_port: 0,
            end_port: u16::MAX,
            start: IpAddr::V4(address),
            end: IpAddr::V4(address),
        };
        let selectors = SelectorPair { local: vec![exactly(source)], remote: vec![exactly(destination)] };
        let mirrored = SelectorPair { local: selectors.remote.clone(), remote: selectors.local.clone() };
        let mut inner = vec![0; PACKET];
        inner[0] = 0x45;
        inner[2..4].copy_from_slice(&(PACKET as u16).to_be_bytes());
        inner[12..16].copy_from_slice(&source.octets());
        inner[16..20].copy_from_slice(&destination.octets());
        Ok(Self {
            outbound: OutboundSa::new(EspSpi(1), suite, &keys, [3; 32], &selectors, Arc::default())?,
            inbound: InboundSa::new(EspSpi(1), suite, &keys, &mirrored, Arc::default())?,
            slots: vec![0; PACKETS * SLOT],
            inner,
        })
    }

    /// Time to seal and to open one train. Opening leaves the inner packet where sealing wants it.
    fn round(&mut self) -> anyhow::Result<Duration> {
        let headroom = self.outbound.headroom();
        for slot in self.slots.chunks_exact_mut(SLOT) {
            slot[headroom..headroom + PACKET].copy_from_slice(&self.inner);
        }
        let start = Instant::now();
        let mut len = 0;
        for slot in self.slots.chunks_exact_mut(SLOT) {
            len = self.outbound.seal(slot, PACKET)?;
        }
        for slot in self.slots.chunks_exact_mut(SLOT) {
            black_box(self.inbound.open(&mut slot[..len])?.packet.len());
        }
        Ok(start.elapsed())
    }
}

/// The cipher and nothing else.
struct Bare {
    key: LessSafeKey,
    slots: Vec<u8>,
    counter: u64,
}

impl Bare {
    fn new(algorithm: &'static Algorithm) -> anyhow::Result<Self> {
        let key = UnboundKey::new(algorithm, &[7; 32][..algorithm.key_len()])?;
        Ok(Self { key: LessSafeKey::new(key), slots: vec![0; PACKETS * SLOT], counter: 0 })
    }

    fn round(&mut self) -> anyhow::Result<Duration> {
        let nonce = |counter: u64| {
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&counter.to_be_bytes());
            Nonce::assume_unique_for_key(nonce)
        };
        let first = self.counter;
        self.counter += PACKETS as u64;
        let start = Instant::now();
        for (slot, counter) in self.slots.chunks_exact_mut(SLOT).zip(first..) {
            let (plaintext, tag) = slot[16..].split_at_mut(PACKET);
            let sealed = self.key.seal_in_place_separate_tag(
                nonce(counter),
                Aad::from(counter.to_be_bytes()),
                plaintext,
            )?;
            tag[..16].copy_from_slice(sealed.as_ref());
        }
        for (slot, counter) in self.slots.chunks_exact_mut(SLOT).zip(first..) {
            let sealed = &mut slot[16..16 + PACKET + 16];
            black_box(
                self.key.open_in_place(nonce(counter), Aad::from(counter.to_be_bytes()), sealed)?.len(),
            );
        }
        Ok(start.elapsed())
    }
}

/// Nanoseconds for one packet, sealed and opened.
fn per_packet(mut rounds: Vec<Duration>) -> f64 {
    rounds.sort_unstable();
    rounds[rounds.len() / 2].as_secs_f64() * 1e9 / PACKETS as f64
}

/// What the stage costs beside the cipher, and what it allocates.
pub(super) fn run() -> anyhow::Result<Vec<Row>> {
    println!("ESP stage: {} packets of {PACKET} bytes, sealed and opened, by each suite", PACKETS * ROUNDS);
    let aead = |encr| EspSuite { encr, integ: None, esn: true };
    let cases: [(EspSuite, usize, &'static Algorithm); 3] = [
        (aead(Encr::AesGcm16(KeyBits::Bits128)), 20, &AES_128_GCM),
        (aead(Encr::AesGcm16(KeyBits::Bits256)), 36, &AES_256_GCM),
        (aead(Encr::ChaCha20Poly1305), 36, &CHACHA20_POLY1305),
    ];
    let (mut rows, mut allocated) = (Vec::new(), 0);
    for (suite, key_len, algorithm) in cases {
        let (mut stage, mut bare) = (Stage::new(suite, key_len, 0)?, Bare::new(algorithm)?);
        let (mut esp, mut raw) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
        let before = allocations();
        for _ in 0..ROUNDS {
            esp.push(stage.round()?);
            raw.push(bare.round()?);
        }
        allocated += allocations() - before;
        let (esp, raw) = (per_packet(esp), per_packet(raw));
        let row = Row::new(format!("ESP stage beside aws-lc-rs, {suite}"), format!("{esp:.0} ns"));
        rows.push(row.beside(format!("{raw:.0} ns")).ratio(esp / raw).goal("<= 1.20", esp / raw <= 1.2));
    }
    let cbc =
        EspSuite { encr: Encr::AesCbc(KeyBits::Bits256), integ: Some(Integ::HmacSha256_128), esn: true };
    let mut stage = Stage::new(cbc, 32, 32)?;
    let mut esp = Vec::with_capacity(ROUNDS);
    let before = allocations();
    for _ in 0..ROUNDS / 5 {
        esp.push(stage.round()?);
    }
    allocated += allocations() - before;
    rows.push(Row::new(format!("ESP stage, {cbc}"), format!("{:.0} ns", per_packet(esp))));
    rows.push(
        Row::new("ESP stage: heap allocations, all packets and suites", allocated.to_string())
            .goal("0", allocated == 0),
    );
    Ok(rows)
}
