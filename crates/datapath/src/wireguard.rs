//! WireGuard in the place of ESP, for networks in which neither gets through in any other form.
//!
//! ```text
//!  Handshake ──answered──▶ Established ──start(tun)──▶ WireGuardPlane
//! ```
//!
//! The shape is that of the [ESP data plane](crate): two threads with the device on one side and the socket on the
//! other, the same cutting, joining, MSS clamping and counters. The protocol itself is boringtun's `Tunn`, and that is
//! where the two differ:
//!
//! - A `Tunn` is one state machine for both directions, so the threads share it under a lock. It is taken once for a
//!   train of up to 64 packets, never across a system call that can wait, and both directions' ciphers run under it: one
//!   core's worth of ChaCha20-Poly1305 is the most that both together can do.
//! - A `Tunn` copies what it seals and what it opens. That is one more copy than ESP has outbound, and one inbound.
//! - In steady state nothing is allocated. Packets that wait for a handshake are: at most 256 of them.
//! - A `Tunn` has a clock of its own that stands still between calls of its timers. A third thread calls them every
//!   second while data moves or a handshake is under way. Else it sleeps until the next keepalive is due, or a session
//!   may have to be forgotten (180 s), and the first packet after that wakes it.
//!
//! What goes to the peer, and the inner source of what comes from it, must be in the allowed networks; all else is dropped
//! and counted ([`PlaneDrop::NoSa`](crate::PlaneDrop::NoSa), [`PlaneDrop::Source`](crate::PlaneDrop::Source)).

mod allowed;
mod config;
mod handshake;
mod inbound;
mod outbound;
mod plane;
mod session;
mod shared;
#[cfg(test)]
mod tests;
mod timers;

pub use allowed::{AllowedIps, PrefixError};
pub use config::{PeerConfig, WireGuardEvent, WireGuardEventSink, inner_mtu};
pub use handshake::{Answer, Established, Handshake};
pub use plane::{WireGuardPlane, WireGuardStats};
