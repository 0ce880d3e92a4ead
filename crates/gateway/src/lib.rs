//! The practice gateway: an IKEv2 responder with a small network of its own behind it.
//!
//! It exists for the demo, for tests, for benchmarks and for fault injection. **It is not a product**: it holds
//! users' passwords in clear, accepts everyone it is told about, and can be told to misbehave.
//!
//! * [`inner`] is the network that a client reaches through the tunnel: ping, DNS, HTTP, echo. It is
//!   a user-mode TCP/IP stack which takes packets and gives packets; no TUN device, no privileges.

#![forbid(unsafe_code)]

pub mod config;
pub mod inner;
pub mod link;
