//! The shape of the configuration file. Everything that one value alone can get wrong is refused here, where the
//! parser knows the line.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use evenkeel_ipsec::crypto::{EspProposal, IkeProposal, Secret};
use evenkeel_ipsec::wire::Id;
use serde::{Deserialize, Deserializer, de};

use super::faults::Faults;
use super::network::Network;

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// Where clients reach the gateway.
    #[serde(default)]
    pub(super) listen: ListenTable,
    /// Who the gateway is.
    pub(super) identity: IdentityTable,
    /// Who may connect.
    pub(super) clients: ClientsTable,
    /// What a client is given.
    #[serde(default)]
    pub(super) assign: AssignTable,
    /// What is negotiated.
    #[serde(default)]
    pub(super) proposals: ProposalsTable,
    /// Lifetimes.
    #[serde(default)]
    pub(super) timers: TimersTable,
    /// The network behind the gateway.
    #[serde(default)]
    pub(super) inner: InnerTable,
    /// Use the system's network through a TUN device instead of the inner one.
    pub(super) tun: Option<TunTable>,
    /// What the gateway does wrong on purpose.
    #[serde(default)]
    pub(super) faults: Faults,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ListenTable {
    /// Addresses to listen on. Default: all.
    pub(super) addresses: Vec<IpAddr>,
    /// UDP port for IKE without the non-ESP marker.
    pub(super) ike_port: u16,
    /// UDP port for IKE with the marker and for ESP.
    pub(super) nat_port: u16,
    /// TCP ports for IKE and ESP in a stream (RFC 9329). Default: none.
    pub(super) tcp_ports: Vec<u16>,
    /// Whether such a stream may be wrapped in TLS.
    pub(super) tcp_tls: bool,
    /// Unix socket for status and faults.
    pub(super) control: Option<PathBuf>,
}

impl Default for ListenTable {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            ike_port: 500,
            nat_port: 4500,
            tcp_ports: Vec::new(),
            tcp_tls: false,
            control: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdentityTable {
    /// IDr.
    pub(super) id: Text<Id>,
    /// PEM file: the gateway's certificate, then its intermediates.
    pub(super) certificate: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    pub(super) key: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(super) struct ClientsTable {
    /// PEM files with the CAs of client certificates.
    pub(super) ca: Vec<PathBuf>,
    /// EAP-MSCHAPv2 users.
    pub(super) eap: Vec<EapUser>,
    /// Pre-shared keys.
    pub(super) psk: Vec<PresharedKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EapUser {
    pub(super) name: String,
    pub(super) password: SecretText,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PresharedKey {
    /// Whose key it is; without it, everyone's that has none of their own.
    pub(super) id: Option<Text<Id>>,
    pub(super) secret: SecretText,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AssignTable {
    /// Clients' IPv4 addresses.
    pub(super) v4: Option<Text<Network>>,
    /// Clients' IPv6 addresses.
    pub(super) v6: Option<Text<Network>>,
    /// DNS servers for clients.
    pub(super) dns: Vec<IpAddr>,
    /// DNS domains that those servers answer for.
    pub(super) domains: Vec<String>,
    /// Networks to announce as being behind the gateway.
    pub(super) subnets: Vec<Text<Network>>,
    /// The gateway's traffic selectors: what clients may narrow. Default: everything.
    pub(super) local_ts: Vec<Text<Network>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProposalsTable {
    /// For IKE SAs, in order of preference. Default: the engine's.
    pub(super) ike: Vec<Text<IkeProposal>>,
    /// For CHILD SAs, in order of preference. Default: the engine's.
    pub(super) esp: Vec<Text<EspProposal>>,
    /// Add what is obsolete to the defaults.
    pub(super) legacy: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TimersTable {
    /// Age in seconds at which the gateway rekeys an IKE SA. Default: it leaves that to the client.
    pub(super) ike_rekey_s: Option<u32>,
    /// Age in seconds at which the gateway rekeys a CHILD SA. Default: it leaves that to the client.
    pub(super) child_rekey_s: Option<u32>,
    /// Silence in seconds after which the gateway asks whether the client is alive. 0 for never.
    pub(super) dpd_s: Option<u32>,
    /// Seconds after which clients must authenticate anew (RFC 4478). Default: never.
    pub(super) auth_lifetime_s: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct InnerTable {
    /// Addresses of the one machine in the network behind the gateway.
    pub(super) addresses: Vec<IpAddr>,
    /// Whether it answers on every other address too.
    pub(super) any_address: bool,
    /// Largest packet that it sends.
    pub(super) mtu: usize,
    /// TCP connections that it keeps at the same time.
    pub(super) max_connections: usize,
}

impl Default for InnerTable {
    fn default() -> Self {
        let inner = crate::inner::InnerConfig::default();
        Self {
            addresses: inner.addresses,
            any_address: inner.any_address,
            mtu: inner.mtu,
            max_connections: inner.max_connections,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TunTable {
    /// Name of the device.
    pub(super) name: String,
    /// MTU of the device.
    pub(super) mtu: Option<u16>,
}

/// A value written as text.
pub(super) struct Text<T>(pub(super) T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(de::Error::custom)
    }
}

/// A secret written as text.
pub(super) struct SecretText(pub(super) Secret);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Err(de::Error::custom("an empty secret protects nothing"));
        }
        Ok(Self(Secret::new(text)))
    }
}
