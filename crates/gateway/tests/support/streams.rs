//! Clients that reach the gateway along a TCP stream.

use std::net::SocketAddr;
use std::sync::Arc;

use evenkeel_ipsec::ike::{Framing, Path};
use evenkeel_reframer::{Ended, Relay, pair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// An open stream: a socket that speaks as one towards the gateway would.
pub struct ClientStream {
    pub socket: UdpSocket,
    pub path: Path,
    relay: JoinHandle<Ended>,
}

impl ClientStream {
    /// Opens one to `gateway`; in TLS if there is somebody to vouch for `gateway.practice`.
    pub async fn open(gateway: SocketAddr, authority: Option<Vec<u8>>) -> Self {
        let stream = TcpStream::connect(gateway).await.unwrap();
        let path = Path { local: stream.local_addr().unwrap(), remote: gateway, framing: Framing::Stream };
        match authority {
            None => Self::relay(stream, path),
            Some(authority) => {
                let name = ServerName::try_from("gateway.practice").unwrap();
                let stream = connector(authority).connect(name, stream).await.unwrap();
                Self::relay(stream, path)
            }
        }
    }

    fn relay<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(mut stream: S, path: Path) -> Self {
        let (socket, relayed) = pair().unwrap();
        let socket = UdpSocket::from_std(socket.try_clone_std().unwrap()).unwrap();
        let mut relay = Relay::originator(relayed, Arc::default());
        let relay = tokio::spawn(async move { relay.run(&mut stream).await });
        Self { socket, path, relay }
    }

    /// How the gateway ended it.
    pub async fn ended(&mut self) -> Ended {
        (&mut self.relay).await.unwrap()
    }
}

impl Drop for ClientStream {
    /// Closes the connection, without a word inside it.
    fn drop(&mut self) {
        self.relay.abort();
    }
}

fn connector(authority: Vec<u8>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}
