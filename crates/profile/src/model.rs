//! The profile itself, every reference resolved and every value checked.
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    Certificate, CertificateChain, Cidr, Host, Identity, Portal, ProfileName, Proposal, SecretKind, WireGuard,
};

/// How to reach one VPN and what to ask of it. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What the person calls it.
    pub name: ProfileName,
    /// Where the gateway is.
    pub gateway: Host,
    /// Ports other than the standard ones.
    #[serde(default, skip_serializing_if = "GatewayPorts::is_default")]
    pub gateway_ports: GatewayPorts,
    /// Who the gateway must prove to be. The file's `remote_id`, else its `gateway`.
    pub remote_id: Identity,
    /// Our IDi. Without one: the EAP identity, the certificate's subject, or (PSK) the local address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_id: Option<Identity>,
    /// How both sides prove who they are.
    pub auth: Auth,
    /// What goes through the tunnel.
    #[serde(default)]
    pub tunnel: Tunnel,
    /// The IKE SA.
    #[serde(default)]
    pub ike: IkeOptions,
    /// The CHILD SA.
    #[serde(default)]
    pub esp: EspOptions,
    /// Whether SHA-1 and MODP-1024 may be offered.
    #[serde(default)]
    pub legacy: bool,
    /// Lifetimes other than the defaults.
    #[serde(default)]
    pub timers: Timers,
    /// Captive portals.
    #[serde(default, skip_serializing_if = "Portal::is_default")]
    pub portal: Portal,
    /// What to do in networks that block UDP.
    #[serde(default, skip_serializing_if = "Fallback::is_default")]
    pub fallback: Fallback,
    /// The WireGuard peer to fall back to, if there is one. (In a box, since few profiles have one.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wireguard: Option<Box<WireGuard>>,
}

impl Profile {
    /// The authentication method.
    pub fn method(&self) -> Method {
        self.auth.method()
    }

    /// The gateway's TCP ports that are tried, in that order, whichever table of the file they come from: the first other
    /// than the Web's, then the Web's. Empty: no TCP.
    pub fn tcp_ports(&self) -> Vec<u16> {
        let named = match (self.fallback.tcp.as_slice(), &self.gateway_ports.tcp) {
            ([], _) => &[],
            (_, Some(only)) => std::slice::from_ref(only),
            (ports, None) => ports,
        };
        let other = named.iter().find(|port| **port != Fallback::TLS_PORT);
        let web = named.iter().find(|port| **port == Fallback::TLS_PORT);
        other.into_iter().chain(web).copied().collect()
    }

    /// Our IDi as far as the profile fixes it: `local_id`, else the EAP identity.
    pub fn local_identity(&self) -> Option<&Identity> {
        self.local_id.as_ref().or(match &self.auth {
            Auth::EapMschapv2 { identity, .. } => Some(identity),
            Auth::Certificate { .. } | Auth::Psk => None,
        })
    }
}

/// Non-standard ports of the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayPorts {
    /// A UDP port that takes both IKE (with the non-ESP marker) and ESP. Without it: 500, then 4500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<u16>,
    /// The one TCP port for encapsulation (RFC 9329). Without it: [`Fallback::tcp`] has the ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<u16>,
}

impl GatewayPorts {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What to do in networks that block UDP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// TCP encapsulation (RFC 9329): the gateway's ports in the order of trial. Empty: never.
    pub tcp: TcpPorts,
    /// Wrap the stream to [`Fallback::TLS_PORT`] in TLS.
    #[serde(default)]
    pub tls: bool,
}

impl Fallback {
    /// The port whose stream TLS may wrap: the one that networks take for the Web's.
    pub const TLS_PORT: u16 = 443;

    /// Whether the stream to this port is to be wrapped in TLS.
    pub fn is_tls(&self, port: u16) -> bool {
        self.tls && port == Self::TLS_PORT
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Fallback {
    fn default() -> Self {
        Self { tcp: TcpPorts(TcpPorts::STANDARD.to_vec()), tls: false }
    }
}

/// TCP ports in the order of trial: at most [`TcpPorts::MAX`], none of them 0, none twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u16>", into = "Vec<u16>")]
pub struct TcpPorts(Vec<u16>);

impl TcpPorts {
    /// The port that is registered for it (RFC 9329 §11), then the one that hardly any network blocks.
    pub const STANDARD: [u16; 2] = [4500, 443];
    /// Each costs seconds to try.
    pub const MAX: usize = 8;

    /// No ports: never.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// The ports.
    pub fn as_slice(&self) -> &[u16] {
        &self.0
    }
}

/// Why a list of ports can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortsError {
    /// Too long.
    #[error("{0} ports are too many; allowed: at most {max}", max = TcpPorts::MAX)]
    TooMany(usize),
    /// Port 0 is none.
    #[error("0 is no port; allowed: 1 to 65535")]
    Zero,
    /// The same port twice.
    #[error("port {0} is named twice")]
    Twice(u16),
}

impl TryFrom<Vec<u16>> for TcpPorts {
    type Error = PortsError;

    fn try_from(ports: Vec<u16>) -> Result<Self, PortsError> {
        if ports.len() > Self::MAX {
            return Err(PortsError::TooMany(ports.len()));
        }
        for (index, port) in ports.iter().enumerate() {
            if *port == 0 {
                return Err(PortsError::Zero);
            }
            if ports.iter().take(index).any(|earlier| earlier == port) {
                return Err(PortsError::Twice(*port));
            }
        }
        Ok(Self(ports))
    }
}

impl From<TcpPorts> for Vec<u16> {
    fn from(ports: TcpPorts) -> Self {
        ports.0
    }
}

/// How both sides prove who they are. A gateway that has no pre-shared key proves itself by certificate,
/// so those methods carry the trust it is judged by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Auth {
    /// User name and password.
    EapMschapv2 {
        /// The EAP identity: the user name.
        identity: Identity,
        /// Which certificates a gateway may show.
        trust: Trust,
    },
    /// A certificate of our own; its private key is in [`Secrets`](crate::Secrets).
    Certificate {
        /// Our certificate and the intermediates below the CA.
        chain: CertificateChain,
        /// Which certificates a gateway may show.
        trust: Trust,
    },
    /// One key that both sides know.
    Psk,
}

impl Auth {
    /// The method alone.
    pub fn method(&self) -> Method {
        match self {
            Self::EapMschapv2 { .. } => Method::EapMschapv2,
            Self::Certificate { .. } => Method::Certificate,
            Self::Psk => Method::Psk,
        }
    }

    /// What the gateway's certificate is judged by; `None` for a pre-shared key.
    pub fn trust(&self) -> Option<&Trust> {
        match self {
            Self::EapMschapv2 { trust, .. } | Self::Certificate { trust, .. } => Some(trust),
            Self::Psk => None,
        }
    }
}

/// An authentication method, in the profile file's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// User name and password (EAP-MSCHAPv2).
    EapMschapv2,
    /// A client certificate.
    Certificate,
    /// A pre-shared key.
    Psk,
}

impl Method {
    /// The word in profile files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EapMschapv2 => "eap-mschapv2",
            Self::Certificate => "certificate",
            Self::Psk => "psk",
        }
    }

    /// The secret that this method connects with.
    pub fn secret(self) -> SecretKind {
        match self {
            Self::EapMschapv2 => SecretKind::Password,
            Self::Certificate => SecretKind::PrivateKey,
            Self::Psk => SecretKind::Psk,
        }
    }
}

/// Which certificate authorities may vouch for the gateway: at least one, or the system's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "TrustParts", into = "TrustParts")]
pub struct Trust {
    ca: Vec<Certificate>,
    system: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustParts {
    #[serde(default)]
    ca: Vec<Certificate>,
    #[serde(default)]
    system: bool,
}

impl Trust {
    /// `None` if that would trust nobody.
    pub fn new(ca: Vec<Certificate>, system: bool) -> Option<Self> {
        (system || !ca.is_empty()).then_some(Self { ca, system })
    }

    /// Trust in the system's roots alone.
    pub fn in_system() -> Self {
        Self { ca: Vec::new(), system: true }
    }

    /// The profile's own authorities.
    pub fn ca(&self) -> &[Certificate] {
        &self.ca
    }

    /// Whether the system's roots are trusted as well.
    pub fn system(&self) -> bool {
        self.system
    }
}

impl TryFrom<TrustParts> for Trust {
    type Error = &'static str;

    fn try_from(parts: TrustParts) -> Result<Self, Self::Error> {
        Self::new(parts.ca, parts.system).ok_or("a profile must trust at least one CA or the system's roots")
    }
}

impl From<Trust> for TrustParts {
    fn from(trust: Trust) -> Self {
        Self { ca: trust.ca, system: trust.system }
    }
}

/// What goes through the tunnel and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tunnel {
    /// Networks behind the gateway to ask for. Empty: everything that the gateway offers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remote_ts: Vec<Cidr>,
    /// Networks on our side to offer. Empty: the address the gateway assigns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub local_ts: Vec<Cidr>,
    /// DNS servers to use instead of the gateway's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// Domains to resolve through the tunnel, beside those the gateway names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<Host>,
    /// MTU of the tunnel device; without one it is computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
}

/// The IKE SA.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IkeOptions {
    /// In order of preference. Empty: the engine's defaults.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proposals: Vec<Proposal>,
}

/// The CHILD SA.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EspOptions {
    /// In order of preference. Empty: the engine's defaults.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proposals: Vec<Proposal>,
    /// Whether a rekey must do (`true`) or must not do (`false`) a key exchange of its own. Without a word on it,
    /// one is preferred, and a gateway that goes without is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pfs: Option<bool>,
}

/// Lifetimes in seconds; those not given have the engine's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timers {
    /// After this long the IKE SA is rekeyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ike_rekey_s: Option<u32>,
    /// After this long a CHILD SA is rekeyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child_rekey_s: Option<u32>,
    /// After this long without a sign of life the gateway is probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpd_s: Option<u32>,
}
