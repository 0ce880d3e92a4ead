//! Builds the inner packets of probes.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6Header, PacketBuilder, TcpHeader,
    TcpOptionElement,
};

use crate::checksum;
use crate::headers::{IPV4_HEADER, IPV6_HEADER};
use crate::oversize::Fragments;

/// Echo header: type, code, checksum, identifier, sequence number (RFC 792, RFC 4443 §4.1).
const ECHO_HEADER: usize = 8;

/// Hop limit of probes: the usual one (RFC 1700).
const HOPS: u8 = 64;

/// Longest name of a DNS question, and longest label in it (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// Tells the answers to our echoes from all others: drawn by the caller, known to nobody who has not seen a probe.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cookie(pub [u8; 8]);

impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Whoever reads a log could answer for the peer.
        f.write_str("Cookie(..)")
    }
}

/// Why a probe's packet can't be built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PacketError {
    /// Source and destination are of different families.
    #[error("source and destination are not of one address family")]
    Families,
    /// Shorter than its headers, or longer than an IP packet.
    #[error("no packet has this length")]
    Length,
    /// Not a host name that a DNS query can carry.
    #[error("not a DNS name")]
    Name,
}

/// An ICMP or ICMPv6 echo request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EchoRequest {
    /// Our inner address.
    pub source: IpAddr,
    /// Who is to answer.
    pub destination: IpAddr,
    /// The same for all echoes of a search; see [`Watch::Echo`](super::Watch::Echo).
    pub identifier: u16,
    /// Tells them apart.
    pub sequence: u16,
    /// The first eight bytes of the payload.
    pub cookie: Cookie,
}

impl EchoRequest {
    /// The shortest one: IP header, echo header, cookie.
    ///
    /// # Errors
    /// When the addresses are of different families.
    pub fn packet(&self) -> Result<Vec<u8>, PacketError> {
        self.with_payload(&self.cookie.0)
    }

    /// One of exactly `len` bytes, IP header included; DF is set. For peers that take no TFC padding, and to make the
    /// answer as long.
    ///
    /// # Errors
    /// See [`PacketError`].
    pub fn packet_of(&self, len: u16) -> Result<Vec<u8>, PacketError> {
        let ip_header = if self.source.is_ipv4() { IPV4_HEADER } else { IPV6_HEADER };
        let payload_len = usize::from(len).checked_sub(ip_header + ECHO_HEADER).ok_or(PacketError::Length)?;
        if payload_len < self.cookie.0.len() {
            return Err(PacketError::Length);
        }
        let mut payload = self.cookie.0.to_vec();
        payload.resize(payload_len, 0);
        self.with_payload(&payload)
    }

    /// Like [`packet_of`](Self::packet_of), in fragments of at most `mtu` bytes, DF clear: for a request that is longer than the
    /// path takes whose answer is not. Over IPv6 it stays whole.
    ///
    /// # Errors
    /// See [`PacketError`].
    pub fn fragments_of(&self, len: u16, mtu: u16) -> Result<Vec<Vec<u8>>, PacketError> {
        let mut packet = self.packet_of(len)?;
        if packet.len() <= mtu.into() || !self.source.is_ipv4() {
            return Ok(vec![packet]);
        }
        // Those of one echo are told from those of another by the identification (RFC 791 §3.2).
        let identification = self.identifier.rotate_left(8) ^ self.sequence;
        packet[4..6].copy_from_slice(&identification.to_be_bytes());
        packet[6..8].fill(0);
        checksum::write_ipv4_header(&mut packet, IPV4_HEADER);
        let mut fragments = Fragments::new(&packet, mtu.into()).ok_or(PacketError::Length)?;
        let pieces = std::iter::from_fn(|| {
            let mut piece = vec![0; fragments.next_len()?];
            fragments.write_next(&mut piece);
            Some(piece)
        });
        Ok(pieces.collect())
    }

    fn with_payload(&self, payload: &[u8]) -> Result<Vec<u8>, PacketError> {
        let ip = PacketBuilder::ip(ip_headers(self.source, self.destination)?);
        let mut packet = Vec::new();
        match self.source {
            IpAddr::V4(_) => {
                ip.icmpv4_echo_request(self.identifier, self.sequence).write_to_vec(&mut packet, payload)
            }
            IpAddr::V6(_) => {
                ip.icmpv6_echo_request(self.identifier, self.sequence).write_to_vec(&mut packet, payload)
            }
        }
        .map_err(|_| PacketError::Length)?;
        Ok(packet)
    }
}

/// A DNS query for the A records of `name` (RFC 1035 §4.1, recursion desired) in a UDP datagram. `id` is the one that
/// the answer repeats.
///
/// # Errors
/// See [`PacketError`].
pub fn dns_query(
    source: SocketAddr,
    server: SocketAddr,
    id: u16,
    name: &str,
) -> Result<Vec<u8>, PacketError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let good_label = |label: &str| (1..=MAX_LABEL).contains(&label.len()) && label.is_ascii();
    if name.len() > MAX_NAME || !name.split('.').all(good_label) {
        return Err(PacketError::Name);
    }
    // Flags: recursion desired. One question, nothing else.
    let mut query = id.to_be_bytes().to_vec();
    query.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).map_err(|_| PacketError::Name)?);
        query.extend(label.as_bytes());
    }
    // The root; type A, class IN.
    query.extend([0, 0, 1, 0, 1]);
    let mut packet = Vec::new();
    PacketBuilder::ip(ip_headers(source.ip(), server.ip())?)
        .udp(source.port(), server.port())
        .write_to_vec(&mut packet, &query)
        .map_err(|_| PacketError::Length)?;
    Ok(packet)
}

/// A TCP segment of a connection that the control plane leads itself; the system's own TCP hears nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpSegment<'a> {
    /// Our inner address, and a port that no program of this machine uses.
    pub source: SocketAddr,
    /// The other end.
    pub destination: SocketAddr,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number; sent with ACK where it is given.
    pub acknowledgement: Option<u32>,
    /// Opens the connection, offering this MSS.
    pub syn: Option<u16>,
    /// Has no more to send.
    pub fin: bool,
    /// Ends the connection at once.
    pub rst: bool,
    /// How many bytes the other end may send.
    pub window: u16,
    /// Data.
    pub payload: &'a [u8],
}

impl TcpSegment<'_> {
    /// The packet.
    ///
    /// # Errors
    /// See [`PacketError`].
    pub fn packet(&self) -> Result<Vec<u8>, PacketError> {
        let mut header =
            TcpHeader::new(self.source.port(), self.destination.port(), self.sequence, self.window);
        header.ack = self.acknowledgement.is_some();
        header.acknowledgment_number = self.acknowledgement.unwrap_or(0);
        header.syn = self.syn.is_some();
        if let Some(mss) = self.syn {
            let option = [TcpOptionElement::MaximumSegmentSize(mss)];
            header.set_options(&option).map_err(|_| PacketError::Length)?;
        }
        (header.fin, header.rst, header.psh) = (self.fin, self.rst, !self.payload.is_empty());
        let mut packet = Vec::new();
        PacketBuilder::ip(ip_headers(self.source.ip(), self.destination.ip())?)
            .tcp_header(header)
            .write_to_vec(&mut packet, self.payload)
            .map_err(|_| PacketError::Length)?;
        Ok(packet)
    }
}

/// Of a packet with DF; lengths, protocol and checksum are filled in when it is written.
fn ip_headers(source: IpAddr, destination: IpAddr) -> Result<IpHeaders, PacketError> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = Ipv4Header::new(0, HOPS, IpNumber::ICMP, source.octets(), destination.octets())
                .map_err(|_| PacketError::Length)?;
            Ok(IpHeaders::Ipv4(Ipv4Header { dont_fragment: true, ..header }, Ipv4Extensions::default()))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => Ok(IpHeaders::Ipv6(
            Ipv6Header {
                hop_limit: HOPS,
                source: source.octets(),
                destination: destination.octets(),
                ..Ipv6Header::default()
            },
            Ipv6Extensions::default(),
        )),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Err(PacketError::Families),
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;
    use crate::checksum::transport_is_valid;
    use crate::headers::{Family, Network, TCP, UDP};

    const V4: (IpAddr, IpAddr) = (
        IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)),
        IpAddr::V4(std::net::Ipv4Addr::new(10, 10, 0, 53)),
    );
    const V6: (IpAddr, IpAddr) = (
        IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)),
        IpAddr::V6(std::net::Ipv6Addr::new(0xfd10, 0, 0, 0, 0, 0, 0, 0x53)),
    );

    fn echo((source, destination): (IpAddr, IpAddr)) -> EchoRequest {
        EchoRequest { source, destination, identifier: 0x1234, sequence: 7, cookie: Cookie(*b"biscuits") }
    }

    fn transport(packet: &[u8], protocol: u8) -> bool {
        let (family, header_len) = match Family::of(packet).unwrap() {
            Family::V4 => (Family::V4, 20),
            Family::V6 => (Family::V6, 40),
        };
        transport_is_valid(packet, Network { family, header_len }, protocol)
    }

    #[test]
    fn an_echo_request_says_who_asked_and_has_the_wanted_length_and_df() {
        for (addresses, least) in [(V4, 36), (V6, 56)] {
            let echo = echo(addresses);
            assert_eq!(echo.packet().unwrap().len(), least);
            for len in [least, least + 1, 1280, 1500, 9000] {
                let packet = echo.packet_of(len as u16).unwrap();
                assert_eq!(packet.len(), len);
                let sliced = SlicedPacket::from_ip(&packet).unwrap();
                match sliced.net.unwrap() {
                    NetSlice::Ipv4(ip) => assert!(ip.header().dont_fragment()),
                    NetSlice::Ipv6(_) => {}
                    NetSlice::Arp(_) => panic!("ARP"),
                }
                let (id, sequence, payload, valid) = match sliced.transport.unwrap() {
                    TransportSlice::Icmpv4(icmp) => {
                        let etherparse::Icmpv4Type::EchoRequest(echo) = icmp.icmp_type() else { panic!() };
                        let sum = icmp.icmp_type().calc_checksum(icmp.payload());
                        (echo.id, echo.seq, icmp.payload(), sum == icmp.checksum())
                    }
                    TransportSlice::Icmpv6(icmp) => {
                        let etherparse::Icmpv6Type::EchoRequest(echo) = icmp.icmp_type() else { panic!() };
                        (echo.id, echo.seq, icmp.payload(), transport(&packet, 58))
                    }
                    other @ (TransportSlice::Igmp(_) | TransportSlice::Udp(_) | TransportSlice::Tcp(_)) => {
                        panic!("{other:?}")
                    }
                };
                assert!(valid, "checksum");
                assert_eq!((id, sequence, &payload[..8]), (0x1234, 7, &b"biscuits"[..]));
            }
            assert_eq!(echo.packet_of(least as u16 - 1), Err(PacketError::Length));
        }
    }

    #[test]
    fn a_dns_query_asks_what_it_was_told_to() {
        for (source, server) in [V4, V6] {
            let (source, server) = (SocketAddr::new(source, 1053), SocketAddr::new(server, 53));
            for name in ["vpn.example.com", "vpn.example.com."] {
                let packet = dns_query(source, server, 0xbeef, name).unwrap();
                assert!(transport(&packet, UDP));
                let sliced = SlicedPacket::from_ip(&packet).unwrap();
                let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!("no UDP") };
                assert_eq!((udp.source_port(), udp.destination_port()), (1053, 53));
                let question = b"\x03vpn\x07example\x03com\0\0\x01\0\x01";
                assert_eq!(udp.payload(), [&b"\xbe\xef\x01\0\0\x01\0\0\0\0\0\0"[..], question].concat());
            }
        }
    }

    #[test]
    fn a_name_that_dns_cannot_carry_is_refused() {
        let (source, server) = (SocketAddr::new(V4.0, 1), SocketAddr::new(V4.1, 53));
        let long_label = "a".repeat(64);
        let long_name = ["a".repeat(60).as_str(); 5].join(".");
        for name in ["", ".", "a..b", ".a", "bücher.example", &long_label, &long_name] {
            assert_eq!(dns_query(source, server, 1, name), Err(PacketError::Name), "{name}");
        }
    }

    #[test]
    fn a_tcp_segment_carries_what_it_is_made_of() {
        for (source, destination) in [V4, V6] {
            let segment = TcpSegment {
                source: SocketAddr::new(source, 1000),
                destination: SocketAddr::new(destination, 53),
                sequence: 5,
                acknowledgement: None,
                syn: Some(1200),
                fin: false,
                rst: false,
                window: 900,
                payload: &[],
            };
            let syn = segment.packet().unwrap();
            let data = TcpSegment { acknowledgement: Some(77), syn: None, payload: b"hello", ..segment }
                .packet()
                .unwrap();
            for (packet, flags, options, payload) in [
                (syn, (true, false), &[2, 4, 0x04, 0xb0][..], &b""[..]),
                (data, (false, true), &[], b"hello"),
            ] {
                assert!(transport(&packet, TCP));
                let sliced = SlicedPacket::from_ip(&packet).unwrap();
                let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
                assert_eq!((tcp.syn(), tcp.ack()), flags);
                assert_eq!((tcp.sequence_number(), tcp.window_size()), (5, 900));
                assert_eq!((tcp.options(), tcp.payload()), (options, payload));
            }
        }
    }

    #[test]
    fn families_do_not_mix() {
        assert_eq!(echo((V4.0, V6.1)).packet(), Err(PacketError::Families));
        let (source, server) = (SocketAddr::new(V6.0, 1), SocketAddr::new(V4.1, 53));
        assert_eq!(dns_query(source, server, 1, "a"), Err(PacketError::Families));
    }

    #[test]
    fn a_cookie_does_not_show_in_a_log() {
        assert!(!format!("{:?}", echo(V4)).contains("98, 105"));
    }
}
