//! What can be wrong with the bytes of a message, where, and what RFC 7296 §2.21 says to answer.

use std::fmt;

use super::{NotifyType, PayloadType};

/// The structure that was being decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The fixed header of the message.
    Header,
    /// A payload, its generic header included.
    Payload(PayloadType),
    /// What follows the last payload of a chain.
    Trailer,
}

/// Where decoding stopped. The offset counts from the start of the bytes that were given to the decoder: the
/// datagram without its non-ESP marker, or the content of the SK payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The structure.
    pub part: Part,
    /// Octets from the start.
    pub offset: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            Part::Header => write!(f, "IKE header at offset {}", self.offset),
            Part::Payload(kind) => write!(f, "{kind} payload at offset {}", self.offset),
            Part::Trailer => write!(f, "end of the payloads at offset {}", self.offset),
        }
    }
}

/// Why a message can't be decoded. The peer is at fault, or the bytes are no IKE message at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end within a field.
    #[error("{place}: {what} needs {needed} octets, {available} are left")]
    Truncated {
        /// Where the field starts.
        place: Place,
        /// The field.
        what: &'static str,
        /// How long it is.
        needed: usize,
        /// How much there is.
        available: usize,
    },
    /// A length that the structure can't have.
    #[error("{place}: {what} is {length} octets long, allowed: {allowed}")]
    BadLength {
        /// Where the structure starts or the length field stands.
        place: Place,
        /// The structure.
        what: &'static str,
        /// Its length.
        length: usize,
        /// The lengths it may have.
        allowed: &'static str,
    },
    /// A value out of its range.
    #[error("{place}: {what} is {value}, allowed: {allowed}")]
    BadValue {
        /// Where the value stands.
        place: Place,
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The values it may have.
        allowed: &'static str,
    },
    /// More elements than this decoder is willing to hold.
    #[error("{place}: more than {limit} {what}")]
    TooMany {
        /// Where the first element beyond the limit stands.
        place: Place,
        /// The elements.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// Not IKE version 2 (RFC 7296 §2.5).
    #[error("IKE major version {major}, allowed: 2")]
    BadVersion {
        /// The major version in the header.
        major: u8,
    },
    /// A payload of a type unknown here, marked as critical (RFC 7296 §2.5).
    #[error("critical payload of unknown type {0}")]
    UnsupportedCriticalPayload(u8),
}

impl DecodeError {
    /// The notification that tells the peer about it, type and data, or `None` when nothing is to be sent.
    ///
    /// The caller decides whether an answer may leave at all: INVALID_SYNTAX goes into protected messages only
    /// once their integrity is verified (RFC 7296 §2.21), and responses are never answered.
    #[must_use]
    pub fn notify(&self) -> Option<(NotifyType, Vec<u8>)> {
        match *self {
            // RFC 7296 §2.5: only a version above ours is answered; IKEv1 is a different protocol.
            Self::BadVersion { major } => {
                (major > 2).then_some((NotifyType::InvalidMajorVersion, Vec::new()))
            }
            Self::UnsupportedCriticalPayload(kind) => {
                Some((NotifyType::UnsupportedCriticalPayload, vec![kind]))
            }
            Self::Truncated { place, .. }
            | Self::BadLength { place, .. }
            | Self::BadValue { place, .. }
            | Self::TooMany { place, .. } => match place.part {
                // Without a trustworthy header there is no exchange to answer in.
                Part::Header => None,
                Part::Payload(_) | Part::Trailer => Some((NotifyType::InvalidSyntax, Vec::new())),
            },
        }
    }
}
