//! Internet checksums (RFC 1071) of the headers that the data plane rewrites.
//!
//! Sums are kept in the machine's byte order until they are stored: one's complement addition does not
//! care, as long as one sum does not mix both (RFC 1071 §2(B)).

use evenkeel_platform::checksum::sum;

use crate::headers::{Family, Network};

/// Folds a sum to 16 bits.
#[inline]
pub(crate) const fn fold(mut sum: u64) -> u16 {
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The sum of the pseudo-header for `transport_len` bytes of `protocol` (RFC 9293 §3.1, RFC 8200 §8.1).
#[inline]
pub(crate) fn pseudo_header(packet: &[u8], network: Network, protocol: u8, transport_len: usize) -> u64 {
    sum(&packet[network.family.addresses()])
        + u64::from(u16::from(protocol).to_be())
        + u64::from((transport_len as u32).to_be())
}

/// Is the sum over transport header, payload and pseudo-header what the receiver expects?
#[inline]
pub(crate) fn transport_is_valid(packet: &[u8], network: Network, protocol: u8) -> bool {
    let transport = &packet[network.header_len..];
    fold(sum(transport) + pseudo_header(packet, network, protocol, transport.len())) == 0xffff
}

/// Writes the transport checksum, whose field may hold anything.
#[inline]
pub(crate) fn write_transport(packet: &mut [u8], network: Network, protocol: u8, offset: usize) {
    let field = network.header_len + offset;
    packet[field..field + 2].fill(0);
    let transport = &packet[network.header_len..];
    let checksum = !fold(sum(transport) + pseudo_header(packet, network, protocol, transport.len()));
    store(packet, field, checksum);
}

/// Finishes a checksum whose field holds the sum of the pseudo-header: the bytes from `start` on are summed
/// with it. `false` if the field is not in the packet.
pub(crate) fn finish_partial(packet: &mut [u8], start: usize, offset: usize) -> bool {
    let Some(tail) = packet.get(start..).filter(|tail| offset + 2 <= tail.len()) else { return false };
    let checksum = !fold(sum(tail));
    store(packet, start + offset, checksum);
    true
}

/// UDP says "no checksum" with 0 (RFC 768); all ones is the same number, and right for TCP too.
#[inline]
fn store(packet: &mut [u8], field: usize, checksum: u16) {
    let checksum = if checksum == 0 { 0xffff } else { checksum };
    packet[field..field + 2].copy_from_slice(&checksum.to_ne_bytes());
}

/// Is the IPv4 header's own checksum right? IPv6 has none.
#[inline]
pub(crate) fn header_is_valid(packet: &[u8], network: Network) -> bool {
    match network.family {
        Family::V4 => fold(sum(&packet[..network.header_len])) == 0xffff,
        Family::V6 => true,
    }
}

/// Writes the IPv4 header's checksum.
#[inline]
pub(crate) fn write_ipv4_header(packet: &mut [u8], header_len: usize) {
    packet[10..12].fill(0);
    let checksum = !fold(sum(&packet[..header_len]));
    packet[10..12].copy_from_slice(&checksum.to_ne_bytes());
}

/// A checksum after one 16-bit word at an even offset changed (RFC 1624 eqn. 3).
pub(crate) const fn adjust(checksum: [u8; 2], old: [u8; 2], new: [u8; 2]) -> [u8; 2] {
    let sum = !u16::from_ne_bytes(checksum) as u64
        + !u16::from_ne_bytes(old) as u64
        + u16::from_ne_bytes(new) as u64;
    (!fold(sum)).to_ne_bytes()
}
