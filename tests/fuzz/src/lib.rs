//! Fuzz targets for everything that parses bytes from outside, as plain functions.
//!
//! A target takes any bytes and panics when something is wrong: a panic of the code under test, or a property that
//! does not hold. They are called from two places:
//!
//! * `tests/replay.rs` feeds them the committed inputs in `corpus/`, whole and cut at every length, in every test run;
//! * `libfuzzer/`, a package outside the workspace, has a cargo-fuzz binary for each, for longer searches.
//!
//! `cargo run -p evenkeel-fuzz --example seeds` writes the part of the corpora that is made of valid encodings.

#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a target reports what is wrong by panicking")]

mod eap;
mod esp;
mod frames;
mod gateway;
mod ike;
mod profile;
pub mod seeds;
mod session;
mod stream;

pub use eap::{eap_peer, eap_server};
pub use esp::{esp_open, esp_seal};
pub use frames::{frame, frames};
pub use ike::{ike_datagram, ike_payloads};
pub use profile::{profile_mobileconfig, profile_sswan, profile_toml};
pub use session::{ike_session, skf_reassembly};
pub use stream::stream_decoder;

/// What became of an input, to tell whether a corpus gets anywhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The input, or the first bad part of it, was refused.
    Refused,
    /// The code under test took the input for what it should be.
    Accepted,
}

/// A fuzz target.
pub struct Target {
    /// Its name: the folder of its corpus, and its cargo-fuzz binary.
    pub name: &'static str,
    /// Tries one input.
    pub run: fn(&[u8]) -> Outcome,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "eap_peer", run: eap_peer },
    Target { name: "eap_server", run: eap_server },
    Target { name: "esp_open", run: esp_open },
    Target { name: "esp_seal", run: esp_seal },
    Target { name: "ike_datagram", run: ike_datagram },
    Target { name: "ike_payloads", run: ike_payloads },
    Target { name: "ike_session", run: ike_session },
    Target { name: "profile_mobileconfig", run: profile_mobileconfig },
    Target { name: "profile_sswan", run: profile_sswan },
    Target { name: "profile_toml", run: profile_toml },
    Target { name: "skf_reassembly", run: skf_reassembly },
    Target { name: "stream_decoder", run: stream_decoder },
];
