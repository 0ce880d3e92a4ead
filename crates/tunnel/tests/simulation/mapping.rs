//! Keepalives as seldom as the network bears, and never more seldom.

use std::time::Duration;

use crate::nat::Translator;
use crate::world::{Setup, World};
use evenkeel_ipsec::ike::Faults;
use evenkeel_netprofile::defaults::LEARNING_TIME;
use evenkeel_netprofile::keepalive::{Confidence, Method};
use evenkeel_netprofile::memory::{LearnedLifetime, NetworkProfile};
use evenkeel_netprofile::time::UnixSeconds;
use evenkeel_tunnel::Activity;

const MINUTE: Duration = Duration::from_secs(60);

fn behind(lifetime: u64) -> World {
    behind_a(changing_ports(lifetime), Faults::default())
}

fn behind_a(nat: Translator, faults: Faults) -> World {
    let mut world = World::new(Setup::default());
    world.nat = nat;
    world.responder().set_faults(faults);
    world.connect();
    world
}

fn changing_ports(lifetime: u64) -> Translator {
    Translator::forgetting_after(Some(Duration::from_secs(lifetime)))
}

fn keeping_ports(lifetime: u64) -> Translator {
    changing_ports(lifetime).keeping_ports()
}

/// Lets the tunnel idle for the stated learning time, beside what the gateway's side begins by itself now and then.
/// Neither may the interval ever be too long nor one of its packets be turned away.
fn learn(world: &mut World, lifetime: u64) {
    let (bound, end) = (Duration::from_secs(lifetime), world.now + LEARNING_TIME);
    let mut pause = Duration::from_secs(61);
    while world.now < end {
        world.run_for(pause);
        pause = (pause * 7 / 5).min(Duration::from_secs(600));
        let interval = world.tunnel.keepalive_interval().unwrap();
        assert!(interval < bound, "{interval:?} for a lifetime of {lifetime} s");
        world.gateway_does(|session, now| session.probe(now));
        world.run_for(Duration::from_secs(1));
        let main = world.seen_by_gateway().port();
        assert!(!world.nat.refused.contains(&main), "the gateway is turned away, interval {interval:?}");
    }
    let interval = world.tunnel.keepalive_interval().unwrap();
    assert!(interval >= bound * 7 / 10, "only {interval:?} of a lifetime of {lifetime} s");
    assert!(world.is_up());
}

#[test]
fn each_lifetime_is_found_by_hash_at_a_gateway_without_delayed_checks() {
    for lifetime in [30, 45, 60, 120, 300] {
        let mut world =
            behind_a(changing_ports(lifetime), Faults { no_delayed_checks: true, ..Faults::default() });
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
fn each_lifetime_is_found_by_what_comes_in_behind_any_nat() {
    for lifetime in [21, 30, 45, 60, 120, 300] {
        let two = changing_ports(600).outside_of(keeping_ports(lifetime));
        for nat in [keeping_ports(lifetime), changing_ports(lifetime), two] {
            let mut world = behind_a(nat, Faults::default());
            learn(&mut world, lifetime);
            let learned = world.tunnel.network_profile().lifetime.unwrap();
            assert_eq!((learned.method, learned.confidence), (Method::InboundAfterSilence, Confidence::High));
            assert!(world.open_paths() <= 2, "{}", world.open_paths());
        }
    }
}

#[test]
fn a_short_lifetime_behind_a_nat_that_keeps_ports_is_found_although_no_hash_ever_changes() {
    let mut world = behind_a(keeping_ports(10), Faults::default());
    world.run_for(10 * MINUTE);
    let interval = world.tunnel.keepalive_interval().unwrap();
    assert!((Duration::from_secs(7)..Duration::from_secs(10)).contains(&interval), "{interval:?}");
}

#[test]
fn a_lifetime_that_shrinks_behind_a_nat_that_keeps_ports_is_found_within_the_hour() {
    let mut world = behind_a(keeping_ports(120), Faults::default());
    learn(&mut world, 120);
    world.nat.lifetime = Some(Duration::from_secs(40));
    world.run_for(75 * MINUTE);
    let interval = world.tunnel.keepalive_interval().unwrap();
    assert!((Duration::from_secs(28)..Duration::from_secs(40)).contains(&interval), "{interval:?}");
    assert!(world.is_up());
}

#[test]
fn losses_make_the_search_longer_and_never_wrong() {
    for seed in 1..=10 {
        let mut world = World::new(Setup { seed, ..Setup::default() });
        world.nat = keeping_ports(60);
        world.loss = 50;
        world.connect();
        for _ in 0..150 {
            world.run_for(MINUTE);
            let interval = world.tunnel.keepalive_interval().unwrap();
            assert!(interval < Duration::from_secs(60), "seed {seed}: {interval:?}");
        }
        let interval = world.tunnel.keepalive_interval().unwrap();
        assert!(interval >= Duration::from_secs(42), "seed {seed}: {interval:?}");
    }
}

#[test]
fn a_gateway_that_promises_checks_and_sends_none_is_learned_from_by_hash() {
    let mut world = behind_a(changing_ports(60), Faults { ignore_delayed_checks: true, ..Faults::default() });
    learn(&mut world, 60);
    assert_eq!(world.tunnel.network_profile().lifetime.unwrap().method, Method::SecondSocket);
    // Behind one that keeps ports there is nothing to go by.
    let mut world = behind_a(keeping_ports(60), Faults { ignore_delayed_checks: true, ..Faults::default() });
    world.run_for(LEARNING_TIME);
    assert_eq!(world.tunnel.keepalive_interval(), Some(Duration::from_secs(20)));
}

#[test]
fn a_rekey_in_the_middle_of_a_silence_costs_nothing() {
    let mut world = behind_a(keeping_ports(120), Faults::default());
    for minute in 0..75 {
        world.run_for(MINUTE);
        if minute % 3 == 0 {
            world.gateway_does(|session, now| session.rekey_ike(now));
        }
    }
    let interval = world.tunnel.keepalive_interval().unwrap();
    assert!((Duration::from_secs(84)..Duration::from_secs(120)).contains(&interval), "{interval:?}");
    assert!(world.is_up());
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
