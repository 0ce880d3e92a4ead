//! Each network has a memory of its own, also when a connection is carried from one to another.

use std::time::Duration;

use crate::world::{Setup, World};
use evenkeel_netprofile::keepalive::{Confidence, Method};
use evenkeel_netprofile::ladder::{How, Measured, Verdict, Verdicts};
use evenkeel_netprofile::memory::{LearnedLifetime, LearnedMtu, NetworkProfile};
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
