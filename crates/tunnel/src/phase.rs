//! Where a connection is. A phase is named for what it awaits.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::inner::InnerNetwork;
use crate::link::Link;

pub(crate) enum Phase {
    Off,
    /// `asked` is false while the system's network has yet to be restored: until then its resolver may point into the
    /// dead tunnel.
    ExpectAddresses {
        asked: bool,
    },
    ExpectPath(Candidates),
    ExpectChild(Candidates, Box<Link>),
    ExpectConfigured(Box<Link>),
    Up(Box<Link>),
    ExpectRetry {
        at: Instant,
    },
    ExpectClosed,
    Failed,
}

impl Phase {
    /// The session in use.
    pub(crate) fn link(&self) -> Option<&Link> {
        match self {
            Self::ExpectChild(_, link) | Self::ExpectConfigured(link) | Self::Up(link) => Some(link),
            Self::Off
            | Self::ExpectAddresses { .. }
            | Self::ExpectPath(_)
            | Self::ExpectRetry { .. }
            | Self::ExpectClosed
            | Self::Failed => None,
        }
    }

    pub(crate) fn link_mut(&mut self) -> Option<&mut Link> {
        match self {
            Self::ExpectChild(_, link) | Self::ExpectConfigured(link) | Self::Up(link) => Some(link),
            Self::Off
            | Self::ExpectAddresses { .. }
            | Self::ExpectPath(_)
            | Self::ExpectRetry { .. }
            | Self::ExpectClosed
            | Self::Failed => None,
        }
    }
}

/// Addresses still to be tried in this round, one at a time.
pub(crate) struct Candidates(VecDeque<IpAddr>);

impl Candidates {
    pub(crate) fn new(addresses: &[IpAddr]) -> Self {
        Self(addresses.iter().copied().collect())
    }

    /// The one that is being tried.
    pub(crate) fn current(&self) -> Option<IpAddr> {
        self.0.front().copied()
    }

    /// Gives up the one that was being tried.
    pub(crate) fn advance(&mut self) {
        self.0.pop_front();
    }
}

/// Replacing a session before the gateway ends it (RFC 4478), make before break.
pub(crate) enum Reauthentication {
    NotDue,
    ExpectChild(Box<Link>),
    ExpectRetry { at: Instant },
}

/// A session that is being closed: it has until then to hear the gateway's answer.
pub(crate) struct Leaving {
    pub(crate) link: Link,
    pub(crate) until: Instant,
}

/// The state of the system's network as far as this tunnel has changed it.
pub(crate) enum Network {
    Untouched,
    Applying(Arc<InnerNetwork>),
    Applied(Arc<InnerNetwork>),
    Reverting,
}
