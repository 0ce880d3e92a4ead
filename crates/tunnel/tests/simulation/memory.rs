//! Each network has a memory of its own, also when a connection is carried from one to another.

use std::time::Duration;

use crate::world::{Setup, World};
use evenkeel_netprofile::keepalive::{Confidence, Method};
use evenkeel_netprofile::ladder::{How, LastGood, Measured, Transport, Verdict, Verdicts};
use evenkeel_netprofile::memory::{LearnedLifetime, LearnedMtu, NetworkProfile};
use evenkeel_netprofile::overhead::Family;
use evenkeel_netprofile::time::UnixSeconds;
use evenkeel_tunnel::Command;

const MINUTE: Duration = Duration::from_secs(60);
const FIRST_INTERVAL: Duration = Duration::from_secs(20);
const AT: UnixSeconds = UnixSeconds(crate::world::WALL.0);

/// A network that carries 1400 bytes, whose NAT forgets after 100 s.
fn known() -> NetworkProfile {
    let mtu = Some(LearnedMtu { size: 1400, at: AT });
    let lifetime = LearnedLifetime {
        lower_ms: Some(100_000),
        upper_ms: Some(110_000),
        confidence: Confidence::Medium,
        method: Method::SecondSocket,
        at: AT,
    };
    let blocked = Measured { verdict: Verdict::Blocked, at: AT, how: How::Refused };
    NetworkProfile {
        lifetime: Some(lifetime),
        uplink: mtu,
        downlink: mtu,
        verdicts: Verdicts { tcp443: Some(blocked), ..Verdicts::default() },
        ..NetworkProfile::default()
    }
}

/// Connected on a network that carries 1500 bytes, whose NAT forgets after 60 s, and that is known by heart.
fn at_home() -> World {
    let mut world = World::new(Setup::default());
    world.nat.lifetime = Some(Duration::from_secs(60));
    world.connect();
    world.run_for(120 * MINUTE);
    let profile = world.tunnel.network_profile();
    assert!(profile.lifetime.is_some() && profile.uplink.is_some_and(|mtu| mtu.size == 1500));
    world
}

fn interval(world: &World) -> Duration {
    world.tunnel.keepalive_interval().unwrap()
}

/// Outer bytes of the largest packets.
fn size(world: &World) -> u16 {
    world.network.as_ref().unwrap().whole + 60
}

#[test]
fn a_known_network_that_is_moved_to_is_used_as_it_is_known() {
    let mut world = at_home();
    world.path_mtu = (1400, 1400);
    world.nat.lifetime = Some(Duration::from_secs(105));
    world.answers_probes = false;
    world.command(Command::Network(Box::new(known())));
    world.attach(2, 2);
    let arrived = |world: &World| world.is_up() && world.seen_by_gateway().ip() == world.outside();
    assert!(world.run_until(MINUTE, arrived));
    world.run_for(Duration::from_millis(50));
    assert!((1390..=1400).contains(&size(&world)), "{}", size(&world));
    assert!(interval(&world) >= Duration::from_secs(70), "{:?}", interval(&world));
    assert_eq!(world.tunnel.network_profile().verdicts, known().verdicts);
}

#[test]
fn what_one_network_taught_is_not_taken_to_the_next() {
    let mut world = at_home();
    world.answers_probes = false;
    world.command(Command::Network(Box::default()));
    world.attach(2, 2);
    world.run_for(Duration::from_secs(10));
    let profile = world.tunnel.network_profile();
    assert_eq!((profile.lifetime, profile.uplink, profile.downlink), (None, None, None));
    assert_eq!(interval(&world), FIRST_INTERVAL);
    assert!(size(&world) <= 1280, "{}", size(&world));
    assert!(profile.last_good.is_some() && profile.nat.is_some(), "nothing is learned here");
}

#[test]
fn a_network_that_is_recognised_late_is_used_as_it_is_known_from_then_on() {
    let mut world = World::new(Setup::default());
    world.path_mtu = (1400, 1400);
    world.answers_probes = false;
    world.connect();
    assert_eq!(interval(&world), FIRST_INTERVAL);
    world.statuses.clear();
    world.command(Command::Network(Box::new(known())));
    world.run_for(Duration::from_millis(50));
    assert!((1390..=1400).contains(&size(&world)), "{}", size(&world));
    assert!(interval(&world) >= Duration::from_secs(70), "{:?}", interval(&world));
    assert!(world.statuses.is_empty(), "the connection is not to notice");
}

#[test]
fn a_network_named_while_nothing_is_connected_counts_for_the_next_connection() {
    let mut world = World::new(Setup::default());
    world.answers_probes = false;
    world.command(Command::Network(Box::new(known())));
    world.connect();
    assert!((1390..=1400).contains(&size(&world)), "{}", size(&world));
    assert!(interval(&world) >= Duration::from_secs(70), "{:?}", interval(&world));
}

#[test]
fn while_a_connection_is_on_its_way_the_new_network_learns_nothing_of_the_old_one() {
    let mut world = at_home();
    world.blocked_udp.extend([500, 4500]);
    world.command(Command::Network(Box::default()));
    world.attach(2, 2);
    world.run_for(Duration::from_millis(800));
    let profile = world.tunnel.network_profile();
    assert_eq!((profile.uplink, profile.downlink, profile.lifetime), (None, None, None));
}

const SECOND: Duration = Duration::from_secs(1);
const STREAMS: [Transport; 2] = [Transport::Tcp4500, Transport::Tcp443];

fn remembering(good: Transport, blocked: &[Transport]) -> NetworkProfile {
    let mut verdicts = Verdicts::default();
    for transport in blocked {
        let measured =
            Some(Measured { verdict: Verdict::Blocked, at: AT, how: How::SilentWhileOthersAnswered });
        match transport {
            Transport::Udp4500 => verdicts.udp4500 = measured,
            Transport::Tcp4500 => verdicts.tcp4500 = measured,
            Transport::Tcp443 => verdicts.tcp443 = measured,
            Transport::Udp500 | Transport::Tls443 | Transport::WireGuard => panic!("{transport:?}"),
        }
    }
    let last_good = Some(LastGood { transport: good, family: Family::V4, at: AT });
    NetworkProfile { verdicts, last_good, ..NetworkProfile::default() }
}

/// Makes a network what it is.
type Network = fn(&mut World);

/// How long connecting takes where `network` is how it is, and the way that it goes.
fn connecting(profile: NetworkProfile, network: impl Fn(&mut World)) -> (Duration, Transport) {
    let mut world = World::new(Setup { profile, fallbacks: STREAMS.to_vec(), ..Setup::default() });
    network(&mut world);
    let asked = world.now;
    world.connect();
    (world.now - asked, world.tunnel.way().unwrap().transport)
}

#[test]
fn a_wrong_memory_of_what_gets_through_costs_at_most_a_second() {
    let networks: [(&str, Network); 5] = [
        ("everything is open", |_| {}),
        ("streams are refused", |world| world.blocked.extend([443, 4500])),
        ("streams open on never", |world| world.silent.extend([443, 4500])),
        ("streams lead nowhere", |world| world.streams_are_deaf = true),
        ("no UDP gets through", |world| world.blocked_udp.extend([500, 4500])),
    ];
    let all = [Transport::Udp4500, Transport::Tcp4500, Transport::Tcp443];
    let mut most = (Duration::ZERO, String::new());
    for (name, network) in networks {
        let (without, _) = connecting(NetworkProfile::default(), network);
        for good in all {
            for bits in 0..8 {
                let blocked: Vec<Transport> =
                    (0..3).filter(|bit| bits >> bit & 1 == 1).map(|bit| all[bit]).collect();
                let (with, way) = connecting(remembering(good, &blocked), network);
                let cost = with.saturating_sub(without);
                let what = format!("{name}; {good:?} was good, {blocked:?} blocked: {way:?} after {with:?}");
                assert!(cost <= SECOND, "{what}, without memory {without:?}");
                most = most.max((cost, what));
            }
        }
    }
    println!("at most {:?}: {}", most.0, most.1);
}

#[test]
fn a_right_memory_of_what_gets_through_saves_the_wait() {
    let blocked = |world: &mut World| world.blocked_udp.extend([500, 4500]);
    let profile = remembering(Transport::Tcp443, &[Transport::Udp4500, Transport::Tcp4500]);
    // TCP's handshake takes no time in this world; IKE takes two round trips.
    assert_eq!(connecting(profile, blocked), (Duration::from_millis(80), Transport::Tcp443));
}

#[test]
fn a_wrong_memory_of_the_path_mtu_costs_at_most_a_second() {
    let mut most = Duration::ZERO;
    for path in [1500, 1420, 1280, 1124] {
        for remembered in [1500, 1492, 1420, 1280, 1124, 576] {
            let mtu = Some(LearnedMtu { size: remembered, at: AT });
            let profile = NetworkProfile { uplink: mtu, downlink: mtu, ..NetworkProfile::default() };
            let mut world = World::new(Setup { profile: profile.clone(), ..Setup::default() });
            world.path_mtu = (path, path);
            world.connect();
            let up = world.now;
            let right = |world: &World| (path - 3..=path).contains(&(size(world) + 2));
            assert!(
                world.run_until(MINUTE, right),
                "path of {path}, {remembered} remembered: {}",
                size(&world)
            );
            most = most.max(world.now - up);
            // The same where a connection is carried there.
            let mut world = at_home();
            world.path_mtu = (path, path);
            world.command(Command::Network(Box::new(profile)));
            world.attach(2, 2);
            let start = world.now;
            let arrived = |world: &World| world.seen_by_gateway().ip() == world.outside() && right(world);
            assert!(world.run_until(MINUTE, arrived), "to {path}, {remembered} remembered: {}", size(&world));
            most = most.max(world.now - start);
        }
    }
    println!("at most {most:?}");
    assert!(most <= SECOND, "{most:?}");
}

#[test]
fn a_remembered_path_mtu_that_nobody_confirms_is_believed_for_a_second() {
    let mtu = Some(LearnedMtu { size: 1500, at: AT });
    let profile = NetworkProfile { uplink: mtu, downlink: mtu, ..NetworkProfile::default() };
    let mut world = World::new(Setup { profile, ..Setup::default() });
    world.answers_probes = false;
    world.connect();
    assert!(size(&world) >= 1490, "{}", size(&world));
    let up = world.now;
    assert!(world.run_until(MINUTE, |world| size(world) <= 1280));
    assert!(world.now - up <= SECOND, "{:?}", world.now - up);
    world.run_for(10 * MINUTE);
    assert!(size(&world) <= 1280, "{}", size(&world));
}

#[test]
fn a_remembered_keepalive_that_is_too_long_costs_whoever_sends_at_most_a_second() {
    let mut most = Duration::ZERO;
    for (lifetime, idle) in [(10, 25), (30, 45), (30, 75), (60, 79)] {
        let profile = NetworkProfile { lifetime: known().lifetime, ..NetworkProfile::default() };
        let mut world = World::new(Setup { profile, ..Setup::default() });
        world.nat.lifetime = Some(Duration::from_secs(lifetime));
        world.connect();
        world.run_for(SECOND);
        world.send_inside();
        let wrong = interval(&world);
        assert!(wrong > Duration::from_secs(idle), "{wrong:?}");
        world.run_for(Duration::from_secs(idle));
        assert!(!world.is_reached(), "a NAT of {lifetime} s remembers after {idle} s");
        let sent = world.now;
        world.send_inside();
        assert!(world.run_until(MINUTE, World::is_reached), "a NAT of {lifetime} s, {idle} s idle");
        most = most.max(world.now - sent);
        // From then on the mapping is kept.
        assert!(interval(&world) < wrong, "{:?}", interval(&world));
    }
    println!("at most {most:?}");
    assert!(most <= SECOND, "{most:?}");
}

#[test]
fn what_leaves_in_quick_succession_brings_no_questions_about() {
    let mut world = at_home();
    world.send_inside();
    world.run_for(SECOND);
    let before = world.datagrams_sent;
    for _ in 0..30 {
        world.run_for(SECOND / 2);
        world.send_inside();
    }
    assert!(world.datagrams_sent - before <= 2, "{} datagrams", world.datagrams_sent - before);
}

#[test]
fn how_long_connecting_took_is_remembered_and_so_is_a_portal() {
    let mut world = World::new(Setup { fallbacks: STREAMS.to_vec(), ..Setup::default() });
    assert_eq!(world.tunnel.network_profile().connect_times.iter().count(), 0);
    world.connect();
    let times = |world: &World| {
        let times = world.tunnel.network_profile().connect_times.iter();
        times.map(|time| (time.took_ms, time.transport)).collect::<Vec<_>>()
    };
    assert_eq!(times(&world), [(80, Transport::Udp4500)]);
    // Moving and rekeying are no connecting; what comes after a loss is.
    world.attach(2, 2);
    world.run_for(MINUTE);
    assert_eq!(times(&world).len(), 1);
    world.gateway_does(|session, now| session.close(now));
    assert!(world.run_until(MINUTE, |world| !world.is_up()) && world.run_until(MINUTE, World::is_up));
    assert_eq!(times(&world), [(80, Transport::Udp4500); 2]);

    assert_eq!(world.tunnel.network_profile().portal_seen, None);
    world.command(Command::PortalSeen);
    let seen = world.tunnel.network_profile().portal_seen;
    assert!(seen.is_some_and(|seen| seen >= AT), "{seen:?}");
    world.command(Command::Network(Box::default()));
    assert_eq!(world.tunnel.network_profile().portal_seen, None, "that was elsewhere");
}
