//! What a network is like and how that is learned, without sockets, clocks or randomness of its own.
//!
//! - [`overhead`] has the exact arithmetic of ESP in UDP: from a path MTU, the cipher's shape and the outer address
//!   family to the inner MTU, and from there to the TCP MSS.
//! - [`mtu`] finds the path MTU of each direction.
//! - [`ladder`] says what to try in which order to reach the gateway, and what is blocked.
//! - [`keepalive`] finds how seldom a NAT keepalive is enough.
//! - [`memory`] remembers all of it for each network.
//!
//! Every algorithm takes `now` as an argument, says what to send (`poll_*`) and is told what happened (`handle_*`).
//! [`defaults`] has each duration and budget with its reason.

#![forbid(unsafe_code)]

pub mod defaults;
pub mod keepalive;
pub mod ladder;
pub mod memory;
pub mod mtu;
pub mod overhead;
pub mod time;
