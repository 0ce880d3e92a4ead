//! Keepalives as seldom as the network bears, and never more seldom.

use std::time::Duration;

use crate::world::{Setup, World};
use evenkeel_netprofile::keepalive::{Confidence, Method};
use evenkeel_netprofile::memory::{LearnedLifetime, NetworkProfile};
use evenkeel_netprofile::time::UnixSeconds;

const MINUTE: Duration = Duration::from_secs(60);

fn behind(lifetime: u64) -> World {
    let mut world = World::new(Setup::default());
    world.nat.lifetime = Some(Duration::from_secs(lifetime));
    world.connect();
    world
}

#[test]
fn each_lifetime_is_found_and_never_exceeded() {
    for lifetime in [30, 45, 60, 120, 300] {
        let mut world = behind(lifetime);
        let bound = Duration::from_secs(lifetime);
        for _ in 0..6 * 60 {
            world.run_for(MINUTE);
            let interval = world.tunnel.keepalive_interval().unwrap();
            assert!(interval < bound, "{interval:?} for a lifetime of {lifetime} s");
        }
        let interval = world.tunnel.keepalive_interval().unwrap();
        assert!(interval >= bound * 7 / 10, "only {interval:?} of a lifetime of {lifetime} s");
        assert!(world.is_up());
        let learned = world.tunnel.network_profile().lifetime.unwrap();
        assert_eq!(learned.method, Method::SecondSocket);
    }
}

#[test]
fn a_lifetime_below_the_first_interval_is_found_from_the_mapping_that_it_costs() {
    let mut world = behind(10);
    world.run_for(30 * MINUTE);
    let interval = world.tunnel.keepalive_interval().unwrap();
    assert!(interval < Duration::from_secs(10), "{interval:?}");
    assert!(world.is_up());
}

#[test]
fn a_network_that_is_known_keeps_its_interval_from_the_first_packet() {
    let lifetime = LearnedLifetime {
        lower_ms: Some(100_000),
        upper_ms: Some(110_000),
        confidence: Confidence::Medium,
        method: Method::SecondSocket,
        at: UnixSeconds(crate::world::WALL.0),
    };
    let profile = NetworkProfile { lifetime: Some(lifetime), ..NetworkProfile::default() };
    let mut world = World::new(Setup { profile, ..Setup::default() });
    world.connect();
    assert!(world.tunnel.keepalive_interval().unwrap() >= Duration::from_secs(70));
}

#[test]
fn a_lifetime_that_shrinks_is_recovered_from_by_an_authenticated_packet() {
    let mut world = behind(120);
    world.run_for(180 * MINUTE);
    let learned = world.tunnel.keepalive_interval().unwrap();
    assert!(learned >= Duration::from_secs(84), "{learned:?}");
    world.nat.lifetime = Some(Duration::from_secs(40));
    world.run_for(2 * learned + Duration::from_secs(5));
    let interval = world.tunnel.keepalive_interval().unwrap();
    assert!(interval < Duration::from_secs(40), "{interval:?}");
    // What the gateway sends finds us.
    world.gateway_does(|session, now| session.probe(now));
    world.run_for(Duration::from_secs(1));
    assert!(world.is_up());
}
