//! Five thousand networks, each drawn from a seed.

use std::time::Duration;

use evenkeel_netprofile::defaults;
use evenkeel_netprofile::keepalive::Config;
use evenkeel_netprofile::mtu::{Direction, Outcome, ProbeStyle};
use evenkeel_netprofile::overhead::{Encapsulation, EspShape, Family};

use crate::idle::{Idle, Surroundings};
use crate::nat::{Behaviour, Depends, Ports, Refresh};
use crate::path::{self, Tunnel};
use crate::rng::Rng;

pub(crate) const NETWORKS: u64 = 5000;

/// How a search ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Where it should.
    Right,
    /// At the default or below, where nothing there can measure more.
    Conservative,
    /// Smaller than it should be.
    Small,
    /// Larger than the network allows, at any time.
    Unsafe,
}

fn depends(rng: &mut Rng) -> Depends {
    match rng.within(0, 2) {
        0 => Depends::EndpointIndependent,
        1 => Depends::AddressDependent,
        _ => Depends::AddressAndPortDependent,
    }
}

fn nat(rng: &mut Rng) -> Behaviour {
    const COMMON: [u64; 9] = [10, 20, 30, 45, 60, 90, 120, 180, 300];
    let seconds =
        if rng.chance(60) { COMMON[usize::try_from(rng.within(0, 8)).unwrap()] } else { rng.within(10, 400) };
    let longest = Duration::from_secs(seconds);
    // A coarse clock forgets up to a tenth earlier.
    let shortest = if rng.chance(20) { longest * 9 / 10 } else { longest };
    Behaviour {
        mapping: depends(rng),
        filtering: depends(rng),
        ports: if rng.chance(50) { Ports::Preserving } else { Ports::Random },
        refresh: if rng.chance(50) { Refresh::Outbound } else { Refresh::Both },
        lifetime: (shortest, longest),
        young: (seconds > 30 && rng.chance(30)).then_some(Duration::from_secs(30)),
    }
}

/// Learns the lifetime of network `seed`, and when the search first settled.
pub(crate) fn lifetime(seed: u64) -> (End, Option<Duration>) {
    let mut rng = Rng::new(seed);
    let two = rng.chance(30);
    let nats: Vec<Behaviour> = (0..=u64::from(two)).map(|_| nat(&mut rng)).collect();
    let inbound_probe = rng.chance(80);
    let config = Config {
        // The owner that there is offers one of them alone.
        second_socket: !inbound_probe || rng.chance(20),
        inbound_probe,
        // Behind two NATs the hash alone can mislead, which is why trusting it is a choice of the owner's.
        trust_hash_alone: !two,
        remembered: None,
    };
    let around = Surroundings {
        rtt: Duration::from_millis(rng.within(5, 300)),
        loss: rng.within(0, 3),
        lost_keepalives: rng.within(0, 1),
        inbound_every: Duration::from_secs(rng.within(60, 1800)),
    };
    let mut idle = Idle::new(&nats, around, config, seed);
    let (lifetime, mut passed, mut settled) = (idle.nats.lifetime(), false, None);
    let busy = Duration::from_secs(rng.within(0, 120));
    while idle.elapsed() < busy {
        idle.search.handle_traffic(idle.now);
        idle.run_until(idle.elapsed() + Duration::from_secs(1), |_| {});
    }
    idle.run_until(busy + defaults::LEARNING_TIME, |idle| {
        let interval = idle.search.interval();
        // The default is no claim; from the first lost mapping on there is no excuse.
        passed |= interval > lifetime && (idle.losses > 0 || interval > defaults::FIRST_INTERVAL);
        if settled.is_none() && idle.search.learned().settled {
            settled = Some(idle.elapsed() - busy);
        }
    });
    let spent = idle.search.spent();
    assert!(
        spent.checks <= defaults::CHECKS_PER_HOUR * 2
            && spent.inbound_probes <= defaults::INBOUND_PROBES_PER_HOUR * 2,
        "network {seed}: {spent:?}"
    );
    let interval = idle.search.interval();
    // A hash that never changes, because the NAT keeps its ports or outlives every silence, proves nothing.
    let by_hash = !two && nats[0].ports == Ports::Random && lifetime < defaults::LONGEST_SILENCE;
    let measurable = inbound_probe || by_hash;
    let end = if passed {
        End::Unsafe
    } else if interval * 10 >= lifetime.min(defaults::LONGEST_SILENCE) * 7 {
        End::Right
    } else if measurable {
        End::Small
    } else {
        End::Conservative
    };
    (end, settled)
}

pub(crate) fn path(seed: u64) -> path::Behaviour {
    const COMMON: [u64; 8] = [1500, 1492, 1420, 1400, 1380, 1300, 1280, 1124];
    let mut rng = Rng::new(seed ^ 0x00a7_b3c1);
    let family = if rng.chance(70) { Family::V4 } else { Family::V6 };
    let least = if family == Family::V6 { 1280 } else { 576 };
    let mtu = |rng: &mut Rng| {
        let drawn = if rng.chance(60) {
            COMMON[usize::try_from(rng.within(0, 7)).unwrap()]
        } else {
            rng.within(least, 1500)
        };
        u16::try_from(drawn.max(least)).unwrap()
    };
    let uplink = mtu(&mut rng);
    let downlink = if rng.chance(70) { uplink } else { mtu(&mut rng) };
    let esp = match rng.within(0, 3) {
        0 => EspShape::aes_cbc(16),
        1 => EspShape::aes_cbc(12),
        _ => EspShape::AEAD,
    };
    let rtt = Duration::from_millis(rng.within(2, 300));
    path::Behaviour {
        uplink,
        downlink,
        icmp: rng.chance(50),
        loss: if rng.chance(50) { 0 } else { rng.within(1, 3) },
        rtt,
        jitter: if rng.chance(50) { Duration::ZERO } else { rtt / 4 },
        answers: rng.chance(95),
        style: if rng.chance(80) { ProbeStyle::Padded } else { ProbeStyle::Echo },
        encapsulation: Encapsulation { family, esp },
        link_mtu: if rng.chance(80) { 1500 } else { mtu(&mut rng) },
        remembered: rng.chance(20).then(|| mtu(&mut rng)),
    }
}

/// How both directions of path `seed` ended, once after the start and once after a change under traffic.
pub(crate) fn sizes(seed: u64) -> [End; 4] {
    const BOTH: [Direction; 2] = [Direction::Uplink, Direction::Downlink];
    let mut rng = Rng::new(seed ^ 0xc4a6_9e00);
    let behaviour = path(seed);
    let mut tunnel = Tunnel::new(behaviour, seed);
    let judge = |tunnel: &Tunnel, direction, too_large: bool| {
        let (size, expected) = (tunnel.search(direction).size(), tunnel.path.expected(direction));
        let unanswered = tunnel.search(direction).outcome() == Outcome::Unanswered;
        if too_large || (size > expected && !unanswered) {
            End::Unsafe
        } else if size == expected {
            End::Right
        } else if unanswered && !tunnel.path.answers {
            End::Conservative
        } else {
            End::Small
        }
    };

    let starts = BOTH.map(|direction| tunnel.search(direction).size());
    let mut too_large = [false; 2];
    let mut steps = 0;
    while tunnel.is_searching() {
        tunnel.run_for(Duration::from_millis(50), |tunnel| {
            for ((direction, start), wrong) in BOTH.into_iter().zip(starts).zip(&mut too_large) {
                // What it starts from is no claim.
                *wrong |= tunnel.search(direction).size() > tunnel.path.expected(direction).max(start);
            }
        });
        steps += 1;
        assert!(steps < 2000, "path {seed} is never settled");
    }
    let first = [0, 1].map(|index| judge(&tunnel, BOTH[index], too_large[index]));
    for direction in BOTH {
        let spent = tunnel.search(direction).spent();
        assert!(spent.probes <= defaults::PROBES_PER_SEARCH && spent.bytes <= defaults::BYTES_PER_SEARCH);
    }
    if !behaviour.answers {
        return [first[0], first[1], End::Conservative, End::Conservative];
    }

    // The path narrows while packets flow.
    let narrower = |rng: &mut Rng, mtu: u16, least: u16| {
        u16::try_from(rng.within(u64::from(least), u64::from(mtu.max(least)))).unwrap()
    };
    let least = if behaviour.encapsulation.family == Family::V6 { 1280 } else { 576 };
    tunnel.run_for(Duration::from_secs(rng.within(1, 30)), |_| {});
    tunnel.path.uplink = narrower(&mut rng, behaviour.uplink, least);
    tunnel.path.downlink = narrower(&mut rng, behaviour.downlink, least);
    let mut black_hole = [Duration::ZERO; 2];
    for _ in 0..200 {
        tunnel.traffic();
        tunnel.run_for(Duration::from_millis(100), |_| {});
        for (index, hole) in black_hole.iter_mut().enumerate() {
            if tunnel.search(BOTH[index]).size() > tunnel.path.expected(BOTH[index]) {
                *hole += Duration::from_millis(100);
            }
        }
    }
    // Let the confirmation that is under way end.
    tunnel.run_for(Duration::from_secs(5), |_| {});
    let too_long = black_hole.map(|hole| hole > Duration::from_secs(3));
    let second = [0, 1].map(|index| judge(&tunnel, BOTH[index], too_long[index]));
    [first[0], first[1], second[0], second[1]]
}

fn seeds(ends: &[End], of: End) -> Vec<usize> {
    ends.iter().enumerate().filter(|(_, end)| **end == of).map(|(seed, _)| seed).collect()
}

/// The page says what the simulation gives.
fn assert_published(line: &str) {
    let page = include_str!("../../../../docs/network-learning.md").replace("\r\n", "\n");
    assert!(page.contains(line), "docs/network-learning.md should say:\n{line}");
}

#[test]
fn the_keepalive_of_five_thousand_networks_reaches_its_share_and_passes_no_lifetime() {
    let results: Vec<(End, Option<Duration>)> = (0..NETWORKS).map(lifetime).collect();
    let ends: Vec<End> = results.iter().map(|(end, _)| *end).collect();
    let (wrong, small) = (seeds(&ends, End::Unsafe), seeds(&ends, End::Small));
    assert!(wrong.is_empty(), "networks {wrong:?}");
    assert!(small.len() * 200 <= ends.len(), "{} too small: {small:?}", small.len());
    let mut times: Vec<Duration> = results.iter().filter_map(|(_, settled)| *settled).collect();
    times.sort_unstable();
    let minutes = |percent: usize| times[times.len() * percent / 100].as_secs().div_ceil(60);
    assert_published(&format!(
        "- lifetimes: {} between 70 and 100 % of the true one, {} at the default where nothing can measure more, {} \
         shorter than promised, 0 longer than the true one;\n  settled after {} minutes in the median, {} in 99 of 100.\n",
        seeds(&ends, End::Right).len(),
        seeds(&ends, End::Conservative).len(),
        small.len(),
        minutes(50),
        minutes(99)
    ));
}

#[test]
fn the_mtu_of_five_thousand_paths_is_exact_and_never_a_black_hole() {
    let ends: Vec<End> = (0..NETWORKS).flat_map(sizes).collect();
    let (wrong, small) = (seeds(&ends, End::Unsafe), seeds(&ends, End::Small));
    // Four ends a path: up and down, before and after the change.
    assert!(wrong.is_empty(), "paths {:?}", wrong.iter().map(|end| end / 4).collect::<Vec<_>>());
    assert!(small.len() * 200 <= ends.len() / 4, "{} too small: {small:?}", small.len());
    assert_published(&format!(
        "- path MTUs: {} exact, {} a guess where nothing answers, {} too small, 0 too large for more than three \
         seconds.\n",
        seeds(&ends, End::Right).len(),
        seeds(&ends, End::Conservative).len(),
        small.len()
    ));
}
