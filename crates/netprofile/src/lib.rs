//! What a network is like, without sockets or clocks: how large a packet fits through it, and so how large a
//! packet may enter the tunnel.
//!
//! [`overhead`] has the exact arithmetic of ESP in UDP: from a path MTU, the cipher's shape and the outer
//! address family to the inner MTU, and from there to the TCP MSS.

#![forbid(unsafe_code)]

pub mod overhead;
