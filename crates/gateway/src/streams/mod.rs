//! IKE and ESP in TCP streams (RFC 9329), which may be wrapped in TLS.
//!
//! Behind each accepted stream stands a [`Relay`] with a UDP socket of its own, connected to the gateway's socket for
//! UDP/4500: to the inner network's plane and to the TUN device's alike, a stream is one more UDP peer. The
//! [`StreamTable`] turns that peer's address into the path of the TCP connection, and back: the rest of the gateway
//! sees where the client really is, which NAT detection needs (RFC 9329 §6.5), and that it is a stream.
//!
//! SAs do not belong to a stream. What arrives authenticated along another path moves them there, whether that is a
//! stream or not; a stream that ends leaves them as they are, until DPD gives up (RFC 9329 §6.1).

mod places;
mod table;
mod tls;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_ipsec::ike::{Framing, Path};
use evenkeel_platform::socket::{carry_packets, tcp_listener};
use evenkeel_reframer::{Begun, Ended, Relay, RelayCounters, RelaySocket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info, warn};

use self::places::Places;
pub(crate) use self::table::StreamTable;
pub use self::tls::TlsError;
use crate::config::{Credential, Listen};
use crate::sockets::ListenError;

/// How long a client has for TLS and the prefix.
const PREFIX_PATIENCE: Duration = Duration::from_secs(5);
/// Rest after a failure to accept: the system is out of descriptors, and will be for a while.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// What a TLS client's first octet is, where a plain stream begins with `I`: the record type of a handshake
/// (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 22;

/// TCP ports that are bound, and nobody served yet.
pub(crate) struct StreamListeners {
    bound: Vec<TcpListener>,
    tls: Option<TlsAcceptor>,
}

/// Serves streams until it is dropped, which closes them all.
pub(crate) struct Streams {
    table: StreamTable,
    accepting: Vec<JoinHandle<()>>,
    /// Dropped to close the streams.
    _open: watch::Sender<()>,
}

impl StreamListeners {
    /// Binds the configured TCP ports. Needs a tokio runtime.
    pub(crate) fn bind(listen: &Listen, credential: &Credential) -> Result<Self, ListenError> {
        let tls = match credential {
            Credential::Certificate { chain, key_pem } if listen.tcp_tls => {
                Some(tls::acceptor(chain, key_pem)?)
            }
            Credential::Certificate { .. } | Credential::Psk => None,
        };
        let mut bound = Vec::new();
        for &port in &listen.tcp_ports {
            if listen.addresses.is_empty() {
                bound.extend(bind_everywhere(port)?);
            }
            for &ip in &listen.addresses {
                bound.push(bind(SocketAddr::new(ip, port))?);
            }
        }
        Ok(Self { bound, tls })
    }

    /// The addresses in use.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.bound.iter().filter_map(|listener| listener.local_addr().ok())
    }

    /// Serves clients. `user` is the UDP socket that streams are relayed to.
    pub(crate) fn serve(self, user: SocketAddr) -> Streams {
        let (open, closed) = watch::channel(());
        let table = StreamTable::new(user);
        let server = Arc::new(StreamServer {
            table: table.clone(),
            user,
            tls: self.tls,
            places: Places::default(),
            closed,
        });
        let accept = |listener| tokio::spawn(Arc::clone(&server).accept(listener));
        Streams { table, accepting: self.bound.into_iter().map(accept).collect(), _open: open }
    }
}

impl Streams {
    /// Which streams are open.
    pub(crate) fn table(&self) -> &StreamTable {
        &self.table
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.accepting.iter().for_each(JoinHandle::abort);
    }
}

/// What serving a stream takes.
struct StreamServer {
    table: StreamTable,
    user: SocketAddr,
    tls: Option<TlsAcceptor>,
    places: Places,
    closed: watch::Receiver<()>,
}

impl StreamServer {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, remote)) => match self.places.take(remote.ip()) {
                    Some(place) => {
                        let server = Arc::clone(&self);
                        tokio::spawn(async move {
                            server.serve(stream, remote).await;
                            drop(place);
                        });
                    }
                    None => debug!(%remote, "no place for another stream"),
                },
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    async fn serve(&self, stream: TcpStream, remote: SocketAddr) {
        let deadline = Instant::now() + PREFIX_PATIENCE;
        let served = match timeout_at(deadline, self.open(stream, remote)).await {
            Ok(Ok((path, Opened::Plain(stream)))) => self.relay(stream, path, deadline).await,
            Ok(Ok((path, Opened::Tls(stream)))) => self.relay(*stream, path, deadline).await,
            Ok(Err(error)) => Err(Ended::Failed(error)),
            Err(_) => return debug!(%remote, "nothing came along a stream"),
        };
        match served {
            Ok(Some(ended)) => info!(%remote, cause = %ended, "stream ended"),
            Ok(None) => debug!(%remote, "stream closed"),
            Err(ended) => debug!(%remote, cause = %ended, "a connection that became no stream"),
        }
    }

    /// Finds out whether the client speaks TLS, and does so then.
    async fn open(&self, stream: TcpStream, remote: SocketAddr) -> std::io::Result<(Path, Opened)> {
        carry_packets(&stream)?;
        let path = Path { local: stream.local_addr()?, remote, framing: Framing::Stream };
        let Some(tls) = &self.tls else { return Ok((path, Opened::Plain(stream))) };
        let mut first = [0];
        stream.peek(&mut first).await?;
        let opened = if first == [TLS_HANDSHAKE] {
            Opened::Tls(Box::new(tls.accept(stream).await?))
        } else {
            Opened::Plain(stream)
        };
        Ok((path, opened))
    }

    /// Relays from the prefix to the end, which has a reason unless the gateway ends. The error is of a stream that never
    /// began.
    async fn relay<S>(&self, mut stream: S, path: Path, deadline: Instant) -> Result<Option<Ended>, Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let begun = timeout_at(deadline, Begun::wait(&mut stream)).await;
        let begun = begun.unwrap_or_else(|late| Err(Ended::Failed(late.into())))?;
        let socket = RelaySocket::connect(self.user.ip(), self.user).map_err(Ended::Socket)?;
        let _entry = self.table.enter(socket.local_addr().map_err(Ended::Socket)?, path);
        info!(remote = %path.remote, local = %path.local, "stream opened");
        let mut relay = Relay::responder(begun, socket, Arc::<RelayCounters>::default());
        let mut closed = self.closed.clone();
        tokio::select! {
            ended = relay.run(&mut stream) => Ok(Some(ended)),
            // Nothing is ever sent: the sender is dropped.
            _ = closed.changed() => {
                relay.finish(&mut stream).await;
                Ok(None)
            }
        }
    }
}

/// An accepted connection.
enum Opened {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Where streams reach the gateway's UDP socket at `address`, which may be on all addresses.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let loopback =
        if address.is_ipv4() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { Ipv6Addr::LOCALHOST.into() };
    let ip = if address.ip().is_unspecified() { loopback } else { address.ip() };
    SocketAddr::new(ip, address.port())
}

fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    tcp_listener(address).map_err(|reason| ListenError::BindTcp { address, reason })
}

/// On all addresses of both families; one is enough.
fn bind_everywhere(port: u16) -> Result<Vec<TcpListener>, ListenError> {
    let everywhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let (bound, refused): (Vec<_>, Vec<_>) =
        everywhere.into_iter().map(|ip| bind(SocketAddr::new(ip, port))).partition(Result::is_ok);
    let bound: Vec<_> = bound.into_iter().flatten().collect();
    match refused.into_iter().find_map(Result::err) {
        Some(error) if bound.is_empty() => Err(error),
        Some(error) => {
            warn!(%error, "one address family is not served");
            Ok(bound)
        }
        None => Ok(bound),
    }
}
