//! What the control task needs of the machine that it runs on.
//!
//! The task decides, the machine does. [`LocalMachine`](crate::machine::LocalMachine) does it for real; tests have one
//! of straw.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_datapath::wireguard::{PeerConfig, WireGuardStats};
use evenkeel_ipc::{Cause, PortalReport};
use evenkeel_ipsec::ike::{ChildInstalled, Path, Transmit};
use evenkeel_ipsec::wire::EspSpi;
use evenkeel_netprofile::mtu::ProbeId;
use evenkeel_platform::network_identity::NetworkIdentity;
use evenkeel_profile::{Endpoint, Host};
use evenkeel_tunnel::{
    Activity, ConfigureError, GatewayPorts, InnerNetwork, OpenedPath, PathError, PathId, ResolveError,
    SizeProbe, Way,
};

use crate::portal::PortalConfig;
use crate::transport::TlsClient;

/// Sockets, packet threads, name resolution, routes and DNS.
pub trait Machine: Send {
    /// Looks a name up; answered by [`MachineEvent::Resolved`].
    fn resolve(&mut self, host: &Host);

    /// Looks the WireGuard peer's name up; answered by [`MachineEvent::PeerResolved`].
    fn resolve_peer(&mut self, host: &Host);

    /// Opens sockets along a way, beside those that are open; answered by [`MachineEvent::PathOpened`]. Over WireGuard that
    /// takes the peer's answer to a handshake.
    fn open_path(&mut self, path: PathId, way: Way, reach: &Reach);

    /// Has the data plane carry ESP along an open path from here on; or WireGuard, if that is what the path was opened for.
    ///
    /// # Errors
    /// When there is no data plane and none can be started.
    fn use_path(&mut self, path: PathId) -> Result<(), Fault<PathError>>;

    /// Gives the path that WireGuard goes along another socket, and tells the peer by a handshake.
    ///
    /// # Errors
    /// When there is none to be had; the path is as it was.
    fn rebind_path(&mut self, path: PathId) -> Result<OpenedPath, Fault<PathError>>;

    /// Closes the sockets of a path.
    fn close_path(&mut self, path: PathId);

    /// Sends a datagram, or loses it.
    fn send(&mut self, transmit: &Transmit);

    /// Sends a probe of the path MTU through the tunnel; answered by [`MachineEvent::ProbeAnswered`], or never.
    fn probe(&mut self, probe: &SizeProbe);

    /// Gives a CHILD SA to the data plane.
    fn install(&mut self, child: ChildInstalled);

    /// Sends on this CHILD SA from here on.
    fn send_on(&mut self, spi_in: EspSpi);

    /// Takes a CHILD SA from the data plane.
    fn remove(&mut self, spi_in: EspSpi);

    /// Configures the network; answered by [`MachineEvent::Configured`].
    fn configure(&mut self, inner: Arc<InnerNetwork>);

    /// Restores the network; answered by [`MachineEvent::Unconfigured`].
    fn unconfigure(&mut self);

    /// Looks for a captive portal, in place of a look or a watch that is under way; answered by
    /// [`MachineEvent::Portal`]. One that is found is watched, and what becomes of it told in the same way, until the
    /// report that it is gone.
    fn look_for_portal(&mut self, config: PortalConfig);

    /// Ends a look or a watch; nothing is told of it any more.
    fn forget_portal(&mut self);

    /// When traffic last flowed.
    fn activity(&mut self) -> Activity;

    /// Packets that the data plane dropped before or after any SA, by reason, zeros left out.
    fn drops(&self) -> Vec<(&'static str, u64)>;

    /// The counters of WireGuard, while that carries the tunnel.
    fn wireguard(&self) -> Option<WireGuardStats>;

    /// Closes sockets and device, and ends look-ups and looks. Routes and DNS have been restored before.
    fn close(&mut self);

    /// The next event. Must be cancel safe.
    fn next_event(&mut self) -> impl Future<Output = MachineEvent> + Send;
}

/// Where the gateway listens.
#[derive(Clone, Debug)]
pub struct Reach {
    /// UDP.
    pub udp: GatewayPorts,
    /// TCP other than [`Fallback::TLS_PORT`](evenkeel_profile::Fallback::TLS_PORT).
    pub tcp: u16,
    /// How TLS is spoken there, if the profile wants it.
    pub tls: Option<TlsClient>,
    /// The WireGuard peer.
    pub peer: Option<Arc<PeerReach>>,
}

/// Where the WireGuard peer listens, and the keys for it.
pub struct PeerReach {
    /// As the profile names it.
    pub endpoint: Endpoint,
    /// Keys, and what may pass.
    pub config: PeerConfig,
}

impl fmt::Debug for PeerReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of the keys.
        f.debug_struct("PeerReach").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// An error as the tunnel takes it, with what there is to say about it to a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault<E> {
    /// For the tunnel.
    pub error: E,
    /// For the status.
    pub cause: Cause,
}

/// What the machine has to say.
#[derive(Debug)]
pub enum MachineEvent {
    /// A name was looked up.
    Resolved(Result<Vec<IpAddr>, ResolveError>),
    /// The WireGuard peer's name was looked up.
    PeerResolved(Result<Vec<IpAddr>, ResolveError>),
    /// The WireGuard peer does not answer, and is being asked by a handshake.
    PeerSilent {
        /// The path to it.
        path: PathId,
    },
    /// The WireGuard peer has answered.
    PeerAnswers {
        /// The path to it.
        path: PathId,
    },
    /// A path was opened, or could not be.
    PathOpened {
        /// Which.
        path: PathId,
        /// The open path, or why there is none.
        result: Result<OpenedPath, Fault<PathError>>,
    },
    /// An open path has come to its end.
    PathLost {
        /// Which.
        path: PathId,
        /// Why.
        fault: Fault<PathError>,
    },
    /// An IKE message arrived, its non-ESP marker stripped.
    Received {
        /// Where it came along.
        path: Path,
        /// The message.
        message: Vec<u8>,
    },
    /// A probe was answered through the tunnel.
    ProbeAnswered(ProbeId),
    /// ICMP says that a packet was too big for the path.
    TooBig {
        /// The MTU that it names.
        mtu: u16,
        /// Whether it quotes a packet that we have sent.
        quotes_our_packet: bool,
    },
    /// The first packet after so long has just left.
    SentAfterSilence(Duration),
    /// Authenticated ESP arrived.
    EspSeen,
    /// Which network the default route leads to, as far as is known; `None` where none does. Told at the start, before
    /// [`NetworkChanged`](Self::NetworkChanged) where that can be, and again when more is known.
    Network(Option<NetworkIdentity>),
    /// Links, addresses or routes under the tunnel have changed.
    NetworkChanged,
    /// The machine has slept.
    Woke,
    /// What a look for a captive portal has found, or what has become of one that was found.
    Portal(PortalReport),
    /// The network is configured, or as it was.
    Configured(Result<(), Fault<ConfigureError>>),
    /// The network is as it was.
    Unconfigured,
    /// The sequence numbers of a CHILD SA are running out.
    SequenceLow {
        /// Its inbound SPI.
        spi_in: EspSpi,
    },
    /// The data plane has stopped and carries nothing any more.
    Stopped(Cause),
}
