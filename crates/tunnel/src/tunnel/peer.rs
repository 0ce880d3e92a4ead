//! The WireGuard peer: asked last, given up first.
//!
//! It assigns nothing and knows no session, so little of it is here: when its turn comes in the race, what happens once it has
//! answered, and how long it may be silent. While it carries the tunnel the gateway is asked again, as behind every
//! fallback, and takes over with a session that has its CHILD SA already.

use std::mem;
use std::net::IpAddr;
use std::time::Instant;

use evenkeel_netprofile::ladder::Transport;

use super::Tunnel;
use crate::cause::{Cause, PathError, ResolveError};
use crate::defaults;
use crate::event::{Event, OpenedPath};
use crate::moving::{Motive, Moving};
use crate::peer::Peer;
use crate::phase::{Carrier, Phase, Reauthentication};
use crate::way::PathId;

impl Tunnel {
    /// The peer's addresses are known, or not. The race for the gateway does not wait for them.
    pub(super) fn peer_resolved(&mut self, result: Result<Vec<IpAddr>, ResolveError>, now: Instant) {
        match result {
            Ok(mut addresses) => {
                addresses.truncate(defaults::MAX_ADDRESSES);
                self.peer_known = addresses;
            }
            Err(error) => {
                tracing::info!(%error, "the WireGuard peer's address is not known");
                return;
            }
        }
        let late = matches!(&self.phase, Phase::Racing(race) | Phase::ExpectChild(race, _)
            if !race.knows(Transport::WireGuard));
        if late {
            let mut starts = self.starts(&self.known, now);
            starts.retain(|start| start.way.transport == Transport::WireGuard);
            if let Phase::Racing(race) | Phase::ExpectChild(race, _) = &mut self.phase {
                race.add(starts);
            }
        }
    }

    /// The peer has answered before the gateway has.
    pub(super) fn peer_won(&mut self, index: usize, opened: OpenedPath, now: Instant) {
        let Phase::Racing(race) = &mut self.phase else { return };
        let mut race = mem::take(race);
        let (way, path) = race.end_at(index, now);
        self.judge(&race, now);
        tracing::warn!(%way, "falling back to the WireGuard peer: the gateway has not answered");
        self.way = Some(way);
        self.reauthentication = Reauthentication::NotDue;
        self.stop_learning();
        self.events.push_back(Event::UsePath { path });
        let peer = Peer { path_id: path, path: opened, answers_by: None };
        self.phase = Phase::ExpectConfigured(Carrier::Peer(peer));
        self.start_sizing(now);
        self.configure();
        self.up_if_configured(now);
    }

    /// The network has changed. WireGuard finds its peer again over a new socket; meanwhile the gateway is asked in every way.
    pub(super) fn peer_roams(&mut self, now: Instant) {
        let Some(peer) = self.phase.peer_mut() else { return };
        peer.answers_by = None;
        let path = peer.path_id;
        self.stop_learning();
        // Its socket may be bound to an address that is gone.
        self.reauthentication = Reauthentication::NotDue;
        self.moving = Moving::Still;
        if let Some(retest) = &mut self.retest {
            retest.handle_network_change(now);
        }
        self.events.push_back(Event::RebindPath { path });
    }

    /// The peer's path has another socket, or could not get one.
    pub(super) fn peer_rebound(&mut self, id: PathId, result: Result<OpenedPath, PathError>, now: Instant) {
        let Some(peer) = self.phase.peer_mut().filter(|peer| peer.path_id == id) else { return };
        match result {
            Ok(opened) => {
                peer.path = opened;
                peer.answers_by = Some(now + defaults::PEER_PATIENCE);
                self.cause = None;
                self.start_sizing(now);
                self.configure();
                if matches!(self.phase, Phase::Up(_)) {
                    self.start_move(Motive::BackToGateway, now);
                }
            }
            Err(PathError::NoRoute) => {
                tracing::info!("no network");
                self.cause = Some(std::sync::Arc::new(PathError::NoRoute.into()));
                self.moving = Moving::ExpectNetwork;
            }
            Err(error) => self.peer_lost(error.into(), now),
        }
    }

    /// Data goes unanswered. The owner has asked by a handshake.
    pub(super) fn peer_silent(&mut self, id: PathId, now: Instant) {
        let stranded = self.moving.is_stranded();
        if let Some(peer) = self.phase.peer_mut().filter(|peer| peer.path_id == id && !stranded) {
            tracing::info!("the WireGuard peer is silent");
            peer.answers_by.get_or_insert(now + defaults::PEER_PATIENCE);
        }
    }

    pub(super) fn peer_answers(&mut self, id: PathId) {
        if let Some(peer) = self.phase.peer_mut().filter(|peer| peer.path_id == id) {
            peer.answers_by = None;
        }
    }

    /// The path in use is no more. Whether it was the peer's.
    pub(super) fn peer_failed(&mut self, id: PathId, error: PathError, now: Instant) -> bool {
        let is_it = self.phase.peer().is_some_and(|peer| peer.path_id == id);
        if is_it {
            self.peer_lost(error.into(), now);
        }
        is_it
    }

    pub(super) fn peer_timeout(&mut self, now: Instant) {
        let overdue = |peer: &Peer| peer.answers_by.is_some_and(|by| by <= now);
        if self.phase.peer().is_some_and(overdue) {
            self.peer_lost(Cause::PeerSilent, now);
        }
    }
}
