//! The lifetime search behind simulated NATs.

use std::time::Duration;

use evenkeel_netprofile::defaults;
use evenkeel_netprofile::keepalive::{
    Action, Confidence, Config, InboundProbe, Method, PortAssignment, Remembered,
};

use crate::idle::{Idle, Surroundings};
use crate::nat::{Behaviour, Depends, Ports, Refresh};
use crate::table::{BOTH_METHODS, HASH_ALONE, INBOUND_ALONE, LIFETIMES};

const NOTHING: Config =
    Config { second_socket: false, inbound_probe: false, trust_hash_alone: false, remembered: None };

/// Runs for the stated learning time. What is proven must never pass the lifetime.
fn learn(behaviours: &[Behaviour], config: Config) -> Idle {
    let mut idle = Idle::new(behaviours, Surroundings::default(), config, 7);
    let lifetime = idle.nats.lifetime();
    idle.run_until(defaults::LEARNING_TIME, |idle| {
        let learned = idle.search.learned();
        let unproven = idle.losses == 0 && learned.interval <= defaults::FIRST_INTERVAL;
        assert!(learned.interval <= lifetime || unproven, "{learned:?} of {lifetime:?}");
    });
    idle
}

fn assert_learned(idle: &Idle) {
    let (interval, lifetime) = (idle.search.interval(), idle.nats.lifetime());
    let learned = idle.search.learned();
    assert!(interval <= lifetime && interval * 10 >= lifetime * 7, "{learned:?} of {lifetime:?}");
}

#[test]
fn a_nat_that_changes_ports_is_learned_by_hash_and_confirmed_by_one_inbound_packet() {
    for seconds in LIFETIMES {
        let idle = learn(&[Behaviour::plain(seconds, Ports::Random)], BOTH_METHODS);
        assert_learned(&idle);
        let learned = idle.search.learned();
        assert_eq!(
            (learned.confidence, learned.method, learned.ports),
            (Confidence::High, Some(Method::InboundAfterSilence), Some(PortAssignment::Changing))
        );
        assert!(idle.search.spent().inbound_probes <= 2, "one, and one more if a loss began the search anew");
    }
}

#[test]
fn a_port_preserving_nat_is_learned_by_inbound_packets() {
    for seconds in LIFETIMES {
        for config in [BOTH_METHODS, INBOUND_ALONE] {
            let idle = learn(&[Behaviour::plain(seconds, Ports::Preserving)], config);
            assert_learned(&idle);
            let learned = idle.search.learned();
            assert_eq!(
                (learned.confidence, learned.method),
                (Confidence::High, Some(Method::InboundAfterSilence))
            );
        }
    }
}

#[test]
fn equal_hashes_alone_prove_nothing() {
    for seconds in [10, 30, 120] {
        let idle = learn(&[Behaviour::plain(seconds, Ports::Preserving)], HASH_ALONE);
        assert!(idle.search.interval() <= defaults::FIRST_INTERVAL);
        assert_eq!(idle.search.learned().confidence, Confidence::Low);
    }
}

#[test]
fn another_uplink_seen_once_is_not_taken_for_a_nat_that_changes_ports() {
    let mut idle =
        Idle::new(&[Behaviour::plain(60, Ports::Preserving)], Surroundings::default(), HASH_ALONE, 6);
    // In the middle of the second silence.
    idle.run_until(Duration::from_secs(70), |_| {});
    idle.nats.0[0].address += 77;
    idle.run_until(defaults::LEARNING_TIME, |_| {});
    let learned = idle.search.learned();
    assert_eq!((learned.confidence, learned.ports), (Confidence::Low, None), "{learned:?}");
    assert!(learned.interval <= defaults::FIRST_INTERVAL);
}

#[test]
fn the_hash_alone_is_labelled_as_weaker() {
    for seconds in LIFETIMES {
        let idle = learn(&[Behaviour::plain(seconds, Ports::Random)], HASH_ALONE);
        assert_learned(&idle);
        let learned = idle.search.learned();
        assert_eq!((learned.confidence, learned.method), (Confidence::Medium, Some(Method::SecondSocket)));
    }
}

#[test]
fn of_two_nats_the_one_that_forgets_first_counts() {
    for (inner, outer) in [(30, 120), (120, 30), (60, 300), (300, 45), (10, 120)] {
        for ports in [
            [Ports::Preserving, Ports::Random],
            [Ports::Random, Ports::Preserving],
            [Ports::Preserving, Ports::Preserving],
            [Ports::Random, Ports::Random],
        ] {
            let nats = [Behaviour::plain(inner, ports[0]), Behaviour::plain(outer, ports[1])];
            // An inner NAT that forgets sooner than an outer default hides its losses until something is sent in.
            let around = Surroundings { inbound_every: Duration::from_secs(47), ..Surroundings::default() };
            let mut idle = Idle::new(&nats, around, BOTH_METHODS, 11);
            idle.run_until(defaults::LEARNING_TIME, |_| {});
            assert_learned(&idle);
        }
    }
}

#[test]
fn flows_that_live_longer_once_they_are_established_are_measured_established() {
    for ports in [Ports::Random, Ports::Preserving] {
        let linux = Behaviour { young: Some(Duration::from_secs(30)), ..Behaviour::plain(120, ports) };
        let idle = learn(&[linux], BOTH_METHODS);
        assert_learned(&idle);
    }
}

#[test]
fn a_nat_that_only_outbound_packets_refresh_is_kept_open() {
    for mapping in [Depends::EndpointIndependent, Depends::AddressDependent] {
        for ports in [Ports::Random, Ports::Preserving] {
            let nat = Behaviour {
                refresh: Refresh::Outbound,
                mapping,
                filtering: mapping,
                ..Behaviour::plain(60, ports)
            };
            let around = Surroundings { inbound_every: Duration::from_secs(13), ..Surroundings::default() };
            let mut idle = Idle::new(&[nat], around, BOTH_METHODS, 3);
            idle.run_until(defaults::LEARNING_TIME, |_| {});
            assert_learned(&idle);
            assert_eq!(idle.refused_inbound, 0, "what the gateway's side sends always gets in");
        }
    }
}

#[test]
fn a_lifetime_of_ten_seconds_is_found_from_the_first_lost_mapping() {
    let mut idle = Idle::new(&[Behaviour::plain(10, Ports::Random)], Surroundings::default(), HASH_ALONE, 5);
    let mut first = None;
    idle.run_until(Duration::from_secs(900), |idle| {
        let interval = idle.search.interval();
        if first.is_none() && idle.losses > 0 {
            first = Some(idle.elapsed());
        }
        assert!(first.is_none() || interval < Duration::from_secs(10), "{interval:?}");
        assert!(idle.losses <= 1, "lost once, and not again");
    });
    assert!(first.unwrap() < Duration::from_secs(70), "the first check of the live mapping shows it");
    assert_learned(&idle);
}

#[test]
fn without_any_method_the_default_stays_and_a_loss_shrinks_it() {
    let idle = learn(&[Behaviour::plain(60, Ports::Random)], NOTHING);
    assert_eq!(idle.search.interval(), defaults::FIRST_INTERVAL);
    let idle = learn(&[Behaviour::plain(10, Ports::Random)], NOTHING);
    assert_eq!(idle.search.interval(), Duration::from_secs(8));
    assert_eq!(idle.search.learned().method, Some(Method::Passive));
}

#[test]
fn a_lifetime_that_shrinks_under_a_learned_interval_is_learned_anew() {
    for ports in [Ports::Random, Ports::Preserving] {
        let around = Surroundings { inbound_every: Duration::from_secs(100), ..Surroundings::default() };
        let mut idle = Idle::new(&[Behaviour::plain(120, ports)], around, BOTH_METHODS, 9);
        idle.run_until(defaults::LEARNING_TIME, |_| {});
        assert_learned(&idle);
        idle.nats.0[0].behaviour.lifetime = (Duration::from_secs(45), Duration::from_secs(45));
        idle.run_until(defaults::LEARNING_TIME * 3, |_| {});
        assert_learned(&idle);
    }
}

#[test]
fn what_came_in_is_proven_again_each_hour_by_one_packet_and_a_shorter_lifetime_found_so() {
    let around = Surroundings { inbound_every: Duration::from_secs(1 << 20), ..Surroundings::default() };
    let mut idle = Idle::new(&[Behaviour::plain(120, Ports::Preserving)], around, INBOUND_ALONE, 9);
    idle.run_until(defaults::LEARNING_TIME, |_| {});
    assert_learned(&idle);
    let spent = idle.search.spent().inbound_probes;
    idle.run_until(defaults::LEARNING_TIME + 10 * defaults::RECALL_AFTER, |_| {});
    assert_learned(&idle);
    assert!((9..=11).contains(&(idle.search.spent().inbound_probes - spent)), "one an hour");
    // Nothing but that packet shows it.
    idle.nats.0[0].behaviour.lifetime = (Duration::from_secs(45), Duration::from_secs(45));
    let end = idle.elapsed() + defaults::RECALL_AFTER + Duration::from_secs(15 * 60);
    idle.run_until(end, |_| {});
    assert_eq!(idle.losses, 0);
    assert_learned(&idle);
    // And a day after the search began, it is begun anew: what has become longer is found as well.
    idle.nats.0[0].behaviour.lifetime = (Duration::from_secs(300), Duration::from_secs(300));
    let end = idle.elapsed() + defaults::RECHECK_AFTER + defaults::LEARNING_TIME;
    idle.run_until(end, |_| {});
    assert_learned(&idle);
}

#[test]
fn after_a_lost_keepalive_what_was_proven_is_tried_again_and_taken_back() {
    for (ports, config) in [(Ports::Random, HASH_ALONE), (Ports::Preserving, BOTH_METHODS)] {
        let mut idle = Idle::new(&[Behaviour::plain(120, ports)], Surroundings::default(), config, 8);
        idle.run_until(defaults::LEARNING_TIME, |_| {});
        let learned = idle.search.interval();
        idle.search.handle_mapping_lost(learned, idle.now);
        assert!(idle.search.interval() <= learned * 2 / 5, "at once");
        // Two silences of less than 120 s, one for each method, and the checks around them.
        let end = idle.elapsed() + Duration::from_secs(150);
        idle.run_until(end, |_| {});
        assert_eq!(idle.search.interval(), learned);
    }
}

#[test]
fn a_live_mapping_that_is_lost_again_and_again_is_believed_more_than_the_second_flow() {
    let mut idle = Idle::new(&[Behaviour::plain(120, Ports::Random)], Surroundings::default(), HASH_ALONE, 8);
    idle.run_until(defaults::LEARNING_TIME, |_| {});
    let learned = idle.search.interval();
    for _ in 0..2 {
        idle.search.handle_mapping_lost(learned, idle.now);
        let end = idle.elapsed() + Duration::from_secs(150);
        idle.run_until(end, |_| {});
    }
    assert!(idle.search.interval() <= learned * 4 / 5, "{:?}", idle.search.interval());
    let end = idle.elapsed() + defaults::CEILING_LIVES + defaults::LEARNING_TIME;
    idle.run_until(end, |_| {});
    assert_learned(&idle);
}

#[test]
fn a_report_that_comes_late_is_not_taken_for_the_next_ones() {
    let mut idle =
        Idle::new(&[Behaviour::plain(20, Ports::Random)], Surroundings::default(), INBOUND_ALONE, 8);
    let at = idle.now + defaults::IDLE_BEFORE_SEARCH;
    idle.search.handle_timeout(at);
    let Some(Action::ProbeInbound { id: late, silence }) = idle.search.poll_action(at) else {
        panic!("the first silence")
    };
    assert_eq!(silence, Duration::from_secs(30));
    // The mapping is lost meanwhile, and another silence begun.
    idle.search.handle_mapping_lost(Duration::from_secs(20), at);
    let Some(Action::ProbeInbound { id, .. }) = idle.search.poll_action(at) else { panic!("the second one") };
    assert_ne!(id, late);
    idle.search.handle_inbound_probe(late, InboundProbe::Arrived, at + silence);
    assert_eq!(idle.search.learned().lower, None);
    idle.search.handle_inbound_probe(id, InboundProbe::Arrived, at + silence);
    assert_eq!(idle.search.learned().lower, Some(Duration::from_secs(20)));
}

#[test]
fn a_remembered_lifetime_is_used_from_the_first_packet_and_verified_with_few() {
    for (ports, method, config) in [
        (Ports::Random, Method::SecondSocket, HASH_ALONE),
        (Ports::Preserving, Method::InboundAfterSilence, BOTH_METHODS),
    ] {
        let remembered = Remembered {
            lower: Some(Duration::from_secs(110)),
            upper: Some(Duration::from_secs(121)),
            method,
            confidence: Confidence::High,
            ports: None,
        };
        let config = Config { remembered: Some(remembered), ..config };
        let mut idle = Idle::new(&[Behaviour::plain(120, ports)], Surroundings::default(), config, 1);
        assert_eq!(idle.search.interval(), Duration::from_secs(88));
        idle.run_until(Duration::from_secs(600), |_| {});
        assert!(idle.search.learned().settled);
        assert_eq!(idle.search.interval(), Duration::from_secs(88));
        let spent = idle.search.spent();
        assert!(spent.checks + spent.inbound_probes <= 3, "{spent:?}");
    }
}

#[test]
fn a_wrong_memory_is_corrected_within_one_step() {
    let remembered = Remembered {
        lower: Some(Duration::from_secs(110)),
        upper: None,
        method: Method::SecondSocket,
        confidence: Confidence::Medium,
        ports: Some(PortAssignment::Changing),
    };
    let config = Config { remembered: Some(remembered), ..BOTH_METHODS };
    let mut idle = Idle::new(&[Behaviour::plain(45, Ports::Random)], Surroundings::default(), config, 1);
    idle.run_until(Duration::from_secs(135), |_| {});
    assert!(idle.search.interval() <= Duration::from_secs(45), "{:?}", idle.search.interval());
    idle.run_until(defaults::LEARNING_TIME, |_| {});
    assert_learned(&idle);
}

#[test]
fn a_nat_that_has_come_to_keep_its_ports_is_not_taken_for_one_that_forgets_nothing() {
    for confidence in [Confidence::Low, Confidence::Medium] {
        let remembered = Remembered {
            lower: Some(Duration::from_secs(60)),
            upper: Some(Duration::from_secs(75)),
            method: Method::SecondSocket,
            confidence,
            ports: Some(PortAssignment::Changing),
        };
        let config = Config { remembered: Some(remembered), ..HASH_ALONE };
        let nat = Behaviour::plain(120, Ports::Preserving);
        let mut idle = Idle::new(&[nat], Surroundings::default(), config, 1);
        idle.run_until(3 * defaults::RECHECK_AFTER, |idle| {
            let learned = idle.search.learned();
            assert!(learned.interval <= Duration::from_secs(60), "{learned:?}");
        });
        assert_eq!(idle.search.learned().ports, None);
    }
}

#[test]
fn a_short_lifetime_that_nothing_but_a_loss_has_shown_is_not_lost_again_on_the_next_visit() {
    let nats = [Behaviour::plain(10, Ports::Random)];
    let learned = learn(&nats, NOTHING).search.learned();
    let remembered = Remembered {
        lower: learned.lower,
        upper: learned.upper,
        method: learned.method.unwrap(),
        confidence: learned.confidence,
        ports: learned.ports,
    };
    let config = Config { remembered: Some(remembered), ..NOTHING };
    let mut idle = Idle::new(&nats, Surroundings::default(), config, 1);
    idle.run_until(Duration::from_secs(3600), |_| {});
    assert_eq!((idle.search.interval(), idle.losses), (Duration::from_secs(8), 0));
}

#[test]
fn a_nat_that_changes_its_mind_each_minute_is_never_pinned() {
    for ports in [Ports::Random, Ports::Preserving] {
        let around = Surroundings { inbound_every: Duration::from_secs(20), ..Surroundings::default() };
        let nat = Behaviour { refresh: Refresh::Outbound, ..Behaviour::plain(120, ports) };
        let mut idle = Idle::new(&[nat], around, BOTH_METHODS, 2);
        for minute in 1..=240_u64 {
            let lifetime = Duration::from_secs(if minute % 2 == 0 { 25 } else { 120 });
            idle.nats.0[0].behaviour.lifetime = (lifetime, lifetime);
            idle.run_until(Duration::from_secs(60 * minute), |_| {});
        }
        let hours = 4;
        let spent = idle.search.spent();
        assert!(spent.checks <= defaults::CHECKS_PER_HOUR * (hours + 1), "{spent:?}");
        assert!(spent.inbound_probes <= defaults::INBOUND_PROBES_PER_HOUR * (hours + 1), "{spent:?}");
        // It makes up its mind: whatever was believed does not outlast one search.
        let lifetime = Duration::from_secs(60);
        idle.nats.0[0].behaviour.lifetime = (lifetime, lifetime);
        let since = idle.elapsed();
        idle.run_until(since + defaults::LEARNING_TIME + defaults::DOUBTFUL_RECHECK_AFTER * 4, |_| {});
        assert_learned(&idle);
    }
}

#[test]
fn a_search_keeps_its_budget_and_the_live_mapping_carries_keepalives_alone() {
    for seconds in LIFETIMES {
        for ports in [Ports::Random, Ports::Preserving] {
            let idle = learn(&[Behaviour::plain(seconds, ports)], BOTH_METHODS);
            let spent = idle.search.spent();
            assert!(spent.checks <= 50 && spent.inbound_probes <= 20, "{seconds} {ports:?}: {spent:?}");
        }
    }
}

#[test]
fn nothing_is_begun_while_the_tunnel_is_busy() {
    let mut idle =
        Idle::new(&[Behaviour::plain(60, Ports::Random)], Surroundings::default(), BOTH_METHODS, 4);
    for second in 1..600 {
        idle.search.handle_traffic(idle.now);
        idle.search.handle_timeout(idle.now);
        idle.run_until(Duration::from_secs(3 + second), |_| {});
    }
    assert_eq!(idle.search.spent().checks, 0);
    let end = idle.elapsed() + Duration::from_secs(11);
    idle.run_until(end, |_| {});
    assert_eq!(idle.search.spent().checks, 1);
}
