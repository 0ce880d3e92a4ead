//! Finding a way to the gateway that answers.

use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use evenkeel_ipsec::ike::Failure;
use evenkeel_ipsec::wire::Id;
use evenkeel_netprofile::defaults::{FAMILY_STAGGER, REQUESTS_BEFORE_SILENCE, SILENCE};
use evenkeel_netprofile::ladder::{Ladder, Ports, Seen, Transport, judge};
use evenkeel_netprofile::overhead::Family;
use evenkeel_netprofile::time::UnixSeconds;

use super::Tunnel;
use crate::cause::{Cause, PathError, Remedy, ResolveError};
use crate::defaults;
use crate::event::{Event, LinkId, OpenedPath};
use crate::keepalive::Keepalive;
use crate::link::Link;
use crate::moving::Moving;
use crate::phase::{Network, Phase};
use crate::race::{Bare, Half, Hold, Lane, Race, Start};
use crate::way::{PathId, Way};

impl Tunnel {
    /// One race over the ways to the gateway, whose addresses are looked up first when none is known or they have failed
    /// too often.
    pub(super) fn start_round(&mut self, now: Instant) {
        self.attempt_began = Some(now);
        if !self.known.is_empty() && self.backoff.rounds() < defaults::ROUNDS_ON_KNOWN_ADDRESSES {
            return self.start_race(now);
        }
        self.unconfigure();
        let asked = matches!(self.network, Network::Untouched);
        if asked {
            self.ask_for_addresses();
        }
        self.phase = Phase::ExpectAddresses { asked };
    }

    pub(super) fn ask_for_addresses(&mut self) {
        self.events.push_back(Event::ResolveGateway);
        if self.config.peer.is_some() {
            self.events.push_back(Event::ResolvePeer);
        }
    }

    pub(super) fn resolved(&mut self, result: Result<Vec<IpAddr>, ResolveError>, now: Instant) {
        if !matches!(self.phase, Phase::ExpectAddresses { asked: true }) {
            return;
        }
        match result {
            Ok(mut addresses) if !addresses.is_empty() => {
                addresses.truncate(defaults::MAX_ADDRESSES);
                self.known = addresses;
            }
            Ok(_) | Err(_) if !self.known.is_empty() => {
                tracing::info!("the gateway's name gave no address; keeping those that are known");
            }
            Ok(_) => return self.connecting_failed(ResolveError::NotFound.into(), Race::default(), now),
            Err(error) => return self.connecting_failed(error.into(), Race::default(), now),
        }
        self.start_race(now);
    }

    pub(super) fn start_race(&mut self, now: Instant) {
        self.moving = Moving::Still;
        self.phase = Phase::Racing(Race::new(self.starts(&self.known, now)));
        self.run_race(now);
    }

    /// Every way with the time at which it is asked: as the ladder has it, with further addresses of one family a Connection
    /// Attempt Delay apart (RFC 8305 §5).
    pub(super) fn starts(&self, gateways: &[IpAddr], now: Instant) -> Vec<Start> {
        let families: Vec<Family> = gateways.iter().map(|address| Family::from(*address)).collect();
        let offered = self.config.fallbacks.iter().copied();
        let peer = Some(Transport::WireGuard).filter(|_| !self.peer_known.is_empty());
        let transports: Vec<Transport> =
            [Transport::Udp4500].into_iter().chain(offered).chain(peer).collect();
        let ladder = Ladder { ports: Ports::default(), families: &families, transports: &transports };
        let mut starts = Vec::new();
        let mut peers = self.peer_known.as_slice();
        for attempt in ladder.plan(&self.profile.verdicts, self.profile.last_good, self.wall_at(now)) {
            let mut at = now + attempt.delay;
            let addresses: Vec<IpAddr> = match attempt.transport {
                // The peer has families of its own: all its addresses at the first of its turns.
                Transport::WireGuard => mem::take(&mut peers).to_vec(),
                Transport::Udp4500
                | Transport::Udp500
                | Transport::Tcp4500
                | Transport::Tcp443
                | Transport::Tls443 => {
                    let of_family = |address: &&IpAddr| Family::from(**address) == attempt.family;
                    gateways.iter().filter(of_family).copied().collect()
                }
            };
            for gateway in addresses {
                starts.push(Start { at, way: Way { gateway, transport: attempt.transport } });
                at += FAMILY_STAGGER;
            }
        }
        starts
    }

    /// The owner has opened a path, or could not.
    pub(super) fn path_opened(&mut self, id: PathId, result: Result<OpenedPath, PathError>, now: Instant) {
        let opened = match result {
            Ok(opened) => opened,
            Err(error) => return self.path_failed(id, error, now),
        };
        // Of the time asleep our own clock knows nothing.
        if UnixSeconds(opened.wall.0) > self.wall_at(now) {
            self.clock = (opened.wall, now);
        }
        if self.move_opened(id, opened, now) || self.spare_opened(id, opened, now) {
            return;
        }
        let Phase::Racing(race) = &self.phase else { return };
        let Some(index) = race.lanes.iter().position(|lane| lane.path == id && lane.opened.is_none()) else {
            return;
        };
        if race.lanes.get(index).is_some_and(|lane| lane.way.transport == Transport::WireGuard) {
            return self.peer_won(index, opened, now);
        }
        let direct = self.start_link(id, OpenedPath { init: opened.nat, ..opened }, now);
        if let Phase::Racing(race) = &mut self.phase
            && let Some(lane) = race.lanes.get_mut(index)
        {
            lane.opened = Some(now);
            lane.direct = Some(direct);
            lane.bare_at = (opened.init != opened.nat).then_some((now + defaults::SECOND_PORT_AFTER, opened));
        }
    }

    /// Asks on UDP/500 where UDP/4500 has had its time.
    fn ask_second_ports(&mut self, now: Instant) {
        while let Phase::Racing(race) = &mut self.phase
            && let Some(index) =
                race.lanes.iter().position(|lane| lane.bare_at.is_some_and(|(at, _)| at <= now))
            && let Some(lane) = race.lanes.get_mut(index)
            && let Some((_, opened)) = lane.bare_at.take()
        {
            // Its IKE_AUTH shares the socket of the first: whichever is answered, everything goes on from there.
            let path = lane.path;
            let link = self.start_link(path, opened, now);
            if let Phase::Racing(race) = &mut self.phase
                && let Some(lane) = race.lanes.get_mut(index)
            {
                lane.bare = Some(Bare { link, hold: Hold::Unheard });
            }
        }
    }

    /// A path could not be opened, or is no more.
    pub(super) fn path_failed(&mut self, id: PathId, error: PathError, now: Instant) {
        self.open_paths.remove(&id);
        if error == PathError::NoDataPlane {
            return self.give_up(error.into(), now);
        }
        if self.move_failed(id, error, now) || self.spare_failed(id, now) || self.peer_failed(id, error, now)
        {
            return;
        }
        let Phase::Racing(race) = &mut self.phase else { return };
        let Some(index) = race.lanes.iter().position(|lane| lane.path == id) else { return };
        let lane = race.lanes.swap_remove(index);
        tracing::info!(way = %lane.way, %error, "no path");
        race.observe(lane.way, of_path(error));
        race.note(error.into());
        race.hasten(now);
        self.run_race(now);
    }

    pub(super) fn start_link(&mut self, id: PathId, path: OpenedPath, now: Instant) -> Box<Link> {
        let link = LinkId(self.next_id());
        let mut client = Arc::clone(&self.config.client);
        if self.config.identify_by_address {
            Arc::make_mut(&mut client).local_id = match path.nat.local.ip() {
                IpAddr::V4(address) => Id::Ipv4(address),
                IpAddr::V6(address) => Id::Ipv6(address),
            };
        }
        // Connections inside the tunnel live exactly as long as their address does.
        if let Network::Applying(inner) | Network::Applied(inner) = &self.network {
            Arc::make_mut(&mut client).addresses = inner.assigned(self.config.peer.as_ref());
        }
        Box::new(Link::connect(link, &client, id, path, self.rng.fork(), now))
    }

    /// Starts what is due, lets go of answers that were held, and sees whether somebody has won or nobody can any more.
    pub(super) fn run_race(&mut self, now: Instant) {
        self.ask_second_ports(now);
        let Phase::Racing(race) = &mut self.phase else { return };
        let mut released = false;
        for lane in &mut race.lanes {
            if let Some(bare) = &mut lane.bare {
                released |= bare.advance(now);
            }
        }
        if released {
            tracing::info!("UDP/500 is answered and the NAT-traversal port is not");
            race.hasten(now);
        }
        if let Some((index, half)) = race.winner() {
            return self.won(index, half, now);
        }
        while let Phase::Racing(race) = &mut self.phase
            && let Some(way) = race.next_due(now)
        {
            let path = PathId(self.next_id());
            if way.transport != Transport::WireGuard {
                self.tried = Some(way.gateway);
            }
            self.open_paths.insert(path);
            self.events.push_back(Event::OpenPath { path, way });
            if let Phase::Racing(race) = &mut self.phase {
                race.lanes.push(Lane {
                    way,
                    path,
                    opened: None,
                    direct: None,
                    bare: None,
                    heard_500: false,
                    bare_at: None,
                });
            }
        }
        if let Phase::Racing(race) = &mut self.phase
            && race.is_over()
        {
            let race = mem::take(race);
            self.judge(&race, now);
            let cause = race.into_cause_or(PathError::NoRoute.into());
            self.connecting_failed(cause, Race::default(), now);
        }
    }

    fn won(&mut self, index: usize, half: Half, now: Instant) {
        let Phase::Racing(race) = &mut self.phase else { return };
        let mut race = mem::take(race);
        let Some(way) = race.lanes.get(index).map(|lane| lane.way) else { return };
        let Some(link) = race.take(index, half, now) else { return };
        self.judge(&race, now);
        tracing::info!(%way, ?half, "the gateway answers");
        self.tried = Some(way.gateway);
        self.way = Some(way);
        self.keepalive = Keepalive::new(now);
        self.events.push_back(Event::UsePath { path: link.path_id });
        self.phase = Phase::ExpectChild(race, link);
    }

    /// A session of the race has ended.
    pub(super) fn lane_closed(&mut self, id: LinkId, failure: Failure, now: Instant) {
        let Phase::Racing(race) = &mut self.phase else { return };
        for lane in &mut race.lanes {
            lane.direct.take_if(|link| link.id == id);
            let bare = lane.bare.take_if(|bare| bare.link.id == id);
            lane.heard_500 |= bare.is_some_and(|bare| bare.hold != Hold::Unheard);
        }
        let cause = Cause::from(failure);
        if cause.remedy() != Remedy::NextAddress {
            // What one of the gateway's ports refuses, the others would.
            *race = Race::default();
            return self.connecting_failed(cause, Race::default(), now);
        }
        race.note(cause);
        for lane in race.lanes.extract_if(.., |lane| lane.is_over()).collect::<Vec<_>>() {
            race.observe_silence(&lane, now);
        }
        race.hasten(now);
        self.run_race(now);
    }

    /// An attempt has failed before there was a CHILD SA.
    pub(super) fn connecting_failed(&mut self, cause: Cause, mut race: Race, now: Instant) {
        tracing::info!(%cause, "could not connect");
        let remedy = cause.remedy();
        if remedy == Remedy::NextAddress && !race.is_over() {
            race.note(cause);
            race.hasten(now);
            self.phase = Phase::Racing(race);
            return self.run_race(now);
        }
        let cause = if remedy == Remedy::NextAddress { race.into_cause_or(cause) } else { cause };
        let goes_on = self.ever_up || (self.outlasts && cause.is_silence());
        if remedy == Remedy::GiveUp || !goes_on {
            self.give_up(cause, now);
        } else {
            self.cause = Some(Arc::new(cause));
            self.pause(now);
        }
    }

    /// What a race has shown about this network.
    pub(super) fn judge(&mut self, race: &Race, now: Instant) {
        let judgement = judge(&race.observations, self.wall_at(now));
        self.profile.verdicts.merge(&judgement.verdicts);
        self.blockage = judgement.blockage;
        if let Some(blockage) = judgement.blockage {
            tracing::warn!(?blockage, "this network does not let the first choice through");
        }
    }

    pub(super) fn pause(&mut self, now: Instant) {
        self.phase = Phase::ExpectRetry { at: now + self.backoff.next(&mut self.rng) };
    }
}

/// What a path that can't be opened says about the way.
fn of_path(error: PathError) -> Seen {
    match error {
        PathError::Closed | PathError::NotTheGateway => Seen::Refused,
        PathError::Silent => Seen::IkeSilent { waited: SILENCE, requests: REQUESTS_BEFORE_SILENCE },
        PathError::NoRoute | PathError::Refused | PathError::OtherKey | PathError::NoDataPlane => {
            Seen::NotSent
        }
    }
}
