//! Simulation: initiator and responder over a network with a virtual clock. Everything is drawn from one
//! seed, so a failure replays.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests, helpers included")]

mod certificates;
mod collisions;
mod delayed;
mod eap;
mod handshakes;
mod hostile;
mod ledger;
mod mappings;
mod mobike;
mod nat;
mod pair;
mod rekeys;

use ledger::Ledger;
use pair::{Network, Options, Pair};
