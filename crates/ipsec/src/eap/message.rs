//! EAP-MSCHAPv2 packets (draft-kamath-pppext-eap-mschapv2 §2): checked views, and encoding.
//!
//! The MS-Length field repeats the EAP length. Servers that fill it wrongly exist and other clients let it pass, so
//! it is not read at all: every length here comes from the checked EAP packet.

use super::mschapv2::{AuthenticatorResponse, Challenge, NtResponse};

const CHALLENGE: u8 = 1;
const RESPONSE: u8 = 2;
const SUCCESS: u8 = 3;
const FAILURE: u8 = 4;

/// What an MSCHAPv2 Failure packet says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MschapError {
    /// The `E=` code.
    pub code: MschapCode,
    /// Whether the server would take another attempt (`R=1`).
    pub retry: bool,
    /// The server's text (`M=`), cut and without control characters. May be empty.
    pub message: String,
}

/// Failure codes of RFC 2759 §6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MschapCode {
    /// 646: the account may not log on at this time.
    RestrictedLogonHours,
    /// 647: the account is disabled.
    AccountDisabled,
    /// 648: the password has expired.
    PasswordExpired,
    /// 649: the account has no permission to dial in.
    NoDialinPermission,
    /// 691: wrong user name or password.
    AuthenticationFailure,
    /// 709: the password could not be changed.
    ChangingPassword,
    /// Any other number.
    Other(u32),
}

impl MschapCode {
    /// The number after `E=`.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::RestrictedLogonHours => 646,
            Self::AccountDisabled => 647,
            Self::PasswordExpired => 648,
            Self::NoDialinPermission => 649,
            Self::AuthenticationFailure => 691,
            Self::ChangingPassword => 709,
            Self::Other(number) => number,
        }
    }

    const fn from_number(number: u32) -> Self {
        match number {
            646 => Self::RestrictedLogonHours,
            647 => Self::AccountDisabled,
            648 => Self::PasswordExpired,
            649 => Self::NoDialinPermission,
            691 => Self::AuthenticationFailure,
            709 => Self::ChangingPassword,
            other => Self::Other(other),
        }
    }
}

/// A packet from the server.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum ServerMessage<'a> {
    Challenge { id: u8, challenge: &'a Challenge },
    Success { proof: &'a AuthenticatorResponse },
    Failure(MschapError),
}

impl<'a> ServerMessage<'a> {
    /// From the data of an EAP request of type MSCHAPv2.
    pub(super) fn parse(data: &'a [u8]) -> Option<Self> {
        let (&opcode, rest) = data.split_first()?;
        // MS-CHAPv2-ID and MS-Length.
        let (&[id, _, _], body) = rest.split_first_chunk()?;
        match opcode {
            CHALLENGE => {
                let (&value_size, body) = body.split_first()?;
                let (challenge, _name) = body.split_first_chunk()?;
                (value_size == 16).then_some(Self::Challenge { id, challenge })
            }
            SUCCESS => {
                // The draft puts "S=" first; a message after it starts with a space.
                let (proof, message) = body.split_first_chunk()?;
                matches!(message.first(), None | Some(b' ')).then_some(Self::Success { proof })
            }
            FAILURE => Some(Self::Failure(failure(body)?)),
            _ => None,
        }
    }
}

/// `E=eeeeeeeeee R=r C=cccccccccccccccccccccccccccccccc V=vvvvvvvvvv M=<msg>` (RFC 2759 §6). Only `E` is needed.
fn failure(body: &[u8]) -> Option<MschapError> {
    const MAX_MESSAGE: usize = 256;
    let text = String::from_utf8_lossy(body);
    // The message comes last and is the only field that may hold spaces.
    let (fields, message) = match text.split_once("M=") {
        Some((fields, message)) => (fields, message),
        None => (text.as_ref(), ""),
    };
    let field = |name| fields.split_ascii_whitespace().find_map(|field| field.strip_prefix(name));
    let code = field("E=")?.parse().ok().map(MschapCode::from_number)?;
    let message = message.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect::<String>();
    Some(MschapError { code, retry: field("R=") == Some("1"), message: message.trim().to_owned() })
}

/// The client's answer to a challenge; `None` if the name is too long for the length field.
pub(super) fn response(
    id: u8,
    peer_challenge: &Challenge,
    nt_response: &NtResponse,
    name: &[u8],
) -> Option<Vec<u8>> {
    const VALUE_SIZE: u8 = 49;
    let mut value = vec![VALUE_SIZE];
    value.extend_from_slice(peer_challenge);
    value.extend_from_slice(&[0; 8]);
    value.extend_from_slice(nt_response);
    value.push(0);
    value.extend_from_slice(name);
    with_header(RESPONSE, id, &value)
}

/// The client's answer to a success packet: the opcode alone.
pub(super) fn success_response() -> Vec<u8> {
    vec![SUCCESS]
}

fn with_header(opcode: u8, id: u8, body: &[u8]) -> Option<Vec<u8>> {
    // MS-Length counts from the opcode: the EAP length less its header and type.
    let [high, low] = u16::try_from(4 + body.len()).ok()?.to_be_bytes();
    let mut data = vec![opcode, id, high, low];
    data.extend_from_slice(body);
    Some(data)
}

/// A packet from the client.
#[cfg(any(test, feature = "responder"))]
#[derive(PartialEq, Eq, Debug)]
pub(super) enum PeerMessage<'a> {
    Response { peer_challenge: &'a Challenge, nt_response: &'a NtResponse, name: &'a [u8] },
    Success,
    Failure,
}

#[cfg(any(test, feature = "responder"))]
impl<'a> PeerMessage<'a> {
    /// From the data of an EAP response of type MSCHAPv2.
    pub(super) fn parse(data: &'a [u8]) -> Option<Self> {
        let (&opcode, rest) = data.split_first()?;
        match opcode {
            RESPONSE => {
                let (&[_id, _, _, value_size], value) = rest.split_first_chunk()?;
                let (peer_challenge, value) = value.split_first_chunk()?;
                let (_reserved, value) = value.split_first_chunk::<8>()?;
                let (nt_response, value) = value.split_first_chunk()?;
                let (_flags, name) = value.split_first()?;
                (value_size == 49).then_some(Self::Response { peer_challenge, nt_response, name })
            }
            SUCCESS => Some(Self::Success),
            FAILURE => Some(Self::Failure),
            _ => None,
        }
    }
}

/// Packets that only a server sends.
#[cfg(any(test, feature = "responder"))]
pub(super) mod from_server {
    use super::{AuthenticatorResponse, CHALLENGE, Challenge, FAILURE, MschapError, SUCCESS, with_header};

    pub(in crate::eap) fn challenge(id: u8, challenge: &Challenge, name: &str) -> Option<Vec<u8>> {
        let mut value = vec![16];
        value.extend_from_slice(challenge);
        value.extend_from_slice(name.as_bytes());
        with_header(CHALLENGE, id, &value)
    }

    pub(in crate::eap) fn success(id: u8, proof: &AuthenticatorResponse) -> Option<Vec<u8>> {
        with_header(SUCCESS, id, &[proof.as_slice(), b" M=Welcome"].concat())
    }

    /// `challenge` is the one that a retry would answer.
    pub(in crate::eap) fn failure(id: u8, error: &MschapError, challenge: &Challenge) -> Option<Vec<u8>> {
        let retry = u8::from(error.retry);
        let challenge = hex::encode_upper(challenge);
        let text = format!("E={} R={retry} C={challenge} V=3 M={}", error.code.number(), error.message);
        with_header(FAILURE, id, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_fields_are_read_in_any_order_and_completeness() {
        let parse = |text: &str| failure(text.as_bytes());
        let full =
            parse("E=691 R=1 C=00112233445566778899AABBCCDDEEFF V=3 M=Wrong \u{7}password E=1").unwrap();
        assert_eq!(full.code, MschapCode::AuthenticationFailure);
        assert!(full.retry);
        assert_eq!(full.message, "Wrong password E=1", "no control characters, and no field inside the text");
        let least = parse("E=648").unwrap();
        let expected =
            MschapError { code: MschapCode::PasswordExpired, retry: false, message: String::new() };
        assert_eq!(least, expected);
        assert_eq!(parse("V=3 R=0 E=12345").unwrap().code, MschapCode::Other(12345));
        for broken in ["", "E=", "E=x", "R=1", "M=E=691", "E=99999999999"] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_proof_must_be_whole_and_stand_alone() {
        let proof = b"S=407A5589115FD0D6209F510FE9C04566932CDA56";
        let data = |rest: &[u8]| [&[SUCCESS, 1, 0, 0], proof.as_slice(), rest].concat();
        assert_eq!(ServerMessage::parse(&data(b"")), Some(ServerMessage::Success { proof }));
        assert_eq!(ServerMessage::parse(&data(b" M=Hello")), Some(ServerMessage::Success { proof }));
        assert_eq!(ServerMessage::parse(&data(b"0")), None);
        assert_eq!(ServerMessage::parse(&data(b"")[..45]), None);
    }

    #[test]
    fn each_side_reads_what_the_other_writes() {
        let challenge = from_server::challenge(9, &[1; 16], "gateway").unwrap();
        let expected = ServerMessage::Challenge { id: 9, challenge: &[1; 16] };
        assert_eq!(ServerMessage::parse(&challenge), Some(expected));
        let answer = response(9, &[2; 16], &[3; 24], b"alice").unwrap();
        let expected =
            PeerMessage::Response { peer_challenge: &[2; 16], nt_response: &[3; 24], name: b"alice" };
        assert_eq!(PeerMessage::parse(&answer), Some(expected));
    }
}
