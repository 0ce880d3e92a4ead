//! The TCP connections through the tunnel, so that far ends can be told when the way back carries less than before.
//!
//! The MSS limits reach a connection while it begins. One that is there already goes on sending segments of the old size,
//! and where ICMP errors get lost outside the tunnel, nobody tells its sender that they do not arrive. We can: as a host on
//! the path whose ICMP "fragmentation needed" (RFC 1191 §4) or "packet too big" (RFC 8201 §3) quotes the segment that the
//! far end has outstanding. That is the one that our last acknowledgement names, and senders check just that
//! (RFC 5927 §4.1).
//!
//! While such a connection stands still there is nothing to see of it, so that the last acknowledgement of each is kept
//! from before.

use crate::checksum;
use crate::headers::{
    Family, IPV4_HEADER, IPV6_HEADER, TCP, TCP_HEADER, TcpPacket, read_u32, tcp, write_len,
};
use crate::mss::MssClamp;
use crate::oversize::too_big_message;

/// Connections that are remembered. A machine has tens of them; one more takes the place of another.
const REMEMBERED: usize = 256;

/// Source and destination port.
const PORTS: usize = 4;

/// The connections of this machine, and what was said last on each.
pub(crate) struct Flows(Box<[Option<Flow>]>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Flow {
    family: Family,
    /// Our address and the far end's, as in the IP header; IPv4 fills a quarter.
    addresses: [u8; 32],
    /// Our port and the far end's.
    ports: [u8; PORTS],
    sequence: u32,
    acknowledgement: u32,
}

impl Flows {
    pub(crate) fn new() -> Self {
        Self(vec![None; REMEMBERED].into_boxed_slice())
    }

    /// Notes what an outbound packet says, if it is of a TCP connection.
    #[inline]
    pub(crate) fn note(&mut self, packet: &[u8]) {
        let Some(parsed) = TcpPacket::parse(packet) else { return };
        let flags = parsed.flags(packet);
        if flags & tcp::ACK == 0 || flags & tcp::SYN != 0 {
            return;
        }
        let flow = Flow::of(packet, parsed);
        let Some(slot) = self.0.get_mut(flow.slot()) else { return };
        *slot = (flags & tcp::RST == 0).then_some(flow);
    }

    /// What tells the near ends, this machine's, that packets of more than `mtu` bytes don't get through: they need not wait
    /// for their own timers. Whoever has nothing outstanding ignores it.
    pub(crate) fn told_here(&self, mtu: u16) -> impl Iterator<Item = Vec<u8>> {
        self.0
            .iter()
            .flatten()
            .filter_map(move |flow| too_big_message(&flow.sent(u16::MAX), u16::MAX.into(), mtu))
    }

    /// What tells the far ends that packets may be as long as `limit` says from here on, and no longer as `before`: one
    /// inner packet for each connection that is concerned.
    pub(crate) fn told(&self, limit: MssClamp, before: MssClamp) -> impl Iterator<Item = Vec<u8>> {
        self.0.iter().flatten().filter_map(move |flow| {
            let (limit, before, headers) = match flow.family {
                Family::V4 => (limit.v4, before.v4, IPV4_HEADER),
                Family::V6 => (limit.v6, before.v6, IPV6_HEADER),
            };
            let whole = |mss: u16| mss.saturating_add((headers + TCP_HEADER) as u16);
            (limit < before)
                .then(|| {
                    too_big_message(&flow.outstanding(whole(before)), whole(before).into(), whole(limit))
                })
                .flatten()
        })
    }
}

impl Flow {
    #[inline]
    fn of(packet: &[u8], parsed: TcpPacket) -> Self {
        let family = parsed.network.family;
        let mut addresses = [0; 32];
        let found = &packet[family.addresses()];
        addresses[..found.len()].copy_from_slice(found);
        let start = parsed.network.header_len;
        let mut ports = [0; PORTS];
        ports.copy_from_slice(&packet[start..start + PORTS]);
        let sequence = read_u32(packet, start + tcp::SEQUENCE);
        let acknowledgement = read_u32(packet, start + tcp::ACKNOWLEDGEMENT);
        Self { family, addresses, ports, sequence, acknowledgement }
    }

    /// Where it is kept. Anything that differs between two connections of one machine will do.
    #[inline]
    fn slot(&self) -> usize {
        let ports = u32::from_be_bytes(self.ports);
        let far = read_u32(&self.addresses, self.family.addresses().len() - 4);
        // Fibonacci hashing: the high bits are those that are mixed.
        ((ports ^ far.rotate_left(13)).wrapping_mul(0x9e37_79b9) >> 16) as usize % REMEMBERED
    }

    /// The segment that the far end has outstanding: as much of a packet of `len` bytes as ICMP quotes.
    fn outstanding(&self, len: u16) -> Vec<u8> {
        let half = self.family.addresses().len() / 2;
        let (ours, theirs) = self.addresses[..2 * half].split_at(half);
        let (our_port, their_port) = self.ports.split_at(PORTS / 2);
        self.start_of(len, [theirs, ours], [their_port, our_port], self.acknowledgement)
    }

    /// The segment that this machine sent last.
    fn sent(&self, len: u16) -> Vec<u8> {
        let half = self.family.addresses().len() / 2;
        let (ours, theirs) = self.addresses[..2 * half].split_at(half);
        let (our_port, their_port) = self.ports.split_at(PORTS / 2);
        self.start_of(len, [ours, theirs], [our_port, their_port], self.sequence)
    }

    fn start_of(&self, len: u16, addresses: [&[u8]; 2], ports: [&[u8]; 2], sequence: u32) -> Vec<u8> {
        let mut packet = match self.family {
            Family::V4 => {
                // Version and length, DF, hop limit.
                let mut header = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, TCP, 0, 0];
                write_len(&mut header, 2, len.into());
                header
            }
            Family::V6 => {
                let mut header = vec![0x60, 0, 0, 0, 0, 0, TCP, 64];
                write_len(&mut header, 4, usize::from(len).saturating_sub(IPV6_HEADER));
                header
            }
        };
        packet.extend(addresses.concat());
        if self.family == Family::V4 {
            checksum::write_ipv4_header(&mut packet, IPV4_HEADER);
        }
        packet.extend(ports.concat());
        packet.extend(sequence.to_be_bytes());
        packet
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{Icmpv4Type, Icmpv6Type, NetSlice, SlicedPacket, TransportSlice, icmpv4};

    use super::*;
    use crate::testing::{self, Tcp};

    const WIDE: MssClamp = MssClamp::for_mtu(1438);
    const NARROW: MssClamp = MssClamp::for_mtu(1300);

    fn acknowledging(family: Family, source_port: u16, acknowledgement: u32) -> Vec<u8> {
        testing::tcp(&Tcp { family, source_port, acknowledgement, ..Tcp::default() })
    }

    fn told(flows: &Flows, limit: MssClamp, before: MssClamp) -> Vec<Vec<u8>> {
        flows.told(limit, before).collect()
    }

    #[test]
    fn the_far_end_of_each_connection_is_told_about_what_it_has_outstanding() {
        for family in [Family::V4, Family::V6] {
            let mut flows = Flows::new();
            for acknowledgement in [5, 4_000_000_000] {
                flows.note(&acknowledging(family, 40_000, acknowledgement));
            }
            let ours = acknowledging(family, 40_000, 0);
            let messages = told(&flows, NARROW, WIDE);
            let [message] = messages.as_slice() else { panic!("{messages:?}") };
            let parsed = SlicedPacket::from_ip(message).unwrap();
            // From us to the far end, as our own packets.
            let addresses = family.addresses();
            assert_eq!(message[addresses.clone()], ours[addresses]);
            let (mtu, quote) = match (parsed.transport, parsed.net) {
                (Some(TransportSlice::Icmpv4(icmp)), Some(NetSlice::Ipv4(_))) => {
                    let Icmpv4Type::DestinationUnreachable(
                        icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu },
                    ) = icmp.icmp_type()
                    else {
                        panic!("{:?}", icmp.icmp_type())
                    };
                    (u32::from(next_hop_mtu), icmp.payload().to_vec())
                }
                (Some(TransportSlice::Icmpv6(icmp)), _) => {
                    let Icmpv6Type::PacketTooBig { mtu } = icmp.icmp_type() else {
                        panic!("{:?}", icmp.icmp_type())
                    };
                    (mtu, icmp.payload().to_vec())
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(mtu, 1300);
            let tcp = &quote[if family == Family::V4 { IPV4_HEADER } else { IPV6_HEADER }..];
            assert_eq!(tcp[..2], 443_u16.to_be_bytes());
            assert_eq!(tcp[2..4], 40_000_u16.to_be_bytes());
            assert_eq!(read_u32(tcp, tcp::SEQUENCE), 4_000_000_000);
        }
    }

    #[test]
    fn nobody_is_told_of_more_or_of_the_same_or_of_a_connection_that_is_gone() {
        let mut flows = Flows::new();
        flows.note(&acknowledging(Family::V4, 40_000, 5));
        assert!(told(&flows, WIDE, NARROW).is_empty());
        assert!(told(&flows, NARROW, NARROW).is_empty());
        let reset = Tcp { flags: tcp::RST | tcp::ACK, ..Tcp::default() };
        flows.note(&testing::tcp(&reset));
        assert!(told(&flows, NARROW, WIDE).is_empty());
        for nothing in [testing::udp(Family::V4, &[1; 8]), vec![0x45; 20], Vec::new()] {
            flows.note(&nothing);
        }
        assert!(told(&flows, NARROW, WIDE).is_empty());
    }

    #[test]
    fn this_machine_is_told_about_what_it_has_sent_last() {
        let mut flows = Flows::new();
        let sent = testing::tcp(&Tcp { sequence: 77_000, ..Tcp::default() });
        flows.note(&sent);
        let messages: Vec<_> = flows.told_here(1300).collect();
        let [message] = messages.as_slice() else { panic!("{messages:?}") };
        // From the far end's address, which is routed into the tunnel, to ours.
        assert_eq!((&message[12..16], &message[16..20]), (&sent[16..20], &sent[12..16]));
        let quote = &message[IPV4_HEADER + 8..];
        assert_eq!((&quote[12..20], &quote[20..28]), (&sent[12..20], &sent[20..28]));
    }

    #[test]
    fn connections_are_many_and_bounded() {
        let mut flows = Flows::new();
        for port in 30_000..30_100 {
            flows.note(&acknowledging(Family::V4, port, 5));
        }
        let of_hundred = told(&flows, NARROW, WIDE).len();
        assert!(of_hundred > 75, "{of_hundred} of 100 are remembered");
        for port in 1..=u16::MAX {
            flows.note(&acknowledging(Family::V4, port, 5));
        }
        assert!(told(&flows, NARROW, WIDE).len() <= REMEMBERED);
    }
}
