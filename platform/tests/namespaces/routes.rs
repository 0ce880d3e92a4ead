use std::{
    collections::BTreeSet,
    net::{IpAddr, UdpSocket},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use evenkeel_platform::routes::{Recovered, RouteError, RouteManager, RoutePlan};

use crate::network::{Dump, add_tun, ip, isolated, way_to};

const MARK: u32 = 0x00e7;

fn prefixes(list: &[(&str, u8)]) -> Vec<(IpAddr, u8)> {
    list.iter().map(|(address, length)| (address.parse().unwrap(), *length)).collect()
}

fn plan(gateway: &str, remote: &[(&str, u8)]) -> RoutePlan {
    RoutePlan {
        interface: "tun0".into(),
        addresses: prefixes(&[("10.99.0.7", 24), ("2001:db8:99::7", 64)]),
        remote: prefixes(remote),
        gateways: vec![gateway.parse().unwrap()],
        mark: MARK,
        table: 5_210,
        mtu: 1390,
    }
}

fn full(gateway: &str) -> RoutePlan {
    plan(gateway, &[("0.0.0.0", 0), ("::", 0)])
}

fn manager(state: &Path) -> RouteManager {
    RouteManager::new(state).unwrap()
}

#[test]
fn a_full_tunnel_takes_all_but_the_lan_and_the_gateway_and_leaves_no_trace() {
    isolated("routes::a_full_tunnel_takes_all_but_the_lan_and_the_gateway_and_leaves_no_trace", || async {
        let state = tempfile::tempdir().unwrap();
        let before = Dump::take();
        let routes = manager(state.path());
        let applied = routes.apply(&full("198.51.100.10")).await.unwrap();

        for outside in ["203.0.113.9", "8.8.8.8", "2001:db8:ffff::1", "198.51.100.11"] {
            assert_eq!(way_to(outside), "tun0", "{outside}");
            assert_eq!(way_to(&format!("{outside} mark {MARK}")), "eth0", "{outside}, our socket");
        }
        for lan in ["192.168.1.77", "2001:db8:1::77"] {
            assert_eq!(way_to(lan), "eth0", "{lan}");
        }
        assert_eq!(way_to("198.51.100.10"), "eth0", "the gateway, without a mark");
        assert!(ip("route get 203.0.113.9").contains("src 10.99.0.7"));
        assert!(ip("route get 2001:db8:ffff::1").contains("src 2001:db8:99::7"));
        assert!(ip("link show dev tun0").contains("mtu 1390"));

        routes.revert(applied).await.unwrap();
        before.assert_restored();
        assert_eq!(routes.recover().await.unwrap(), Recovered::Nothing);
    });
}

#[test]
fn the_gateway_over_ipv6_is_kept_out_of_a_full_tunnel_too() {
    isolated("routes::the_gateway_over_ipv6_is_kept_out_of_a_full_tunnel_too", || async {
        let state = tempfile::tempdir().unwrap();
        let before = Dump::take();
        let routes = manager(state.path());
        let applied = routes.apply(&full("2001:db8:100::10")).await.unwrap();
        assert_eq!(way_to("2001:db8:100::10"), "eth0");
        assert_eq!(way_to("2001:db8:100::11"), "tun0");
        routes.revert(applied).await.unwrap();
        before.assert_restored();
    });
}

#[test]
fn the_gateways_answers_pass_a_strict_reverse_path_filter_in_a_full_tunnel() {
    isolated("routes::the_gateways_answers_pass_a_strict_reverse_path_filter_in_a_full_tunnel", || async {
        let state = tempfile::tempdir().unwrap();
        let routes = manager(state.path());
        let _applied = routes.apply(&full("198.51.100.10")).await.unwrap();
        // The filter asks where an answer to the sender would go, with no mark on it.
        let seen = ip("route get 192.168.1.50 from 198.51.100.10 iif eth0");
        assert!(seen.contains("local 192.168.1.50"), "{seen}");
        let refused = std::process::Command::new("ip")
            .args("route get 192.168.1.50 from 198.51.100.11 iif eth0".split(' '))
            .output()
            .unwrap();
        assert!(!refused.status.success(), "the filter is not on: the test shows nothing");
    });
}

#[test]
fn a_split_tunnel_takes_its_prefixes_but_not_a_more_specific_local_route() {
    isolated("routes::a_split_tunnel_takes_its_prefixes_but_not_a_more_specific_local_route", || async {
        ip("route add 10.20.30.0/24 via 192.168.1.2 dev eth0");
        ip("-6 route add 2001:db8:a:b::/64 via 2001:db8:1::2 dev eth0");
        let state = tempfile::tempdir().unwrap();
        let before = Dump::take();
        let routes = manager(state.path());
        let remote = [("10.0.0.0", 8), ("192.168.1.128", 25), ("2001:db8:a::", 48)];
        let applied = routes.apply(&plan("198.51.100.10", &remote)).await.unwrap();

        for inside in ["10.1.2.3", "10.20.31.1", "192.168.1.200", "2001:db8:a:c::1"] {
            assert_eq!(way_to(inside), "tun0", "{inside}");
        }
        for local in ["10.20.30.1", "192.168.1.77", "8.8.8.8", "2001:db8:a:b::1", "2001:db8:ffff::1"] {
            assert_eq!(way_to(local), "eth0", "{local}");
        }
        routes.revert(applied).await.unwrap();
        before.assert_restored();
    });
}

#[test]
fn a_prefix_equal_to_the_local_subnet_enters_the_tunnel_and_the_uplink_survives() {
    isolated(
        "routes::a_prefix_equal_to_the_local_subnet_enters_the_tunnel_and_the_uplink_survives",
        || async {
            let state = tempfile::tempdir().unwrap();
            let before = Dump::take();
            let routes = manager(state.path());
            let applied = routes.apply(&plan("198.51.100.10", &[("192.168.1.0", 24)])).await.unwrap();
            assert_eq!(way_to("192.168.1.77"), "tun0");
            assert_eq!(way_to("198.51.100.10"), "eth0");
            assert_eq!(way_to(&format!("8.8.8.8 mark {MARK}")), "eth0");
            routes.revert(applied).await.unwrap();
            before.assert_restored();
        },
    );
}

#[test]
fn a_gateway_inside_the_remote_prefixes_is_reached_outside_the_tunnel() {
    isolated("routes::a_gateway_inside_the_remote_prefixes_is_reached_outside_the_tunnel", || async {
        let state = tempfile::tempdir().unwrap();
        let routes = manager(state.path());
        for remote in [[("198.51.100.0", 24)], [("198.51.100.10", 32)]] {
            let applied = routes.apply(&plan("198.51.100.10", &remote)).await.unwrap();
            assert_eq!(way_to("198.51.100.10"), "eth0");
            routes.revert(applied).await.unwrap();
        }
    });
}

#[test]
fn the_way_to_the_gateway_follows_the_uplink() {
    isolated("routes::the_way_to_the_gateway_follows_the_uplink", || async {
        let state = tempfile::tempdir().unwrap();
        let routes = manager(state.path());
        let _applied = routes.apply(&full("198.51.100.10")).await.unwrap();
        ip("link add wlan0 type veth peer name other-router");
        ip("addr add 172.16.0.9/24 dev wlan0");
        ip("link set other-router up");
        ip("link set wlan0 up");
        ip("route replace default via 172.16.0.1 dev wlan0");
        assert_eq!(way_to("198.51.100.10"), "wlan0");
        assert_eq!(way_to("203.0.113.9"), "tun0");
        ip("route del default");
        let lost = std::process::Command::new("ip").args(["route", "get", "198.51.100.10"]).output().unwrap();
        assert!(!lost.status.success(), "without an uplink the gateway must not be sought in the tunnel");
    });
}

#[test]
fn what_a_killed_daemon_left_is_undone_by_the_next_one() {
    isolated("routes::what_a_killed_daemon_left_is_undone_by_the_next_one", || async {
        let state = tempfile::tempdir().unwrap();
        let before = Dump::take();
        // The interface outlives the daemon ...
        let killed = manager(state.path());
        let _ = killed.apply(&full("198.51.100.10")).await.unwrap();
        assert!(matches!(killed.apply(&full("198.51.100.10")).await, Err(RouteError::AlreadyApplied)));
        drop(killed);
        assert_ne!(before.differences().len(), 0);
        let next = manager(state.path());
        assert_eq!(next.recover().await.unwrap(), Recovered::Undone);
        before.assert_restored();
        assert_eq!(next.recover().await.unwrap(), Recovered::Nothing);

        // ... or goes away with it, and another one has its name when the next daemon starts.
        let _ = next.apply(&full("198.51.100.10")).await.unwrap();
        drop(next);
        ip("link del tun0");
        add_tun();
        assert_ne!(ip("rule show").lines().count(), 3, "the rules outlive the interface");
        assert_eq!(manager(state.path()).recover().await.unwrap(), Recovered::Undone);
        assert_eq!(ip("rule show").lines().count(), 3);
        assert_eq!(ip("-6 rule show").lines().count(), 2);
        assert!(ip("link show dev tun0").contains("mtu 1500"));
    });
}

#[test]
fn a_change_that_fails_half_way_is_undone_at_once() {
    isolated("routes::a_change_that_fails_half_way_is_undone_at_once", || async {
        // Somebody else's rule stands where one of ours is to go.
        ip("rule add pref 30003 to 10.0.0.0/8 lookup 5210 protocol 231");
        let state = tempfile::tempdir().unwrap();
        let before = Dump::take();
        let routes = manager(state.path());
        let outcome = routes.apply(&plan("198.51.100.10", &[("10.0.0.0", 8)])).await;
        assert!(matches!(outcome, Err(RouteError::System { action: "adding a rule", .. })), "{outcome:?}");
        before.assert_restored();
        assert_eq!(routes.recover().await.unwrap(), Recovered::Nothing);
    });
}

#[test]
fn a_call_given_up_half_way_is_made_good_by_the_next() {
    isolated("routes::a_call_given_up_half_way_is_made_good_by_the_next", || async {
        let state = tempfile::tempdir().unwrap();
        let before = Dump::take();
        let routes = manager(state.path());
        // So much that it is not done at once.
        let mut many = full("198.51.100.10");
        many.remote = (0..500_u32).map(|i| (IpAddr::V4((0x0a00_0000 + (i << 8)).into()), 24)).collect();
        let mut given_up = Box::pin(routes.apply(&many));
        // Polled until something of it shows, and dropped.
        while before.differences().is_empty() {
            let polled = tokio::time::timeout(std::time::Duration::from_millis(1), &mut given_up).await;
            assert!(polled.is_err(), "it was done before anything showed");
        }
        drop(given_up);
        let applied = routes.apply(&full("198.51.100.10")).await.unwrap();
        assert_eq!(way_to("203.0.113.9"), "tun0");
        routes.revert(applied).await.unwrap();
        before.assert_restored();
    });
}

#[test]
fn a_journal_of_changes_that_were_never_made_does_no_harm() {
    isolated("routes::a_journal_of_changes_that_were_never_made_does_no_harm", || async {
        let state = tempfile::tempdir().unwrap();
        let before = Dump::take();
        let journal = state.path().join("routes.journal");
        let routes = manager(state.path());
        let applied = routes.apply(&full("198.51.100.10")).await.unwrap();
        let written = std::fs::read(&journal).unwrap();
        routes.revert(applied).await.unwrap();
        // The same routes and rules, but somebody else's.
        ip("route add default dev eth0 table 5210");
        ip("rule add pref 30003 lookup 5210");
        let theirs = Dump::take();
        std::fs::write(&journal, written).unwrap();
        assert_eq!(routes.recover().await.unwrap(), Recovered::Undone);
        theirs.assert_restored();
        assert_ne!(before.differences().len(), 0);
    });
}

#[test]
fn a_journal_that_cannot_be_read_is_reported_once_and_kept() {
    isolated("routes::a_journal_that_cannot_be_read_is_reported_once_and_kept", || async {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(state.path().join("routes.journal"), "{").unwrap();
        let routes = manager(state.path());
        assert!(matches!(routes.recover().await, Err(RouteError::Journal(_))));
        assert_eq!(routes.recover().await.unwrap(), Recovered::Nothing);
        assert!(state.path().join("routes.unreadable").exists());
    });
}

/// Where packets to there would leave from, asked as fast as can be until `done`.
fn sources(done: &AtomicBool) -> BTreeSet<IpAddr> {
    let mut seen = BTreeSet::new();
    while !done.load(Ordering::Relaxed) {
        // A socket keeps the address that it was first connected with.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect("203.0.113.9:9").unwrap();
        seen.insert(socket.local_addr().unwrap().ip());
    }
    seen
}

#[test]
fn a_plan_replaces_another_without_a_packet_outside_the_tunnel() {
    isolated("routes::a_plan_replaces_another_without_a_packet_outside_the_tunnel", || async {
        let state = tempfile::tempdir().unwrap();
        let before = Dump::take();
        let routes = manager(state.path());
        let mut applied = routes.apply(&full("198.51.100.10")).await.unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let watch = std::thread::spawn({
            let done = Arc::clone(&done);
            move || sources(&done)
        });
        // Other addresses, then other networks and another gateway as well.
        let moved = RoutePlan { addresses: prefixes(&[("10.99.0.8", 32)]), ..full("198.51.100.10") };
        let split = plan("198.51.100.11", &[("203.0.113.0", 24), ("10.0.0.0", 8)]);
        for _ in 0..30 {
            for plan in [&moved, &split, &full("198.51.100.10")] {
                applied = routes.replace(applied, plan).await.unwrap();
                assert_eq!(way_to("203.0.113.9"), "tun0");
                let source = plan.addresses[0].0;
                assert!(ip("route get 203.0.113.9").contains(&format!("src {source}")));
            }
        }
        applied = routes.replace(applied, &split).await.unwrap();
        assert_eq!(way_to("8.8.8.8"), "eth0", "a prefix of a plan before");
        assert_eq!(way_to("198.51.100.11"), "eth0");
        done.store(true, Ordering::Relaxed);
        let seen: Vec<String> = watch.join().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(seen, ["10.99.0.7", "10.99.0.8"], "a packet would have left elsewhere");

        routes.revert(applied).await.unwrap();
        before.assert_restored();
        // It counts as one that is in force, and one given up half way as a leftover.
        let applied = routes.apply(&full("198.51.100.10")).await.unwrap();
        let remote = (0..500_u32).map(|i| (IpAddr::V4((0x0a00_0000 + (i << 8)).into()), 24)).collect();
        let many = RoutePlan { remote, ..full("198.51.100.10") };
        let in_force = Dump::take();
        let mut given_up = Box::pin(routes.replace(applied, &many));
        while in_force.differences().is_empty() {
            let polled = tokio::time::timeout(Duration::from_millis(1), &mut given_up).await;
            assert!(polled.is_err(), "it was done before anything showed");
        }
        drop(given_up);
        assert_eq!(routes.recover().await.unwrap(), Recovered::Undone);
        before.assert_restored();
    });
}

#[test]
fn a_plan_that_cannot_replace_another_leaves_neither() {
    isolated("routes::a_plan_that_cannot_replace_another_leaves_neither", || async {
        // Somebody else's rule stands where one of the second plan's is to go.
        ip("rule add pref 27503 to 10.0.0.0/8 lookup 5210 protocol 231");
        let state = tempfile::tempdir().unwrap();
        let before = Dump::take();
        let routes = manager(state.path());
        let applied = routes.apply(&full("198.51.100.10")).await.unwrap();
        let outcome = routes.replace(applied, &plan("198.51.100.10", &[("10.0.0.0", 8)])).await;
        assert!(matches!(outcome, Err(RouteError::System { action: "adding a rule", .. })), "{outcome:?}");
        before.assert_restored();
        let applied = routes.apply(&full("198.51.100.10")).await.unwrap();
        routes.revert(applied).await.unwrap();
        before.assert_restored();
    });
}

#[test]
fn the_mtu_changes_in_place_and_returns_at_the_end() {
    isolated("routes::the_mtu_changes_in_place_and_returns_at_the_end", || async {
        let state = tempfile::tempdir().unwrap();
        let before = Dump::take();
        let routes = manager(state.path());
        let applied = routes.apply(&full("198.51.100.10")).await.unwrap();
        routes.set_mtu(&applied, 1312).await.unwrap();
        assert!(ip("link show dev tun0").contains("mtu 1312"));
        assert_eq!(way_to("203.0.113.9"), "tun0");
        routes.revert(applied).await.unwrap();
        before.assert_restored();
    });
}

#[test]
fn a_missing_interface_is_named() {
    isolated("routes::a_missing_interface_is_named", || async {
        ip("link del tun0");
        let state = tempfile::tempdir().unwrap();
        let outcome = manager(state.path()).apply(&full("198.51.100.10")).await;
        assert!(matches!(outcome, Err(RouteError::NoInterface(name)) if name == "tun0"));
    });
}
