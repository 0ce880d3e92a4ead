//! The inner packet: the little of its headers that decides whether an SA may carry it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{NEXT_HEADER_IPV4, NEXT_HEADER_IPV6};

const IPV4_MIN_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// Addresses as integers, so that a range check is two comparisons.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Addresses {
    V4 { source: u32, destination: u32 },
    V6 { source: u128, destination: u128 },
}

impl Addresses {
    pub(super) fn source(self) -> IpAddr {
        match self {
            Self::V4 { source, .. } => Ipv4Addr::from_bits(source).into(),
            Self::V6 { source, .. } => Ipv6Addr::from_bits(source).into(),
        }
    }

    pub(super) fn destination(self) -> IpAddr {
        match self {
            Self::V4 { destination, .. } => Ipv4Addr::from_bits(destination).into(),
            Self::V6 { destination, .. } => Ipv6Addr::from_bits(destination).into(),
        }
    }

    /// The ESP Next Header value for a packet of this family.
    pub(super) const fn next_header(self) -> u8 {
        match self {
            Self::V4 { .. } => NEXT_HEADER_IPV4,
            Self::V6 { .. } => NEXT_HEADER_IPV6,
        }
    }
}

/// A view of one inner packet, cut to the length that its own header gives; what follows is TFC padding
/// (RFC 4303 §2.7).
#[derive(Clone, Copy)]
pub(super) struct Inner<'a> {
    pub(super) addresses: Addresses,
    packet: &'a [u8],
    header_len: usize,
}

impl<'a> Inner<'a> {
    /// `None` for anything but a whole IPv4 or IPv6 packet, perhaps with bytes behind it.
    #[inline]
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => {
                let header = bytes.first_chunk::<IPV4_MIN_HEADER>()?;
                let header_len = usize::from(header[0] & 0x0f) * 4;
                let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
                if header_len < IPV4_MIN_HEADER || total < header_len {
                    return None;
                }
                let addresses = Addresses::V4 {
                    source: u32::from_be_bytes(*header[12..].first_chunk()?),
                    destination: u32::from_be_bytes(*header[16..].first_chunk()?),
                };
                Some(Self { addresses, packet: bytes.get(..total)?, header_len })
            }
            6 => {
                let header = bytes.first_chunk::<IPV6_HEADER>()?;
                let total = IPV6_HEADER + usize::from(u16::from_be_bytes([header[4], header[5]]));
                let addresses = Addresses::V6 {
                    source: u128::from_be_bytes(*header[8..].first_chunk()?),
                    destination: u128::from_be_bytes(*header[24..].first_chunk()?),
                };
                Some(Self { addresses, packet: bytes.get(..total)?, header_len: IPV6_HEADER })
            }
            _ => None,
        }
    }

    /// Length of the packet without what follows it.
    pub(super) const fn len(&self) -> usize {
        self.packet.len()
    }

    /// What selectors that name protocols or ports look at.
    pub(super) fn upper_layer(&self) -> UpperLayer {
        match self.addresses {
            Addresses::V4 { .. } => self.upper_layer_v4(),
            Addresses::V6 { .. } => self.upper_layer_v6(),
        }
    }

    fn upper_layer_v4(&self) -> UpperLayer {
        let protocol = self.packet[9];
        let fragment_offset = u16::from_be_bytes([self.packet[6], self.packet[7]]) & 0x1fff;
        if fragment_offset != 0 {
            return UpperLayer { protocol, ports: None };
        }
        UpperLayer::read(protocol, &self.packet[self.header_len..])
    }

    fn upper_layer_v6(&self) -> UpperLayer {
        let mut protocol = self.packet[6];
        let mut rest = &self.packet[self.header_len..];
        // Each extension header consumes at least eight bytes, so this ends (RFC 8200 §4).
        loop {
            let Some(&[next, length, high, low, ..]) = rest.first_chunk::<8>() else {
                return UpperLayer::read(protocol, rest);
            };
            let header_len = match protocol {
                0 | 43 | 60 => (usize::from(length) + 1) * 8,
                51 => (usize::from(length) + 2) * 4,
                44 if u16::from_be_bytes([high, low]) & !7 != 0 => {
                    return UpperLayer { protocol: next, ports: None };
                }
                44 => 8,
                _ => return UpperLayer::read(protocol, rest),
            };
            protocol = next;
            rest = rest.get(header_len..).unwrap_or_default();
        }
    }
}

/// Protocol and ports of an inner packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct UpperLayer {
    pub(super) protocol: u8,
    /// Source and destination port, or ICMP type and code twice. `None` where the packet does not show them:
    /// a later fragment, a protocol without ports (RFC 4301 §4.4.1.1, OPAQUE).
    pub(super) ports: Option<(u16, u16)>,
}

impl UpperLayer {
    fn read(protocol: u8, payload: &[u8]) -> Self {
        let ports = match (protocol, payload) {
            // RFC 7296 §3.13.1: type in the upper half, code in the lower.
            (1 | 58, &[kind, code, ..]) => {
                let both = u16::from_be_bytes([kind, code]);
                Some((both, both))
            }
            // TCP, UDP, DCCP, SCTP, UDP-Lite
            (6 | 17 | 33 | 132 | 136, &[a, b, c, d, ..]) => {
                Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
            }
            _ => None,
        };
        Self { protocol, ports }
    }
}
