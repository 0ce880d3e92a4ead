//! The two UDP sockets of a connection: one for the first exchange, one for everything else.
//!
//! Both have ports of the system's choice, so that neither another IKE daemon on this machine nor another client behind
//! the same NAT is in the way, and both are connected: the kernel drops what others send, and picks the local address
//! that NAT detection needs. Their mark keeps their packets out of the tunnel.

use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use evenkeel_ipc::Cause;
use evenkeel_ipsec::ike::{Framing, Path, Transmit};
use evenkeel_netprofile::overhead::DEFAULT_PATH_MTU;
use evenkeel_platform::socket::{UdpOptions, UdpSocket};
use evenkeel_tunnel::{GatewayPorts, PathError};

use super::network::MARK;
use crate::control::Fault;

/// The longest IKE message over UDP/500; only IKE_SA_INIT goes there, and its answer is never fragmented.
const LONGEST: usize = 65_535;

pub(super) struct Sockets {
    nat: UdpSocket,
    nat_path: Path,
    init_path: Path,
    init: Option<Init>,
}

struct Init {
    socket: UdpSocket,
    readable: tokio::net::UdpSocket,
    buffer: Vec<u8>,
}

impl Sockets {
    pub(super) fn open(gateway: IpAddr, ports: GatewayPorts) -> Result<Self, Fault<PathError>> {
        let remote = SocketAddr::new(gateway, ports.nat);
        let (nat, nat_path) = connected(
            remote,
            &UdpOptions { mark: Some(MARK), ..UdpOptions::default() },
            Framing::NonEspMarker,
        )
        .map_err(|error| fault(&error, remote))?;
        let Some(port) = ports.init else {
            return Ok(Self { nat, nat_path, init_path: nat_path, init: None });
        };
        let remote = SocketAddr::new(gateway, port);
        let options =
            UdpOptions { mark: Some(MARK), buffer: LONGEST, offload: false, ..UdpOptions::default() };
        let (socket, init_path) =
            connected(remote, &options, Framing::Bare).map_err(|error| fault(&error, remote))?;
        let init = Init::new(socket).map_err(|error| fault(&error, remote))?;
        Ok(Self { nat, nat_path, init_path, init: Some(init) })
    }

    /// The socket that the data plane shares.
    pub(super) fn nat(&self) -> &UdpSocket {
        &self.nat
    }

    pub(super) fn nat_path(&self) -> Path {
        self.nat_path
    }

    pub(super) fn init_path(&self) -> Path {
        self.init_path
    }

    /// What the way to the gateway is known to take.
    pub(super) fn path_mtu(&self) -> u16 {
        DEFAULT_PATH_MTU
    }

    pub(super) fn send(&self, transmit: &Transmit) {
        let socket = if transmit.path == self.nat_path {
            Some(&self.nat)
        } else if transmit.path == self.init_path {
            self.init.as_ref().map(|init| &init.socket)
        } else {
            None
        };
        let sent = socket.map(|socket| socket.send(&transmit.payload, None));
        if let Some(Err(error)) = sent {
            // It is sent again, and in the end the silence is what counts.
            tracing::debug!(%error, remote = %transmit.path.remote, "a datagram was not sent");
        }
    }

    /// The first exchange is over.
    pub(super) fn close_init(&mut self) {
        self.init = None;
    }

    /// The next message on the socket of the first exchange. Cancel safe.
    pub(super) async fn receive_init(&mut self) -> (Path, Vec<u8>) {
        let path = self.init_path;
        let Some(init) = &mut self.init else { return pending().await };
        loop {
            match init.readable.recv(&mut init.buffer).await {
                Ok(length) => {
                    if let Some(message) = init.buffer.get(..length) {
                        return (path, message.to_vec());
                    }
                }
                // An ICMP error, which anyone can forge: the session's own timer decides (RFC 7296 §2.4).
                Err(error) => tracing::debug!(%error, "the gateway's IKE port"),
            }
        }
    }
}

impl Init {
    fn new(socket: UdpSocket) -> io::Result<Self> {
        let readable = tokio::net::UdpSocket::from_std(socket.try_clone_std()?)?;
        Ok(Self { socket, readable, buffer: vec![0; LONGEST] })
    }
}

fn connected(remote: SocketAddr, options: &UdpOptions, framing: Framing) -> io::Result<(UdpSocket, Path)> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0), options)?;
    socket.connect(remote)?;
    let local = socket.local_addr()?;
    Ok((socket, Path { local, remote, framing }))
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
