//! Packets for tests.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::checksum;
use crate::headers::{
    Family, IPV4_HEADER, IPV6_HEADER, Network, TCP, TCP_HEADER, UDP, UDP_CHECKSUM, UDP_HEADER, tcp,
};

/// A TCP segment; what a test does not care about has a default.
pub(crate) struct Tcp<'a> {
    pub(crate) family: Family,
    pub(crate) source_port: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) options: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl Default for Tcp<'_> {
    fn default() -> Self {
        Self {
            family: Family::V4,
            source_port: 40_000,
            sequence: 1_000_000,
            acknowledgement: 77,
            flags: tcp::ACK,
            window: 500,
            options: &[],
            payload: &[],
        }
    }
}

/// The whole packet with right checksums. `options` must be padded to four bytes.
pub(crate) fn tcp(segment: &Tcp<'_>) -> Vec<u8> {
    assert_eq!(segment.options.len() % 4, 0, "TCP options come in words");
    let header_len = TCP_HEADER + segment.options.len();
    let mut header = vec![0; TCP_HEADER];
    header[..2].copy_from_slice(&segment.source_port.to_be_bytes());
    header[2..4].copy_from_slice(&443u16.to_be_bytes());
    header[tcp::SEQUENCE..][..4].copy_from_slice(&segment.sequence.to_be_bytes());
    header[tcp::ACKNOWLEDGEMENT..][..4].copy_from_slice(&segment.acknowledgement.to_be_bytes());
    header[tcp::DATA_OFFSET] = (header_len as u8 / 4) << 4;
    header[tcp::FLAGS] = segment.flags;
    header[tcp::WINDOW..][..2].copy_from_slice(&segment.window.to_be_bytes());
    packet(segment.family, TCP, tcp::CHECKSUM, &[&header, segment.options, segment.payload].concat())
}

/// A UDP datagram with right checksums.
pub(crate) fn udp(family: Family, payload: &[u8]) -> Vec<u8> {
    let len = (UDP_HEADER + payload.len()) as u16;
    let header = [&4000u16.to_be_bytes()[..], &53u16.to_be_bytes(), &len.to_be_bytes(), &[0; 2]].concat();
    packet(family, UDP, UDP_CHECKSUM, &[&header, payload].concat())
}

fn packet(family: Family, protocol: u8, checksum_offset: usize, transport: &[u8]) -> Vec<u8> {
    let mut packet = match family {
        Family::V4 => {
            let mut header = vec![0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0];
            header[2..4].copy_from_slice(&((IPV4_HEADER + transport.len()) as u16).to_be_bytes());
            header.extend(Ipv4Addr::new(10, 0, 0, 2).octets());
            header.extend(Ipv4Addr::new(10, 10, 0, 1).octets());
            checksum::write_ipv4_header(&mut header, IPV4_HEADER);
            header
        }
        Family::V6 => {
            let mut header = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
            header[4..6].copy_from_slice(&(transport.len() as u16).to_be_bytes());
            header.extend(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).octets());
            header.extend(Ipv6Addr::new(0xfd10, 0, 0, 0, 0, 0, 0, 1).octets());
            header
        }
    };
    let header_len = match family {
        Family::V4 => IPV4_HEADER,
        Family::V6 => IPV6_HEADER,
    };
    packet.extend_from_slice(transport);
    checksum::write_transport(&mut packet, Network { family, header_len }, protocol, checksum_offset);
    packet
}

/// A payload in which no byte can be mistaken for its neighbour's.
pub(crate) fn payload(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}
