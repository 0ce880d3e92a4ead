//! The first byte: when a datagram comes back from whoever it was sent to.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use evenkeel_lab::Host;

/// From one datagram to the next; no figure is finer than that.
const OFTEN: Duration = Duration::from_millis(5);

/// Sends datagrams from `host` until one comes back, and says when that was. There may be no way yet, and the way may change
/// meanwhile: each datagram goes where the routes of its moment lead, from the address that they name.
pub(super) fn first(host: &Host, server: SocketAddr, limit: Duration) -> anyhow::Result<Instant> {
    let socket = host.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))).context("a socket")?;
    socket.set_read_timeout(Some(OFTEN))?;
    let started = Instant::now();
    let mut answer = [0; 8];
    while started.elapsed() < limit {
        // Without a route, sending fails; so it may for a while.
        let _ = socket.send_to(b"anybody?", server);
        if let Ok((8, from)) = socket.recv_from(&mut answer)
            && from == server
        {
            return Ok(Instant::now());
        }
    }
    bail!("nothing came back from {server} in {limit:?}")
}
