//! EAP packets (RFC 3748 §4): a checked view, and encoding.

/// EAP method types (RFC 3748 §5, IANA "EAP Registry").
pub(super) mod method {
    pub(in crate::eap) const IDENTITY: u8 = 1;
    pub(in crate::eap) const NOTIFICATION: u8 = 2;
    pub(in crate::eap) const NAK: u8 = 3;
    pub(in crate::eap) const MSCHAPV2: u8 = 26;
}

const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
const SUCCESS: u8 = 3;
const FAILURE: u8 = 4;

const HEADER_LEN: usize = 4;

/// A packet whose length field has been checked against what came. Octets beyond it are padding and left out
/// (RFC 3748 §4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Packet<'a> {
    Request { identifier: u8, method: u8, data: &'a [u8] },
    Response { identifier: u8, method: u8, data: &'a [u8] },
    Success,
    Failure,
}

impl<'a> Packet<'a> {
    /// `None` if the packet is truncated, its length field is too small, a request or response lacks its type, or the
    /// code is unknown.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let &[code, identifier, high, low, ..] = bytes else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let body = bytes.get(HEADER_LEN..length)?;
        match code {
            REQUEST => {
                let (&method, data) = body.split_first()?;
                Some(Self::Request { identifier, method, data })
            }
            RESPONSE => {
                let (&method, data) = body.split_first()?;
                Some(Self::Response { identifier, method, data })
            }
            SUCCESS => Some(Self::Success),
            FAILURE => Some(Self::Failure),
            _ => None,
        }
    }
}

/// `None` if the data is too long for the length field.
pub(super) fn response(identifier: u8, method: u8, data: &[u8]) -> Option<Vec<u8>> {
    encode(RESPONSE, identifier, method, data)
}

/// `None` if the data is too long for the length field.
#[cfg(any(test, feature = "responder"))]
pub(super) fn request(identifier: u8, method: u8, data: &[u8]) -> Option<Vec<u8>> {
    encode(REQUEST, identifier, method, data)
}

#[cfg(any(test, feature = "responder"))]
pub(super) fn success(identifier: u8) -> Vec<u8> {
    vec![SUCCESS, identifier, 0, 4]
}

#[cfg(any(test, feature = "responder"))]
pub(super) fn failure(identifier: u8) -> Vec<u8> {
    vec![FAILURE, identifier, 0, 4]
}

fn encode(code: u8, identifier: u8, method: u8, data: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(HEADER_LEN + 1 + data.len()).ok()?;
    let [high, low] = length.to_be_bytes();
    let mut packet = vec![code, identifier, high, low, method];
    packet.extend_from_slice(data);
    Some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_back_from_their_encoding() {
        let bytes = response(7, method::IDENTITY, b"alice").unwrap();
        let expected = Packet::Response { identifier: 7, method: method::IDENTITY, data: b"alice" };
        assert_eq!(Packet::parse(&bytes), Some(expected));
        assert_eq!(Packet::parse(&success(1)), Some(Packet::Success));
        assert_eq!(Packet::parse(&failure(1)), Some(Packet::Failure));
    }

    #[test]
    fn padding_is_ignored_and_truncation_refused() {
        let mut bytes = request(1, method::NOTIFICATION, b"hello").unwrap();
        bytes.extend_from_slice(&[0; 3]);
        let expected = Packet::Request { identifier: 1, method: method::NOTIFICATION, data: b"hello" };
        assert_eq!(Packet::parse(&bytes), Some(expected));
        for len in 0..bytes.len() - 3 {
            assert_eq!(Packet::parse(&bytes[..len]), None);
        }
    }

    #[test]
    fn impossible_headers_are_refused() {
        for bytes in
            [&[1, 1, 0, 4][..], &[2, 1, 0, 4], &[3, 1, 0, 3], &[3, 1, 0, 0], &[0, 1, 0, 4], &[5, 1, 0, 4]]
        {
            assert_eq!(Packet::parse(bytes), None, "{bytes:?}");
        }
    }
}
