//! Where a connection is going while it moves from one path to another.

use std::collections::VecDeque;
use std::time::Instant;

use crate::event::{OpenedPath, WakeReason};
use crate::way::{PathId, Way};

/// A move from one path to another, while the SAs, the interface and the inner connections stay.
#[derive(Default)]
pub(crate) enum Moving {
    #[default]
    Still,
    /// A fresh path is being opened.
    ExpectPath { path: PathId, way: Way, until: Instant, plan: Plan },
    /// The gateway is asked along the fresh path, without moving anything yet (RFC 4555 §3.10).
    ExpectCheck { path: PathId, opened: OpenedPath, way: Way, until: Instant, plan: Plan },
    /// Everything goes along the fresh path; the gateway has to say that it follows (RFC 4555 §3.5).
    ExpectFollowed { until: Instant, plan: Plan },
    /// A gateway without MOBIKE: a second session is made along the fresh path.
    ExpectSuccessor { until: Instant, plan: Plan },
    /// There is no way out of this machine: the next change of the network is awaited.
    ExpectNetwork,
}

/// Why it moves, and what is left to try.
pub(crate) struct Plan {
    pub(crate) motive: Motive,
    pub(crate) ways: VecDeque<Way>,
    /// Whether there was a route along one of them: then this machine has a network, whatever the others say.
    pub(crate) opened: bool,
    /// Until when the ways are gone again if the gateway answers along none.
    pub(crate) again_until: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Motive {
    /// The network has changed, or the machine has slept.
    Roam,
    /// The stream in use has ended.
    StreamLost,
    /// A fallback is in use, and UDP may work again.
    BackToUdp,
    /// A WireGuard peer is in use, and the network has changed: the gateway may be reached, in whatever way.
    BackToGateway,
    /// Nothing comes back through the tunnel over UDP, which was first asked for then.
    EspSilent { since: Instant },
}

impl Motive {
    /// Whether the path in use is dead, or may be.
    pub(crate) fn is_roam(self) -> bool {
        matches!(self, Self::Roam | Self::StreamLost)
    }
}

impl Moving {
    /// Whether nothing is under way.
    pub(crate) fn is_still(&self) -> bool {
        matches!(self, Self::Still)
    }

    /// Whether sessions sleep, since nothing could be sent.
    pub(crate) fn is_stranded(&self) -> bool {
        matches!(self, Self::ExpectNetwork)
    }

    /// Whether the gateway is asked to follow, since the present path may be dead.
    pub(crate) fn is_roaming(&self) -> bool {
        match self {
            Self::ExpectPath { plan, .. }
            | Self::ExpectFollowed { plan, .. }
            | Self::ExpectSuccessor { plan, .. } => {
                !matches!(plan.motive, Motive::BackToUdp | Motive::BackToGateway)
            }
            Self::Still | Self::ExpectCheck { .. } | Self::ExpectNetwork => false,
        }
    }

    /// The path that is not in use yet.
    pub(crate) fn fresh_path(&self) -> Option<PathId> {
        match self {
            Self::ExpectPath { path, .. } | Self::ExpectCheck { path, .. } => Some(*path),
            Self::Still
            | Self::ExpectFollowed { .. }
            | Self::ExpectSuccessor { .. }
            | Self::ExpectNetwork => None,
        }
    }

    /// When what is awaited is overdue.
    pub(crate) fn timeout(&self) -> Option<(Instant, WakeReason)> {
        match self {
            Self::ExpectPath { until, .. }
            | Self::ExpectCheck { until, .. }
            | Self::ExpectFollowed { until, .. }
            | Self::ExpectSuccessor { until, .. } => Some((*until, WakeReason::Move)),
            Self::Still | Self::ExpectNetwork => None,
        }
    }
}
