//! NAT detection (RFC 7296 §2.23).

use super::path::Path;
use super::payloads::{Payloads, status};
use crate::wire::{IkeSpi, NotifyType, Payload};
use aws_lc_rs::digest;
use std::net::{IpAddr, SocketAddr};

/// What the NAT_DETECTION notifications of an exchange say about the path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct NatDetected {
    /// Something translates our address.
    pub local: bool,
    /// Something translates the peer's address, or the peer wants UDP encapsulation and says so this way.
    pub remote: bool,
}

/// SHA-1 over SPIi, SPIr, address and port.
pub(super) fn hash(spi_i: IkeSpi, spi_r: IkeSpi, address: SocketAddr) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(&spi_i.0.to_be_bytes());
    context.update(&spi_r.0.to_be_bytes());
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => context.update(&ip.octets()),
        IpAddr::V6(ip) => context.update(&ip.octets()),
    }
    context.update(&address.port().to_be_bytes());
    context.finish().as_ref().to_vec()
}

/// The two notifications for a message that leaves on `path`. With `force_encap` the source hash covers
/// an address that nobody has, so that the peer sees a NAT and encapsulates ESP in UDP: we have no raw ESP.
pub(super) fn notifications(spi_i: IkeSpi, spi_r: IkeSpi, path: &Path, force_encap: bool) -> [Payload; 2] {
    let source = if force_encap { SocketAddr::from(([0, 0, 0, 0], 0)) } else { path.local };
    [
        status(NotifyType::NatDetectionSourceIp, hash(spi_i, spi_r, source)),
        status(NotifyType::NatDetectionDestinationIp, hash(spi_i, spi_r, path.remote)),
    ]
}

/// Compares the peer's hashes with what we see. `None` when the peer sent none: it has no NAT traversal.
pub(super) fn detect(spi_i: IkeSpi, spi_r: IkeSpi, path: &Path, received: &Payloads) -> Option<NatDetected> {
    let mut sources = received.notifies(NotifyType::NatDetectionSourceIp).peekable();
    let mut destinations = received.notifies(NotifyType::NatDetectionDestinationIp).peekable();
    if sources.peek().is_none() || destinations.peek().is_none() {
        return None;
    }
    let seen_remote = hash(spi_i, spi_r, path.remote);
    let seen_local = hash(spi_i, spi_r, path.local);
    Some(NatDetected {
        // The peer may offer several source hashes, one for each address that it might send from.
        remote: !sources.any(|notify| notify.data == seen_remote),
        local: !destinations.any(|notify| notify.data == seen_local),
    })
}
