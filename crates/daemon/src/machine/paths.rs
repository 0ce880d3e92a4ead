//! The open paths to the gateway: two UDP sockets each, one for a first exchange on UDP/500, one for everything else.
//!
//! All have ports of the system's choice, so that neither another IKE daemon on this machine nor another client behind
//! the same NAT is in the way, and all are connected: the kernel drops what others send, and picks the local address
//! that NAT detection needs. Their mark keeps their packets out of the tunnel.
//!
//! Several paths are open while the ways to the gateway race. The one in use is read by the data plane, which finds the
//! IKE messages among the ESP packets; the others carry nothing but IKE and are read by a task each.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use evenkeel_ipc::Cause;
use evenkeel_ipsec::ike::{Framing, Path, Transmit};
use evenkeel_ipsec::wire::NON_ESP_MARKER;
use evenkeel_netprofile::overhead::DEFAULT_PATH_MTU;
use evenkeel_platform::socket::{UdpOptions, UdpSocket};
use evenkeel_tunnel::{GatewayPorts, OpenedPath, PathError, PathId};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::network::MARK;
use super::streams::{StreamEvent, Streams};
use crate::control::{Fault, MachineEvent, wall_clock};
use crate::transport::TlsClient;

/// The longest datagram.
const LONGEST: usize = 65_535;
/// IKE messages that wait for the control task. They are a handful; more is a flood, and is lost as in any full receive
/// buffer.
const WAITING: usize = 64;

/// Every open path.
pub(super) struct Paths {
    open: BTreeMap<PathId, OpenPath>,
    used: Option<PathId>,
    streams: Streams,
    arrivals: mpsc::Receiver<(Path, Vec<u8>)>,
    sender: mpsc::Sender<(Path, Vec<u8>)>,
}

struct OpenPath {
    nat: Endpoint,
    init: Option<Endpoint>,
}

/// A connected socket, and who reads it.
struct Endpoint {
    socket: UdpSocket,
    path: Path,
    reader: Option<Reader>,
}

/// A task that ends with its owner's interest.
struct Reader(JoinHandle<()>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Default for Paths {
    fn default() -> Self {
        let (sender, arrivals) = mpsc::channel(WAITING);
        Self { open: BTreeMap::new(), used: None, streams: Streams::default(), arrivals, sender }
    }
}

impl Paths {
    /// Opens sockets towards the gateway over UDP.
    pub(super) fn open_udp(
        &mut self,
        id: PathId,
        gateway: IpAddr,
        ports: GatewayPorts,
    ) -> Result<OpenedPath, Fault<PathError>> {
        let nat =
            self.endpoint(SocketAddr::new(gateway, ports.nat), Framing::NonEspMarker, UdpOptions::default())?;
        let init = match ports.init {
            None => None,
            Some(port) => {
                let options = UdpOptions { buffer: LONGEST, offload: false, ..UdpOptions::default() };
                Some(self.endpoint(SocketAddr::new(gateway, port), Framing::Bare, options)?)
            }
        };
        let opened = OpenedPath {
            init: init.as_ref().map_or(nat.path, |init| init.path),
            nat: nat.path,
            path_mtu: link_mtu(&nat.socket),
            wall: wall_clock(),
        };
        self.open.insert(id, OpenPath { nat, init });
        Ok(opened)
    }

    /// Begins to open a stream to the gateway; [`next_event`](Self::next_event) tells what became of it.
    pub(super) fn open_stream(&mut self, id: PathId, remote: SocketAddr, tls: Option<TlsClient>) {
        self.streams.open(id, remote, tls);
    }

    /// An IKE message on a path that the data plane does not read, or what became of a stream. Cancel safe.
    pub(super) async fn next_event(&mut self) -> MachineEvent {
        tokio::select! {
            Some((path, message)) = self.arrivals.recv() => MachineEvent::Received { path, message },
            event = self.streams.event() => self.follow_up(event),
        }
    }

    fn follow_up(&mut self, event: StreamEvent) -> MachineEvent {
        match event {
            StreamEvent::Opened { id, socket, path } => {
                let mut nat = Endpoint { socket, path, reader: None };
                nat.read(&self.sender);
                self.open.insert(id, OpenPath { nat, init: None });
                let opened =
                    OpenedPath { init: path, nat: path, path_mtu: DEFAULT_PATH_MTU, wall: wall_clock() };
                MachineEvent::PathOpened { path: id, result: Ok(opened) }
            }
            StreamEvent::Over { id, fault } => {
                let was_open = self.open.contains_key(&id);
                self.close(id);
                if was_open {
                    MachineEvent::PathLost { path: id, fault }
                } else {
                    MachineEvent::PathOpened { path: id, result: Err(fault) }
                }
            }
        }
    }

    /// Hands a path to the data plane, which reads it from here on.
    pub(super) fn lend(&mut self, id: PathId) -> Option<UdpSocket> {
        // A session that takes its leave there still hears the answer.
        self.take_back();
        let path = self.open.get_mut(&id)?;
        path.nat.reader = None;
        // The first exchange is over.
        path.init = None;
        self.used = Some(id);
        Some(path.nat.socket.clone())
    }

    /// The data plane reads none of them any more.
    pub(super) fn take_back(&mut self) {
        if let Some(path) = self.used.take().and_then(|used| self.open.get_mut(&used)) {
            path.nat.read(&self.sender);
        }
    }

    /// The path that the data plane reads.
    pub(super) fn in_use(&self) -> Option<Path> {
        self.used.and_then(|used| self.open.get(&used)).map(|path| path.nat.path)
    }

    pub(super) fn close(&mut self, id: PathId) {
        self.open.remove(&id);
        self.streams.close(id);
        self.used.take_if(|used| *used == id);
    }

    pub(super) fn close_all(&mut self) {
        *self = Self::default();
    }

    pub(super) fn send(&self, transmit: &Transmit) {
        let endpoints = self.open.values().flat_map(|path| std::iter::once(&path.nat).chain(&path.init));
        let Some(endpoint) = endpoints.into_iter().find(|endpoint| endpoint.path == transmit.path) else {
            // A session that takes its leave on a path that was given up says goodbye to nobody.
            return;
        };
        if let Err(error) = endpoint.socket.send(&transmit.payload, None) {
            // It is sent again, and in the end the silence is what counts.
            tracing::debug!(%error, remote = %transmit.path.remote, "a datagram was not sent");
        }
    }

    fn endpoint(
        &self,
        remote: SocketAddr,
        framing: Framing,
        options: UdpOptions,
    ) -> Result<Endpoint, Fault<PathError>> {
        let (socket, local) = connected(remote, options)?;
        let mut endpoint = Endpoint { socket, path: Path { local, remote, framing }, reader: None };
        endpoint.read(&self.sender);
        Ok(endpoint)
    }
}

/// A socket that is connected to there and kept out of the tunnel, and its address.
pub(super) fn connected(
    remote: SocketAddr,
    options: UdpOptions,
) -> Result<(UdpSocket, SocketAddr), Fault<PathError>> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let connected = || {
        let socket = UdpSocket::bind(SocketAddr::new(any, 0), &UdpOptions { mark: Some(MARK), ..options })?;
        socket.connect(remote)?;
        let local = socket.local_addr()?;
        Ok((socket, local))
    };
    connected().map_err(|error: io::Error| fault(&error, remote))
}

impl Endpoint {
    /// Has a task read it.
    fn read(&mut self, sender: &mpsc::Sender<(Path, Vec<u8>)>) {
        let readable = self.socket.try_clone_std().and_then(tokio::net::UdpSocket::from_std);
        let readable = match readable {
            Ok(readable) => readable,
            Err(error) => {
                tracing::error!(%error, "a path can't be read");
                return;
            }
        };
        let (path, sender) = (self.path, sender.clone());
        self.reader = Some(Reader(tokio::spawn(async move {
            let mut buffer = vec![0; LONGEST];
            loop {
                match readable.recv(&mut buffer).await {
                    Ok(length) => {
                        if let Some(message) = buffer.get(..length).and_then(|datagram| ike(path, datagram)) {
                            // Full: lost, like in the socket's own buffer.
                            drop(sender.try_send((path, message.to_vec())));
                        }
                    }
                    // An ICMP error, which anyone can forge: the session's own timer decides (RFC 7296 §2.4).
                    Err(error) => tracing::debug!(%error, remote = %path.remote, "a path"),
                }
            }
        })));
    }
}

/// What the route to the gateway takes, as far as the system knows; more than Ethernet's is never tried.
pub(super) fn link_mtu(socket: &UdpSocket) -> u16 {
    let known = socket.path_mtu().and_then(|mtu| u16::try_from(mtu).ok());
    known.unwrap_or(DEFAULT_PATH_MTU).min(DEFAULT_PATH_MTU)
}

/// The IKE message in a datagram, if that is what it holds.
fn ike(path: Path, datagram: &[u8]) -> Option<&[u8]> {
    if path.framing.has_marker() { datagram.strip_prefix(&NON_ESP_MARKER[..]) } else { Some(datagram) }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the system has more to say than we can name")]
fn fault(error: &io::Error, remote: SocketAddr) -> Fault<PathError> {
    match error.kind() {
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::AddrNotAvailable => {
            Fault { error: PathError::NoRoute, cause: Cause::NetworkUnreachable { remote } }
        }
        io::ErrorKind::PermissionDenied => Fault {
            error: PathError::Refused,
            cause: Cause::DaemonNotPermitted { what: "socket".to_owned() },
        },
        _ => Fault { error: PathError::Refused, cause: Cause::SocketFailed { detail: error.to_string() } },
    }
}
