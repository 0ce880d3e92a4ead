//! The race for a way to the gateway: what is blocked, what answers, what is used.

use std::time::Duration;

use crate::world::{Setup, World, gateway};
use evenkeel_ipsec::ike::Failure;
use evenkeel_ipsec::wire::Exchange;
use evenkeel_netprofile::ladder::{Blockage, Measured, Transport, Verdict};
use evenkeel_tunnel::{Cause, Command, TunnelState};

const MINUTE: Duration = Duration::from_secs(60);

fn with_streams() -> Setup {
    Setup { fallbacks: vec![Transport::Tcp4500, Transport::Tcp443], ..Setup::default() }
}

/// Connects and says how long that took.
fn time_to_up(world: &mut World) -> Duration {
    let asked = world.now;
    world.command(Command::Connect);
    assert!(world.run_until(MINUTE, World::is_up), "not up: {:?}", world.tunnel.status());
    world.now - asked
}

fn transport(world: &World) -> Transport {
    world.tunnel.way().unwrap().transport
}

fn verdict(measured: Option<Measured>) -> Option<Verdict> {
    measured.map(|measured| measured.verdict)
}

fn opened(world: &World) -> Vec<&str> {
    world.trace.iter().filter_map(|line| line.strip_prefix("open ")).collect()
}

#[test]
fn an_open_network_costs_no_more_than_before() {
    let mut world = World::new(with_streams());
    // Two round trips of 40 ms.
    assert_eq!(time_to_up(&mut world), Duration::from_millis(80));
    assert_eq!(transport(&world), Transport::Udp4500);
    assert_eq!(opened(&world), ["198.51.100.10"], "a stream was opened for nothing");
    assert_eq!(world.tunnel.ike_sa().unwrap().path.remote.port(), 4500);
    assert_eq!(verdict(world.tunnel.network_profile().verdicts.udp4500), Some(Verdict::Open));
    assert_eq!(world.tunnel.blockage(), None);
    assert_eq!(world.half_open(), 0, "a half-open IKE SA was left behind");
}

#[test]
fn blocked_udp_4500_is_seen_by_the_answer_on_500_and_got_round() {
    let mut world = World::new(with_streams());
    world.blocked_udp.insert(4500);
    let took = time_to_up(&mut world);
    assert_eq!(transport(&world), Transport::Tcp4500);
    assert!(took < Duration::from_millis(800), "{took:?}");
    assert!(world.run_until(MINUTE, |world| world.open_paths() == 1), "paths are left open");
    let verdicts = &world.tunnel.network_profile().verdicts;
    assert_eq!(world.tunnel.blockage(), Some(Blockage::Udp4500Blocked));
    assert_eq!(verdict(verdicts.udp4500), Some(Verdict::Blocked));
    assert_eq!(verdict(verdicts.udp500), Some(Verdict::Open));
    assert_eq!(verdict(verdicts.tcp4500), Some(Verdict::Open));
    assert_eq!(verdict(verdicts.tcp443), None, "what was not measured has a verdict");
}

#[test]
fn where_no_udp_passes_the_first_stream_that_does_is_used() {
    let mut world = World::new(with_streams());
    world.blocked_udp.extend([500, 4500]);
    world.blocked.insert(4500);
    let took = time_to_up(&mut world);
    assert_eq!(transport(&world), Transport::Tcp443);
    // One second for UDP, and a refusal moves the next stream forward.
    assert!(took < Duration::from_millis(1200), "{took:?}");
    assert_eq!(world.tunnel.blockage(), Some(Blockage::UdpBlocked));
    assert_eq!(verdict(world.tunnel.network_profile().verdicts.tcp4500), Some(Verdict::Blocked));
}

#[test]
fn the_way_that_worked_is_asked_at_once_when_the_connection_is_lost() {
    let mut world = World::new(with_streams());
    world.blocked_udp.extend([500, 4500]);
    time_to_up(&mut world);
    world.run_for(2 * MINUTE);
    world.gateway_does(|session, now| session.close(now));
    assert!(world.run_until(MINUTE, |world| !world.is_up()));
    let lost = world.now;
    assert!(world.run_until(MINUTE, World::is_up));
    assert!(world.now - lost < Duration::from_millis(200), "{:?}", world.now - lost);
    assert_eq!(transport(&world), Transport::Tcp4500);
}

#[test]
fn a_gateway_that_begins_on_500_only_is_reached_all_the_same() {
    let mut world = World::new(with_streams());
    world.blocked.insert(443);
    world.blocked.insert(4500);
    world.deaf_to_init_on_4500 = true;
    let took = time_to_up(&mut world);
    assert_eq!(transport(&world), Transport::Udp4500);
    assert!(took < Duration::from_millis(800), "{took:?}");
}

#[test]
fn a_blocked_4500_without_a_way_round_is_told_from_a_gateway_that_is_down() {
    let unanswered = |world: &mut World| {
        world.command(Command::Connect);
        assert!(world.run_until(MINUTE, |world| world.state() == TunnelState::Failed));
        match world.tunnel.status().cause.as_deref() {
            Some(Cause::Session(Failure::NoResponse { exchange, port })) => (*exchange, *port),
            other => panic!("{other:?}"),
        }
    };
    let mut world = World::new(Setup::default());
    world.blocked_udp.insert(4500);
    assert_eq!(unanswered(&mut world), (Exchange::IkeAuth, 4500));
    assert!(world.is_clean());
    let mut world = World::new(with_streams());
    world.gateways.clear();
    assert_eq!(unanswered(&mut world).0, Exchange::IkeSaInit);
    assert!(world.is_clean());
}

#[test]
fn a_forged_answer_on_4500_ends_no_race() {
    let mut world = World::new(with_streams());
    world.blocked_udp.insert(4500);
    world.command(Command::Connect);
    // UDP/500 has been answered, and IKE_AUTH gone where nothing passes.
    assert!(world.run_until(MINUTE, |world| world.last_auth.is_some()));
    let auth = world.last_auth.clone().unwrap();
    // What anybody on the way can send: the header of an answer, with SPIs that were seen or made up.
    for spis in [None, Some([0x55; 16])] {
        let mut forged = auth.payload[4..].to_vec();
        forged[19] |= 0x20;
        if let Some(spis) = spis {
            forged[..16].copy_from_slice(&spis);
        }
        let now = world.now;
        world.tunnel.handle_datagram(auth.path, &forged, now);
    }
    assert!(world.run_until(Duration::from_secs(2), World::is_up), "{:?}", world.state());
    assert_eq!(transport(&world), Transport::Tcp4500);
}

#[test]
fn a_dead_address_costs_a_quarter_of_a_second() {
    let addresses = vec![(gateway(1), false), (gateway(2), true)];
    let mut world = World::new(Setup { addresses, ..with_streams() });
    assert_eq!(time_to_up(&mut world), Duration::from_millis(250 + 80));
    assert_eq!(world.tunnel.way().unwrap().gateway, gateway(2));
}

#[test]
fn of_the_two_sessions_of_a_way_only_one_ever_authenticates() {
    for loss in [0, 100, 200, 300] {
        for seed in 0..20 {
            let mut world = World::new(Setup { seed, ..Setup::default() });
            world.loss = loss;
            world.command(Command::Connect);
            let settled = |world: &World| world.is_up() || world.state() == TunnelState::Failed;
            assert!(world.run_until(2 * MINUTE, settled), "loss {loss}, seed {seed}");
            assert!(world.session_ids().len() <= 1, "loss {loss}, seed {seed}: {:?}", world.session_ids());
        }
    }
}

#[test]
fn esp_that_is_dropped_while_ike_passes_is_a_verdict_of_its_own() {
    let mut world = World::new(with_streams());
    world.esp_in_udp_is_dropped = true;
    world.connect();
    let spi = world.tunnel.ike_sa().unwrap().spi_i;
    assert_eq!(transport(&world), Transport::Udp4500);
    let blocked = |world: &World| world.tunnel.blockage() == Some(Blockage::EspBlocked);
    let start = world.now;
    assert!(world.run_until(MINUTE, blocked));
    assert!(world.now - start < Duration::from_secs(4), "{:?}", world.now - start);
    assert_eq!(transport(&world), Transport::Tcp4500);
    assert_eq!(world.tunnel.ike_sa().unwrap().spi_i, spi);
    assert_eq!(verdict(world.tunnel.network_profile().verdicts.esp_in_udp), Some(Verdict::Blocked));
    world.run_for(30 * MINUTE);
    assert_eq!(transport(&world), Transport::Tcp4500, "it went back to where ESP is dropped");
    // Another network is another matter.
    world.esp_in_udp_is_dropped = false;
    world.attach(2, 2);
    assert!(world.run_until(10 * MINUTE, |world| transport(world) == Transport::Udp4500));
}

#[test]
fn where_nobody_answers_inside_and_streams_lead_nowhere_everything_stays_on_udp() {
    for closed in [true, false] {
        let mut world = World::new(with_streams());
        (world.streams_are_closed, world.streams_are_deaf) = (closed, !closed);
        world.answers_probes = false;
        world.connect();
        let spi = world.tunnel.ike_sa().unwrap().spi_i;
        world.trace.clear();
        world.run_for(10 * MINUTE);
        assert_eq!(transport(&world), Transport::Udp4500);
        assert_eq!(world.tunnel.ike_sa().unwrap().spi_i, spi);
        assert_eq!(world.tunnel.blockage(), None);
        // Two ports, each asked once.
        let streams = world.trace.iter().filter(|line| line.contains("Tcp")).count();
        assert!(streams == 2 && world.is_up(), "{:?}", world.trace);
    }
}

#[test]
fn a_late_answer_from_the_network_before_does_not_vouch_for_esp_on_this_one() {
    let mut world = World::new(with_streams());
    world.connect();
    world.run_for(2 * MINUTE);
    let before = std::mem::take(&mut world.asked);
    world.esp_in_udp_is_dropped = true;
    world.attach(2, 2);
    assert!(world.run_until(MINUTE, |world| !world.asked.is_empty()), "nobody is asked");
    for late in before {
        world.command(Command::ProbeAnswered(late.probe.id));
    }
    assert!(world.run_until(MINUTE, |world| world.tunnel.blockage() == Some(Blockage::EspBlocked)));
    assert_eq!(transport(&world), Transport::Tcp4500);
}

#[test]
fn an_office_that_answers_nothing_is_no_filter() {
    let mut world = World::new(with_streams());
    world.answers_probes = false;
    world.connect();
    world.run_for(2 * MINUTE);
    assert_eq!(transport(&world), Transport::Udp4500);
    assert_eq!(world.tunnel.blockage(), None);
    assert_eq!(verdict(world.tunnel.network_profile().verdicts.esp_in_udp), None);
    let opened = world.trace.len();
    world.run_for(30 * MINUTE);
    let streams = world.trace[opened..].iter().filter(|line| line.contains("Tcp")).count();
    assert_eq!(streams, 0, "streams are tried again and again");
}
