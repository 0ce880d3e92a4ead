//! What `evenkeel status --json` prints. The field names are an interface: they only grow.
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use evenkeel_profile::{Endpoint, Host, ProfileName, WebUrl, WireGuardKey};
use serde::{Deserialize, Serialize};

use crate::cause;
use crate::{Cause, EspSpi, IkeSpi, NetworkStatus, Timestamp};

/// Everything about the connection, as it is at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What the person asked for.
    pub target: Target,
    /// What is.
    pub state: State,
    /// Since when `state` has been so.
    pub since: Timestamp,
    /// Why the connection failed, or why it is being made anew. None while all is well.
    #[serde(serialize_with = "cause::with_category")]
    pub cause: Option<Cause>,
    /// The captive portal that holds the connection back. The connection is made, or made to work again, by itself once
    /// somebody has logged in.
    #[serde(default)]
    pub portal: Option<Portal>,
    /// The profile in use, or that failed.
    pub profile: Option<ProfileName>,
    /// Its gateway, as the profile names it.
    pub gateway: Option<Host>,
    /// The IKE SA.
    pub ike_sa: Option<IkeSa>,
    /// The CHILD SAs; two for a moment during a rekey.
    pub child_sas: Vec<ChildSa>,
    /// The WireGuard peer that carries the connection in the gateway's place: a fallback, during which there is no IKE SA and
    /// no CHILD SA. None otherwise. (In a box, since few connections have one.)
    #[serde(default)]
    pub wireguard: Option<Box<WireguardPeer>>,
    /// Algorithms in use that only `legacy = true` allows, by their registered names; empty is as it should be.
    #[serde(default)]
    pub legacy: Vec<String>,
    /// Addresses that the gateway assigned, or that the profile has for the WireGuard peer, `ADDRESS/PREFIX`.
    pub addresses: Vec<Address>,
    /// DNS servers in use through the tunnel.
    pub dns: Vec<IpAddr>,
    /// Domains resolved by them; empty means all.
    pub domains: Vec<String>,
    /// MTU of the tunnel device.
    pub mtu: Option<u16>,
    /// Seconds between NAT keepalives; none where there is no NAT.
    pub keepalive_s: Option<u32>,
    /// Round trips that the connection took to come up.
    pub round_trips: Option<u32>,
    /// Seconds since something was received through the tunnel.
    pub received_ago_s: Option<u64>,
    /// Seconds since something was sent through the tunnel.
    pub sent_ago_s: Option<u64>,
    /// The network under the connection; none while there is no connection.
    #[serde(default)]
    pub network: Option<NetworkStatus>,
}

impl Status {
    /// Nothing asked for and nothing there.
    pub fn off(since: Timestamp) -> Self {
        Self {
            target: Target::Disconnected,
            state: State::Off,
            since,
            cause: None,
            portal: None,
            profile: None,
            gateway: None,
            ike_sa: None,
            child_sas: Vec::new(),
            wireguard: None,
            legacy: Vec::new(),
            addresses: Vec::new(),
            dns: Vec::new(),
            domains: Vec::new(),
            mtu: None,
            keepalive_s: None,
            round_trips: None,
            received_ago_s: None,
            sent_ago_s: None,
            network: None,
        }
    }

    /// Bytes received and sent by the CHILD SAs that are there, or by WireGuard.
    pub fn bytes(&self) -> (u64, u64) {
        let peer = self.wireguard.as_ref().map_or((0, 0), |peer| (peer.bytes_in, peer.bytes_out));
        self.child_sas.iter().fold(peer, |(received, sent), sa| {
            (u64::saturating_add(received, sa.bytes_in), u64::saturating_add(sent, sa.bytes_out))
        })
    }
}

/// What the person asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// To be connected.
    Connected,
    /// Not to be.
    Disconnected,
}

/// What is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// No connection, and none wanted.
    Off,
    /// The gateway's name is being looked up.
    Resolving,
    /// IKE_SA_INIT is under way.
    Connecting,
    /// IKE_AUTH is under way.
    Authenticating,
    /// Device, routes and DNS are being set up.
    Configuring,
    /// Traffic can flow.
    Connected,
    /// It was lost and is being made anew.
    Reconnecting,
    /// It is being taken down.
    Disconnecting,
    /// It could not be made, and nothing is tried until somebody asks again. `cause` says why.
    Failed,
}

/// A captive portal that holds the connection back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Portal {
    /// Where to log in, if the portal says so. The network's word: open it in a browser that trusts it with nothing.
    pub url: Option<WebUrl>,
    /// Since when it has been seen.
    pub since: Timestamp,
}

/// The IKE SA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IkeSa {
    /// The initiator's SPI.
    pub spi_i: IkeSpi,
    /// The responder's SPI.
    pub spi_r: IkeSpi,
    /// Our address and port.
    pub local: SocketAddr,
    /// The gateway's address and port.
    pub remote: SocketAddr,
    /// What carries it.
    pub transport: Transport,
    /// The negotiated algorithms, `ENCR/[INTEG/]PRF/GROUP`.
    pub proposal: String,
    /// Whether we are behind a NAT.
    pub nat_local: bool,
    /// Whether the gateway is behind a NAT.
    pub nat_remote: bool,
    /// Who the gateway proved to be.
    pub peer_id: String,
    /// When it was established, rekeys included.
    pub established: Timestamp,
    /// Seconds until it is rekeyed.
    pub rekey_in_s: Option<u64>,
}

/// What carries IKE and ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// UDP encapsulation (RFC 3948).
    Udp,
    /// TCP encapsulation (RFC 9329).
    Tcp,
}

/// A CHILD SA: one pair of ESP SAs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildSa {
    /// SPI of what we receive.
    pub spi_in: EspSpi,
    /// SPI of what we send.
    pub spi_out: EspSpi,
    /// The negotiated algorithms.
    pub suite: String,
    /// Traffic selectors of the initiator's side.
    pub ts_i: Vec<String>,
    /// Traffic selectors of the responder's side.
    pub ts_r: Vec<String>,
    /// Inner bytes received.
    pub bytes_in: u64,
    /// Inner bytes sent.
    pub bytes_out: u64,
    /// Inner packets received.
    pub packets_in: u64,
    /// Inner packets sent.
    pub packets_out: u64,
    /// Packets dropped, by reason, zeros left out.
    pub drops: BTreeMap<String, u64>,
    /// Seconds until it is rekeyed.
    pub rekey_in_s: Option<u64>,
}

/// The WireGuard peer that carries the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireguardPeer {
    /// Where it is, as the profile says.
    pub endpoint: Endpoint,
    /// Who it has proved to be.
    pub public_key: WireGuardKey,
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// What is reached through it, as networks.
    pub allowed_ips: Vec<String>,
    /// When it last answered a handshake.
    pub last_handshake: Option<Timestamp>,
    /// Handshakes that it has answered, the first included.
    pub handshakes: u64,
    /// Inner bytes received.
    pub bytes_in: u64,
    /// Inner bytes sent.
    pub bytes_out: u64,
    /// Inner packets received.
    pub packets_in: u64,
    /// Inner packets sent.
    pub packets_out: u64,
    /// Packets dropped, by reason, zeros left out.
    pub drops: BTreeMap<String, u64>,
}

/// An address on the tunnel device with its prefix length; in text `ADDRESS/PREFIX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Its prefix length.
    pub prefix: u8,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for Address {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parse = || {
            let (ip, prefix) = text.split_once('/')?;
            let (ip, prefix) = (ip.parse::<IpAddr>().ok()?, prefix.parse().ok()?);
            (prefix <= if ip.is_ipv4() { 32 } else { 128 }).then_some(Self { ip, prefix })
        };
        parse().ok_or("an address is ADDRESS/PREFIX")
    }
}
