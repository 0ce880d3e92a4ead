//! A stream to where nobody answers. Other systems refuse where Linux is silent.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;

use evenkeel_daemon::transport::{CONNECT_TIMEOUT, StreamFailure, StreamOptions, StreamTransport};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::time::Instant;

/// A listener whose queue is full, and what fills it: Linux answers no more connections there, as a filter that drops
/// does.
fn black_hole() -> (Socket, SocketAddr, std::net::TcpStream) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let filler = std::net::TcpStream::connect(address).unwrap();
    (socket, address, filler)
}

// Time stands still but for timers, so the three seconds take none.
#[tokio::test(start_paused = true)]
async fn a_silent_network_is_given_up_after_three_seconds() {
    let (_socket, address, _filler) = black_hole();
    let before = Instant::now();
    let opened = StreamTransport::connect(address, StreamOptions::default()).await;
    assert!(matches!(opened.err(), Some(StreamFailure::TimedOut)));
    assert_eq!(before.elapsed(), CONNECT_TIMEOUT);
}
