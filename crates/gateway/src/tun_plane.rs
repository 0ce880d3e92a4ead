//! Clients' packets through a TUN device and the system's own network, for benchmarks.
//!
//! The product's data plane carries ESP here; faults of the network therefore touch IKE messages only. The device
//! comes up without addresses and routes: whoever starts the gateway gives it an address of the protected network
//! and routes the clients' pool to it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use evenkeel_datapath::{self as datapath, DataPlane, DataPlaneConfig, MssClamp, PeerAddress, PlaneEvent};
use evenkeel_ipsec::ike::{Framing, Path, Transmit};
use evenkeel_platform::socket::{UdpOptions, UdpSocket};
use evenkeel_platform::tun::{Tun, TunConfig};
use tokio::sync::mpsc;
use tracing::{debug, info};

use crate::config::{Listen, TunSettings};
use crate::gateway::PlaneCommand;
use crate::streams::StreamTable;

/// Events that may wait for the event loop. What comes beyond them is lost, as in a full socket buffer.
const EVENTS: usize = 1024;

/// Why there can be no TUN mode.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// Answers must leave with the address that the client knows.
    #[error("TUN mode needs exactly one listen address")]
    OneAddress,
    /// The device.
    #[error("can't make the TUN device {name}: {reason}")]
    Device {
        /// Its name.
        name: String,
        /// Why.
        reason: io::Error,
    },
    /// The socket.
    #[error("can't listen on UDP {address}: {reason}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: io::Error,
    },
    /// The threads.
    #[error("can't start the data plane: {0}")]
    Start(io::Error),
}

/// The data plane with its device and socket.
pub(crate) struct TunPlane {
    plane: DataPlane,
    socket: UdpSocket,
    local: SocketAddr,
    events: mpsc::Receiver<PlaneEvent>,
}

impl TunPlane {
    /// Makes the device, binds the socket and starts the threads.
    pub(crate) fn start(settings: &TunSettings, listen: &Listen) -> Result<Self, TunError> {
        let [address] = listen.addresses.as_slice() else { return Err(TunError::OneAddress) };
        let address = SocketAddr::new(*address, listen.nat_port);
        let socket = UdpSocket::bind(address, &UdpOptions::default())
            .map_err(|reason| TunError::Listen { address, reason })?;
        let local = socket.local_addr().map_err(|reason| TunError::Listen { address, reason })?;
        let device = TunConfig { name: Some(settings.name.clone()), mtu: settings.mtu, offload: true };
        let tun =
            Tun::open(&device).map_err(|reason| TunError::Device { name: settings.name.clone(), reason })?;
        info!(name = settings.name, mtu = settings.mtu, offload = tun.has_offload(), "TUN device made");
        let (sender, events) = mpsc::channel(EVENTS);
        let config = DataPlaneConfig {
            mss: MssClamp::for_mtu(settings.mtu),
            // Called in the packet path, so it must not wait.
            events: Box::new(move |event| drop(sender.try_send(event))),
        };
        let plane = DataPlane::start(tun, socket.clone(), config).map_err(TunError::Start)?;
        Ok(Self { plane, socket, local, events })
    }

    /// The address that it listens on.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Waits for the next event.
    pub(crate) async fn event(&mut self) -> PlaneEvent {
        match self.events.recv().await {
            Some(event) => event,
            // The sink lives as long as the plane.
            None => std::future::pending().await,
        }
    }

    /// The path of an IKE message that the data plane handed over.
    pub(crate) fn path_from(&self, remote: SocketAddr) -> Path {
        Path { local: self.local, remote, framing: Framing::NonEspMarker }
    }

    /// Carries out an order. A path along a stream leads to the stream's relay.
    pub(crate) fn apply(&self, command: PlaneCommand, streams: &StreamTable) {
        let peer = |path: Path| match path.framing {
            Framing::Bare | Framing::NonEspMarker => Some(path.remote),
            Framing::Stream => streams.relay_of(&path).map(|relay| relay.remote),
        };
        match command {
            PlaneCommand::Install(sas) => self.plane.install(datapath::ChildSas {
                inbound: sas.inbound,
                outbound: sas.outbound,
                send_now: sas.send_now,
                peer: PeerAddress::Following(peer(sas.path).unwrap_or_else(|| self.nowhere())),
            }),
            PlaneCommand::SendOn(spi_in) => self.plane.send_on(spi_in),
            PlaneCommand::Remove(spi_in) => self.plane.remove(spi_in),
            PlaneCommand::SetPath(spi_in, path) => {
                self.plane.set_peer(spi_in, peer(path).unwrap_or_else(|| self.nowhere()));
            }
        }
    }

    /// Where packets go whose stream has ended: to the discard port of this machine, where nobody listens.
    fn nowhere(&self) -> SocketAddr {
        const DISCARD: u16 = 9;
        let loopback = match self.local {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        SocketAddr::new(loopback, DISCARD)
    }

    /// Sends an IKE message between the data plane's packets.
    pub(crate) fn send(&self, transmit: &Transmit) {
        if let Err(error) = self.socket.send(&transmit.payload, Some(transmit.path.remote)) {
            debug!(%error, remote = %transmit.path.remote, "sending failed");
        }
    }
}
