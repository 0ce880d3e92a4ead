//! TCP connections that carry packets of other connections (RFC 9329).

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::sys;

/// The most bytes that a connection holds without having sent them. What it holds beyond is only delay to the packets
/// behind; what is on its way is the business of congestion control and does not count.
const UNSENT: u32 = 128 << 10;

/// How to make a connection.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TcpOptions {
    /// Linux firewall mark, by which routing rules tell the tunnel's own packets apart. Elsewhere ignored.
    pub mark: Option<u32>,
    /// Leave through this interface whatever the routes say.
    pub device: Option<String>,
}

/// A socket that can be connected to `remote`.
///
/// # Errors
/// When the system has none left, or refuses an option that changes where packets go.
pub fn tcp_socket(remote: SocketAddr, options: &TcpOptions) -> io::Result<TcpSocket> {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    sys::steer(&socket, remote, options.mark, options.device.as_deref())?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// Listens at `address`, for one family only. Needs a tokio runtime.
///
/// # Errors
/// When the address is in use or not ours.
pub fn tcp_listener(address: SocketAddr) -> io::Result<TcpListener> {
    /// Connections that wait to be accepted.
    const BACKLOG: i32 = 128;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier run that are still closing are not in the way. On Windows they never are, and the
    // option would let others listen beside us.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Makes a connection, opened or accepted, fit for packets: each leaves at once (no Nagle), few wait unsent, and a peer
/// that acknowledges nothing for long ends it, where the system can do that.
///
/// # Errors
/// When the system refuses.
pub fn carry_packets(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sys::bound_waiting(&SockRef::from(stream), UNSENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_carries_packets_does_not_wait_for_more() {
        let listener = tcp_listener("[::1]:0".parse().unwrap()).unwrap();
        let remote = listener.local_addr().unwrap();
        let stream = tcp_socket(remote, &TcpOptions::default()).unwrap().connect(remote).await.unwrap();
        carry_packets(&stream).unwrap();
        assert!(stream.nodelay().unwrap());
        let (accepted, from) = listener.accept().await.unwrap();
        carry_packets(&accepted).unwrap();
        assert_eq!(from, stream.local_addr().unwrap());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn little_waits_unsent() {
        let listener = tcp_listener("127.0.0.1:0".parse().unwrap()).unwrap();
        let remote = listener.local_addr().unwrap();
        let stream = tcp_socket(remote, &TcpOptions::default()).unwrap().connect(remote).await.unwrap();
        carry_packets(&stream).unwrap();
        assert_eq!(SockRef::from(&stream).tcp_notsent_lowat().unwrap(), UNSENT);
    }
}
