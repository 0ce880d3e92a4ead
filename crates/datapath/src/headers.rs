//! Where things are in an IP packet that is edited in place.

use std::ops::Range;

/// IP protocol number of ICMP.
pub(crate) const ICMP: u8 = 1;
/// IP protocol number of TCP.
pub(crate) const TCP: u8 = 6;
/// IP protocol number of UDP.
pub(crate) const UDP: u8 = 17;
/// IP protocol number of ICMPv6.
pub(crate) const ICMPV6: u8 = 58;

/// Shortest TCP header.
pub(crate) const TCP_HEADER: usize = 20;
/// Longest TCP header: what its four-bit data offset can say.
pub(crate) const TCP_HEADER_MAX: usize = 60;
/// UDP header.
pub(crate) const UDP_HEADER: usize = 8;
/// IPv4 header without options.
pub(crate) const IPV4_HEADER: usize = 20;
/// IPv6 header without extensions.
pub(crate) const IPV6_HEADER: usize = 40;

/// Offsets in the TCP header.
pub(crate) mod tcp {
    pub(crate) const SEQUENCE: usize = 4;
    pub(crate) const ACKNOWLEDGEMENT: usize = 8;
    pub(crate) const DATA_OFFSET: usize = 12;
    pub(crate) const FLAGS: usize = 13;
    pub(crate) const WINDOW: usize = 14;
    pub(crate) const CHECKSUM: usize = 16;

    pub(crate) const FIN: u8 = 0x01;
    pub(crate) const SYN: u8 = 0x02;
    pub(crate) const RST: u8 = 0x04;
    pub(crate) const PSH: u8 = 0x08;
    pub(crate) const ACK: u8 = 0x10;
    pub(crate) const URG: u8 = 0x20;
    pub(crate) const CWR: u8 = 0x80;
}

/// Offset of the checksum in the UDP header.
pub(crate) const UDP_CHECKSUM: usize = 6;

/// The IP version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// Of a packet that may be anything.
    #[inline]
    pub(crate) fn of(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Some(Self::V4),
            6 => Some(Self::V6),
            _ => None,
        }
    }

    /// Source and destination, next to each other in the header.
    #[inline]
    pub(crate) const fn addresses(self) -> Range<usize> {
        match self {
            Self::V4 => 12..20,
            Self::V6 => 8..40,
        }
    }
}

/// A packet's IP version, and where its transport header begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Network {
    pub(crate) family: Family,
    pub(crate) header_len: usize,
}

/// A packet with a whole TCP header right behind an IP header without options, extensions or fragmentation:
/// all that is ever clamped or coalesced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TcpPacket {
    pub(crate) network: Network,
    /// From the start of the packet to its payload.
    pub(crate) headers_len: usize,
}

impl TcpPacket {
    #[inline]
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let network = match Family::of(packet)? {
            Family::V4 => {
                let header = packet.first_chunk::<IPV4_HEADER>()?;
                // 0x3fff: more fragments, and the fragment offset.
                let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
                if header[0] != 0x45 || header[9] != TCP || fragment != 0 {
                    return None;
                }
                Network { family: Family::V4, header_len: IPV4_HEADER }
            }
            Family::V6 => {
                if packet.first_chunk::<IPV6_HEADER>()?[6] != TCP {
                    return None;
                }
                Network { family: Family::V6, header_len: IPV6_HEADER }
            }
        };
        let tcp = packet[network.header_len..].first_chunk::<TCP_HEADER>()?;
        let tcp_header = usize::from(tcp[tcp::DATA_OFFSET] >> 4) * 4;
        let headers_len = network.header_len + tcp_header;
        (tcp_header >= TCP_HEADER && headers_len <= packet.len()).then_some(Self { network, headers_len })
    }

    /// The TCP flags (without NS).
    #[inline]
    pub(crate) fn flags(self, packet: &[u8]) -> u8 {
        packet[self.network.header_len + tcp::FLAGS]
    }
}

/// A big-endian 32-bit field of a packet known to hold it.
#[inline]
pub(crate) fn read_u32(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}

/// Stores a length, which is below 2^16 for everything that came from a packet.
#[inline]
pub(crate) fn write_len(packet: &mut [u8], at: usize, len: usize) {
    packet[at..at + 2].copy_from_slice(&(len as u16).to_be_bytes());
}
