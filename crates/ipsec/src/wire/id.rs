//! Identification payloads (RFC 7296 §3.5).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::reader::Reader;
use super::{DecodeError, Printable, dn};

/// An IKE identity.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Id {
    /// ID_IPV4_ADDR (1).
    Ipv4(Ipv4Addr),
    /// ID_FQDN (2), not NUL-terminated.
    Fqdn(String),
    /// ID_RFC822_ADDR (3).
    Email(String),
    /// ID_IPV6_ADDR (5).
    Ipv6(Ipv6Addr),
    /// ID_DER_ASN1_DN (9): a DER-encoded X.501 Name.
    Dn(Vec<u8>),
    /// ID_KEY_ID (11).
    KeyId(Vec<u8>),
    /// Any other type, and an FQDN or e-mail address that isn't UTF-8, kept as it came.
    Other(u8, Vec<u8>),
}

/// Why something is no identity.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IdError {
    /// An address of the wrong length.
    #[error("an {kind} identity has {length} octets, allowed: {allowed}")]
    AddressLength {
        /// "IPv4" or "IPv6".
        kind: &'static str,
        /// How long it is.
        length: usize,
        /// How long it is to be.
        allowed: &'static str,
    },
    /// No text.
    #[error("an identity is empty")]
    Empty,
    /// A prefix names a type that the rest doesn't have.
    #[error("not {allowed} after \"{prefix}\" in an identity")]
    Malformed {
        /// The prefix, such as `ipv4:`.
        prefix: &'static str,
        /// What may follow it.
        allowed: &'static str,
    },
    /// Starts like a distinguished name and isn't one.
    #[error("not a distinguished name (\"CN=gateway, O=Example\", RFC 4514)")]
    BadDn,
}

const IPV4_ADDR: u8 = 1;
const FQDN: u8 = 2;
const RFC822_ADDR: u8 = 3;
const IPV6_ADDR: u8 = 5;
const DER_ASN1_DN: u8 = 9;
const KEY_ID: u8 = 11;

impl Id {
    /// The ID type on the wire.
    #[must_use]
    pub fn id_type(&self) -> u8 {
        match self {
            Self::Ipv4(_) => IPV4_ADDR,
            Self::Fqdn(_) => FQDN,
            Self::Email(_) => RFC822_ADDR,
            Self::Ipv6(_) => IPV6_ADDR,
            Self::Dn(_) => DER_ASN1_DN,
            Self::KeyId(_) => KEY_ID,
            Self::Other(kind, _) => *kind,
        }
    }

    /// The payload's body, RestOfInitIDPayload or RestOfRespIDPayload in the AUTH computation (RFC 7296 §2.15):
    /// type, three reserved octets, data.
    #[must_use]
    pub fn to_payload_body(&self) -> Vec<u8> {
        let mut body = vec![self.id_type(), 0, 0, 0];
        match self {
            Self::Ipv4(ip) => body.extend_from_slice(&ip.octets()),
            Self::Ipv6(ip) => body.extend_from_slice(&ip.octets()),
            Self::Fqdn(text) | Self::Email(text) => body.extend_from_slice(text.as_bytes()),
            Self::Dn(bytes) | Self::KeyId(bytes) | Self::Other(_, bytes) => body.extend_from_slice(bytes),
        }
        body
    }

    /// From the ID type and the identification data.
    ///
    /// # Errors
    ///
    /// [`IdError::AddressLength`] when an address isn't as long as its type demands.
    pub fn from_parts(id_type: u8, data: &[u8]) -> Result<Self, IdError> {
        let text = || String::from_utf8(data.to_vec()).ok();
        let wrong_length = |kind, allowed| IdError::AddressLength { kind, length: data.len(), allowed };
        match id_type {
            IPV4_ADDR => match <[u8; 4]>::try_from(data) {
                Ok(octets) => Ok(Self::Ipv4(octets.into())),
                Err(_) => Err(wrong_length("IPv4", "4")),
            },
            IPV6_ADDR => match <[u8; 16]>::try_from(data) {
                Ok(octets) => Ok(Self::Ipv6(octets.into())),
                Err(_) => Err(wrong_length("IPv6", "16")),
            },
            FQDN => Ok(text().map_or_else(|| Self::Other(FQDN, data.to_vec()), Self::Fqdn)),
            RFC822_ADDR => Ok(text().map_or_else(|| Self::Other(RFC822_ADDR, data.to_vec()), Self::Email)),
            DER_ASN1_DN => Ok(Self::Dn(data.to_vec())),
            KEY_ID => Ok(Self::KeyId(data.to_vec())),
            other => Ok(Self::Other(other, data.to_vec())),
        }
    }

    /// Reads the body of an IDi or IDr payload.
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let id_type = r.u8("ID type")?;
        r.bytes(3, "reserved octets")?;
        let place = r.place();
        let data = r.remainder();
        Self::from_parts(id_type, data).map_err(|_| {
            let allowed =
                if id_type == IPV4_ADDR { "4 for an IPv4 address" } else { "16 for an IPv6 address" };
            place.bad_length("identification data", data.len(), allowed)
        })
    }

    /// The type that text without a prefix most likely means.
    fn guess(text: &str) -> Result<Self, IdError> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(ip.into());
        }
        if dn::looks_like_one(text) {
            return dn::from_text(text).map(Self::Dn).map_err(|_| IdError::BadDn);
        }
        match text.find('@') {
            Some(at) if at > 0 => Ok(Self::Email(text.to_owned())),
            Some(_) | None => Ok(Self::Fqdn(text.to_owned())),
        }
    }
}

impl From<IpAddr> for Id {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::Ipv4(ip),
            IpAddr::V6(ip) => Self::Ipv6(ip),
        }
    }
}

/// Reads what a person writes, by the rules of strongSwan: a prefix (`ipv4:`, `ipv6:`, `fqdn:`, `dns:`, `email:`,
/// `rfc822:`, `asn1dn:`, `keyid:`) names the type; `@name` is an FQDN, `@@name` an e-mail address and `@#hex` a key
/// ID; otherwise an address is an address, `CN=...` a distinguished name, what has an `@` within an e-mail address, and
/// the rest an FQDN. After `asn1dn:` and `keyid:`, `#` introduces hexadecimal digits.
impl FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let text = text.trim();
        let (prefix, rest) = text.split_once(':').unwrap_or(("", text));
        let id = match prefix.to_ascii_lowercase().as_str() {
            "ipv4" => rest.parse().map(Self::Ipv4).map_err(|_| malformed("ipv4:", "an IPv4 address"))?,
            "ipv6" => rest.parse().map(Self::Ipv6).map_err(|_| malformed("ipv6:", "an IPv6 address"))?,
            "fqdn" | "dns" => Self::Fqdn(rest.to_owned()),
            "email" | "rfc822" => Self::Email(rest.to_owned()),
            "keyid" => Self::KeyId(match rest.strip_prefix('#') {
                Some(digits) => {
                    hex::decode(digits).map_err(|_| malformed("keyid:#", "hexadecimal digits"))?
                }
                None => rest.as_bytes().to_vec(),
            }),
            "asn1dn" => Self::Dn(match rest.strip_prefix('#') {
                Some(digits) => {
                    hex::decode(digits).ok().filter(|der| dn::is_name(der)).ok_or(IdError::BadDn)?
                }
                None => dn::from_rfc4514(rest).map_err(|_| IdError::BadDn)?,
            }),
            _ => {
                if let Some(digits) = text.strip_prefix("@#") {
                    Self::KeyId(hex::decode(digits).map_err(|_| malformed("@#", "hexadecimal digits"))?)
                } else if let Some(email) = text.strip_prefix("@@") {
                    Self::Email(email.to_owned())
                } else if let Some(fqdn) = text.strip_prefix('@') {
                    Self::Fqdn(fqdn.to_owned())
                } else {
                    Self::guess(text)?
                }
            }
        };
        let is_empty = match &id {
            Self::Fqdn(text) | Self::Email(text) => text.is_empty(),
            Self::KeyId(bytes) => bytes.is_empty(),
            Self::Ipv4(_) | Self::Ipv6(_) | Self::Dn(_) | Self::Other(..) => false,
        };
        if is_empty { Err(IdError::Empty) } else { Ok(id) }
    }
}

fn malformed(prefix: &'static str, allowed: &'static str) -> IdError {
    IdError::Malformed { prefix, allowed }
}

/// What [`FromStr`] reads as the same identity, with a prefix only where the type would be guessed wrong. Characters
/// that could drive a terminal are escaped: the text may come from a hostile peer.
impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(ip) => ip.fmt(f),
            Self::Ipv6(ip) => ip.fmt(f),
            Self::Fqdn(text) => self.fmt_text("fqdn:", text, f),
            Self::Email(text) => self.fmt_text("email:", text, f),
            Self::Dn(der) => match dn::to_text(der) {
                Some(text) => self.fmt_text("asn1dn:", &text, f),
                None => write!(f, "asn1dn:#{}", hex::encode(der)),
            },
            Self::KeyId(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if !text.starts_with('#') && !text.contains(char::is_control) => {
                    write!(f, "keyid:{}", Printable(text))
                }
                Ok(_) | Err(_) => write!(f, "keyid:#{}", hex::encode(bytes)),
            },
            Self::Other(kind, bytes) => write!(f, "ID type {kind} #{}", hex::encode(bytes)),
        }
    }
}

impl Id {
    fn fmt_text(&self, prefix: &str, text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_guessed_right = text.parse::<Self>().is_ok_and(|guess| match (&guess, self) {
            // String types of a name don't survive as text; the order of its parts does.
            (Self::Dn(guess), Self::Dn(_)) => dn::to_text(guess).as_deref() == Some(text),
            (guess, id) => guess == id,
        });
        write!(f, "{}{}", if is_guessed_right { "" } else { prefix }, Printable(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Id {
        text.parse().unwrap()
    }

    #[test]
    fn the_type_of_plain_text_is_guessed_as_strongswan_does() {
        assert_eq!(read("192.0.2.7"), Id::Ipv4(Ipv4Addr::new(192, 0, 2, 7)));
        assert_eq!(read("2001:db8::7"), Id::Ipv6("2001:db8::7".parse().unwrap()));
        assert_eq!(read("vpn.example.com"), Id::Fqdn("vpn.example.com".to_owned()));
        assert_eq!(read("alice"), Id::Fqdn("alice".to_owned()));
        assert_eq!(read("alice@example.com"), Id::Email("alice@example.com".to_owned()));
        assert!(matches!(read("CN=alice"), Id::Dn(_)));
        assert!(matches!(read("emailAddress=alice@example.com"), Id::Dn(_)));
        assert_eq!(read("colour=blue@example.com"), Id::Email("colour=blue@example.com".to_owned()));
    }

    #[test]
    fn a_prefix_overrides_the_guess() {
        assert_eq!(read("@192.0.2.7"), Id::Fqdn("192.0.2.7".to_owned()));
        assert_eq!(read("@@alice"), Id::Email("alice".to_owned()));
        assert_eq!(read("@#00ff"), Id::KeyId(vec![0, 0xff]));
        assert_eq!(read("fqdn:alice@example.com"), Id::Fqdn("alice@example.com".to_owned()));
        assert_eq!(read("EMAIL:alice"), Id::Email("alice".to_owned()));
        assert_eq!(read("ipv4:192.0.2.7"), Id::Ipv4(Ipv4Addr::new(192, 0, 2, 7)));
        assert_eq!(read("ipv6:fe80::1"), Id::Ipv6("fe80::1".parse().unwrap()));
        assert_eq!(read("keyid:group one"), Id::KeyId(b"group one".to_vec()));
        assert_eq!(read("keyid:#c0de"), Id::KeyId(vec![0xc0, 0xde]));
        assert_eq!(read("asn1dn:#3000"), Id::Dn(vec![0x30, 0]));
    }

    #[test]
    fn what_is_no_identity_is_refused_with_what_is_allowed() {
        for text in ["", "  ", "@", "@@", "keyid:", "fqdn:"] {
            assert_eq!(text.parse::<Id>(), Err(IdError::Empty), "{text:?}");
        }
        for text in ["CN=", "CN=alice,", "CN=alice, nonsense", "asn1dn:#31", "asn1dn:#xy", "CN=a\\"] {
            assert_eq!(text.parse::<Id>(), Err(IdError::BadDn), "{text:?}");
        }
        let error = "ipv4:2001:db8::7".parse::<Id>().unwrap_err();
        assert_eq!(error.to_string(), "not an IPv4 address after \"ipv4:\" in an identity");
        assert!("@#0".parse::<Id>().is_err());
    }

    #[test]
    fn a_name_reads_the_same_in_rfc_4514_order_and_root_first() {
        let name = read("CN=gw, OU=VPN+O=Example, C=CH");
        assert_eq!(name, read("CN=gw,OU=VPN+O=Example,C=CH"));
        assert_eq!(name, read("C=CH, OU=VPN + O=Example, CN = gw"));
        assert_eq!(name, read("c=CH; o=Example+ou=VPN; cn=gw"));
        assert_ne!(name, read("CN=gw, O=Example+OU=VPN, C=DE"));
        assert_eq!(read("DC=com, DC=example, CN=gw"), read("CN=gw, DC=example, DC=com"));
    }

    #[test]
    fn a_name_is_displayed_in_rfc_4514_order_and_read_back() {
        for text in [
            "CN=gw,O=Example,C=CH",
            r"CN=a\, b\+c\\,O=\#1",
            r"CN=ends with a space\ ,O=x",
            "CN=Zoë,DC=example,DC=com",
        ] {
            assert_eq!(read(text).to_string(), text);
            assert_eq!(read(&read(text).to_string()), read(text));
        }
        let email = read("E=alice@example.com, O=x");
        assert_eq!(read(&email.to_string()), email);
        // Written root first by its owner, which the guess would turn round.
        let odd = read("asn1dn:O=x,CN=gw");
        assert_eq!(odd.to_string(), "asn1dn:O=x,CN=gw");
        assert_eq!(read(&odd.to_string()), odd);
    }

    #[test]
    fn what_is_no_name_is_displayed_in_hexadecimal() {
        assert_eq!(Id::Dn(vec![0x31, 0xff]).to_string(), "asn1dn:#31ff");
        assert_eq!(Id::Dn(vec![0x30, 0]).to_string(), "asn1dn:#3000");
        assert_eq!(Id::KeyId(vec![0xff]).to_string(), "keyid:#ff");
        assert_eq!(Id::Other(99, vec![1]).to_string(), "ID type 99 #01");
    }

    #[test]
    fn the_display_of_an_identity_shows_the_type_where_it_would_be_guessed_wrong() {
        for text in ["fqdn:192.0.2.7", "fqdn:CN=gw", "email:alice", "keyid:a b", "keyid:#2341", "fqdn:fqdn:x"]
        {
            assert_eq!(read(text).to_string(), text);
        }
        assert_eq!(read("@vpn.example.com").to_string(), "vpn.example.com");
    }

    #[test]
    fn control_characters_of_a_hostile_peer_are_escaped() {
        let hostile = "vpn\x1b[2J\n2026 INFO all is well";
        for id in [
            Id::Fqdn(hostile.to_owned()),
            Id::Email(hostile.to_owned()),
            Id::KeyId(hostile.as_bytes().to_vec()),
            read("CN=vpn\\1b[2J\\0a\\c2\\9b,O=x"),
        ] {
            let shown = id.to_string();
            assert!(!shown.contains(char::is_control), "{shown:?}");
        }
    }

    #[test]
    fn the_payload_body_is_the_type_three_zeros_and_the_data() {
        assert_eq!(read("192.0.2.7").to_payload_body(), [1, 0, 0, 0, 192, 0, 2, 7]);
        assert_eq!(read("vpn").to_payload_body(), *b"\x02\0\0\0vpn");
        assert_eq!(read("a@b").to_payload_body(), *b"\x03\0\0\0a@b");
    }

    #[test]
    fn text_that_is_not_utf_8_keeps_its_octets() {
        for kind in [FQDN, RFC822_ADDR] {
            let id = Id::from_parts(kind, &[0xff, 0xfe]).unwrap();
            assert_eq!(id, Id::Other(kind, vec![0xff, 0xfe]));
            assert_eq!(id.to_payload_body(), [kind, 0, 0, 0, 0xff, 0xfe]);
        }
    }

    #[test]
    fn addresses_of_the_wrong_length_are_refused() {
        for (kind, lengths) in [(IPV4_ADDR, [0, 3, 5, 16]), (IPV6_ADDR, [0, 4, 15, 17])] {
            for length in lengths {
                assert!(Id::from_parts(kind, &vec![0; length]).is_err());
            }
        }
    }
}
