//! The network between gateway and clients, as bad as a test wants it: what happens to whole datagrams.

mod delay;

use std::time::{Duration, Instant};

use evenkeel_ipsec::crypto::Rng;
use serde::{Deserialize, Deserializer, Serialize, de};

pub use self::delay::DelayLine;

/// Faults of the network. The default is a network without any.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkFaults {
    /// Percentage of datagrams lost, in each direction.
    #[serde(deserialize_with = "percentage")]
    pub drop_percent: u8,
    /// Numbers of the received IKE messages to lose; the first after a change of faults is number 1.
    pub drop_ike_received: Vec<u64>,
    /// Numbers of the IKE messages to lose instead of sending, counted the same way.
    pub drop_ike_sent: Vec<u64>,
    /// Lose every ESP packet while IKE gets through.
    pub drop_esp: bool,
    /// Milliseconds by which every datagram is late, in each direction.
    pub delay_ms: u32,
    /// Up to this many milliseconds more, drawn for each datagram: they overtake each other.
    pub jitter_ms: u32,
    /// Largest IP packet that gets through, in either direction and without any ICMP. 0 for no limit.
    pub mtu: usize,
}

/// Which way a datagram goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From a client.
    Received,
    /// To a client.
    Sent,
}

/// What a datagram carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// An IKE message.
    Ike,
    /// An ESP packet.
    Esp,
}

/// What becomes of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It gets through at once.
    Now,
    /// It gets through after this time.
    After(Duration),
    /// It is lost.
    Lost,
}

/// How many datagrams the faults have touched.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct LinkCounters {
    /// Lost by chance or by number.
    pub dropped: u64,
    /// Lost for being larger than the MTU.
    pub oversized: u64,
    /// Delivered late.
    pub delayed: u64,
}

/// Decides what becomes of each datagram.
pub struct Link {
    faults: LinkFaults,
    rng: Rng,
    ike_received: u64,
    ike_sent: u64,
    counters: LinkCounters,
}

impl Link {
    /// A network with these faults. The same seed and the same traffic give the same losses.
    #[must_use]
    pub fn new(faults: LinkFaults, seed: [u8; 32]) -> Self {
        Self {
            faults,
            rng: Rng::from_seed(seed),
            ike_received: 0,
            ike_sent: 0,
            counters: LinkCounters::default(),
        }
    }

    /// The faults in force.
    #[must_use]
    pub fn faults(&self) -> &LinkFaults {
        &self.faults
    }

    /// Puts other faults in force and starts to count IKE messages anew.
    pub fn set_faults(&mut self, faults: LinkFaults) {
        self.faults = faults;
        self.ike_received = 0;
        self.ike_sent = 0;
    }

    /// What the faults have done.
    #[must_use]
    pub fn counters(&self) -> LinkCounters {
        self.counters
    }

    /// Decides about one datagram. `ip_len` is the length of its IP packet.
    pub fn judge(&mut self, direction: Direction, content: Content, ip_len: usize) -> Fate {
        let chosen = match content {
            Content::Ike => self.ike_message_is_chosen(direction),
            Content::Esp => self.faults.drop_esp,
        };
        if self.faults.mtu != 0 && ip_len > self.faults.mtu {
            self.counters.oversized += 1;
            return Fate::Lost;
        }
        if chosen || self.chance(self.faults.drop_percent) {
            self.counters.dropped += 1;
            return Fate::Lost;
        }
        let jitter = match self.faults.jitter_ms {
            0 => 0,
            // The bias of the remainder is of no interest here.
            most => self.rng.u32() % most.saturating_add(1),
        };
        match u64::from(self.faults.delay_ms) + u64::from(jitter) {
            0 => Fate::Now,
            late => {
                self.counters.delayed += 1;
                Fate::After(Duration::from_millis(late))
            }
        }
    }

    fn ike_message_is_chosen(&mut self, direction: Direction) -> bool {
        let (count, chosen) = match direction {
            Direction::Received => (&mut self.ike_received, &self.faults.drop_ike_received),
            Direction::Sent => (&mut self.ike_sent, &self.faults.drop_ike_sent),
        };
        *count += 1;
        chosen.contains(count)
    }

    fn chance(&mut self, percent: u8) -> bool {
        percent != 0 && self.rng.u32() % 100 < u32::from(percent)
    }
}

impl Fate {
    /// The time of arrival of something sent at `now`; `None` if it is lost.
    #[must_use]
    pub fn arrival(self, now: Instant) -> Option<Instant> {
        match self {
            Self::Now => Some(now),
            Self::After(late) => Some(now + late),
            Self::Lost => None,
        }
    }
}

fn percentage<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let percent = u8::deserialize(deserializer)?;
    if percent > 100 {
        return Err(de::Error::custom("not a percentage; allowed: 0 to 100"));
    }
    Ok(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(faults: LinkFaults) -> Link {
        Link::new(faults, [7; 32])
    }

    #[test]
    fn without_faults_everything_gets_through_at_once() {
        let mut link = link(LinkFaults::default());
        for content in [Content::Ike, Content::Esp] {
            for direction in [Direction::Received, Direction::Sent] {
                assert_eq!(link.judge(direction, content, 65_535), Fate::Now);
            }
        }
        assert_eq!(link.counters(), LinkCounters::default());
    }

    #[test]
    fn exactly_the_numbered_ike_messages_are_lost_and_esp_is_not_counted() {
        let mut link = link(LinkFaults { drop_ike_received: vec![2, 3], ..LinkFaults::default() });
        let mut fates = Vec::new();
        for _ in 0..4 {
            link.judge(Direction::Received, Content::Esp, 100);
            link.judge(Direction::Sent, Content::Ike, 100);
            fates.push(link.judge(Direction::Received, Content::Ike, 100));
        }
        assert_eq!(fates, [Fate::Now, Fate::Lost, Fate::Lost, Fate::Now]);

        link.set_faults(LinkFaults { drop_ike_received: vec![1], ..LinkFaults::default() });
        assert_eq!(link.judge(Direction::Received, Content::Ike, 100), Fate::Lost, "counted anew");
    }

    #[test]
    fn about_the_asked_percentage_is_lost_and_the_same_seed_loses_the_same() {
        let run = || {
            let mut link = link(LinkFaults { drop_percent: 30, ..LinkFaults::default() });
            (0..10_000).map(|_| link.judge(Direction::Sent, Content::Esp, 100)).collect::<Vec<_>>()
        };
        let lost = run().iter().filter(|&&fate| fate == Fate::Lost).count();
        assert!((2_800..3_200).contains(&lost), "{lost}");
        assert_eq!(run(), run());
        let mut all = link(LinkFaults { drop_percent: 100, ..LinkFaults::default() });
        assert!((0..100).all(|_| all.judge(Direction::Sent, Content::Esp, 1) == Fate::Lost));
    }

    #[test]
    fn esp_can_be_lost_while_ike_gets_through() {
        let mut link = link(LinkFaults { drop_esp: true, ..LinkFaults::default() });
        assert_eq!(link.judge(Direction::Received, Content::Esp, 100), Fate::Lost);
        assert_eq!(link.judge(Direction::Received, Content::Ike, 100), Fate::Now);
    }

    #[test]
    fn what_exceeds_the_mtu_is_lost_and_what_equals_it_is_not() {
        let mut link = link(LinkFaults { mtu: 1400, ..LinkFaults::default() });
        assert_eq!(link.judge(Direction::Sent, Content::Esp, 1400), Fate::Now);
        assert_eq!(link.judge(Direction::Sent, Content::Esp, 1401), Fate::Lost);
        assert_eq!(link.counters().oversized, 1);
    }

    #[test]
    fn delay_and_jitter_add_up_within_their_bounds() {
        let mut link = link(LinkFaults { delay_ms: 20, jitter_ms: 5, ..LinkFaults::default() });
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..500 {
            let Fate::After(late) = link.judge(Direction::Sent, Content::Esp, 100) else {
                panic!("delayed, not lost")
            };
            seen.insert(late.as_millis());
        }
        assert_eq!(seen, (20..=25).collect());
    }
}
