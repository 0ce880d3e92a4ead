//! The data plane in user mode: ESP on one side, the inner network on the other.

use std::collections::BTreeMap;
use std::time::Instant;

use evenkeel_ipsec::ike::{Path, Transmit};
use evenkeel_ipsec::wire::EspSpi;

use super::{Authenticated, ChildSas, PlaneCommand, PlaneDrops};
use crate::inner::InnerNet;

/// Carries packets between clients and the inner network.
pub(in crate::gateway) struct UserPlane {
    inner: InnerNet,
    children: BTreeMap<EspSpi, Child>,
    /// Counts installations: the youngest CHILD SA that leads to an address wins.
    installed: u64,
    drops: PlaneDrops,
}

struct Child {
    sas: Box<ChildSas>,
    age: u64,
}

impl UserPlane {
    pub(in crate::gateway) fn new(inner: InnerNet) -> Self {
        Self { inner, children: BTreeMap::new(), installed: 0, drops: PlaneDrops::default() }
    }

    pub(super) fn apply(&mut self, command: PlaneCommand) {
        match command {
            PlaneCommand::Install(sas) => {
                self.installed += 1;
                self.children.insert(sas.inbound.spi(), Child { sas, age: self.installed });
            }
            PlaneCommand::SendOn(spi_in) => {
                if let Some(child) = self.children.get_mut(&spi_in) {
                    child.sas.send_now = true;
                }
            }
            PlaneCommand::Remove(spi_in) => drop(self.children.remove(&spi_in)),
            PlaneCommand::SetPath(spi_in, path) => {
                if let Some(child) = self.children.get_mut(&spi_in) {
                    child.sas.path = path;
                }
            }
        }
    }

    pub(super) fn drops(&self) -> PlaneDrops {
        self.drops
    }

    pub(super) fn connections(&self) -> usize {
        self.inner.connections()
    }

    pub(super) fn handle_esp(&mut self, path: Path, esp: &mut [u8], now: Instant) -> Option<Authenticated> {
        let spi = esp.first_chunk().map(|spi| EspSpi(u32::from_be_bytes(*spi)));
        let Some(Child { sas, .. }) = spi.and_then(|spi| self.children.get_mut(&spi)) else {
            self.drops.unknown_spi += 1;
            return None;
        };
        let newest = sas.inbound.sequence();
        match sas.inbound.open(esp) {
            Ok(opened) => self.inner.handle_packet(opened.packet, now),
            Err(error) if error.is_authentic() => {}
            Err(_) => return None,
        }
        // RFC 7296 §2.23: a NAT may give the client another port at any time. Only a packet newer than all others
        // shows where the client is; a late one shows where it was.
        let moved = sas.inbound.sequence() > newest && sas.path != path;
        Some(Authenticated { spi_in: sas.inbound.spi(), moved })
    }

    pub(super) fn poll(&mut self, now: Instant) {
        self.inner.poll(now);
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        while let Some(packet) = self.inner.poll_packet() {
            let route = self
                .children
                .values_mut()
                .filter(|child| child.sas.send_now && child.sas.outbound.permits(&packet))
                .max_by_key(|child| child.age);
            let Some(Child { sas, .. }) = route else {
                self.drops.no_route += 1;
                continue;
            };
            let headroom = sas.outbound.headroom();
            let mut slot = vec![0; sas.outbound.sealed_len(packet.len())];
            slot[headroom..headroom + packet.len()].copy_from_slice(&packet);
            // A refusal is in the SA's counters.
            if sas.outbound.seal(&mut slot, packet.len()).is_ok() {
                return Some(Transmit { path: sas.path, payload: slot });
            }
        }
        None
    }

    pub(super) fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        self.inner.poll_timeout(now)
    }
}
