//! Networks in CIDR notation, and the addresses of one that clients may get.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address with a prefix length, host bits cleared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Network {
    pub(super) address: IpAddr,
    pub(super) prefix: u8,
}

/// Why a text is no network.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum NetworkError {
    #[error("not a network; allowed: an address and a prefix length, such as 10.77.0.0/16 or fd77::/64")]
    Malformed,
    #[error("the prefix is longer than the address; allowed: up to {0}")]
    PrefixTooLong(u8),
    #[error("the address has bits beyond the prefix; did you mean {0}?")]
    HostBits(IpAddr),
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = text.split_once('/').ok_or(NetworkError::Malformed)?;
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Malformed)?;
        let prefix: u8 = prefix.parse().map_err(|_| NetworkError::Malformed)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let host_bits = u32::from(width).checked_sub(prefix.into());
        let host_bits = host_bits.ok_or(NetworkError::PrefixTooLong(width))?;
        let first: IpAddr = match address {
            IpAddr::V4(v4) => {
                Ipv4Addr::from_bits(v4.to_bits() & u32::MAX.checked_shl(host_bits).unwrap_or(0)).into()
            }
            IpAddr::V6(v6) => {
                Ipv6Addr::from_bits(v6.to_bits() & u128::MAX.checked_shl(host_bits).unwrap_or(0)).into()
            }
        };
        if first != address {
            return Err(NetworkError::HostBits(first));
        }
        Ok(Self { address, prefix })
    }
}

impl Network {
    /// The addresses of an IPv4 network that hosts may have: the first and how many, without the network's own
    /// and the broadcast address where there are any (RFC 3021). `None` for IPv6.
    pub(super) fn hosts_v4(self) -> Option<(Ipv4Addr, u32)> {
        let IpAddr::V4(first) = self.address else { return None };
        let size = 1_u64 << (32 - u32::from(self.prefix));
        let (skip, count) = if self.prefix >= 31 { (0, size) } else { (1, size - 2) };
        Some((Ipv4Addr::from_bits(first.to_bits() + skip), u32::try_from(count).unwrap_or(u32::MAX)))
    }

    /// The same for IPv6, where the first address belongs to the routers (RFC 4291 §2.6.1). `None` for IPv4.
    pub(super) fn hosts_v6(self) -> Option<(Ipv6Addr, u32)> {
        let IpAddr::V6(first) = self.address else { return None };
        let size = 1_u128.checked_shl(128 - u32::from(self.prefix)).unwrap_or(u128::MAX);
        let (skip, count) = if self.prefix >= 127 { (0, size) } else { (1, size - 1) };
        Some((Ipv6Addr::from_bits(first.to_bits() + skip), u32::try_from(count).unwrap_or(u32::MAX)))
    }

    pub(super) fn contains(self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_no_network_says_what_one_is() {
        for text in ["", "10.0.0.0", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1", "ten/8"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Malformed), "{text}");
        }
        assert_eq!("10.0.0.0/33".parse::<Network>(), Err(NetworkError::PrefixTooLong(32)));
        let meant = "10.1.2.0".parse().unwrap();
        assert_eq!("10.1.2.3/24".parse::<Network>(), Err(NetworkError::HostBits(meant)));
    }

    #[test]
    fn hosts_leave_out_what_no_client_may_have() {
        let v4 = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        assert_eq!(network("10.77.1.0/24").hosts_v4(), Some((v4("10.77.1.1"), 254)));
        assert_eq!(network("10.77.1.0/31").hosts_v4(), Some((v4("10.77.1.0"), 2)));
        assert_eq!(network("10.77.1.9/32").hosts_v4(), Some((v4("10.77.1.9"), 1)));
        assert_eq!(network("0.0.0.0/0").hosts_v4(), Some((v4("0.0.0.1"), u32::MAX - 1)));
        let v6 = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        assert_eq!(network("fd77::1:0/112").hosts_v6(), Some((v6("fd77::1:1"), 65_535)));
        assert_eq!(network("fd77::/64").hosts_v6(), Some((v6("fd77::1"), u32::MAX)));
        assert_eq!(network("fd77::/64").hosts_v4(), None);
    }

    #[test]
    fn containment_is_by_prefix_and_family() {
        let holds = |text: &str, ip: &str| network(text).contains(ip.parse().unwrap());
        assert!(holds("10.77.0.0/16", "10.77.255.1"));
        assert!(!holds("10.77.0.0/16", "10.78.0.0"));
        assert!(holds("0.0.0.0/0", "203.0.113.1") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("fd77::/64", "fd77::5") && !holds("fd77::/64", "fd78::5"));
        assert!(holds("::/0", "2001:db8::1"));
    }
}
