//! Peers that answer what they must not, and ask for more than is good.

use super::*;
use crate::crypto::{EspProposals, Group};
use crate::ike::payloads::{Payloads, status};
use crate::ike::session::Phase;
use crate::ike::{Failure, Faults, Framing, Path, defaults};
use crate::wire::{
    Envelope, EspSpi, Exchange, Header, IkeSpi, MessageId, NON_ESP_MARKER, Notify, NotifyType, Payload,
    Protocol, Spi, encode_message,
};
use std::time::Duration;

fn esp(text: &str) -> EspProposals {
    EspProposals(vec![text.parse().unwrap()])
}

/// Runs until the client has failed and its last words have arrived.
fn ends(pair: &mut Pair) -> bool {
    let ended = pair.run_until(Duration::from_secs(120), |pair| pair.client_failure.is_some());
    pair.run_for(Duration::from_secs(1));
    ended
}

#[test]
fn an_unusable_answer_to_a_rekey_ends_the_session_at_both_ends() {
    let mut pair = Pair::new(Options::psk(70));
    pair.connect();
    let now = pair.now;
    let spi = pair.client_plane.inbound.keys().next().copied().expect("a CHILD SA");
    pair.client.rekey_child(spi, now);
    // To the client, the answer is then one that it did not offer.
    pair.client.common.esp.0.clear();
    assert!(ends(&mut pair));
    assert!(matches!(pair.client_failure, Some(Failure::ProtocolViolation(_))));
    assert!(matches!(pair.responder_failure, Some(Failure::PeerClosed)), "it was told");
}

#[test]
fn an_unreadable_answer_ends_the_session_at_both_ends() {
    for established in [false, true] {
        let mut pair = Pair::new(Options::psk(77));
        if established {
            pair.connect();
            pair.client.probe(pair.now);
        }
        // The genuine answer is lost, and one with two nonces takes its place.
        pair.filter =
            Some(Box::new(|to_responder, bytes| !to_responder && bytes.starts_with(&NON_ESP_MARKER)));
        pair.run_for(Duration::from_millis(300));
        pair.filter = None;
        let (exchange, id) = if established {
            (Exchange::Informational, MessageId(2))
        } else {
            (Exchange::IkeAuth, MessageId(1))
        };
        pair.with_peer(|session| {
            let Phase::Established(state) = &mut session.phase else { panic!("established") };
            let (out, nonce) = (&mut session.common.out, Payload::Nonce(vec![7; 32]));
            let path = out.path;
            state.current.respond(out, path, exchange, id, &[nonce.clone(), nonce]);
        });
        assert!(ends(&mut pair));
        assert!(matches!(pair.client_failure, Some(Failure::ProtocolViolation(_))));
        assert!(matches!(pair.responder_failure, Some(Failure::PeerClosed)), "it was told");
    }
}

#[test]
fn a_gateway_that_refuses_to_rekey_until_the_end_is_told_of_the_end() {
    let mut options = Options::psk(71);
    options.timers.child_rekey = Some(Duration::from_secs(10));
    let mut pair = Pair::new(options);
    pair.connect();
    pair.responder
        .set_faults(Faults { reject_child_rekey: Some(NotifyType::NoAdditionalSas), ..Faults::default() });
    assert!(ends(&mut pair));
    assert!(matches!(pair.client_failure, Some(Failure::RekeyRefused)));
    assert!(matches!(pair.responder_failure, Some(Failure::PeerClosed)), "it was told");
}

#[test]
fn invalid_ke_in_a_collision_leaves_the_peers_rekey_in_force() {
    let options = Options { esp: esp("aes256gcm16-x25519-ecp256"), ..Options::psk(72) };
    let mut pair = Pair::new(Options { responder_esp: esp("aes256gcm16-ecp256"), ..options });
    pair.connect();
    let now = pair.now;
    pair.held = [true; 2];
    let spi = pair.client_plane.inbound.keys().next().copied().expect("a CHILD SA");
    pair.client.rekey_child(spi, now);
    let spi = pair.responder_plane.inbound.keys().next().copied().expect("a CHILD SA");
    pair.with_peer(|session| session.rekey_child(spi, now));
    pair.run_for(Duration::from_millis(20));
    pair.release();
    pair.run_for(Duration::from_secs(30));
    let removed: Vec<_> = pair.client_events.iter().filter(|e| e.starts_with("ChildRemoved")).collect();
    assert_eq!(removed.len(), 1, "{removed:?}");
    assert!(removed[0].contains("Replaced"), "{removed:?}");
    assert_eq!(pair.client_plane.installed, 2, "there is one new CHILD SA");
    assert_eq!(pair.client.children().next().and_then(|child| child.group), Some(Group::P256));
}

#[test]
fn invalid_ke_for_a_child_sa_that_is_being_deleted_does_not_bring_it_back() {
    let options = Options { esp: esp("aes256gcm16-x25519-ecp256"), ..Options::psk(73) };
    let mut pair = Pair::new(Options { responder_esp: esp("aes256gcm16-ecp256"), ..options });
    pair.connect();
    let now = pair.now;
    let spi = pair.client_plane.inbound.keys().next().copied().expect("a CHILD SA");
    pair.client.rekey_child(spi, now);
    pair.client.delete_child(spi, now);
    pair.run_for(Duration::from_secs(30));
    assert_eq!(pair.client.children().count(), 0, "{:?}", pair.client_events);
    assert_eq!(pair.client_plane.installed, 1);
    assert!(pair.client_events.iter().any(|event| event.contains("LocalDeleted")));
}

#[test]
fn a_peer_that_wants_ever_another_group_is_refused_after_the_first() {
    for ike in [false, true] {
        let both = "aes256gcm16-x25519-ecp256";
        let mut options = Options { esp: esp(both), ..Options::psk(74) };
        options.ike.0 = vec!["aes256gcm16-prfsha256-x25519-ecp256".parse().unwrap()];
        options.responder_ike = options.ike.clone();
        let mut pair = Pair::new(options);
        pair.connect();
        let now = pair.now;
        pair.held = [true; 2];
        if ike {
            pair.client.rekey_ike(now);
        } else {
            let spi = pair.client_plane.inbound.keys().next().copied().expect("a CHILD SA");
            pair.client.rekey_child(spi, now);
        }
        let failed = |pair: &Pair| pair.client_events.iter().any(|event| event.starts_with("RekeyFailed"));
        let mut rounds = 0;
        while rounds < 10 && !failed(&pair) {
            rounds += 1;
            // The request is on its way; the responder takes the other group only.
            let group = if rounds % 2 == 1 { "ecp256" } else { "x25519" };
            pair.with_peer(|session| {
                session.common.esp = esp(&format!("aes256gcm16-{group}"));
                session.common.ike.0 = vec![format!("aes256gcm16-prfsha256-{group}").parse().unwrap()];
            });
            pair.run_for(Duration::from_millis(20));
            for to_responder in [true, false] {
                pair.release_direction(to_responder);
                pair.held[usize::from(!to_responder)] = true;
                pair.run_for(Duration::from_millis(20));
                pair.held = [true; 2];
            }
        }
        assert_eq!(rounds, 2, "one change of group is heeded: {:?}", pair.client_events);
        assert!(pair.client_failure.is_none());
    }
}

#[test]
fn rekeys_without_deletes_do_not_pile_up_child_sas() {
    let mut pair = Pair::new(Options::psk(75));
    pair.connect();
    let now = pair.now;
    let crate::ike::Session { common, phase: Phase::Established(state) } = &mut pair.client else {
        panic!("established")
    };
    let carrier = state.current.own_spi();
    let mut newest = state.children.values().next().expect("a CHILD SA").info.spi_out;
    let mut refused = 0;
    for n in 0..1000 {
        let own = EspSpi(0x1000 + n);
        let (ts_local, ts_remote) = state.policy.clone();
        /* <-- CREATE_CHILD_SA { N(REKEY_SA), SA, Ni, TSi, TSr } */
        let request = Payloads::sort(vec![
            Payload::Notify(Notify {
                protocol: Protocol::Esp,
                spi: Spi::Esp(newest),
                kind: NotifyType::RekeySa,
                data: Vec::new(),
            }),
            Payload::Sa(common.esp.to_wire(Spi::Esp(own))),
            Payload::Nonce(vec![7; 32]),
            Payload::TsI(ts_remote),
            Payload::TsR(ts_local),
        ]);
        let answer = state.answer_child(common, carrier, &request.unwrap(), now);
        match Payloads::sort(answer).unwrap().error() {
            None => newest = own,
            Some(error) => {
                assert_eq!(error.kind, NotifyType::TemporaryFailure);
                refused += 1;
            }
        }
    }
    assert_eq!(state.children.len(), 2 * defaults::MAX_CHILDREN);
    assert_eq!(refused, 1001 - 2 * defaults::MAX_CHILDREN);
}

#[test]
fn forged_cookies_use_up_the_restarts_but_not_the_handshake() {
    let mut pair = Pair::new(Options::psk(76));
    let mut request = pair.client.poll_transmit().expect("IKE_SA_INIT");
    let Header { spi_i, .. } = Envelope::parse(&request.payload).unwrap().header;
    let path = Path { local: request.path.local, remote: request.path.remote, framing: Framing::Bare };
    let header = Header {
        spi_i,
        spi_r: IkeSpi::ZERO,
        exchange: Exchange::IkeSaInit,
        initiator: false,
        response: true,
        message_id: MessageId(0),
    };
    for n in 0..20 {
        let forged = encode_message(&header, &[status(NotifyType::Cookie, vec![n; 8])]);
        pair.client.handle_datagram(path, &forged, pair.now);
        while let Some(newer) = pair.client.poll_transmit() {
            request = newer;
        }
        assert!(pair.client.poll_event().is_none(), "cookie {n} ended it");
    }
    // The genuine responder answers the last request, which carries a cookie that it never asked for.
    let to_responder = Path { local: path.remote, remote: path.local, framing: Framing::Bare };
    pair.responder.handle_datagram(to_responder, &request.payload, pair.now);
    let answer = pair.responder.poll_transmit().expect("answered");
    pair.client.handle_datagram(path, &answer.payload, pair.now);
    let next = pair.client.poll_transmit().expect("IKE_AUTH");
    assert_eq!(next.path.framing, Framing::NonEspMarker);
}
