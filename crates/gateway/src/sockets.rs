//! The gateway's UDP sockets.

use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::Poll;

use evenkeel_ipsec::ike::{Framing, Path, Transmit};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tracing::{debug, warn};

use crate::config::Listen;
use crate::streams::TlsError;

/// Receive buffer of each socket, as far as the system grants it: a burst of one client's window.
const SOCKET_BUFFER: usize = 4 << 20;
/// The largest datagram, or the largest train of coalesced ones.
const DATAGRAM: usize = 65_536;

/// Why the gateway can't listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The system refused an address and port.
    #[error("can't listen on UDP {address}: {reason}{}", hint(*address, reason))]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        reason: io::Error,
    },
    /// The system refused an address and TCP port.
    #[error("can't listen on TCP {address}: {reason}{}", hint(*address, reason))]
    BindTcp {
        /// Which.
        address: SocketAddr,
        /// Why.
        reason: io::Error,
    },
    /// TLS for those ports.
    #[error("listen.tcp_tls")]
    Tls(#[from] TlsError),
    /// No address family works.
    #[error("can't listen on any address")]
    NoAddress,
}

fn hint(address: SocketAddr, reason: &io::Error) -> &'static str {
    if reason.kind() == io::ErrorKind::PermissionDenied && address.port() < 1024 {
        " (ports below 1024 need privileges; see listen.ike_port and listen.tcp_ports)"
    } else {
        ""
    }
}

/// All sockets: for each local address one with and one without the non-ESP marker.
pub(crate) struct Sockets {
    bound: Vec<BoundSocket>,
    buffer: Vec<u8>,
}

struct BoundSocket {
    io: UdpSocket,
    state: UdpSocketState,
    address: SocketAddr,
    framing: Framing,
}

impl Sockets {
    /// Binds all sockets. Needs a tokio runtime.
    pub(crate) fn bind(listen: &Listen) -> Result<Self, ListenError> {
        let mut bound = Vec::new();
        for address in &listen.addresses {
            bound.push(BoundSocket::new(SocketAddr::new(*address, listen.ike_port), Framing::Bare)?);
            bound.push(BoundSocket::new(SocketAddr::new(*address, listen.nat_port), Framing::NonEspMarker)?);
        }
        if listen.addresses.is_empty() {
            bound = Self::bind_everywhere(listen)?;
        }
        Ok(Self::new(bound))
    }

    /// Binds the sockets without the non-ESP marker only; the data plane has the other port.
    pub(crate) fn bind_bare(listen: &Listen) -> Result<Self, ListenError> {
        let bind =
            |address: &IpAddr| BoundSocket::new(SocketAddr::new(*address, listen.ike_port), Framing::Bare);
        Ok(Self::new(listen.addresses.iter().map(bind).collect::<Result<_, _>>()?))
    }

    fn new(bound: Vec<BoundSocket>) -> Self {
        Self { bound, buffer: vec![0; BATCH_SIZE * DATAGRAM] }
    }

    /// On all addresses of both families. Machines without IPv6 are common: one family is enough.
    fn bind_everywhere(listen: &Listen) -> Result<Vec<BoundSocket>, ListenError> {
        let mut bound = Vec::new();
        let mut refused = ListenError::NoAddress;
        for address in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            let pair =
                BoundSocket::new(SocketAddr::new(address, listen.ike_port), Framing::Bare).and_then(|bare| {
                    let address = SocketAddr::new(address, listen.nat_port);
                    Ok([bare, BoundSocket::new(address, Framing::NonEspMarker)?])
                });
            match pair {
                Ok(pair) => bound.extend(pair),
                Err(error) => {
                    warn!(%error, "one address family is not served");
                    refused = error;
                }
            }
        }
        if bound.is_empty() { Err(refused) } else { Ok(bound) }
    }

    /// The addresses in use, with the ports that the system chose where it had the choice.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (Framing, SocketAddr)> {
        self.bound.iter().map(|socket| (socket.framing, socket.address))
    }

    /// Waits for datagrams and hands each of them to `take`; from every socket that has some, so that none starves.
    pub(crate) async fn receive(&mut self, mut take: impl FnMut(Path, &mut [u8])) {
        poll_fn(|cx| {
            // Not `any`: every socket has to know whom to wake.
            let ready = self.bound.iter().filter(|socket| socket.io.poll_recv_ready(cx).is_ready()).count();
            if ready == 0 { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        for socket in &self.bound {
            if let Err(error) = socket.receive(&mut self.buffer, &mut take)
                && error.kind() != io::ErrorKind::WouldBlock
            {
                // ICMP errors of earlier sends come back here; none of them concerns the socket itself.
                debug!(%error, address = %socket.address, "receiving failed");
            }
        }
    }

    /// Sends one datagram from the socket that its path names.
    pub(crate) async fn send(&self, transmit: &Transmit) {
        let path = transmit.path;
        let socket = self.bound.iter().find(|socket| socket.serves(&path));
        let Some(socket) = socket else {
            debug!(?path, "no socket for this path");
            return;
        };
        if let Err(error) = socket.send(transmit).await {
            debug!(%error, remote = %path.remote, length = transmit.payload.len(), "sending failed");
        }
    }
}

impl BoundSocket {
    fn new(address: SocketAddr, framing: Framing) -> Result<Self, ListenError> {
        Self::open(address, framing).map_err(|reason| ListenError::Bind { address, reason })
    }

    fn open(address: SocketAddr, framing: Framing) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            // Each family has a socket of its own, so that no path shows IPv4-mapped addresses.
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        // The system may grant less; losing datagrams in a burst is what TCP inside the tunnel copes with.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
        socket.bind(&address.into())?;
        let io = UdpSocket::from_std(socket.into())?;
        let state = UdpSocketState::new((&io).into())?;
        let address = io.local_addr()?;
        Ok(Self { io, state, address, framing })
    }

    fn serves(&self, path: &Path) -> bool {
        let ip = self.address.ip();
        self.framing == path.framing
            && ip.is_ipv4() == path.local.is_ipv4()
            && (ip.is_unspecified() || ip == path.local.ip())
    }

    fn receive(&self, buffer: &mut [u8], take: &mut impl FnMut(Path, &mut [u8])) -> io::Result<()> {
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        let count = self.io.try_io(Interest::READABLE, || {
            let mut slices: Vec<IoSliceMut<'_>> = buffer.chunks_mut(DATAGRAM).map(IoSliceMut::new).collect();
            self.state.recv((&self.io).into(), &mut slices, &mut meta)
        })?;
        for (meta, train) in meta.iter().zip(buffer.chunks_mut(DATAGRAM)).take(count) {
            // NAT detection hashes the address that the client sent to, not the wildcard.
            let local = meta.dst_ip.unwrap_or(self.address.ip());
            let path = Path {
                local: SocketAddr::new(local, self.address.port()),
                remote: meta.addr,
                framing: self.framing,
            };
            if let Some(train) = train.get_mut(..meta.len) {
                train.chunks_mut(meta.stride.max(1)).for_each(|datagram| take(path, datagram));
            }
        }
        Ok(())
    }

    async fn send(&self, transmit: &Transmit) -> io::Result<()> {
        let datagram = quinn_udp::Transmit {
            destination: transmit.path.remote,
            ecn: None,
            contents: &transmit.payload,
            segment_size: None,
            src_ip: Some(transmit.path.local.ip()),
        };
        self.io.async_io(Interest::WRITABLE, || self.state.try_send((&self.io).into(), &datagram)).await
    }
}
