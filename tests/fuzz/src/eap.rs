//! EAP and EAP-MSCHAPv2, both roles.

use evenkeel_ipsec::crypto::{Rng, Secret};
use evenkeel_ipsec::eap::{EapAction, EapError, EapPeer, EapServer, EapServerAction};

use crate::Outcome;

/// The identity that both roles know.
pub(crate) const IDENTITY: &str = "alice";
pub(crate) const PASSWORD: &[u8] = b"correct horse";
const PEER_SEED: [u8; 32] = [1; 32];
const SERVER_SEED: [u8; 32] = [2; 32];

pub(crate) fn peer() -> EapPeer {
    EapPeer::new(IDENTITY.to_owned(), Secret::new(PASSWORD), &mut Rng::from_seed(PEER_SEED))
}

pub(crate) fn server() -> EapServer {
    let lookup = |identity: &str| (identity == IDENTITY).then(|| Secret::new(PASSWORD));
    EapServer::new("gateway", &mut Rng::from_seed(SERVER_SEED), lookup)
}

/// Packets of a gateway for our client, in [frames](crate::frames).
pub fn eap_peer(input: &[u8]) -> Outcome {
    let mut peer = peer();
    for packet in crate::frames(input) {
        match peer.handle(packet) {
            Ok(EapAction::Reply(reply)) => assert_response(&reply),
            Ok(EapAction::Success { msk }) => {
                assert_eq!(msk.as_bytes().len(), 64);
                assert_eq!(peer.handle(packet), Err(EapError::Ended));
                return Outcome::Accepted;
            }
            Err(error) => {
                assert!(!error.to_string().contains(char::is_control), "{error}");
                assert_eq!(peer.handle(packet), Err(EapError::Ended));
                return Outcome::Refused;
            }
        }
    }
    Outcome::Refused
}

/// Packets of a client for the practice gateway, in [frames](crate::frames).
pub fn eap_server(input: &[u8]) -> Outcome {
    let mut server = server();
    let _ = server.start();
    let mut outcome = Outcome::Refused;
    for packet in crate::frames(input) {
        match server.handle(packet) {
            EapServerAction::Send(request) => assert_eq!(request.first(), Some(&1), "a request"),
            EapServerAction::Done { packet, identity, msk } => {
                assert_eq!(packet.first(), Some(&3), "a success");
                assert_eq!((identity.as_str(), msk.as_bytes().len()), (IDENTITY, 64));
                outcome = Outcome::Accepted;
            }
            EapServerAction::Failed { packet } => assert_eq!(packet.first(), Some(&4), "a failure"),
        }
    }
    outcome
}

/// RFC 3748 §4.1: code 2 and a length that is right.
fn assert_response(packet: &[u8]) {
    let length = u16::try_from(packet.len()).unwrap_or(0).to_be_bytes();
    assert!(matches!(packet, [2, _, high, low, _, ..] if [*high, *low] == length), "{packet:02x?}");
}
