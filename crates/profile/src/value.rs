//! Small checked values: where the gateway is, who is who, which networks.
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::name::is_invisible;

/// A gateway: a host name or an IP address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Host(String);

/// Why a text is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HostError {
    /// It carries a scheme or a path.
    #[error("this looks like a URL; allowed: only the host name or the IP address")]
    Url,
    /// It carries a port or brackets.
    #[error(
        "this carries a port or brackets; allowed: only the host name or the IP address, ports in [gateway_ports]"
    )]
    Port,
    /// Neither an address nor a host name.
    #[error(
        "this is no host name; allowed: a DNS name in ASCII (punycode for others), an IPv4 or an IPv6 address"
    )]
    Malformed,
}

impl Host {
    /// The name or address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address, if it is one and needs no resolving.
    pub fn ip(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }
}

impl TryFrom<String> for Host {
    type Error = HostError;

    fn try_from(text: String) -> Result<Self, HostError> {
        if text.parse::<IpAddr>().is_ok() {
            return Ok(Self(text));
        }
        if text.contains('/') {
            return Err(HostError::Url);
        }
        if text.contains([':', '[', ']']) {
            return Err(HostError::Port);
        }
        let name = text.strip_suffix('.').unwrap_or(&text);
        let label_ok = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        // A last label of digits only is a mistyped address: no such top-level domain exists.
        let numeric_end = name.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
        if name.len() > 253 || numeric_end || !name.split('.').all(label_ok) {
            return Err(HostError::Malformed);
        }
        Ok(Self(name.to_ascii_lowercase()))
    }
}

/// An identity as a profile words it: DNS name, e-mail address, IP address, distinguished name or key ID.
///
/// Its kind is told from its form when the engine turns it into an ID payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Identity(String);

/// Why a text is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// Nothing there.
    #[error(
        "the identity is empty; allowed: a name, an e-mail address, an IP address or a distinguished name"
    )]
    Empty,
    /// Longer than an ID payload should be.
    #[error("the identity is too long; allowed: at most 512 bytes")]
    TooLong,
    /// A control or invisible character.
    #[error("the identity has a control or invisible character; allowed: printable characters")]
    Character,
}

impl Identity {
    const MAX: usize = 512;

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Identity {
    type Error = IdentityError;

    fn try_from(text: String) -> Result<Self, IdentityError> {
        if text.trim().is_empty() {
            return Err(IdentityError::Empty);
        }
        if text.len() > Self::MAX {
            return Err(IdentityError::TooLong);
        }
        if text.chars().any(|c| c.is_control() || is_invisible(c)) {
            return Err(IdentityError::Character);
        }
        Ok(Self(text))
    }
}

/// A network: address and prefix length. The host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CidrError {
    /// Not ADDRESS/PREFIX.
    #[error("this is no network; allowed: ADDRESS/PREFIX such as 10.10.0.0/16 or 2001:db8::/32")]
    Malformed,
    /// Prefix longer than the address.
    #[error("the prefix is too long; allowed: /0 to /{max}")]
    Prefix {
        /// The longest prefix of this address family.
        max: u8,
    },
    /// Address bits set beyond the prefix.
    #[error("the address has bits set beyond its prefix; allowed: {meant}, if that is what is meant")]
    HostBits {
        /// The same with those bits cleared.
        meant: Cidr,
    },
}

impl Cidr {
    /// The network with this address and prefix.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self, CidrError> {
        let max = if address.is_ipv4() { 32 } else { 128 };
        if prefix > max {
            return Err(CidrError::Prefix { max });
        }
        let meant = Self { network: masked(address, prefix), prefix };
        if meant.network == address { Ok(meant) } else { Err(CidrError::HostBits { meant }) }
    }

    /// First address of the network.
    pub fn network(self) -> IpAddr {
        self.network
    }

    /// Prefix length in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => {
                let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
                let prefix = prefix.parse().ok().filter(|_| digits).ok_or(CidrError::Malformed)?;
                (address, Some(prefix))
            }
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| CidrError::Malformed)?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        Self::new(address, prefix.unwrap_or(whole))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(a) => {
            let mask = u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0);
            IpAddr::V4((a.to_bits() & mask).into())
        }
        IpAddr::V6(a) => {
            let mask = u128::MAX.checked_shl(128 - prefix.min(128)).unwrap_or(0);
            IpAddr::V6((a.to_bits() & mask).into())
        }
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

/// `String` conversions and `Display` of a checked text.
macro_rules! checked_text {
    ($($type:ident),*) => {$(
        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.0
            }
        }

        impl FromStr for $type {
            type Err = <Self as TryFrom<String>>::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::try_from(text.to_owned())
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
checked_text!(Host, Identity);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses() {
        for ok in
            ["vpn.example.com", "198.51.100.10", "2001:db8::1", "gw", "xn--bcher-kva.example", "a_b.example"]
        {
            assert_eq!(ok.parse::<Host>().map(String::from).as_deref(), Ok(ok));
        }
        assert_eq!("VPN.Example.com.".parse::<Host>().map(String::from).as_deref(), Ok("vpn.example.com"));
    }

    #[test]
    fn a_wrong_host_is_refused_with_the_reason() {
        for (text, why) in [
            ("https://vpn.example.com", HostError::Url),
            ("vpn.example.com:4500", HostError::Port),
            ("[2001:db8::1]", HostError::Port),
            ("198.51.100.300", HostError::Malformed),
            ("bücher.example", HostError::Malformed),
            ("-x.example", HostError::Malformed),
            ("a..b", HostError::Malformed),
            ("", HostError::Malformed),
        ] {
            assert_eq!(text.parse::<Host>(), Err(why), "{text}");
        }
    }

    #[test]
    fn networks_parse_and_print_alike() {
        for text in ["10.10.0.0/16", "0.0.0.0/0", "::/0", "2001:db8::/32", "192.0.2.1/32"] {
            assert_eq!(text.parse::<Cidr>().map(|c| c.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("192.0.2.1".parse::<Cidr>().map(|c| c.to_string()).as_deref(), Ok("192.0.2.1/32"));
    }

    #[test]
    fn a_network_with_host_bits_is_refused_and_the_likely_meaning_named() {
        let error = "10.10.3.4/16".parse::<Cidr>().expect_err("host bits");
        assert!(error.to_string().contains("10.10.0.0/16"), "{error}");
        assert_eq!("10.0.0.0/33".parse::<Cidr>(), Err(CidrError::Prefix { max: 32 }));
        assert_eq!("10.0.0.0/+8".parse::<Cidr>(), Err(CidrError::Malformed));
        assert_eq!("10.0/8".parse::<Cidr>(), Err(CidrError::Malformed));
    }

    #[test]
    fn identities_may_not_hide_characters() {
        assert!("CN=gw, O=Example".parse::<Identity>().is_ok());
        assert_eq!("a\u{1b}[2J".parse::<Identity>(), Err(IdentityError::Character));
        assert_eq!(" ".parse::<Identity>(), Err(IdentityError::Empty));
        assert_eq!("x".repeat(513).parse::<Identity>(), Err(IdentityError::TooLong));
    }
}
