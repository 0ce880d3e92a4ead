//! Joins the TCP segments that came out of the tunnel into superpackets, so that the kernel walks its stack
//! once for many of them (what its own GRO does for packets from a network card).
//!
//! Nothing is copied but headers: a run is a header and the places of its payloads in the receive buffer.
//! Only what segmentation would restore exactly is joined, and only if its checksums are right, because the
//! superpacket vouches for its data. Order within a connection is kept; between connections it may change, by
//! at most one receive batch.

use std::io::{self, IoSlice};
use std::ops::Range;

use evenkeel_platform::tun::{MAX_PACKET, MAX_SLICES, Offload, PartialChecksum, SegmentKind, Segmentation};

use crate::checksum;
use crate::headers::{
    Family, IPV6_HEADER, Network, TCP, TCP_HEADER_MAX, TcpPacket, read_u32, tcp, write_len,
};

/// Where superpackets and single packets go: the TUN device, except in tests.
pub(crate) trait PacketSink {
    /// Takes one packet in pieces.
    fn write(&mut self, offload: Offload, packet: &[IoSlice<'_>], segments: usize) -> io::Result<()>;
}

/// Connections that can be in the course of being joined at a time.
const RUNS: usize = 8;

/// Segments of one run. A superpacket of 64 KB has 47 of the usual size.
const MAX_SEGMENTS: usize = 64;

const MAX_HEADERS: usize = IPV6_HEADER + TCP_HEADER_MAX;

/// The runs being joined. Emptied at the end of every receive batch, since runs point into its buffer.
pub(crate) struct Coalescer {
    runs: Box<[Run; RUNS]>,
    /// The next run to be ended when a new connection needs room.
    next_victim: usize,
}

/// A run of one connection's segments; without segments it is free.
struct Run {
    headers: [u8; MAX_HEADERS],
    network: Network,
    headers_len: usize,
    /// Payload of each segment but perhaps the last.
    segment_size: usize,
    payload_len: usize,
    next_sequence: u32,
    pieces: [(u32, u16); MAX_SEGMENTS],
    segments: usize,
}

impl Run {
    const FREE: Self = Self {
        headers: [0; MAX_HEADERS],
        network: Network { family: Family::V4, header_len: 0 },
        headers_len: 0,
        segment_size: 0,
        payload_len: 0,
        next_sequence: 0,
        pieces: [(0, 0); MAX_SEGMENTS],
        segments: 0,
    };
}

impl Coalescer {
    pub(crate) fn new() -> Self {
        Self { runs: Box::new([Run::FREE; RUNS]), next_victim: 0 }
    }

    /// Takes the packet at `range` of the receive buffer: joins it to a run, or writes it and whatever must
    /// not be overtaken by it. Returns how many writes failed.
    #[inline]
    pub(crate) fn push(&mut self, buffer: &[u8], range: Range<usize>, sink: &mut impl PacketSink) -> u64 {
        let packet = &buffer[range.clone()];
        let Some(parsed) = TcpPacket::parse(packet) else { return write_single(packet, sink) };
        let same_connection = self.runs.iter().position(|run| run.is_connection_of(packet, parsed));
        if !can_be_joined(packet, parsed) {
            let failed = same_connection.map_or(0, |index| self.runs[index].finish(buffer, sink));
            return failed + write_single(packet, sink);
        }
        let mut failed = 0;
        let index = match same_connection {
            Some(index) => {
                let run = &mut self.runs[index];
                if run.continues_with(packet, parsed) {
                    if run.append(packet, parsed, range.start) {
                        failed += run.finish(buffer, sink);
                    }
                    return failed;
                }
                failed += run.finish(buffer, sink);
                index
            }
            None => self.free_run(buffer, sink, &mut failed),
        };
        if self.runs[index].begin(packet, parsed, range.start) {
            failed += self.runs[index].finish(buffer, sink);
        }
        failed
    }

    /// Writes all runs. Returns how many writes failed.
    #[inline]
    pub(crate) fn finish(&mut self, buffer: &[u8], sink: &mut impl PacketSink) -> u64 {
        self.runs.iter_mut().filter(|run| run.segments > 0).map(|run| run.finish(buffer, sink)).sum()
    }

    fn free_run(&mut self, buffer: &[u8], sink: &mut impl PacketSink, failed: &mut u64) -> usize {
        if let Some(free) = self.runs.iter().position(|run| run.segments == 0) {
            return free;
        }
        let victim = self.next_victim;
        self.next_victim = (victim + 1) % RUNS;
        *failed += self.runs[victim].finish(buffer, sink);
        victim
    }
}

/// Is this data that a segmentation could have produced? Anything but plain data (SYN, RST, URG, congestion
/// signals, a bare acknowledgement) goes through as it is.
#[inline]
fn can_be_joined(packet: &[u8], parsed: TcpPacket) -> bool {
    let dont_fragment = match parsed.network.family {
        Family::V4 => packet[6] & 0x40 != 0,
        Family::V6 => true,
    };
    let flags = parsed.flags(packet);
    dont_fragment
        && parsed.headers_len < packet.len()
        && flags & !tcp::PSH == tcp::ACK
        && checksum::header_is_valid(packet, parsed.network)
        && checksum::transport_is_valid(packet, parsed.network, TCP)
}

fn write_single(packet: &[u8], sink: &mut impl PacketSink) -> u64 {
    u64::from(sink.write(Offload::default(), &[IoSlice::new(packet)], 1).is_err())
}

impl Run {
    #[inline]
    fn is_connection_of(&self, packet: &[u8], parsed: TcpPacket) -> bool {
        if self.segments == 0 || self.network != parsed.network {
            return false;
        }
        let addresses = parsed.network.family.addresses();
        let ports = parsed.network.header_len..parsed.network.header_len + 4;
        self.headers[addresses.clone()] == packet[addresses] && self.headers[ports.clone()] == packet[ports]
    }

    /// Would segmentation give this packet back if it were joined to the run of the same connection?
    #[inline]
    fn continues_with(&self, packet: &[u8], parsed: TcpPacket) -> bool {
        let start = parsed.network.header_len;
        let same = |range: Range<usize>| self.headers[range.clone()] == packet[range];
        let same_network = match parsed.network.family {
            // TOS; TTL
            Family::V4 => same(1..2) && same(8..9),
            // traffic class and flow label; hop limit
            Family::V6 => same(0..4) && same(7..8),
        };
        let payload = packet.len() - parsed.headers_len;
        same_network
            && parsed.headers_len == self.headers_len
            && read_u32(packet, start + tcp::SEQUENCE) == self.next_sequence
            && payload <= self.segment_size
            && self.headers_len + self.payload_len + payload <= MAX_PACKET
            && same(start + tcp::ACKNOWLEDGEMENT..start + tcp::DATA_OFFSET + 1)
            && same(start + tcp::WINDOW..start + tcp::CHECKSUM)
            // urgent pointer and options
            && same(start + tcp::CHECKSUM + 2..parsed.headers_len)
    }

    /// Starts a run. Returns whether it is complete already.
    #[inline]
    fn begin(&mut self, packet: &[u8], parsed: TcpPacket, at: usize) -> bool {
        self.headers[..parsed.headers_len].copy_from_slice(&packet[..parsed.headers_len]);
        self.network = parsed.network;
        self.headers_len = parsed.headers_len;
        self.segment_size = packet.len() - parsed.headers_len;
        self.payload_len = 0;
        self.next_sequence = read_u32(packet, parsed.network.header_len + tcp::SEQUENCE);
        self.segments = 0;
        self.append(packet, parsed, at)
    }

    /// Joins a packet. Returns whether the run is complete: a short segment or a pushed one is the last.
    #[inline]
    fn append(&mut self, packet: &[u8], parsed: TcpPacket, at: usize) -> bool {
        let payload = packet.len() - parsed.headers_len;
        let flags = parsed.flags(packet);
        self.headers[self.network.header_len + tcp::FLAGS] |= flags;
        self.pieces[self.segments] = ((at + parsed.headers_len) as u32, payload as u16);
        self.segments += 1;
        self.payload_len += payload;
        self.next_sequence = self.next_sequence.wrapping_add(payload as u32);
        payload < self.segment_size || flags & tcp::PSH != 0 || self.segments == MAX_SEGMENTS
    }

    /// Writes the run and frees it. Returns how many writes failed.
    fn finish(&mut self, buffer: &[u8], sink: &mut impl PacketSink) -> u64 {
        let start = self.network.header_len;
        let transport_len = self.headers_len - start + self.payload_len;
        let headers = &mut self.headers[..self.headers_len];
        let kind = match self.network.family {
            Family::V4 => {
                write_len(headers, 2, self.headers_len + self.payload_len);
                checksum::write_ipv4_header(headers, start);
                SegmentKind::TcpV4
            }
            Family::V6 => {
                write_len(headers, 4, self.headers_len + self.payload_len - IPV6_HEADER);
                SegmentKind::TcpV6
            }
        };
        let pseudo = checksum::fold(checksum::pseudo_header(headers, self.network, TCP, transport_len));
        headers[start + tcp::CHECKSUM..][..2].copy_from_slice(&pseudo.to_ne_bytes());

        let offload = Offload {
            checksum: Some(PartialChecksum { start: start as u16, offset: tcp::CHECKSUM as u16 }),
            segmentation: (self.segments > 1)
                .then_some(Segmentation { kind, size: self.segment_size as u16 }),
        };
        let mut slices = [IoSlice::new(&[]); MAX_SEGMENTS + 1];
        const { assert!(MAX_SEGMENTS < MAX_SLICES) };
        slices[0] = IoSlice::new(headers);
        for (slice, &(at, len)) in slices[1..].iter_mut().zip(&self.pieces[..self.segments]) {
            *slice = IoSlice::new(&buffer[at as usize..][..len.into()]);
        }
        let segments = std::mem::take(&mut self.segments);
        u64::from(sink.write(offload, &slices[..=segments], segments).is_err())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::segment::Segments;
    use crate::testing::{self, Tcp, payload};

    /// Does with a superpacket what the kernel would: cuts it again.
    #[derive(Default)]
    struct Kernel {
        writes: usize,
        packets: Vec<Vec<u8>>,
    }

    impl PacketSink for Kernel {
        fn write(&mut self, offload: Offload, packet: &[IoSlice<'_>], segments: usize) -> io::Result<()> {
            self.writes += 1;
            let mut whole: Vec<u8> = packet.iter().flat_map(|slice| slice.iter().copied()).collect();
            assert!(whole.len() <= MAX_PACKET);
            let Ok(mut cut) = Segments::new(&mut whole, offload) else { panic!("{offload:?} does not fit") };
            assert_eq!(cut.remaining(), segments);
            while let Some(len) = cut.next_len() {
                let mut out = vec![0; len];
                cut.write_next(&mut out);
                self.packets.push(out);
            }
            Ok(())
        }
    }

    fn run(packets: &[Vec<u8>]) -> Kernel {
        let (mut coalescer, mut kernel) = (Coalescer::new(), Kernel::default());
        let (mut buffer, mut ranges) = (Vec::new(), Vec::new());
        for packet in packets {
            ranges.push(buffer.len() + 16..buffer.len() + 16 + packet.len());
            buffer.extend([0xee; 16]);
            buffer.extend(packet);
        }
        for range in ranges {
            assert_eq!(coalescer.push(&buffer, range, &mut kernel), 0);
        }
        assert_eq!(coalescer.finish(&buffer, &mut kernel), 0);
        kernel
    }

    /// A stream cut into segments of `size`, with the IPv4 identification counting as a sender's would.
    fn stream(template: &Tcp<'_>, len: usize, size: usize) -> Vec<Vec<u8>> {
        let body = payload(len);
        let mut packets = Vec::new();
        for (index, part) in body.chunks(size).enumerate() {
            let sequence = template.sequence.wrapping_add((index * size) as u32);
            let mut packet = testing::tcp(&Tcp { sequence, payload: part, ..*template });
            if template.family == Family::V4 {
                packet[4..6].copy_from_slice(&(0x1234 + index as u16).to_be_bytes());
                checksum::write_ipv4_header(&mut packet, 20);
            }
            packets.push(packet);
        }
        packets
    }

    #[test]
    fn a_stream_is_joined_and_comes_apart_as_it_was() {
        for family in [Family::V4, Family::V6] {
            let template = Tcp { family, sequence: u32::MAX - 5000, ..Tcp::default() };
            let packets = stream(&template, 20 * 1380 + 99, 1380);
            let kernel = run(&packets);
            assert_eq!(kernel.packets, packets);
            assert_eq!(kernel.writes, 1, "{family:?}");
        }
    }

    #[test]
    fn several_connections_are_joined_side_by_side() {
        let streams: Vec<_> = (0..RUNS as u16)
            .map(|n| {
                let family = if n % 2 == 0 { Family::V4 } else { Family::V6 };
                stream(&Tcp { family, source_port: 1000 + n, ..Tcp::default() }, 10 * 1000, 1000)
            })
            .collect();
        let interleaved: Vec<_> =
            (0..10).flat_map(|index| streams.iter().map(move |s| s[index].clone())).collect();
        let kernel = run(&interleaved);
        assert_eq!(kernel.writes, RUNS);
        assert_eq!(kernel.packets, streams.concat());
    }

    #[test]
    fn one_connection_too_many_ends_the_oldest_run_and_loses_nothing() {
        let streams: Vec<_> = (0..=RUNS as u16)
            .map(|n| stream(&Tcp { source_port: 1000 + n, ..Tcp::default() }, 3 * 1000, 1000))
            .collect();
        let interleaved: Vec<_> =
            (0..3).flat_map(|index| streams.iter().map(move |s| s[index].clone())).collect();
        let mut delivered = run(&interleaved).packets;
        delivered.sort();
        let mut expected = streams.concat();
        expected.sort();
        assert_eq!(delivered, expected);
    }

    #[test]
    fn what_segmentation_could_not_restore_is_not_joined() {
        let first = stream(&Tcp::default(), 2 * 1000, 1000);
        let variants: [(&str, Tcp<'_>); 6] = [
            ("acknowledgement", Tcp { acknowledgement: 78, ..Tcp::default() }),
            ("window", Tcp { window: 501, ..Tcp::default() }),
            ("options", Tcp { options: &[1, 1, 1, 1], ..Tcp::default() }),
            ("ECN echo", Tcp { flags: tcp::ACK | 0x40, ..Tcp::default() }),
            ("a gap", Tcp { sequence: 1_000_001, ..Tcp::default() }),
            ("FIN", Tcp { flags: tcp::ACK | tcp::FIN, ..Tcp::default() }),
        ];
        for (name, variant) in variants {
            let body = payload(1000);
            let next = testing::tcp(&Tcp { sequence: variant.sequence + 2000, payload: &body, ..variant });
            let packets = [first.clone(), vec![next]].concat();
            let kernel = run(&packets);
            assert_eq!((kernel.writes, &kernel.packets), (2, &packets), "{name}");
        }
        let mut other_ttl = stream(&Tcp::default(), 3 * 1000, 1000);
        other_ttl[2][8] = 9;
        checksum::write_ipv4_header(&mut other_ttl[2], 20);
        assert_eq!(run(&other_ttl).writes, 2);
    }

    #[test]
    fn a_segment_with_a_wrong_checksum_passes_alone_and_unchanged() {
        for corrupt in [11, 39, 300] {
            let mut packets = stream(&Tcp::default(), 3 * 1000, 1000);
            packets[1][corrupt] ^= 1;
            let kernel = run(&packets);
            assert_eq!((kernel.writes, &kernel.packets), (3, &packets));
        }
    }

    #[test]
    fn a_bare_acknowledgement_does_not_overtake_its_connections_data() {
        let mut packets = stream(&Tcp::default(), 2 * 1000, 1000);
        packets.push(testing::tcp(&Tcp { sequence: 1_002_000, ..Tcp::default() }));
        packets.push(testing::udp(Family::V4, b"datagram"));
        let kernel = run(&packets);
        assert_eq!((kernel.writes, &kernel.packets), (3, &packets));
    }

    #[test]
    fn a_push_ends_a_run() {
        let mut packets = stream(&Tcp { flags: tcp::ACK | tcp::PSH, ..Tcp::default() }, 1000, 1000);
        packets.extend(stream(&Tcp { sequence: 1_001_000, ..Tcp::default() }, 2000, 1000));
        assert_eq!(run(&packets).writes, 2);
    }

    #[test]
    fn fragments_and_anything_else_pass() {
        let mut fragment = stream(&Tcp::default(), 1000, 1000).remove(0);
        fragment[6] = 0x20;
        let packets =
            [fragment, testing::udp(Family::V6, b"x"), vec![0x45; 19], vec![], vec![0x60; 41], vec![9]];
        assert_eq!(run(&packets).packets, packets);
    }

    #[derive(Clone, Debug)]
    struct Step {
        connection: u16,
        family: Family,
        len: usize,
        push: bool,
        gap: bool,
        corrupt: bool,
    }

    prop_compose! {
        fn step()(connection in 0u16..12, v6: bool, len in prop::sample::select(vec![0usize, 1, 700, 700, 700, 900, 1400]),
                  push in prop::bool::weighted(0.1), gap in prop::bool::weighted(0.05), corrupt in prop::bool::weighted(0.05)) -> Step {
            Step { connection, family: if v6 { Family::V6 } else { Family::V4 }, len, push, gap, corrupt }
        }
    }

    proptest! {
        /// Whatever comes: every packet is delivered once and unchanged, in order within its connection.
        #[test]
        fn nothing_is_lost_changed_or_reordered_within_a_connection(steps in prop::collection::vec(step(), 1..200)) {
            let mut next: std::collections::BTreeMap<(u16, bool), (u32, u16)> = std::collections::BTreeMap::new();
            let mut packets = Vec::new();
            for step in &steps {
                let body = payload(step.len);
                let (sequence, id) = next.entry((step.connection, step.family == Family::V6)).or_insert((7, 1));
                let flags = if step.push { tcp::ACK | tcp::PSH } else { tcp::ACK };
                *sequence = sequence.wrapping_add(u32::from(step.gap));
                let mut packet = testing::tcp(&Tcp {
                    family: step.family, source_port: step.connection, sequence: *sequence, flags, payload: &body, ..Tcp::default()
                });
                *sequence = sequence.wrapping_add(step.len as u32);
                if step.family == Family::V4 {
                    // Identification is not restored where packets of DF connections do not count up by one.
                    packet[4..6].copy_from_slice(&id.to_be_bytes());
                    checksum::write_ipv4_header(&mut packet, 20);
                }
                if step.corrupt {
                    let last = packet.len() - 1;
                    packet[last] ^= 0x80;
                }
                packets.push(packet);
            }
            let delivered = run(&packets).packets;
            for connection in 0..12u16 {
                for family in [Family::V4, Family::V6] {
                    let of = |all: &[Vec<u8>]| -> Vec<Vec<u8>> {
                        all.iter().filter(|packet| {
                            let start = if family == Family::V4 { 20 } else { 40 };
                            Family::of(packet) == Some(family) && packet[start..start + 2] == connection.to_be_bytes()
                        }).map(|packet| {
                            let mut packet = packet.clone();
                            if family == Family::V4 {
                                packet[4..6].fill(0);
                                packet[10..12].fill(0);
                            }
                            packet
                        }).collect()
                    };
                    prop_assert_eq!(of(&delivered), of(&packets));
                }
            }
        }
    }
}
