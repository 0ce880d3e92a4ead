//! Every crossing of exchanges that RFC 7296 §2.25 names, and their mixtures.

use super::*;
use crate::wire::EspSpi;
use std::time::Duration;

/// What one side starts while the other side starts something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    RekeyChild,
    DeleteChild,
    NewChild,
    RekeyIke,
    Close,
    Dpd,
}

pub(super) const ACTS: [Act; 6] =
    [Act::RekeyChild, Act::DeleteChild, Act::NewChild, Act::RekeyIke, Act::Close, Act::Dpd];

pub(super) fn perform(pair: &mut Pair, client: bool, act: Act) {
    let now = pair.now;
    let plane = if client { &pair.client_plane } else { &pair.responder_plane };
    let spi: Option<EspSpi> = plane.inbound.keys().next().copied();
    let start = move |session: &mut crate::ike::Session| match (act, spi) {
        (Act::RekeyChild, Some(spi)) => session.rekey_child(spi, now),
        (Act::DeleteChild, Some(spi)) => session.delete_child(spi, now),
        (Act::NewChild, _) => session.create_child(now),
        (Act::RekeyIke, _) => session.rekey_ike(now),
        (Act::Close, _) => session.close(now),
        (Act::Dpd, _) => session.probe(now),
        (Act::RekeyChild | Act::DeleteChild, None) => {}
    };
    if client {
        start(&mut pair.client);
    } else {
        pair.with_peer(start);
    }
}

/// Runs one crossing: both requests are on their way before either arrives. `late` lets one side's
/// datagrams arrive a long time after the other's.
fn cross(seed: u64, ours: Act, theirs: Act, late: Option<bool>) -> Pair {
    let mut pair = Pair::new(Options::psk(seed));
    pair.connect();
    pair.run_for(Duration::from_secs(1));
    pair.held = [true; 2];
    perform(&mut pair, true, ours);
    perform(&mut pair, false, theirs);
    pair.run_for(Duration::from_millis(20));
    match late {
        None => pair.release(),
        Some(to_responder) => {
            pair.held = [true; 2];
            pair.release_direction(!to_responder);
            pair.run_for(Duration::from_millis(300));
            pair.release();
        }
    }
    pair.run_for(Duration::from_secs(200));
    pair
}

/// After the dust has settled both sides agree on what exists.
pub(super) fn check_settled(pair: &mut Pair, what: &str) {
    let ended = (pair.client_failure.is_some(), pair.responder_failure.is_some());
    if ended.0 || ended.1 {
        assert_eq!(ended, (true, true), "{what}: one side thinks that it is still up");
        return;
    }
    let id = pair.session.expect("a session");
    let peer = pair.responder.sessions().find(|(session, _)| *session == id).expect("alive").1;
    let ours = pair.client.info().expect("established");
    let theirs = peer.info().expect("established");
    assert_eq!((ours.spi_i, ours.spi_r), (theirs.spi_i, theirs.spi_r), "{what}: different IKE SAs");
    let mut a: Vec<_> = pair.client.children().map(|child| (child.spi_in, child.spi_out)).collect();
    let mut b: Vec<_> = peer.children().map(|child| (child.spi_out, child.spi_in)).collect();
    a.sort();
    b.sort();
    assert_eq!(a, b, "{what}: different CHILD SAs\n{:#?}\n{:#?}", pair.client_events, pair.responder_events);
    let sets = (pair.client_plane.inbound.len(), pair.responder_plane.inbound.len());
    assert_eq!(sets, (a.len(), b.len()), "{what}: the planes hold others than the sessions");
    if !a.is_empty() {
        let before = counters(pair);
        pair.exchange_packets();
        pair.run_for(Duration::from_secs(1));
        let after = counters(pair);
        assert!(after.0 > before.0 && after.1 > before.1, "{what}: no traffic: {before:?} {after:?}");
    }
    // Still fit for another round.
    let now = pair.now;
    pair.client.rekey_ike(now);
    pair.run_for(Duration::from_secs(10));
    assert!(pair.client_failure.is_none(), "{what}: {:?}", pair.client_failure);
}

fn counters(pair: &Pair) -> (u64, u64) {
    let sum =
        |plane: &super::pair::Plane| plane.inbound.values().map(|sa| sa.counters().snapshot().packets).sum();
    (sum(&pair.client_plane), sum(&pair.responder_plane))
}

#[test]
fn every_crossing_of_two_exchanges_settles() {
    let mut seed = 1000;
    for ours in ACTS {
        for theirs in ACTS {
            for late in [None, Some(true), Some(false)] {
                // Several seeds, so that each side has the lowest nonce in turn.
                for _ in 0..6 {
                    seed += 1;
                    let what = format!("{ours:?} against {theirs:?}, late {late:?}, seed {seed}");
                    let mut pair = cross(seed, ours, theirs, late);
                    check_settled(&mut pair, &what);
                }
            }
        }
    }
}

#[test]
fn a_simultaneous_rekey_leaves_exactly_one_child_sa() {
    let mut losers = [0, 0];
    for seed in 0..40 {
        let mut pair = cross(seed, Act::RekeyChild, Act::RekeyChild, None);
        assert_eq!(pair.client.children().count(), 1, "seed {seed}");
        assert_eq!(pair.client_plane.installed, 3, "seed {seed}: the old one and two new ones");
        let redundant = |events: &[String]| events.iter().filter(|event| event.contains("Redundant")).count();
        losers[0] += redundant(&pair.client_events);
        losers[1] += redundant(&pair.responder_events);
        check_settled(&mut pair, "simultaneous rekey");
    }
    assert_eq!(losers[0] + losers[1], 40, "one redundant SA each time, deleted by its creator");
    assert!(losers[0] > 5 && losers[1] > 5, "each side loses at times: {losers:?}");
}

#[test]
fn a_simultaneous_ike_rekey_leaves_exactly_one_ike_sa() {
    let mut initiators = [0, 0];
    for seed in 0..40 {
        let mut pair = cross(seed, Act::RekeyIke, Act::RekeyIke, None);
        let info = pair.client.info().expect("established");
        initiators[usize::from(info.initiator)] += 1;
        check_settled(&mut pair, "simultaneous IKE rekey");
    }
    assert!(initiators[0] > 5 && initiators[1] > 5, "each side wins at times: {initiators:?}");
}

#[test]
fn crossings_settle_on_lossy_networks_too() {
    for seed in 0..300 {
        let pick = |n: u64| ACTS[usize::try_from(n).unwrap() % ACTS.len()];
        let mut pair = Pair::new(Options::psk(50_000 + seed));
        pair.connect();
        pair.network = Network { loss: 150, duplicates: 100, jitter_ms: 700, ..Network::default() };
        for round in 0..6 {
            if pair.client_failure.is_some() || pair.responder_failure.is_some() {
                break;
            }
            // Closing is left to the last round.
            let (ours, theirs) = (pick(seed / 3 + round), pick(seed / 7 + 2 * round));
            if (ours == Act::Close || theirs == Act::Close) && round < 5 {
                continue;
            }
            perform(&mut pair, true, ours);
            perform(&mut pair, false, theirs);
            pair.run_for(Duration::from_millis(700));
        }
        pair.run_for(Duration::from_secs(120));
        pair.network = Network { jitter_ms: 5, ..Network::default() };
        pair.run_for(Duration::from_secs(120));
        if pair.client_failure.is_none() && pair.responder_failure.is_none() {
            check_settled(&mut pair, &format!("lossy, seed {seed}"));
        }
    }
}
