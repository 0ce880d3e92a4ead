//! How large a packet fits through the path, one direction at a time (RFC 8899, with an answer for each probe).
//!
//! All candidate sizes are asked at once, so that one round trip tells which two of them the path MTU lies between, and
//! a second one finds the exact byte: with [`PmtuSearch::size`] right after two round trips, whatever the size is. A size
//! is only ever raised on an answer, so silence, loss and lies can make it too small for a while, never too large.
//!
//! The owner sends what [`PmtuSearch::poll_probe`] says and reports each answer:
//!
//! - **Uplink**: an inner packet that will be answered, on ESP (never IKE: a lost IKE request blocks its window), whose
//!   outer packet has exactly [`Probe::size`] bytes with its IP header, don't-fragment set. With [`ProbeStyle::Padded`] the
//!   request is small and filled by TFC padding (RFC 4303 §2.7); with [`ProbeStyle::Echo`] it is a large ICMP echo, and
//!   since its reply is as large, what is learned is the smaller of both directions.
//! - **Downlink**: an inner request that crosses any path (large echoes in inner fragments) whose reply's outer packet
//!   has [`Probe::size`] bytes.
//!
//! After each `handle_*` drain [`PmtuSearch::poll_probe`], then read [`PmtuSearch::poll_timeout`] and
//! [`PmtuSearch::size`]. Sizes are those of whole outer packets; [`overhead`](crate::overhead) turns them into an inner MTU.

mod candidates;
mod round;
mod search;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::overhead::Encapsulation;

pub use search::PmtuSearch;

/// Which way the probed packet goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// From us to the gateway.
    Uplink,
    /// From the gateway to us.
    Downlink,
}

/// How a probe gets its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProbeStyle {
    /// A small request, filled with TFC padding.
    Padded,
    /// A large ICMP echo: for a peer that said ESP_TFC_PADDING_NOT_SUPPORTED (RFC 7296 §1.3.1), and for the downlink.
    Echo,
}

/// Names one probe, so that its answer can be told from another's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProbeId {
    /// The search that asked.
    pub direction: Direction,
    /// Counts up over the life of a search, from [`Config::first_number`].
    pub number: u32,
}

/// A probe to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probe {
    /// To be given to [`PmtuSearch::handle_reply`].
    pub id: ProbeId,
    /// How to reach the size.
    pub style: ProbeStyle,
    /// Bytes of the whole outer packet, in the probed direction.
    pub size: u16,
}

/// What a search starts from.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The direction.
    pub direction: Direction,
    /// How probes get their size.
    pub style: ProbeStyle,
    /// The suite and the outer family: they decide which sizes exist.
    pub encapsulation: Encapsulation,
    /// MTU of the link that outer packets leave by: nothing larger is tried.
    pub link_mtu: u16,
    /// What this network carried the last time. In use from the first packet, and asked about in the first round.
    pub remembered: Option<u16>,
    /// The number of its first probe: above all that were asked before, so that a late answer to one of those, which may
    /// have crossed another path, is none to this search.
    pub first_number: u32,
    /// A round trip that was measured already, as of the IKE exchanges.
    pub rtt: Option<Duration>,
}

/// How much [`PmtuSearch::size`] rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The first answers are awaited, or something changed and the search is not over.
    Searching,
    /// The size was answered and the next larger one was not: exact.
    Exact,
    /// The size was answered, but the budget ended before the next larger one was decided. It is tried again when the
    /// raise timer ends.
    Coarse,
    /// Nothing answers probes here: the size is a conservative guess (or remembered), not a measurement.
    Unanswered,
}

/// What a search has sent since it began.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Spent {
    /// Probes.
    pub probes: u32,
    /// Their bytes on the path.
    pub bytes: u64,
    /// Rounds of probes, each of about one round trip.
    pub rounds: u32,
}
