//! Delayed checks: what they show, and what they never do.

use super::mappings::{MAIN, SECOND, changes, check, connected, mapping_of, packets_run, path_from, told};
use super::*;
use crate::ike::{Failure, Faults};
use std::net::SocketAddr;
use std::time::Duration;

const SECONDS: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_secs(30);

/// Uses the second path, and again three seconds later to ask for a check after `delay`. Whether that was taken.
fn ask(pair: &mut Pair, delay: Duration) -> bool {
    check(pair);
    pair.run_for(3 * SECONDS);
    let now = pair.now;
    pair.client.ask_delayed_check(path_from(SECOND), delay, now)
}

/// What became of the checks, in order.
fn outcomes(pair: &Pair) -> Vec<String> {
    let of = |told: &String| Some(told.split_once("DelayedCheck {")?.1.split_once("outcome: ")?.1.to_owned());
    pair.client_events.iter().filter_map(of).collect()
}

/// What becomes of the next check, if anything does within `limit`.
fn outcome(pair: &mut Pair, limit: Duration) -> Option<String> {
    let before = outcomes(pair).len();
    pair.run_until(limit, |pair| outcomes(pair).len() > before);
    outcomes(pair).get(before).cloned()
}

/// The time in an outcome, in seconds.
fn seconds(outcome: &str) -> f64 {
    let time = outcome.split_once(": ").unwrap().1.split_once(' ').unwrap().0;
    match time.strip_suffix("ms") {
        Some(millis) => millis.parse::<f64>().unwrap() / 1000.0,
        None => time.strip_suffix('s').unwrap().parse().unwrap(),
    }
}

/// How long before now the NAT carried something for the second path.
fn before_now(pair: &Pair) -> Duration {
    let uses = &pair.uses[&SECOND.parse().unwrap()];
    pair.now - *uses.iter().rfind(|at| **at < pair.now).unwrap()
}

fn assert_nothing_moved(pair: &Pair) {
    assert_eq!((changes(pair), told(pair, "Migrated")), (0, 0));
    assert_eq!(pair.client.info().expect("established").path, path_from(MAIN));
    let main = pair.nat.mapped(MAIN.parse().unwrap());
    assert_eq!(Some(pair.responder_info().expect("established").path.remote), main);
}

#[test]
fn a_check_comes_in_along_its_path_after_the_silence_and_moves_nothing() {
    for seed in 0..20 {
        let mut pair = connected(seed, None);
        assert!(pair.client.info().expect("established").delayed_checks);
        assert!(ask(&mut pair, SILENCE));
        pair.run_for(SECONDS);
        let sent = pair.sent;
        assert!(outcome(&mut pair, 28 * SECONDS).is_none());
        assert_eq!(pair.sent, sent, "it is no silence");
        let told = outcome(&mut pair, 3 * SECONDS).expect("an outcome");
        assert!(told.starts_with("Arrived") && (seconds(&told) - 30.0).abs() < 0.02, "{told}");
        packets_run(&mut pair);
        assert_nothing_moved(&pair);
        // One question, one answer.
        assert_eq!(outcome(&mut pair, 400 * SECONDS), None);
    }
}

#[test]
fn a_mapping_that_died_and_has_its_port_again_is_found_out_by_the_check_alone() {
    let mut pair = connected(30, None);
    pair.nat.keeps_ports = true;
    let before = check(&mut pair);
    assert!(ask(&mut pair, SILENCE));
    pair.run_for(20 * SECONDS);
    pair.nat.drop_mapping(SECOND.parse().unwrap());
    let told = outcome(&mut pair, 15 * SECONDS).expect("an outcome");
    assert!(told.starts_with("Elsewhere") && (seconds(&told) - 30.0).abs() < 0.02, "{told}");
    let after = check(&mut pair);
    assert_eq!(mapping_of(&before), mapping_of(&after), "the hash shows nothing");
    packets_run(&mut pair);
    assert_nothing_moved(&pair);
}

#[test]
fn on_lossy_networks_no_check_ever_shows_a_dead_mapping_alive_nor_a_silence_that_was_none() {
    let [mut arrived, mut elsewhere, mut void] = [0; 3];
    for seed in 0..300 {
        let mut pair = connected(2000 + seed, None);
        pair.nat.keeps_ports = true;
        pair.network = Network { loss: 150, duplicates: 100, jitter_ms: 300, ..Network::default() };
        for round in 0..3 {
            let dies = (seed + round) % 2 == 0;
            check(&mut pair);
            pair.run_for(3 * SECONDS);
            let (now, before) = (pair.now, outcomes(&pair).len());
            assert!(pair.client.ask_delayed_check(path_from(SECOND), 10 * SECONDS, now));
            pair.run_for(9 * SECONDS);
            if dies {
                pair.nat.drop_mapping(SECOND.parse().unwrap());
            }
            pair.run_until(40 * SECONDS, |pair| outcomes(pair).len() > before);
            let told = outcomes(&pair).get(before).cloned().unwrap_or_else(|| panic!("seed {seed}: nothing"));
            if told.starts_with("Arrived") {
                arrived += 1;
                assert!(!dies, "seed {seed}: {told}");
                // Duplicates of the network's own, of which nobody can know, come up to a round trip later.
                let silence = before_now(&pair).as_secs_f64() + 0.65;
                assert!(seconds(&told) <= silence, "seed {seed}: {told} of {silence}");
            } else if told.starts_with("Elsewhere") {
                elsewhere += 1;
            } else {
                void += 1;
            }
        }
        assert!(pair.client_failure.is_none() && pair.responder_failure.is_none(), "seed {seed}");
        pair.network = Network::default();
        packets_run(&mut pair);
        assert_nothing_moved(&pair);
    }
    assert!(arrived > 300 && elsewhere > 300 && void > 0, "{arrived} {elsewhere} {void}");
}

#[test]
fn on_slow_networks_answers_to_repetitions_are_no_part_of_the_silence() {
    let mut repeated = 0;
    for seed in 0..100 {
        let mut pair = connected(3000 + seed, None);
        pair.network.latency_ms = 190 + u32::try_from(seed).unwrap();
        check(&mut pair);
        pair.run_for(3 * SECONDS);
        let (now, before) = (pair.now, pair.sent);
        assert!(pair.client.ask_delayed_check(path_from(SECOND), 10 * SECONDS, now));
        pair.run_for(5 * SECONDS);
        repeated += u32::from(pair.sent - before > 2);
        let told = outcome(&mut pair, 10 * SECONDS).expect("an outcome");
        // Round trips differ by a few milliseconds.
        let silence = before_now(&pair).as_secs_f64() + 0.02;
        assert!(told.starts_with("Arrived") && seconds(&told) <= silence, "seed {seed}: {told} of {silence}");
        // Nor is much of it given away.
        assert!(seconds(&told) >= 8.0, "seed {seed}: {told} of {silence}");
    }
    assert!((30..100).contains(&repeated), "{repeated} of 100");
}

#[test]
fn a_check_outlives_the_ike_sa_that_it_was_asked_for_on() {
    for by_client in [true, false] {
        let mut pair = connected(40, None);
        assert!(ask(&mut pair, SILENCE));
        pair.run_for(10 * SECONDS);
        let now = pair.now;
        if by_client {
            pair.client.rekey_ike(now);
        } else {
            pair.with_peer(|session| session.rekey_ike(now));
        }
        let told_of = outcome(&mut pair, 25 * SECONDS).expect("an outcome");
        assert!(told_of.starts_with("Arrived"), "{told_of}");
        assert_eq!(told(&pair, "IkeRekeyed"), 1);
        assert_nothing_moved(&pair);
    }
}

#[test]
fn a_check_that_is_under_way_when_its_ike_sa_is_replaced_is_sent_on_the_new_one() {
    let mut pair = connected(41, None);
    assert!(ask(&mut pair, SILENCE));
    pair.run_for(29 * SECONDS);
    // The check itself is lost; what the client does reaches the gateway, and so does everything after that.
    let start = pair.now;
    pair.held = [true, false];
    pair.run_for(Duration::from_millis(1200));
    pair.waiting.clear();
    let now = pair.now;
    pair.client.rekey_ike(now);
    pair.held = [false; 2];
    let told_of = outcome(&mut pair, 10 * SECONDS).expect("an outcome");
    assert!(told_of.starts_with("Arrived"), "{told_of}");
    assert!(pair.now > start + SECONDS && told(&pair, "IkeRekeyed") == 1);
    packets_run(&mut pair);
}

#[test]
fn a_check_that_waited_for_the_window_says_how_much_longer_the_silence_was() {
    for dies in [true, false] {
        let mut pair = connected(52, None);
        assert!(ask(&mut pair, SILENCE));
        pair.run_for(28 * SECONDS);
        pair.held = [true, false];
        let now = pair.now;
        pair.with_peer(|session| session.probe(now));
        pair.run_for(10 * SECONDS);
        if dies {
            pair.nat.drop_mapping(SECOND.parse().unwrap());
        }
        pair.release();
        let told = outcome(&mut pair, 10 * SECONDS).expect("an outcome");
        assert!(told.starts_with(if dies { "Elsewhere" } else { "Arrived" }), "{told}");
        assert!((37.9..39.0).contains(&seconds(&told)), "{told}");
    }
}

#[test]
fn an_end_of_the_session_ends_the_check() {
    for by_client in [true, false] {
        let mut pair = connected(42, None);
        assert!(ask(&mut pair, SILENCE));
        pair.run_for(5 * SECONDS);
        let now = pair.now;
        if by_client {
            pair.client.close(now);
        } else {
            pair.with_peer(|session| session.close(now));
        }
        pair.run_for(5 * SECONDS);
        assert!(pair.client_failure.is_some() && pair.responder_failure.is_some());
        let sent = pair.sent;
        pair.run_for(60 * SECONDS);
        assert_eq!((pair.sent, outcomes(&pair).len()), (sent, 0));
        let now = pair.now;
        assert!(!pair.client.ask_delayed_check(path_from(SECOND), SILENCE, now));
    }
}

#[test]
fn a_client_that_asks_without_end_is_sent_one_check() {
    let mut pair = connected(43, None);
    check(&mut pair);
    let before = pair.sent;
    for _ in 0..500 {
        let now = pair.now;
        assert!(pair.client.ask_delayed_check(path_from(SECOND), 2 * SECONDS, now));
        pair.run_for(Duration::from_millis(100));
    }
    // A request and an answer each, and not one check.
    assert_eq!((pair.sent - before, outcomes(&pair).len()), (1000, 0));
    assert!(outcome(&mut pair, 3 * SECONDS).is_some_and(|told| told.starts_with("Arrived")));
    assert_eq!(outcome(&mut pair, 400 * SECONDS), None);
    assert_eq!(pair.sent - before, 1002);
}

#[test]
fn a_delay_without_use_is_refused() {
    for (delay, is_granted) in [(999, false), (1000, true), (310_000, true), (310_001, false)] {
        let mut pair = connected(44, None);
        assert!(ask(&mut pair, Duration::from_millis(delay)));
        let told = outcome(&mut pair, SECONDS / 2);
        let expected = (!is_granted).then_some("Void");
        assert_eq!(told.as_deref().map(|told| told.trim_end_matches(" }")), expected, "{delay} ms");
    }
}

#[test]
fn nobody_is_asked_who_has_not_agreed() {
    let unable = |faults: Faults, mobike: bool| {
        let mut options = Options::psk(45);
        options.mobike = mobike;
        let mut pair = Pair::new(options);
        pair.responder.set_faults(faults);
        pair.connect();
        let now = pair.now;
        let is_told = pair.client.info().expect("established").delayed_checks;
        assert_eq!(pair.responder_info().expect("established").delayed_checks, is_told);
        let is_asked = pair.client.ask_delayed_check(path_from(SECOND), SILENCE, now);
        pair.with_peer(|session| assert!(!session.ask_delayed_check(path_from(SECOND), SILENCE, now)));
        (is_told, is_asked)
    };
    assert_eq!(unable(Faults::default(), true), (true, true));
    assert_eq!(unable(Faults { no_delayed_checks: true, ..Faults::default() }, true), (false, false));
    assert_eq!(unable(Faults { no_mobike: true, ..Faults::default() }, true), (false, false));
    assert_eq!(unable(Faults::default(), false), (false, false));
}

#[test]
fn a_peer_that_promises_and_does_nothing_harms_nothing() {
    let mut pair = connected(46, None);
    pair.responder.set_faults(Faults { ignore_delayed_checks: true, ..Faults::default() });
    assert!(ask(&mut pair, 5 * SECONDS));
    assert_eq!(outcome(&mut pair, 120 * SECONDS), None);
    packets_run(&mut pair);
    // What is asked next is another matter.
    pair.responder.set_faults(Faults::default());
    assert!(ask(&mut pair, 5 * SECONDS));
    assert!(outcome(&mut pair, 6 * SECONDS).is_some_and(|told| told.starts_with("Arrived")));
}

#[test]
fn a_request_that_does_not_get_through_along_its_path_shows_nothing() {
    let mut pair = connected(47, None);
    check(&mut pair);
    pair.nat.dead.insert(SECOND.parse().unwrap());
    let now = pair.now;
    assert!(pair.client.ask_delayed_check(path_from(SECOND), 5 * SECONDS, now));
    let told = outcome(&mut pair, 3 * SECONDS).expect("an outcome");
    assert!(told.starts_with("Void"), "{told}");
    // The gateway was asked along the main path, and does as asked there.
    assert_eq!(outcome(&mut pair, 60 * SECONDS), None);
    assert_nothing_moved(&pair);
}

#[test]
fn another_mapping_or_another_network_voids_what_was_asked() {
    let mut pair = connected(48, None);
    pair.client.probe(pair.now);
    assert!(ask(&mut pair, SILENCE));
    pair.run_for(5 * SECONDS);
    pair.nat.forget();
    pair.client.probe(pair.now);
    let told_of = outcome(&mut pair, SECONDS).expect("an outcome");
    assert!(told_of.starts_with("Void") && told(&pair, "MappingChanged") == 1, "{told_of}");
    assert_eq!(outcome(&mut pair, 60 * SECONDS), None);

    let mut pair = connected(49, None);
    assert!(ask(&mut pair, SILENCE));
    pair.run_for(5 * SECONDS);
    let now = pair.now;
    pair.client.migrate(path_from("192.168.2.5:40010"), now).expect("agreed");
    assert!(outcome(&mut pair, SECONDS).is_some_and(|told| told.starts_with("Void")));
    pair.run_for(SECONDS);
    let sent = pair.sent;
    pair.run_for(60 * SECONDS);
    assert_eq!(pair.sent, sent, "the gateway goes on about a network that was left");
    packets_run(&mut pair);
}

#[test]
fn a_delayed_check_is_no_sign_of_life_on_the_main_path() {
    let mut pair = connected(50, Some(30 * SECONDS));
    pair.run_for(10 * SECONDS);
    pair.nat.dead.insert(MAIN.parse().unwrap());
    let silent = pair.now;
    while pair.client_failure.is_none() && pair.now - silent < 120 * SECONDS {
        let now = pair.now;
        pair.client.ask_delayed_check(path_from(SECOND), 2 * SECONDS, now);
        pair.run_for(5 * SECONDS);
    }
    assert!(matches!(pair.client_failure, Some(Failure::PeerDead)), "{:?}", pair.client_failure);
    assert!(outcomes(&pair).iter().filter(|told| told.starts_with("Arrived")).count() >= 4);
}

#[test]
fn a_client_that_sleeps_when_the_check_comes_still_has_its_session_afterwards() {
    let mut pair = connected(51, None);
    assert!(ask(&mut pair, SILENCE));
    pair.run_for(5 * SECONDS);
    pair.nat.dead.extend([MAIN, SECOND].map(|link| link.parse::<SocketAddr>().unwrap()));
    pair.run_for(3600 * SECONDS);
    let sent = pair.sent;
    pair.run_for(8 * 3600 * SECONDS);
    assert_eq!(pair.sent, sent, "nobody listens");
    pair.nat.dead.clear();
    pair.client.probe(pair.now);
    assert!(outcome(&mut pair, SECONDS).is_some_and(|told| told.starts_with("Elsewhere")));
    packets_run(&mut pair);
    // The gateway's window is free again.
    let now = pair.now;
    pair.with_peer(|session| session.rekey_ike(now));
    assert!(pair.run_until(SECONDS, |pair| told(pair, "IkeRekeyed") == 1));
}
