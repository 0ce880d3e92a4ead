//! Configuration payload (RFC 7296 §3.15).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::reader::Reader;
use super::writer::length16;
use super::{DecodeError, Place};

/// CFG types (RFC 7296 §3.15).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigType {
    /// CFG_REQUEST (1).
    Request,
    /// CFG_REPLY (2).
    Reply,
    /// CFG_SET (3).
    Set,
    /// CFG_ACK (4).
    Ack,
    /// Anything else.
    Other(u8),
}

/// A CP payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigPayload {
    /// What is done with the attributes.
    pub kind: ConfigType,
    /// The attributes in order.
    pub attributes: Vec<ConfigAttribute>,
}

/// Configuration attributes (RFC 7296 §3.15.1). `None` stands for a zero-length (requesting) attribute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigAttribute {
    /// INTERNAL_IP4_ADDRESS (1).
    Ip4Address(Option<Ipv4Addr>),
    /// INTERNAL_IP4_NETMASK (2).
    Ip4Netmask(Option<Ipv4Addr>),
    /// INTERNAL_IP4_DNS (3).
    Ip4Dns(Option<Ipv4Addr>),
    /// INTERNAL_IP4_SUBNET (13): address and mask.
    Ip4Subnet(Option<(Ipv4Addr, Ipv4Addr)>),
    /// INTERNAL_IP6_ADDRESS (8): address and prefix length.
    Ip6Address(Option<(Ipv6Addr, u8)>),
    /// INTERNAL_IP6_DNS (10).
    Ip6Dns(Option<Ipv6Addr>),
    /// INTERNAL_IP6_SUBNET (15): address and prefix length.
    Ip6Subnet(Option<(Ipv6Addr, u8)>),
    /// INTERNAL_DNS_DOMAIN (25, RFC 8598).
    DnsDomain(String),
    /// APPLICATION_VERSION (7).
    ApplicationVersion(String),
    /// Any other attribute, kept as it came.
    Other(u16, Vec<u8>),
}

/// A reply with more attributes than this describes no network that a person could use.
const MAX_ATTRIBUTES: usize = 1024;
/// The R bit: sent as zero, ignored on receipt.
const ATTRIBUTE_TYPE_MASK: u16 = 0x7fff;

impl ConfigType {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Request => 1,
            Self::Reply => 2,
            Self::Set => 3,
            Self::Ack => 4,
            Self::Other(n) => n,
        }
    }

    /// From the number on the wire.
    #[must_use]
    pub fn from_number(n: u8) -> Self {
        match n {
            1 => Self::Request,
            2 => Self::Reply,
            3 => Self::Set,
            4 => Self::Ack,
            n => Self::Other(n),
        }
    }
}

impl ConfigPayload {
    /// Reads the body of a CP payload.
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = ConfigType::from_number(r.u8("CFG type")?);
        r.bytes(3, "reserved octets")?;
        let mut attributes = Vec::new();
        while !r.is_empty() {
            let place = r.place();
            if attributes.len() == MAX_ATTRIBUTES {
                return Err(DecodeError::TooMany { place, what: "attributes", limit: MAX_ATTRIBUTES });
            }
            attributes.push(ConfigAttribute::decode(r)?);
        }
        Ok(Self { kind, attributes })
    }

    /// Writes the body of a CP payload.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.kind.number(), 0, 0, 0]);
        for attribute in &self.attributes {
            let value = attribute.value();
            out.extend_from_slice(&(attribute.number() & ATTRIBUTE_TYPE_MASK).to_be_bytes());
            out.extend_from_slice(&length16(value.len()).to_be_bytes());
            out.extend_from_slice(&value);
        }
    }
}

impl ConfigAttribute {
    /// The attribute type on the wire.
    #[must_use]
    pub fn number(&self) -> u16 {
        match self {
            Self::Ip4Address(_) => 1,
            Self::Ip4Netmask(_) => 2,
            Self::Ip4Dns(_) => 3,
            Self::ApplicationVersion(_) => 7,
            Self::Ip6Address(_) => 8,
            Self::Ip6Dns(_) => 10,
            Self::Ip4Subnet(_) => 13,
            Self::Ip6Subnet(_) => 15,
            Self::DnsDomain(_) => 25,
            Self::Other(n, _) => *n,
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let place = r.place();
        let number = r.u16("attribute type")? & ATTRIBUTE_TYPE_MASK;
        let length = r.u16("attribute length")?;
        let value = r.bytes(usize::from(length), "attribute value")?;
        match number {
            1 => ipv4(value, place).map(Self::Ip4Address),
            2 => ipv4(value, place).map(Self::Ip4Netmask),
            3 => ipv4(value, place).map(Self::Ip4Dns),
            8 => ipv6_prefix(value, place).map(Self::Ip6Address),
            10 => ipv6(value, place).map(Self::Ip6Dns),
            13 => ipv4_subnet(value, place).map(Self::Ip4Subnet),
            15 => ipv6_prefix(value, place).map(Self::Ip6Subnet),
            7 => Ok(text(number, value, Self::ApplicationVersion)),
            25 => Ok(text(number, value, Self::DnsDomain)),
            other => Ok(Self::Other(other, value.to_vec())),
        }
    }

    fn value(&self) -> Vec<u8> {
        match self {
            Self::Ip4Address(ip) | Self::Ip4Netmask(ip) | Self::Ip4Dns(ip) => {
                ip.map_or_else(Vec::new, |ip| ip.octets().to_vec())
            }
            Self::Ip4Subnet(subnet) => {
                subnet.map_or_else(Vec::new, |(ip, mask)| [ip.octets(), mask.octets()].concat())
            }
            Self::Ip6Address(prefix) | Self::Ip6Subnet(prefix) => {
                prefix.map_or_else(Vec::new, |(ip, length)| ip.octets().into_iter().chain([length]).collect())
            }
            Self::Ip6Dns(ip) => ip.map_or_else(Vec::new, |ip| ip.octets().to_vec()),
            Self::DnsDomain(text) | Self::ApplicationVersion(text) => text.clone().into_bytes(),
            Self::Other(_, bytes) => bytes.clone(),
        }
    }
}

/// A value of exactly `N` octets, or `None` for the empty value of a request.
fn sized<const N: usize>(
    value: &[u8],
    place: Place,
    what: &'static str,
    allowed: &'static str,
) -> Result<Option<[u8; N]>, DecodeError> {
    if value.is_empty() {
        return Ok(None);
    }
    value.try_into().map(Some).map_err(|_| place.bad_length(what, value.len(), allowed))
}

fn ipv4(value: &[u8], place: Place) -> Result<Option<Ipv4Addr>, DecodeError> {
    Ok(sized::<4>(value, place, "IPv4 attribute", "0 or 4")?.map(Ipv4Addr::from))
}

fn ipv6(value: &[u8], place: Place) -> Result<Option<Ipv6Addr>, DecodeError> {
    Ok(sized::<16>(value, place, "IPv6 attribute", "0 or 16")?.map(Ipv6Addr::from))
}

fn ipv4_subnet(value: &[u8], place: Place) -> Result<Option<(Ipv4Addr, Ipv4Addr)>, DecodeError> {
    let subnet = sized::<8>(value, place, "IPv4 subnet attribute", "0 or 8")?;
    Ok(subnet.map(|[a, b, c, d, mask @ ..]| (Ipv4Addr::new(a, b, c, d), Ipv4Addr::from(mask))))
}

fn ipv6_prefix(value: &[u8], place: Place) -> Result<Option<(Ipv6Addr, u8)>, DecodeError> {
    let Some([address @ .., prefix]) = sized::<17>(value, place, "IPv6 prefix attribute", "0 or 17")? else {
        return Ok(None);
    };
    if prefix > 128 {
        return Err(place.bad_value("IPv6 prefix length", prefix, "0 to 128"));
    }
    Ok(Some((address.into(), prefix)))
}

/// Text that isn't UTF-8 is kept as an unknown attribute: it is advisory, and no reason to refuse the message.
fn text(number: u16, value: &[u8], known: fn(String) -> ConfigAttribute) -> ConfigAttribute {
    match std::str::from_utf8(value) {
        Ok(text) => known(text.to_owned()),
        Err(_) => ConfigAttribute::Other(number, value.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Part;

    fn decode(attributes: &[u8]) -> Result<Vec<ConfigAttribute>, DecodeError> {
        let body = [&[1, 0, 0, 0], attributes].concat();
        ConfigPayload::decode(&mut Reader::new(&body, Part::Trailer, 0)).map(|config| config.attributes)
    }

    fn attribute(number: u8, value: &[u8]) -> Vec<u8> {
        [&[0, number, 0, u8::try_from(value.len()).unwrap()], value].concat()
    }

    #[test]
    fn attributes_of_a_length_that_their_type_cannot_have_are_refused() {
        for (number, allowed) in [(1, 4), (2, 4), (3, 4), (8, 17), (10, 16), (13, 8), (15, 17)] {
            for length in 1..=33 {
                let result = decode(&attribute(number, &vec![0; length]));
                assert_eq!(result.is_ok(), length == allowed, "type {number} with {length} octets");
            }
            assert!(decode(&attribute(number, &[])).is_ok(), "a request for type {number}");
        }
    }

    #[test]
    fn an_ipv6_prefix_is_at_most_128_bits_long() {
        let with_prefix = |length: u8| decode(&attribute(8, &[[0; 16].as_slice(), &[length]].concat()));
        assert!(with_prefix(128).is_ok());
        let error = with_prefix(129).unwrap_err();
        assert!(matches!(error, DecodeError::BadValue { value: 129, .. }), "{error}");
    }

    #[test]
    fn the_reserved_bit_is_ignored_and_never_written() {
        assert_eq!(decode(&[0x80, 3, 0, 0]), Ok(vec![ConfigAttribute::Ip4Dns(None)]));
        let mut out = Vec::new();
        let attributes = vec![ConfigAttribute::Other(0xc001, Vec::new())];
        ConfigPayload { kind: ConfigType::Request, attributes }.encode(&mut out);
        assert_eq!(out, [1, 0, 0, 0, 0x40, 1, 0, 0]);
    }

    #[test]
    fn text_that_is_not_utf_8_is_kept_as_it_came() {
        let expected = ConfigAttribute::Other(25, vec![0xff]);
        assert_eq!(decode(&attribute(25, &[0xff])), Ok(vec![expected]));
    }

    #[test]
    fn the_number_of_attributes_is_bounded() {
        let request = [0, 3, 0, 0];
        assert!(decode(&request.repeat(MAX_ATTRIBUTES)).is_ok());
        let error = decode(&request.repeat(MAX_ATTRIBUTES + 1)).unwrap_err();
        assert!(matches!(error, DecodeError::TooMany { limit: MAX_ATTRIBUTES, .. }), "{error}");
    }
}
