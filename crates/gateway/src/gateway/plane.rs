//! The data plane in user mode: ESP on one side, the inner network on the other.

use std::collections::BTreeMap;
use std::time::Instant;

use evenkeel_ipsec::esp::{InboundSa, OutboundSa};
use evenkeel_ipsec::ike::{ChildInstalled, ChildSaInfo, Path, SessionId, Transmit};
use evenkeel_ipsec::wire::EspSpi;
use serde::Serialize;

use crate::inner::InnerNet;

/// CHILD SAs at the same time, replaced ones included. Beyond it new ones are not installed: the client sees an SA
/// that swallows its packets, which is what a full gateway looks like.
const MAX_CHILDREN: usize = 8192;

/// Datagrams that were not carried, by reason; what an SA itself refuses is in the SA's own counters.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct PlaneDrops {
    /// Shorter than an ESP header, or with an SPI that nobody has.
    pub unknown_spi: u64,
    /// Packets of the inner network for an address that no CHILD SA leads to.
    pub no_route: u64,
    /// CHILD SAs that found no room.
    pub table_full: u64,
}

/// Carries packets between clients and the inner network.
pub(super) struct UserPlane {
    inner: InnerNet,
    children: BTreeMap<EspSpi, Child>,
    /// Counts installations: the youngest CHILD SA that leads to an address wins.
    installed: u64,
    drops: PlaneDrops,
}

struct Child {
    session: SessionId,
    info: ChildSaInfo,
    inbound: InboundSa,
    outbound: OutboundSa,
    path: Path,
    /// Whether packets may leave on it.
    sending: bool,
    age: u64,
}

impl UserPlane {
    pub(super) fn new(inner: InnerNet) -> Self {
        Self { inner, children: BTreeMap::new(), installed: 0, drops: PlaneDrops::default() }
    }

    pub(super) fn install(&mut self, session: SessionId, path: Path, child: ChildInstalled) {
        if self.children.len() >= MAX_CHILDREN {
            self.drops.table_full += 1;
            return;
        }
        self.installed += 1;
        let ChildInstalled { info, inbound, outbound, replaces: _, send_now } = child;
        let age = self.installed;
        let child = Child { session, info, inbound, outbound, path, sending: send_now, age };
        self.children.insert(child.info.spi_in, child);
    }

    pub(super) fn send_on(&mut self, spi_in: EspSpi) {
        if let Some(child) = self.children.get_mut(&spi_in) {
            child.sending = true;
        }
    }

    pub(super) fn remove(&mut self, spi_in: EspSpi) {
        self.children.remove(&spi_in);
    }

    pub(super) fn remove_session(&mut self, session: SessionId) {
        self.children.retain(|_, child| child.session != session);
    }

    /// The session's packets go to another address from here on.
    pub(super) fn set_path(&mut self, session: SessionId, path: Path) {
        for child in self.children.values_mut().filter(|child| child.session == session) {
            child.path = path;
        }
    }

    pub(super) fn children_of(&self, session: SessionId) -> impl Iterator<Item = &ChildSaInfo> {
        self.children.values().filter(move |child| child.session == session).map(|child| &child.info)
    }

    pub(super) fn drops(&self) -> PlaneDrops {
        self.drops
    }

    pub(super) fn connections(&self) -> usize {
        self.inner.connections()
    }

    /// Takes an ESP packet that arrived along `path`. Returns whose it is, if it is authentic.
    pub(super) fn handle_esp(&mut self, path: Path, esp: &mut [u8], now: Instant) -> Option<SessionId> {
        let spi = esp.first_chunk().map(|spi| EspSpi(u32::from_be_bytes(*spi)));
        let Some(child) = spi.and_then(|spi| self.children.get_mut(&spi)) else {
            self.drops.unknown_spi += 1;
            return None;
        };
        let newest = child.inbound.sequence();
        match child.inbound.open(esp) {
            Ok(opened) => self.inner.handle_packet(opened.packet, now),
            Err(error) if error.is_authentic() => {}
            Err(_) => return None,
        }
        // Who sends on an SA has it installed, so it may be answered on it.
        child.sending = true;
        // RFC 7296 §2.23: a NAT may give the client another port at any time. Only a packet newer than all others
        // shows where the client is; a late one shows where it was.
        let (session, moved) = (child.session, child.inbound.sequence() > newest && child.path != path);
        if moved {
            self.set_path(session, path);
        }
        Some(session)
    }

    /// Lets the inner network work.
    pub(super) fn poll(&mut self, now: Instant) {
        self.inner.poll(now);
    }

    /// The next ESP packet to send.
    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        while let Some(packet) = self.inner.poll_packet() {
            let route = self
                .children
                .values_mut()
                .filter(|child| child.sending && child.outbound.permits(&packet))
                .max_by_key(|child| child.age);
            let Some(child) = route else {
                self.drops.no_route += 1;
                continue;
            };
            let headroom = child.outbound.headroom();
            let mut slot = vec![0; child.outbound.sealed_len(packet.len())];
            slot[headroom..headroom + packet.len()].copy_from_slice(&packet);
            // A refusal is in the SA's counters.
            if child.outbound.seal(&mut slot, packet.len()).is_ok() {
                return Some(Transmit { path: child.path, payload: slot });
            }
        }
        None
    }

    pub(super) fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        self.inner.poll_timeout(now)
    }
}
