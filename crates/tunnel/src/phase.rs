//! Where a connection is. A phase is named for what it awaits.

use std::sync::Arc;
use std::time::Instant;

use crate::inner::InnerNetwork;
use crate::link::Link;
use crate::race::Race;

pub(crate) enum Phase {
    Off,
    /// `asked` is false while the system's network has yet to be restored: until then its resolver may point into the
    /// dead tunnel.
    ExpectAddresses {
        asked: bool,
    },
    Racing(Race),
    /// With what is left of the race, should this come to nothing.
    ExpectChild(Race, Box<Link>),
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
            | Self::Racing(_)
            | Self::ExpectRetry { .. }
            | Self::ExpectClosed
            | Self::Failed => None,
        }
    }

    /// What is being asked.
    pub(crate) fn race(&self) -> Option<&Race> {
        if let Self::Racing(race) = self { Some(race) } else { None }
    }

    /// The session in use, or those that race to be it.
    pub(crate) fn links_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        let (link, race) = match self {
            Self::ExpectChild(_, link) | Self::ExpectConfigured(link) | Self::Up(link) => {
                (Some(&mut **link), None)
            }
            Self::Racing(race) => (None, Some(race)),
            Self::Off
            | Self::ExpectAddresses { .. }
            | Self::ExpectRetry { .. }
            | Self::ExpectClosed
            | Self::Failed => (None, None),
        };
        link.into_iter().chain(race.into_iter().flat_map(Race::links_mut))
    }

    pub(crate) fn link_mut(&mut self) -> Option<&mut Link> {
        match self {
            Self::ExpectChild(_, link) | Self::ExpectConfigured(link) | Self::Up(link) => Some(link),
            Self::Off
            | Self::ExpectAddresses { .. }
            | Self::Racing(_)
            | Self::ExpectRetry { .. }
            | Self::ExpectClosed
            | Self::Failed => None,
        }
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
