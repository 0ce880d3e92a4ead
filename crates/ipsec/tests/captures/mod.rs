//! Reads captured IKE and ESP out of pcap and pcapng files.

use std::path::{Path, PathBuf};

use etherparse::{IpNumber, LaxSlicedPacket};
use evenkeel_ipsec::wire::{Encapsulated, classify};
use pcap_file::DataLink;
use pcap_file::pcap::PcapParser;
use pcap_file::pcapng::{Block, PcapNgReader};

/// What one captured packet carried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Captured {
    /// An IKE message, without its non-ESP marker.
    Ike(Vec<u8>),
    /// An ESP packet, in UDP or bare.
    Esp(Vec<u8>),
    /// A NAT keepalive.
    Keepalive,
    /// A datagram on port 4500 that is too short for anything.
    Runt,
    /// Neither IKE nor ESP.
    Unrelated,
}

/// The folder with the captures, or `None` after a message that the test was skipped.
#[expect(clippy::print_stdout, reason = "a test that ran nothing must say so")]
pub(crate) fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("EVENKEEL_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no captures in {}; set EVENKEEL_VECTORS", folder.display());
    None
}

/// The packets of a capture, the last of a damaged one as far as it goes.
pub(crate) fn read(path: &Path) -> Vec<Captured> {
    let file = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if path.extension().is_some_and(|extension| extension == "pcapng") {
        read_pcapng(&file)
    } else {
        read_pcap(&file)
    }
}

/// Time, captured length, original length.
const RECORD_HEADER_LEN: usize = 16;

fn read_pcap(file: &[u8]) -> Vec<Captured> {
    let (mut rest, parser) = PcapParser::new(file).unwrap_or_else(|error| panic!("{error}"));
    let link = parser.header().datalink;
    let mut packets = Vec::new();
    // Raw: the lengths in these files contradict each other on purpose.
    while let Ok((behind, record)) = parser.next_raw_packet(rest) {
        rest = behind;
        packets.push(open_frame(link, &record.data));
    }
    if let Some(cut) = rest.get(RECORD_HEADER_LEN..) {
        packets.push(open_frame(link, cut));
    }
    packets
}

fn read_pcapng(file: &[u8]) -> Vec<Captured> {
    let mut reader = PcapNgReader::new(file).unwrap_or_else(|error| panic!("{error}"));
    let mut link = DataLink::ETHERNET;
    let mut packets = Vec::new();
    while let Some(Ok(block)) = reader.next_block() {
        if let Block::InterfaceDescription(interface) = &block {
            link = interface.linktype;
        } else if let Block::EnhancedPacket(packet) = &block {
            packets.push(open_frame(link, &packet.data));
        }
    }
    packets
}

/// What a frame carries, as far as a cut or damaged one can tell.
fn open_frame(link: DataLink, frame: &[u8]) -> Captured {
    let sliced = if link == DataLink::NULL {
        // Four octets of address family stand before the IP header.
        frame.get(4..).and_then(|ip| LaxSlicedPacket::from_ip(ip).ok())
    } else {
        LaxSlicedPacket::from_ethernet(frame).ok()
    };
    let Some(sliced) = sliced else {
        return Captured::Unrelated;
    };
    let Some(ip) = sliced.net.as_ref().and_then(|net| net.ip_payload_ref()) else {
        return Captured::Unrelated;
    };
    match (ip.ip_number, ip.payload) {
        (IpNumber::ENCAPSULATING_SECURITY_PAYLOAD, packet) => Captured::Esp(packet.to_vec()),
        // By hand, because the damaged datagrams call themselves fragments.
        (IpNumber::UDP, [s0, s1, d0, d1, _, _, _, _, payload @ ..]) => {
            open_datagram([u16::from_be_bytes([*s0, *s1]), u16::from_be_bytes([*d0, *d1])], payload)
        }
        _ => Captured::Unrelated,
    }
}

fn open_datagram(ports: [u16; 2], payload: &[u8]) -> Captured {
    if ports.contains(&4500) {
        match classify(payload) {
            Encapsulated::Ike(message) => Captured::Ike(message.to_vec()),
            Encapsulated::Esp(packet) => Captured::Esp(packet.to_vec()),
            Encapsulated::Keepalive => Captured::Keepalive,
            Encapsulated::Runt => Captured::Runt,
        }
    } else if ports.contains(&500) {
        Captured::Ike(payload.to_vec())
    } else {
        Captured::Unrelated
    }
}
