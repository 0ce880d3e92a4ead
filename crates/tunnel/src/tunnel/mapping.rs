//! The NAT's mapping: kept alive as seldom as this network is known to bear, which is found out on a second flow.

use std::time::{Duration, Instant};

use evenkeel_ipsec::ike::{Framing, Mapping, Path, Transmit};
use evenkeel_ipsec::wire::KEEPALIVE;
use evenkeel_netprofile::keepalive::{
    Action, ActionId, Check, Config, InboundProbe, LifetimeSearch, MappingHash, Remembered,
};
use evenkeel_netprofile::ladder::Transport;
use evenkeel_netprofile::memory::NatPresence;

use super::Tunnel;
use super::esp::EspCheck;
use super::inbound::InboundFlow;
use crate::defaults;
use crate::event::{Event, OpenedPath};
use crate::link::Link;
use crate::phase::Phase;
use crate::way::{PathId, Way};
use evenkeel_netprofile::defaults::FIRST_INTERVAL;

/// The search for the lifetime of the mapping, and the flows that it is made on.
pub(crate) struct MappingSearch {
    pub(crate) search: LifetimeSearch,
    spare: Option<Spare>,
    /// What the gateway saw of the second socket last.
    seen: Option<Mapping>,
    /// The check that was asked for last.
    asked: ActionId,
    pub(super) inbound: InboundFlow,
}

/// A path beside the one in use, on which nothing is sent but checks.
pub(super) struct Spare {
    id: PathId,
    pub(super) path: Option<Path>,
}

impl MappingSearch {
    fn new(config: Config, now: Instant) -> Self {
        Self {
            search: LifetimeSearch::new(config, now),
            spare: None,
            seen: None,
            asked: ActionId(0),
            inbound: InboundFlow::default(),
        }
    }

    /// The paths beside the one in use.
    pub(crate) fn spares(&self) -> impl Iterator<Item = PathId> {
        [&self.spare, &self.inbound.spare].into_iter().flatten().map(|spare| spare.id)
    }
}

/// A search by what the gateway sees of the second socket alone.
pub(super) fn search_by_hash(remembered: Option<Remembered>, now: Instant) -> MappingSearch {
    let config = Config { second_socket: true, inbound_probe: false, trust_hash_alone: true, remembered };
    MappingSearch::new(config, now)
}

impl Tunnel {
    /// Begins with what is known of this network, on a path that datagrams travel through a NAT.
    pub(super) fn start_mapping(&mut self, now: Instant) {
        self.mapping = None;
        let at = self.wall_at(now);
        let Some(link) = self.phase.link() else { return };
        let Some(ike) = link.ike_sa() else { return };
        self.profile.nat = Some(NatPresence { present: ike.nat_local, at });
        if !ike.nat_local || link.path.nat.framing == Framing::Stream {
            return;
        }
        let remembered = self.profile.remembered_lifetime();
        self.mapping = Some(if ike.delayed_checks {
            // Proof behind any NAT, in no more time than hashes take.
            let config =
                Config { second_socket: false, inbound_probe: true, trust_hash_alone: false, remembered };
            MappingSearch::new(config, now)
        } else if ike.mobike {
            search_by_hash(remembered, now)
        } else {
            let config =
                Config { second_socket: false, inbound_probe: false, trust_hash_alone: false, remembered };
            MappingSearch::new(config, now)
        });
    }

    /// The silence after which a keepalive is sent.
    pub(super) fn keepalive_after(&self) -> Duration {
        self.mapping.as_ref().map_or(defaults::NAT_KEEPALIVE, |mapping| mapping.search.interval())
    }

    /// Keeps the mapping. With MOBIKE by an exchange: it shows as well whether the mapping is still the one that the gateway
    /// knows, and moves the gateway if it is not, which a keepalive of one byte can't. DPD has nothing to add to that.
    pub(super) fn keep_alive(&mut self, now: Instant) {
        let Some(link) = self.phase.link_mut() else { return };
        let path = link.path.nat;
        if link.ike_sa().is_some_and(|ike| ike.mobike) {
            link.session.probe(now);
        } else {
            self.transmits.push_back(Transmit { path, payload: vec![KEEPALIVE] });
        }
        self.keepalive.sent(now);
    }

    /// Nothing is learned on a path that is given up.
    pub(super) fn stop_learning(&mut self) {
        self.esp_check = EspCheck::Done;
        self.mapping = None;
        self.sizes = None;
        self.narrowed = None;
        self.sizing = None;
    }

    /// Does what the search asks for.
    pub(super) fn drive_mapping(&mut self, now: Instant) {
        while let Some(mapping) = &mut self.mapping
            && let Some(action) = mapping.search.poll_action(now)
        {
            match action {
                Action::CheckSecondSocket { id } => {
                    mapping.asked = id;
                    self.check_second_socket(now);
                }
                Action::ProbeInbound { id, silence } => self.probe_inbound(id, silence, now),
            }
        }
        // Only what keeps a mapping makes DPD needless, and only while nobody waits for an answer.
        let after = self.mapping.is_some().then(|| self.keepalive_after() + defaults::DPD_SLACK);
        if let Some(link) = self.phase.link_mut() {
            link.session.set_idle_dpd_after(after);
        }
    }

    fn check_second_socket(&mut self, now: Instant) {
        let Some(mapping) = &mut self.mapping else { return };
        match &mapping.spare {
            Some(Spare { path: Some(path), .. }) => {
                let path = *path;
                let asked = self.phase.link_mut().is_some_and(|link| link.session.check_path(path, now));
                if !asked {
                    self.second_socket_silent(now);
                }
            }
            Some(Spare { path: None, .. }) => {}
            None => {
                let spare = self.open_spare();
                if let Some(mapping) = &mut self.mapping {
                    mapping.spare = spare;
                }
            }
        }
    }

    /// Has another path to the gateway opened.
    pub(super) fn open_spare(&mut self) -> Option<Spare> {
        let way = Way { gateway: self.phase.link()?.path.nat.remote.ip(), transport: Transport::Udp4500 };
        let id = PathId(self.next_id());
        self.open_paths.insert(id);
        self.events.push_back(Event::OpenPath { path: id, way });
        Some(Spare { id, path: None })
    }

    fn second_socket_silent(&mut self, now: Instant) {
        if let Some(mapping) = &mut self.mapping {
            mapping.search.handle_check(mapping.asked, Check::Unreachable, now);
        }
    }

    /// A path beside the one in use is open. Whether it was that.
    pub(super) fn spare_opened(&mut self, id: PathId, opened: OpenedPath, now: Instant) -> bool {
        let Some(mapping) = &mut self.mapping else { return false };
        if let Some(spare) = mapping.spare.as_mut().filter(|spare| spare.id == id) {
            spare.path = Some(opened.nat);
            self.check_second_socket(now);
        } else if let Some(spare) = mapping.inbound.spare.as_mut().filter(|spare| spare.id == id) {
            spare.path = Some(opened.nat);
            self.use_flow(opened.nat, now);
        } else {
            return false;
        }
        true
    }

    /// A path beside the one in use could not be opened, or is gone. Whether it was that.
    pub(super) fn spare_failed(&mut self, id: PathId, now: Instant) -> bool {
        let Some(mapping) = &mut self.mapping else { return false };
        if mapping.spare.take_if(|spare| spare.id == id).is_some() {
            self.second_socket_silent(now);
        } else if mapping.inbound.spare.take_if(|spare| spare.id == id).is_some() {
            self.probed(InboundProbe::Unavailable, now);
        } else {
            return false;
        }
        true
    }

    /// The gateway has answered along the second socket, if that is what `path` is.
    pub(super) fn spare_checked(&mut self, path: Path, seen: Option<Mapping>, now: Instant) {
        if self.flow_checked(path, now) {
            return;
        }
        let Some(mapping) = &mut self.mapping else { return };
        if mapping.spare.as_ref().and_then(|spare| spare.path) != Some(path) {
            return;
        }
        let before = std::mem::replace(&mut mapping.seen, seen);
        match (seen, before) {
            (None, _) => mapping.search.handle_check(mapping.asked, Check::Unreachable, now),
            // A rekey came between: the hashes say nothing about one another.
            (Some(seen), Some(before)) if seen.is_same_as(&before).is_none() => {
                mapping.search.handle_mapping_lost(Duration::ZERO, now);
            }
            (Some(seen), _) => {
                mapping.search.handle_check(mapping.asked, Check::Seen(MappingHash(seen.hash)), now);
            }
        }
        self.learn_lifetime(now);
    }

    /// Takes down what the search has found.
    pub(super) fn learn_lifetime(&mut self, now: Instant) {
        let Some(mapping) = &self.mapping else { return };
        let learned = mapping.search.learned();
        let proven = learned.proven_at.map(|at| self.wall_at(at));
        self.profile.learn_lifetime(&learned, proven, self.wall_at(now));
    }

    pub(super) fn spare_unreachable(&mut self, path: Path, now: Instant) {
        let spare = self.mapping.as_ref().and_then(|mapping| mapping.spare.as_ref()?.path);
        if spare == Some(path) {
            self.second_socket_silent(now);
        }
        self.flow_unreachable(path, now);
    }

    /// The gateway sees us come from elsewhere than before, although we have not moved.
    pub(super) fn mapping_changed(&mut self, now: Instant) {
        let idle = self.keepalive.last_gap();
        let Some(mapping) = &mut self.mapping else { return };
        tracing::warn!(?idle, "the NAT has forgotten us");
        mapping.inbound.drop_probe();
        mapping.search.handle_mapping_lost(idle, now);
        self.learn_lifetime(now);
    }

    /// The first packet for a while has left. Should the NAT forget sooner than it is known to, it came from a mapping that the
    /// gateway does not answer to, and a person waits: the gateway is asked at once instead of with the next keepalive.
    pub(super) fn sent_after_silence(&mut self, silence: Duration, now: Instant) {
        let mobike = self.phase.link().and_then(Link::ike_sa).is_some_and(|ike| ike.mobike);
        if mobike && self.moving.is_still() && self.keepalive_due().is_some() && silence >= FIRST_INTERVAL {
            self.keep_alive(now);
        }
    }

    pub(super) fn mapping_timeout(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Up(_)) {
            return;
        }
        if let Some(mapping) = &mut self.mapping
            && mapping.search.poll_timeout().is_some_and(|at| at <= now)
        {
            mapping.search.handle_timeout(now);
        }
        self.inbound_timeout(now);
    }

    /// When the search has something to do.
    pub(super) fn mapping_due(&self) -> Option<Instant> {
        let searching = matches!(self.phase, Phase::Up(_)) && self.moving.is_still();
        let mapping = self.mapping.as_ref().filter(|_| searching)?;
        [mapping.search.poll_timeout(), mapping.inbound.due()].into_iter().flatten().min()
    }
}
