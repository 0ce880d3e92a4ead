//! The WireGuard peer that carries the tunnel while the gateway can't be reached.

use std::net::SocketAddr;
use std::time::Instant;

use crate::event::OpenedPath;
use crate::way::PathId;

/// A peer that has answered, and the path to it. Its keys, its timers and its packets are the owner's.
pub(crate) struct Peer {
    pub(crate) path_id: PathId,
    pub(crate) path: OpenedPath,
    /// By when it has to answer, while it is in doubt that it does.
    pub(crate) answers_by: Option<Instant>,
}

/// The WireGuard peer in use, as far as the tunnel knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerInfo {
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
}
