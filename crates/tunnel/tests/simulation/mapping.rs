//! Keepalives as seldom as the network bears, and never more seldom.

use std::time::Duration;

use crate::world::{Setup, World};
use evenkeel_netprofile::keepalive::{Confidence, Method};
use evenkeel_netprofile::memory::{LearnedLifetime, NetworkProfile};
use evenkeel_netprofile::time::UnixSeconds;
use evenkeel_tunnel::Activity;

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

const DAY: u64 = 86_400;

/// On a network of which it is known that mappings outlive `lower`, for some days.
fn known_to_outlive(lower: Duration) -> World {
    let lifetime = LearnedLifetime {
        lower_ms: Some(u32::try_from(lower.as_millis()).unwrap()),
        upper_ms: None,
        confidence: Confidence::Medium,
        method: Method::SecondSocket,
        at: UnixSeconds(crate::world::WALL.0 - 3 * DAY),
    };
    let profile = NetworkProfile { lifetime: Some(lifetime), ..NetworkProfile::default() };
    let mut world = World::new(Setup { profile, ..Setup::default() });
    world.connect();
    world
}

/// DPD as configured by default, twice, since a look may have come a moment too early; and the repetitions of a request.
const NOTICED_WITHIN: Duration = Duration::from_secs(2 * 30 + 32);

#[test]
fn a_gateway_that_vanishes_while_somebody_sends_is_noticed_however_seldom_keepalives_are() {
    for idle in [0, 25, 100] {
        let mut world = known_to_outlive(Duration::from_secs(282));
        assert!(world.tunnel.keepalive_interval().unwrap() > Duration::from_secs(220));
        world.run_for(Duration::from_secs(20 + idle));
        world.gateways.clear();
        let gone = world.now;
        while world.is_up() {
            assert!(world.now - gone <= NOTICED_WITHIN, "idle for {idle} s before: not noticed");
            let carried = world.activity.carried + 1;
            world.activity = Activity { sent: Some(world.now), carried, ..world.activity };
            world.run_for(Duration::from_secs(1));
        }
    }
}

#[test]
fn patience_with_a_silent_gateway_does_not_outlive_the_network_that_it_was_learned_on() {
    let mut world = known_to_outlive(Duration::from_secs(282));
    world.run_for(Duration::from_secs(20));
    world.behind_nat = false;
    world.attach(2, 2);
    world.run_for(Duration::from_secs(20));
    assert_eq!(world.tunnel.keepalive_interval(), None, "there is a NAT still");
    world.gateways.clear();
    let gone = world.now;
    assert!(world.run_until(10 * MINUTE, |world| !world.is_up()));
    assert!(world.now - gone <= NOTICED_WITHIN, "{:?}", world.now - gone);
}

#[test]
fn a_lifetime_that_was_not_proven_anew_is_as_old_as_it_was() {
    let mut world = known_to_outlive(Duration::from_secs(100));
    let at = |world: &World| world.tunnel.network_profile().lifetime.unwrap().at.0;
    let learned = at(&world);
    // The second socket has been asked twice, and is silent for the length of what is remembered.
    world.run_for(MINUTE);
    assert!(world.open_paths() == 2 && world.is_up());
    assert_eq!(at(&world), learned);
    world.run_for(2 * MINUTE);
    assert!(at(&world) > learned + 3 * DAY, "proven, and as old as before");
}
