//! The WireGuard peer: when it is used, and when no longer.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::world::{PEER, Setup, World, gateway};
use evenkeel_ipsec::ike::Failure;
use evenkeel_netprofile::ladder::{Blockage, LastGood, Transport, Verdict};
use evenkeel_netprofile::memory::NetworkProfile;
use evenkeel_netprofile::overhead::Family;
use evenkeel_netprofile::time::UnixSeconds;
use evenkeel_tunnel::{Cause, Command, PathError, PathId, PeerNetwork, ResolveError, TunnelState};

const MINUTE: Duration = Duration::from_secs(60);
/// Ours behind the peer.
const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 77));

fn with_peer() -> Setup {
    let peer = PeerNetwork {
        addresses: vec![OURS],
        remote: vec![(Ipv4Addr::new(10, 10, 0, 0).into(), 16)],
        dns: vec![Ipv4Addr::new(10, 10, 0, 53).into()],
    };
    Setup { fallbacks: vec![Transport::Tcp4500, Transport::Tcp443], peer: Some(peer), ..Setup::default() }
}

/// Nothing of the gateway's is reached.
fn block(world: &mut World) {
    world.blocked_udp.extend([500, 4500]);
    world.blocked.extend([4500, 443]);
}

fn blocked(setup: Setup) -> World {
    let mut world = World::new(setup);
    block(&mut world);
    world
}

fn transport(world: &World) -> Option<Transport> {
    world.tunnel.way().map(|way| way.transport)
}

fn on_peer() -> (World, PathId) {
    let mut world = blocked(with_peer());
    world.connect();
    assert_eq!(transport(&world), Some(Transport::WireGuard));
    let path = world.peer_in_use.unwrap();
    (world, path)
}

fn asked(world: &World) -> usize {
    world.trace.iter().filter(|line| line.contains("WireGuard")).count()
}

#[test]
fn where_the_gateway_answers_through_nothing_the_peer_carries_the_tunnel() {
    let mut world = blocked(with_peer());
    let start = world.now;
    world.connect();
    assert!(world.now - start < Duration::from_secs(5), "{:?}", world.now - start);
    assert_eq!(transport(&world), Some(Transport::WireGuard));
    assert_eq!(world.tunnel.peer().unwrap().remote.ip(), PEER);
    assert_eq!(world.tunnel.gateway(), Some(gateway(10)), "the peer is taken for the gateway");
    assert!(world.tunnel.ike_sa().is_none() && world.tunnel.child_sas().next().is_none());
    let inner = world.network.clone().unwrap();
    assert_eq!(inner.addresses, [(OURS, 32)]);
    assert_eq!(inner.remote, [(Ipv4Addr::new(10, 10, 0, 0).into(), 16)]);
    assert_eq!(inner.dns, [IpAddr::V4(Ipv4Addr::new(10, 10, 0, 53))]);
    assert!(inner.gateways.contains(&PEER) && inner.gateways.len() == 2, "{:?}", inner.gateways);
    // 1280 on the path until something is known of it; IPv6 keeps its interface.
    assert_eq!((inner.mtu, inner.whole, inner.mss_v4), (1280, 1220, 1180));
    assert_eq!(world.tunnel.blockage(), Some(Blockage::NothingAnswers));
    let verdicts = world.tunnel.network_profile().verdicts;
    assert_eq!(verdicts.wireguard.map(|measured| measured.verdict), Some(Verdict::Open));
    assert!(verdicts.udp4500.is_none(), "another host's answer speaks against the gateway");
    assert_eq!(world.open_paths(), 1);
    let position = |what: &str| world.trace.iter().position(|line| line == what).unwrap();
    assert!(position("use peer") < position("configure") && position("configure") < position("state up"));

    world.command(Command::Disconnect);
    assert!(world.run_until(MINUTE, |world| world.state() == TunnelState::Off));
    assert!(world.is_clean());
    assert_eq!(world.tunnel.peer(), None);
}

#[test]
fn the_peer_is_not_asked_while_the_gateway_answers() {
    let mut world = World::new(with_peer());
    world.connect();
    world.run_for(10 * MINUTE);
    assert_eq!((transport(&world), asked(&world)), (Some(Transport::Udp4500), 0), "{:?}", world.trace);
    // Nor is there one without the profile's word.
    let mut world = blocked(Setup { peer: None, ..with_peer() });
    world.command(Command::Connect);
    assert!(world.run_until(MINUTE, |world| world.state() == TunnelState::Failed));
    assert_eq!(asked(&world), 0);
}

#[test]
fn whom_the_gateway_refuses_the_peer_is_not_asked_for() {
    let mut world = World::new(Setup { psk: "another psk", ..with_peer() });
    world.command(Command::Connect);
    assert!(world.run_until(MINUTE, |world| world.state() == TunnelState::Failed));
    assert_eq!(asked(&world), 0, "{:?}", world.trace);
    assert!(world.is_clean());

    // And where the peer was there first, it does not stay.
    let at = UnixSeconds(1_790_000_000);
    let last_good = Some(LastGood { transport: Transport::WireGuard, family: Family::V4, at });
    let profile = NetworkProfile { last_good, ..NetworkProfile::default() };
    let mut world = World::new(Setup { psk: "another psk", profile, ..with_peer() });
    world.connect();
    assert_eq!(transport(&world), Some(Transport::WireGuard));
    assert!(world.run_until(MINUTE, |world| world.state() == TunnelState::Failed), "{:?}", world.trace);
    let cause = world.tunnel.status().cause.unwrap();
    assert!(matches!(*cause, Cause::Session(Failure::AuthenticationRejected)), "{cause}");
    assert!(world.is_clean());
    let sessions = world.session_ids().len();
    world.run_for(60 * MINUTE);
    assert_eq!(world.session_ids().len(), sessions, "a refused password is tried again and again");
}

#[test]
fn it_goes_back_to_the_gateway_once_udp_works_and_carries_on_until_then() {
    let (mut world, _) = on_peer();
    world.run_for(2 * MINUTE);
    assert_eq!(transport(&world), Some(Transport::WireGuard), "{:?}", world.trace);
    world.blocked_udp.clear();
    let (before, states) = (world.trace.len(), world.statuses.len());
    assert!(world.run_until(11 * MINUTE, |world| transport(world) == Some(Transport::Udp4500)));
    assert!(world.run_until(MINUTE, |world| world.open_paths() == 1));
    assert_eq!(world.statuses.len(), states, "it was down for a moment: {:?}", &world.trace[before..]);
    assert!(world.is_up() && world.peer_in_use.is_none());
    assert_eq!(world.tunnel.peer(), None);
    // Its CHILD SA is there before anything changes.
    let since: Vec<&str> = world.trace[before..].iter().map(String::as_str).collect();
    let first = since.iter().position(|line| *line == "use").unwrap();
    assert_eq!(since[first..first + 3], ["use", "install", "configure"], "{since:?}");
    let inner = world.network.clone().unwrap();
    assert_ne!(inner.addresses[0].0, OURS, "the peer's addresses are asked of the gateway");
    assert!(inner.gateways.contains(&PEER), "falling back again would change the routes");
    assert_eq!(world.session_ids().len(), 1);
    let asked_before = asked(&world);
    world.run_for(30 * MINUTE);
    assert_eq!((transport(&world), asked(&world)), (Some(Transport::Udp4500), asked_before));
}

#[test]
fn a_peer_that_stays_silent_is_given_up_for_that_reason_and_everything_begins_anew() {
    let (mut world, path) = on_peer();
    world.run_for(2 * MINUTE);
    world.command(Command::PeerSilent { path });
    world.run_for(Duration::from_secs(5));
    world.command(Command::PeerAnswers { path });
    world.run_for(MINUTE);
    assert_eq!(world.peer_in_use, Some(path), "it was given up although it has answered");

    world.command(Command::PeerSilent { path });
    let asked_at = world.now;
    assert!(world.run_until(MINUTE, |world| !world.is_up()));
    assert_eq!(world.now - asked_at, Duration::from_secs(8));
    assert!(matches!(*world.tunnel.status().cause.unwrap(), Cause::PeerSilent));
    assert_eq!(world.peer_in_use, None, "its sockets are still open");
    assert!(world.network.is_some(), "traffic leaves outside the tunnel");
    assert!(world.run_until(MINUTE, World::is_up));
    assert_eq!(transport(&world), Some(Transport::WireGuard));
    assert!(world.tunnel.status().cause.is_none());
    // Word of the path before says nothing about this one.
    world.command(Command::PeerSilent { path });
    world.command(Command::PathLost { path, error: PathError::Closed });
    world.run_for(MINUTE);
    assert!(world.is_up());
}

#[test]
fn a_peer_is_found_again_from_another_network_and_the_gateway_asked_at_once() {
    let (mut world, path) = on_peer();
    world.run_for(5 * MINUTE);
    world.attach(2, 2);
    world.run_for(MINUTE);
    assert_eq!((world.peer_in_use, world.is_up()), (Some(path), true), "{:?}", world.trace);
    assert_eq!(world.trace.iter().filter(|line| *line == "rebind").count(), 1);

    // A network that lets a stream through, and no UDP.
    world.blocked.clear();
    world.attach(3, 3);
    assert!(world.run_until(Duration::from_secs(10), |world| transport(world) == Some(Transport::Tcp4500)));
    assert!(world.run_until(MINUTE, |world| world.open_paths() == 1));
    assert_eq!(world.peer_in_use, None);
    assert!(world.is_up());
}

#[test]
fn a_network_without_the_peer_is_seen_by_its_silence() {
    let (mut world, _) = on_peer();
    world.run_for(5 * MINUTE);
    world.handshake = Err(PathError::Silent);
    world.attach(2, 2);
    let moved = world.now;
    assert!(world.run_until(MINUTE, |world| !world.is_up()));
    assert_eq!(world.now - moved, Duration::from_secs(8));
    assert!(matches!(*world.tunnel.status().cause.unwrap(), Cause::PeerSilent));
    world.blocked_udp.clear();
    assert!(world.run_until(MINUTE, World::is_up));
    assert_eq!(transport(&world), Some(Transport::Udp4500));
}

#[test]
fn without_any_network_the_peer_is_waited_for() {
    let (mut world, path) = on_peer();
    world.run_for(MINUTE);
    world.detach();
    world.command(Command::PeerSilent { path });
    world.run_for(600 * MINUTE);
    assert!(world.is_up(), "{:?}", world.trace);
    assert!(matches!(*world.tunnel.status().cause.unwrap(), Cause::Path(PathError::NoRoute)));
    world.attach(1, 9);
    world.run_for(MINUTE);
    assert_eq!((world.peer_in_use, world.is_up()), (Some(path), true));
    assert!(world.tunnel.status().cause.is_none());
}

#[test]
fn a_name_that_is_looked_up_late_or_in_vain_holds_nobody_up() {
    let mut world = blocked(with_peer());
    world.peer_lookup = Duration::from_secs(2);
    let start = world.now;
    world.connect();
    assert_eq!(transport(&world), Some(Transport::WireGuard));
    assert!(world.now - start < Duration::from_secs(6), "{:?}", world.now - start);

    let mut world = blocked(with_peer());
    world.peer_resolver = Err(ResolveError::NotFound);
    world.command(Command::Connect);
    assert!(world.run_until(2 * MINUTE, |world| world.state() == TunnelState::Failed));
    let cause = world.tunnel.status().cause.unwrap();
    assert!(matches!(*cause, Cause::Session(Failure::NoResponse { .. })), "{cause}");
}

#[test]
fn another_preshared_key_is_the_cause_where_nobody_else_answers() {
    let mut world = blocked(with_peer());
    world.handshake = Err(PathError::OtherKey);
    world.command(Command::Connect);
    assert!(world.run_until(2 * MINUTE, |world| world.state() == TunnelState::Failed));
    let cause = world.tunnel.status().cause.unwrap();
    assert!(matches!(*cause, Cause::Path(PathError::OtherKey)), "{cause}");
    assert!(world.is_clean());
    // It says nothing against the gateway.
    world.blocked_udp.clear();
    world.connect();
    assert_eq!(transport(&world), Some(Transport::Udp4500));
}

#[test]
fn what_is_too_long_for_the_path_to_the_peer_makes_the_inner_packets_shorter() {
    let (mut world, _) = on_peer();
    world.command(Command::TooBig { mtu: 1200, quotes_our_packet: true });
    world.run_for(Duration::from_secs(1));
    let inner = world.network.clone().unwrap();
    assert_eq!((inner.mtu, inner.whole, inner.mss_v4), (1280, 1140, 1100));
    world.run_for(11 * MINUTE);
    assert_eq!(world.network.clone().unwrap().whole, 1220, "believed for longer than ten minutes");
}
