//! Where an IKE message goes and how it is framed there.

use crate::wire::{MAX_FRAME_PAYLOAD, NON_ESP_MARKER};
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
    /// A TCP stream (RFC 9329 §3): the marker as well. The addresses of the path are those of the TCP connection,
    /// which NAT detection hashes (RFC 9329 §6.5). The length before each message is the transport's business.
    Stream,
}

impl Framing {
    /// Whether a non-ESP marker precedes IKE messages.
    #[must_use]
    pub const fn has_marker(self) -> bool {
        match self {
            Self::Bare => false,
            Self::NonEspMarker | Self::Stream => true,
        }
    }
}

/// A datagram to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// Where from and to.
    pub path: Path,
    /// The whole UDP payload, or message in a stream, non-ESP marker included.
    pub payload: Vec<u8>,
}

impl Path {
    /// Frames `message` for this path.
    #[must_use]
    pub fn frame(&self, message: &[u8]) -> Transmit {
        let payload = if self.framing.has_marker() {
            [&NON_ESP_MARKER[..], message].concat()
        } else {
            message.to_vec()
        };
        Transmit { path: *self, payload }
    }

    /// The largest IKE message whose IP datagram stays within `datagram` octets. A stream needs no fragments, and
    /// should see none (RFC 9329 §7.5).
    pub(super) fn message_budget(&self, datagram: usize) -> usize {
        let ip = if self.remote.is_ipv4() { 20 } else { 40 };
        match self.framing {
            Framing::Bare => datagram.saturating_sub(ip + 8),
            Framing::NonEspMarker => datagram.saturating_sub(ip + 8 + NON_ESP_MARKER.len()),
            Framing::Stream => MAX_FRAME_PAYLOAD - NON_ESP_MARKER.len(),
        }
    }
}
