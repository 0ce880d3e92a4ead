//! Peers that answer what they must not, and ask for more than is good.

use super::*;
use crate::ike::{Failure, Faults};
use crate::wire::NotifyType;
use std::time::Duration;

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
