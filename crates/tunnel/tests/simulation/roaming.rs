//! Carrying a connection from network to network.

use std::time::Duration;

use crate::world::{Setup, World};
use evenkeel_ipsec::ike::Faults;
use evenkeel_ipsec::wire::IkeSpi;
use evenkeel_netprofile::ladder::Transport;
use evenkeel_tunnel::{PathEvent, TunnelState};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// There and back.
const ROUND_TRIP: Duration = Duration::from_millis(40);

fn with_streams() -> Setup {
    Setup { fallbacks: vec![Transport::Tcp4500, Transport::Tcp443], ..Setup::default() }
}

fn connected(setup: Setup) -> World {
    let mut world = World::new(setup);
    world.connect();
    world.run_for(2 * MINUTE);
    world.trace.clear();
    world.statuses.clear();
    world
}

fn ike_spi(world: &World) -> IkeSpi {
    world.tunnel.ike_sa().unwrap().spi_i
}

/// How long until the gateway sends to where the client is.
fn time_to_follow(world: &mut World) -> Duration {
    let start = world.now;
    let follows = |world: &World| world.is_up() && world.seen_by_gateway().ip() == world.outside();
    assert!(world.run_until(MINUTE, follows), "{:?}", world.tunnel.status());
    world.now - start
}

#[test]
fn with_mobike_a_change_of_network_takes_one_round_trip_and_keeps_every_sa() {
    let mut world = connected(Setup::default());
    let (spi, children) = (ike_spi(&world), world.installed.keys().copied().collect::<Vec<_>>());
    for network in 2..10 {
        world.attach(network, network);
        assert!(time_to_follow(&mut world) <= ROUND_TRIP);
        world.run_for(MINUTE);
    }
    assert_eq!(ike_spi(&world), spi);
    assert_eq!(world.installed.keys().copied().collect::<Vec<_>>(), children);
    assert!(world.statuses.is_empty(), "the state changed: {:?}", world.trace);
    // One is in use, the NAT is measured on another.
    assert!(world.open_paths() <= 2, "old paths are left open");
}

#[test]
fn another_network_with_the_same_private_address_is_noticed() {
    let mut world = connected(Setup::default());
    let spi = ike_spi(&world);
    world.attach(1, 77);
    assert!(time_to_follow(&mut world) <= ROUND_TRIP);
    assert_eq!(ike_spi(&world), spi);
    world.run_for(MINUTE);
    assert!(world.open_paths() <= 2);
}

#[test]
fn a_gateway_without_mobike_gets_a_second_session_while_the_network_stays_configured() {
    let mut world = World::new(Setup::default());
    world.responder().set_faults(Faults { no_mobike: true, ..Faults::default() });
    world.connect();
    world.run_for(2 * MINUTE);
    let (spi, before) = (ike_spi(&world), world.network.clone().unwrap());
    world.trace.clear();
    world.attach(2, 2);
    let start = world.now;
    assert!(world.run_until(MINUTE, |world| world.tunnel.ike_sa().is_some_and(|ike| ike.spi_i != spi)));
    assert!(world.now - start <= 2 * ROUND_TRIP, "{:?}", world.now - start);
    assert!(world.run_until(MINUTE, World::is_up));
    assert!(!world.trace.iter().any(|line| line == "unconfigure"), "{:?}", world.trace);
    assert_eq!(world.network.as_ref().unwrap().remote, before.remote);
    world.run_for(MINUTE);
    assert_eq!((world.installed.len(), world.open_paths()), (1, 1));
}

#[test]
fn a_gateway_that_has_forgotten_us_is_connected_to_anew_without_touching_the_network() {
    let mut world = connected(Setup::default());
    let spi = ike_spi(&world);
    world.gateway_restarts();
    world.attach(2, 2);
    let start = world.now;
    assert!(world.run_until(MINUTE, |world| world.is_up() && ike_spi(world) != spi));
    assert!(world.now - start < Duration::from_millis(1500), "{:?}", world.now - start);
    assert!(!world.trace.iter().any(|line| line == "unconfigure" || line == "resolve"), "{:?}", world.trace);
}

#[test]
fn without_a_network_nothing_is_sent_and_nothing_is_lost() {
    for away in [Duration::from_secs(10), 10 * MINUTE, 8 * HOUR] {
        let mut world = connected(with_streams());
        let spi = ike_spi(&world);
        world.detach();
        world.run_for(Duration::from_secs(1));
        let sent = world.datagrams_sent;
        world.run_for(away);
        assert_eq!(world.datagrams_sent, sent, "something is sent into nowhere");
        assert!(world.tunnel.status().cause.is_some(), "nobody is told that there is no network");
        world.attach(3, 3);
        // A check of the NAT may have been under way, whose answer comes first.
        assert!(time_to_follow(&mut world) <= 2 * ROUND_TRIP, "after {away:?}");
        assert_eq!(ike_spi(&world), spi, "after {away:?}");
        assert!(world.run_until(MINUTE, |world| world.tunnel.status().cause.is_none()));
    }
}

#[test]
fn after_sleep_the_gateway_is_asked_at_once() {
    let mut world = connected(Setup::default());
    world.gateway_restarts();
    world.path_event(PathEvent::Woke);
    let start = world.now;
    assert!(world.run_until(MINUTE, |world| !world.session_ids().is_empty() && world.is_up()));
    assert!(world.now - start < Duration::from_millis(1500), "{:?}", world.now - start);
}

#[test]
fn a_new_network_that_blocks_udp_moves_the_same_session_into_a_stream() {
    let mut world = connected(with_streams());
    let spi = ike_spi(&world);
    world.blocked_udp.extend([500, 4500]);
    world.attach(2, 2);
    let took = time_to_follow(&mut world);
    assert!(took < Duration::from_millis(1300), "{took:?}");
    assert_eq!(world.tunnel.way().unwrap().transport, Transport::Tcp4500);
    assert_eq!(ike_spi(&world), spi);
}

#[test]
fn a_stream_that_ends_is_opened_anew_with_the_same_session() {
    let mut world = World::new(with_streams());
    world.blocked_udp.extend([500, 4500]);
    world.connect();
    world.run_for(Duration::from_secs(10));
    let spi = ike_spi(&world);
    world.statuses.clear();
    world.reset_stream();
    world.run_for(Duration::from_secs(2));
    assert_eq!(ike_spi(&world), spi);
    assert!(world.is_up() && world.statuses.is_empty(), "{:?}", world.trace);
    assert_eq!(world.open_paths(), 1);
}

#[test]
fn a_lossy_new_network_is_moved_to_all_the_same() {
    for seed in 0..50 {
        let mut world = World::new(Setup { seed, ..Setup::default() });
        world.connect();
        world.run_for(2 * MINUTE);
        world.loss = 300;
        world.attach(2, 2);
        assert!(
            world.run_until(MINUTE, |world| world.is_up() && world.is_seen_outside()),
            "seed {seed}: {:?}",
            world.tunnel.status()
        );
        assert_ne!(world.state(), TunnelState::Failed);
    }
}
