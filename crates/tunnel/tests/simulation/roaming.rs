//! Carrying a connection from network to network.

use std::time::Duration;

use crate::world::{Setup, World, gateway};
use evenkeel_ipsec::ike::Faults;
use evenkeel_ipsec::wire::IkeSpi;
use evenkeel_netprofile::ladder::{How, LastGood, Measured, Transport, Verdict, Verdicts};
use evenkeel_netprofile::memory::NetworkProfile;
use evenkeel_netprofile::overhead::Family;
use evenkeel_netprofile::time::UnixSeconds;
use evenkeel_tunnel::{Command, PathEvent, TunnelState};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const AT: UnixSeconds = UnixSeconds(crate::world::WALL.0);
/// There and back.
const ROUND_TRIP: Duration = Duration::from_millis(40);

/// The session is given three seconds: a network that loses everything at first must not cost it. Then another is made.
const GIVEN_UP: Duration = Duration::from_millis(3500);

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
    assert!(world.now - start < GIVEN_UP, "{:?}", world.now - start);
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
fn a_network_that_lets_nothing_through_is_not_taken_for_none_because_one_family_is_missing() {
    // The way that is tried last has no route at all; the others have one, and nothing answers along it.
    let addresses = vec![(gateway(10), true), (gateway(66), false)];
    let mut world = connected(Setup { addresses, ..with_streams() });
    world.unroutable.insert(gateway(66));
    world.blocked_udp.extend([500, 4500]);
    world.blocked.extend([443, 4500]);
    world.attach(2, 2);
    world.run_for(MINUTE);
    assert!(!world.is_up());
    // As after a login at a portal: no change of this machine's network tells of it.
    world.blocked_udp.clear();
    world.blocked.clear();
    assert!(world.run_until(2 * MINUTE, World::is_up), "asleep for good: {:?}", world.trace);
}

#[test]
fn after_sleep_the_gateway_is_asked_at_once() {
    let mut world = connected(Setup::default());
    world.gateway_restarts();
    world.path_event(PathEvent::Woke);
    let start = world.now;
    assert!(world.run_until(MINUTE, |world| !world.session_ids().is_empty() && world.is_up()));
    assert!(world.now - start < GIVEN_UP, "{:?}", world.now - start);
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

/// How often something was opened.
fn opened(world: &World) -> usize {
    world.trace.iter().filter(|line| line.starts_with("open")).count()
}

#[test]
fn whoever_takes_streams_and_closes_them_does_not_keep_udp_from_being_tried() {
    let mut world = connected(with_streams());
    world.streams_are_closed = true;
    world.blocked_udp.extend([500, 4500]);
    world.attach(2, 2);
    world.run_for(MINUTE);
    // Some attempts a second while it moves, and pauses after that.
    assert!((5..100).contains(&opened(&world)), "{}", opened(&world));
    world.blocked_udp.clear();
    assert!(
        world.run_until(2 * MINUTE, |world| world.is_up() && world.is_seen_outside()),
        "{:?}",
        world.trace
    );
}

#[test]
fn a_stream_that_is_closed_again_and_again_right_after_it_worked_gives_way_to_udp() {
    let mut world = World::new(with_streams());
    world.blocked_udp.extend([500, 4500]);
    world.connect();
    world.run_for(Duration::from_secs(10));
    world.blocked_udp.clear();
    world.trace.clear();
    for _ in 0..3 {
        if world.tunnel.way().unwrap().transport == Transport::Udp4500 {
            break;
        }
        world.reset_stream();
        world.run_for(Duration::from_millis(200));
    }
    assert_eq!(world.tunnel.way().unwrap().transport, Transport::Udp4500, "{:?}", world.trace);
}

#[test]
fn a_port_that_says_nothing_keeps_the_next_from_being_tried_for_two_seconds_at_most() {
    let mut world = connected(with_streams());
    let spi = ike_spi(&world);
    world.blocked_udp.extend([500, 4500]);
    world.silent.insert(4500);
    world.attach(2, 2);
    let took = time_to_follow(&mut world);
    assert!(took < Duration::from_millis(3200), "{took:?}");
    assert_eq!((world.tunnel.way().unwrap().transport, ike_spi(&world)), (Transport::Tcp443, spi));
}

#[test]
fn an_answer_that_is_late_is_heeded_as_long_as_its_path_is_in_use() {
    let mut world = connected(Setup::default());
    let spi = ike_spi(&world);
    world.latency = Duration::from_millis(600);
    world.attach(2, 2);
    assert!(world.run_until(MINUTE, |world| world.is_seen_outside()));
    world.run_for(MINUTE);
    assert_eq!(ike_spi(&world), spi, "{:?}", world.trace);
    assert!(world.is_up() && world.statuses.is_empty(), "{:?}", world.statuses);
}

#[test]
fn a_network_that_loses_everything_at_first_costs_no_session() {
    let mut world = connected(Setup::default());
    let spi = ike_spi(&world);
    world.loss = 1000;
    world.attach(2, 2);
    world.run_for(Duration::from_secs(2));
    world.loss = 0;
    assert!(time_to_follow(&mut world) <= Duration::from_secs(1), "{:?}", world.trace);
    assert_eq!(ike_spi(&world), spi);
}

#[test]
fn a_stream_on_a_network_with_the_same_private_address_is_opened_anew() {
    let mut world = World::new(with_streams());
    world.blocked_udp.extend([500, 4500]);
    world.connect();
    world.run_for(Duration::from_secs(10));
    let (spi, before) = (ike_spi(&world), world.tunnel.ike_sa().unwrap().path.local);
    world.path_event(PathEvent::Woke);
    world.run_for(Duration::from_secs(10));
    let ike = world.tunnel.ike_sa().unwrap();
    assert!(ike.spi_i == spi && ike.path.local != before, "{:?}", world.trace);
}

#[test]
fn a_session_that_re_authenticates_while_it_roams_is_moved_all_the_same() {
    let mut world = World::new(with_streams());
    world.responder().set_faults(Faults { auth_lifetime: Some(10 * MINUTE), ..Faults::default() });
    world.connect();
    let spi = ike_spi(&world);
    // The successor is begun on a network that is gone before it is answered.
    assert!(world.run_until(HOUR, |world| world.session_ids().len() == 2));
    world.blocked_udp.extend([500, 4500]);
    world.attach(2, 2);
    world.run_for(MINUTE);
    assert!(world.is_up() && world.is_seen_outside(), "{:?}", world.trace);
    assert_eq!(world.tunnel.way().unwrap().transport, Transport::Tcp4500);
    assert!(!world.trace.iter().any(|line| line == "unconfigure"), "{:?}", world.trace);
    assert_ne!(ike_spi(&world), spi);
}

#[test]
fn a_lossy_new_network_is_moved_to_all_the_same() {
    let mut kept = 0;
    for seed in 0..50 {
        let mut world = World::new(Setup { seed, ..Setup::default() });
        world.connect();
        world.run_for(2 * MINUTE);
        let spi = ike_spi(&world);
        world.loss = 300;
        world.attach(2, 2);
        assert!(
            world.run_until(MINUTE, |world| world.is_up() && world.is_seen_outside()),
            "seed {seed}: {:?}",
            world.tunnel.status()
        );
        assert_ne!(world.state(), TunnelState::Failed);
        kept += usize::from(ike_spi(&world) == spi);
    }
    // A request is sent seven times within the three seconds: 0.51^7 of the sessions may be lost.
    assert!(kept >= 48, "{kept} of 50 sessions survived");
}

#[test]
fn after_any_sleep_the_connection_is_back_within_two_round_trips_of_waking() {
    for asleep in [Duration::from_secs(10), 10 * MINUTE, 8 * HOUR] {
        let mut world = World::new(with_streams());
        world.nat.lifetime = Some(2 * MINUTE);
        world.connect();
        world.run_for(MINUTE);
        let spi = ike_spi(&world);
        world.sleep(asleep);
        let woke = world.now;
        assert!(world.run_until(MINUTE, World::is_reached), "{asleep:?}: {:?}", world.tunnel.status());
        // Where the NAT has forgotten us it takes one to find out and one to tell.
        assert!(world.now - woke <= 2 * ROUND_TRIP, "{asleep:?}: {:?}", world.now - woke);
        assert_eq!(ike_spi(&world), spi, "{asleep:?}");
        world.run_for(10 * MINUTE);
        assert!(world.is_reached(), "{asleep:?}");
        let good = world.tunnel.network_profile().last_good.unwrap();
        let since = Duration::from_secs(good.at.0 - AT.0);
        assert!(since >= MINUTE + asleep, "the time asleep is not counted: {since:?}");
    }
}

#[test]
fn after_a_sleep_that_the_gateway_did_not_wait_for_there_is_another_session_without_a_prompt() {
    for (setup, limit) in [(Setup::default(), 4), (with_streams(), 5)] {
        let mut world = connected(setup);
        let spi = ike_spi(&world);
        world.gateway_restarts();
        world.sleep(8 * HOUR);
        let woke = world.now;
        assert!(world.run_until(MINUTE, |world| world.is_up() && ike_spi(world) != spi));
        assert!(world.now - woke <= Duration::from_secs(limit), "{:?}", world.now - woke);
        assert!(
            !world.trace.iter().any(|line| line == "unconfigure" || line == "state failed"),
            "{:?}",
            world.trace
        );
        assert!(world.is_reached());
    }
}

#[test]
fn a_network_that_is_known_to_block_udp_is_gone_to_in_the_stream_that_worked_there() {
    let mut world = connected(with_streams());
    world.blocked_udp.extend([500, 4500]);
    world.command(Command::Network(Box::new(blocked_here(Transport::Tcp443))));
    world.trace.clear();
    world.attach(2, 2);
    assert!(time_to_follow(&mut world) <= ROUND_TRIP, "{:?}", world.trace);
    assert_eq!(world.tunnel.way().unwrap().transport, Transport::Tcp443);
}

#[test]
fn a_network_that_is_known_to_be_open_is_gone_to_over_udp_from_a_stream() {
    let mut world = World::new(with_streams());
    world.blocked_udp.extend([500, 4500]);
    world.connect();
    assert_eq!(world.tunnel.way().unwrap().transport, Transport::Tcp4500);
    world.blocked_udp.clear();
    let profile = NetworkProfile {
        last_good: Some(LastGood { transport: Transport::Udp4500, family: Family::V4, at: AT }),
        ..NetworkProfile::default()
    };
    world.command(Command::Network(Box::new(profile)));
    world.trace.clear();
    world.attach(2, 2);
    assert!(time_to_follow(&mut world) <= ROUND_TRIP, "{:?}", world.trace);
    assert_eq!(world.tunnel.way().unwrap().transport, Transport::Udp4500);
    assert!(!world.trace.iter().any(|line| line.contains("Tcp")), "{:?}", world.trace);
}

#[test]
fn a_stream_that_worked_on_a_network_and_is_dead_now_costs_a_second() {
    for dead in [Dead::Refused, Dead::Silent] {
        let mut world = connected(with_streams());
        match dead {
            Dead::Refused => world.blocked.insert(443),
            Dead::Silent => world.silent.insert(443),
        };
        world.command(Command::Network(Box::new(blocked_here(Transport::Tcp443))));
        world.attach(2, 2);
        let took = time_to_follow(&mut world);
        assert!(took <= Duration::from_secs(1) + ROUND_TRIP, "{dead:?}: {took:?}");
        assert_eq!(world.tunnel.way().unwrap().transport, Transport::Udp4500, "{dead:?}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Dead {
    Refused,
    Silent,
}

/// What is known of a network that blocks UDP and lets this through.
fn blocked_here(through: Transport) -> NetworkProfile {
    let measured = |verdict| Some(Measured { verdict, at: AT, how: How::SilentWhileOthersAnswered });
    NetworkProfile {
        verdicts: Verdicts { udp4500: measured(Verdict::Blocked), ..Verdicts::default() },
        last_good: Some(LastGood { transport: through, family: Family::V4, at: AT }),
        ..NetworkProfile::default()
    }
}
