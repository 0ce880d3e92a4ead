//! Learning against simulated networks, with a virtual clock. Seeded: a number meets the same network again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed assumption is a failed test")]

mod idle;
mod keepalive;
mod nat;
mod networks;
mod path;
mod rng;
mod table;
