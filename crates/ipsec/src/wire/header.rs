//! The IKE header and the generic payload header's numbers (RFC 7296 §3.1, §3.2).

use std::fmt;

use super::reader::Reader;
use super::{DecodeError, IkeSpi, MessageId, Part};

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

impl Exchange {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::IkeSaInit => 34,
            Self::IkeAuth => 35,
            Self::CreateChildSa => 36,
            Self::Informational => 37,
            Self::Other(n) => n,
        }
    }

    /// From the number on the wire.
    #[must_use]
    pub fn from_number(n: u8) -> Self {
        match n {
            34 => Self::IkeSaInit,
            35 => Self::IkeAuth,
            36 => Self::CreateChildSa,
            37 => Self::Informational,
            n => Self::Other(n),
        }
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IkeSaInit => f.write_str("IKE_SA_INIT"),
            Self::IkeAuth => f.write_str("IKE_AUTH"),
            Self::CreateChildSa => f.write_str("CREATE_CHILD_SA"),
            Self::Informational => f.write_str("INFORMATIONAL"),
            Self::Other(n) => write!(f, "exchange {n}"),
        }
    }
}

macro_rules! payload_types {
    ($($name:ident = $num:literal, $text:literal, $doc:literal;)*) => {
        /// Payload types (RFC 7296 §3.2, RFC 7383 §2.5).
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum PayloadType {
            $(#[doc = concat!($doc, " (", stringify!($num), ").")] $name,)*
            /// A type without a name here: skipped, or refused when it is critical.
            Unknown(u8),
        }

        impl PayloadType {
            /// The number on the wire.
            #[must_use]
            pub fn number(self) -> u8 {
                match self { $(Self::$name => $num,)* Self::Unknown(n) => n }
            }

            /// From the number on the wire.
            #[must_use]
            pub fn from_number(n: u8) -> Self {
                match n { $($num => Self::$name,)* n => Self::Unknown(n) }
            }
        }

        impl fmt::Display for PayloadType {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $(Self::$name => f.write_str($text),)* Self::Unknown(n) => write!(f, "type {n}") }
            }
        }
    };
}

payload_types! {
    None = 0, "no", "No next payload";
    Sa = 33, "SA", "Security association";
    Ke = 34, "KE", "Key exchange";
    IdI = 35, "IDi", "Identification of the initiator";
    IdR = 36, "IDr", "Identification of the responder";
    Cert = 37, "CERT", "Certificate";
    CertReq = 38, "CERTREQ", "Certificate request";
    Auth = 39, "AUTH", "Authentication";
    Nonce = 40, "No", "Nonce of either side";
    Notify = 41, "N", "Notify";
    Delete = 42, "D", "Delete";
    Vendor = 43, "V", "Vendor ID";
    TsI = 44, "TSi", "Traffic selectors of the initiator";
    TsR = 45, "TSr", "Traffic selectors of the responder";
    Sk = 46, "SK", "Encrypted and authenticated";
    Config = 47, "CP", "Configuration";
    Eap = 48, "EAP", "Extensible authentication";
    Skf = 53, "SKF", "Encrypted and authenticated fragment";
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

const FLAG_INITIATOR: u8 = 0x08;
const FLAG_RESPONSE: u8 = 0x20;
const MAJOR_VERSION: u8 = 2;

impl Header {
    /// Octets of the header on the wire.
    pub const LEN: usize = 28;

    /// Reads the header of a message of exactly the reader's length; returns the first payload's type with it.
    ///
    /// The minor version and the reserved flags are ignored, as RFC 7296 §2.5 and §3.1 require.
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<(Self, u8), DecodeError> {
        r.enter(Part::Header);
        let total = r.len();
        let start = r.place();
        let spi_i = IkeSpi(r.u64("initiator's SPI")?);
        let spi_r = IkeSpi(r.u64("responder's SPI")?);
        let first = r.u8("next payload")?;
        let major = r.u8("version")? >> 4;
        let exchange = Exchange::from_number(r.u8("exchange type")?);
        let flags = r.u8("flags")?;
        let message_id = MessageId(r.u32("message ID")?);
        let length_place = r.place();
        let length = r.u32("length")?;

        if major != MAJOR_VERSION {
            return Err(DecodeError::BadVersion { major });
        }
        if spi_i == IkeSpi::ZERO {
            return Err(start.bad_value("initiator's SPI", 0_u8, "anything but 0"));
        }
        if usize::try_from(length) != Ok(total) {
            return Err(length_place.bad_value("length", length, "the length of the datagram"));
        }
        let initiator = flags & FLAG_INITIATOR != 0;
        let response = flags & FLAG_RESPONSE != 0;
        Ok((Self { spi_i, spi_r, exchange, initiator, response, message_id }, first))
    }

    /// Appends the header of a message whose first payload is of type `first` and that is `total` octets long.
    pub(super) fn encode(&self, out: &mut Vec<u8>, first: u8, total: usize) {
        let mut flags = 0;
        if self.initiator {
            flags |= FLAG_INITIATOR;
        }
        if self.response {
            flags |= FLAG_RESPONSE;
        }
        out.extend_from_slice(&self.spi_i.0.to_be_bytes());
        out.extend_from_slice(&self.spi_r.0.to_be_bytes());
        out.extend_from_slice(&[first, MAJOR_VERSION << 4, self.exchange.number(), flags]);
        out.extend_from_slice(&self.message_id.0.to_be_bytes());
        out.extend_from_slice(&u32::try_from(total).unwrap_or(u32::MAX).to_be_bytes());
    }
}
