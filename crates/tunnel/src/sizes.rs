//! How large packets may be: a search for the path MTU of each direction, and whom it asks.

use std::mem;
use std::net::IpAddr;
use std::time::Instant;

use evenkeel_ipsec::ike::{ChildSaInfo, Configuration};
use evenkeel_netprofile::defaults::{CONSERVATIVE_PATH_MTU, LARGEST_PATH_MTU};
use evenkeel_netprofile::memory::{LearnedMtu, NetworkProfile};
use evenkeel_netprofile::mtu::{self, Config, Direction, PmtuSearch, ProbeId, ProbeStyle};
use evenkeel_netprofile::overhead::{Encapsulation, Family};
use evenkeel_netprofile::time::UnixSeconds;

use crate::event::OpenedPath;
use crate::inner::shape_of;

/// A probe of the path MTU, to be sent through the data plane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SizeProbe {
    /// Our inner address.
    pub source: IpAddr,
    /// The inner address that is to answer.
    pub target: IpAddr,
    /// Length of the inner packet whose outer one has the size that is asked about: for probes that are not padded.
    pub inner_len: u16,
    /// For a request that is longer than what crosses the path to the gateway, while its reply may well cross the path back:
    /// it is to go in inner fragments of at most so many bytes.
    pub cut_to: Option<u16>,
    /// What to send.
    pub probe: mtu::Probe,
}

/// The two searches of a path that carries datagrams.
pub(crate) struct Sizes {
    source: IpAddr,
    target: IpAddr,
    encapsulation: Encapsulation,
    uplink: PmtuSearch,
    downlink: PmtuSearch,
    /// Whether the size in use towards the gateway has been answered, and is no guess.
    uplink_answered: bool,
    /// The largest request that was sent whole because it was thought to cross the path to the gateway.
    sent_whole: u16,
}

impl Sizes {
    /// Begins to search, if there is somebody inside who can be asked: the first DNS server that the SA leads to. Probes
    /// are numbered from `first_number` on.
    pub(crate) fn start(
        assigned: &Configuration,
        child: &ChildSaInfo,
        path: &OpenedPath,
        profile: &NetworkProfile,
        first_number: u32,
        now: Instant,
    ) -> Option<Self> {
        let (source, target) = inner_pair(assigned, child)?;
        let encapsulation = encapsulation(child, path);
        let config = |direction, style, remembered: Option<LearnedMtu>| Config {
            direction,
            style,
            encapsulation,
            // What the system knows is what routers said of packets that left, up to ten minutes ago.
            link_mtu: LARGEST_PATH_MTU,
            remembered: remembered.map(|mtu| mtu.size),
            first_number,
            rtt: None,
        };
        // A router has said so not long ago: that is where to begin, and not where to end.
        let said = |remembered: Option<LearnedMtu>| {
            let size = remembered.map_or(CONSERVATIVE_PATH_MTU, |mtu| mtu.size);
            if path.path_mtu < size {
                Some(LearnedMtu { size: path.path_mtu, at: UnixSeconds(0) })
            } else {
                remembered
            }
        };
        let style = if child.tfc_supported { ProbeStyle::Padded } else { ProbeStyle::Echo };
        Some(Self {
            source,
            target,
            encapsulation,
            uplink: PmtuSearch::new(config(Direction::Uplink, style, said(profile.uplink)), now),
            downlink: PmtuSearch::new(config(Direction::Downlink, ProbeStyle::Echo, profile.downlink), now),
            uplink_answered: false,
            sent_whole: 0,
        })
    }

    /// Whether it would be asked the same way on this CHILD SA and path.
    pub(crate) fn are_of(&self, assigned: &Configuration, child: &ChildSaInfo, path: &OpenedPath) -> bool {
        inner_pair(assigned, child) == Some((self.source, self.target))
            && self.encapsulation == encapsulation(child, path)
    }

    fn both(&mut self) -> [&mut PmtuSearch; 2] {
        [&mut self.uplink, &mut self.downlink]
    }

    /// The next probe to send.
    pub(crate) fn poll_probe(&mut self, now: Instant) -> Option<SizeProbe> {
        let probe = self.both().into_iter().find_map(|search| search.poll_probe(now))?;
        let inner_len = self.encapsulation.inner_mtu(probe.size);
        // Whole as long as nothing is known: that is right on most paths, and not all firewalls let fragments through.
        let crosses = self.encapsulation.inner_mtu(self.uplink.crossing());
        let is_down = probe.id.direction == Direction::Downlink;
        let cut_to = (is_down && self.uplink_answered && inner_len > crosses).then_some(crosses);
        let doubted = !self.uplink_answered && self.downlink.spent().rounds == 1;
        if is_down && cut_to.is_none() && !doubted {
            self.sent_whole = self.sent_whole.max(probe.size);
        }
        Some(SizeProbe { source: self.source, target: self.target, inner_len, cut_to, probe })
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [self.uplink.poll_timeout(), self.downlink.poll_timeout()].into_iter().flatten().min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for search in self.both() {
            if search.poll_timeout().is_some_and(|at| at <= now) {
                search.handle_timeout(now);
            }
        }
        self.note_crossing(now);
    }

    /// Requests for large answers that were longer than what crosses the path have been lost on their way there.
    fn note_crossing(&mut self, now: Instant) {
        if self.uplink_answered && self.uplink.size() < self.sent_whole {
            self.sent_whole = 0;
            self.downlink.handle_requests_lost(now);
        }
    }

    pub(crate) fn handle_reply(&mut self, id: ProbeId, now: Instant) {
        let first = id.direction == Direction::Uplink && !mem::replace(&mut self.uplink_answered, true);
        for search in self.both() {
            search.handle_reply(id, now);
        }
        // Requests of the first round go whole; those that are longer than the first answer may have been lost.
        if first && self.downlink.spent().rounds == 1 && self.uplink.crossing() < self.downlink.ceiling() {
            self.downlink.doubt_round();
        }
        self.note_crossing(now);
    }

    /// Traffic flows: black holes are to be noticed.
    pub(crate) fn handle_traffic(&mut self, now: Instant) {
        for search in self.both() {
            search.handle_traffic(now);
        }
    }

    pub(crate) fn handle_icmp_too_big(&mut self, mtu: u16, quotes_our_packet: bool, now: Instant) {
        self.uplink.handle_icmp_too_big(mtu, quotes_our_packet, now);
    }

    pub(crate) fn sizes(&self) -> PathSizes {
        PathSizes {
            uplink: self.uplink.size(),
            downlink: self.downlink.size(),
            uplink_measured: self.uplink.is_measured(),
            downlink_measured: self.downlink.is_measured(),
        }
    }

    /// What there is to remember of them.
    pub(crate) fn remember(&self, profile: &mut NetworkProfile, at: UnixSeconds) {
        profile.uplink = LearnedMtu::of(&self.uplink, at).or(profile.uplink);
        profile.downlink = LearnedMtu::of(&self.downlink, at).or(profile.downlink);
    }
}

fn encapsulation(child: &ChildSaInfo, path: &OpenedPath) -> Encapsulation {
    Encapsulation { family: Family::from(path.nat.remote.ip()), esp: shape_of(child.suite) }
}

/// One of our inner addresses, and who can be asked from there: the first DNS server that the SA leads to.
pub(crate) fn inner_pair(assigned: &Configuration, child: &ChildSaInfo) -> Option<(IpAddr, IpAddr)> {
    let leads_to =
        |address: &IpAddr| child.ts_remote.iter().any(|ts| ts.start <= *address && *address <= ts.end);
    assigned.dns.iter().copied().filter(leads_to).find_map(|target| {
        let mut ours = assigned.addresses.iter().map(|(address, _)| *address);
        ours.find(|address| address.is_ipv4() == target.is_ipv4()).map(|source| (source, target))
    })
}

/// The largest outer packets in use, in bytes with their IP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathSizes {
    /// Towards the gateway.
    pub uplink: u16,
    /// From the gateway.
    pub downlink: u16,
    /// Whether [`uplink`](Self::uplink) is what this path was found to carry, or the best that can be known of it. Until then
    /// it is what was known before, and nobody who would remember it is told.
    pub uplink_measured: bool,
    /// The same of [`downlink`](Self::downlink).
    pub downlink_measured: bool,
}

impl PathSizes {
    /// What is used where nothing can be asked: what the network is remembered to carry, or what nearly every path does.
    pub(crate) fn unmeasured(profile: &NetworkProfile, link_mtu: u16) -> Self {
        let or_conservative =
            |mtu: Option<LearnedMtu>| mtu.map_or(CONSERVATIVE_PATH_MTU, |mtu| mtu.size).min(link_mtu);
        Self::known(or_conservative(profile.uplink), or_conservative(profile.downlink))
    }

    /// A stream cuts everything to fit by itself.
    pub(crate) fn of_stream(link_mtu: u16) -> Self {
        Self::known(link_mtu, link_mtu)
    }

    /// Nothing better is to be expected.
    fn known(uplink: u16, downlink: u16) -> Self {
        Self { uplink, downlink, uplink_measured: true, downlink_measured: true }
    }
}
