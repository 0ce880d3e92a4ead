//! Rekeying, deletion and liveness without collisions.

use super::*;
use crate::ike::{Failure, Faults, Timers};
use crate::wire::{Envelope, NotifyType};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

fn timers(rekey: u64) -> Timers {
    Timers {
        ike_rekey: Some(Duration::from_secs(rekey)),
        child_rekey: Some(Duration::from_secs(rekey)),
        dpd_after: Some(Duration::from_secs(30)),
        ..Timers::default()
    }
}

/// Keeps packets going both ways; `Plane::receive` panics on any that cannot be opened.
fn traffic_for(pair: &mut Pair, seconds: u64) {
    for _ in 0..seconds * 20 {
        pair.exchange_packets();
        pair.run_for(Duration::from_millis(50));
        assert!(pair.client_failure.is_none(), "{:?}", pair.client_failure);
    }
}

#[test]
fn both_sas_rekey_under_traffic_and_nothing_is_lost() {
    for seed in 0..20 {
        let loss = if seed % 2 == 0 { 0 } else { 50 };
        let network = Network { loss, duplicates: 20, jitter_ms: 60, ..Network::default() };
        let mut pair = Pair::new(Options { timers: timers(10), network, ..Options::psk(seed) });
        pair.connect();
        traffic_for(&mut pair, 60);
        let rekeys = pair.client_events.iter().filter(|event| event.starts_with("IkeRekeyed")).count();
        assert!(rekeys >= 4, "seed {seed}: the IKE SA was rekeyed {rekeys} times");
        assert!(pair.client_plane.installed >= 5, "seed {seed}: {} CHILD SAs", pair.client_plane.installed);
        assert!(pair.client_plane.inbound.len() <= 3, "old CHILD SAs go away");
    }
}

#[test]
fn the_gateway_rekeys_both_sas_under_traffic() {
    let mut pair = Pair::new(Options::psk(40));
    pair.connect();
    for _ in 0..5 {
        let now = pair.now;
        let spi = pair.responder_plane.inbound.keys().next().copied().expect("a CHILD SA");
        pair.with_peer(|session| session.rekey_child(spi, now));
        traffic_for(&mut pair, 2);
        let now = pair.now;
        pair.with_peer(|session| session.rekey_ike(now));
        traffic_for(&mut pair, 4);
    }
    assert_eq!(pair.client_plane.installed, 6);
    assert_eq!(pair.client_plane.inbound.len(), 1);
    let info = pair.client.info().expect("established");
    assert!(!info.initiator, "the gateway initiated the current IKE SA");
}

#[test]
fn rekey_with_pfs_uses_the_group() {
    use crate::crypto::{EspProposals, Group};
    let esp = EspProposals(vec!["aes256gcm16-x25519".parse().unwrap()]);
    let mut pair =
        Pair::new(Options { esp: esp.clone(), responder_esp: esp, timers: timers(5), ..Options::psk(41) });
    pair.connect();
    traffic_for(&mut pair, 12);
    let child = pair.client.children().next().expect("a CHILD SA");
    assert_eq!(child.group, Some(Group::X25519));
}

#[test]
fn a_pfs_group_that_the_gateway_wants_is_learned_from_invalid_ke() {
    use crate::crypto::{EspProposals, Group};
    let esp = EspProposals(vec!["aes256gcm16-x25519-ecp256".parse().unwrap()]);
    let responder_esp = EspProposals(vec!["aes256gcm16-ecp256".parse().unwrap()]);
    let mut pair = Pair::new(Options { esp, responder_esp, timers: timers(5), ..Options::psk(42) });
    pair.connect();
    traffic_for(&mut pair, 7);
    let child = pair.client.children().next().expect("a CHILD SA");
    assert_eq!(child.group, Some(Group::P256));
}

#[test]
fn a_refused_rekey_is_reported_and_the_sa_lives_on() {
    let mut pair = Pair::new(Options { timers: timers(10), ..Options::psk(43) });
    pair.connect();
    pair.responder.set_faults(Faults {
        reject_child_rekey: Some(NotifyType::NoProposalChosen),
        reject_ike_rekey: Some(NotifyType::NoProposalChosen),
        ..Faults::default()
    });
    traffic_for(&mut pair, 15);
    assert!(
        pair.client_events.iter().any(|event| event.starts_with("RekeyFailed") && event.contains("Child"))
    );
    assert!(pair.client_events.iter().any(|event| event.starts_with("RekeyFailed") && event.contains("Ike")));
    pair.responder.set_faults(Faults::default());
    traffic_for(&mut pair, 30);
    assert!(pair.client_plane.installed >= 2, "tried again");
}

#[test]
fn temporary_failure_delays_a_rekey() {
    let mut pair = Pair::new(Options { timers: timers(5), ..Options::psk(44) });
    pair.connect();
    pair.responder.set_faults(Faults {
        reject_child_rekey: Some(NotifyType::TemporaryFailure),
        reject_ike_rekey: Some(NotifyType::TemporaryFailure),
        ..Faults::default()
    });
    traffic_for(&mut pair, 8);
    assert_eq!(pair.client_plane.installed, 1);
    pair.responder.set_faults(Faults::default());
    traffic_for(&mut pair, 5);
    assert!(pair.client_plane.installed >= 2);
    assert!(pair.client_events.iter().any(|event| event.starts_with("IkeRekeyed")));
}

#[test]
fn a_child_sa_that_the_gateway_lost_is_created_anew() {
    let mut pair = Pair::new(Options { timers: timers(5), ..Options::psk(45) });
    pair.connect();
    pair.responder
        .set_faults(Faults { reject_child_rekey: Some(NotifyType::ChildSaNotFound), ..Faults::default() });
    pair.run_for(Duration::from_secs(7));
    assert!(pair.client_events.iter().any(|event| event.contains("Lost")), "{:?}", pair.client_events);
    assert_eq!(pair.client_plane.installed, 2);
    assert_eq!(pair.client.children().count(), 1);
}

#[test]
fn an_sa_that_ends_by_itself_sends_no_second_request_into_a_window_of_one() {
    for busy in [true, false] {
        let mut options = Options { timers: timers(20), ..Options::psk(54) };
        (options.timers.ike_rekey, options.timers.dpd_after) = (None, None);
        let mut pair = Pair::new(options);
        pair.connect();
        pair.responder.set_faults(Faults {
            reject_child_rekey: Some(NotifyType::NoProposalChosen),
            ..Faults::default()
        });
        // It lives for a minute more than until its rekey.
        pair.run_for(Duration::from_secs(65));
        assert!(pair.client_failure.is_none(), "{:?}", pair.client_failure);
        let sent = Rc::new(RefCell::new(Vec::new()));
        let (log, mut held) = (Rc::clone(&sent), busy);
        pair.filter = Some(Box::new(move |to_responder, datagram| {
            let header =
                Envelope::parse(datagram.get(4..).unwrap_or_default()).map(|envelope| envelope.header);
            if let Ok(header) = header
                && to_responder
                && !header.response
            {
                log.borrow_mut().push(header.message_id);
            }
            std::mem::replace(&mut held, busy)
        }));
        if busy {
            let now = pair.now;
            pair.client.probe(now);
        }
        pair.run_until(Duration::from_secs(30), |pair| pair.client_failure.is_some());
        assert!(matches!(pair.client_failure, Some(Failure::RekeyRefused)), "{:?}", pair.client_failure);
        pair.run_for(Duration::from_secs(1));
        let mut sent = sent.borrow().clone();
        sent.dedup();
        if busy {
            assert_eq!(sent.len(), 1, "the window is one: {sent:?}");
        } else {
            assert!(pair.responder_failure.is_some(), "the peer was not told");
        }
    }
}

#[test]
fn closing_is_acknowledged_and_both_sides_end() {
    let mut pair = Pair::new(Options::psk(46));
    pair.connect();
    let now = pair.now;
    pair.client.close(now);
    assert!(pair.run_until(Duration::from_secs(1), |pair| pair.client_failure.is_some()));
    assert!(matches!(pair.client_failure, Some(Failure::LocalClose)));
    assert!(matches!(pair.responder_failure, Some(Failure::PeerClosed)));
}

#[test]
fn closing_does_not_wait_for_a_dead_peer() {
    let mut pair = Pair::new(Options::psk(47));
    pair.connect();
    pair.network.loss = 1000;
    let now = pair.now;
    pair.client.close(now);
    assert!(pair.run_until(Duration::from_secs(3), |pair| pair.client_failure.is_some()));
    assert!(matches!(pair.client_failure, Some(Failure::LocalClose)));
}

#[test]
fn the_gateways_delete_ends_the_session() {
    let mut pair = Pair::new(Options::psk(48));
    pair.connect();
    let now = pair.now;
    pair.with_peer(|session| session.close(now));
    assert!(pair.run_until(Duration::from_secs(1), |pair| pair.client_failure.is_some()));
    assert!(matches!(pair.client_failure, Some(Failure::PeerClosed)));
}

#[test]
fn a_deleted_child_sa_can_be_created_again() {
    let mut pair = Pair::new(Options::psk(49));
    pair.connect();
    let now = pair.now;
    let spi = pair.responder_plane.inbound.keys().next().copied().expect("a CHILD SA");
    pair.with_peer(|session| session.delete_child(spi, now));
    pair.run_for(Duration::from_secs(5));
    assert!(pair.client_events.iter().any(|event| event.contains("PeerDeleted")));
    assert_eq!(pair.client.children().count(), 0);
    let now = pair.now;
    pair.client.create_child(now);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.client.children().count(), 1);
    pair.exchange_packets();
    pair.run_for(Duration::from_secs(1));
}

#[test]
fn dpd_finds_a_dead_gateway_and_esp_defers_it() {
    let mut options = Options::psk(50);
    options.timers.dpd_after = Some(Duration::from_secs(10));
    let mut pair = Pair::new(options);
    pair.connect();
    // Past the look at the NAT's mapping that each IKE SA begins with.
    pair.run_for(Duration::from_secs(6));
    let before = pair.sent;
    for _ in 0..30 {
        pair.run_for(Duration::from_secs(1));
        pair.client.handle_esp_received(pair.now);
    }
    assert_eq!(pair.sent, before, "ESP defers DPD");
    pair.run_for(Duration::from_secs(12));
    assert_eq!(pair.sent, before + 2, "one DPD exchange");
    pair.network.loss = 1000;
    let silent = pair.now;
    assert!(pair.run_until(Duration::from_secs(60), |pair| pair.client_failure.is_some()));
    assert!(matches!(pair.client_failure, Some(Failure::PeerDead)));
    assert!(pair.now - silent <= Duration::from_secs(48));
}

#[test]
fn a_longer_patience_is_for_a_gateway_that_nobody_has_asked_anything() {
    let mut options = Options::psk(55);
    options.timers.dpd_after = Some(Duration::from_secs(10));
    let mut pair = Pair::new(options);
    pair.connect();
    pair.run_for(Duration::from_secs(6));
    let patience = Duration::from_secs(200);
    pair.client.set_idle_dpd_after(Some(patience));
    // The last word is ours, as it is whenever something was acknowledged.
    let heard = pair.now;
    pair.client.handle_esp_received(heard);
    pair.client.handle_esp_sent(heard + Duration::from_millis(500));
    let before = pair.sent;
    pair.run_for(Duration::from_secs(190));
    assert_eq!(pair.sent, before, "an idle peer is asked");
    let asked = |pair: &Pair| pair.sent > before;
    assert!(pair.run_until(Duration::from_secs(20), asked));
    assert_eq!(pair.now - heard, patience);
    // Somebody asks something, which is told when the time to look has come.
    pair.run_for(Duration::from_secs(25));
    let before = pair.sent;
    let (next, _) = pair.client.poll_timeout().expect("DPD");
    assert!(next - pair.now <= Duration::from_secs(10), "nobody looks for {:?}", next - pair.now);
    pair.client.handle_esp_sent(pair.now);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.sent, before + 2, "a peer that does not answer is not asked for a sign of life");
    // It has given one.
    pair.run_for(Duration::from_secs(100));
    assert_eq!(pair.sent, before + 2);
    pair.client.set_idle_dpd_after(None);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.sent, before + 4, "patience outlives its reason");
}

#[test]
fn auth_lifetime_asks_for_reauthentication_in_time() {
    let mut pair = Pair::new(Options::psk(51));
    pair.responder.set_faults(Faults { auth_lifetime: Some(Duration::from_secs(100)), ..Faults::default() });
    pair.connect();
    let due = |pair: &Pair| pair.client_events.iter().any(|e| e.starts_with("ReauthenticationDue"));
    assert!(pair.run_until(Duration::from_secs(90), due));
    assert!(pair.now - pair.start > Duration::from_secs(80));
}

#[test]
fn a_lifetime_of_nothing_does_not_make_us_authenticate_in_a_row() {
    let mut pair = Pair::new(Options::psk(52));
    pair.responder.set_faults(Faults { auth_lifetime: Some(Duration::ZERO), ..Faults::default() });
    pair.connect();
    let due = |pair: &Pair| pair.client_events.iter().any(|e| e.starts_with("ReauthenticationDue"));
    assert!(!pair.run_until(Duration::from_secs(9), due), "at once");
    assert!(pair.run_until(Duration::from_secs(2), due));
}

#[test]
fn a_rekey_that_waits_is_done_when_the_gateway_rekeys_first() {
    let mut pair = Pair::new(Options::psk(53));
    pair.connect();
    let now = pair.now;
    pair.held = [true; 2];
    // The window is taken: the rekey has to wait.
    pair.client.probe(now);
    pair.client.rekey_ike(now);
    pair.with_peer(|session| session.rekey_ike(now));
    pair.run_for(Duration::from_millis(20));
    pair.release_direction(false);
    pair.run_for(Duration::from_millis(50));
    pair.release();
    pair.run_for(Duration::from_secs(5));
    let rekeys = pair.client_events.iter().filter(|event| event.starts_with("IkeRekeyed")).count();
    assert_eq!(rekeys, 1, "{:?}", pair.client_events);
    assert!(pair.client_failure.is_none() && pair.responder_failure.is_none());
}
