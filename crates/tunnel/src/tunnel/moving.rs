//! Moving to another path: after a change of the network, when a stream ends, and back to UDP.
//!
//! With MOBIKE (RFC 4555) the IKE SA and the CHILD SAs stay and only change their addresses; without it a second session
//! is made along the new path and takes over. Either way the interface, its addresses and routes stay, and so do the
//! connections through the tunnel.

use std::collections::VecDeque;
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use evenkeel_ipsec::ike::{Failure, Framing, MigrationRefusal, Path};
use evenkeel_netprofile::ladder::{LastGood, Retest, Transport};
use evenkeel_netprofile::memory::NetworkProfile;
use evenkeel_netprofile::overhead::Family;

use super::Tunnel;
use super::sessions::Farewell;
use crate::cause::PathError;
use crate::defaults;
use crate::event::{Event, OpenedPath, PathEvent};
use crate::keepalive::Keepalive;
use crate::link::Link;
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
            Phase::ExpectChild(..) if self.moving.is_stranded() => self.roam(event, now),
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
        if self.phase.peer().is_some() {
            return self.peer_roams(now);
        }
        if let Some(retest) = &mut self.retest {
            retest.handle_network_change(now);
        }
        // A burst of events is one change: what is being opened is newer than what the event tells of, or will fail.
        if matches!(&self.moving, Moving::ExpectPath { plan, .. } if plan.motive == Motive::Roam && !plan.opened)
        {
            return;
        }
        // What the path that is left may still answer says nothing about where we are.
        self.stop_learning();
        self.start_move(Motive::Roam, now);
    }

    /// Every way to the gateway, in the order in which a race over them would begin: what last carried a connection on this
    /// network, then what was not blocked here. The present one comes first where nothing speaks against it: what works keeps
    /// working in most moves.
    fn ways(&self, now: Instant) -> VecDeque<Way> {
        let gateways: Vec<IpAddr> = self.known.iter().copied().chain(self.further()).collect();
        let mut starts = self.starts(&gateways, now);
        starts.retain(|start| start.way.transport != Transport::WireGuard);
        starts.sort_by_key(|start| start.at);
        let mut ways: VecDeque<Way> = starts.into_iter().map(|start| start.way).collect();
        let kept = |way: &Way| way.transport != Transport::WireGuard && self.may_keep(*way, now);
        if let Some(present) = self.way.filter(kept) {
            ways.retain(|way| *way != present);
            ways.push_front(present);
        }
        ways
    }

    /// Whether nothing is known of this network that speaks against a way.
    fn may_keep(&self, way: Way, now: Instant) -> bool {
        let other_is_good = self.profile.last_good.is_some_and(|last| last.transport != way.transport);
        !other_is_good && !self.profile.verdicts.is_blocked(way.transport, self.wall_at(now))
    }

    /// Addresses that the gateway itself has named (RFC 4555 §3.4), of a family that its name has none of: those lead where
    /// the others do not. Of the same family it may well name what is reached from inside only.
    fn further(&self) -> impl Iterator<Item = IpAddr> {
        let ike = self.phase.link().and_then(Link::ike_sa);
        let named = ike.map(|ike| ike.additional_addresses).unwrap_or_default();
        let leads = |address: &IpAddr| match address {
            IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
            IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
        };
        let is_new = |address: &IpAddr| !self.known.iter().any(|known| known.is_ipv4() == address.is_ipv4());
        named.into_iter().filter(leads).filter(is_new).take(defaults::MAX_FURTHER_ADDRESSES)
    }

    pub(super) fn start_move(&mut self, motive: Motive, now: Instant) {
        let mut ways = self.ways(now);
        match motive {
            Motive::BackToUdp => ways.retain(|way| way.transport == Transport::Udp4500),
            Motive::EspSilent { .. } => ways.retain(|way| way.transport != Transport::Udp4500),
            Motive::StreamLost if self.good_since.is_some_and(|at| now < at + defaults::STREAM_SETTLED) => {
                ways.make_contiguous().sort_by_key(|way| Some(*way) == self.way);
            }
            Motive::Roam | Motive::StreamLost | Motive::BackToGateway => {}
        }
        let again_until = now + defaults::ROAM_PATIENCE;
        self.next_move(Plan { motive, ways, opened: false, again_until }, now);
    }

    /// Opens the next path, or sees what is to be done when there is none left.
    fn next_move(&mut self, mut plan: Plan, now: Instant) {
        if plan.ways.is_empty() && plan.opened && now < plan.again_until && plan.motive.is_roam() {
            plan.ways = self.plan_back(now).ways;
        }
        if let Some(way) = plan.ways.pop_front() {
            let in_use = plan.opened && plan.motive.is_roam() && self.way == Some(way);
            if in_use && way.transport == Transport::Udp4500 {
                // Another socket would make nothing of an answer that is late.
                self.moving = Moving::ExpectFollowed { until: now + defaults::MOVE_PATIENCE, plan };
                return;
            }
            let path = PathId(self.next_id());
            self.open_paths.insert(path);
            self.events.push_back(Event::OpenPath { path, way });
            let other = plan.ways.iter().any(|other| other.transport == Transport::Udp4500);
            // UDP needs no opening; what is gone first for having worked here once is to cost no more than that.
            let patience = if other { defaults::MOVE_PATIENCE } else { defaults::OPEN_PATIENCE };
            self.moving = Moving::ExpectPath { path, way, until: now + patience, plan };
            return;
        }
        self.moving = Moving::Still;
        match plan.motive {
            Motive::BackToUdp | Motive::BackToGateway => {
                if let Some(retest) = &mut self.retest {
                    retest.handle_failed(now);
                }
            }
            Motive::EspSilent { .. } => self.esp_gave_nothing(now),
            Motive::Roam | Motive::StreamLost => {
                self.abandon(Failure::PeerDead.into(), Farewell::Needless, now)
            }
        }
    }

    /// A path to move to is open. Whether it was one.
    pub(super) fn move_opened(&mut self, id: PathId, opened: OpenedPath, now: Instant) -> bool {
        if self.moving.fresh_path() != Some(id) {
            return false;
        }
        let Moving::ExpectPath { path, way, mut plan, .. } = mem::take(&mut self.moving) else { return true };
        plan.opened = true;
        let Some((_, &OpenedPath { nat: present, .. })) = self.phase.path() else { return true };
        let Some(link) = self.phase.link_mut() else {
            self.succeed_along(id, opened, way, plan, now);
            return true;
        };
        let mobike = link.ike_sa().is_some_and(|ike| ike.mobike);
        // A stream belongs to the network that it was opened on (RFC 9329 §6.1), a socket does not.
        let unmoved = present.framing != Framing::Stream
            && present.local.ip() == opened.nat.local.ip()
            && self.way == Some(way);
        let until = now + defaults::MOVE_PATIENCE;
        if mobike && !plan.motive.is_roam() {
            // The path in use works, or may well: nothing is staked on another before the gateway has answered there.
            if link.session.check_path(opened.nat, now) {
                let until = now + defaults::CHECK_PATIENCE;
                self.moving = Moving::ExpectCheck { path, opened, way, until, plan };
            } else {
                self.next_move(plan, now);
            }
        } else if !mobike {
            self.succeed_along(id, opened, way, plan, now);
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

    /// Begins a session that takes over along a fresh path. Whatever was on its way along another is overtaken.
    fn succeed_along(&mut self, id: PathId, opened: OpenedPath, way: Way, plan: Plan, now: Instant) {
        let mut link = self.start_link(id, OpenedPath { init: opened.nat, ..opened }, now);
        link.way = Some(way);
        self.reauthentication = Reauthentication::ExpectChild(link);
        self.moving = Moving::ExpectSuccessor { until: now + defaults::SUCCESSOR_PATIENCE, plan };
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
                    let stranded = error == PathError::NoRoute && plan.ways.is_empty() && !plan.opened;
                    if stranded && plan.motive == Motive::Roam {
                        // Sessions sleep until there is a network again: the gateway keeps its half for as long.
                        tracing::info!("no network");
                        self.cause = Some(Arc::new(error.into()));
                        self.moving = Moving::ExpectNetwork;
                    } else {
                        self.next_move(plan, now);
                    }
                }
                Moving::ExpectCheck { plan, .. } => self.next_move(plan, now),
                Moving::Still
                | Moving::ExpectFollowed { .. }
                | Moving::ExpectSuccessor { .. }
                | Moving::ExpectNetwork => {}
            }
            return true;
        }
        if self.phase.link().is_some_and(|link| link.path_id == id) {
            // One that ends before the gateway has followed is a way that leads nowhere, and the next one's turn.
            if matches!(self.moving, Moving::ExpectFollowed { .. })
                && let Moving::ExpectFollowed { plan, .. } = mem::take(&mut self.moving)
            {
                self.not_followed(plan, now);
                return true;
            }
            match self.phase {
                Phase::ExpectConfigured(_) | Phase::Up(_) => self.start_move(Motive::StreamLost, now),
                Phase::Off
                | Phase::ExpectAddresses { .. }
                | Phase::Racing(_)
                | Phase::ExpectChild(..)
                | Phase::ExpectRetry { .. }
                | Phase::ExpectClosed
                | Phase::Failed => self.abandon(error.into(), Farewell::Needless, now),
            }
            return true;
        }
        false
    }

    /// The gateway did not follow to the path in use.
    fn not_followed(&mut self, plan: Plan, now: Instant) {
        let plan = match plan.motive {
            // Nothing goes any more, where IKE went over UDP until a moment ago.
            Motive::EspSilent { .. } => self.plan_back(now),
            Motive::Roam | Motive::StreamLost | Motive::BackToUdp | Motive::BackToGateway => plan,
        };
        self.next_move(plan, now);
    }

    /// All ways, UDP first, for a path in use that turned out to lead nowhere.
    fn plan_back(&self, now: Instant) -> Plan {
        let mut ways = self.ways(now);
        ways.make_contiguous().sort_by_key(|way| way.transport != Transport::Udp4500);
        Plan { motive: Motive::StreamLost, ways, opened: true, again_until: now + defaults::ROAM_PATIENCE }
    }

    /// The gateway has answered along a path that is not in use.
    pub(super) fn path_checked(&mut self, checked: Path, now: Instant) {
        if !matches!(&self.moving, Moving::ExpectCheck { opened, .. } if opened.nat == checked) {
            return;
        }
        if let Moving::ExpectCheck { path, opened, way, plan, .. } = mem::take(&mut self.moving) {
            self.move_to(path, opened, way, now);
            let plan = match plan.motive {
                Motive::EspSilent { .. } => plan,
                Motive::BackToUdp | Motive::BackToGateway | Motive::Roam | Motive::StreamLost => {
                    self.plan_back(now)
                }
            };
            self.moving = Moving::ExpectFollowed { until: now + defaults::MOVE_PATIENCE, plan };
        }
    }

    pub(super) fn path_unreachable(&mut self, checked: Path, now: Instant) {
        if matches!(&self.moving, Moving::ExpectCheck { opened, .. } if opened.nat == checked)
            && let Moving::ExpectCheck { plan, .. } = mem::take(&mut self.moving)
        {
            self.next_move(plan, now);
        }
    }

    /// The gateway follows to `path`.
    #[expect(clippy::wildcard_enum_match_arm, reason = "anything else stays as it is")]
    pub(super) fn followed(&mut self, path: Path, now: Instant) {
        let in_use = self.phase.link().is_some_and(|link| link.path.nat == path);
        match mem::take(&mut self.moving) {
            Moving::ExpectFollowed { plan, .. } => {
                self.arrived(now);
                if let Motive::EspSilent { since } = plan.motive {
                    self.try_esp(since, now);
                }
            }
            // Later than was waited for, but before anything else was moved to: the path that is being opened is not needed.
            Moving::ExpectPath { plan, .. } if in_use && plan.opened && plan.motive.is_roam() => {
                self.arrived(now);
            }
            other => self.moving = other,
        }
    }

    /// The gateway will not follow to the path in use: another may be to its liking, or another session.
    pub(super) fn refused_to_follow(&mut self, refusal: MigrationRefusal, now: Instant) {
        if matches!(&self.moving, Moving::ExpectFollowed { plan, .. } if !plan.ways.is_empty())
            && let Moving::ExpectFollowed { plan, .. } = mem::take(&mut self.moving)
        {
            self.next_move(plan, now);
            return;
        }
        self.moving = Moving::Still;
        // It has answered, so it can be told.
        self.abandon(Failure::MigrationRefused(refusal).into(), Farewell::Due, now);
    }

    /// The connection is on a path that works: remember which, and see to what depends on it.
    pub(super) fn arrived(&mut self, now: Instant) {
        let Some(way) = self.way else { return };
        self.known.retain(|address| *address != way.gateway);
        self.known.insert(0, way.gateway);
        self.note_good(way, now);
        self.cause = None;
        self.narrowed = None;
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
        // A way round that is taken at once, since it is remembered, has its reason in what is remembered too.
        let remembered = self.profile.verdicts.blockage(self.wall_at(now));
        self.blockage = self.blockage.or(remembered).filter(|_| on_fallback);
        self.good_since = Some(now);
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
                Moving::ExpectCheck { plan, .. } => self.next_move(plan, now),
                Moving::ExpectFollowed { plan, .. } => self.not_followed(plan, now),
                Moving::ExpectPath { plan, .. } => self.next_move(plan, now),
                Moving::ExpectSuccessor { plan, .. } => {
                    self.reauthentication = Reauthentication::NotDue;
                    self.next_move(plan, now);
                }
                Moving::Still | Moving::ExpectNetwork => {}
            }
        }
        let due = self.retest.is_some_and(|retest| retest.poll_timeout() <= now);
        if due && self.moving.is_still() && matches!(self.phase, Phase::Up(_)) {
            self.start_move(Motive::BackToUdp, now);
        }
    }

    /// The session that was to take over along another path is in use.
    pub(super) fn succeeded(&mut self, now: Instant) {
        if matches!(self.moving, Moving::ExpectSuccessor { .. }) {
            self.moving = Moving::Still;
            self.arrived(now);
        }
    }

    /// The session that was to take over has failed: one of a move makes room for the next way.
    pub(super) fn successor_failed(&mut self, now: Instant) {
        if matches!(self.moving, Moving::ExpectSuccessor { .. })
            && let Moving::ExpectSuccessor { plan, .. } = mem::take(&mut self.moving)
        {
            self.reauthentication = Reauthentication::NotDue;
            self.next_move(plan, now);
        }
    }
}
