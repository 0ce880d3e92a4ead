//! Handshakes over bad networks.

use super::*;
use crate::ike::Failure;
use std::time::Duration;

#[test]
fn a_psk_handshake_takes_two_round_trips() {
    let mut pair = Pair::new(Options::psk(1));
    pair.connect();
    let info = pair.client.info().expect("established");
    assert_eq!(info.round_trips, 2);
    assert!(info.nat_local, "the NAT was seen");
    assert!(!info.nat_remote);
    assert_eq!(pair.sent, 4);
    let id = pair.session.expect("a session");
    let peer = pair.responder.sessions().find(|(session, _)| *session == id).expect("alive").1;
    let seen = peer.info().expect("established");
    assert!(!seen.nat_local, "nothing translates the responder's address");
    assert!(seen.nat_remote);
    assert_eq!(info.path.remote.port(), 4500, "the port has floated");
    pair.exchange_packets();
    pair.run_for(Duration::from_secs(1));
    let child = pair.client.children().next().expect("a CHILD SA");
    assert_eq!(child.ts_remote.first().map(ToString::to_string), Some("10.10.0.0/16".into()));
    assert_eq!(child.ts_local.first().map(ToString::to_string), Some("10.9.0.1/32".into()));
}

/// What a handshake is, by its seed: plain, in fragments, with COOKIE and INVALID_KE_PAYLOAD, or with EAP.
fn handshake(seed: u64) -> Options {
    use crate::crypto::IkeProposals;
    match seed % 4 {
        0 => Options::psk(seed),
        1 => Options { fragment_size: 200, ..Options::psk(seed) },
        2 => Options {
            ike: IkeProposals(vec!["aes256gcm16-prfsha256-x25519-ecp256".parse().unwrap()]),
            responder_ike: IkeProposals(vec!["aes256gcm16-prfsha256-ecp256".parse().unwrap()]),
            cookie_threshold: 0,
            ..Options::psk(seed)
        },
        _ => Options { fragment_size: 250, ..eap::options(seed, "open sesame") },
    }
}

#[test]
fn of_ten_thousand_handshakes_over_bad_networks_all_connect_that_can() {
    let mut connected = [0; 4];
    let mut hopeless = 0;
    let mut hopeless_in_fragments = 0;
    let mut disturbed = [0; 3];
    for seed in 0..10_000 {
        let loss = u32::try_from(seed / 4 % 31).unwrap() * 10;
        let network = Network { loss, duplicates: loss / 2, jitter_ms: 400, ..Network::default() };
        let mut pair = Pair::new(Options { network, ..handshake(seed) });
        pair.ledger = Some(Ledger::default());
        let ended = pair.run_until(Duration::from_secs(120), |pair| {
            pair.client_plane.installed > 0 || pair.client_failure.is_some()
        });
        assert!(ended, "seed {seed} hangs: {:?}", pair.client_events);
        let ledger = pair.ledger.take().expect("kept");
        match &pair.client_failure {
            None => connected[usize::try_from(seed % 4).unwrap()] += 1,
            // Five transmissions, each of which needs every datagram of request and response to arrive once.
            Some(Failure::NoResponse { exchange, .. }) => {
                ledger.assert_hopeless(*exchange, pair.now, &format!("seed {seed}, loss {loss}"));
                hopeless += 1;
                hopeless_in_fragments += u32::from(ledger.last_is_fragmented());
            }
            Some(other) => panic!("seed {seed}: {other:?}, events {:?}", pair.responder_events),
        }
        assert!(pair.client_plane.installed <= 1 && pair.responder_plane.installed <= 1, "seed {seed}");
        disturbed[0] += ledger.lost;
        disturbed[1] += ledger.duplicated;
        disturbed[2] += ledger.overtaken;
    }
    let total: u32 = connected.iter().sum();
    assert_eq!(total + hopeless, 10_000);
    // Those that the network prevents stay few, and yet there are some to judge, in fragments and not.
    assert!(connected.iter().all(|&kind| kind > 2_400), "of 2,500 of each kind only {connected:?} connected");
    assert!(hopeless_in_fragments > 30 && hopeless - hopeless_in_fragments > 50, "{hopeless} judged");
    assert!(
        disturbed.iter().all(|&datagrams| datagrams > 8_000),
        "lost, duplicated, overtaken: {disturbed:?}"
    );
}

#[test]
fn forged_copies_of_protected_messages_change_nothing() {
    for seed in 0..300 {
        let mut pair = Pair::new(Options::psk(seed));
        pair.network.forgeries = 0;
        // IKE_SA_INIT is not protected; whoever damages it can prevent a connection but do nothing else.
        assert!(pair.run_until(Duration::from_secs(1), |pair| pair.sent == 3));
        pair.network.forgeries = 8;
        pair.connect();
        let now = pair.now;
        let spi = pair.client_plane.inbound.keys().next().copied().expect("a CHILD SA");
        pair.client.rekey_child(spi, now);
        pair.with_peer(|session| session.rekey_ike(now));
        pair.run_for(Duration::from_secs(30));
        assert!(pair.client_failure.is_none(), "seed {seed}: {:?}", pair.client_failure);
        assert!(pair.responder_failure.is_none(), "seed {seed}: {:?}", pair.responder_failure);
        assert_eq!(pair.client_plane.installed, 2, "seed {seed}");
        let rekeys = pair.client_events.iter().filter(|event| event.starts_with("IkeRekeyed")).count();
        assert_eq!(rekeys, 1, "seed {seed}");
    }
}

#[test]
fn a_damaged_ike_sa_init_prevents_nothing_worse_than_the_connection() {
    let mut connected = 0;
    for seed in 0..500 {
        let mut pair = Pair::new(Options::psk(seed));
        pair.network.forgeries = 3;
        let ended = pair.run_until(Duration::from_secs(120), |pair| {
            pair.client_plane.installed > 0 || pair.client_failure.is_some()
        });
        assert!(ended, "seed {seed} hangs");
        match &pair.client_failure {
            None => connected += 1,
            Some(Failure::AuthenticationRejected | Failure::PeerAuth(_) | Failure::NoResponse { .. }) => {}
            Some(other) => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(connected > 50, "only {connected} of 500 connected");
}

#[test]
fn a_cookie_costs_one_round_trip() {
    let mut pair = Pair::new(Options { cookie_threshold: 0, ..Options::psk(2) });
    pair.connect();
    assert_eq!(pair.client.info().expect("established").round_trips, 3);
}

#[test]
fn another_group_is_used_when_the_responder_asks_for_it() {
    use crate::crypto::IkeProposals;
    let responder_ike = IkeProposals(vec!["aes256gcm16-prfsha256-ecp256".parse().unwrap()]);
    let ike = IkeProposals(vec!["aes256gcm16-prfsha256-x25519-ecp256".parse().unwrap()]);
    let mut pair = Pair::new(Options { ike, responder_ike, cookie_threshold: 0, ..Options::psk(3) });
    pair.connect();
    let info = pair.client.info().expect("established");
    assert_eq!(info.suite.group, crate::crypto::Group::P256);
    assert_eq!(info.round_trips, 4, "INVALID_KE_PAYLOAD and COOKIE cost one each");
}

#[test]
fn late_copies_of_what_a_retry_has_heeded_do_not_disturb_it() {
    use crate::crypto::IkeProposals;
    let responder_ike = IkeProposals(vec!["aes256gcm16-prfsha256-ecp256".parse().unwrap()]);
    let ike = IkeProposals(vec!["aes256gcm16-prfsha256-x25519-ecp256".parse().unwrap()]);
    let mut pair = Pair::new(Options { ike, responder_ike, cookie_threshold: 0, ..Options::psk(8) });
    // A long path: three copies of each request are on their way before the first answer comes, and the answers
    // to the second and third find the client waiting for that to its next request.
    for _ in 0..3 {
        pair.held = [true; 2];
        pair.run_for(Duration::from_millis(1_700));
        pair.release_direction(true);
        pair.run_for(Duration::from_millis(50));
        pair.release_direction(false);
        pair.held = [true, false];
        pair.run_for(Duration::from_millis(450));
        assert!(pair.client_failure.is_none(), "{:?}", pair.client_failure);
    }
    pair.release();
    pair.connect();
    assert_eq!(pair.client.info().expect("established").round_trips, 4);
}

#[test]
fn a_wrong_psk_is_refused_by_both_sides() {
    use crate::crypto::Secret;
    use crate::ike::LocalAuth;
    let mut pair =
        Pair::new(Options { client_auth: LocalAuth::Psk(Secret::new(&b"wrong"[..])), ..Options::psk(4) });
    assert!(pair.run_until(Duration::from_secs(60), |pair| pair.client_failure.is_some()));
    assert!(matches!(pair.client_failure, Some(Failure::AuthenticationRejected)));
    let mut options = Options::psk(5);
    options.peer_auth = crate::ike::PeerAuth::Psk(Secret::new(&b"wrong"[..]));
    let mut pair = Pair::new(options);
    assert!(pair.run_until(Duration::from_secs(60), |pair| pair.client_failure.is_some()));
    assert!(matches!(pair.client_failure, Some(Failure::PeerAuth(crate::ike::PeerAuthFailure::PskMismatch))));
    assert_eq!(pair.client_plane.installed, 0);
}

#[test]
fn a_silent_gateway_is_given_up_on() {
    let mut pair =
        Pair::new(Options { network: Network { loss: 1000, ..Network::default() }, ..Options::psk(6) });
    assert!(pair.run_until(Duration::from_secs(60), |pair| pair.client_failure.is_some()));
    assert!(matches!(pair.client_failure, Some(Failure::NoResponse { port: 500, .. })));
    let said = pair.client_failure.as_ref().map(ToString::to_string);
    assert_eq!(said.as_deref(), Some("no answer to IKE_SA_INIT on UDP port 500"));
    assert!(pair.now - pair.start < Duration::from_secs(17));
}

#[test]
fn retransmissions_are_identical_to_the_bit() {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::rc::Rc;
    let seen: Rc<RefCell<BTreeMap<Vec<u8>, u32>>> = Rc::default();
    let log = Rc::clone(&seen);
    let mut pair = Pair::new(Options::psk(7));
    pair.filter = Some(Box::new(move |to_responder, bytes| {
        if to_responder {
            *log.borrow_mut().entry(bytes.to_vec()).or_default() += 1;
        }
        // The third copy gets through.
        to_responder && log.borrow()[bytes] < 3
    }));
    pair.connect();
    assert_eq!(
        seen.borrow().values().copied().collect::<Vec<_>>(),
        [3, 3],
        "two requests, sent three times each"
    );
}
