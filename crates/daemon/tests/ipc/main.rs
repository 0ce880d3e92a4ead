//! The daemon's whole control plane behind its IPC, on a machine of straw.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::unwrap_in_result,
    reason = "a failed assumption is a failed test"
)]

mod connection;
mod hostile_clients;
mod networks;
mod permissions;
mod portal;
mod straw;
mod wireguard;
