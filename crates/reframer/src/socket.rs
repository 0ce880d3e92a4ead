//! The UDP socket at the relay's end.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::{Context, Poll, ready};

use evenkeel_platform::socket::{ReceiveBatch, UdpOptions, UdpSocket};
use evenkeel_platform::wakeup::Wakeup;
use tokio::io::Interest;

/// What may wait for the relay. It empties the socket whether or not TCP takes more, so this holds what comes while the
/// relay is not running.
const RELAY_BUFFER: usize = 1 << 20;

/// How often reading is tried before the socket counts as empty: each error of an earlier datagram takes the place of
/// one result.
const TRIES: usize = 3;

/// A socket that a relay reads from and writes to, connected to whoever uses the stream.
pub struct RelaySocket {
    socket: UdpSocket,
    /// The same, to wait on.
    readable: tokio::net::UdpSocket,
    /// Always set: sending never waits.
    never: Wakeup,
}

/// A connected pair on loopback: the end for the data plane, and the relay's. Needs a tokio runtime.
///
/// # Errors
/// When the system has no sockets left, or no loopback interface.
pub fn pair() -> io::Result<(UdpSocket, RelaySocket)> {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let plane = UdpSocket::bind(loopback, &UdpOptions::default())?;
    let relay = RelaySocket::connect(loopback.ip(), plane.local_addr()?)?;
    close_to_strangers(&plane, &relay)?;
    Ok((plane, relay))
}

/// Connects the data plane's end to the relay's.
fn close_to_strangers(plane: &UdpSocket, relay: &RelaySocket) -> io::Result<()> {
    plane.connect(relay.local_addr()?)?;
    discard_strangers(plane)
}

impl RelaySocket {
    /// A socket at `local`, with a port of the system's choice, that exchanges datagrams with `user` alone. Needs a
    /// tokio runtime.
    ///
    /// # Errors
    /// When the system has none left, or `local` is not ours.
    pub fn connect(local: IpAddr, user: SocketAddr) -> io::Result<Self> {
        let options = UdpOptions { buffer: RELAY_BUFFER, ..UdpOptions::default() };
        let socket = UdpSocket::bind(SocketAddr::new(local, 0), &options)?;
        socket.connect(user)?;
        discard_strangers(&socket)?;
        socket.coalesce_received();
        let readable = tokio::net::UdpSocket::from_std(socket.try_clone_std()?)?;
        let never = Wakeup::new()?;
        never.wake();
        Ok(Self { socket, readable, never })
    }

    /// Where the user of the stream sees the peer.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Waits until `batch` has datagrams.
    pub(crate) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        batch: &mut ReceiveBatch,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.readable.poll_recv_ready(cx))?;
            match self.readable.try_io(Interest::READABLE, || self.receive_now(batch)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Takes what is there, whether or not the runtime has noticed.
    pub(crate) fn receive_now(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        for _ in 0..TRIES {
            self.socket.try_receive(batch)?;
            if !batch.is_empty() {
                return Ok(());
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Sends a train at once or not at all.
    pub(crate) fn send_train(&self, datagrams: &[u8], stride: usize) -> io::Result<()> {
        self.socket.send_train(datagrams, stride, None, &self.never)
    }
}

/// Throws away what anybody sent before the socket was connected.
fn discard_strangers(socket: &UdpSocket) -> io::Result<()> {
    let mut batch = ReceiveBatch::new();
    loop {
        socket.try_receive(&mut batch)?;
        if batch.is_empty() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::receive;

    #[tokio::test]
    async fn nobody_else_gets_through_to_either_end() {
        let (plane, relay) = pair().unwrap();
        let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        // The kernel refuses these, which may show as an error of the second.
        let _ = stranger.send_to(b"to the data plane", plane.local_addr().unwrap());
        let _ = stranger.send_to(b"to the relay", relay.local_addr().unwrap());
        relay.send_train(b"from the relay", 14).unwrap();
        assert_eq!(receive(&plane, 1).await, [b"from the relay"]);
        plane.send(b"from the data plane", None).unwrap();
        let mut batch = ReceiveBatch::new();
        std::future::poll_fn(|cx| relay.poll_receive(cx, &mut batch)).await.unwrap();
        let (trains, storage) = batch.parts();
        assert_eq!(trains.len(), 1);
        assert_eq!(&storage[trains[0].range.clone()], b"from the data plane");
    }

    #[tokio::test]
    async fn what_came_before_the_pair_was_connected_is_thrown_away() {
        let plane = UdpSocket::bind("127.0.0.1:0".parse().unwrap(), &UdpOptions::default()).unwrap();
        let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let relay = RelaySocket::connect(Ipv4Addr::LOCALHOST.into(), plane.local_addr().unwrap()).unwrap();
        stranger.send_to(b"too early", plane.local_addr().unwrap()).unwrap();
        close_to_strangers(&plane, &relay).unwrap();
        relay.send_train(b"in time", 7).unwrap();
        assert_eq!(receive(&plane, 1).await, [b"in time"]);
    }

    #[tokio::test]
    async fn a_user_that_went_away_does_not_end_the_relay() {
        let (plane, relay) = pair().unwrap();
        drop(plane);
        let mut batch = ReceiveBatch::new();
        for _ in 0..4 {
            let _ = relay.send_train(b"into the void", 13);
            let error = relay.receive_now(&mut batch).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }
}
