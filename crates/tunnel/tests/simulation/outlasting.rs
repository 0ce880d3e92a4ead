//! A wish that outlasts what stands between us and the gateway.

use std::time::Duration;

use crate::world::{Setup, World, gateway};
use evenkeel_tunnel::{Command, PathError, ResolveError, TunnelState};

const MINUTE: Duration = Duration::from_secs(60);

/// A world in which nobody gets through to the gateway, and a wish that outlasts that.
fn held_back() -> World {
    let mut world = World::new(Setup::default());
    world.blocked_udp.extend([500, 4500]);
    world.command(Command::Outlast(true));
    world.command(Command::Connect);
    assert!(world.run_until(MINUTE, World::is_waiting), "{:?}", world.tunnel.status());
    world
}

#[test]
fn a_wish_that_outlasts_silence_pauses_and_tries_again() {
    let mut world = held_back();
    assert!(!world.tunnel.status().has_been_up);
    assert!(!world.cause().is_empty());
    world.blocked_udp.clear();
    assert!(world.run_until(MINUTE, World::is_up), "{:?}", world.tunnel.status());
}

#[test]
fn a_pause_that_is_no_longer_wanted_ends_with_the_cause_that_it_began_with() {
    let mut world = held_back();
    let cause = world.cause();
    world.command(Command::Outlast(false));
    assert_eq!((world.state(), world.cause()), (TunnelState::Failed, cause));
    assert!(world.is_clean());
}

#[test]
fn an_attempt_under_way_ends_as_ever_once_nothing_is_to_be_outlasted() {
    let mut world = World::new(Setup::default());
    world.blocked_udp.extend([500, 4500]);
    world.command(Command::Outlast(true));
    world.command(Command::Connect);
    world.run_for(Duration::from_secs(1));
    world.command(Command::Outlast(false));
    assert!(matches!(world.state(), TunnelState::Connecting { .. }));
    let ended = |world: &World| world.state() == TunnelState::Failed || world.is_waiting();
    assert!(world.run_until(MINUTE, ended));
    assert_eq!(world.state(), TunnelState::Failed);
}

#[test]
fn what_the_gateway_refuses_is_not_outlasted() {
    let mut world = World::new(Setup { psk: "another", ..Setup::default() });
    world.command(Command::Outlast(true));
    world.command(Command::Connect);
    let ended = |world: &World| world.state() == TunnelState::Failed || world.is_waiting();
    assert!(world.run_until(MINUTE, ended));
    assert_eq!(world.state(), TunnelState::Failed);
}

#[test]
fn a_name_that_is_withheld_is_outlasted_and_looked_up_anew() {
    let mut world = World::new(Setup::default());
    let truth = std::mem::replace(&mut world.resolver, Err(ResolveError::Unavailable));
    world.command(Command::Outlast(true));
    world.command(Command::Connect);
    assert!(world.is_waiting(), "{:?}", world.tunnel.status());
    world.resolver = truth;
    world.command(Command::StartOver);
    assert!(world.run_until(Duration::from_secs(1), World::is_up), "{:?}", world.tunnel.status());
}

#[test]
fn starting_over_forgets_addresses_that_were_a_lie_and_does_not_wait_for_the_attempt_under_way() {
    let mut world = World::new(Setup::default());
    let truth = std::mem::replace(&mut world.resolver, Ok(vec![gateway(99)]));
    world.command(Command::Outlast(true));
    world.command(Command::Connect);
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.state(), TunnelState::Connecting { gateway: gateway(99) });
    assert!(world.tunnel.is_unanswered());
    world.resolver = truth;
    let asked = world.now;
    world.command(Command::StartOver);
    assert!(world.run_until(MINUTE, World::is_up));
    assert!(world.now - asked < Duration::from_millis(200), "{:?}", world.now - asked);
    assert!(!world.tunnel.is_unanswered());
    assert_eq!(world.open_paths(), 1, "the paths to the lie are left open");
}

#[test]
fn starting_over_while_reconnecting_keeps_the_network_inside() {
    let mut world = World::new(Setup::default());
    world.connect();
    world.blocked_udp.extend([500, 4500]);
    world.attach(2, 8);
    assert!(world.tunnel.is_unanswered(), "after a change of the network the gateway has yet to answer");
    assert!(world.run_until(MINUTE, |world| !world.is_up()));
    assert!(world.network.is_some());
    world.trace.clear();
    world.blocked_udp.clear();
    let asked = world.now;
    world.command(Command::StartOver);
    assert!(world.run_until(MINUTE, World::is_up));
    assert!(world.now - asked < Duration::from_millis(200), "{:?}", world.now - asked);
    assert!(!world.trace.iter().any(|what| what.contains("unconfigure")), "{:?}", world.trace);
}

#[test]
fn a_machine_without_a_network_waits_for_no_answer() {
    let mut world = World::new(Setup::default());
    world.connect();
    assert!(!world.tunnel.is_unanswered());
    world.detach();
    assert!(world.cause().contains(&PathError::NoRoute.to_string()), "{}", world.cause());
    assert!(!world.tunnel.is_unanswered());
}
