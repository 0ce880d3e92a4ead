//! Where an IKE message goes and how it is framed there.

use crate::wire::NON_ESP_MARKER;
use std::net::SocketAddr;

/// A pair of addresses with the framing that its port implies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Path {
    /// Our address; concrete, because NAT detection hashes it.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Whether a non-ESP marker precedes IKE messages.
    pub framing: Framing,
}

/// How IKE messages share their UDP port with ESP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Framing {
    /// UDP/500: bare IKE messages.
    Bare,
    /// UDP/4500: four zero octets before each IKE message (RFC 3948 §2.2).
    NonEspMarker,
}

/// A datagram to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// Where from and to.
    pub path: Path,
    /// The whole UDP payload, non-ESP marker included.
    pub payload: Vec<u8>,
}

impl Path {
    /// Frames `message` for this path.
    #[must_use]
    pub fn frame(&self, message: &[u8]) -> Transmit {
        let payload = match self.framing {
            Framing::Bare => message.to_vec(),
            Framing::NonEspMarker => [&NON_ESP_MARKER[..], message].concat(),
        };
        Transmit { path: *self, payload }
    }

    /// The largest IKE message whose IP datagram stays within `datagram` octets.
    pub(super) fn message_budget(&self, datagram: usize) -> usize {
        let ip = if self.remote.is_ipv4() { 20 } else { 40 };
        let marker = match self.framing {
            Framing::Bare => 0,
            Framing::NonEspMarker => NON_ESP_MARKER.len(),
        };
        datagram.saturating_sub(ip + 8 + marker)
    }
}
