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
fn the_sizes_are_right_within_two_round_trips_of_the_sa() {
    for mtu in [1500, 1492, 1437, 1420, 1400, 1380, 1300, 1280, 1124] {
        // Both ways alike, and either way narrow.
        for (up, down) in [(mtu, mtu), (1500, mtu), (mtu, 1500)] {
            let mut world = World::new(Setup::default());
            world.path_mtu = (up, down);
            world.command(Command::Connect);
            assert!(world.run_until(MINUTE, |world| world.sending.is_some()));
            let start = world.now;
            // Of a search in steps of four bytes, what is between two of them is not found.
            let right = |world: &World| {
                world.tunnel.path_sizes().is_some_and(|sizes| {
                    (up - 3..=up).contains(&sizes.uplink) && (down - 3..=down).contains(&sizes.downlink)
                })
            };
            assert!(world.run_until(MINUTE, right), "{up} up, {down} down: {:?}", world.tunnel.path_sizes());
            assert!(world.now - start <= 2 * ROUND_TRIP, "{up} up, {down} down: {:?}", world.now - start);
        }
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
fn both_ways_are_found_whatever_the_other_carries_and_what_is_remembered() {
    let mut slowest = Duration::ZERO;
    for up in [1500, 1420, 1300, 1280, 1124, 1063] {
        for down in [1500, 1420, 1300, 1280, 1124, 1063] {
            for remembered in [None, Some(1500), Some(1300), Some(1124)] {
                let learned =
                    remembered.map(|size| LearnedMtu { size, at: UnixSeconds(crate::world::WALL.0) });
                let profile =
                    NetworkProfile { uplink: learned, downlink: learned, ..NetworkProfile::default() };
                let mut world = World::new(Setup { profile, ..Setup::default() });
                world.path_mtu = (up, down);
                world.connect();
                let start = world.now;
                let found = (inner(up), inner(up.min(down)) - 40);
                let right = |world: &World| sizes(world) == found;
                assert!(
                    world.run_until(Duration::from_secs(5), right),
                    "{up} up, {down} down, {remembered:?}"
                );
                slowest = slowest.max(world.now - start);
                world.run_for(MINUTE);
                assert_eq!(sizes(&world), found, "{up} up, {down} down, {remembered:?}");
                // Of a search in steps of four bytes, what is between two of them is not found.
                let learned = world.tunnel.network_profile().downlink.map(|mtu| down - mtu.size);
                assert!(learned.is_some_and(|short| short < 4), "{up} up, {down} down, {remembered:?}");
            }
        }
    }
    assert!(slowest <= 5 * ROUND_TRIP, "{slowest:?}");
}

#[test]
fn what_the_system_knows_of_the_way_there_is_where_to_begin_and_says_nothing_of_the_way_back() {
    let mut world = World::new(Setup::default());
    (world.path_mtu, world.known_mtu) = ((1300, 1420), 1240);
    world.command(Command::Connect);
    assert!(world.run_until(MINUTE, |world| world.network.is_some()));
    assert_eq!(sizes(&world).0, inner(1240), "more than what a router has said not long ago");
    world.run_for(10 * ROUND_TRIP);
    let learned = world.tunnel.network_profile();
    assert_eq!(
        (learned.uplink.map(|mtu| mtu.size), learned.downlink.map(|mtu| mtu.size)),
        (Some(1300), Some(1420))
    );
}

#[test]
fn a_way_there_that_shrinks_tells_far_ends_nothing() {
    let mut world = settled((1500, 1500));
    world.networks.clear();
    world.path_mtu = (1300, 1500);
    for _ in 0..50 {
        let carried = world.activity.carried + 1;
        world.activity = Activity { sent: Some(world.now), received: Some(world.now), carried };
        world.tell_activity();
        world.run_for(Duration::from_millis(100));
    }
    let (here, afar) = told(&world);
    assert_eq!((here.last(), sizes(&world).0), (Some(&inner(1300)), inner(1300)));
    assert!(afar.iter().all(|mtu| *mtu == inner(1500)), "{afar:?}");
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
fn a_path_that_grows_is_found_out_within_ten_minutes() {
    let mut world = settled((1300, 1300));
    world.path_mtu = (1500, 1480);
    world.networks.clear();
    let start = world.now;
    let right = (inner(1500), inner(1480) - 40);
    assert!(world.run_until(11 * MINUTE, |world| sizes(world) == right), "{:?}", sizes(&world));
    assert!(world.now - start <= 10 * MINUTE + 5 * ROUND_TRIP, "{:?}", world.now - start);
    // Nobody is told of less on the way.
    let (here, afar) = told(&world);
    assert!(here.iter().chain(&afar).all(|mtu| *mtu >= inner(1300)), "{here:?} {afar:?}");
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

/// What others were told of since: inner packets that leave, and those that arrive.
fn told(world: &World) -> (Vec<u16>, Vec<u16>) {
    let here = world.networks.iter().filter(|inner| inner.whole_is_told).map(|inner| inner.whole);
    (here.collect(), world.networks.iter().filter_map(|inner| inner.from_afar).collect())
}

#[test]
fn a_move_between_equal_networks_tells_nobody_of_smaller_packets() {
    let mut world = settled((1500, 1500));
    for network in 2..5 {
        let before = world.network.clone().unwrap();
        world.networks.clear();
        world.command(Command::Network(Box::default()));
        world.attach(network, network);
        world.run_for(10 * ROUND_TRIP);
        let (here, afar) = told(&world);
        assert!(!here.is_empty() && here.iter().all(|mtu| *mtu == inner(1500)), "{here:?}");
        assert!(!afar.is_empty() && afar.iter().all(|mtu| *mtu == inner(1500)), "{afar:?}");
        // Until it is known what crosses, what leaves is cut.
        assert_eq!(world.networks[0].whole, inner(1280));
        for now in &world.networks {
            assert_eq!((now.mtu, now.mss_v4, now.mss_v6), (before.mtu, before.mss_v4, before.mss_v6));
        }
    }
}

#[test]
fn a_move_to_a_narrower_network_tells_of_its_size_once_it_is_known() {
    let mut world = settled((1500, 1500));
    world.path_mtu = (1400, 1380);
    world.networks.clear();
    world.command(Command::Network(Box::default()));
    world.attach(2, 2);
    let start = world.now;
    let told_all =
        |world: &World| told(world).0.contains(&inner(1400)) && told(world).1.contains(&inner(1380));
    assert!(world.run_until(MINUTE, told_all), "{:?}", told(&world));
    // One to move, two to measure, and one since the way there was narrower than it was taken for.
    assert!(world.now - start <= 4 * ROUND_TRIP, "{:?}", world.now - start);
    world.run_for(10 * ROUND_TRIP);
    let (here, afar) = told(&world);
    assert!(here.iter().all(|mtu| *mtu == inner(1400)) && afar.iter().all(|mtu| *mtu == inner(1380)));
    assert_eq!(sizes(&world), (inner(1400), inner(1380) - 40));
}

#[test]
fn on_a_network_where_nobody_answers_any_more_far_ends_are_told_of_the_cautious_size() {
    let mut world = settled((1500, 1500));
    world.answers_probes = false;
    world.networks.clear();
    world.command(Command::Network(Box::default()));
    world.attach(2, 2);
    world.run_for(MINUTE);
    assert_eq!(told(&world).1.last(), Some(&inner(1280)));
    assert_eq!(sizes(&world), (inner(1280), inner(1280) - 40));
}

#[test]
fn a_lie_of_a_routers_is_told_to_nobody() {
    let mut world = settled((1500, 1500));
    world.networks.clear();
    world.command(Command::TooBig { mtu: 600, quotes_our_packet: true });
    assert!(world.run_until(MINUTE, |world| world.network.as_ref().is_some_and(|now| now.whole < 600)));
    world.run_for(10 * ROUND_TRIP);
    assert_eq!(sizes(&world).0, inner(1500));
    let (here, afar) = told(&world);
    assert!(here.iter().chain(&afar).all(|mtu| *mtu == inner(1500)), "{here:?} {afar:?}");
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
