//! One IKE session and what it has installed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use evenkeel_ipsec::ike::{
    ChildEnd, ChildSaInfo, ClientConfig, Configuration, Framing, IkeSaInfo, Session, Transmit,
};
use evenkeel_ipsec::wire::{Envelope, EspSpi, Exchange, NON_ESP_MARKER};

use crate::event::{Event, LinkId, OpenedPath};
use crate::sizes::inner_pair;
use crate::way::{PathId, Way};

/// An IKE session on a path, with its CHILD SAs that the data plane has.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) session: Session,
    pub(crate) path_id: PathId,
    pub(crate) path: OpenedPath,
    /// The way that it was begun on, where that is not the one in use.
    pub(crate) way: Option<Way>,
    /// When it was started, which is when `path.wall` was read.
    pub(crate) started: Instant,
    /// Whether IKE_AUTH has begun.
    pub(crate) authenticating: bool,
    /// What the gateway assigned.
    pub(crate) assigned: Configuration,
    /// The CHILD SA that packets are sent on.
    pub(crate) sending: Option<ChildSaInfo>,
    installed: BTreeMap<EspSpi, ChildSaInfo>,
}

impl Link {
    pub(crate) fn connect(
        id: LinkId,
        client: &Arc<ClientConfig>,
        path_id: PathId,
        path: OpenedPath,
        seed: [u8; 32],
        now: Instant,
    ) -> Self {
        let session = Session::connect(Arc::clone(client), path.init, path.nat, seed, path.wall, now);
        Self {
            id,
            session,
            path_id,
            path,
            way: None,
            started: now,
            authenticating: false,
            assigned: Configuration::default(),
            sending: None,
            installed: BTreeMap::new(),
        }
    }

    /// Whether the gateway has answered IKE_SA_INIT.
    pub(crate) fn heard_init(&self) -> bool {
        !self.session.expects_init_response() && !self.session.is_closed()
    }

    pub(crate) fn ike_sa(&self) -> Option<IkeSaInfo> {
        self.session.info()
    }

    /// Whether we are behind a NAT whose mapping must be kept.
    pub(crate) fn needs_keepalives(&self) -> bool {
        self.path.nat.framing != Framing::Stream && self.ike_sa().is_some_and(|ike| ike.nat_local)
    }

    /// The next datagram to send.
    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        let transmit = self.session.poll_transmit()?;
        if !self.authenticating {
            let message = match transmit.path.framing {
                Framing::Bare => Some(&transmit.payload[..]),
                Framing::NonEspMarker | Framing::Stream => transmit.payload.get(NON_ESP_MARKER.len()..),
            };
            let exchange = message.and_then(|message| Some(Envelope::parse(message).ok()?.header.exchange));
            self.authenticating = exchange == Some(Exchange::IkeAuth);
        }
        Some(transmit)
    }

    pub(crate) fn installed(&mut self, info: &ChildSaInfo, send_now: bool) {
        self.installed.insert(info.spi_in, info.clone());
        if send_now {
            self.sending = Some(info.clone());
        }
    }

    pub(crate) fn send_on(&mut self, spi_in: EspSpi) {
        if let Some(info) = self.installed.get(&spi_in) {
            self.sending = Some(info.clone());
        }
    }

    /// Forgets a CHILD SA; whether it was installed.
    pub(crate) fn removed(&mut self, spi_in: EspSpi) -> bool {
        if self.sending.as_ref().is_some_and(|info| info.spi_in == spi_in) {
            self.sending = None;
        }
        self.installed.remove(&spi_in).is_some()
    }

    /// The CHILD SA that is sent on, or will be.
    pub(crate) fn sending_child(&self) -> Option<&ChildSaInfo> {
        self.sending.as_ref().or_else(|| self.installed.values().last())
    }

    /// One of our inner addresses, and who can be asked from there.
    pub(crate) fn inner_pair(&self) -> Option<(IpAddr, IpAddr)> {
        inner_pair(&self.assigned, self.sending_child()?)
    }

    pub(crate) fn children(&self) -> impl Iterator<Item = &ChildSaInfo> {
        self.installed.values()
    }

    /// What has to be removed from the data plane when the session is gone without having said so itself.
    pub(crate) fn into_removals(self, reason: ChildEnd) -> impl Iterator<Item = Event> {
        self.installed.into_keys().map(move |spi_in| Event::RemoveChild { spi_in, reason })
    }
}
