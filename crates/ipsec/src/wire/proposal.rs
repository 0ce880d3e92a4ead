//! SA payload: proposals and transforms (RFC 7296 §3.3).

use std::fmt;

use super::reader::Reader;
use super::writer::{count8, with_length16};
use super::{DecodeError, Spi};

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

/// What [`Proposal`] numbers can count.
const MAX_PROPOSALS: usize = 255;
const MORE_PROPOSALS: u8 = 2;
const MORE_TRANSFORMS: u8 = 3;
const LAST: u8 = 0;
/// The "TV" format: type and a value of two octets, no length (RFC 7296 §3.3.5).
const ATTRIBUTE_FORMAT_TV: u16 = 0x8000;
const ATTRIBUTE_KEY_LENGTH: u16 = 14;

impl Protocol {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Ike => 1,
            Self::Ah => 2,
            Self::Esp => 3,
            Self::Other(n) => n,
        }
    }

    /// From the number on the wire.
    #[must_use]
    pub fn from_number(n: u8) -> Self {
        match n {
            1 => Self::Ike,
            2 => Self::Ah,
            3 => Self::Esp,
            n => Self::Other(n),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ike => f.write_str("IKE"),
            Self::Ah => f.write_str("AH"),
            Self::Esp => f.write_str("ESP"),
            Self::Other(n) => write!(f, "protocol {n}"),
        }
    }
}

impl TransformType {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Encr => 1,
            Self::Prf => 2,
            Self::Integ => 3,
            Self::Ke => 4,
            Self::Esn => 5,
            Self::Other(n) => n,
        }
    }

    /// From the number on the wire.
    #[must_use]
    pub fn from_number(n: u8) -> Self {
        match n {
            1 => Self::Encr,
            2 => Self::Prf,
            3 => Self::Integ,
            4 => Self::Ke,
            5 => Self::Esn,
            n => Self::Other(n),
        }
    }
}

/// Reads the body of an SA payload.
pub(super) fn decode_proposals(r: &mut Reader<'_>) -> Result<Vec<Proposal>, DecodeError> {
    let mut proposals = Vec::new();
    loop {
        let place = r.place();
        if proposals.len() == MAX_PROPOSALS {
            return Err(DecodeError::TooMany { place, what: "proposals", limit: MAX_PROPOSALS });
        }
        let more = r.u8("proposal")?;
        proposals.push(Proposal::decode(r)?);
        match more {
            LAST => return r.finish("what follows the last proposal", "0").map(|()| proposals),
            MORE_PROPOSALS => {}
            other => {
                return Err(place.bad_value("last substructure", other, "0 (last) or 2 (more proposals)"));
            }
        }
    }
}

/// Writes the body of an SA payload.
pub(super) fn encode_proposals(proposals: &[Proposal], out: &mut Vec<u8>) {
    let mut rest = proposals.iter().peekable();
    while let Some(proposal) = rest.next() {
        let more = if rest.peek().is_some() { MORE_PROPOSALS } else { LAST };
        with_length16(out, 2, |out| proposal.encode(more, out));
    }
}

impl Proposal {
    /// Reads a proposal behind its "last substructure" octet.
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.u8("proposal")?; // RESERVED
        let mut r = r.sub_after_length(4, "proposal", "8 or more")?;
        let number = r.u8("proposal number")?;
        let protocol = Protocol::from_number(r.u8("protocol ID")?);
        let size_place = r.place();
        let spi_size = r.u8("SPI size")?;
        let transform_count = r.u8("number of transforms")?;
        let spi = match (protocol, Spi::decode(&mut r, spi_size)?) {
            (Protocol::Ike, spi @ (Spi::None | Spi::Ike(_)))
            | (Protocol::Ah | Protocol::Esp, spi @ Spi::Esp(_))
            | (Protocol::Other(_), spi) => spi,
            (Protocol::Ike, Spi::Esp(_)) => {
                return Err(size_place.bad_value("SPI size of an IKE proposal", spi_size, "0 or 8"));
            }
            (Protocol::Ah | Protocol::Esp, Spi::None | Spi::Ike(_)) => {
                return Err(size_place.bad_value("SPI size of an AH or ESP proposal", spi_size, "4"));
            }
        };

        let mut transforms = Vec::with_capacity(usize::from(transform_count));
        for index in 1..=transform_count {
            let place = r.place();
            let more = r.u8("transform")?;
            let expected = if index == transform_count { LAST } else { MORE_TRANSFORMS };
            if more != expected {
                return Err(place.bad_value("last substructure", more, "0 in the last transform, else 3"));
            }
            transforms.push(Transform::decode(&mut r)?);
        }
        r.finish("what follows the last transform", "0")?;
        Ok(Self { number, protocol, spi, transforms })
    }

    fn encode(&self, more: u8, out: &mut Vec<u8>) {
        let spi_size = self.spi.size();
        let transform_count = count8(self.transforms.len());
        out.extend_from_slice(&[
            more,
            0,
            0,
            0,
            self.number,
            self.protocol.number(),
            spi_size,
            transform_count,
        ]);
        self.spi.encode(out);
        let mut rest = self.transforms.iter().peekable();
        while let Some(transform) = rest.next() {
            let more = if rest.peek().is_some() { MORE_TRANSFORMS } else { LAST };
            with_length16(out, 2, |out| transform.encode(more, out));
        }
    }
}

impl Transform {
    /// Reads a transform behind its "last substructure" octet.
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.u8("transform")?; // RESERVED
        let mut r = r.sub_after_length(4, "transform", "8 or more")?;
        let kind = TransformType::from_number(r.u8("transform type")?);
        r.u8("transform")?; // RESERVED
        let id = r.u16("transform ID")?;
        let mut transform = Self { kind, id, key_bits: None, unknown_attribute: false };
        while !r.is_empty() {
            transform.decode_attribute(&mut r)?;
        }
        Ok(transform)
    }

    fn decode_attribute(&mut self, r: &mut Reader<'_>) -> Result<(), DecodeError> {
        let format_and_type = r.u16("transform attribute")?;
        let value_or_length = r.u16("transform attribute")?;
        let kind = format_and_type & !ATTRIBUTE_FORMAT_TV;
        let is_short = format_and_type & ATTRIBUTE_FORMAT_TV != 0;
        if !is_short {
            r.bytes(usize::from(value_or_length), "value of a transform attribute")?;
        }
        // Key Length has the TV format and stands once (RFC 7296 §3.3.5); anything else is not understood.
        if kind == ATTRIBUTE_KEY_LENGTH && is_short && self.key_bits.is_none() {
            self.key_bits = Some(value_or_length);
        } else {
            self.unknown_attribute = true;
        }
        Ok(())
    }

    /// Writes the transform; attributes that were not understood are not kept and so not written.
    fn encode(&self, more: u8, out: &mut Vec<u8>) {
        out.extend_from_slice(&[more, 0, 0, 0, self.kind.number(), 0]);
        out.extend_from_slice(&self.id.to_be_bytes());
        if let Some(bits) = self.key_bits {
            out.extend_from_slice(&(ATTRIBUTE_FORMAT_TV | ATTRIBUTE_KEY_LENGTH).to_be_bytes());
            out.extend_from_slice(&bits.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Part;

    fn decode(body: &[u8]) -> Result<Vec<Proposal>, DecodeError> {
        decode_proposals(&mut Reader::new(body, Part::Trailer, 0))
    }

    /// A last proposal for IKE with one AES-256-GCM transform.
    const BODY: [u8; 20] = [0, 0, 0, 20, 1, 1, 0, 1, 0, 0, 0, 12, 1, 0, 0, 20, 0x80, 14, 1, 0];

    fn with(at: usize, octet: u8) -> Result<Vec<Proposal>, DecodeError> {
        let mut body = BODY;
        body[at] = octet;
        decode(&body)
    }

    fn with_attributes(attributes: &[u8]) -> Transform {
        let transform_len = u8::try_from(8 + attributes.len()).unwrap();
        let head = [0, 0, 0, 8 + transform_len, 1, 1, 0, 1];
        let transform = [0, 0, 0, transform_len, 1, 0, 0, 20];
        decode(&[&head[..], &transform, attributes].concat()).unwrap().remove(0).transforms.remove(0)
    }

    #[test]
    fn a_proposal_is_read_as_rfc_7296_lays_it_out() {
        let transform =
            Transform { kind: TransformType::Encr, id: 20, key_bits: Some(256), unknown_attribute: false };
        let proposal =
            Proposal { number: 1, protocol: Protocol::Ike, spi: Spi::None, transforms: vec![transform] };
        assert_eq!(decode(&BODY), Ok(vec![proposal]));
    }

    #[test]
    fn markers_lengths_and_counts_that_contradict_each_other_are_refused() {
        assert!(with(0, 1).is_err(), "neither last nor more proposals");
        assert!(with(0, 2).is_err(), "more proposals, and none there");
        for length in [0, 3, 7, 8, 19, 21] {
            assert!(with(3, length).is_err(), "a proposal of {length} octets");
        }
        for size in [4, 1, 16] {
            assert!(with(6, size).is_err(), "an IKE SPI of {size} octets");
        }
        assert!(with(7, 0).is_err(), "a transform that isn't counted");
        assert!(with(7, 2).is_err(), "a transform that isn't there");
        assert!(with(8, 3).is_err(), "more transforms, and none there");
        for length in [0, 3, 7, 9, 11, 13] {
            assert!(with(11, length).is_err(), "a transform of {length} octets");
        }
        assert!(with(16, 0).is_err(), "an attribute longer than its transform");
        assert!(decode(&[&BODY[..], &BODY].concat()).is_err(), "a proposal behind the last one");
        assert!(decode(&[]).is_err(), "no proposal");
    }

    #[test]
    fn an_esp_proposal_needs_an_spi_of_four_octets() {
        assert!(with(5, Protocol::Esp.number()).is_err());
        let body = [0, 0, 0, 12, 1, 3, 4, 0, 0xc0, 0, 0, 1];
        assert_eq!(decode(&body).unwrap()[0].spi, Spi::Esp(crate::wire::EspSpi(0xc000_0001)));
    }

    #[test]
    fn a_transform_with_anything_but_one_key_length_is_marked() {
        let key_length = [0x80, 14, 1, 0];
        assert_eq!(with_attributes(&[]).key_bits, None);
        assert!(!with_attributes(&key_length).unknown_attribute);
        for attributes in [
            [&key_length[..], &[0x80, 14, 0, 128]].concat(),
            [&key_length[..], &[0x80, 15, 0, 1]].concat(),
            [&key_length[..], &[0, 15, 0, 3, 1, 2, 3]].concat(),
            vec![0, 14, 0, 2, 1, 0],
        ] {
            assert!(with_attributes(&attributes).unknown_attribute, "{attributes:?}");
        }
        assert_eq!(with_attributes(&[key_length, [0x80, 14, 0, 128]].concat()).key_bits, Some(256));
    }

    #[test]
    fn the_number_of_proposals_is_bounded() {
        let chain = |n: usize| {
            let mut body = [MORE_PROPOSALS, 0, 0, 8, 1, 1, 0, 0].repeat(n - 1);
            body.extend_from_slice(&[LAST, 0, 0, 8, 1, 1, 0, 0]);
            decode(&body)
        };
        assert_eq!(chain(MAX_PROPOSALS).map(|proposals| proposals.len()), Ok(MAX_PROPOSALS));
        let error = chain(MAX_PROPOSALS + 1).unwrap_err();
        assert!(matches!(error, DecodeError::TooMany { limit: MAX_PROPOSALS, .. }), "{error}");
    }

    #[test]
    fn every_transform_number_keeps_its_place_in_a_list_of_255() {
        let transforms: Vec<_> = (0..=254)
            .map(|id| Transform {
                kind: TransformType::Encr,
                id,
                key_bits: Some(id),
                unknown_attribute: false,
            })
            .collect();
        let proposals = vec![Proposal { number: 1, protocol: Protocol::Ike, spi: Spi::None, transforms }];
        let mut body = Vec::new();
        encode_proposals(&proposals, &mut body);
        assert_eq!(decode(&body), Ok(proposals));
    }
}
