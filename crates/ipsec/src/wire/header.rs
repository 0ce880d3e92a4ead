//! The IKE header (RFC 7296 §3.1).

use super::{IkeSpi, MessageId};

/// Exchange types (RFC 7296 §3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Exchange {
    /// IKE_SA_INIT (34).
    IkeSaInit,
    /// IKE_AUTH (35).
    IkeAuth,
    /// CREATE_CHILD_SA (36).
    CreateChildSa,
    /// INFORMATIONAL (37).
    Informational,
    /// Any other number: refused by the state machine.
    Other(u8),
}

/// The parts of the IKE header that a caller chooses or reads; version 2.0 is implied, lengths and the
/// first payload's type are computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// SPI of the peer that initiated the IKE SA.
    pub spi_i: IkeSpi,
    /// SPI of the peer that responded to it.
    pub spi_r: IkeSpi,
    /// Which exchange the message belongs to.
    pub exchange: Exchange,
    /// The I flag: sent by the original initiator of this IKE SA.
    pub initiator: bool,
    /// The R flag: a response.
    pub response: bool,
    /// Message ID.
    pub message_id: MessageId,
}
