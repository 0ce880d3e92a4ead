//! How long a NAT remembers an idle UDP mapping, and so how seldom a keepalive is enough.
//!
//! [`LifetimeSearch`] starts at the 20 s of RFC 3948 §4, or at what this network has proven, and searches upwards on a
//! *second flow*, so that the live mapping is never idled beyond what is proven. Three kinds of evidence, each labelled
//! with its [`Method`]:
//!
//! 1. **Second socket.** With MOBIKE, a request with NAT_DETECTION payloads may come from another source port (RFC 4555
//!    §3.10); the answer carries the hash of the mapping that the gateway saw, and moves nothing. Idle for T, ask again:
//!    a changed hash means that the mapping died within T. An equal hash means that it lived *only if* this NAT gives
//!    another port to a new mapping, which is known once a change was seen and reproduced. Before T the flow is used
//!    twice, three seconds apart: Linux and others give a flow its long timer only then.
//! 2. **Inbound after silence.** Port-preserving NATs hand out the same port again, and a second NAT behind the first
//!    one hides the first one's expiry: there the hash says nothing. What proves a mapping alive is an authenticated
//!    packet that comes *in* through it after a silence; how the owner brings one about (it asks the gateway for a request,
//!    on a flow of its own) is its business.
//! 3. **Passive.** A mapping that was lost while idle, seen by a changed hash on any check or by one-way traffic (the
//!    sequence numbers of inbound ESP jump after the silence), shrinks the interval at once, also below 20 s.
//!
//! T ascends 30, 45, 60, 90, 120, 180, 300 s, then the bracket between the longest T that lived and the shortest that
//! died is bisected to a tenth, and 80 % of what lived is used: at least 70 % of the true lifetime, and never more than
//! it. A step is begun only while the tunnel is idle. [`defaults`](crate::defaults) has the budgets and
//! [`LEARNING_TIME`](crate::defaults::LEARNING_TIME).
//!
//! After each `handle_*` drain [`LifetimeSearch::poll_action`], then read [`LifetimeSearch::poll_timeout`] and
//! [`LifetimeSearch::interval`]. Keepalives themselves are the owner's: one is due when nothing at all was sent for the
//! interval.

mod bracket;
mod search;
mod second_socket;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use search::LifetimeSearch;

/// What proved a lifetime.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The gateway saw the same mapping again after a silence, on a NAT that changes ports.
    SecondSocket,
    /// A packet came in through a mapping after a silence.
    InboundAfterSilence,
    /// The live mapping was lost while idle.
    Passive,
}

/// How much a learned value is worth.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// A default, or one observation.
    Low,
    /// Measured, but by a method that certain networks mislead, or not to the end.
    Medium,
    /// Proven by packets that came in.
    High,
}

/// What a NAT does with the source port when a mapping is made anew (RFC 4787 §4.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortAssignment {
    /// Another one: the mapping's hash tells old from new.
    Changing,
    /// The same one, or a second NAT hides it: the hash tells nothing.
    Preserving,
}

/// The hash of the mapping that the gateway saw: NAT_DETECTION_DESTINATION_IP of its answer (RFC 7296 §2.23). Two are
/// comparable only within one IKE SA, since the SPIs go into it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MappingHash(pub [u8; 20]);

/// Names one action, so that a late report is not taken for another's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ActionId(pub u32);

/// Something to do on the second flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Send the path check from the second socket, at once, and report to
    /// [`handle_check`](LifetimeSearch::handle_check). The socket sends nothing else.
    CheckSecondSocket {
        /// To be given back with the report.
        id: ActionId,
    },
    /// Have something authenticated come in on a flow of its own after `silence` without any outbound packet on that
    /// flow, and report to [`handle_inbound_probe`](LifetimeSearch::handle_inbound_probe). The flow must have carried
    /// packets both ways for three seconds before the silence.
    ProbeInbound {
        /// To be given back with the report.
        id: ActionId,
        /// The silence.
        silence: Duration,
    },
}

/// What came of [`Action::CheckSecondSocket`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// The gateway answered along that path.
    Seen(MappingHash),
    /// No answer after the owner's repetitions.
    Unreachable,
}

/// What came of [`Action::ProbeInbound`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InboundProbe {
    /// The packet came in: the mapping lived.
    Arrived,
    /// It was certainly sent, and did not come in within a reasonable time.
    Lost,
    /// It could not be brought about.
    Unavailable,
}

/// What the owner can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// [`Action::CheckSecondSocket`] is possible: MOBIKE was agreed, and there is a NAT.
    pub second_socket: bool,
    /// [`Action::ProbeInbound`] is possible.
    pub inbound_probe: bool,
    /// Accept what the second socket alone shows, where inbound packets can't confirm it. Behind *two* NATs of which the
    /// inner one preserves ports and forgets sooner, that is too long: packets of the gateway's side are then lost
    /// after a silence until [`LifetimeSearch::handle_mapping_lost`] is told so.
    pub trust_hash_alone: bool,
    /// What this network has proven before.
    pub remembered: Option<Remembered>,
}

/// A lifetime that was learned on an earlier visit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remembered {
    /// The longest silence that a mapping survived.
    pub lower: Option<Duration>,
    /// The shortest silence that a mapping did not survive.
    pub upper: Option<Duration>,
    /// How that was proven.
    pub method: Method,
    /// What it is worth, after ageing.
    pub confidence: Confidence,
    /// How this NAT assigns ports, if known.
    pub ports: Option<PortAssignment>,
}

/// What is known about the mapping lifetime.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Learned {
    /// Send a keepalive when nothing was sent for this long.
    pub interval: Duration,
    /// The longest silence that a mapping is proven to survive.
    pub lower: Option<Duration>,
    /// The shortest silence that a mapping is known not to have survived.
    pub upper: Option<Duration>,
    /// What the interval is worth.
    pub confidence: Confidence,
    /// What it rests on; `None` for the default.
    pub method: Option<Method>,
    /// When it was proven in this search.
    pub proven_at: Option<Instant>,
    /// How this NAT assigns ports, if known.
    pub ports: Option<PortAssignment>,
    /// Whether the search is over for the time being.
    pub settled: bool,
}

/// What a search has asked its owner to do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Spent {
    /// Second-socket checks: a request and a response each.
    pub checks: u32,
    /// Inbound probes.
    pub inbound_probes: u32,
}
