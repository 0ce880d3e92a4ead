//! A tunnel and its gateways on a virtual clock.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed assumption is a failed test")]

mod connection;
mod race;
mod storms;
mod world;
