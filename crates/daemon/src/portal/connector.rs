//! What a probe needs of the machine: connections, names, and what the network has said.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_platform::network_hints::{self, HintsSystem, NetworkHints};
use evenkeel_platform::{socket, trust};
use evenkeel_profile::Host;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Connections, names, and what the network has said. Every future may be dropped.
pub trait Connector: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Connects by TCP, outside the tunnel, within `timeout`.
    fn connect(
        &self,
        remote: SocketAddr,
        timeout: Duration,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// All addresses of a name, as the system's resolver gives them.
    fn resolve(&self, host: &Host) -> impl Future<Output = Result<Vec<IpAddr>, NameError>> + Send;

    /// What the network and the system have said unasked.
    fn hints(&self) -> impl Future<Output = NetworkHints> + Send;

    /// The certificates (DER) that a captive portal API must be vouched for by. May block for a moment.
    fn roots(&self) -> Vec<Vec<u8>>;
}

/// Why a name has no addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It does not exist.
    #[error("there is no such name")]
    NotFound,
    /// Nobody said.
    #[error("the name could not be looked up")]
    Unavailable,
}

/// Look-ups at a time: those of one probe. One can't be ended, only no longer awaited.
const LOOKUPS: usize = 4;

/// This machine. Clones share the bound on look-ups.
#[derive(Clone)]
pub struct SystemConnector {
    mark: u32,
    hints: HintsSystem,
    threads: Arc<Semaphore>,
}

impl SystemConnector {
    /// Connects with this firewall mark, which keeps connections out of the tunnel.
    #[must_use]
    pub fn new(mark: u32) -> Self {
        Self { mark, hints: HintsSystem::default(), threads: Arc::new(Semaphore::new(LOOKUPS)) }
    }
}

impl Connector for SystemConnector {
    type Stream = TcpStream;

    async fn connect(&self, remote: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        socket::connect_tcp(remote, Some(self.mark), timeout).await
    }

    async fn resolve(&self, host: &Host) -> Result<Vec<IpAddr>, NameError> {
        let permit = Arc::clone(&self.threads).acquire_owned().await.map_err(|_| NameError::Unavailable)?;
        let host = host.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            (host.as_str(), 0)
                .to_socket_addrs()
                .map(|found| found.map(|found| found.ip()).collect::<Vec<_>>())
        });
        match asked.await {
            Ok(Ok(addresses)) if addresses.is_empty() => Err(NameError::NotFound),
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err(why(&error)),
            Err(_) => Err(NameError::Unavailable),
        }
    }

    async fn hints(&self) -> NetworkHints {
        network_hints::read(&self.hints).await.unwrap_or_else(|unsupported| {
            tracing::trace!(%unsupported, "captive portals");
            NetworkHints::default()
        })
    }

    fn roots(&self) -> Vec<Vec<u8>> {
        trust::system_roots()
    }
}

/// The standard library has no kind of its own for what getaddrinfo says; its text is the C library's.
fn why(error: &io::Error) -> NameError {
    let text = error.to_string();
    let temporary = ["Temporary failure", "try again", "Try again"].iter().any(|hint| text.contains(hint));
    if temporary { NameError::Unavailable } else { NameError::NotFound }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn look_ups_that_never_end_keep_those_of_a_later_look_waiting_too() {
        let connector = SystemConnector::new(0);
        let under_way = connector.threads.try_acquire_many(LOOKUPS.try_into().unwrap()).unwrap();
        let later = connector.clone();
        let name = "localhost".parse().unwrap();
        let mut asked = std::pin::pin!(later.resolve(&name));
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut asked).await.is_err());
        drop(under_way);
        assert!(asked.await.is_ok());
    }

    #[tokio::test]
    async fn the_name_of_this_machine_resolves_and_one_that_can_not_be_does_not() {
        let connector = SystemConnector::new(0);
        let found = connector.resolve(&"localhost".parse().unwrap()).await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback));
        // RFC 6761 §6.4.
        assert!(connector.resolve(&"nobody.invalid".parse().unwrap()).await.is_err());
    }
}
