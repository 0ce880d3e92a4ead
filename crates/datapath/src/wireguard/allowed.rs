//! The networks behind a peer: where packets to it may go, and where packets from it may come from.

use std::net::IpAddr;

use thiserror::Error;

use crate::headers::Family;

/// A set of networks, as WireGuard's `AllowedIPs` of one peer.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AllowedIps {
    /// Network and mask.
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

/// A prefix length that the address family does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("{address}/{length} is not a prefix")]
pub struct PrefixError {
    /// The address.
    pub address: IpAddr,
    /// Its prefix length in bits.
    pub length: u8,
}

impl AllowedIps {
    /// The set of these prefixes; bits beyond a prefix do not count. Looking up takes a time in proportion to their
    /// number.
    ///
    /// # Errors
    /// When a prefix is longer than its address.
    pub fn new(prefixes: impl IntoIterator<Item = (IpAddr, u8)>) -> Result<Self, PrefixError> {
        let mut set = Self::default();
        for (address, length) in prefixes {
            let host_bits =
                |width: u32| width.checked_sub(length.into()).ok_or(PrefixError { address, length });
            match address {
                IpAddr::V4(ip) => {
                    let mask = u32::MAX.checked_shl(host_bits(32)?).unwrap_or(0);
                    set.v4.push((ip.to_bits() & mask, mask));
                }
                IpAddr::V6(ip) => {
                    let mask = u128::MAX.checked_shl(host_bits(128)?).unwrap_or(0);
                    set.v6.push((ip.to_bits() & mask, mask));
                }
            }
        }
        Ok(set)
    }

    /// Is the address in one of the networks?
    #[must_use]
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(ip) => self.v4.iter().any(|(network, mask)| ip.to_bits() & mask == *network),
            IpAddr::V6(ip) => self.v6.iter().any(|(network, mask)| ip.to_bits() & mask == *network),
        }
    }

    /// Is the packet's destination in one of the networks? Not for what is no IP packet.
    #[inline]
    pub(super) fn contains_destination(&self, packet: &[u8]) -> bool {
        destination(packet).is_some_and(|address| self.contains(address))
    }
}

fn destination(packet: &[u8]) -> Option<IpAddr> {
    let family = Family::of(packet)?;
    let addresses = packet.get(family.addresses())?;
    let destination = addresses.get(addresses.len() / 2..)?;
    Some(match family {
        Family::V4 => <[u8; 4]>::try_from(destination).ok()?.into(),
        Family::V6 => <[u8; 16]>::try_from(destination).ok()?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn set(prefixes: &[(&str, u8)]) -> AllowedIps {
        AllowedIps::new(prefixes.iter().map(|(ip, length)| (ip.parse().unwrap(), *length))).unwrap()
    }

    #[test]
    fn a_network_holds_its_own_addresses_and_no_others() {
        let office = set(&[("10.10.0.0", 16), ("10.20.0.1", 32), ("fd10::", 64)]);
        for (address, inside) in [
            ("10.10.0.0", true),
            ("10.10.255.255", true),
            ("10.11.0.0", false),
            ("10.9.255.255", false),
            ("10.20.0.1", true),
            ("10.20.0.2", false),
            ("fd10::ffff:0:0:1", true),
            ("fd10:0:0:1::", false),
            ("::ffff:10.10.0.1", false),
        ] {
            assert_eq!(office.contains(address.parse().unwrap()), inside, "{address}");
        }
        let all_v4 = set(&[("192.0.2.1", 0)]);
        assert!(
            all_v4.contains("255.255.255.255".parse().unwrap()) && !all_v4.contains("::".parse().unwrap())
        );
        assert!(!set(&[]).contains("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_prefix_is_no_longer_than_its_address() {
        let address: IpAddr = "10.0.0.0".parse().unwrap();
        assert_eq!(AllowedIps::new([(address, 33)]), Err(PrefixError { address, length: 33 }));
        assert!(AllowedIps::new([("::".parse().unwrap(), 129)]).is_err());
    }

    #[test]
    fn the_destination_decides_not_the_source() {
        for (family, to, from) in [
            (Family::V4, ("10.10.0.1", 32), ("10.0.0.2", 32)),
            (Family::V6, ("fd10::1", 128), ("fd00::2", 128)),
        ] {
            let packet = testing::udp(family, b"x");
            let destination = super::destination(&packet).unwrap();
            let length = if family == Family::V4 { 32 } else { 128 };
            let towards = AllowedIps::new([(destination, length)]).unwrap();
            assert!(towards.contains_destination(&packet), "{destination} {to:?}");
            assert!(!set(&[from]).contains_destination(&packet) || from.0 == destination.to_string());
            for cut in 0..20 {
                assert!(!towards.contains_destination(&packet[..cut.min(packet.len())]));
            }
        }
    }
}
