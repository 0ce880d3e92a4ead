//! Which inbound packets are answers to our probes.

use std::net::{IpAddr, SocketAddr};

use super::Cookie;
use crate::headers::{Family, ICMP, ICMPV6, IPV4_HEADER, IPV6_HEADER, TCP, UDP};

/// The most watches in a set. Every packet of a watched protocol is compared with all of them.
pub const MAX_WATCHES: usize = 16;

/// How much of an answer the control plane gets: all headers that an answer can have.
pub(crate) const MAX_REPLY: usize = 256;

/// ICMP message types (RFC 792, RFC 4443).
const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const ECHO_REPLY_V6: u8 = 129;
const UNREACHABLE_V6: u8 = 1;

/// An answer that may come. What matches goes to the control plane and not to the TUN device; choose identifier and
/// ports that no program of this machine uses, or its packets are lost to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watch {
    /// Echo replies.
    Echo {
        /// Who was asked.
        from: IpAddr,
        /// The requests' identifier.
        identifier: u16,
        /// Their cookie: replies to somebody's `ping` that happens to use the same identifier stay its own.
        cookie: Cookie,
    },
    /// Datagrams to our port, and ICMP messages saying that ours found nobody there.
    Udp {
        /// Who was asked.
        from: SocketAddr,
        /// Our port.
        port: u16,
    },
    /// Segments to our port.
    Tcp {
        /// The other end.
        from: SocketAddr,
        /// Our port.
        port: u16,
    },
}

/// A set with more than [`MAX_WATCHES`] watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("more than {MAX_WATCHES} watches")]
pub struct TooManyWatches;

/// All answers that may come; the empty set ends the watching.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct WatchSet {
    echo: Vec<(IpAddr, u16, Cookie)>,
    udp: Vec<(SocketAddr, u16)>,
    tcp: Vec<(SocketAddr, u16)>,
    active: bool,
}

impl WatchSet {
    /// A set of these.
    ///
    /// # Errors
    /// When there are more than [`MAX_WATCHES`].
    pub fn new(watches: impl IntoIterator<Item = Watch>) -> Result<Self, TooManyWatches> {
        let mut set = Self::default();
        for (index, watch) in watches.into_iter().enumerate() {
            if index == MAX_WATCHES {
                return Err(TooManyWatches);
            }
            set.active = true;
            match watch {
                Watch::Echo { from, identifier, cookie } => set.echo.push((from, identifier, cookie)),
                Watch::Udp { from, port } => set.udp.push((from, port)),
                Watch::Tcp { from, port } => set.tcp.push((from, port)),
            }
        }
        Ok(set)
    }

    /// Is this inner packet one of them? Without watches this is one branch that always goes the same way; with
    /// watches for echoes or UDP only, a TCP segment costs three: the IP version, the protocol, an empty list.
    #[inline]
    pub(crate) fn matches(&self, packet: &[u8]) -> bool {
        self.active && self.matches_any(packet).unwrap_or(false)
    }

    fn matches_any(&self, packet: &[u8]) -> Option<bool> {
        let (protocol, header_len) = upper_layer(packet)?;
        let lists_empty = match protocol {
            TCP => self.tcp.is_empty(),
            UDP => self.udp.is_empty(),
            ICMP | ICMPV6 => self.echo.is_empty() && self.udp.is_empty(),
            _ => true,
        };
        if lists_empty {
            return None;
        }
        let payload = packet.get(header_len..)?;
        let source = address(packet, Side::Source)?;
        Some(match protocol {
            TCP => has_ports(&self.tcp, source, payload)?,
            UDP => has_ports(&self.udp, source, payload)?,
            _ => self.matches_icmp(protocol, source, payload)?,
        })
    }

    fn matches_icmp(&self, protocol: u8, source: IpAddr, payload: &[u8]) -> Option<bool> {
        match (protocol, *payload.first()?) {
            (ICMP, ECHO_REPLY) | (ICMPV6, ECHO_REPLY_V6) => {
                let &[_, _, _, _, i0, i1, _, _] = payload.first_chunk::<8>()?;
                let cookie = Cookie(*payload.get(8..)?.first_chunk()?);
                let answer = (source, u16::from_be_bytes([i0, i1]), cookie);
                Some(self.echo.contains(&answer))
            }
            // Whoever sends it, it quotes what was sent (RFC 792, RFC 4443 §3.1).
            (ICMP, UNREACHABLE) | (ICMPV6, UNREACHABLE_V6) => {
                let quoted = payload.get(8..)?;
                let (UDP, header_len) = upper_layer(quoted)? else { return None };
                let destination = address(quoted, Side::Destination)?;
                let &[our0, our1, their0, their1] = quoted.get(header_len..)?.first_chunk::<4>()?;
                let their_port = u16::from_be_bytes([their0, their1]);
                let probe = (SocketAddr::new(destination, their_port), u16::from_be_bytes([our0, our1]));
                Some(self.udp.contains(&probe))
            }
            _ => None,
        }
    }
}

/// Does a packet from `source` with this TCP or UDP header go from where, and to where, one of the watches says?
fn has_ports(watched: &[(SocketAddr, u16)], source: IpAddr, header: &[u8]) -> Option<bool> {
    let &[s0, s1, d0, d1] = header.first_chunk::<4>()?;
    let port = u16::from_be_bytes([d0, d1]);
    Some(watched.iter().any(|&(from, our_port)| {
        our_port == port && from.port() == u16::from_be_bytes([s0, s1]) && from.ip() == source
    }))
}

/// Protocol and header length of a packet that is no fragment and, for IPv6, has no extension headers.
#[inline]
pub(super) fn upper_layer(packet: &[u8]) -> Option<(u8, usize)> {
    match Family::of(packet)? {
        Family::V4 => {
            let header = packet.first_chunk::<IPV4_HEADER>()?;
            let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
            (fragment == 0).then_some((header[9], usize::from(header[0] & 0x0f) * 4))
        }
        Family::V6 => Some((packet.first_chunk::<IPV6_HEADER>()?[6], IPV6_HEADER)),
    }
}

/// An end of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

pub(super) fn address(packet: &[u8], side: Side) -> Option<IpAddr> {
    let both = packet.get(Family::of(packet)?.addresses())?;
    let (source, destination) = both.split_at_checked(both.len() / 2)?;
    let bytes = match side {
        Side::Source => source,
        Side::Destination => destination,
    };
    match *bytes {
        [a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
        _ => Some(IpAddr::from(*bytes.first_chunk::<16>()?)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use etherparse::{IcmpEchoHeader, Icmpv4Type, Icmpv6Type, PacketBuilder, icmpv4, icmpv6};
    use proptest::prelude::*;

    use super::*;
    use crate::probe::{EchoRequest, Reply, TcpSegment, dns_query};

    const COOKIE: Cookie = Cookie(*b"biscuits");
    const US: [IpAddr; 2] =
        [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2))];
    const THEM: [IpAddr; 2] =
        [IpAddr::V4(Ipv4Addr::new(10, 10, 0, 53)), IpAddr::V6(Ipv6Addr::new(0xfd10, 0, 0, 0, 0, 0, 0, 0x53))];

    fn all() -> WatchSet {
        WatchSet::new(THEM.into_iter().flat_map(|from| {
            [
                Watch::Echo { from, identifier: 0x1234, cookie: COOKIE },
                Watch::Udp { from: SocketAddr::new(from, 53), port: 1053 },
                Watch::Tcp { from: SocketAddr::new(from, 853), port: 1853 },
            ]
        }))
        .unwrap()
    }

    /// What the peer's own system would answer.
    fn echo_reply(family: usize, identifier: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
        let echo = IcmpEchoHeader { id: identifier, seq: sequence };
        let mut packet = Vec::new();
        match (THEM[family], US[family]) {
            (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 60)
                .icmpv4(Icmpv4Type::EchoReply(echo))
                .write(&mut packet, payload),
            (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 60)
                .icmpv6(Icmpv6Type::EchoReply(echo))
                .write(&mut packet, payload),
            _ => unreachable!(),
        }
        .unwrap();
        packet
    }

    /// A datagram or a segment from them to us.
    fn dns_answer(family: usize, from_port: u16, to_port: u16) -> Vec<u8> {
        dns_query(SocketAddr::new(THEM[family], from_port), SocketAddr::new(US[family], to_port), 99, "a")
            .unwrap()
    }

    fn segment(family: usize, from_port: u16, to_port: u16) -> Vec<u8> {
        let segment = TcpSegment {
            source: SocketAddr::new(THEM[family], from_port),
            destination: SocketAddr::new(US[family], to_port),
            sequence: 1000,
            acknowledgement: Some(2000),
            syn: None,
            fin: true,
            rst: false,
            window: 1,
            payload: b"abc",
        };
        segment.packet().unwrap()
    }

    fn unreachable(family: usize, quoted: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        match US[family] {
            IpAddr::V4(to) => PacketBuilder::ipv4([10, 10, 0, 1], to.octets(), 60)
                .icmpv4(Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port))
                .write(&mut packet, quoted),
            IpAddr::V6(to) => PacketBuilder::ipv6([0xfd; 16], to.octets(), 60)
                .icmpv6(Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port))
                .write(&mut packet, quoted),
        }
        .unwrap();
        packet
    }

    #[test]
    fn answers_are_known_and_read() {
        let set = all();
        for family in [0, 1] {
            let from = THEM[family];
            let query =
                dns_query(SocketAddr::new(US[family], 1053), SocketAddr::new(from, 53), 99, "a").unwrap();
            let cases = [
                (
                    echo_reply(family, 0x1234, 7, &[&COOKIE.0[..], &[0; 1200]].concat()),
                    Reply::Echo { from, identifier: 0x1234, sequence: 7, cookie: COOKIE },
                ),
                (
                    dns_answer(family, 53, 1053),
                    Reply::Udp { from: SocketAddr::new(from, 53), port: 1053, dns_id: Some(99) },
                ),
                (
                    segment(family, 853, 1853),
                    Reply::Tcp {
                        from: SocketAddr::new(from, 853),
                        port: 1853,
                        sequence: 1000,
                        acknowledgement: 2000,
                        flags: 0x19,
                        payload_len: 3,
                    },
                ),
                (
                    unreachable(family, &query),
                    Reply::Unreachable { of: SocketAddr::new(from, 53), port: 1053, dns_id: Some(99) },
                ),
            ];
            for (packet, reply) in cases {
                assert!(set.matches(&packet), "{reply:?}");
                assert_eq!(Reply::parse(&packet), Some(reply));
                // Cut as the event cuts it.
                assert_eq!(Reply::parse(&packet[..packet.len().min(MAX_REPLY)]), Some(reply));
                assert!(!WatchSet::default().matches(&packet), "nobody watches");
            }
        }
    }

    #[test]
    fn everything_else_stays_the_systems() {
        let set = all();
        for family in [0, 1] {
            let query =
                dns_query(SocketAddr::new(US[family], 1054), SocketAddr::new(THEM[family], 53), 99, "a")
                    .unwrap();
            let mut other_host = echo_reply(family, 0x1234, 7, &COOKIE.0);
            let last_of_source = if family == 0 { 15 } else { 23 };
            other_host[last_of_source] ^= 1;
            let request = EchoRequest {
                source: THEM[family],
                destination: US[family],
                identifier: 0x1234,
                sequence: 7,
                cookie: COOKIE,
            };
            for (name, packet) in [
                ("another program's ping", echo_reply(family, 0x1234, 7, b"patterns")),
                ("another identifier", echo_reply(family, 0x1235, 7, &COOKIE.0)),
                ("no room for a cookie", echo_reply(family, 0x1234, 7, &COOKIE.0[..7])),
                ("another host", other_host),
                ("a request", request.packet().unwrap()),
                ("another port of ours", dns_answer(family, 53, 1054)),
                ("another port of theirs", dns_answer(family, 54, 1053)),
                ("a connection of the system's", segment(family, 853, 40_000)),
                ("a datagram to the TCP port", dns_answer(family, 853, 1853)),
                ("somebody else's datagram was refused", unreachable(family, &query)),
            ] {
                assert!(!set.matches(&packet), "{name}");
            }
        }
        let mut fragment = dns_answer(0, 53, 1053);
        fragment[7] = 9;
        assert!(!set.matches(&fragment), "a later fragment has no ports");
    }

    #[test]
    fn a_set_is_bounded() {
        let watch = Watch::Udp { from: SocketAddr::new(THEM[0], 53), port: 1 };
        assert!(WatchSet::new([watch; MAX_WATCHES]).is_ok());
        assert_eq!(WatchSet::new([watch; MAX_WATCHES + 1]), Err(TooManyWatches));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), head in prop::sample::select(vec![0x45u8, 0x4f, 0x40, 0x60])) {
            let mut bytes = bytes;
            for protocol in [ICMP, ICMPV6, TCP, UDP] {
                if bytes.len() > 9 {
                    (bytes[0], bytes[6], bytes[9]) = (head, protocol, protocol);
                    bytes[7] = 0;
                }
                all().matches(&bytes);
                let _ = Reply::parse(&bytes);
            }
        }

        #[test]
        fn no_truncation_of_an_answer_panics(len in 0usize..120) {
            for packet in [echo_reply(0, 0x1234, 7, &COOKIE.0), dns_answer(1, 53, 1053), segment(0, 853, 1853), unreachable(1, &dns_answer(1, 1053, 53))] {
                let cut = &packet[..len.min(packet.len())];
                all().matches(cut);
                let _ = Reply::parse(cut);
            }
        }
    }
}
