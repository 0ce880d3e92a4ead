//! Configuration payload (RFC 7296 §3.15).

use std::net::{Ipv4Addr, Ipv6Addr};

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
