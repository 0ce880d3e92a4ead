//! EAP-MSCHAPv2 inside IKE_AUTH.

use super::*;
use crate::crypto::Secret;
use crate::ike::{Failure, LocalAuth};
use std::time::Duration;

/// A client that logs in with this password; the right one is `open sesame`.
pub(super) fn options(seed: u64, password: &str) -> Options {
    let mut options = Options::psk(seed);
    options.client_auth =
        LocalAuth::EapMschapv2 { identity: "alice".into(), password: Secret::new(password.as_bytes()) };
    options.peers.eap_users = vec![("alice".into(), Secret::new(&b"open sesame"[..]))];
    options
}

#[test]
fn eap_mschapv2_with_identity_takes_six_round_trips() {
    let mut pair = Pair::new(options(1, "open sesame"));
    pair.connect();
    assert_eq!(pair.client.info().expect("established").round_trips, 6);
    assert_eq!(pair.sent, 12);
    pair.exchange_packets();
    pair.run_for(Duration::from_secs(1));
}

#[test]
fn a_wrong_password_is_an_eap_failure() {
    let mut pair = Pair::new(options(2, "open barley"));
    assert!(pair.run_until(Duration::from_secs(60), |pair| pair.client_failure.is_some()));
    assert!(matches!(pair.client_failure, Some(Failure::Eap(_))), "{:?}", pair.client_failure);
    assert_eq!(pair.client_plane.installed + pair.responder_plane.installed, 0);
}

#[test]
fn no_eap_packet_leaves_before_the_gateway_has_proved_itself() {
    let mut pair = Pair::new(options(3, "open sesame"));
    pair.responder.set_faults(crate::ike::Faults { bad_auth: true, ..Default::default() });
    assert!(pair.run_until(Duration::from_secs(60), |pair| pair.client_failure.is_some()));
    assert!(matches!(pair.client_failure, Some(Failure::PeerAuth(_))), "{:?}", pair.client_failure);
    pair.run_for(Duration::from_secs(1));
    // IKE_SA_INIT, the first IKE_AUTH with their answers, and the parting AUTHENTICATION_FAILED with its.
    assert_eq!(pair.sent, 6);
}
