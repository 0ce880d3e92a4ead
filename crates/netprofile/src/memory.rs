//! What is remembered of each network, so that the first packet of the next visit already knows it.
//!
//! A [`Fingerprint`] names a network without saying which it is; a [`NetworkProfile`] is what was learned there;
//! [`Networks`] holds the profiles of many networks, within bounds, and turns them into JSON and back. Everything
//! carries the wall-clock time when it was measured and loses weight with age. What comes back from a file is checked
//! like anything from outside: an entry that can't be is dropped alone.

mod fingerprint;
mod label;
mod networks;
mod profile;

pub use fingerprint::{Fingerprint, Identity, InvalidFingerprint, Salt, Subnet};
pub use label::Label;
pub use networks::{Dropped, LoadError, Network, Networks, WhyDropped};
pub use profile::{ConnectTime, ConnectTimes, LearnedLifetime, LearnedMtu, NatPresence, NetworkProfile};
