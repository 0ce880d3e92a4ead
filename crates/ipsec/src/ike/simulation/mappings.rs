//! What a NAT does to the main path, and tests of other paths.

use super::*;
use crate::ike::{Failure, Faults, Framing, Path};
use std::time::Duration;

pub(super) const MAIN: &str = "192.168.1.5:40002";
pub(super) const SECOND: &str = "192.168.1.5:40099";

pub(super) fn path_from(local: &str) -> Path {
    Path {
        local: local.parse().unwrap(),
        remote: "198.51.100.10:4500".parse().unwrap(),
        framing: Framing::NonEspMarker,
    }
}

pub(super) fn connected(seed: u64, dpd_after: Option<Duration>) -> Pair {
    let mut options = Options::psk(seed);
    options.timers.dpd_after = dpd_after;
    let mut pair = Pair::new(options);
    pair.connect();
    pair.run_for(Duration::from_secs(1));
    pair
}

pub(super) fn told(pair: &Pair, event: &str) -> usize {
    pair.client_events.iter().filter(|told| told.starts_with(event)).count()
}

pub(super) fn changes(pair: &Pair) -> usize {
    pair.responder_events.iter().filter(|event| event.starts_with("PathChanged")).count()
}

fn probe(pair: &mut Pair) {
    let now = pair.now;
    pair.client.probe(now);
    pair.run_for(Duration::from_secs(1));
}

/// Tests the second path and returns what was told.
pub(super) fn check(pair: &mut Pair) -> String {
    let (now, before) = (pair.now, pair.client_events.len());
    assert!(pair.client.check_path(path_from(SECOND), now));
    let is_told = |told: &String| told.starts_with("PathChecked") || told.starts_with("PathUnreachable");
    let done =
        pair.run_until(Duration::from_secs(40), |pair| pair.client_events[before..].iter().any(is_told));
    assert!(done, "{:?}", pair.client_events);
    pair.client_events[before..].iter().find(|told| is_told(told)).unwrap().clone()
}

/// Everything in an event's text but the round-trip time.
pub(super) fn mapping_of(told: &str) -> &str {
    let start = told.find("mapping: Some").unwrap_or_else(|| panic!("no mapping in {told}"));
    let end = told.find(", rtt").unwrap();
    &told[start..end]
}

pub(super) fn packets_run(pair: &mut Pair) {
    let count = |pair: &Pair| -> (u64, u64) {
        let sum =
            |plane: &pair::Plane| plane.inbound.values().map(|sa| sa.counters().snapshot().packets).sum();
        (sum(&pair.client_plane), sum(&pair.responder_plane))
    };
    let before = count(pair);
    pair.exchange_packets();
    pair.run_for(Duration::from_millis(100));
    let after = count(pair);
    assert!(after.0 > before.0 && after.1 > before.1, "{before:?} {after:?}");
}

#[test]
fn mapping_lost_while_idle_is_seen_on_the_next_dpd_and_the_responder_told() {
    let mut pair = connected(1, Some(Duration::from_secs(30)));
    pair.run_for(Duration::from_secs(20));
    assert_eq!(told(&pair, "MappingChanged"), 0);
    pair.nat.forget();
    let lost = pair.now;
    assert!(pair.run_until(Duration::from_secs(60), |pair| told(pair, "Migrated") == 1));
    assert!(pair.now - lost <= Duration::from_secs(31), "{:?}", pair.now - lost);
    assert_eq!(told(&pair, "MappingChanged"), 1);
    let main = pair.nat.outward(MAIN.parse().unwrap());
    assert_eq!(pair.responder_info().map(|info| info.path.remote), main);
    packets_run(&mut pair);
    // Nothing more follows from one change.
    pair.run_for(Duration::from_secs(300));
    assert_eq!((told(&pair, "MappingChanged"), told(&pair, "Migrated"), changes(&pair)), (1, 1, 1));
}

#[test]
fn each_ike_sa_learns_its_own_hash_and_a_rekey_is_no_change() {
    let mut pair = connected(2, Some(Duration::from_secs(30)));
    pair.run_for(Duration::from_secs(10));
    for round in 0..6 {
        let now = pair.now;
        if round % 2 == 0 {
            pair.client.rekey_ike(now);
        } else {
            pair.with_peer(|session| session.rekey_ike(now));
        }
        pair.run_for(Duration::from_secs(40));
        assert_eq!(told(&pair, "MappingChanged"), 0, "round {round}");
        // What the responder took down before is not comparable: it is to do so anew, once.
        assert_eq!(told(&pair, "Migrated"), round + 1, "round {round}");
    }
    // A change soon after a rekey is noticed, too.
    let now = pair.now;
    pair.client.rekey_ike(now);
    pair.run_for(Duration::from_secs(8));
    assert_eq!(told(&pair, "Migrated"), 7);
    pair.nat.forget();
    assert!(pair.run_until(Duration::from_secs(60), |pair| told(pair, "Migrated") == 8));
    assert_eq!(told(&pair, "MappingChanged"), 1);
    packets_run(&mut pair);
}

#[test]
fn a_mapping_that_is_lost_around_a_rekey_of_the_ike_sa_is_replaced_all_the_same() {
    for (ours, probes) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut pair = connected(12, Some(Duration::from_secs(30)));
        pair.run_for(Duration::from_secs(10));
        let first = pair.client.info().expect("established").spi_i;
        let now = pair.now;
        if ours {
            pair.nat.forget();
            pair.client.rekey_ike(now);
            pair.run_for(Duration::from_secs(1));
        } else {
            // What the responder asks comes in only as long as the mapping is there.
            pair.with_peer(|session| session.rekey_ike(now));
            pair.run_for(Duration::from_secs(1));
            pair.nat.forget();
        }
        assert_ne!(pair.client.info().expect("established").spi_i, first, "not rekeyed");
        if probes {
            // Whatever keeps the mapping alive may ask before the check that each IKE SA begins with.
            probe(&mut pair);
        }
        pair.run_for(Duration::from_secs(40));
        let main = pair.nat.outward(MAIN.parse().unwrap());
        assert_eq!(pair.responder_info().map(|info| info.path.remote), main, "ours {ours}, probes {probes}");
        packets_run(&mut pair);
        // One exchange for each rekey.
        let sent = pair.sent;
        pair.run_for(Duration::from_secs(20));
        assert!(pair.sent <= sent + 2, "{} datagrams", pair.sent - sent);
    }
}

#[test]
fn a_nat_that_changes_its_mind_with_every_packet_costs_one_update_in_ten_seconds() {
    let mut pair = connected(3, None);
    probe(&mut pair);
    pair.nat.restless = true;
    for _ in 0..200 {
        probe(&mut pair);
    }
    assert!(pair.client_failure.is_none(), "{:?}", pair.client_failure);
    let updates = told(&pair, "Migrated");
    assert!((15..=21).contains(&updates), "{updates} updates in 200 s");
    pair.nat.restless = false;
    pair.run_for(Duration::from_secs(15));
    probe(&mut pair);
    pair.run_for(Duration::from_secs(15));
    packets_run(&mut pair);
}

#[test]
fn an_answer_that_was_made_before_a_move_is_not_compared() {
    let mut pair = connected(4, None);
    probe(&mut pair);
    // The request arrives by the old link, its answer by the new one, a retransmission asking for it.
    pair.held = [true, false];
    let now = pair.now;
    pair.client.probe(now);
    pair.run_for(Duration::from_millis(20));
    pair.waiting.clear();
    pair.held = [false; 2];
    let now = pair.now;
    pair.client.migrate(path_from("192.168.2.5:40010"), now).expect("agreed");
    pair.run_for(Duration::from_secs(5));
    probe(&mut pair);
    assert_eq!((told(&pair, "MappingChanged"), told(&pair, "Migrated")), (0, 1));
}

#[test]
fn a_path_check_moves_nothing_and_tells_when_the_mapping_has_changed() {
    for seed in 0..20 {
        let mut pair = connected(50 + seed, None);
        let main = pair.responder_info().expect("established").path;
        let first = check(&mut pair);
        packets_run(&mut pair);
        let second = check(&mut pair);
        assert_eq!(mapping_of(&first), mapping_of(&second));
        pair.nat.drop_mapping(SECOND.parse().unwrap());
        let third = check(&mut pair);
        assert_ne!(mapping_of(&first), mapping_of(&third));
        packets_run(&mut pair);
        assert_eq!(pair.responder_info().expect("established").path, main);
        assert_eq!(pair.client.info().expect("established").path, path_from(MAIN));
        assert_eq!((changes(&pair), told(&pair, "Migrated")), (0, 0));
        // The SPIs of the IKE SA that the hash belongs to.
        let info = pair.client.info().expect("established");
        assert!(third.contains(&format!("spi_i: {:?}, spi_r: {:?}", info.spi_i, info.spi_r)), "{third}");
    }
}

#[test]
fn a_lost_path_check_ends_on_the_main_path_and_holds_nothing_up_for_long() {
    for dead in [true, false] {
        let mut pair = connected(5, None);
        if dead {
            pair.nat.dead.insert(SECOND.parse().unwrap());
        }
        let before = pair.now;
        let now = pair.now;
        assert!(pair.client.check_path(path_from(SECOND), now));
        pair.client.rekey_ike(now);
        assert!(pair.run_until(Duration::from_secs(5), |pair| told(pair, "IkeRekeyed") == 1));
        let limit = Duration::from_millis(if dead { 1600 } else { 100 });
        assert!(pair.now - before <= limit, "the rekey waited for {:?}", pair.now - before);
        assert_eq!(told(&pair, "PathUnreachable"), usize::from(dead));
        assert_eq!(told(&pair, "PathChecked"), usize::from(!dead));
        packets_run(&mut pair);
        assert_eq!(changes(&pair), 0);
    }
}

#[test]
fn path_checks_on_lossy_networks_all_end_and_never_name_the_wrong_mapping() {
    let mut unreachable = 0;
    for seed in 0..200 {
        let mut pair = connected(1000 + seed, None);
        let known = check(&mut pair);
        pair.network = Network { loss: 200, duplicates: 100, jitter_ms: 200, ..Network::default() };
        for _ in 0..3 {
            let told = check(&mut pair);
            if told.contains("mapping: Some") {
                assert_eq!(mapping_of(&told), mapping_of(&known), "seed {seed}");
            } else {
                unreachable += 1;
            }
        }
        assert_eq!(changes(&pair), 0, "seed {seed}");
    }
    assert!((1..300).contains(&unreachable), "{unreachable} of 600");
}

#[test]
fn a_late_answer_along_the_tested_path_names_no_mapping() {
    let mut pair = connected(11, None);
    let now = pair.now;
    pair.held = [true, true];
    assert!(pair.client.check_path(path_from(SECOND), now));
    pair.run_for(Duration::from_millis(1600));
    let copies: Vec<_> = pair.waiting.drain(..).collect();
    let (main, second) = (copies.last().unwrap().clone(), copies[0].clone());
    assert_eq!((main.path, second.path), (path_from(MAIN), path_from(SECOND)));
    // The responder sees the copy of the main path first, and answers the other with the same words.
    pair.held = [true, false];
    pair.launch(main);
    pair.run_for(Duration::from_millis(50));
    pair.launch(second);
    pair.run_for(Duration::from_millis(50));
    let answers: Vec<_> = pair.waiting.drain(..).filter(|flight| !flight.to_responder).collect();
    assert_eq!(answers[0].payload, answers[1].payload);
    pair.held = [false; 2];
    pair.launch(answers[1].clone());
    pair.run_for(Duration::from_millis(50));
    let event = pair.client_events.last().unwrap();
    assert!(event.starts_with("PathChecked") && event.contains("mapping: None"), "{event}");
}

#[test]
fn a_roam_does_not_wait_for_a_path_check() {
    let mut pair = connected(6, None);
    pair.nat.dead.insert(SECOND.parse().unwrap());
    let now = pair.now;
    assert!(pair.client.check_path(path_from(SECOND), now));
    pair.run_for(Duration::from_millis(100));
    let (now, before) = (pair.now, pair.now);
    pair.client.migrate(path_from("192.168.2.5:40010"), now).expect("agreed");
    assert!(pair.run_until(Duration::from_secs(5), |pair| told(pair, "Migrated") == 1));
    assert!(pair.now - before <= Duration::from_millis(60), "{:?}", pair.now - before);
    assert_eq!(told(&pair, "PathUnreachable"), 1);
    // Nor does the goodbye.
    let now = pair.now;
    assert!(pair.client.check_path(path_from(SECOND), now));
    pair.run_for(Duration::from_millis(100));
    let (now, before) = (pair.now, pair.now);
    pair.client.close(now);
    assert!(pair.run_until(Duration::from_secs(5), |pair| pair.client_failure.is_some()));
    assert!(pair.now - before <= Duration::from_millis(60), "{:?}", pair.now - before);
    assert!(matches!(pair.responder_failure, Some(Failure::PeerClosed)));
}

#[test]
fn a_path_check_is_no_sign_of_life_on_the_main_path() {
    let mut pair = connected(7, Some(Duration::from_secs(30)));
    pair.run_for(Duration::from_secs(10));
    // The main path dies; the second one stays good.
    pair.nat.dead.insert(MAIN.parse().unwrap());
    let silent = pair.now;
    while pair.client_failure.is_none() && pair.now - silent < Duration::from_secs(120) {
        let now = pair.now;
        pair.client.check_path(path_from(SECOND), now);
        pair.run_for(Duration::from_secs(5));
    }
    assert!(matches!(pair.client_failure, Some(Failure::PeerDead)), "{:?}", pair.client_failure);
    assert!(told(&pair, "PathChecked") >= 4);
}

#[test]
fn path_checks_are_bounded_and_only_for_those_who_may_lead() {
    let mut pair = connected(8, None);
    let now = pair.now;
    let path = |port: u16| path_from(&format!("192.168.1.5:{port}"));
    // The first is under way, four may wait.
    let queued: Vec<bool> = (1..=7).map(|port| pair.client.check_path(path(port), now)).collect();
    assert_eq!(queued, [true, true, true, true, true, false, false]);
    assert!(!pair.client.check_path(path(1), now), "under way already");
    assert!(!pair.client.check_path(path(2), now), "waiting already");
    pair.with_peer(|session| assert!(!session.check_path(path(9), now)));
    pair.run_for(Duration::from_secs(5));
    assert_eq!(told(&pair, "PathChecked"), 5);
    let now = pair.now;
    pair.client.close(now);
    assert!(!pair.client.check_path(path(1), now));

    let mut pair = Pair::new(Options::psk(9));
    let now = pair.now;
    assert!(!pair.client.check_path(path(1), now), "not established");
    pair.responder.set_faults(Faults { no_mobike: true, ..Faults::default() });
    pair.connect();
    let now = pair.now;
    assert!(!pair.client.check_path(path(1), now), "it would move the responder");
}

#[test]
fn the_fault_that_ignores_dpd_ignores_it_with_nat_detection_too() {
    let mut pair = connected(10, Some(Duration::from_secs(10)));
    pair.responder.set_faults(Faults { ignore_dpd: true, ..Faults::default() });
    assert!(pair.run_until(Duration::from_secs(60), |pair| pair.client_failure.is_some()));
    assert!(matches!(pair.client_failure, Some(Failure::PeerDead)));
}
