//! TCP connections of our own, which like our datagrams stay out of the tunnel.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

/// Connects to `remote` within `timeout`. `mark` is the Linux firewall mark by which routing rules tell the tunnel's own
/// packets apart; elsewhere it is ignored. Cancel safe: nothing is left of a connection that is no longer awaited.
///
/// # Errors
/// As the system says; [`io::ErrorKind::TimedOut`] when nobody answers in time.
pub async fn connect_tcp(remote: SocketAddr, mark: Option<u32>, timeout: Duration) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    #[cfg(target_os = "linux")]
    if let Some(mark) = mark {
        socket2::SockRef::from(&socket).set_mark(mark)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = mark;
    let connected = tokio::time::timeout(timeout, socket.connect(remote)).await;
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn a_listener_is_reached_and_a_closed_port_refuses() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let remote = listener.local_addr().unwrap();
        let stream = connect_tcp(remote, None, Duration::from_secs(5)).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), remote);
        drop(listener);
        let refused = connect_tcp(remote, None, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
