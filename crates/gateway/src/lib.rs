//! The practice gateway: an IKEv2 responder with a small network of its own behind it.
//!
//! It exists for the demo, for tests, for benchmarks and for fault injection. **It is not a product**: it holds
//! users' passwords in clear, accepts everyone it is told about, and can be told to misbehave.
//!
//! * [`inner`] is the network that a client reaches through the tunnel: ping, DNS, HTTP, echo. It is
//!   a user-mode TCP/IP stack which takes packets and gives packets; no TUN device, no privileges.
//! * [`gateway`] joins the IKE responder, ESP and the inner network, without sockets and without a clock.
//! * [`link`] is the network on the outside, as bad as a test wants it.
//! * [`server`] is the event loop with the sockets; [`control`] lets tests look in and turn faults on and off.
//! * `streams` lets clients in that can't send UDP: IKE and ESP in TCP (RFC 9329).
//! * `tun_plane` puts the product's data plane and a TUN device in the inner network's place, for benchmarks.
//! * [`config`] is the configuration file; [`demo`] writes one, with keys and a fitting client profile.

#![forbid(unsafe_code)]

pub mod config;
pub mod control;
pub mod demo;
mod engine;
pub mod gateway;
pub mod inner;
pub mod link;
pub mod server;
mod sockets;
mod streams;
mod tun_plane;

pub use engine::EngineError;
pub use sockets::ListenError;
pub use streams::TlsError;
pub use tun_plane::TunError;

/// What everyone who starts it should read.
pub const BANNER: &str = "Evenkeel practice gateway: NOT FOR PRODUCTION. It keeps passwords in clear and can be told to \
     misbehave; anyone who connects reaches the built-in test network only.";
