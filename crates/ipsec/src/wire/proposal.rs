//! SA payload: proposals and transforms (RFC 7296 §3.3).

use super::Spi;

/// Security protocol identifiers (RFC 7296 §3.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Protocol {
    /// IKE (1).
    Ike,
    /// AH (2): never accepted.
    Ah,
    /// ESP (3).
    Esp,
    /// Anything else.
    Other(u8),
}

/// One proposal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proposal {
    /// Proposal number, from 1.
    pub number: u8,
    /// Protocol it proposes.
    pub protocol: Protocol,
    /// The sender's SPI for it.
    pub spi: Spi,
    /// Transforms in the sender's order.
    pub transforms: Vec<Transform>,
}

/// Transform types (RFC 7296 §3.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum TransformType {
    /// ENCR (1).
    Encr,
    /// PRF (2).
    Prf,
    /// INTEG (3).
    Integ,
    /// Key exchange (4).
    Ke,
    /// Extended sequence numbers (5).
    Esn,
    /// Unknown type: makes its proposal unacceptable, not the message malformed.
    Other(u8),
}

/// One transform with its only defined attribute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transform {
    /// Transform type.
    pub kind: TransformType,
    /// IANA transform ID.
    pub id: u16,
    /// Key Length attribute (14), in bits.
    pub key_bits: Option<u16>,
    /// An attribute other than Key Length was present: the transform must not be chosen (RFC 7296 §3.3.6).
    pub unknown_attribute: bool,
}
