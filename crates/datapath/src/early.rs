//! ESP that is here before its SA.
//!
//! A gateway may send on a CHILD SA as soon as it has answered IKE_AUTH (RFC 7296 §1.2), and under load the packets behind
//! that answer are here while the control plane still works on it. They wait for a moment, so that a session that is made
//! before the old one is broken loses nothing.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use evenkeel_ipsec::wire::EspSpi;

/// Handling an answer takes milliseconds; what waits longer belongs to no SA that is to come.
const PATIENCE: Duration = Duration::from_secs(1);
/// What waits at most. Spoofed packets may fill it, and then push each other out.
const MOST_BYTES: usize = 1 << 20;

/// Packets that wait for their SA, the oldest first.
#[derive(Default)]
pub(crate) struct Early {
    waiting: VecDeque<EarlyPacket>,
    bytes: usize,
}

/// One of them.
pub(crate) struct EarlyPacket {
    spi: EspSpi,
    at: Instant,
    pub(crate) from: SocketAddr,
    pub(crate) esp: Vec<u8>,
}

impl Early {
    /// Keeps a copy of a packet, if need be in place of the oldest.
    pub(crate) fn keep(&mut self, spi: EspSpi, esp: &[u8], from: SocketAddr, now: Instant) {
        self.expire(now, MOST_BYTES.saturating_sub(esp.len()));
        if esp.len() <= MOST_BYTES {
            self.bytes += esp.len();
            self.waiting.push_back(EarlyPacket { spi, at: now, from, esp: esp.to_vec() });
        }
    }

    /// The packets of an SA that has come, in the order of their arrival.
    pub(crate) fn take(&mut self, spi: EspSpi, now: Instant) -> Vec<EarlyPacket> {
        self.expire(now, MOST_BYTES);
        let (taken, rest) = self.waiting.drain(..).partition(|packet| packet.spi == spi);
        self.waiting = rest;
        self.bytes = self.waiting.iter().map(|packet| packet.esp.len()).sum();
        Vec::from(taken)
    }

    /// Forgets what has waited too long, and the oldest until no more than `room` is taken.
    fn expire(&mut self, now: Instant, room: usize) {
        let late = |packet: &EarlyPacket| now.saturating_duration_since(packet.at) > PATIENCE;
        while let Some(packet) = self.waiting.pop_front_if(|packet| self.bytes > room || late(packet)) {
            self.bytes = self.bytes.saturating_sub(packet.esp.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPI: EspSpi = EspSpi(7);

    fn from() -> SocketAddr {
        "198.51.100.10:4500".parse().unwrap()
    }

    #[test]
    fn an_sa_gets_its_own_packets_in_order_and_nothing_stale() {
        let (start, mut early) = (Instant::now(), Early::default());
        early.keep(SPI, b"stale", from(), start);
        let now = start + 2 * PATIENCE;
        early.keep(SPI, b"one", from(), now);
        early.keep(EspSpi(8), b"another's", from(), now);
        early.keep(SPI, b"two", from(), now);
        let taken = early.take(SPI, now);
        assert_eq!(
            taken.iter().map(|packet| packet.esp.as_slice()).collect::<Vec<_>>(),
            [&b"one"[..], b"two"]
        );
        assert!(early.take(SPI, now).is_empty());
        assert_eq!(early.take(EspSpi(8), now).len(), 1);
        assert_eq!(early.bytes, 0);
    }

    #[test]
    fn a_flood_pushes_out_the_oldest_and_takes_no_more_room() {
        let (now, mut early) = (Instant::now(), Early::default());
        let packet = [0; 1400];
        for _ in 0..2 * MOST_BYTES / packet.len() {
            early.keep(SPI, &packet, from(), now);
            assert!(early.bytes <= MOST_BYTES);
        }
        early.keep(SPI, &vec![0; MOST_BYTES + 1], from(), now);
        early.keep(SPI, b"the last", from(), now);
        let taken = early.take(SPI, now);
        assert_eq!(taken.last().map(|packet| packet.esp.as_slice()), Some(&b"the last"[..]));
    }
}
