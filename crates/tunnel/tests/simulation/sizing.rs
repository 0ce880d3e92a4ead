//! Packets as large as the path carries, in both directions, from two round trips after the SA.

use std::time::Duration;

use crate::world::{Setup, World};
use evenkeel_ipsec::ike::Faults;
use evenkeel_netprofile::memory::{LearnedMtu, NetworkProfile};
use evenkeel_netprofile::time::UnixSeconds;
use evenkeel_tunnel::{Activity, Command};

const MINUTE: Duration = Duration::from_secs(60);
const ROUND_TRIP: Duration = Duration::from_millis(40);

/// Bytes that AES-GCM in UDP over IPv4 adds at least.
fn inner(outer: u16) -> u16 {
    let esp = outer - 28 - 8 - 8 - 16;
    esp - esp % 4 - 2
}

/// The longest packet and the MSS for IPv4 that the system is configured with.
fn sizes(world: &World) -> (u16, u16) {
    let inner = world.network.as_ref().unwrap();
    assert_eq!(inner.mtu, inner.whole.max(1280), "the interface");
    (inner.whole, inner.mss_v4)
}

fn settled(path_mtu: (u16, u16)) -> World {
    let mut world = World::new(Setup::default());
    world.path_mtu = path_mtu;
    world.connect();
    world.run_for(10 * ROUND_TRIP);
    world
}

#[test]
fn each_path_gets_its_size() {
    for mtu in [1500, 1492, 1420, 1400, 1380, 1300, 1280, 1124] {
        let world = settled((mtu, mtu));
        assert_eq!(sizes(&world), (inner(mtu), inner(mtu) - 40), "path of {mtu}");
    }
}

#[test]
fn the_size_is_right_within_two_round_trips_of_the_sa() {
    for mtu in [1500, 1492, 1437, 1400, 1280] {
        let mut world = World::new(Setup::default());
        world.path_mtu = (mtu, mtu);
        world.command(Command::Connect);
        assert!(world.run_until(MINUTE, |world| world.sending.is_some()));
        let start = world.now;
        let right = |world: &World| world.network.as_ref().is_some_and(|network| network.whole == inner(mtu));
        assert!(world.run_until(MINUTE, right), "path of {mtu}");
        assert!(world.now - start <= 2 * ROUND_TRIP, "path of {mtu}: {:?}", world.now - start);
    }
}

#[test]
fn a_narrow_way_back_lowers_the_segments_and_not_the_interface() {
    let world = settled((1500, 1400));
    assert_eq!(sizes(&world), (inner(1500), inner(1400) - 40));
}

#[test]
fn a_narrow_way_there_hides_nothing_of_the_way_back() {
    let world = settled((1300, 1400));
    // Segments are cut to the narrower of both.
    assert_eq!(sizes(&world), (inner(1300), inner(1300) - 40));
    assert_eq!(world.tunnel.network_profile().downlink.map(|mtu| mtu.size), Some(1400));
}

#[test]
fn a_path_that_shrinks_under_traffic_is_followed_within_three_seconds_and_in_place() {
    let mut world = settled((1500, 1500));
    world.trace.clear();
    world.path_mtu = (1300, 1300);
    let start = world.now;
    while sizes(&world).0 != inner(1300) {
        assert!(world.now - start < Duration::from_secs(3), "a black hole");
        let carried = world.activity.carried + 1;
        world.activity = Activity { sent: Some(world.now), received: Some(world.now), carried };
        world.tell_activity();
        world.run_for(Duration::from_millis(100));
    }
    assert!(world.trace.iter().all(|line| line == "configure"), "{:?}", world.trace);
}

#[test]
fn a_path_that_swallows_everything_large_is_noticed_although_nothing_comes_back() {
    // Without a NAT there is nothing else to wake up for.
    let mut world = World::new(Setup { behind_nat: false, ..Setup::default() });
    world.connect();
    world.run_for(Duration::from_secs(2));
    world.activity.carried += 1;
    world.tell_activity();
    // The size has just been confirmed when the path becomes narrower; more is sent, and nobody tells of it.
    world.run_for(2 * ROUND_TRIP);
    world.path_mtu = (1300, 1300);
    world.activity.carried += 1;
    let start = world.now;
    let lowered = world.run_until(MINUTE, |world| sizes(world).0 == inner(1300));
    assert!(lowered && world.now - start < Duration::from_secs(3), "after {:?}", world.now - start);
}

#[test]
fn where_nothing_inside_answers_the_size_is_cautious() {
    let mut world = World::new(Setup::default());
    world.answers_probes = false;
    world.path_mtu = (1280, 1280);
    world.connect();
    world.run_for(MINUTE);
    assert_eq!(sizes(&world), (inner(1280), inner(1280) - 40));
}

#[test]
fn a_known_network_starts_with_what_it_carried() {
    let learned = Some(LearnedMtu { size: 1420, at: UnixSeconds(crate::world::WALL.0) });
    let profile = NetworkProfile { uplink: learned, downlink: learned, ..NetworkProfile::default() };
    let mut world = World::new(Setup { profile, ..Setup::default() });
    world.path_mtu = (1420, 1420);
    world.command(Command::Connect);
    assert!(world.run_until(MINUTE, |world| world.network.is_some()));
    assert_eq!(sizes(&world).0, inner(1420), "the first packet does not know the network");
}

#[test]
fn an_idle_tunnel_asks_nothing_for_minutes() {
    let mut world = settled((1500, 1500));
    let before = world.probes;
    world.run_for(9 * MINUTE);
    assert_eq!(world.probes, before);
}

#[test]
fn a_move_to_another_network_measures_anew() {
    let mut world = settled((1500, 1500));
    world.path_mtu = (1380, 1380);
    world.attach(2, 2);
    world.run_for(10 * ROUND_TRIP);
    assert_eq!(sizes(&world).0, inner(1380));
}

#[test]
fn where_nobody_can_be_asked_a_router_is_believed_for_ten_minutes() {
    let mut world = World::new(Setup { names_server: false, ..Setup::default() });
    world.connect();
    assert_eq!((world.probes, sizes(&world).0), (0, inner(1280)));
    let too_big = |mtu, quotes_our_packet| Command::TooBig { mtu, quotes_our_packet };
    world.command(too_big(1124, false));
    assert_eq!(sizes(&world).0, inner(1280), "anybody is believed");
    world.command(too_big(1124, true));
    world.run_for(ROUND_TRIP);
    assert_eq!(sizes(&world), (inner(1124), inner(1124) - 40));
    world.command(too_big(68, true));
    world.run_for(ROUND_TRIP);
    assert_eq!(sizes(&world).0, inner(576), "less than any path carries");
    world.run_for(11 * MINUTE);
    assert_eq!(sizes(&world).0, inner(1280));
}

#[test]
fn a_size_that_changes_in_place_takes_nothing_from_what_is_reported() {
    let mut world = settled((1500, 1500));
    world.tunnel.handle_command(Command::TooBig { mtu: 1300, quotes_our_packet: true }, world.now);
    // The system is about to follow; addresses and the like stay as they are.
    let reported = world.tunnel.inner_network().map(|inner| inner.addresses.clone());
    assert_eq!(reported, world.network.as_ref().map(|inner| inner.addresses.clone()));
}

#[test]
fn a_late_answer_from_the_network_before_says_nothing_about_this_one() {
    let mut world = settled((1500, 1500));
    let before = std::mem::take(&mut world.asked);
    world.path_mtu = (1300, 1300);
    world.attach(2, 2);
    assert!(world.run_until(MINUTE, |world| !world.asked.is_empty()), "nothing is measured");
    for late in &before {
        world.command(Command::ProbeAnswered(late.probe.id));
    }
    world.run_for(10 * ROUND_TRIP);
    assert_eq!(sizes(&world).0, inner(1300));
    let highest = before.iter().map(|asked| asked.probe.id.number).max().unwrap();
    assert!(world.asked.iter().all(|asked| asked.probe.id.number > highest), "numbers are used again");
}

#[test]
fn whoever_is_asked_is_asked_from_the_address_that_the_session_in_use_has() {
    let mut world = World::new(Setup::default());
    world.responder().set_faults(Faults { auth_lifetime: Some(10 * MINUTE), ..Faults::default() });
    world.connect();
    world.run_for(MINUTE);
    let addresses = |world: &World| world.network.as_ref().unwrap().addresses.clone();
    let first = addresses(&world);
    assert!(world.run_until(10 * MINUTE, |world| addresses(world) != first), "the address is the same");
    world.run_for(Duration::from_secs(2));
    world.asked.clear();
    world.activity.carried += 1;
    world.tell_activity();
    world.run_for(10 * ROUND_TRIP);
    assert!(!world.asked.is_empty(), "nothing is confirmed");
    let ours = addresses(&world)[0].0;
    assert!(world.asked.iter().all(|asked| asked.source == ours), "{:?}, not from {ours}", world.asked[0]);
}

#[test]
fn what_a_router_said_outlives_a_rekey() {
    let mut world = World::new(Setup { names_server: false, ..Setup::default() });
    world.connect();
    world.command(Command::TooBig { mtu: 1124, quotes_our_packet: true });
    world.run_for(ROUND_TRIP);
    assert_eq!(sizes(&world).0, inner(1124));
    let spi_in = *world.installed.keys().next().unwrap();
    world.command(Command::SequenceLow { spi_in });
    world.run_for(MINUTE);
    assert!(!world.installed.contains_key(&spi_in), "not rekeyed");
    assert_eq!(sizes(&world).0, inner(1124));
}
