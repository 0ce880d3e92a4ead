//! The WireGuard peer to fall back to where IKE and ESP get through in no form.
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::file::WireGuardFile;
use crate::resolve::{Fault, dns_server, entries, fault};
use crate::{Cidr, Conflict, Host, Problem, Secret, Secrets, Tunnel};

/// A WireGuard peer, without the secrets: [`Secrets::wireguard_private_key`] and
/// [`Secrets::wireguard_preshared_key`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WireGuardParts", into = "WireGuardParts")]
pub struct WireGuard {
    endpoint: Endpoint,
    public_key: WireGuardKey,
    addresses: Vec<IpAddr>,
    allowed_ips: Vec<Cidr>,
    dns: Vec<IpAddr>,
    keepalive_s: u16,
}

impl WireGuard {
    /// Most addresses of our own.
    pub const MAX_ADDRESSES: usize = 8;
    /// Most networks behind the peer.
    pub const MAX_NETWORKS: usize = 64;
    /// Seconds between keepalives where the profile does not say: below what NATs are known to keep an idle mapping for.
    pub const DEFAULT_KEEPALIVE_S: u16 = 25;

    /// Where the peer is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The peer's public key.
    pub fn public_key(&self) -> &WireGuardKey {
        &self.public_key
    }

    /// Our addresses inside the tunnel, at least one; nobody assigns them.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// What is reached through the peer, and what it may send from; at least one.
    pub fn allowed_ips(&self) -> &[Cidr] {
        &self.allowed_ips
    }

    /// DNS servers; empty for none.
    pub fn dns(&self) -> &[IpAddr] {
        &self.dns
    }

    /// Seconds of silence after which a keepalive is sent; 0 for never.
    pub fn keepalive_s(&self) -> u16 {
        self.keepalive_s
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireGuardParts {
    endpoint: Endpoint,
    public_key: WireGuardKey,
    addresses: Vec<IpAddr>,
    allowed_ips: Vec<Cidr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dns: Vec<IpAddr>,
    keepalive_s: u16,
}

impl TryFrom<WireGuardParts> for WireGuard {
    type Error = Conflict;

    fn try_from(parts: WireGuardParts) -> Result<Self, Conflict> {
        let WireGuardParts { endpoint, public_key, addresses, allowed_ips, dns, keepalive_s } = parts;
        if addresses.is_empty() || addresses.len() > Self::MAX_ADDRESSES {
            return Err(Conflict::WireGuardAddresses);
        }
        if allowed_ips.is_empty() || allowed_ips.len() > Self::MAX_NETWORKS {
            return Err(Conflict::WireGuardNetworks);
        }
        let has_family = |network: IpAddr| addresses.iter().any(|own| own.is_ipv4() == network.is_ipv4());
        if !allowed_ips.iter().all(|network| has_family(network.network())) {
            return Err(Conflict::WireGuardFamily);
        }
        Ok(Self { endpoint, public_key, addresses, allowed_ips, dns, keepalive_s })
    }
}

impl From<WireGuard> for WireGuardParts {
    fn from(peer: WireGuard) -> Self {
        let WireGuard { endpoint, public_key, addresses, allowed_ips, dns, keepalive_s } = peer;
        Self { endpoint, public_key, addresses, allowed_ips, dns, keepalive_s }
    }
}

/// A host and a UDP port: `vpn.example.com:51820`, `[2001:db8::1]:51820`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    host: Host,
    port: u16,
}

/// Why a text is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this is no HOST:PORT; allowed: vpn.example.com:51820, 198.51.100.10:51820 or [2001:db8::1]:51820")]
pub struct EndpointError;

impl Endpoint {
    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        let (host, port) = text.rsplit_once(':').ok_or(EndpointError)?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port != 0).ok_or(EndpointError)?;
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host: Host = bracketed.unwrap_or(host).parse().map_err(|_| EndpointError)?;
        // Without brackets nobody could tell an IPv6 address's end from the port, and nothing else has them.
        if host.ip().is_some_and(|ip| ip.is_ipv6()) != bracketed.is_some() {
            return Err(EndpointError);
        }
        Ok(Self { host, port })
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        Self::try_from(text.to_owned())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.ip() {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Some(IpAddr::V4(_)) | None => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

/// A public key: an X25519 point, in the base64 of 44 characters that `wg` prints.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WireGuardKey([u8; Self::LEN]);

/// Why a text is no key. It never quotes the text, which may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "this is no WireGuard key; allowed: the base64 of 32 bytes that are not all zero, as 'wg genkey' prints it"
)]
pub struct WireGuardKeyError;

impl WireGuardKey {
    /// Length of a key in bytes.
    pub const LEN: usize = 32;

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl TryFrom<String> for WireGuardKey {
    type Error = WireGuardKeyError;

    fn try_from(text: String) -> Result<Self, WireGuardKeyError> {
        key_bytes(&text).map(|bytes| Self(*bytes))
    }
}

impl From<WireGuardKey> for String {
    fn from(key: WireGuardKey) -> Self {
        Base64::encode_string(&key.0)
    }
}

impl fmt::Debug for WireGuardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(*self))
    }
}

/// The bytes of a secret key, of [`Secrets::wireguard_private_key`] or [`Secrets::wireguard_preshared_key`].
///
/// # Errors
/// When it is no key, which a secret that came with a profile file always is.
pub fn wireguard_secret(secret: &Secret) -> Result<Zeroizing<[u8; WireGuardKey::LEN]>, WireGuardKeyError> {
    key_bytes(secret.expose())
}

fn key_bytes(text: &str) -> Result<Zeroizing<[u8; WireGuardKey::LEN]>, WireGuardKeyError> {
    let mut bytes = Zeroizing::new([0; WireGuardKey::LEN]);
    let decoded = Base64::decode(text.trim(), bytes.as_mut()).map_err(|_| WireGuardKeyError)?;
    let whole = decoded.len() == WireGuardKey::LEN && decoded.iter().any(|byte| *byte != 0);
    if whole { Ok(bytes) } else { Err(WireGuardKeyError) }
}

/// Checks the `[wireguard]` table and puts its secrets beside the profile's others.
pub(crate) fn resolve_wireguard(
    file: WireGuardFile,
    tunnel: &Tunnel,
    secrets: &mut Secrets,
) -> Result<WireGuard, Fault> {
    let conflict = |key: &str, conflict| fault(key, Problem::Conflict(conflict));
    for (key, secret) in
        [("private_key", Some(&file.private_key)), ("preshared_key", file.preshared_key.as_ref())]
    {
        let key = format!("wireguard.{key}");
        if let Some(secret) = secret {
            let bytes =
                wireguard_secret(secret).map_err(|error| fault(&*key, Problem::Value(error.to_string())))?;
            if *bytes == file.public_key.0 {
                return Err(conflict(&key, Conflict::WireGuardKeyTwice));
            }
        }
    }
    let too_many = |key: &str, count, max| fault(key, Problem::TooMany { count, max });
    let (count, max) = (file.addresses.len(), WireGuard::MAX_ADDRESSES);
    if count > max {
        return Err(too_many("wireguard.addresses", count, max));
    }
    let addresses = entries("wireguard.addresses", file.addresses, own_address)?;
    let listed = file.allowed_ips.unwrap_or_default();
    let (count, max) = (listed.len(), WireGuard::MAX_NETWORKS);
    if count > max {
        return Err(too_many("wireguard.allowed_ips", count, max));
    }
    let listed = entries("wireguard.allowed_ips", listed, Cidr::try_from)?;
    let (count, max) = (file.dns.len(), 8);
    if count > max {
        return Err(too_many("wireguard.dns", count, max));
    }
    let dns = entries("wireguard.dns", file.dns, dns_server)?;
    let parts = WireGuardParts {
        endpoint: file.endpoint,
        public_key: file.public_key,
        allowed_ips: if listed.is_empty() { networks(tunnel, &addresses) } else { listed },
        addresses,
        dns: if dns.is_empty() { tunnel.dns.clone() } else { dns },
        keepalive_s: file.keepalive_s.unwrap_or(WireGuard::DEFAULT_KEEPALIVE_S),
    };
    let peer = WireGuard::try_from(parts).map_err(|problem| {
        let key = if problem == Conflict::WireGuardFamily { "allowed_ips" } else { "addresses" };
        conflict(&format!("wireguard.{key}"), problem)
    })?;
    secrets.wireguard_private_key = Some(file.private_key);
    secrets.wireguard_preshared_key = file.preshared_key;
    Ok(peer)
}

/// What the tunnel is for, of the families that we have addresses of: `tunnel.remote_ts`, or everything.
fn networks(tunnel: &Tunnel, addresses: &[IpAddr]) -> Vec<Cidr> {
    let everything = ["0.0.0.0/0", "::/0"].map(str::parse::<Cidr>);
    let everything: Vec<Cidr> = everything.into_iter().flatten().collect();
    let wanted = if tunnel.remote_ts.is_empty() { &everything } else { &tunnel.remote_ts };
    let has_family =
        |network: &&Cidr| addresses.iter().any(|own| own.is_ipv4() == network.network().is_ipv4());
    wanted.iter().filter(has_family).copied().collect()
}

/// An address of ours, with or without a prefix length, which says nothing here: what is behind the peer is what
/// `allowed_ips` says.
fn own_address(text: String) -> Result<IpAddr, String> {
    let (address, prefix) =
        text.split_once('/').map_or((&*text, None), |(address, prefix)| (address, Some(prefix)));
    let parsed = address.parse::<IpAddr>().ok().filter(|ip| !ip.is_unspecified() && !ip.is_multicast());
    let fits = |ip: &IpAddr| {
        let most = if ip.is_ipv4() { 32 } else { 128 };
        prefix.is_none_or(|prefix| prefix.parse().is_ok_and(|prefix: u8| prefix <= most))
    };
    parsed.filter(fits).ok_or_else(|| {
        format!("{text:?} can't be an address of ours; allowed: one such as 10.9.0.2/32 or fd10:9::2/128")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_a_host_and_a_port() {
        for ok in ["vpn.example.com:51820", "198.51.100.10:1", "[2001:db8::1]:65535"] {
            assert_eq!(ok.parse::<Endpoint>().map(String::from).as_deref(), Ok(ok));
        }
        for wrong in [
            "vpn.example.com",
            "vpn.example.com:0",
            "vpn.example.com:+1",
            "vpn.example.com:65536",
            "2001:db8::1:51820",
            "[198.51.100.10]:51820",
            "[vpn.example.com]:51820",
            "https://vpn.example.com:51820",
            ":51820",
            "",
        ] {
            assert_eq!(wrong.parse::<Endpoint>(), Err(EndpointError), "{wrong}");
        }
    }

    #[test]
    fn keys_are_the_base64_of_32_bytes() {
        let text = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
        let key = WireGuardKey::try_from(text.to_owned()).expect("a key");
        assert_eq!(key.as_bytes().first(), Some(&0xc5));
        assert_eq!(String::from(key), text);
        let zero = Base64::encode_string(&[0; 32]);
        let long = Base64::encode_string(&[1; 33]);
        for wrong in
            [&text[1..], &text[..43], &zero, &long, "", "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8D!="]
        {
            assert_eq!(WireGuardKey::try_from(wrong.to_owned()), Err(WireGuardKeyError), "{wrong}");
        }
    }
}
