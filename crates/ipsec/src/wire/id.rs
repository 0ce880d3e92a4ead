//! Identification payloads (RFC 7296 §3.5).

use std::net::{Ipv4Addr, Ipv6Addr};

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
    /// Any other type, kept as it came.
    Other(u8, Vec<u8>),
}
