//! The client's side of EAP.

use super::message::{self, MschapError, ServerMessage};
use super::mschapv2::{AuthenticatorResponse, Challenge, Exchange, NtHash, equal, master_session_key};
use super::packet::{self, Packet, method};
use crate::crypto::{Rng, Secret};

/// What to do after a packet has been handled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EapAction {
    /// Send this EAP packet.
    Reply(Vec<u8>),
    /// The server ended with EAP-Success, and rightly so: the AUTH payloads are made from this MSK.
    Success {
        /// 64 octets.
        msk: Secret,
    },
}

/// Why EAP ended without success. Every one is final.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EapError {
    /// The server rejected us.
    #[error("the server rejected the credentials")]
    Failure {
        /// What the method said about it; `None` for a bare EAP-Failure.
        mschap: Option<MschapError>,
    },
    /// The server insists on a method that we don't have.
    #[error("the server demands EAP method {0}")]
    UnsupportedMethod(u8),
    /// EAP-Success came before the method had authenticated the server and made a key (CVE-2021-45079).
    #[error("the server claimed success before authentication was complete")]
    EarlySuccess,
    /// The server does not know the password: an impostor, or a proxy of one.
    #[error("the server failed to prove that it knows the password")]
    ServerNotAuthentic,
    /// A packet can't be read.
    #[error("malformed EAP packet")]
    Malformed,
    /// A packet is well-formed but has no place at this point.
    #[error("EAP packet out of order")]
    OutOfOrder,
    /// The server keeps talking without getting anywhere.
    #[error("too many EAP packets")]
    TooManyPackets,
    /// The identity or password can't be used with this method.
    #[error("identity or password can not be encoded")]
    UnusableCredentials,
    /// EAP had ended already.
    #[error("EAP has ended")]
    Ended,
}

/// An EAP client that authenticates by EAP-MSCHAPv2.
///
/// Feed every EAP packet from the gateway to [`EapPeer::handle`], until it gives [`EapAction::Success`] or an error;
/// both are final.
pub struct EapPeer {
    identity: String,
    password: Secret,
    peer_challenge: Challenge,
    state: State,
    /// The method that we declined last.
    declined: Option<u8>,
    packets_left: u8,
}

enum State {
    /// Before the method: Identity, Notification, and offers of methods.
    ExpectMethod,
    /// Our response is out; the server now proves itself or rejects us.
    ExpectProof {
        proof: AuthenticatorResponse,
        msk: Secret,
    },
    /// Both sides are authenticated: the one state in which EAP-Success is accepted.
    ExpectSuccess {
        msk: Secret,
    },
    Ended,
}

/// The longest legitimate exchange has five packets; the rest is for notifications and repeated offers.
const MAX_PACKETS: u8 = 20;

impl EapPeer {
    /// A client for one authentication. `identity` may carry a domain before a backslash.
    #[must_use]
    pub fn new(identity: String, password: Secret, rng: &mut Rng) -> Self {
        Self {
            identity,
            password,
            peer_challenge: rng.array(),
            state: State::ExpectMethod,
            declined: None,
            packets_left: MAX_PACKETS,
        }
    }

    /// Takes one whole EAP packet in.
    ///
    /// The identifier of a Success or Failure packet is not compared with our last response's: some servers count one
    /// too far, and within IKE_AUTH nobody but the authenticated gateway can have sent it.
    ///
    /// # Errors
    /// See [`EapError`]; the exchange is over then.
    pub fn handle(&mut self, packet: &[u8]) -> Result<EapAction, EapError> {
        // Whatever path is taken, a state must be set to go on.
        let state = std::mem::replace(&mut self.state, State::Ended);
        if matches!(state, State::Ended) {
            return Err(EapError::Ended);
        }
        self.packets_left = self.packets_left.checked_sub(1).ok_or(EapError::TooManyPackets)?;
        match Packet::parse(packet).ok_or(EapError::Malformed)? {
            Packet::Request { identifier, method, data } => {
                let (state, method, data) = self.handle_request(state, method, data)?;
                let reply =
                    packet::response(identifier, method, &data).ok_or(EapError::UnusableCredentials)?;
                self.state = state;
                Ok(EapAction::Reply(reply))
            }
            Packet::Response { .. } => Err(EapError::OutOfOrder),
            Packet::Success => match state {
                State::ExpectSuccess { msk } => Ok(EapAction::Success { msk }),
                State::ExpectMethod | State::ExpectProof { .. } | State::Ended => Err(EapError::EarlySuccess),
            },
            Packet::Failure => Err(match (state, self.declined) {
                (State::ExpectMethod, Some(declined)) => EapError::UnsupportedMethod(declined),
                (_, _) => EapError::Failure { mschap: None },
            }),
        }
    }

    /// The next state, and the type and data of the response.
    fn handle_request(
        &mut self,
        state: State,
        requested: u8,
        data: &[u8],
    ) -> Result<(State, u8, Vec<u8>), EapError> {
        match (requested, state) {
            // Text for the user, which the log of the gateway is a better place for (RFC 3748 §5.2).
            (method::NOTIFICATION, state) => Ok((state, method::NOTIFICATION, Vec::new())),
            (method::IDENTITY, State::ExpectMethod) => {
                Ok((State::ExpectMethod, method::IDENTITY, self.identity.as_bytes().to_vec()))
            }
            (method::MSCHAPV2, state) => {
                let message = ServerMessage::parse(data).ok_or(EapError::Malformed)?;
                let (state, data) = self.handle_mschapv2(state, message)?;
                Ok((state, method::MSCHAPV2, data))
            }
            (method::IDENTITY | method::NAK, _) => Err(EapError::OutOfOrder),
            (other, State::ExpectMethod) if self.declined == Some(other) => {
                Err(EapError::UnsupportedMethod(other))
            }
            // RFC 3748 §5.3.1: the method that we'd have instead.
            (other, State::ExpectMethod) => {
                self.declined = Some(other);
                Ok((State::ExpectMethod, method::NAK, vec![method::MSCHAPV2]))
            }
            (_, _) => Err(EapError::OutOfOrder),
        }
    }

    fn handle_mschapv2(
        &self,
        state: State,
        message: ServerMessage<'_>,
    ) -> Result<(State, Vec<u8>), EapError> {
        match (message, state) {
            (ServerMessage::Challenge { id, challenge }, State::ExpectMethod) => {
                let exchange = Exchange {
                    authenticator_challenge: challenge,
                    peer_challenge: &self.peer_challenge,
                    user_name: self.identity.as_bytes(),
                };
                let password = std::str::from_utf8(self.password.as_bytes());
                let password = NtHash::new(password.map_err(|_| EapError::UnusableCredentials)?);
                let nt_response = exchange.nt_response(&password);
                let proof = exchange.authenticator_response(&password, &nt_response);
                let msk = master_session_key(&password, &nt_response);
                let name = self.identity.as_bytes();
                let reply = message::response(id, &self.peer_challenge, &nt_response, name);
                let reply = reply.ok_or(EapError::UnusableCredentials)?;
                Ok((State::ExpectProof { proof, msk }, reply))
            }
            (ServerMessage::Success { proof: theirs }, State::ExpectProof { proof, msk }) => {
                // Digits in either case: the draft asks for upper case, but not every server listens.
                if equal(&theirs.to_ascii_uppercase(), &proof) {
                    Ok((State::ExpectSuccess { msk }, message::success_response()))
                } else {
                    Err(EapError::ServerNotAuthentic)
                }
            }
            // Nothing is sent in answer: we don't retry, Windows doesn't answer either, and the IKE SA is given up.
            (ServerMessage::Failure(error), State::ExpectProof { .. }) => {
                Err(EapError::Failure { mschap: Some(error) })
            }
            (
                ServerMessage::Challenge { .. } | ServerMessage::Success { .. } | ServerMessage::Failure(_),
                _,
            ) => Err(EapError::OutOfOrder),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::message::{MschapCode, from_server};
    use super::*;

    const SERVER_CHALLENGE: Challenge = [0x5b; 16];
    const STATES: [&str; 4] = ["ExpectMethod", "ExpectProof", "ExpectSuccess", "Ended"];

    fn peer() -> EapPeer {
        let password = Secret::new(*b"clientPass");
        EapPeer::new("User".to_owned(), password, &mut Rng::from_seed([1; 32]))
    }

    fn mschapv2(data: &[u8]) -> Vec<u8> {
        packet::request(5, method::MSCHAPV2, data).unwrap()
    }

    fn challenge() -> Vec<u8> {
        mschapv2(&from_server::challenge(5, &SERVER_CHALLENGE, "gateway").unwrap())
    }

    /// What a server that knows the password proves itself with.
    fn proof(peer: &EapPeer) -> Vec<u8> {
        let exchange = Exchange {
            authenticator_challenge: &SERVER_CHALLENGE,
            peer_challenge: &peer.peer_challenge,
            user_name: b"User",
        };
        let hash = NtHash::new("clientPass");
        let proof = exchange.authenticator_response(&hash, &exchange.nt_response(&hash));
        mschapv2(&from_server::success(5, &proof).unwrap())
    }

    fn peer_in(state: &str) -> EapPeer {
        let mut peer = peer();
        let steps = match state {
            "ExpectMethod" => vec![],
            "ExpectProof" => vec![challenge()],
            "ExpectSuccess" => vec![challenge(), proof(&peer)],
            "Ended" => vec![challenge(), proof(&peer), packet::success(5)],
            _ => unreachable!(),
        };
        for step in steps {
            peer.handle(&step).unwrap();
        }
        peer
    }

    /// CVE-2021-45079: in every state, every code, with and without a body.
    #[test]
    fn success_is_accepted_in_one_state_and_by_one_code_only() {
        for state in STATES {
            for code in 0..=u8::MAX {
                for body in [&[][..], &[26], &[26, 3, 5, 0, 4], &[1], &[3, 26]] {
                    let length = 4 + u8::try_from(body.len()).unwrap();
                    let packet = [&[code, 5, 0, length], body].concat();
                    let outcome = peer_in(state).handle(&packet);
                    let success = matches!(outcome, Ok(EapAction::Success { .. }));
                    assert_eq!(success, state == "ExpectSuccess" && code == 3, "{state} {code} {body:?}");
                    if code == 3 && (state == "ExpectMethod" || state == "ExpectProof") {
                        assert_eq!(outcome, Err(EapError::EarlySuccess));
                    }
                }
            }
        }
    }

    /// CVE-2025-62291 class: every length, every opcode, in every state, with three fillings.
    #[test]
    fn no_mschapv2_packet_of_any_length_and_opcode_panics_or_skips_a_step() {
        for state in STATES {
            for opcode in 0..=u8::MAX {
                for len in 0..=64 {
                    for fill in [0x00, 0x10, b'='] {
                        let mut data = vec![fill; len];
                        if let Some(first) = data.first_mut() {
                            *first = opcode;
                        }
                        let outcome = peer_in(state).handle(&mschapv2(&data));
                        match outcome {
                            // Only a well-formed challenge, before the method began, gets an answer.
                            Ok(EapAction::Reply(_)) => assert_eq!((state, opcode), ("ExpectMethod", 1)),
                            Ok(EapAction::Success { .. }) => panic!("{state} {opcode} {len}"),
                            Err(_) => {}
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn every_error_is_final() {
        for state in STATES {
            let mut peer = peer_in(state);
            peer.handle(&[]).unwrap_err();
            assert_eq!(peer.handle(&packet::success(5)), Err(EapError::Ended));
            assert_eq!(peer.handle(&challenge()), Err(EapError::Ended));
        }
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_exposed() {
        let mut peer = peer_in("ExpectProof");
        let forged = from_server::success(5, b"S=407A5589115FD0D6209F510FE9C04566932CDA56").unwrap();
        assert_eq!(peer.handle(&mschapv2(&forged)), Err(EapError::ServerNotAuthentic));
        assert_eq!(peer.handle(&packet::success(5)), Err(EapError::Ended));
    }

    #[test]
    fn a_proof_in_lower_case_is_as_good() {
        let mut peer = peer_in("ExpectProof");
        let lower = proof(&peer).to_ascii_lowercase();
        let restored: Vec<u8> =
            lower.iter().enumerate().map(|(i, b)| if i == 9 { b'S' } else { *b }).collect();
        assert!(matches!(peer.handle(&restored), Ok(EapAction::Reply(_))));
    }

    #[test]
    fn a_rejection_carries_what_the_server_said() {
        let error =
            MschapError { code: MschapCode::PasswordExpired, retry: true, message: "Change it".to_owned() };
        let packet = mschapv2(&from_server::failure(5, &error, &SERVER_CHALLENGE).unwrap());
        let outcome = peer_in("ExpectProof").handle(&packet);
        assert_eq!(outcome, Err(EapError::Failure { mschap: Some(error) }));
        for state in ["ExpectMethod", "ExpectProof", "ExpectSuccess"] {
            let outcome = peer_in(state).handle(&packet::failure(5));
            assert_eq!(outcome, Err(EapError::Failure { mschap: None }));
        }
    }

    #[test]
    fn another_method_is_declined_once_and_then_named_as_the_cause() {
        const TLS: u8 = 13;
        let offer = packet::request(1, TLS, &[0x20]).unwrap();
        let nak = EapAction::Reply(vec![2, 1, 0, 6, method::NAK, method::MSCHAPV2]);
        // The server takes our wish.
        let mut accepting = peer();
        assert_eq!(accepting.handle(&offer), Ok(nak.clone()));
        assert!(matches!(accepting.handle(&challenge()), Ok(EapAction::Reply(_))));
        // It insists, or gives up.
        for last in [offer.clone(), packet::failure(1)] {
            let mut peer = peer();
            assert_eq!(peer.handle(&offer), Ok(nak.clone()));
            assert_eq!(peer.handle(&last), Err(EapError::UnsupportedMethod(TLS)));
        }
        // Not in the middle of a method (RFC 3748 §5.3.1).
        assert_eq!(peer_in("ExpectProof").handle(&offer), Err(EapError::OutOfOrder));
    }

    #[test]
    fn identity_and_notification_are_answered() {
        let mut peer = peer();
        let identity = packet::request(0, method::IDENTITY, b"who?").unwrap();
        let reply = packet::response(0, method::IDENTITY, b"User").unwrap();
        assert_eq!(peer.handle(&identity), Ok(EapAction::Reply(reply)));
        for state in ["ExpectMethod", "ExpectProof", "ExpectSuccess"] {
            let notification = packet::request(3, method::NOTIFICATION, b"hello").unwrap();
            let reply = packet::response(3, method::NOTIFICATION, b"").unwrap();
            assert_eq!(peer_in(state).handle(&notification), Ok(EapAction::Reply(reply)));
        }
        assert_eq!(peer_in("ExpectProof").handle(&identity), Err(EapError::OutOfOrder));
    }

    #[test]
    fn endless_notifications_come_to_an_end() {
        let mut peer = peer();
        let notification = packet::request(3, method::NOTIFICATION, b"hello").unwrap();
        let outcome = (0..=MAX_PACKETS).map(|_| peer.handle(&notification)).find(Result::is_err);
        assert_eq!(outcome, Some(Err(EapError::TooManyPackets)));
    }

    #[test]
    fn credentials_that_can_not_be_encoded_fail_without_a_reply() {
        let mut rng = Rng::from_seed([1; 32]);
        let mut peer = EapPeer::new("User".to_owned(), Secret::new([0xff, 0xfe]), &mut rng);
        assert_eq!(peer.handle(&challenge()), Err(EapError::UnusableCredentials));
        let mut peer = EapPeer::new("x".repeat(70_000), Secret::new(*b"p"), &mut rng);
        assert_eq!(peer.handle(&challenge()), Err(EapError::UnusableCredentials));
    }
}
