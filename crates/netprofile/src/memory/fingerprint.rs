//! Which network this is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

/// A secret of this installation, drawn once. Without it a fingerprint could be undone by trying all names and
/// addresses, since there are few.
#[derive(Clone)]
pub struct Salt([u8; 32]);

impl Salt {
    /// 32 bytes from a cryptographic generator.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(..)")
    }
}

/// An address range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subnet {
    /// An address in it.
    pub address: IpAddr,
    /// Bits that belong to the network; larger ones than the family has mean all.
    pub prefix: u8,
}

impl Subnet {
    /// The lowest address, with the prefix within its family's bounds.
    #[must_use]
    pub fn network(self) -> (IpAddr, u8) {
        match self.address {
            IpAddr::V4(address) => {
                let prefix = self.prefix.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                (IpAddr::V4((u32::from(address) & mask).into()), prefix)
            }
            IpAddr::V6(address) => {
                let prefix = self.prefix.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                (IpAddr::V6((u128::from(address) & mask).into()), prefix)
            }
        }
    }
}

/// What tells one network from another. Everything is optional, since no system gives all of it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Identity<'a> {
    /// Hardware address of the default gateway.
    pub gateway_mac: Option<[u8; 6]>,
    /// Name of the wireless network, as it is sent: any bytes.
    pub ssid: Option<&'a [u8]>,
    /// Our own subnet.
    pub subnet: Option<Subnet>,
    /// Domain name that DHCP gave.
    pub dhcp_domain: Option<&'a str>,
}

/// Names a network: 64 bits of HMAC-SHA-256 over its [`Identity`], keyed with the [`Salt`]. Printed as 16 hexadecimal
/// digits. Among a few hundred networks two do not meet by chance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 8]);

impl Fingerprint {
    /// `None` if nothing at all is known of the network.
    #[must_use]
    pub fn of(identity: &Identity<'_>, salt: &Salt) -> Option<Self> {
        if *identity == Identity::default() {
            return None;
        }
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &salt.0));
        // Each field with its tag and length: what is absent, and where one ends, can't be confused.
        let mut field = |tag: u8, bytes: &[u8]| {
            context.update(&[tag]);
            context.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(bytes);
        };
        if let Some(mac) = identity.gateway_mac {
            field(1, &mac);
        }
        if let Some(ssid) = identity.ssid {
            field(2, ssid);
        }
        if let Some(subnet) = identity.subnet {
            let (address, prefix) = subnet.network();
            match address {
                IpAddr::V4(address) => field(3, &address.octets()),
                IpAddr::V6(address) => field(4, &address.octets()),
            }
            field(5, &[prefix]);
        }
        if let Some(domain) = identity.dhcp_domain {
            field(6, domain.trim_end_matches('.').to_ascii_lowercase().as_bytes());
        }
        let tag = context.sign();
        tag.as_ref().first_chunk::<8>().copied().map(Self)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// Not 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a network's fingerprint has 16 hexadecimal digits")]
pub struct InvalidFingerprint;

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidFingerprint);
        }
        u64::from_str_radix(text, 16).map(|bits| Self(bits.to_be_bytes())).map_err(|_| InvalidFingerprint)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = InvalidFingerprint;

    fn try_from(text: String) -> Result<Self, InvalidFingerprint> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn home() -> Identity<'static> {
        Identity {
            gateway_mac: Some([2, 0, 0, 0, 0, 1]),
            ssid: Some(b"home"),
            subnet: Some(Subnet { address: Ipv4Addr::new(192, 168, 1, 77).into(), prefix: 24 }),
            dhcp_domain: Some("lan"),
        }
    }

    fn of(identity: &Identity<'_>) -> Fingerprint {
        Fingerprint::of(identity, &Salt::new([7; 32])).unwrap()
    }

    #[test]
    fn the_same_network_has_the_same_fingerprint_whatever_address_it_gave_us() {
        let subnet = Some(Subnet { address: Ipv4Addr::new(192, 168, 1, 3).into(), prefix: 24 });
        assert_eq!(of(&home()), of(&Identity { subnet, dhcp_domain: Some("LAN."), ..home() }));
    }

    #[test]
    fn each_part_and_its_absence_make_another_network() {
        let v6 = Some(Subnet { address: Ipv6Addr::LOCALHOST.into(), prefix: 64 });
        let other = [
            Identity { gateway_mac: Some([2, 0, 0, 0, 0, 2]), ..home() },
            Identity { gateway_mac: None, ..home() },
            Identity { ssid: Some(b"homel"), dhcp_domain: Some("an"), ..home() },
            Identity { ssid: None, ..home() },
            Identity { ssid: Some(b""), ..home() },
            Identity { subnet: None, ..home() },
            Identity { subnet: v6, ..home() },
            Identity { dhcp_domain: None, ..home() },
        ];
        let mut all: Vec<Fingerprint> = other.iter().map(of).chain([of(&home())]).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), other.len() + 1);
    }

    #[test]
    fn one_part_is_not_taken_for_another() {
        let ssid = Identity { ssid: Some(b"lan"), ..Identity::default() };
        let domain = Identity { dhcp_domain: Some("lan"), ..Identity::default() };
        assert_ne!(of(&ssid), of(&domain));
    }

    #[test]
    fn another_installation_has_another_fingerprint() {
        assert_ne!(Fingerprint::of(&home(), &Salt::new([8; 32])), Some(of(&home())));
    }

    #[test]
    fn a_network_of_which_nothing_is_known_has_none() {
        assert_eq!(Fingerprint::of(&Identity::default(), &Salt::new([7; 32])), None);
    }

    #[test]
    fn fingerprints_are_read_as_they_are_printed_and_nothing_else_is() {
        let fingerprint = of(&home());
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        assert_eq!(fingerprint.to_string().len(), 16);
        for wrong in ["", "0123", "0123456789abcdefg", "+123456789abcdef", "0123456789abcde\u{e9}"] {
            assert_eq!(wrong.parse::<Fingerprint>(), Err(InvalidFingerprint), "{wrong}");
        }
    }

    #[test]
    fn a_prefix_beyond_the_family_means_one_address() {
        let subnet = |prefix| Subnet { address: Ipv4Addr::new(10, 1, 2, 3).into(), prefix }.network();
        assert_eq!(subnet(200), (Ipv4Addr::new(10, 1, 2, 3).into(), 32));
        assert_eq!(subnet(0), (Ipv4Addr::UNSPECIFIED.into(), 0));
    }
}
