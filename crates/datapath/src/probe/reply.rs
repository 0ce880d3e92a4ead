//! Reads the answers to probes.

use std::net::{IpAddr, SocketAddr};

use super::Cookie;
use super::watch::{Side, address, upper_layer};
use crate::headers::{Family, ICMP, ICMPV6, IPV6_HEADER, TCP, TCP_HEADER, UDP, UDP_HEADER, read_u32, tcp};

/// An answer to a probe, from the packet of a [`PlaneEvent::ProbeReply`](crate::PlaneEvent::ProbeReply). Its content is
/// what whoever answered wrote: compare cookie, identifiers and sequence numbers with what was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// An echo reply.
    Echo {
        /// Who answered.
        from: IpAddr,
        /// As in the request.
        identifier: u16,
        /// As in the request.
        sequence: u16,
        /// As in the request.
        cookie: Cookie,
    },
    /// A datagram.
    Udp {
        /// Who answered.
        from: SocketAddr,
        /// Our port.
        port: u16,
        /// The first two bytes of the datagram, where DNS has the query's ID.
        dns_id: Option<u16>,
    },
    /// Nobody listens at a UDP port, or the way there ends: an answer all the same, to a datagram that came through.
    Unreachable {
        /// Where the datagram had been sent.
        of: SocketAddr,
        /// Our port.
        port: u16,
        /// The first two bytes of the datagram, if as much of it is quoted.
        dns_id: Option<u16>,
    },
    /// A segment.
    Tcp {
        /// The other end.
        from: SocketAddr,
        /// Our port.
        port: u16,
        /// Its sequence number.
        sequence: u32,
        /// Its acknowledgement number, meaningless without ACK.
        acknowledgement: u32,
        /// FIN 1, SYN 2, RST 4, PSH 8, ACK 16 (RFC 9293 §3.1).
        flags: u8,
        /// How many bytes of data it carries, by its IP header.
        payload_len: u16,
    },
}

impl Reply {
    /// Reads the beginning of an inner packet; `None` if it is nothing that a [`WatchSet`](super::WatchSet) asks for.
    #[must_use]
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let (protocol, header_len) = upper_layer(packet)?;
        let payload = packet.get(header_len..)?;
        let from = address(packet, Side::Source)?;
        match (protocol, payload) {
            (ICMP, [0, _, rest @ ..]) | (ICMPV6, [129, _, rest @ ..]) => {
                let &[_, _, i0, i1, s0, s1] = rest.first_chunk::<6>()?;
                Some(Self::Echo {
                    from,
                    identifier: u16::from_be_bytes([i0, i1]),
                    sequence: u16::from_be_bytes([s0, s1]),
                    cookie: Cookie(*payload.get(8..)?.first_chunk()?),
                })
            }
            (ICMP, [3, ..]) | (ICMPV6, [1, ..]) => {
                let quoted = payload.get(8..)?;
                let (UDP, header_len) = upper_layer(quoted)? else { return None };
                let datagram = quoted.get(header_len..)?;
                let (port, their_port) = ports(datagram)?;
                let of = SocketAddr::new(address(quoted, Side::Destination)?, their_port);
                Some(Self::Unreachable { of, port, dns_id: dns_id(datagram) })
            }
            (UDP, _) => {
                let (their_port, port) = ports(payload)?;
                Some(Self::Udp { from: SocketAddr::new(from, their_port), port, dns_id: dns_id(payload) })
            }
            (TCP, _) => {
                let (their_port, port) = ports(payload)?;
                let header = payload.first_chunk::<TCP_HEADER>()?;
                let tcp_len = usize::from(header[tcp::DATA_OFFSET] >> 4) * 4;
                let payload_len = total_len(packet)?.checked_sub(header_len + tcp_len)?;
                Some(Self::Tcp {
                    from: SocketAddr::new(from, their_port),
                    port,
                    sequence: read_u32(header, tcp::SEQUENCE),
                    acknowledgement: read_u32(header, tcp::ACKNOWLEDGEMENT),
                    flags: header[tcp::FLAGS],
                    payload_len: u16::try_from(payload_len).ok()?,
                })
            }
            _ => None,
        }
    }
}

/// Source and destination port of a TCP or UDP header.
fn ports(header: &[u8]) -> Option<(u16, u16)> {
    let &[s0, s1, d0, d1] = header.first_chunk::<4>()?;
    Some((u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])))
}

fn dns_id(datagram: &[u8]) -> Option<u16> {
    datagram.get(UDP_HEADER..)?.first_chunk().map(|id| u16::from_be_bytes(*id))
}

/// Length of the whole packet, of which not all may be here.
fn total_len(packet: &[u8]) -> Option<usize> {
    let field =
        |at: usize| packet.get(at..).and_then(|tail| tail.first_chunk()).map(|len| u16::from_be_bytes(*len));
    match Family::of(packet)? {
        Family::V4 => field(2).map(usize::from),
        Family::V6 => field(4).map(|len| usize::from(len) + IPV6_HEADER),
    }
}
