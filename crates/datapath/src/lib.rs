//! The data plane: two operating system threads between a TUN device and a UDP socket.
//!
//! ```text
//!            read a superpacket            cut into slots, seal in place        one send per train
//!  TUN  ───────────────────────▶ outbound ───────────────────────────────▶ UDP
//!  TUN  ◀─────────────────────── inbound  ◀─────────────────────────────── UDP
//!            write a superpacket           open in place, join TCP runs         a batch of trains
//! ```
//!
//! System calls, wakeups and losses decide the throughput, not the cipher; so each call moves as much as the
//! system lets it, and each thread sleeps until its own side has something. In the packet path there is no
//! lock, no allocation, and one copy: outbound, from the superpacket into the slots, because every packet
//! needs room of its own for the ESP header and the ICV. Inbound there is none: a superpacket is written from
//! the places where its segments were decrypted.
//!
//! A thread owns the SAs of its direction. The control plane changes them through a mailbox; a thread looks
//! at the mailbox's generation counter between batches, and a wakeup ends its sleep for the same purpose.
//! Nothing polls: an idle data plane does not run at all.
//!
//! What the control plane learns about the network it learns from here: [`probe`]s of any size and what became of
//! them, what ICMP says about our packets and whether to believe it, packets after a silence, and when something was
//! last sent and received. What it then decides comes back as the effective inner MTU and the MSS limits. None of this
//! costs ordinary packets more than a few branches and a clock read per system call; what allocates (a probe, its
//! answer, a packet that is too long and no TCP data) is rare or rate-limited.
//!
//! Everything a system cannot do (superpackets, trains, coalesced reception) is missing in
//! [`Tun`](evenkeel_platform::tun::Tun) or [`UdpSocket`](evenkeel_platform::socket::UdpSocket), and the same
//! code then moves single packets.

#![forbid(unsafe_code)]

mod checksum;
mod coalesce;
mod config;
mod early;
mod flows;
mod from_tun;
mod headers;
mod icmp;
mod inbound;
mod mailbox;
mod mss;
mod outbound;
mod oversize;
mod plane;
pub mod probe;
mod segment;
mod stats;
#[cfg(test)]
mod testing;
mod throttle;
mod train;
#[cfg(feature = "wireguard")]
pub mod wireguard;

pub use config::{ChildSas, DataPlaneConfig, EventSink, PeerAddress, PlaneEvent, Telling};
pub use mss::MssClamp;
pub use plane::DataPlane;
pub use stats::{InboundStats, OutboundStats, PlaneDrop, PlaneStats};
