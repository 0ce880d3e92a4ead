//! Cuts what the TUN device delivers into the packets that go into the tunnel.

use evenkeel_platform::tun::{Offload, SegmentKind};

use crate::checksum;
use crate::headers::{
    Family, IPV4_HEADER, IPV6_HEADER, Network, TCP, TCP_HEADER, TcpPacket, UDP, UDP_CHECKSUM, UDP_HEADER,
    read_u32, tcp, write_len,
};

/// The device delivered something that its own description does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Inconsistent;

/// The packets in one read from the device, in order: a superpacket's segments, or the packet itself.
pub(crate) struct Segments<'a> {
    packet: &'a [u8],
    cut: Option<Cut>,
    /// Payload bytes already written of a superpacket.
    done: usize,
    finished: bool,
}

/// How to cut, checked once.
struct Cut {
    network: Network,
    headers_len: usize,
    size: usize,
    transport: Transport,
}

#[derive(Clone, Copy)]
enum Transport {
    Tcp { sequence: u32, flags: u8 },
    Udp,
}

impl<'a> Segments<'a> {
    /// Checks the description against the packet, and finishes the checksum of one that is not to be cut.
    #[inline]
    pub(crate) fn new(packet: &'a mut [u8], offload: Offload) -> Result<Self, Inconsistent> {
        let cut = match offload.segmentation {
            Some(segmentation) => {
                let start = usize::from(offload.checksum.ok_or(Inconsistent)?.start);
                Some(Cut::new(packet, segmentation.kind, usize::from(segmentation.size), start)?)
            }
            None => {
                if let Some(partial) = offload.checksum
                    && !checksum::finish_partial(packet, partial.start.into(), partial.offset.into())
                {
                    return Err(Inconsistent);
                }
                None
            }
        };
        Ok(Self { packet, cut, done: 0, finished: false })
    }

    /// Length of the longest packet to come.
    #[inline]
    pub(crate) fn longest(&self) -> usize {
        match &self.cut {
            None => self.packet.len(),
            Some(cut) => cut.headers_len + cut.size.min(self.packet.len() - cut.headers_len),
        }
    }

    /// What the device delivered.
    pub(crate) fn whole(&self) -> &[u8] {
        self.packet
    }

    /// Makes no packet longer than `mtu` bytes, before the first is written: by cutting the TCP data of a superpacket
    /// finer, or of a single packet at all. `false`, and nothing changed, where that can't be done: it is no TCP data,
    /// or it is signed.
    pub(crate) fn shorten(&mut self, mtu: usize) -> bool {
        match &mut self.cut {
            Some(cut) => {
                let Some(size @ 1..) = mtu.checked_sub(cut.headers_len) else { return false };
                if !matches!(cut.transport, Transport::Tcp { .. }) {
                    return false;
                }
                cut.size = cut.size.min(size);
                true
            }
            None => {
                self.cut = Cut::of_segment(self.packet, mtu);
                self.cut.is_some()
            }
        }
    }

    /// Length of the next packet.
    #[inline]
    pub(crate) fn next_len(&self) -> Option<usize> {
        if self.finished {
            return None;
        }
        Some(match &self.cut {
            None => self.packet.len(),
            Some(cut) => cut.headers_len + cut.size.min(self.packet.len() - cut.headers_len - self.done),
        })
    }

    /// Writes the next packet, with right lengths and checksums, into exactly as many bytes as it has.
    #[inline]
    pub(crate) fn write_next(&mut self, out: &mut [u8]) {
        let Some(cut) = &self.cut else {
            out.copy_from_slice(self.packet);
            self.finished = true;
            return;
        };
        let payload = out.len() - cut.headers_len;
        let start = cut.headers_len + self.done;
        let (headers, body) = out.split_at_mut(cut.headers_len);
        headers.copy_from_slice(&self.packet[..cut.headers_len]);
        body.copy_from_slice(&self.packet[start..start + payload]);
        self.finished = start + payload == self.packet.len();
        cut.fix_headers(out, self.done, self.finished);
        self.done += payload;
    }

    /// How many packets are still to come.
    pub(crate) fn remaining(&self) -> usize {
        match &self.cut {
            None => usize::from(!self.finished),
            Some(cut) => (self.packet.len() - cut.headers_len - self.done).div_ceil(cut.size),
        }
    }
}

impl Cut {
    fn new(packet: &[u8], kind: SegmentKind, size: usize, start: usize) -> Result<Self, Inconsistent> {
        let family = Family::of(packet).ok_or(Inconsistent)?;
        let header_fits = match family {
            Family::V4 => start >= IPV4_HEADER && start == usize::from(packet[0] & 0x0f) * 4,
            // Extension headers go with every segment.
            Family::V6 => start >= IPV6_HEADER,
        };
        let kind_fits = match kind {
            SegmentKind::TcpV4 => family == Family::V4,
            SegmentKind::TcpV6 => family == Family::V6,
            SegmentKind::Udp => true,
        };
        if !header_fits || !kind_fits || size == 0 {
            return Err(Inconsistent);
        }
        let (transport_len, transport) = match kind {
            SegmentKind::TcpV4 | SegmentKind::TcpV6 => {
                let header = packet
                    .get(start..)
                    .and_then(|tail| tail.first_chunk::<TCP_HEADER>())
                    .ok_or(Inconsistent)?;
                let len = usize::from(header[tcp::DATA_OFFSET] >> 4) * 4;
                let transport =
                    Transport::Tcp { sequence: read_u32(header, tcp::SEQUENCE), flags: header[tcp::FLAGS] };
                (len.max(TCP_HEADER), transport)
            }
            SegmentKind::Udp => (UDP_HEADER, Transport::Udp),
        };
        let headers_len = start + transport_len;
        if headers_len >= packet.len() {
            return Err(Inconsistent);
        }
        Ok(Self { network: Network { family, header_len: start }, headers_len, size, transport })
    }

    /// Of a single TCP segment, into packets of at most `mtu` bytes.
    fn of_segment(packet: &[u8], mtu: usize) -> Option<Self> {
        let parsed = TcpPacket::parse(packet)?;
        let (start, headers_len) = (parsed.network.header_len, parsed.headers_len);
        let header = packet.get(start..headers_len)?;
        let flags = parsed.flags(packet);
        // A SYN's options are agreed on with it, an urgent pointer counts from its own segment.
        let plain = flags & (tcp::SYN | tcp::RST | tcp::URG) == 0;
        let size = mtu.checked_sub(headers_len).filter(|size| *size > 0)?;
        let cuttable = plain && headers_len < packet.len() && !is_signed(header.get(TCP_HEADER..)?);
        cuttable.then(|| Self {
            network: parsed.network,
            headers_len,
            size,
            transport: Transport::Tcp { sequence: read_u32(header, tcp::SEQUENCE), flags },
        })
    }

    /// Makes copied headers those of the segment whose payload begins at `done` of the superpacket's.
    #[inline]
    fn fix_headers(&self, segment: &mut [u8], done: usize, last: bool) {
        let (len, start) = (segment.len(), self.network.header_len);
        match self.network.family {
            Family::V4 => {
                write_len(segment, 2, len);
                let first_id = u16::from_be_bytes([segment[4], segment[5]]);
                let id = first_id.wrapping_add((done / self.size) as u16);
                segment[4..6].copy_from_slice(&id.to_be_bytes());
                checksum::write_ipv4_header(segment, start);
            }
            Family::V6 => write_len(segment, 4, len - IPV6_HEADER),
        }
        match self.transport {
            Transport::Tcp { sequence, flags } => {
                let sequence = sequence.wrapping_add(done as u32);
                segment[start + tcp::SEQUENCE..][..4].copy_from_slice(&sequence.to_be_bytes());
                // FIN and PSH belong to the last byte; CWR answers once (RFC 3168 §6.1.2).
                let mut kept = flags;
                if !last {
                    kept &= !(tcp::FIN | tcp::PSH);
                }
                if done > 0 {
                    kept &= !tcp::CWR;
                }
                segment[start + tcp::FLAGS] = kept;
                checksum::write_transport(segment, self.network, TCP, tcp::CHECKSUM);
            }
            Transport::Udp => {
                write_len(segment, start + 4, len - start);
                checksum::write_transport(segment, self.network, UDP, UDP_CHECKSUM);
            }
        }
    }
}

/// Do a segment's TCP options vouch for the segment as it is? (TCP-AO, RFC 5925; the MD5 signature, RFC 2385.)
fn is_signed(mut options: &[u8]) -> bool {
    const MD5: u8 = 19;
    const AO: u8 = 29;
    loop {
        options = match *options {
            [] | [0, ..] => return false,
            [1, ref rest @ ..] => rest,
            [MD5 | AO, ..] => return true,
            [_, len, ..] if len >= 2 => options.get(usize::from(len)..).unwrap_or_default(),
            // Not to be understood, so not to be touched.
            [_, ..] => return true,
        };
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    use evenkeel_platform::tun::{PartialChecksum, Segmentation};

    use super::*;
    use crate::testing::{self, Tcp, payload};

    fn tcp_offload(family: Family, size: u16) -> Offload {
        let (kind, start) = match family {
            Family::V4 => (SegmentKind::TcpV4, 20),
            Family::V6 => (SegmentKind::TcpV6, 40),
        };
        Offload {
            checksum: Some(PartialChecksum { start, offset: 16 }),
            segmentation: Some(Segmentation { kind, size }),
        }
    }

    fn cut(packet: &mut [u8], offload: Offload) -> Result<Vec<Vec<u8>>, Inconsistent> {
        let mut segments = Segments::new(packet, offload)?;
        let mut packets = Vec::new();
        let expected = segments.remaining();
        while let Some(len) = segments.next_len() {
            let mut out = vec![0xee; len];
            segments.write_next(&mut out);
            packets.push(out);
        }
        assert_eq!((packets.len(), segments.remaining()), (expected, 0));
        Ok(packets)
    }

    /// What an independent parser reads: lengths and checksums are verified by it.
    fn read_tcp(packet: &[u8]) -> (u32, u8, Vec<u8>) {
        let sliced = SlicedPacket::from_ip(packet).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
        let checksum = match sliced.net.unwrap() {
            NetSlice::Ipv4(ip) => {
                assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
                assert_eq!(usize::from(ip.header().total_len()), packet.len());
                tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).unwrap()
            }
            NetSlice::Ipv6(ip) => {
                assert_eq!(usize::from(ip.header().payload_length()) + 40, packet.len());
                tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).unwrap()
            }
            NetSlice::Arp(_) => panic!("ARP"),
        };
        assert_eq!(tcp.checksum(), checksum);
        (
            tcp.sequence_number(),
            packet[packet.len() - tcp.payload().len() - tcp.header_len()..][tcp::FLAGS],
            tcp.payload().to_vec(),
        )
    }

    #[test]
    fn a_tcp_superpacket_becomes_the_segments_that_its_sender_meant() {
        for family in [Family::V4, Family::V6] {
            let body = payload(10 * 1380 + 333);
            let flags = tcp::ACK | tcp::PSH | tcp::FIN | tcp::CWR;
            let mut packet = testing::tcp(&Tcp {
                family,
                sequence: u32::MAX - 3000,
                flags,
                options: &[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8],
                payload: &body,
                ..Tcp::default()
            });
            let segments = cut(&mut packet, tcp_offload(family, 1380)).unwrap();
            assert_eq!(segments.len(), 11);
            let mut joined = Vec::new();
            for (index, segment) in segments.iter().enumerate() {
                let (sequence, segment_flags, part) = read_tcp(segment);
                assert_eq!(sequence, (u32::MAX - 3000).wrapping_add(joined.len() as u32));
                assert_eq!(segment_flags & (tcp::PSH | tcp::FIN) != 0, index == 10);
                assert_eq!(segment_flags & tcp::CWR != 0, index == 0);
                if family == Family::V4 {
                    assert_eq!(segment[4..6], (0x1234 + index as u16).to_be_bytes());
                }
                joined.extend(part);
            }
            assert_eq!(joined, body);
        }
    }

    fn shortened(packet: &mut [u8], offload: Offload, mtu: usize) -> Option<Vec<Vec<u8>>> {
        let mut segments = Segments::new(packet, offload).unwrap();
        if !segments.shorten(mtu) {
            return None;
        }
        assert!(segments.longest() <= mtu);
        let (mut packets, expected) = (Vec::new(), segments.remaining());
        while let Some(len) = segments.next_len() {
            let mut out = vec![0xee; len];
            segments.write_next(&mut out);
            packets.push(out);
        }
        assert_eq!(packets.len(), expected);
        Some(packets)
    }

    #[test]
    fn tcp_data_is_cut_to_a_smaller_mtu_whether_it_came_as_a_superpacket_or_not() {
        for family in [Family::V4, Family::V6] {
            for (len, offload) in [(9000, tcp_offload(family, 1380)), (1340, Offload::default())] {
                let body = payload(len);
                let whole = testing::tcp(&Tcp {
                    family,
                    flags: tcp::ACK | tcp::PSH | tcp::FIN,
                    options: &[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8],
                    payload: &body,
                    ..Tcp::default()
                });
                for mtu in [600, 1000, 1279] {
                    let segments = shortened(&mut whole.clone(), offload, mtu).unwrap();
                    let mut joined = Vec::new();
                    for (index, segment) in segments.iter().enumerate() {
                        assert!(
                            segment.len() <= mtu && (segment.len() == mtu || index + 1 == segments.len())
                        );
                        let (sequence, flags, part) = read_tcp(segment);
                        assert_eq!(sequence, 1_000_000 + joined.len() as u32);
                        assert_eq!(flags & (tcp::PSH | tcp::FIN) != 0, index + 1 == segments.len());
                        joined.extend(part);
                    }
                    assert_eq!(joined, body);
                }
                // A greater MTU changes nothing.
                let cut_anyway = cut(&mut whole.clone(), offload).unwrap();
                assert_eq!(shortened(&mut whole.clone(), offload, 9100).unwrap(), cut_anyway);
            }
        }
    }

    #[test]
    fn what_is_no_plain_tcp_data_is_not_cut() {
        let body = payload(1300);
        let with = |flags, options: &'static [u8]| {
            testing::tcp(&Tcp { flags, options, payload: &body, ..Tcp::default() })
        };
        let mut fragment = with(tcp::ACK, &[]);
        fragment[6] = 0x20;
        for (name, mut packet) in [
            ("a SYN with data", with(tcp::SYN, &[])),
            ("a reset", with(tcp::RST, &[])),
            ("urgent data", with(tcp::ACK | tcp::URG, &[])),
            ("signed by TCP-AO", with(tcp::ACK, &[1, 1, 1, 29, 8, 0, 0, 0, 0, 0, 0, 0])),
            ("signed by MD5", with(tcp::ACK, &[19, 4, 0, 0])),
            ("options nobody understands", with(tcp::ACK, &[30, 0, 0, 0])),
            ("UDP", testing::udp(Family::V4, &body)),
            ("a fragment", fragment),
            ("not IP", vec![7; 1300]),
        ] {
            assert_eq!(shortened(&mut packet, Offload::default(), 1000), None, "{name}");
        }
        let mut train = testing::udp(Family::V4, &payload(3600));
        let offload = Offload {
            checksum: Some(PartialChecksum { start: 20, offset: 6 }),
            segmentation: Some(Segmentation { kind: SegmentKind::Udp, size: 1200 }),
        };
        assert_eq!(shortened(&mut train, offload, 1000), None, "a UDP train");
        let mut no_room = with(tcp::ACK, &[]);
        assert_eq!(shortened(&mut no_room, Offload::default(), 40), None, "an MTU of headers only");
    }

    #[test]
    fn a_udp_train_becomes_datagrams() {
        for (family, start) in [(Family::V4, 20), (Family::V6, 40)] {
            let body = payload(3 * 1200 + 7);
            let mut packet = testing::udp(family, &body);
            let offload = Offload {
                checksum: Some(PartialChecksum { start, offset: 6 }),
                segmentation: Some(Segmentation { kind: SegmentKind::Udp, size: 1200 }),
            };
            let datagrams = cut(&mut packet, offload).unwrap();
            let mut joined = Vec::new();
            for datagram in &datagrams {
                let sliced = SlicedPacket::from_ip(datagram).unwrap();
                let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!("no UDP") };
                assert_eq!(usize::from(udp.length()), udp.payload().len() + 8);
                let network = Network { family, header_len: start.into() };
                assert!(checksum::transport_is_valid(datagram, network, UDP));
                joined.extend_from_slice(udp.payload());
            }
            assert_eq!((datagrams.len(), joined), (4, body));
        }
    }

    #[test]
    fn an_uncut_packet_gets_its_checksum_finished() {
        for (family, start) in [(Family::V4, 20u16), (Family::V6, 40)] {
            let whole = testing::tcp(&Tcp { family, payload: &payload(99), ..Tcp::default() });
            let network = Network { family, header_len: start.into() };
            let mut packet = whole.clone();
            let field = usize::from(start) + tcp::CHECKSUM;
            let transport_len = packet.len() - usize::from(start);
            let pseudo = checksum::fold(checksum::pseudo_header(&packet, network, TCP, transport_len));
            packet[field..field + 2].copy_from_slice(&pseudo.to_ne_bytes());
            let partial =
                Offload { checksum: Some(PartialChecksum { start, offset: 16 }), segmentation: None };
            assert_eq!(cut(&mut packet, partial).unwrap(), [whole]);
        }
    }

    #[test]
    fn a_plain_packet_passes_unchanged_whatever_it_is() {
        let mut packet = vec![7; 50];
        assert_eq!(cut(&mut packet.clone(), Offload::default()).unwrap(), [packet.clone()]);
        packet.clear();
        assert_eq!(cut(&mut packet, Offload::default()).unwrap(), [packet.clone()]);
    }

    #[test]
    fn a_description_that_does_not_fit_is_refused() {
        let v4 = testing::tcp(&Tcp { payload: &payload(3000), ..Tcp::default() });
        let v6 = testing::tcp(&Tcp { family: Family::V6, payload: &payload(3000), ..Tcp::default() });
        let good = tcp_offload(Family::V4, 1000);
        let with = |start, size, kind| Offload {
            checksum: Some(PartialChecksum { start, offset: 16 }),
            segmentation: Some(Segmentation { kind, size }),
        };
        let cases = [
            ("not IP", vec![0; 60], good),
            ("empty", vec![], good),
            ("other family", v6.clone(), good),
            ("no payload", v4[..40].to_vec(), good),
            ("cut in the header", v4[..35].to_vec(), good),
            ("transport inside the IP header", v4.clone(), with(16, 1000, SegmentKind::TcpV4)),
            ("transport behind the end", v4.clone(), with(60_000, 1000, SegmentKind::Udp)),
            ("transport elsewhere", v6, with(8, 1000, SegmentKind::TcpV6)),
            ("no size", v4.clone(), with(20, 0, SegmentKind::TcpV4)),
            ("no checksum", v4.clone(), Offload { checksum: None, ..good }),
            (
                "checksum behind the end",
                v4.clone(),
                Offload {
                    checksum: Some(PartialChecksum { start: 3000, offset: 60_000 }),
                    segmentation: None,
                },
            ),
        ];
        for (name, mut packet, offload) in cases {
            assert_eq!(cut(&mut packet, offload).err(), Some(Inconsistent), "{name}");
        }
    }
}
