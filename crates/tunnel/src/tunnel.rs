//! The state machine: what goes in, what comes out.

mod esp;
mod inbound;
mod mapping;
mod moving;
mod network;
mod peer;
mod racing;
mod sessions;
mod sizing;
mod wish;

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_ipsec::crypto::{Rng, UnixTime};
use evenkeel_ipsec::ike::{ChildEnd, ChildSaInfo, IkeSaInfo, Path, Transmit};
use evenkeel_netprofile::ladder::{Blockage, Retest};
use evenkeel_netprofile::memory::NetworkProfile;
use evenkeel_netprofile::time::UnixSeconds;

use crate::backoff::Backoff;
use crate::cause::Cause;
use crate::config::TunnelConfig;
use crate::defaults;
use crate::event::{Activity, Command, Event, WakeReason};
use crate::inner::InnerNetwork;
use crate::keepalive::Keepalive;
use crate::link::Link;
use crate::moving::Moving;
use crate::peer::PeerInfo;
use crate::phase::{Leaving, Network, Phase, Reauthentication};
use crate::race::Race;
use crate::sizes::{PathSizes, Sizes};
use crate::state::{Status, TargetState, TunnelState};
use crate::tunnel::esp::EspCheck;
use crate::tunnel::mapping::MappingSearch;
use crate::way::{PathId, Way};

/// One VPN connection; see the crate's documentation for how to drive it.
pub struct Tunnel {
    config: TunnelConfig,
    rng: Rng,
    target: TargetState,
    phase: Phase,
    reauthentication: Reauthentication,
    moving: Moving,
    /// When UDP is tried again, while a fallback carries the connection.
    retest: Option<Retest>,
    leaving: Vec<Leaving>,
    network: Network,
    /// The gateway's addresses, the one that last worked first.
    known: Vec<IpAddr>,
    /// Those of the WireGuard peer.
    peer_known: Vec<IpAddr>,
    backoff: Backoff,
    /// The gateway's address that was tried last.
    tried: Option<IpAddr>,
    /// The way that is in use, or was last.
    way: Option<Way>,
    /// What is known about this network.
    profile: NetworkProfile,
    /// When a way was last found to work.
    good_since: Option<Instant>,
    blockage: Option<Blockage>,
    esp_check: EspCheck,
    /// Whether a stream has made no difference on this network.
    esp_hopeless: bool,
    mapping: Option<MappingSearch>,
    sizes: Option<Sizes>,
    /// The number of the next probe, and of the first one on the path in use. They only grow: an answer may come late.
    next_probe: u32,
    first_probe: u32,
    /// What a router has said of the path where nothing can be asked, and until when it is believed.
    narrowed: Option<(u16, Instant)>,
    /// The sizes that the system's network was last configured by.
    sizing: Option<PathSizes>,
    /// The wall clock when the tunnel was made, and when that was.
    clock: (UnixTime, Instant),
    /// What the owner has open.
    open_paths: BTreeSet<PathId>,
    /// When the attempt began that is to fulfil it, or to fulfil it again.
    attempt_began: Option<Instant>,
    /// Whether this wish has ever been fulfilled.
    ever_up: bool,
    /// Whether this wish outlasts attempts that nobody answers even so.
    outlasts: bool,
    keepalive: Keepalive,
    /// Inner packets that were carried by the last time somebody looked.
    carried: u64,
    /// When somebody is to look again, since there was more than before.
    look_at: Option<Instant>,
    /// For links and paths.
    next_id: u64,
    /// The state last reported, since when it is so, and what went wrong last.
    reported: TunnelState,
    since: Instant,
    cause: Option<Arc<Cause>>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Tunnel {
    /// A tunnel that is off, on a network of which `profile` is known. `seed` must be fresh randomness; `wall` is the wall
    /// clock at `now`.
    #[must_use]
    pub fn new(
        config: TunnelConfig,
        profile: NetworkProfile,
        seed: [u8; 32],
        wall: UnixTime,
        now: Instant,
    ) -> Self {
        Self {
            config,
            rng: Rng::from_seed(seed),
            target: TargetState::Down,
            phase: Phase::Off,
            reauthentication: Reauthentication::NotDue,
            moving: Moving::Still,
            retest: None,
            leaving: Vec::new(),
            network: Network::Untouched,
            known: Vec::new(),
            peer_known: Vec::new(),
            tried: None,
            way: None,
            profile,
            good_since: None,
            blockage: None,
            esp_check: EspCheck::Done,
            esp_hopeless: false,
            mapping: None,
            sizes: None,
            next_probe: 0,
            first_probe: 0,
            narrowed: None,
            sizing: None,
            clock: (wall, now),
            open_paths: BTreeSet::new(),
            backoff: Backoff::default(),
            attempt_began: None,
            ever_up: false,
            outlasts: false,
            keepalive: Keepalive::new(now),
            carried: 0,
            look_at: None,
            next_id: 0,
            reported: TunnelState::Off,
            since: now,
            cause: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// An IKE message arrived, its non-ESP marker stripped.
    pub fn handle_datagram(&mut self, path: Path, message: &[u8], now: Instant) {
        // A session ignores what carries other SPIs than its own.
        for link in self.links_mut() {
            link.session.handle_datagram(path, message, now);
        }
        self.settle(now);
    }

    /// The owner has something to say.
    pub fn handle_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Connect => self.connect(now),
            Command::Disconnect => self.disconnect(now),
            Command::Outlast(outlasts) => self.outlast(outlasts, now),
            Command::StartOver => self.start_over(now),
            Command::Resolved(result) => self.resolved(result, now),
            Command::PeerResolved(result) => self.peer_resolved(result, now),
            Command::PathOpened { path, result } => self.path_opened(path, result, now),
            Command::Rebound { path, result } => self.peer_rebound(path, result, now),
            Command::PeerSilent { path } => self.peer_silent(path, now),
            Command::PeerAnswers { path } => self.peer_answers(path),
            Command::PathLost { path, error } => self.path_failed(path, error, now),
            Command::Signed { link: id, signature } => {
                if let Some(link) = self.links_mut().find(|link| link.id == id) {
                    link.session.provide_signature(signature.ok_or(()), now);
                }
            }
            Command::Configured(result) => self.configured(result, now),
            Command::Unconfigured => self.unconfigured(),
            Command::ProbeAnswered(id) => self.probe_answered(id, now),
            Command::TooBig { mtu, quotes_our_packet } => self.too_big(mtu, quotes_our_packet, now),
            Command::Network(profile) => self.on_network(*profile, now),
            Command::SentAfterSilence(silence) => self.sent_after_silence(silence, now),
            Command::DataPlaneLost => self.data_plane_lost(now),
            Command::PortalSeen => self.profile.portal_seen = Some(self.wall_at(now)),
            Command::SequenceLow { spi_in } => {
                for link in self.links_mut() {
                    link.session.handle_sequence_low(spi_in, now);
                }
            }
        }
        self.settle(now);
    }

    /// When traffic last flowed. To be told before [`handle_timeout`](Self::handle_timeout).
    pub fn handle_activity(&mut self, activity: Activity, now: Instant) {
        if let Some(at) = activity.sent {
            self.keepalive.sent(at.min(now));
            if let Some(link) = self.phase.link_mut() {
                link.session.handle_esp_sent(at.min(now));
            }
        }
        if let (Some(at), Some(link)) = (activity.received, self.phase.link_mut()) {
            link.session.handle_esp_received(at.min(now));
        }
        if let EspCheck::Awaiting { since } = self.esp_check
            && activity.received.is_some_and(|at| at > since)
        {
            self.esp_heard(None, now);
        }
        if activity.carried != self.carried {
            self.carried = activity.carried;
            self.look_at = Some(now + defaults::LOOK_AFTER);
            if let Some(sizes) = &mut self.sizes {
                sizes.handle_traffic(now);
            }
            if let Some(mapping) = &mut self.mapping {
                mapping.search.handle_traffic(now);
            }
        }
        self.settle(now);
    }

    /// The time that [`poll_timeout`](Self::poll_timeout) named has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let awake = !self.moving.is_stranded();
        for link in self.links_mut().filter(|_| awake) {
            if link.session.poll_timeout().is_some_and(|(at, _)| at <= now) {
                link.session.handle_timeout(now);
            }
        }
        self.move_timeout(now);
        self.peer_timeout(now);
        self.look_at.take_if(|at| *at <= now);
        if awake {
            self.sizing_timeout(now);
            self.mapping_timeout(now);
            self.esp_timeout(now);
        }
        if self.keepalive_due().is_some_and(|due| due <= now) {
            self.keep_alive(now);
        }
        if matches!(self.phase, Phase::ExpectRetry { at } if at <= now) {
            self.start_round(now);
        }
        if matches!(self.reauthentication, Reauthentication::ExpectRetry { at } if at <= now) {
            self.reauthenticate(now);
        }
        for late in self.leaving.extract_if(.., |leaving| leaving.until <= now) {
            self.events.extend(late.link.into_removals(ChildEnd::LocalDeleted));
        }
        self.settle(now);
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing to do.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, WakeReason)> {
        let sessions = self
            .links()
            .filter(|_| !self.moving.is_stranded())
            .filter_map(|link| link.session.poll_timeout())
            .map(|(at, reason)| (at, WakeReason::Ike(reason)));
        let keepalive = self.keepalive_due().map(|at| (at, WakeReason::NatKeepalive));
        let retry = match self.phase {
            Phase::ExpectRetry { at } => Some((at, WakeReason::Retry)),
            Phase::Off
            | Phase::ExpectAddresses { .. }
            | Phase::Racing(_)
            | Phase::ExpectChild(..)
            | Phase::ExpectConfigured(_)
            | Phase::Up(_)
            | Phase::ExpectClosed
            | Phase::Failed => None,
        };
        let reauthentication = match self.reauthentication {
            Reauthentication::ExpectRetry { at } => Some((at, WakeReason::Reauthentication)),
            Reauthentication::NotDue | Reauthentication::ExpectChild(_) => None,
        };
        let leaving = self.leaving.iter().map(|leaving| (leaving.until, WakeReason::CloseGrace));
        let race = self.phase.race().into_iter().flat_map(Race::timeouts);
        let retest = self.retest.filter(|_| self.moving.is_still() && matches!(self.phase, Phase::Up(_)));
        let retest = retest.map(|retest| (retest.poll_timeout(), WakeReason::Retest));
        let sizing = self.sizing_due().map(|at| (at, WakeReason::Sizing));
        let mapping = self.mapping_due().map(|at| (at, WakeReason::Mapping));
        let moving = self.moving.timeout();
        let esp = self.esp_due().map(|at| (at, WakeReason::EspCheck));
        let peer = self.phase.peer().and_then(|peer| peer.answers_by).map(|at| (at, WakeReason::Peer));
        let own = [keepalive, retry, reauthentication, moving, retest, sizing, mapping, esp, peer];
        let own = own.into_iter().flatten();
        sessions.chain(own).chain(race).chain(leaving).min_by_key(|(at, _)| *at)
    }

    /// Wish and fact.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            target: self.target,
            state: self.reported,
            since: self.since,
            has_been_up: self.ever_up,
            cause: self.cause.clone(),
        }
    }

    /// The gateway's address that was tried last.
    #[must_use]
    pub fn gateway(&self) -> Option<IpAddr> {
        self.tried
    }

    /// The way that is in use: to the gateway, or to the WireGuard peer.
    #[must_use]
    pub fn way(&self) -> Option<Way> {
        self.phase.path().and(self.way)
    }

    /// The WireGuard peer, if that is what carries the tunnel.
    #[must_use]
    pub fn peer(&self) -> Option<PeerInfo> {
        let path = &self.phase.peer()?.path.nat;
        Some(PeerInfo { local: path.local, remote: path.remote })
    }

    /// What is known about this network, what this connection has learned included.
    #[must_use]
    pub fn network_profile(&self) -> &NetworkProfile {
        &self.profile
    }

    /// What is in the way of the first choice, if something is.
    #[must_use]
    pub fn blockage(&self) -> Option<Blockage> {
        self.blockage
    }

    /// Whether the gateway is being asked, or is to be asked again, and has yet to answer: while connecting, and after a
    /// change of the network. Not while there is no network to ask on.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        match self.phase {
            Phase::ExpectAddresses { .. } | Phase::Racing(_) | Phase::ExpectRetry { .. } => true,
            Phase::ExpectConfigured(_) | Phase::Up(_) => self.moving.is_roaming(),
            Phase::Off | Phase::ExpectChild(..) | Phase::ExpectClosed | Phase::Failed => false,
        }
    }

    /// The IKE SA in use, once it is authenticated.
    #[must_use]
    pub fn ike_sa(&self) -> Option<IkeSaInfo> {
        self.phase.link().and_then(Link::ike_sa)
    }

    /// The CHILD SAs in use, those that only receive any more included.
    pub fn child_sas(&self) -> impl Iterator<Item = &ChildSaInfo> {
        self.phase.link().into_iter().flat_map(Link::children)
    }

    /// The network inside the tunnel, while the system is configured for it; the one to come while that changes in place.
    #[must_use]
    pub fn inner_network(&self) -> Option<&Arc<InnerNetwork>> {
        match &self.network {
            Network::Applied(inner) => Some(inner),
            Network::Applying(inner) if matches!(self.phase, Phase::Up(_)) => Some(inner),
            Network::Untouched | Network::Applying(_) | Network::Reverting => None,
        }
    }

    /// The sizes of outer packets, both ways, that the connection goes by; `None` while there is none.
    #[must_use]
    pub fn path_sizes(&self) -> Option<PathSizes> {
        self.sizing
    }

    /// The silence after which a keepalive is sent, if this connection needs any.
    #[must_use]
    pub fn keepalive_interval(&self) -> Option<Duration> {
        self.keepalive_due().map(|_| self.keepalive_after())
    }
}

impl Tunnel {
    /// Every session: the one in use, its successor, and those on their way out.
    fn links(&self) -> impl Iterator<Item = &Link> {
        let successor = match &self.reauthentication {
            Reauthentication::ExpectChild(link) => Some(&**link),
            Reauthentication::NotDue | Reauthentication::ExpectRetry { .. } => None,
        };
        let leaving = self.leaving.iter().map(|leaving| &leaving.link);
        let race = self.phase.race().into_iter().flat_map(Race::links);
        self.phase.link().into_iter().chain(race).chain(successor).chain(leaving)
    }

    fn links_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        let successor = match &mut self.reauthentication {
            Reauthentication::ExpectChild(link) => Some(&mut **link),
            Reauthentication::NotDue | Reauthentication::ExpectRetry { .. } => None,
        };
        let leaving = self.leaving.iter_mut().map(|leaving| &mut leaving.link);
        self.phase.links_mut().chain(successor).chain(leaving)
    }

    /// Only a peer behind a NAT keeps a mapping alive (RFC 3948 §4); that of a stream is TCP's business (RFC 9329 §7.6).
    fn keepalive_due(&self) -> Option<Instant> {
        let kept = |link: &&Link| link.needs_keepalives() && !self.moving.is_stranded();
        self.phase.link().filter(kept).map(|_| self.keepalive.due(self.keepalive_after()))
    }

    /// Follows up on what an input has set in motion, until nothing moves any more.
    fn settle(&mut self, now: Instant) {
        loop {
            self.run_race(now);
            self.handle_session_events(now);
            self.drive_sizing(now);
            self.drive_mapping(now);
            if matches!(self.phase, Phase::ExpectClosed) && self.is_clean() {
                self.phase = Phase::Off;
                if self.target == TargetState::Up {
                    self.connect(now);
                    continue;
                }
            }
            break;
        }
        self.collect_transmits(now);
        self.close_paths();
        self.report(now);
    }

    fn collect_transmits(&mut self, now: Instant) {
        let mut fresh = Vec::new();
        for link in self.links_mut() {
            fresh.extend(std::iter::from_fn(|| link.poll_transmit()));
        }
        if let Some(link) = self.phase.link()
            && fresh.iter().any(|transmit| transmit.path == link.path.nat)
        {
            self.keepalive.sent(now);
        }
        self.transmits.extend(fresh);
    }

    fn wall_at(&self, now: Instant) -> UnixSeconds {
        let (UnixTime(wall), then) = self.clock;
        UnixSeconds(wall.saturating_add(now.saturating_duration_since(then).as_secs()))
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Gives back the paths that no session uses any more.
    fn close_paths(&mut self) {
        let mut used: BTreeSet<PathId> = self.links().map(|link| link.path_id).collect();
        used.extend(self.phase.peer().map(|peer| peer.path_id));
        used.extend(self.moving.fresh_path());
        used.extend(self.mapping.iter().flat_map(MappingSearch::spares));
        used.extend(self.phase.race().into_iter().flat_map(|race| race.lanes.iter().map(|lane| lane.path)));
        let idle: Vec<PathId> = self.open_paths.difference(&used).copied().collect();
        for path in idle {
            self.open_paths.remove(&path);
            self.events.push_back(Event::ClosePath { path });
        }
    }

    /// Whether nothing is left of any session, nor of any change to the system.
    fn is_clean(&self) -> bool {
        self.leaving.is_empty() && matches!(self.network, Network::Untouched)
    }

    fn report(&mut self, now: Instant) {
        let state = match &self.phase {
            Phase::Off => TunnelState::Off,
            Phase::ExpectAddresses { .. } => TunnelState::Resolving,
            Phase::Racing(race) => match race.lanes.first() {
                Some(lane) => TunnelState::Connecting { gateway: lane.way.gateway },
                None => TunnelState::Resolving,
            },
            Phase::ExpectChild(_, link) => {
                let gateway = link.path.nat.remote.ip();
                if link.authenticating {
                    TunnelState::Authenticating { gateway }
                } else {
                    TunnelState::Connecting { gateway }
                }
            }
            Phase::ExpectConfigured(_) => TunnelState::Configuring,
            Phase::Up(_) => TunnelState::Up,
            Phase::ExpectRetry { at } => TunnelState::Waiting { until: *at },
            Phase::Failed if self.is_clean() => TunnelState::Failed,
            Phase::ExpectClosed | Phase::Failed => TunnelState::Closing,
        };
        if state != self.reported {
            self.reported = state;
            self.since = now;
            self.events.push_back(Event::Status(self.status()));
        }
    }
}
