//! Packets from the TUN device that are longer than the effective inner MTU: what the path takes inside ESP, which may
//! be less than the device's MTU (an IPv6 host needs 1280 there, and packets cut for the device's last MTU are on
//! their way).
//!
//! - TCP data is cut to fit (see [`Segments::shorten`](crate::segment::Segments::shorten)), which is what segmentation
//!   offload does anyway, so nothing is lost or waits for a retransmission.
//! - An IPv4 packet without DF is fragmented, as any router on the way would do (RFC 791 §3.2). The fragments go into
//!   ESP packets of their own: the alternative, one ESP packet in outer fragments, needs DF cleared for all of the
//!   socket's packets, and NATs and firewalls drop fragments of UDP more often than not.
//! - Anything else is dropped.
//!
//! In all cases but the second the sender is told: ICMP "fragmentation needed" (RFC 1191 §4) or ICMPv6 "packet too
//! big" (RFC 4443 §3.2). IPv6 packets of up to 1280 bytes pass as they are, because no host sends smaller ones for
//! being told to (RFC 8201 §4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder, icmpv4::DestUnreachableHeader};

use crate::checksum;
use crate::headers::{Family, ICMP, ICMPV6, IPV4_HEADER, IPV6_HEADER, write_len};

/// The smallest MTU of an IPv6 link (RFC 8200 §5).
pub(crate) const IPV6_MIN_MTU: u16 = 1280;

/// How much of a packet an ICMP error quotes: what keeps the message within what every host takes (RFC 1812 §4.3.2.3,
/// RFC 4443 §3.2).
const QUOTE_V4: usize = 576 - IPV4_HEADER - 8;
const QUOTE_V6: usize = IPV6_MIN_MTU as usize - IPV6_HEADER - 8;

/// Hop limit of what only the local system reads.
const HOPS: u8 = 64;

/// What to do with a packet that is not TCP data.
pub(crate) enum Handling<'a> {
    /// Send it as it is.
    Pass,
    /// Send these in its place.
    Fragment(Fragments<'a>),
    /// It can't be sent.
    Drop,
}

/// How a packet reaches the other end over `mtu` bytes.
pub(crate) fn handling(packet: &[u8], mtu: usize) -> Handling<'_> {
    if packet.len() <= mtu {
        return Handling::Pass;
    }
    match Family::of(packet) {
        Some(Family::V6) if packet.len() <= IPV6_MIN_MTU.into() => Handling::Pass,
        Some(Family::V4) => Fragments::new(packet, mtu).map_or(Handling::Drop, Handling::Fragment),
        Some(Family::V6) | None => Handling::Drop,
    }
}

/// The ICMP message that tells the sender of a packet, or of a superpacket whose longest one has `longest` bytes, that
/// `mtu` bytes are the most; `None` where RFC 1122 §3.2.2 or
/// RFC 4443 §2.4 forbid one, or none would help. It comes from the packet's destination: an address that is surely
/// routed into the tunnel, so that no reverse-path filter is in the way. (The gateway's inner address is unknown.)
pub(crate) fn too_big_message(packet: &[u8], longest: usize, mtu: u16) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    match Family::of(packet)? {
        Family::V4 => {
            let header = packet.first_chunk::<IPV4_HEADER>()?;
            let header_len = usize::from(header[0] & 0x0f) * 4;
            let (source, destination) =
                (*header[12..].first_chunk::<4>()?, *header[16..].first_chunk::<4>()?);
            let dont_fragment = header[6] & 0x40 != 0;
            let later_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
            // Echoes are the only ICMP messages of that length that are no errors themselves.
            let error = header[9] == ICMP && !matches!(packet.get(header_len), Some(0 | 8));
            let (from, to) = (Ipv4Addr::from(source), Ipv4Addr::from(destination));
            let no_host =
                to.is_multicast() || to.is_broadcast() || !is_host(from.into()) || !is_host(to.into());
            if !dont_fragment || later_fragment || error || no_host {
                return None;
            }
            let needed = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
            PacketBuilder::ipv4(destination, source, HOPS)
                .icmpv4(Icmpv4Type::DestinationUnreachable(needed))
                .write(&mut message, &packet[..packet.len().min(QUOTE_V4)])
                .ok()?;
        }
        Family::V6 => {
            let header = packet.first_chunk::<IPV6_HEADER>()?;
            let (source, destination) =
                (*header[8..].first_chunk::<16>()?, *header[24..].first_chunk::<16>()?);
            // RFC 4443 §2.1: messages below 128 are errors.
            let error = header[6] == ICMPV6 && packet.get(IPV6_HEADER).is_none_or(|kind| *kind < 128);
            let (from, to) = (Ipv6Addr::from(source), Ipv6Addr::from(destination));
            if longest <= IPV6_MIN_MTU.into() || error || !is_host(from.into()) || !is_host(to.into()) {
                return None;
            }
            PacketBuilder::ipv6(destination, source, HOPS)
                .icmpv6(Icmpv6Type::PacketTooBig { mtu: mtu.max(IPV6_MIN_MTU).into() })
                .write(&mut message, &packet[..packet.len().min(QUOTE_V6)])
                .ok()?;
        }
    }
    Some(message)
}

const fn is_host(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast()
}

/// An IPv4 packet in pieces (RFC 791 §3.2), in order.
pub(crate) struct Fragments<'a> {
    packet: &'a [u8],
    header_len: usize,
    /// Payload bytes of each fragment but the last: a multiple of eight.
    size: usize,
    done: usize,
}

impl<'a> Fragments<'a> {
    /// `None` for a packet that must not or cannot be fragmented.
    pub(crate) fn new(packet: &'a [u8], mtu: usize) -> Option<Self> {
        let header = packet.first_chunk::<IPV4_HEADER>()?;
        let header_len = usize::from(header[0] & 0x0f) * 4;
        let whole = usize::from(u16::from_be_bytes([header[2], header[3]])) == packet.len();
        let dont_fragment = header[6] & 0x40 != 0;
        let size = mtu.checked_sub(header_len)? & !7;
        let offset = usize::from(u16::from_be_bytes([header[6], header[7]]) & 0x1fff) * 8;
        let good = whole
            && !dont_fragment
            && header_len >= IPV4_HEADER
            && header_len < packet.len()
            && offset + packet.len() <= usize::from(u16::MAX)
            && size > 0;
        good.then_some(Self { packet, header_len, size, done: 0 })
    }

    /// Length of the next fragment.
    pub(crate) fn next_len(&self) -> Option<usize> {
        let left = self.packet.len() - self.header_len - self.done;
        (left > 0).then(|| self.header_len + left.min(self.size))
    }

    /// Writes the next fragment into exactly as many bytes as it has.
    pub(crate) fn write_next(&mut self, out: &mut [u8]) {
        let payload = out.len() - self.header_len;
        let start = self.header_len + self.done;
        let (header, body) = out.split_at_mut(self.header_len);
        header.copy_from_slice(&self.packet[..self.header_len]);
        body.copy_from_slice(&self.packet[start..start + payload]);
        if self.done > 0 {
            drop_options(&mut header[IPV4_HEADER..]);
        }
        let last = start + payload == self.packet.len();
        write_len(out, 2, self.header_len + payload);
        // The offset counts in eights; what is fragmented may be a fragment itself.
        let field = u16::from_be_bytes([out[6], out[7]]) + (self.done / 8) as u16;
        let more = if last { 0 } else { 0x2000 };
        out[6..8].copy_from_slice(&(field | more).to_be_bytes());
        checksum::write_ipv4_header(out, self.header_len);
        self.done += payload;
    }
}

/// Makes "no operation" of the options that only the first fragment carries.
fn drop_options(options: &mut [u8]) {
    let mut at = 0;
    while let Some(&kind) = options.get(at) {
        let len = match (kind, options.get(at + 1)) {
            (0, _) => return,
            (1, _) => 1,
            (_, Some(&len)) if len >= 2 => usize::from(len),
            _ => return,
        };
        let end = (at + len).min(options.len());
        // The copied flag (RFC 791 §3.1).
        if kind & 0x80 == 0 {
            options[at..end].fill(1);
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use etherparse::defrag::IpDefragPool;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{self, Tcp, payload};

    fn message(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
        too_big_message(packet, packet.len(), mtu)
    }

    fn without_df(mut packet: Vec<u8>) -> Vec<u8> {
        packet[6] = 0;
        checksum::write_ipv4_header(&mut packet, 20);
        packet
    }

    fn fragments(packet: &[u8], mtu: usize) -> Vec<Vec<u8>> {
        let Handling::Fragment(mut fragments) = handling(packet, mtu) else { panic!("not fragmented") };
        let mut all = Vec::new();
        while let Some(len) = fragments.next_len() {
            let mut out = vec![0xee; len];
            fragments.write_next(&mut out);
            all.push(out);
        }
        all
    }

    /// Puts together what an independent implementation makes of fragments.
    fn reassemble(fragments: &[Vec<u8>]) -> Option<Vec<u8>> {
        let mut pool = IpDefragPool::<(), ()>::new();
        let mut whole = None;
        for fragment in fragments {
            let sliced = SlicedPacket::from_ip(fragment).unwrap();
            let Some(NetSlice::Ipv4(ip)) = &sliced.net else { panic!("no IPv4") };
            assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
            let done = pool.process_sliced_packet(&sliced, (), ()).unwrap();
            whole = whole.or(done.map(|done| done.payload));
        }
        whole
    }

    #[test]
    fn a_packet_without_df_is_fragmented_and_comes_together_again() {
        let packet = without_df(testing::udp(Family::V4, &payload(1380)));
        for mtu in [576, 577, 1000, 1405] {
            let pieces = fragments(&packet, mtu);
            assert!(pieces.len() >= 2 && pieces.iter().all(|piece| piece.len() <= mtu));
            assert_eq!(reassemble(&pieces).unwrap(), packet[20..]);
        }
    }

    #[test]
    fn a_fragment_is_fragmented_further() {
        let packet = without_df(testing::udp(Family::V4, &payload(3000)));
        let coarse = fragments(&packet, 1400);
        let fine: Vec<_> = coarse
            .iter()
            .flat_map(|piece| if piece.len() > 600 { fragments(piece, 600) } else { vec![piece.clone()] })
            .collect();
        assert!(fine.len() > coarse.len());
        assert_eq!(reassemble(&fine).unwrap(), packet[20..]);
    }

    #[test]
    fn later_fragments_carry_only_the_options_that_are_to_be_copied() {
        // Record route (7, not copied), stream ID (136, copied), end.
        let options = [7, 7, 4, 0, 0, 0, 0, 136, 4, 1, 2, 0];
        let plain = without_df(testing::udp(Family::V4, &payload(1000)));
        let mut packet = [&plain[..20], &options, &plain[20..]].concat();
        packet[0] = 0x48;
        write_len(&mut packet, 2, 1040);
        checksum::write_ipv4_header(&mut packet, 32);
        let pieces = fragments(&packet, 600);
        assert_eq!(pieces[0][20..32], options);
        assert_eq!(pieces[1][20..32], [1, 1, 1, 1, 1, 1, 1, 136, 4, 1, 2, 0]);
        assert_eq!(reassemble(&pieces).unwrap(), packet[32..]);
    }

    #[test]
    fn what_must_not_be_fragmented_is_dropped_and_what_fits_passes() {
        let with_df = testing::udp(Family::V4, &payload(1380));
        let v6 = testing::udp(Family::V6, &payload(1380));
        let small_v6 = testing::udp(Family::V6, &payload(1280 - 48));
        assert!(matches!(handling(&with_df, 1000), Handling::Drop));
        assert!(matches!(handling(&v6, 1000), Handling::Drop));
        assert!(matches!(handling(&small_v6, 1000), Handling::Pass));
        assert!(matches!(handling(&with_df, 1408), Handling::Pass));
        assert!(matches!(handling(&[0x45; 10], 5), Handling::Drop));
        assert!(matches!(handling(&[], 0), Handling::Pass));
    }

    #[test]
    fn the_message_tells_the_sender_the_mtu_and_quotes_its_packet() {
        let v4 = testing::tcp(&Tcp { payload: &payload(1300), ..Tcp::default() });
        let v6 = testing::tcp(&Tcp { family: Family::V6, payload: &payload(1300), ..Tcp::default() });
        for (packet, mtu, told) in [(&v4, 1100, 1100), (&v6, 1300, 1300), (&v6, 1100, 1280)] {
            let message = message(packet, mtu).unwrap();
            let sliced = SlicedPacket::from_ip(&message).unwrap();
            match (sliced.net.unwrap(), sliced.transport.unwrap()) {
                (NetSlice::Ipv4(ip), TransportSlice::Icmpv4(icmp)) => {
                    assert_eq!(
                        (ip.header().source(), ip.header().destination()),
                        ([10, 10, 0, 1], [10, 0, 0, 2])
                    );
                    let needed = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: told };
                    assert_eq!(icmp.icmp_type(), Icmpv4Type::DestinationUnreachable(needed));
                    assert_eq!(icmp.icmp_type().calc_checksum(icmp.payload()), icmp.checksum());
                    assert!(message.len() <= 576);
                    assert!(icmp.payload().len() >= 28 && packet.starts_with(icmp.payload()));
                }
                (NetSlice::Ipv6(ip), TransportSlice::Icmpv6(icmp)) => {
                    let (from, to) = (ip.header().source(), ip.header().destination());
                    assert_eq!((&packet[24..40], &packet[8..24]), (&from[..], &to[..]));
                    assert_eq!(icmp.icmp_type(), Icmpv6Type::PacketTooBig { mtu: told.into() });
                    assert!(icmp.is_checksum_valid(from, to) && message.len() <= 1280);
                    assert!(packet.starts_with(icmp.payload()));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn no_message_where_none_is_due() {
        let v4 = testing::udp(Family::V4, &payload(1300));
        let v6 = testing::udp(Family::V6, &payload(1300));
        let changed = |packet: &[u8], changes: &[(usize, u8)]| {
            let mut packet = packet.to_vec();
            changes.iter().for_each(|&(at, value)| packet[at] = value);
            packet
        };
        assert!(message(&v4, 1000).is_some() && message(&v6, 1290).is_some());
        for (name, packet) in [
            ("fragmentation allowed", without_df(v4.clone())),
            ("a later fragment", changed(&v4, &[(7, 9)])),
            ("to a multicast group", changed(&v4, &[(16, 224)])),
            ("to everybody", changed(&v4, &[(16, 255), (17, 255), (18, 255), (19, 255)])),
            ("from nobody", changed(&v4, &[(12, 0), (13, 0), (14, 0), (15, 0)])),
            ("about an ICMP error", changed(&v4, &[(9, 1), (20, 3)])),
            ("about an ICMPv6 error", changed(&v6, &[(6, 58), (40, 1)])),
            ("IPv6 to a multicast group", changed(&v6, &[(24, 0xff)])),
            ("what IPv6 hosts send whatever they are told", testing::udp(Family::V6, &payload(1232))),
            ("not IP", vec![0; 1300]),
            ("a stump", vec![0x45; 19]),
        ] {
            assert_eq!(message(&packet, 1000), None, "{name}");
        }
        assert!(message(&changed(&v4, &[(9, 1), (20, 8)]), 1000).is_some(), "an echo request");
        assert_eq!(too_big_message(&v6, 1280, 1000), None, "a superpacket of what IPv6 hosts send at least");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), head in prop::sample::select(vec![0x45u8, 0x4f, 0x40, 0x60]), mtu in 0usize..100) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = head;
            }
            if bytes.len() > 6 {
                let len = bytes.len() as u16;
                bytes[2..4].copy_from_slice(&len.to_be_bytes());
                bytes[6] &= 0xbf;
            }
            message(&bytes, mtu as u16);
            if let Handling::Fragment(mut fragments) = handling(&bytes, mtu) {
                while let Some(len) = fragments.next_len() {
                    fragments.write_next(&mut vec![0; len]);
                }
            }
        }
    }
}
