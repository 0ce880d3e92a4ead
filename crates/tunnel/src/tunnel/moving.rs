//! Moving to another path: after a change of the network, when a stream ends, and back to UDP.
//!
//! With MOBIKE (RFC 4555) the IKE SA and the CHILD SAs stay and only change their addresses; without it a second session
//! is made along the new path and takes over. Either way the interface, its addresses and routes stay, and so do the
//! connections through the tunnel.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use evenkeel_ipsec::ike::{Failure, Path};
use evenkeel_netprofile::ladder::{LastGood, Retest, Transport};
use evenkeel_netprofile::memory::NetworkProfile;
use evenkeel_netprofile::overhead::Family;

use super::Tunnel;
use crate::cause::{Cause, PathError};
use crate::defaults;
use crate::event::{Event, OpenedPath, PathEvent};
use crate::keepalive::Keepalive;
use crate::moving::{Motive, Moving, Plan};
use crate::phase::{Phase, Reauthentication};
use crate::way::{PathId, Way};

impl Tunnel {
    /// Something under the tunnel has changed, or may have.
    pub fn handle_path_event(&mut self, event: PathEvent, now: Instant) {
        tracing::info!(?event, "the network under the tunnel");
        match &self.phase {
            // Sockets that were opened before may be bound to an address that is gone.
            Phase::Racing(_) => self.start_race(now),
            Phase::ExpectRetry { .. } => self.start_round(now),
            Phase::ExpectConfigured(_) | Phase::Up(_) => self.roam(event, now),
            // Under way with a path that may have survived; if it has not, silence says so.
            Phase::ExpectChild(..) => {}
            Phase::Off | Phase::ExpectAddresses { .. } | Phase::ExpectClosed | Phase::Failed => {}
        }
        self.settle(now);
    }

    /// The machine is on another network. What was being learned belongs to the one before; what depends on this one
    /// begins with what is known of it: at once where the path is that of a session in use, else on arrival.
    pub(super) fn on_network(&mut self, profile: NetworkProfile, now: Instant) {
        self.profile = profile;
        self.blockage = None;
        self.stop_learning();
        if self.moving.is_still() && matches!(self.phase, Phase::ExpectConfigured(_) | Phase::Up(_)) {
            self.start_sizing(now);
            self.start_mapping(now);
            self.configure();
        }
    }

    fn roam(&mut self, _event: PathEvent, now: Instant) {
        self.esp_hopeless = false;
        if let Some(retest) = &mut self.retest {
            retest.handle_network_change(now);
        }
        // A burst of events is one change: what is being opened is newer than what the event tells of, or will fail.
        if matches!(self.moving, Moving::ExpectPath { plan: Plan { motive: Motive::Roam, .. }, .. }) {
            return;
        }
        // What the path that is left may still answer says nothing about where we are.
        self.stop_learning();
        self.start_move(Motive::Roam, now);
    }

    /// Every way that there is, the present one first: what works keeps working in most moves.
    fn ways(&self) -> VecDeque<Way> {
        let mut ways: VecDeque<Way> = self.way.into_iter().collect();
        let transports = [Transport::Udp4500].into_iter().chain(self.config.fallbacks.iter().copied());
        for transport in transports {
            for &gateway in &self.known {
                let way = Way { gateway, transport };
                if !ways.contains(&way) {
                    ways.push_back(way);
                }
            }
        }
        ways
    }

    pub(super) fn start_move(&mut self, motive: Motive, now: Instant) {
        let mut ways = self.ways();
        match motive {
            Motive::BackToUdp => ways.retain(|way| way.transport == Transport::Udp4500),
            Motive::EspSilent { .. } => ways.retain(|way| way.transport != Transport::Udp4500),
            Motive::Roam | Motive::StreamLost => {}
        }
        self.next_move(Plan { motive, ways }, now);
    }

    /// Opens the next path, or sees what is to be done when there is none left.
    fn next_move(&mut self, mut plan: Plan, now: Instant) {
        if let Some(way) = plan.ways.pop_front() {
            let path = PathId(self.next_id());
            self.open_paths.insert(path);
            self.events.push_back(Event::OpenPath { path, way });
            self.moving = Moving::ExpectPath { path, way, plan };
            return;
        }
        self.moving = Moving::Still;
        match plan.motive {
            Motive::BackToUdp => {
                if let Some(retest) = &mut self.retest {
                    retest.handle_failed(now);
                }
            }
            Motive::EspSilent { .. } => self.esp_gave_nothing(now),
            Motive::Roam | Motive::StreamLost => self.session_lost(Failure::PeerDead.into(), now),
        }
    }

    /// A path to move to is open. Whether it was one.
    pub(super) fn move_opened(&mut self, id: PathId, opened: OpenedPath, now: Instant) -> bool {
        if self.moving.fresh_path() != Some(id) {
            return false;
        }
        let Moving::ExpectPath { path, way, plan } = mem::take(&mut self.moving) else { return true };
        let Some(link) = self.phase.link_mut() else { return true };
        let mobike = link.ike_sa().is_some_and(|ike| ike.mobike);
        let present = link.path.nat;
        let unmoved = present.local.ip() == opened.nat.local.ip() && self.way == Some(way);
        let until = now + defaults::MOVE_PATIENCE;
        if plan.motive == Motive::BackToUdp && mobike {
            if link.session.check_path(opened.nat, now) {
                let until = now + defaults::CHECK_PATIENCE;
                self.moving = Moving::ExpectCheck { path, opened, way, until };
            } else {
                self.check_failed(now);
            }
        } else if !mobike {
            // Whatever was on its way along another path is overtaken.
            let link = self.start_link(id, OpenedPath { init: opened.nat, ..opened }, now);
            self.reauthentication = Reauthentication::ExpectChild(link);
            self.moving = Moving::ExpectSuccessor { until: now + defaults::SUCCESSOR_PATIENCE, way, plan };
        } else if plan.motive == Motive::Roam && unmoved {
            // The same address may belong to another network, behind another NAT: the gateway is to look again.
            if link.session.migrate(present, now).is_ok() {
                self.moving = Moving::ExpectFollowed { until, plan };
            }
        } else {
            self.move_to(id, opened, way, now);
            self.moving = Moving::ExpectFollowed { until, plan };
        }
        true
    }

    /// Everything goes along another path from here on.
    fn move_to(&mut self, id: PathId, opened: OpenedPath, way: Way, now: Instant) {
        let Some(link) = self.phase.link_mut() else { return };
        if let Err(error) = link.session.migrate(opened.nat, now) {
            tracing::warn!(%error, "the session can't be moved");
            return;
        }
        tracing::info!(%way, local = %opened.nat.local, "moving");
        link.path = OpenedPath { init: opened.nat, ..opened };
        link.path_id = id;
        self.way = Some(way);
        self.tried = Some(way.gateway);
        self.keepalive = Keepalive::new(now);
        self.events.push_back(Event::UsePath { path: id });
    }

    /// A path to move to could not be opened, or has ended. Whether it was one.
    pub(super) fn move_failed(&mut self, id: PathId, error: PathError, now: Instant) -> bool {
        if self.moving.fresh_path() == Some(id) {
            match mem::take(&mut self.moving) {
                Moving::ExpectPath { plan, .. } => {
                    let stranded = error == PathError::NoRoute && plan.ways.is_empty();
                    if stranded && plan.motive == Motive::Roam {
                        // Sessions sleep until there is a network again: the gateway keeps its half for as long.
                        tracing::info!("no network");
                        self.cause = Some(Arc::new(error.into()));
                        self.moving = Moving::ExpectNetwork;
                    } else {
                        self.next_move(plan, now);
                    }
                }
                Moving::ExpectCheck { .. } => self.check_failed(now),
                Moving::Still
                | Moving::ExpectFollowed { .. }
                | Moving::ExpectSuccessor { .. }
                | Moving::ExpectNetwork => {}
            }
            return true;
        }
        if self.phase.link().is_some_and(|link| link.path_id == id) {
            match self.phase {
                Phase::ExpectConfigured(_) | Phase::Up(_) => self.start_move(Motive::StreamLost, now),
                Phase::Off
                | Phase::ExpectAddresses { .. }
                | Phase::Racing(_)
                | Phase::ExpectChild(..)
                | Phase::ExpectRetry { .. }
                | Phase::ExpectClosed
                | Phase::Failed => self.session_lost(error.into(), now),
            }
            return true;
        }
        false
    }

    fn check_failed(&mut self, now: Instant) {
        self.moving = Moving::Still;
        if let Some(retest) = &mut self.retest {
            retest.handle_failed(now);
        }
    }

    /// The gateway has answered along a path that is not in use.
    pub(super) fn path_checked(&mut self, checked: Path, now: Instant) {
        if !matches!(&self.moving, Moving::ExpectCheck { opened, .. } if opened.nat == checked) {
            return;
        }
        if let Moving::ExpectCheck { path, opened, way, .. } = mem::take(&mut self.moving) {
            self.move_to(path, opened, way, now);
            let plan = Plan { motive: Motive::StreamLost, ways: self.ways() };
            self.moving = Moving::ExpectFollowed { until: now + defaults::MOVE_PATIENCE, plan };
        }
    }

    pub(super) fn path_unreachable(&mut self, checked: Path, now: Instant) {
        if matches!(&self.moving, Moving::ExpectCheck { opened, .. } if opened.nat == checked) {
            self.check_failed(now);
        }
    }

    /// The gateway follows.
    #[expect(clippy::wildcard_enum_match_arm, reason = "anything else stays as it is")]
    pub(super) fn followed(&mut self, now: Instant) {
        match mem::take(&mut self.moving) {
            Moving::ExpectFollowed { plan, .. } => {
                self.arrived(now);
                if let Motive::EspSilent { since } = plan.motive {
                    self.try_esp(since, now);
                }
            }
            other => self.moving = other,
        }
    }

    /// The connection is on a path that works: remember which, and see to what depends on it.
    pub(super) fn arrived(&mut self, now: Instant) {
        let Some(way) = self.way else { return };
        self.known.retain(|address| *address != way.gateway);
        self.known.insert(0, way.gateway);
        self.note_good(way, now);
        self.cause = None;
        self.start_sizing(now);
        self.start_mapping(now);
        self.configure();
    }

    /// A way carries the connection.
    pub(super) fn note_good(&mut self, way: Way, now: Instant) {
        let on_fallback = way.transport != Transport::Udp4500;
        self.retest = match self.retest.take() {
            Some(retest) if on_fallback => Some(retest),
            None if on_fallback => Some(Retest::new(now)),
            Some(_) | None => None,
        };
        if !on_fallback {
            self.blockage = None;
        }
        self.profile.last_good = Some(LastGood {
            transport: way.transport,
            family: Family::from(way.gateway),
            at: self.wall_at(now),
        });
    }

    /// What is awaited is overdue, or UDP is to be tried again.
    pub(super) fn move_timeout(&mut self, now: Instant) {
        if self.moving.timeout().is_some_and(|(at, _)| at <= now) {
            match mem::take(&mut self.moving) {
                Moving::ExpectCheck { .. } => self.check_failed(now),
                Moving::ExpectFollowed { plan, .. } => self.next_move(plan, now),
                Moving::ExpectSuccessor { plan, .. } => {
                    self.reauthentication = Reauthentication::NotDue;
                    self.next_move(plan, now);
                }
                Moving::Still | Moving::ExpectPath { .. } | Moving::ExpectNetwork => {}
            }
        }
        let due = self.retest.is_some_and(|retest| retest.poll_timeout() <= now);
        if due && self.moving.is_still() && matches!(self.phase, Phase::Up(_)) {
            self.start_move(Motive::BackToUdp, now);
        }
    }

    /// The session that was to take over along another path is in use.
    pub(super) fn succeeded(&mut self, now: Instant) {
        if let Moving::ExpectSuccessor { way, .. } = mem::take(&mut self.moving) {
            self.way = Some(way);
            self.arrived(now);
        }
    }

    /// The session that was to take over has failed. Whether it was one of a move.
    pub(super) fn successor_failed(&mut self, now: Instant) -> bool {
        let Moving::ExpectSuccessor { plan, .. } = mem::take(&mut self.moving) else { return false };
        self.reauthentication = Reauthentication::NotDue;
        self.next_move(plan, now);
        true
    }

    fn session_lost(&mut self, cause: Cause, now: Instant) {
        self.moving = Moving::Still;
        self.abandon(cause, now);
    }
}
