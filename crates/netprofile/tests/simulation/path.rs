//! A path with an MTU for each direction, and both searches on it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use evenkeel_netprofile::mtu::{Config, Direction, Outcome, PmtuSearch, Probe, ProbeId, ProbeStyle};
use evenkeel_netprofile::overhead::Encapsulation;

use crate::rng::Rng;

/// What the path is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behaviour {
    pub(crate) uplink: u16,
    pub(crate) downlink: u16,
    /// Whether the router before the narrow link says so.
    pub(crate) icmp: bool,
    /// Percent of packets lost, each way.
    pub(crate) loss: u64,
    pub(crate) rtt: Duration,
    /// Added to each answer, at random.
    pub(crate) jitter: Duration,
    /// Whether anything inside answers.
    pub(crate) answers: bool,
    pub(crate) style: ProbeStyle,
    pub(crate) encapsulation: Encapsulation,
    pub(crate) link_mtu: u16,
    pub(crate) remembered: Option<u16>,
}

impl Behaviour {
    /// The largest producible packet that is at most `size`.
    pub(crate) fn floor(&self, size: u16) -> u16 {
        let inner = usize::from(self.encapsulation.inner_mtu(size));
        u16::try_from(self.encapsulation.outer_len(inner)).unwrap().min(size)
    }

    /// What the search of this direction should find.
    pub(crate) fn expected(&self, direction: Direction) -> u16 {
        let path = match (direction, self.style) {
            (Direction::Uplink, ProbeStyle::Padded) => self.uplink,
            // The answer of an echo is as large as the question.
            (Direction::Uplink, ProbeStyle::Echo) => self.uplink.min(self.downlink),
            (Direction::Downlink, _) => self.downlink,
        };
        self.floor(path.min(self.link_mtu).min(1500))
    }
}

enum Event {
    Reply(ProbeId),
    TooBig(u16),
}

/// Both searches, with their clock.
pub(crate) struct Tunnel {
    pub(crate) path: Behaviour,
    pub(crate) now: Instant,
    pub(crate) uplink: PmtuSearch,
    pub(crate) downlink: PmtuSearch,
    events: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
    rng: Rng,
}

impl Tunnel {
    #[expect(clippy::disallowed_methods, reason = "a starting point for virtual time")]
    pub(crate) fn new(path: Behaviour, seed: u64) -> Self {
        let start = Instant::now();
        let search = |direction, style| {
            let Behaviour { encapsulation, link_mtu, remembered, rtt, .. } = path;
            let (first_number, rtt) = (0, Some(rtt));
            let config = Config { direction, style, encapsulation, link_mtu, remembered, first_number, rtt };
            PmtuSearch::new(config, start)
        };
        Self {
            path,
            now: start,
            uplink: search(Direction::Uplink, path.style),
            downlink: search(Direction::Downlink, ProbeStyle::Echo),
            events: BTreeMap::new(),
            sequence: 0,
            rng: Rng::new(seed),
        }
    }

    pub(crate) fn search(&self, direction: Direction) -> &PmtuSearch {
        match direction {
            Direction::Uplink => &self.uplink,
            Direction::Downlink => &self.downlink,
        }
    }

    pub(crate) fn is_searching(&self) -> bool {
        [&self.uplink, &self.downlink].iter().any(|search| search.outcome() == Outcome::Searching)
    }

    pub(crate) fn traffic(&mut self) {
        self.uplink.handle_traffic(self.now);
        self.downlink.handle_traffic(self.now);
    }

    /// Runs for `span`, calling `each` after every event.
    pub(crate) fn run_for(&mut self, span: Duration, mut each: impl FnMut(&Self)) {
        let end = self.now + span;
        loop {
            while let Some(probe) = self.uplink.poll_probe(self.now) {
                self.carry(probe);
            }
            while let Some(probe) = self.downlink.poll_probe(self.now) {
                self.carry(probe);
            }
            let arrival = self.events.first_key_value().map(|(&(at, _), _)| at);
            let timeouts = [self.uplink.poll_timeout(), self.downlink.poll_timeout()];
            let next = timeouts.into_iter().flatten().chain(arrival).min();
            let Some(next) = next.filter(|&next| next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if arrival.is_some_and(|at| at <= self.now) {
                match self.events.pop_first().unwrap().1 {
                    Event::Reply(id) => {
                        self.uplink.handle_reply(id, self.now);
                        self.downlink.handle_reply(id, self.now);
                    }
                    Event::TooBig(mtu) => self.uplink.handle_icmp_too_big(mtu, true, self.now),
                }
            } else {
                self.uplink.handle_timeout(self.now);
                self.downlink.handle_timeout(self.now);
            }
            each(self);
        }
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + after, self.sequence), event);
    }

    fn carry(&mut self, probe: Probe) {
        let Behaviour { uplink, downlink, icmp, loss, rtt, jitter, answers, .. } = self.path;
        let (up, down) = match (probe.id.direction, probe.style) {
            (Direction::Uplink, ProbeStyle::Padded) => (probe.size, 0),
            (Direction::Uplink, ProbeStyle::Echo) => (probe.size, probe.size),
            // The request goes in small inner fragments.
            (Direction::Downlink, _) => (0, probe.size),
        };
        if up > uplink {
            if icmp {
                self.schedule(rtt / 2, Event::TooBig(uplink));
            }
            return;
        }
        let lost = self.rng.chance(loss) | self.rng.chance(loss);
        if !lost && answers && down <= downlink {
            let micros = u64::try_from(jitter.as_micros()).unwrap();
            let late = Duration::from_micros(self.rng.within(0, micros));
            self.schedule(rtt + late, Event::Reply(probe.id));
        }
    }
}
