//! Where a connection is. A phase is named for what it awaits.

use std::sync::Arc;
use std::time::Instant;

use crate::event::OpenedPath;
use crate::inner::InnerNetwork;
use crate::link::Link;
use crate::peer::Peer;
use crate::race::Race;
use crate::way::PathId;

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
    ExpectConfigured(Carrier),
    Up(Carrier),
    ExpectRetry {
        at: Instant,
    },
    ExpectClosed,
    Failed,
}

/// What packets go through.
pub(crate) enum Carrier {
    /// The CHILD SAs of a session.
    Session(Box<Link>),
    /// WireGuard.
    Peer(Peer),
}

impl Carrier {
    fn link(&self) -> Option<&Link> {
        if let Self::Session(link) = self { Some(link) } else { None }
    }

    fn link_mut(&mut self) -> Option<&mut Link> {
        if let Self::Session(link) = self { Some(link) } else { None }
    }
}

impl Phase {
    /// The session in use.
    pub(crate) fn link(&self) -> Option<&Link> {
        match self {
            Self::ExpectChild(_, link) => Some(link),
            Self::ExpectConfigured(carrier) | Self::Up(carrier) => carrier.link(),
            Self::Off
            | Self::ExpectAddresses { .. }
            | Self::Racing(_)
            | Self::ExpectRetry { .. }
            | Self::ExpectClosed
            | Self::Failed => None,
        }
    }

    /// The WireGuard peer in use.
    pub(crate) fn peer(&self) -> Option<&Peer> {
        if let Self::ExpectConfigured(Carrier::Peer(peer)) | Self::Up(Carrier::Peer(peer)) = self {
            Some(peer)
        } else {
            None
        }
    }

    pub(crate) fn peer_mut(&mut self) -> Option<&mut Peer> {
        if let Self::ExpectConfigured(Carrier::Peer(peer)) | Self::Up(Carrier::Peer(peer)) = self {
            Some(peer)
        } else {
            None
        }
    }

    /// The path in use.
    pub(crate) fn path(&self) -> Option<(PathId, &OpenedPath)> {
        let session = self.link().map(|link| (link.path_id, &link.path));
        session.or_else(|| self.peer().map(|peer| (peer.path_id, &peer.path)))
    }

    /// What is being asked.
    pub(crate) fn race(&self) -> Option<&Race> {
        if let Self::Racing(race) = self { Some(race) } else { None }
    }

    /// The session in use, or those that race to be it.
    pub(crate) fn links_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        let (link, race) = match self {
            Self::ExpectChild(_, link) => (Some(&mut **link), None),
            Self::ExpectConfigured(carrier) | Self::Up(carrier) => (carrier.link_mut(), None),
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
            Self::ExpectChild(_, link) => Some(link),
            Self::ExpectConfigured(carrier) | Self::Up(carrier) => carrier.link_mut(),
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
