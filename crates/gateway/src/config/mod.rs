//! The gateway's configuration: a TOML file, read once, with everything that it names.
//!
//! ```toml
//! [listen]
//! addresses = ["198.51.100.10"]           # default: all
//! ike_port = 500
//! nat_port = 4500
//! tcp_ports = [4500, 443]                 # default: none
//! tcp_tls = true                          # clients may wrap a stream in TLS; needs the certificate
//! control = "gateway.sock"                # default: none
//!
//! [identity]
//! id = "gateway.practice"
//! certificate = "gateway.crt"             # without one the gateway authenticates with the clients' keys
//! key = "gateway.key"
//!
//! [clients]
//! eap = [{ name = "alice", password = "..." }]
//! psk = [{ id = "bob", secret = "..." }]
//! ca = ["ca.crt"]
//!
//! [assign]
//! v4 = "10.77.1.0/24"
//! v6 = "fd77::1:0/112"
//! dns = ["10.77.0.1"]
//! domains = ["practice"]
//! subnets = ["10.77.0.0/16"]
//! local_ts = ["0.0.0.0/0", "::/0"]
//!
//! [proposals]
//! ike = ["aes256gcm16-prfsha256-x25519"]
//! esp = ["aes256gcm16-x25519"]
//!
//! [timers]
//! child_rekey_s = 3600
//!
//! [inner]
//! addresses = ["10.77.0.1", "fd77::1"]
//!
//! [tun]                                   # instead of the inner network, for benchmarks
//! name = "practice0"
//! mtu = 1400
//!
//! [faults.link]
//! drop_percent = 2
//!
//! [faults.ike]
//! ignore_dpd = true
//! ```
//!
//! Files are named relative to the configuration file. What is not known is refused, with its line and what would be
//! allowed.

mod error;
mod faults;
mod file;
mod network;
mod resolve;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use evenkeel_ipsec::crypto::{EspProposals, IkeProposals, Secret};
use evenkeel_ipsec::wire::{Id, TrafficSelector};

pub use self::error::{ConfigError, Inconsistency};
pub use self::faults::{ErrorNotify, Faults, IkeFaults};
use self::file::File;
use self::resolve::Resolver;
use crate::inner::InnerConfig;

/// Everything that the gateway is told.
pub struct GatewayConfig {
    /// Where clients reach it.
    pub listen: Listen,
    /// IDr.
    pub id: Id,
    /// How it authenticates.
    pub credential: Credential,
    /// Whom it lets in.
    pub clients: Clients,
    /// What it gives to clients.
    pub assign: Assign,
    /// What it accepts for IKE SAs.
    pub ike: IkeProposals,
    /// What it accepts for CHILD SAs.
    pub esp: EspProposals,
    /// Its timers.
    pub timers: GatewayTimers,
    /// The network behind it.
    pub inner: InnerConfig,
    /// The TUN device that takes its place, if one does.
    pub tun: Option<TunSettings>,
    /// What it does wrong.
    pub faults: Faults,
}

/// Where clients reach the gateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// Local addresses; none for all.
    pub addresses: Vec<IpAddr>,
    /// UDP port without non-ESP markers. 0 lets the system choose.
    pub ike_port: u16,
    /// UDP port with them. 0 lets the system choose.
    pub nat_port: u16,
    /// TCP ports for IKE and ESP in a stream (RFC 9329). 0 lets the system choose.
    pub tcp_ports: Vec<u16>,
    /// Whether such a stream may be wrapped in TLS.
    pub tcp_tls: bool,
    /// Where the control socket is to be.
    pub control: Option<PathBuf>,
}

/// A TUN device for the clients' packets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TunSettings {
    /// Its name.
    pub name: String,
    /// Its MTU.
    pub mtu: u16,
}

impl TunSettings {
    /// Fits into 1500 bytes with every suite and address family that we have.
    pub const DEFAULT_MTU: u16 = 1400;
}

/// How the gateway authenticates.
pub enum Credential {
    /// With a certificate.
    Certificate {
        /// DER, leaf first.
        chain: Vec<Vec<u8>>,
        /// The private key, PEM.
        key_pem: Secret,
    },
    /// With the client's pre-shared key.
    Psk,
}

/// Whom the gateway lets in.
pub struct Clients {
    /// DER certificates of the CAs of client certificates.
    pub anchors: Vec<Vec<u8>>,
    /// EAP users and passwords.
    pub eap: Vec<(String, Secret)>,
    /// Pre-shared keys by IDi; `None` for everyone's that has none of their own.
    pub psk: Vec<(Option<Id>, Secret)>,
}

/// What a client is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assign {
    /// The first IPv4 address and how many follow it, itself included.
    pub v4: Option<(Ipv4Addr, u32)>,
    /// The first IPv6 address and how many follow it, itself included.
    pub v6: Option<(Ipv6Addr, u32)>,
    /// DNS servers.
    pub dns: Vec<IpAddr>,
    /// DNS domains of those servers.
    pub domains: Vec<String>,
    /// Networks behind the gateway.
    pub subnets: Vec<(IpAddr, u8)>,
    /// The gateway's traffic selectors.
    pub local_ts: Vec<TrafficSelector>,
}

/// Timers; `None` for never.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GatewayTimers {
    /// Age at which the gateway rekeys an IKE SA.
    pub ike_rekey: Option<Duration>,
    /// Age at which it rekeys a CHILD SA.
    pub child_rekey: Option<Duration>,
    /// Silence after which it asks whether the client is alive.
    pub dpd_after: Option<Duration>,
    /// How long an authentication is good for (RFC 4478).
    pub auth_lifetime: Option<Duration>,
}

impl GatewayConfig {
    /// Reads the file and all that it names.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|reason| ConfigError::Unreadable { path: path.to_owned(), reason })?;
        Self::from_toml(&text, path)
    }

    /// The configuration in `text`, which came from `path`.
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text)
            .map_err(|reason| ConfigError::Malformed { path: path.to_owned(), reason: Box::new(reason) })?;
        Resolver { path }.resolve(file)
    }
}

#[cfg(test)]
mod tests;
