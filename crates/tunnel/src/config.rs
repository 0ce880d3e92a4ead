//! What a tunnel needs to know before it starts.

use std::net::IpAddr;
use std::sync::Arc;

use evenkeel_ipsec::ike::ClientConfig;
use evenkeel_netprofile::ladder::Transport;

/// Configuration of a tunnel.
#[derive(Clone)]
pub struct TunnelConfig {
    /// The IKE SA: identities, credentials, proposals, selectors, timers.
    pub client: Arc<ClientConfig>,
    /// Use our address on the path as IDi in place of `client.local_id`: for a profile that names none.
    pub identify_by_address: bool,
    /// What the profile says about the inner network, over what the gateway says.
    pub overrides: Overrides,
    /// What carries IKE and ESP where UDP does not get through.
    pub fallbacks: Vec<Transport>,
    /// The WireGuard peer to fall back to where the gateway answers through none of them.
    pub peer: Option<PeerNetwork>,
}

/// The network behind a WireGuard peer. It assigns nothing, so all of this is the profile's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerNetwork {
    /// Our addresses.
    pub addresses: Vec<IpAddr>,
    /// What is behind the peer, as networks.
    pub remote: Vec<(IpAddr, u8)>,
    /// DNS servers.
    pub dns: Vec<IpAddr>,
}

/// Wishes about the inner network.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Overrides {
    /// DNS servers in place of the gateway's, if there are any.
    pub dns: Vec<IpAddr>,
    /// Domains to resolve through the tunnel, beside the gateway's.
    pub domains: Vec<String>,
    /// MTU of the tunnel interface in place of the computed one.
    pub mtu: Option<u16>,
}

/// The gateway's UDP ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GatewayPorts {
    /// Where IKE_SA_INIT goes without a non-ESP marker; `None` sends it to [`nat`](Self::nat) with one (RFC 7296 §2.23
    /// allows that).
    pub init: Option<u16>,
    /// Where IKE with the non-ESP marker and ESP go (RFC 3948).
    pub nat: u16,
}

impl GatewayPorts {
    /// 500 and 4500.
    pub const STANDARD: Self = Self { init: Some(500), nat: 4500 };

    /// One port for everything.
    #[must_use]
    pub const fn single(port: u16) -> Self {
        Self { init: None, nat: port }
    }
}
