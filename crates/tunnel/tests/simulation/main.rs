//! A tunnel and its gateways on a virtual clock.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed assumption is a failed test")]

mod connection;
mod idle;
mod mapping;
mod memory;
mod nat;
mod outlasting;
mod peer;
mod race;
mod roaming;
mod sizing;
mod storms;
mod world;
