//! The gateway's side of EAP, for the practice gateway and tests.

use super::message::{MschapCode, MschapError, PeerMessage, from_server};
use super::mschapv2::{Challenge, Exchange, NtHash, equal, master_session_key};
use super::packet::{self, Packet, method};
use crate::crypto::{Rng, Secret};

/// What to do after a packet has been handled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EapServerAction {
    /// Send this EAP packet and wait for the answer.
    Send(Vec<u8>),
    /// The client is authenticated.
    Done {
        /// The EAP-Success packet to send.
        packet: Vec<u8>,
        /// 64 octets.
        msk: Secret,
        /// The name that the client authenticated as.
        identity: String,
    },
    /// The client is rejected.
    Failed {
        /// The EAP-Failure packet to send.
        packet: Vec<u8>,
    },
}

/// Gives the password of a user, if there is such a user.
type Lookup = Box<dyn Fn(&str) -> Option<Secret> + Send>;

/// An EAP server that authenticates one client by EAP-MSCHAPv2.
pub struct EapServer {
    server_name: String,
    challenge: Challenge,
    lookup: Lookup,
    identifier: u8,
    state: State,
}

enum State {
    ExpectIdentity,
    ExpectResponse,
    /// Our proof is out.
    ExpectSuccessResponse {
        msk: Secret,
        identity: String,
    },
    /// Our Failure packet is out; whatever comes ends it.
    ExpectFailureResponse,
    Ended,
}

impl EapServer {
    /// A server for one client. `lookup` gives a user's password.
    pub fn new(
        server_name: impl Into<String>,
        rng: &mut Rng,
        lookup: impl Fn(&str) -> Option<Secret> + Send + 'static,
    ) -> Self {
        let [identifier] = rng.array();
        Self {
            server_name: server_name.into(),
            challenge: rng.array(),
            lookup: Box::new(lookup),
            identifier,
            state: State::ExpectIdentity,
        }
    }

    /// The first packet: a request for the identity.
    #[must_use]
    pub fn start(&self) -> Vec<u8> {
        packet::request(self.identifier, method::IDENTITY, &[]).unwrap_or_default()
    }

    /// Takes one whole EAP packet in. Anything unexpected ends in EAP-Failure.
    pub fn handle(&mut self, packet: &[u8]) -> EapServerAction {
        let state = std::mem::replace(&mut self.state, State::Ended);
        let expected = self.identifier;
        let action = match Packet::parse(packet) {
            Some(Packet::Response { identifier, method, data }) if identifier == expected => {
                self.handle_response(state, method, data)
            }
            Some(Packet::Response { .. } | Packet::Request { .. } | Packet::Success | Packet::Failure)
            | None => None,
        };
        action.unwrap_or_else(|| EapServerAction::Failed { packet: packet::failure(expected) })
    }

    /// `None` is a failure.
    fn handle_response(&mut self, state: State, used: u8, data: &[u8]) -> Option<EapServerAction> {
        match (state, used) {
            // The name in the method's own response is the one that counts.
            (State::ExpectIdentity, method::IDENTITY) => {
                let id = self.next_identifier();
                let data = from_server::challenge(id, &self.challenge, &self.server_name)?;
                self.state = State::ExpectResponse;
                self.send(&data)
            }
            (State::ExpectResponse, method::MSCHAPV2) => {
                let PeerMessage::Response { peer_challenge, nt_response, name } = PeerMessage::parse(data)?
                else {
                    return None;
                };
                let exchange =
                    Exchange { authenticator_challenge: &self.challenge, peer_challenge, user_name: name };
                let identity = std::str::from_utf8(name).ok()?;
                let password = (self.lookup)(identity);
                let known = password.as_ref().and_then(|secret| std::str::from_utf8(secret.as_bytes()).ok());
                // The same work for an unknown user, so that time doesn't tell who exists.
                let hash = NtHash::new(known.unwrap_or_default());
                let right = equal(&exchange.nt_response(&hash), nt_response) && known.is_some();
                let id = self.identifier.wrapping_add(1);
                let data = if right {
                    let proof = exchange.authenticator_response(&hash, nt_response);
                    let msk = master_session_key(&hash, nt_response);
                    self.state = State::ExpectSuccessResponse { msk, identity: identity.to_owned() };
                    from_server::success(id, &proof)?
                } else {
                    self.state = State::ExpectFailureResponse;
                    let error = MschapError {
                        code: MschapCode::AuthenticationFailure,
                        retry: false,
                        message: "Wrong user name or password".to_owned(),
                    };
                    from_server::failure(id, &error, &self.challenge)?
                };
                self.identifier = id;
                self.send(&data)
            }
            (State::ExpectSuccessResponse { msk, identity }, method::MSCHAPV2) => {
                match PeerMessage::parse(data)? {
                    PeerMessage::Success => {
                        let packet = packet::success(self.identifier);
                        Some(EapServerAction::Done { packet, msk, identity })
                    }
                    PeerMessage::Response { .. } | PeerMessage::Failure => None,
                }
            }
            (_, _) => None,
        }
    }

    fn next_identifier(&mut self) -> u8 {
        self.identifier = self.identifier.wrapping_add(1);
        self.identifier
    }

    fn send(&self, data: &[u8]) -> Option<EapServerAction> {
        packet::request(self.identifier, method::MSCHAPV2, data).map(EapServerAction::Send)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eap::{EapAction, EapError, EapPeer};

    fn server() -> EapServer {
        EapServer::new("gateway", &mut Rng::from_seed([2; 32]), |name| {
            (name == "alice" || name == "LAB\\alice").then(|| Secret::new("pässword".as_bytes()))
        })
    }

    fn peer(identity: &str, password: &str) -> EapPeer {
        let password = Secret::new(password.as_bytes());
        EapPeer::new(identity.to_owned(), password, &mut Rng::from_seed([3; 32]))
    }

    /// Runs both to the end: the client's outcome, the server's last action and the client's packets.
    fn run(mut server: EapServer, mut peer: EapPeer) -> (Result<Secret, EapError>, EapServerAction, usize) {
        let mut to_peer = server.start();
        let mut last = EapServerAction::Send(Vec::new());
        for replies in 0..10 {
            match peer.handle(&to_peer) {
                Ok(EapAction::Reply(reply)) => {
                    last = server.handle(&reply);
                    to_peer = match &last {
                        EapServerAction::Send(packet)
                        | EapServerAction::Done { packet, .. }
                        | EapServerAction::Failed { packet } => packet.clone(),
                    };
                }
                Ok(EapAction::Success { msk }) => return (Ok(msk), last, replies),
                Err(error) => return (Err(error), last, replies),
            }
        }
        panic!("no end");
    }

    #[test]
    fn client_and_server_reach_the_same_key_in_three_replies() {
        for name in ["alice", "LAB\\alice"] {
            let (outcome, last, replies) = run(server(), peer(name, "pässword"));
            let EapServerAction::Done { msk, identity, .. } = last else { panic!("{last:?}") };
            assert_eq!(outcome, Ok(msk));
            assert_eq!(identity, name);
            assert_eq!(replies, 3, "identity, response, success: with IKE_SA_INIT and AUTH six round trips");
        }
    }

    #[test]
    fn wrong_password_and_unknown_user_look_the_same() {
        for (name, password) in [("alice", "password"), ("bob", "pässword"), ("bob", "")] {
            let (outcome, ..) = run(server(), peer(name, password));
            let Err(EapError::Failure { mschap: Some(error) }) = outcome else { panic!("{outcome:?}") };
            assert_eq!(error.code, MschapCode::AuthenticationFailure);
        }
    }

    #[test]
    fn a_client_that_skips_its_response_is_rejected() {
        let mut server = server();
        let identity = packet::response(server.identifier, method::IDENTITY, b"alice").unwrap();
        assert!(matches!(server.handle(&identity), EapServerAction::Send(_)));
        let skipped = packet::response(server.identifier, method::MSCHAPV2, &[3]).unwrap();
        assert!(matches!(server.handle(&skipped), EapServerAction::Failed { .. }));
        assert!(matches!(server.handle(&identity), EapServerAction::Failed { .. }), "and stays so");
    }

    #[test]
    fn no_mschapv2_response_of_any_length_and_opcode_panics_or_authenticates() {
        for opcode in 0..=u8::MAX {
            for len in 0..=64 {
                let mut server = server();
                let identity = packet::response(server.identifier, method::IDENTITY, b"alice").unwrap();
                server.handle(&identity);
                let mut data = vec![49; len];
                if let Some(first) = data.first_mut() {
                    *first = opcode;
                }
                let packet = packet::response(server.identifier, method::MSCHAPV2, &data).unwrap();
                assert!(!matches!(server.handle(&packet), EapServerAction::Done { .. }));
            }
        }
    }
}
