//! What was learned on one network.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::defaults;
use crate::keepalive::{Confidence, Learned, Method, PortAssignment, Remembered};
use crate::ladder::{LastGood, Transport, Verdicts};
use crate::mtu::{Outcome, PmtuSearch};
use crate::time::UnixSeconds;

/// Everything that is remembered of one network. `None` is "not measured".
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkProfile {
    /// Whether there is a NAT (RFC 7296 §2.23).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nat: Option<NatPresence>,
    /// How the NAT assigns ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortAssignment>,
    /// How long its mappings live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<LearnedLifetime>,
    /// Path MTU towards the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uplink: Option<LearnedMtu>,
    /// Path MTU from the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downlink: Option<LearnedMtu>,
    /// What is blocked.
    pub verdicts: Verdicts,
    /// When a captive portal was last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub portal_seen: Option<UnixSeconds>,
    /// What last carried the tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_good: Option<LastGood>,
    /// How long the last connections took.
    pub connect_times: ConnectTimes,
}

/// Whether a NAT was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NatPresence {
    /// Whether one was.
    pub present: bool,
    /// When.
    pub at: UnixSeconds,
}

/// A proven mapping lifetime.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LearnedLifetime {
    /// The longest silence that a mapping survived, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower_ms: Option<u32>,
    /// The shortest that one did not survive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upper_ms: Option<u32>,
    /// What it is worth.
    pub confidence: Confidence,
    /// What proved it.
    pub method: Method,
    /// When.
    pub at: UnixSeconds,
}

/// A proven path MTU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LearnedMtu {
    /// Bytes of the largest outer packet.
    pub size: u16,
    /// When.
    pub at: UnixSeconds,
}

impl LearnedMtu {
    /// What a search has measured; nothing while it is under way or where nothing answered.
    #[must_use]
    pub fn of(search: &PmtuSearch, at: UnixSeconds) -> Option<Self> {
        match search.outcome() {
            Outcome::Exact | Outcome::Coarse => Some(Self { size: search.size(), at }),
            Outcome::Searching | Outcome::Unanswered => None,
        }
    }
}

/// How long one connection took, from the attempt that led to it to the first packet that could go through the tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConnectTime {
    /// When.
    pub at: UnixSeconds,
    /// Milliseconds.
    pub took_ms: u32,
    /// Through what.
    pub transport: Transport,
}

/// The last connections, at most 16.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnectTimes(VecDeque<ConnectTime>);

impl ConnectTimes {
    /// Adds one and drops the oldest past the bound.
    pub fn record(&mut self, time: ConnectTime) {
        self.0.push_back(time);
        while self.0.len() > defaults::CONNECT_TIMES {
            self.0.pop_front();
        }
    }

    /// Oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &ConnectTime> {
        self.0.iter()
    }

    /// The median, `None` without any.
    #[must_use]
    pub fn median(&self) -> Option<Duration> {
        let mut times: Vec<u32> = self.0.iter().map(|time| time.took_ms).collect();
        times.sort_unstable();
        times.get(times.len() / 2).map(|&millis| Duration::from_millis(millis.into()))
    }
}

impl NetworkProfile {
    /// Takes over what a lifetime search has found by `now`. `proven` is [`Learned::proven_at`]: what the search only
    /// remembers stays as old as it was.
    pub fn learn_lifetime(&mut self, learned: &Learned, proven: Option<UnixSeconds>, now: UnixSeconds) {
        let millis = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        self.ports = learned.ports;
        let Some(method) = learned.method else { return };
        let (lower_ms, upper_ms) = (learned.lower.map(millis), learned.upper.map(millis));
        // A loss proves nothing of what is survived, but it is news.
        let remembered = self.lifetime.filter(|known| {
            let is_same = (known.method, known.lower_ms) == (method, lower_ms);
            is_same && (method != Method::Passive || known.upper_ms == upper_ms)
        });
        self.lifetime = Some(LearnedLifetime {
            lower_ms,
            upper_ms,
            confidence: learned.confidence,
            method,
            at: proven.or(remembered.map(|known| known.at)).unwrap_or(now),
        });
    }

    /// What a lifetime search starts from.
    #[must_use]
    pub fn remembered_lifetime(&self) -> Option<Remembered> {
        let lifetime = self.lifetime?;
        let duration = |millis: u32| Duration::from_millis(millis.into());
        Some(Remembered {
            lower: lifetime.lower_ms.map(duration),
            upper: lifetime.upper_ms.map(duration),
            method: lifetime.method,
            confidence: lifetime.confidence,
            ports: self.ports,
        })
    }

    /// Lets everything lose weight that is old, forgets what is too old, and brings times in the future (the clock was
    /// wrong then, or is now) back to `now`.
    pub fn age(&mut self, now: UnixSeconds) {
        self.nat = self.nat.filter(|nat| nat.at.age(now) < defaults::OPEN_VERDICT_LIVES);
        self.lifetime = self.lifetime.and_then(|lifetime| lifetime.aged(now));
        // Seen together, and not dated by itself.
        self.ports = self.ports.filter(|_| self.lifetime.is_some());
        for mtu in [&mut self.uplink, &mut self.downlink] {
            *mtu = mtu.filter(|mtu| mtu.at.age(now) < defaults::MTU_LIVES);
        }
        self.verdicts.age(now);
        self.portal_seen = self.portal_seen.filter(|at| at.age(now) < defaults::OPEN_VERDICT_LIVES);
        self.last_good = self.last_good.filter(|last| last.at.age(now) < defaults::OPEN_VERDICT_LIVES);
        self.connect_times.0.retain(|time| time.at.age(now) < defaults::OPEN_VERDICT_LIVES);

        let times = [
            self.nat.as_mut().map(|nat| &mut nat.at),
            self.lifetime.as_mut().map(|lifetime| &mut lifetime.at),
            self.uplink.as_mut().map(|mtu| &mut mtu.at),
            self.downlink.as_mut().map(|mtu| &mut mtu.at),
            self.portal_seen.as_mut(),
            self.last_good.as_mut().map(|last| &mut last.at),
        ];
        let connected = self.connect_times.0.iter_mut().map(|time| &mut time.at);
        for at in times.into_iter().flatten().chain(connected) {
            *at = (*at).min(now);
        }
    }

    /// Whether it could have been learned: what was not, is not believed.
    pub(super) fn is_plausible(&self) -> bool {
        let shortest = defaults::SHORTEST_SILENCE.as_millis();
        let longest = defaults::LONGEST_SILENCE.as_millis();
        let lifetime = self.lifetime.is_none_or(|lifetime| {
            let lower = lifetime.lower_ms.map_or(shortest, u128::from);
            (shortest..=longest).contains(&lower)
                && lifetime.upper_ms.is_none_or(|upper| u128::from(upper) >= lower)
        });
        // Down to the largest size that a suite produces below the smallest path: AES-CBC advances by 16 bytes.
        let sizes = defaults::SMALLEST_IPV4_PATH_MTU - 15..=defaults::LARGEST_PATH_MTU;
        let mtu = [self.uplink, self.downlink].into_iter().flatten().all(|mtu| sizes.contains(&mtu.size));
        lifetime && mtu && self.connect_times.0.len() <= defaults::CONNECT_TIMES
    }
}

impl LearnedLifetime {
    fn aged(self, now: UnixSeconds) -> Option<Self> {
        let age = self.at.age(now);
        let most = if age < defaults::LIFETIME_FRESH {
            Confidence::High
        } else if age < defaults::LIFETIME_STALE {
            Confidence::Medium
        } else if age < defaults::OPEN_VERDICT_LIVES {
            Confidence::Low
        } else {
            return None;
        };
        Some(Self { confidence: self.confidence.min(most), ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mtu::{self, Direction, ProbeStyle};
    use crate::overhead::{Encapsulation, EspShape, Family};

    #[expect(clippy::disallowed_methods, reason = "a starting point for virtual time")]
    fn start() -> std::time::Instant {
        std::time::Instant::now()
    }

    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
    const DAY: u64 = 86_400;

    fn learned() -> NetworkProfile {
        let mut profile = NetworkProfile {
            nat: Some(NatPresence { present: true, at: NOW }),
            uplink: Some(LearnedMtu { size: 1400, at: NOW }),
            lifetime: Some(LearnedLifetime {
                lower_ms: Some(110_000),
                upper_ms: Some(121_000),
                confidence: Confidence::High,
                method: Method::InboundAfterSilence,
                at: NOW,
            }),
            ..NetworkProfile::default()
        };
        profile.connect_times.record(ConnectTime { at: NOW, took_ms: 120, transport: Transport::Udp4500 });
        profile
    }

    #[test]
    fn confidence_fades_and_everything_is_forgotten_in_the_end() {
        let confidence = |days| {
            let mut profile = learned();
            profile.age(UnixSeconds(NOW.0 + days * DAY));
            profile.lifetime.map(|lifetime| lifetime.confidence)
        };
        assert_eq!(confidence(1), Some(Confidence::High));
        assert_eq!(confidence(10), Some(Confidence::Medium));
        assert_eq!(confidence(40), Some(Confidence::Low));
        assert_eq!(confidence(100), None);
        let mut profile = learned();
        profile.age(UnixSeconds(NOW.0 + 100 * DAY));
        assert_eq!(profile, NetworkProfile::default());
    }

    #[test]
    fn how_ports_are_assigned_is_forgotten_with_the_lifetime_that_it_was_seen_with() {
        let mut profile = NetworkProfile { ports: Some(PortAssignment::Changing), ..learned() };
        profile.age(UnixSeconds(NOW.0 + 40 * DAY));
        assert_eq!(profile.ports, Some(PortAssignment::Changing));
        profile.age(UnixSeconds(NOW.0 + 100 * DAY));
        assert_eq!(profile, NetworkProfile::default());
    }

    #[test]
    fn every_size_that_a_search_can_settle_on_is_plausible() {
        for family in [Family::V4, Family::V6] {
            for esp in [EspShape::AEAD, EspShape::aes_cbc(12), EspShape::aes_cbc(16), EspShape::aes_cbc(32)] {
                for link_mtu in [0, 576, 577, 1280, 1500, 9000] {
                    let encapsulation = Encapsulation { family, esp };
                    let (direction, style) = (Direction::Uplink, ProbeStyle::Padded);
                    let config = mtu::Config {
                        direction,
                        style,
                        encapsulation,
                        link_mtu,
                        remembered: Some(1),
                        first_number: 0,
                        rtt: None,
                    };
                    let size = PmtuSearch::new(config, start()).size();
                    let uplink = Some(LearnedMtu { size, at: NOW });
                    let profile = NetworkProfile { uplink, ..NetworkProfile::default() };
                    assert!(profile.is_plausible(), "{size} bytes over {family:?} with {esp:?}");
                }
            }
        }
        for size in [0, 68, 560, 1501, u16::MAX] {
            let uplink = Some(LearnedMtu { size, at: NOW });
            assert!(!NetworkProfile { uplink, ..NetworkProfile::default() }.is_plausible(), "{size}");
        }
    }

    #[test]
    fn times_in_the_future_are_brought_back() {
        let mut profile = learned();
        let earlier = UnixSeconds(NOW.0 - 1000);
        profile.age(earlier);
        assert_eq!(profile.lifetime.unwrap().at, earlier);
        assert_eq!(profile.connect_times.iter().next().unwrap().at, earlier);
    }

    #[test]
    fn only_the_last_connections_are_kept() {
        let mut times = ConnectTimes::default();
        assert_eq!(times.median(), None);
        for took_ms in 0..100 {
            times.record(ConnectTime { at: NOW, took_ms, transport: Transport::Tcp443 });
        }
        assert_eq!(times.iter().count(), 16);
        assert_eq!(times.median(), Some(Duration::from_millis(92)));
    }

    #[test]
    fn what_a_search_learned_is_what_the_next_one_starts_from() {
        let mut profile = NetworkProfile::default();
        let mut found = Learned {
            interval: Duration::from_secs(88),
            lower: Some(Duration::from_secs(110)),
            upper: Some(Duration::from_secs(121)),
            confidence: Confidence::Medium,
            method: Some(Method::SecondSocket),
            proven_at: None,
            ports: Some(PortAssignment::Changing),
            settled: true,
        };
        profile.learn_lifetime(&found, None, NOW);
        let remembered = profile.remembered_lifetime().unwrap();
        assert_eq!((remembered.lower, remembered.upper), (found.lower, found.upper));
        assert_eq!(remembered.ports, Some(PortAssignment::Changing));
        assert!(profile.is_plausible());
        (found.lower, found.method) = (None, None);
        profile.learn_lifetime(&found, None, NOW);
        assert_eq!(profile.remembered_lifetime(), Some(remembered), "an unproven interval replaces nothing");
    }

    #[test]
    fn a_lifetime_is_as_old_as_its_proof() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let found = |lower, upper, method| Learned {
            interval: Duration::from_secs(88),
            lower,
            upper,
            confidence: Confidence::Medium,
            method: Some(method),
            proven_at: None,
            ports: None,
            settled: false,
        };
        let known = found(seconds(110), seconds(121), Method::InboundAfterSilence);
        let day = |days: u64| UnixSeconds(NOW.0 + days * DAY);
        let mut profile = learned();
        let mut at = |found: &Learned, proven, now| {
            profile.learn_lifetime(found, proven, now);
            profile.lifetime.unwrap().at
        };
        assert_eq!(at(&known, None, day(5)), NOW, "remembered, and nothing more");
        let narrower = Learned { upper: seconds(115), ..known };
        assert_eq!(at(&narrower, None, day(6)), NOW, "what is survived was not tried again");
        assert_eq!(at(&known, Some(day(7)), day(8)), day(7), "proven a day ago");
        let lost = found(None, seconds(40), Method::Passive);
        assert_eq!(at(&lost, None, day(9)), day(9), "lost");
        assert_eq!(at(&lost, None, day(10)), day(9), "and not again");
        assert_eq!(at(&Learned { upper: seconds(20), ..lost }, None, day(11)), day(11), "lost again");
    }
}
