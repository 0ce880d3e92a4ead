//! Traffic selectors (RFC 7296 §3.13).

use std::net::IpAddr;

/// One traffic selector. `start` and `end` are of the same family, and `start <= end`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TrafficSelector {
    /// IP protocol, 0 for any.
    pub protocol: u8,
    /// First port (for ICMP: type and code), 0 for any.
    pub start_port: u16,
    /// Last port, 65535 for any.
    pub end_port: u16,
    /// First address.
    pub start: IpAddr,
    /// Last address.
    pub end: IpAddr,
}
