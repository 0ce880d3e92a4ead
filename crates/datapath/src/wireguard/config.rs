//! What the control plane tells the WireGuard plane, and what it hears from it.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use zeroize::Zeroizing;

use super::AllowedIps;

/// What a WireGuard datagram adds to an inner packet: message type, receiver, counter, and the tag.
pub(super) const MESSAGE_OVERHEAD: usize = 32;

/// The outer headers and WireGuard's own over IPv4.
const OVERHEAD_V4: u16 = 20 + 8 + MESSAGE_OVERHEAD as u16;
/// The same over IPv6.
const OVERHEAD_V6: u16 = 40 + 8 + MESSAGE_OVERHEAD as u16;

/// Data unanswered for this long means that the peer is silent: it answers within 10 s what it has received, by an empty
/// packet if it has nothing else (its keepalive timeout), and 5 s are left for one lost on the way.
pub(super) const SILENT_AFTER: Duration = Duration::from_secs(15);

/// The inner MTU for a path that takes IP datagrams of `path_mtu` bytes, to a peer at this address.
#[must_use]
pub const fn inner_mtu(path_mtu: u16, peer: IpAddr) -> u16 {
    match peer {
        IpAddr::V4(_) => path_mtu.saturating_sub(OVERHEAD_V4),
        IpAddr::V6(_) => path_mtu.saturating_sub(OVERHEAD_V6),
    }
}

/// A peer and our keys for it. Keys are wiped on drop, here and, but for the pre-shared one, in boringtun.
#[derive(Clone)]
pub struct PeerConfig {
    /// Our private key.
    pub private_key: Zeroizing<[u8; 32]>,
    /// The peer's public key.
    pub public_key: [u8; 32],
    /// A key that both sides know beside their own.
    pub preshared_key: Option<Zeroizing<[u8; 32]>>,
    /// Where packets may go, and where they may come from.
    pub allowed_ips: AllowedIps,
    /// Seconds between keepalives; `None` for never.
    pub keepalive: Option<u16>,
    /// A random number, of which the lower 24 bits become the upper ones of the indices by which the peer names our
    /// sessions.
    pub index: u32,
}

/// Takes events, from all threads. It is called in the packet path: it must not block.
pub type WireGuardEventSink = Box<dyn Fn(WireGuardEvent) + Send + Sync>;

/// What the control plane should know.
#[derive(Debug)]
pub enum WireGuardEvent {
    /// A handshake was completed: the peer is alive, and fresh keys are in use. About every two minutes while data moves.
    Handshake,
    /// Data has gone unanswered for 15 s. A new handshake is under way.
    PeerSilent,
    /// Something authentic has come from a peer that was silent.
    PeerAnswers,
    /// No handshake has been answered for 90 s: the session is gone. Packets for the peer make it try again.
    HandshakeLost,
    /// The system refused to send a datagram that is longer than the path's known MTU. At most one a second.
    TooBig {
        /// Length of the UDP payload in bytes.
        datagram_len: usize,
        /// The longest IP datagram that the system believes to reach the peer: a hint, as anyone may have sent it by ICMP.
        path_mtu: Option<u16>,
    },
    /// Sending or receiving failed in a way that may pass. At most one a second.
    Trouble(io::Error),
    /// A thread ended because its device or socket is gone. Nothing more will be carried.
    Stopped(io::Error),
}
