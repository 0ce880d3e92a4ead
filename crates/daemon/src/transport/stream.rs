//! One stream to the gateway.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_ipsec::ike::{Framing, Path};
use evenkeel_platform::socket::{TcpOptions, UdpSocket, carry_packets, tcp_socket};
use evenkeel_reframer::{Relay, RelayCounters, RelaySocket, RelayStats, pair};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{StreamFailure, TlsClient};

/// How long opening a stream may take, TLS included: three attempts of TCP, of which the last is a second after the
/// one before.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How to open a stream.
#[derive(Clone, Default, Debug)]
pub struct StreamOptions {
    /// The mark that keeps the connection's packets out of the tunnel, and the interface to leave by.
    pub tcp: TcpOptions,
    /// Wrap the stream in TLS.
    pub tls: Option<TlsClient>,
}

/// An open stream and the UDP socket in front of it. Dropping it closes the stream in the background.
pub struct StreamTransport {
    plane: UdpSocket,
    local: SocketAddr,
    remote: SocketAddr,
    counters: Arc<RelayCounters>,
    /// Dropped to have the stream closed.
    open: Option<oneshot::Sender<()>>,
    /// Gives the reason when the stream ends by itself.
    relay: JoinHandle<Option<StreamFailure>>,
    /// Whether the reason has been given.
    over: bool,
}

impl StreamTransport {
    /// Opens a connection to `remote` within [`CONNECT_TIMEOUT`] and sends the stream prefix. Needs a tokio runtime.
    ///
    /// # Errors
    /// Whatever came instead of a stream.
    pub async fn connect(remote: SocketAddr, options: StreamOptions) -> Result<Self, StreamFailure> {
        timeout(CONNECT_TIMEOUT, Self::open(remote, options)).await.unwrap_or(Err(StreamFailure::TimedOut))
    }

    async fn open(remote: SocketAddr, options: StreamOptions) -> Result<Self, StreamFailure> {
        let socket = tcp_socket(remote, &options.tcp).map_err(StreamFailure::Local)?;
        let stream = socket.connect(remote).await.map_err(StreamFailure::of_connecting)?;
        carry_packets(&stream).map_err(StreamFailure::Local)?;
        let local = stream.local_addr().map_err(StreamFailure::Local)?;
        match options.tls {
            None => Self::relay(stream, local, remote),
            Some(TlsClient { config, name }) => {
                let connecting = TlsConnector::from(config).connect(name, stream);
                let stream = connecting.await.map_err(StreamFailure::of_stream)?;
                Self::relay(stream, local, remote)
            }
        }
    }

    fn relay<S>(stream: S, local: SocketAddr, remote: SocketAddr) -> Result<Self, StreamFailure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (plane, socket) = pair().map_err(StreamFailure::Local)?;
        let counters = Arc::<RelayCounters>::default();
        let (open, closing) = oneshot::channel();
        let relay = tokio::spawn(run(stream, socket, Arc::clone(&counters), closing));
        Ok(Self { plane, local, remote, counters, open: Some(open), relay, over: false })
    }

    /// What to use in the place of a UDP socket towards the gateway: it is connected, and carries IKE messages with the
    /// non-ESP marker and ESP without. When the stream is over it stays, and leads nowhere.
    #[must_use]
    pub fn datagram_socket(&self) -> &UdpSocket {
        &self.plane
    }

    /// The path for IKE: the addresses of the TCP connection, which NAT detection hashes (RFC 9329 §6.5).
    #[must_use]
    pub fn path(&self) -> Path {
        Path { local: self.local, remote: self.remote, framing: Framing::Stream }
    }

    /// What has been carried and dropped.
    #[must_use]
    pub fn stats(&self) -> RelayStats {
        self.counters.snapshot()
    }

    /// Waits until the stream ends by itself. Never again after that. Cancel safe.
    pub async fn ended(&mut self) -> StreamFailure {
        if !self.over {
            let ended = (&mut self.relay).await;
            self.over = true;
            // Without a reason it was told to close, or the runtime is ending.
            if let Ok(Some(reason)) = ended {
                return reason;
            }
        }
        pending().await
    }

    /// Sends what waits, closes the stream, and waits for a second at most until that is done.
    pub async fn close(mut self) {
        drop(self.open.take());
        if !self.over {
            // Whatever came of it, it is over.
            let _ = (&mut self.relay).await;
        }
    }
}

/// Relays until the stream ends by itself, which has a reason, or until `closing` says so.
async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    socket: RelaySocket,
    counters: Arc<RelayCounters>,
    closing: oneshot::Receiver<()>,
) -> Option<StreamFailure> {
    let mut relay = Relay::originator(socket, counters);
    tokio::select! {
        ended = relay.run(&mut stream) => Some(ended.into()),
        // Nothing is ever sent: the sender is dropped.
        _ = closing => {
            relay.finish(&mut stream).await;
            None
        }
    }
}

#[cfg(test)]
mod tests;
