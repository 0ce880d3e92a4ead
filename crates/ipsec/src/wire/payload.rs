//! Payloads (RFC 7296 §3.2 to §3.16).

use std::fmt;

use super::reader::Reader;
use super::writer::length16;
use super::{
    ConfigPayload, DecodeError, EspSpi, Id, IkeSpi, Notify, PayloadType, Proposal, Protocol, TrafficSelector,
    proposal, selector,
};

/// One decoded payload. Unknown payloads without the critical bit are skipped by the decoder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// SA (33): proposals in the sender's order of preference.
    Sa(Vec<Proposal>),
    /// KE (34): Diffie-Hellman group number and public value.
    Ke {
        /// IANA transform type 4 number.
        group: u16,
        /// The public value, in the group's own encoding.
        data: Vec<u8>,
    },
    /// IDi (35).
    IdI(Id),
    /// IDr (36).
    IdR(Id),
    /// CERT (37).
    Cert(Cert),
    /// CERTREQ (38): encoding, then for X.509 the concatenated SHA-1 hashes of accepted CA public keys.
    CertReq {
        /// Certificate encoding (RFC 7296 §3.6).
        encoding: u8,
        /// Certification authority field.
        authorities: Vec<u8>,
    },
    /// AUTH (39).
    Auth {
        /// Authentication method number; 1 RSA, 2 PSK, 9-11 ECDSA, 14 digital signature (RFC 7427).
        method: u8,
        /// Authentication data.
        data: Vec<u8>,
    },
    /// Ni or Nr (40): 16 to 256 octets.
    Nonce(Vec<u8>),
    /// N (41).
    Notify(Notify),
    /// D (42).
    Delete(Delete),
    /// V (43).
    Vendor(Vec<u8>),
    /// TSi (44).
    TsI(Vec<TrafficSelector>),
    /// TSr (45).
    TsR(Vec<TrafficSelector>),
    /// CP (47).
    Config(ConfigPayload),
    /// EAP (48): a whole EAP packet (RFC 3748 §4).
    Eap(Vec<u8>),
}

/// CERT payload: an encoding number (4 = X.509 signature certificate) and its data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cert {
    /// Certificate encoding (RFC 7296 §3.6).
    pub encoding: u8,
    /// For encoding 4, one DER certificate.
    pub data: Vec<u8>,
}

impl Cert {
    /// X.509 Certificate - Signature.
    pub const X509_SIGNATURE: u8 = 4;
}

/// D payload (RFC 7296 §3.11).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Delete {
    /// The IKE SA that carries the message.
    Ike,
    /// The sender's inbound ESP SPIs.
    Esp(Vec<EspSpi>),
    /// AH or unknown protocol: ignored.
    Other(u8),
}

/// Any SPI a proposal or notification may carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spi {
    /// None: the SPI size field is zero.
    None,
    /// Of an IKE SA.
    Ike(IkeSpi),
    /// Of an ESP SA.
    Esp(EspSpi),
}

/// RFC 7296 §3.9.
const NONCE_LENGTHS: std::ops::RangeInclusive<usize> = 16..=256;
/// Code, identifier, length (RFC 3748 §4).
const EAP_HEADER_LEN: usize = 4;

impl Payload {
    /// The payload's type.
    #[must_use]
    pub fn payload_type(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::Sa,
            Self::Ke { .. } => PayloadType::Ke,
            Self::IdI(_) => PayloadType::IdI,
            Self::IdR(_) => PayloadType::IdR,
            Self::Cert(_) => PayloadType::Cert,
            Self::CertReq { .. } => PayloadType::CertReq,
            Self::Auth { .. } => PayloadType::Auth,
            Self::Nonce(_) => PayloadType::Nonce,
            Self::Notify(_) => PayloadType::Notify,
            Self::Delete(_) => PayloadType::Delete,
            Self::Vendor(_) => PayloadType::Vendor,
            Self::TsI(_) => PayloadType::TsI,
            Self::TsR(_) => PayloadType::TsR,
            Self::Config(_) => PayloadType::Config,
            Self::Eap(_) => PayloadType::Eap,
        }
    }

    /// Reads the body of a payload, to its end; `None` for a type without a body to read here.
    pub(super) fn decode(kind: PayloadType, r: &mut Reader<'_>) -> Result<Option<Self>, DecodeError> {
        let payload = match kind {
            PayloadType::Sa => Self::Sa(proposal::decode_proposals(r)?),
            PayloadType::Ke => {
                let group = r.u16("group number")?;
                r.bytes(2, "reserved octets")?;
                Self::Ke { group, data: r.remainder().to_vec() }
            }
            PayloadType::IdI => Self::IdI(Id::decode(r)?),
            PayloadType::IdR => Self::IdR(Id::decode(r)?),
            PayloadType::Cert => {
                Self::Cert(Cert { encoding: r.u8("certificate encoding")?, data: r.remainder().to_vec() })
            }
            PayloadType::CertReq => {
                Self::CertReq { encoding: r.u8("certificate encoding")?, authorities: r.remainder().to_vec() }
            }
            PayloadType::Auth => {
                let method = r.u8("authentication method")?;
                r.bytes(3, "reserved octets")?;
                Self::Auth { method, data: r.remainder().to_vec() }
            }
            PayloadType::Nonce => Self::Nonce(decode_nonce(r)?),
            PayloadType::Notify => Self::Notify(Notify::decode(r)?),
            PayloadType::Delete => Self::Delete(Delete::decode(r)?),
            PayloadType::Vendor => Self::Vendor(r.remainder().to_vec()),
            PayloadType::TsI => Self::TsI(selector::decode_selectors(r)?),
            PayloadType::TsR => Self::TsR(selector::decode_selectors(r)?),
            PayloadType::Config => Self::Config(ConfigPayload::decode(r)?),
            PayloadType::Eap => Self::Eap(decode_eap(r)?),
            PayloadType::None | PayloadType::Sk | PayloadType::Skf | PayloadType::Unknown(_) => {
                return Ok(None);
            }
        };
        r.finish("what follows the last field", "0").map(|()| Some(payload))
    }

    /// Writes the body of the payload.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Sa(proposals) => proposal::encode_proposals(proposals, out),
            Self::Ke { group, data } => {
                out.extend_from_slice(&group.to_be_bytes());
                out.extend_from_slice(&[0; 2]);
                out.extend_from_slice(data);
            }
            Self::IdI(id) | Self::IdR(id) => out.extend_from_slice(&id.to_payload_body()),
            Self::Cert(Cert { encoding, data }) | Self::CertReq { encoding, authorities: data } => {
                out.push(*encoding);
                out.extend_from_slice(data);
            }
            Self::Auth { method, data } => {
                out.extend_from_slice(&[*method, 0, 0, 0]);
                out.extend_from_slice(data);
            }
            Self::Nonce(data) | Self::Vendor(data) | Self::Eap(data) => out.extend_from_slice(data),
            Self::Notify(notify) => notify.encode(out),
            Self::Delete(delete) => delete.encode(out),
            Self::TsI(selectors) | Self::TsR(selectors) => selector::encode_selectors(selectors, out),
            Self::Config(config) => config.encode(out),
        }
    }
}

/// The notation of logs and tests: `SA`, `N(COOKIE)`, `EAP`.
impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Notify(notify) => write!(f, "N({})", notify.kind),
            Self::Sa(_)
            | Self::Ke { .. }
            | Self::IdI(_)
            | Self::IdR(_)
            | Self::Cert(_)
            | Self::CertReq { .. }
            | Self::Auth { .. }
            | Self::Nonce(_)
            | Self::Delete(_)
            | Self::Vendor(_)
            | Self::TsI(_)
            | Self::TsR(_)
            | Self::Config(_)
            | Self::Eap(_) => self.payload_type().fmt(f),
        }
    }
}

fn decode_nonce(r: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    let place = r.place();
    let nonce = r.remainder();
    if NONCE_LENGTHS.contains(&nonce.len()) {
        Ok(nonce.to_vec())
    } else {
        Err(place.bad_length("nonce", nonce.len(), "16 to 256"))
    }
}

fn decode_eap(r: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    let place = r.place();
    let available = r.len();
    let packet = r.remainder();
    let Some([_code, _identifier, high, low]) = packet.first_chunk::<EAP_HEADER_LEN>() else {
        return Err(DecodeError::Truncated { place, what: "EAP packet", needed: EAP_HEADER_LEN, available });
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length == packet.len() {
        Ok(packet.to_vec())
    } else {
        Err(place.bad_length("EAP packet", length, "the length of the payload's body"))
    }
}

impl Delete {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let protocol = Protocol::from_number(r.u8("protocol ID")?);
        let size_place = r.place();
        let spi_size = r.u8("SPI size")?;
        let count_place = r.place();
        let count = r.u16("number of SPIs")?;
        match protocol {
            Protocol::Ike if spi_size != 0 => {
                Err(size_place.bad_value("SPI size of an IKE SA", spi_size, "0"))
            }
            Protocol::Ike if count != 0 => Err(count_place.bad_value("number of IKE SPIs", count, "0")),
            Protocol::Ike => Ok(Self::Ike),
            Protocol::Esp if spi_size != 4 => Err(size_place.bad_value("SPI size of ESP", spi_size, "4")),
            Protocol::Esp => {
                // The list is as long as the payload, not as the count claims: nothing is reserved for the count.
                if r.len() != usize::from(count) * 4 {
                    return Err(count_place.bad_value(
                        "number of SPIs",
                        count,
                        "as many as the payload holds",
                    ));
                }
                let mut spis = Vec::with_capacity(usize::from(count));
                while !r.is_empty() {
                    spis.push(EspSpi(r.u32("SPI")?));
                }
                Ok(Self::Esp(spis))
            }
            Protocol::Ah | Protocol::Other(_) => {
                r.remainder();
                Ok(Self::Other(protocol.number()))
            }
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ike => out.extend_from_slice(&[Protocol::Ike.number(), 0, 0, 0]),
            Self::Esp(spis) => {
                out.extend_from_slice(&[Protocol::Esp.number(), 4]);
                out.extend_from_slice(&length16(spis.len()).to_be_bytes());
                for spi in spis {
                    out.extend_from_slice(&spi.0.to_be_bytes());
                }
            }
            Self::Other(protocol) => out.extend_from_slice(&[*protocol, 0, 0, 0]),
        }
    }
}

impl Spi {
    /// Octets on the wire.
    #[must_use]
    pub fn size(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Esp(_) => 4,
            Self::Ike(_) => 8,
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>, size: u8) -> Result<Self, DecodeError> {
        match size {
            0 => Ok(Self::None),
            4 => r.u32("SPI").map(|spi| Self::Esp(EspSpi(spi))),
            8 => r.u64("SPI").map(|spi| Self::Ike(IkeSpi(spi))),
            other => Err(r.place().bad_value("SPI size", other, "0, 4 or 8")),
        }
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::None => {}
            Self::Esp(spi) => out.extend_from_slice(&spi.0.to_be_bytes()),
            Self::Ike(spi) => out.extend_from_slice(&spi.0.to_be_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{NotifyType, Part};

    fn decode(kind: PayloadType, body: &[u8]) -> Result<Option<Payload>, DecodeError> {
        Payload::decode(kind, &mut Reader::new(body, Part::Payload(kind), 0))
    }

    #[test]
    fn a_nonce_has_16_to_256_octets() {
        for (length, is_allowed) in [(0, false), (15, false), (16, true), (256, true), (257, false)] {
            assert_eq!(decode(PayloadType::Nonce, &vec![0; length]).is_ok(), is_allowed, "{length} octets");
        }
    }

    #[test]
    fn an_eap_packet_is_as_long_as_it_says() {
        assert!(decode(PayloadType::Eap, &[3, 1, 0, 4]).is_ok());
        for body in
            [&[][..], &[3, 1, 0], &[3, 1, 0, 3], &[3, 1, 0, 5], &[3, 1, 0, 4, 0], &[1, 1, 0xff, 0xff, 1]]
        {
            assert!(decode(PayloadType::Eap, body).is_err(), "{body:?}");
        }
    }

    #[test]
    fn a_delete_holds_the_spis_that_it_counts() {
        let two = [3, 4, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
        let expected = Payload::Delete(Delete::Esp(vec![EspSpi(1), EspSpi(2)]));
        assert_eq!(decode(PayloadType::Delete, &two), Ok(Some(expected)));
        assert!(decode(PayloadType::Delete, &two[..11]).is_err());
        assert!(decode(PayloadType::Delete, &[&two[..], &[0]].concat()).is_err());
        assert!(decode(PayloadType::Delete, &[3, 4, 0xff, 0xff]).is_err(), "hostile count");
        assert!(decode(PayloadType::Delete, &[3, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]).is_err(), "wrong size");
        assert!(
            decode(PayloadType::Delete, &[1, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]).is_err(),
            "IKE has no SPI"
        );
        assert!(decode(PayloadType::Delete, &[1, 0, 0, 1]).is_err());
        assert_eq!(decode(PayloadType::Delete, &[1, 0, 0, 0]), Ok(Some(Payload::Delete(Delete::Ike))));
        assert_eq!(
            decode(PayloadType::Delete, &[2, 9, 9, 9, 9]),
            Ok(Some(Payload::Delete(Delete::Other(2))))
        );
    }

    #[test]
    fn a_notification_has_an_spi_of_a_size_that_exists() {
        for size in 0..=255 {
            let body = [&[3, size, 0x40, 9], &[1; 255][..usize::from(size)]].concat();
            let is_known = matches!(size, 0 | 4 | 8);
            assert_eq!(decode(PayloadType::Notify, &body).is_ok(), is_known, "{size} octets");
        }
        let redirect = decode(PayloadType::Notify, &[1, 0, 0x40, 0x17, 9]);
        let expected = Notify { protocol: Protocol::Ike, ..Notify::new(NotifyType::Redirect, vec![9]) };
        assert_eq!(redirect, Ok(Some(Payload::Notify(expected))));
    }

    #[test]
    fn identities_of_the_wrong_length_are_refused_with_the_right_one() {
        let error = decode(PayloadType::IdR, &[1, 0, 0, 0, 192, 0, 2]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "IDr payload at offset 4: identification data is 3 octets long, allowed: 4 for an IPv4 address"
        );
    }

    #[test]
    fn payloads_are_displayed_as_in_logs_of_strongswan() {
        let notify = |kind| Payload::Notify(Notify::new(kind, Vec::new()));
        assert_eq!(notify(NotifyType::Cookie).to_string(), "N(COOKIE)");
        assert_eq!(notify(NotifyType::Other(40_000)).to_string(), "N(notify type 40000)");
        assert_eq!(Payload::TsI(Vec::new()).to_string(), "TSi");
        assert_eq!(Payload::Sa(Vec::new()).to_string(), "SA");
    }
}
