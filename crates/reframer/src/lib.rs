//! A TCP stream that looks like a UDP socket (RFC 9329).
//!
//! ```text
//!  data plane, IKE ──── UDP over loopback ──── Relay ──── TCP, or TLS over TCP ──── peer
//!                    one datagram ◄─────────────────────────► one frame
//! ```
//! The data plane's two threads know UDP sockets and nothing else, and their packet path is what it is because of
//! that: trains by segmentation offload out, coalesced batches in. A stream is a fallback, rarely used and slow by
//! nature, so it must not cost that path a branch. Hence a stream is put *behind* a UDP socket: a [`Relay`] owns the
//! stream and one end of a pair of sockets, and whoever would speak UDP with the peer holds the other end. A datagram is
//! a frame in either direction, with the non-ESP marker where there is one over UDP, so nothing but the relay knows
//! lengths and prefixes. The price is one hop over loopback: a system call for each *train*, not for each packet,
//! because loopback carries trains whole in both directions.
//!
//! **Where TCP does not keep up, datagrams are dropped.** The packets inside are mostly TCP's own, or belong to
//! protocols that prefer loss to delay. Queued, they would be answered late, sent again while the first copy still
//! waits, and sent yet again: the meltdown of TCP in TCP (RFC 9329 §9.1). Dropped, they are the signal that inner
//! congestion control reacts to, as at any full router. So there are three bounded places to wait: what the kernel
//! holds unsent ([`carry_packets`](evenkeel_platform::socket::carry_packets)), the relay's
//! [`BACKLOG`], and the socket between, which the relay always empties. Once a frame has begun it is sent whole, so the
//! stream never loses its frame boundaries.
//!
//! **NAT keepalives stay off the stream** (RFC 9329 §6.6), in both directions.
//!
//! **The pair is private.** Both ends are bound to loopback and connected to each other, so the kernel drops what any
//! other socket sends to them; what arrived before they were connected is thrown away. What a local program could still
//! see or forge, given the rights to capture on loopback, is what any network between the peers sees: IKE and ESP,
//! encrypted and authenticated end to end.

#![forbid(unsafe_code)]

mod backlog;
mod incoming;
mod outgoing;
mod relay;
mod socket;
mod stats;
#[cfg(test)]
mod testing;

pub use backlog::{BACKLOG, CONTROL_RESERVE};
pub use relay::{Begun, Ended, Relay};
pub use socket::{RelaySocket, pair};
pub use stats::{RelayCounters, RelayStats};
