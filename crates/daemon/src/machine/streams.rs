//! Streams to the gateway (RFC 9329) that are being opened, or are open: each in a task of its own, which ends with the
//! stream or with its owner's interest.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;

use evenkeel_ipc::Cause;
use evenkeel_ipsec::ike::Path;
use evenkeel_platform::socket::{TcpOptions, UdpSocket};
use evenkeel_tunnel::{PathError, PathId};
use tokio::sync::{mpsc, oneshot};

use super::network::MARK;
use crate::control::Fault;
use crate::transport::{StreamFailure, StreamOptions, StreamTransport, TlsClient};

/// What became of streams that nobody has been told of. Each stream has two things to say.
const WAITING: usize = 64;

/// Every stream by the path that it is.
pub(super) struct Streams {
    /// Dropped to have the stream closed.
    open: BTreeMap<PathId, oneshot::Sender<()>>,
    sender: mpsc::Sender<StreamEvent>,
    events: mpsc::Receiver<StreamEvent>,
}

/// What became of a stream.
pub(super) enum StreamEvent {
    /// It is open, and this socket leads into it.
    Opened { id: PathId, socket: UdpSocket, path: Path },
    /// It could not be opened, or has ended.
    Over { id: PathId, fault: Fault<PathError> },
}

impl Default for Streams {
    fn default() -> Self {
        let (sender, events) = mpsc::channel(WAITING);
        Self { open: BTreeMap::new(), sender, events }
    }
}

impl Streams {
    /// Begins to open one.
    pub(super) fn open(&mut self, id: PathId, remote: SocketAddr, tls: Option<TlsClient>) {
        let (open, mut closing) = oneshot::channel::<()>();
        let sender = self.sender.clone();
        self.open.insert(id, open);
        tokio::spawn(async move {
            let options =
                StreamOptions { tcp: TcpOptions { mark: Some(MARK), ..TcpOptions::default() }, tls };
            let connecting = StreamTransport::connect(remote, options);
            // Nothing is ever sent on the channel: its end is dropped.
            let connected = tokio::select! {
                _ = &mut closing => return,
                connected = connecting => connected,
            };
            let failure = match connected {
                Err(failure) => failure,
                Ok(mut stream) => {
                    let (socket, path) = (stream.datagram_socket().clone(), stream.path());
                    if sender.send(StreamEvent::Opened { id, socket, path }).await.is_err() {
                        return;
                    }
                    tokio::select! {
                        failure = stream.ended() => failure,
                        _ = &mut closing => return stream.close().await,
                    }
                }
            };
            tracing::info!(%failure, %remote, "stream");
            // Without a receiver nobody is interested any more.
            let _ = sender.send(StreamEvent::Over { id, fault: fault(&failure, remote) }).await;
        });
    }

    /// Closes one, or gives up opening it.
    pub(super) fn close(&mut self, id: PathId) {
        self.open.remove(&id);
    }

    /// What became of one that somebody is still interested in. Cancel safe.
    pub(super) async fn event(&mut self) -> StreamEvent {
        loop {
            let Some(event) = self.events.recv().await else { return pending().await };
            let (StreamEvent::Opened { id, .. } | StreamEvent::Over { id, .. }) = &event;
            if self.open.contains_key(id) {
                return event;
            }
        }
    }
}

fn fault(failure: &StreamFailure, remote: SocketAddr) -> Fault<PathError> {
    let error = match failure {
        StreamFailure::Refused | StreamFailure::Reset | StreamFailure::PeerClosed => PathError::Closed,
        StreamFailure::Unreachable(_) => {
            return Fault { error: PathError::NoRoute, cause: Cause::NetworkUnreachable { remote } };
        }
        StreamFailure::TimedOut => PathError::Silent,
        StreamFailure::BadFrame(_) | StreamFailure::Tls(_) => PathError::NotTheGateway,
        StreamFailure::Local(_) => PathError::Refused,
    };
    Fault { error, cause: Cause::SocketFailed { detail: failure.to_string() } }
}
