//! UDP sockets for ESP and IKE: trains of equal datagrams out in one call, batches in. And TCP where UDP is blocked.
//!
//! What the system can do is found out at run time and degrades per socket: segmentation offload that a
//! kernel or an interface refuses is not tried again on that socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use crate::wakeup::Wakeup;

#[cfg_attr(target_os = "linux", path = "socket/linux.rs")]
#[cfg_attr(any(target_os = "macos", windows), path = "socket/portable.rs")]
mod sys;
mod tcp;

mod stream;

pub use stream::connect_tcp;

#[cfg(test)]
mod tests;

pub use tcp::{TcpOptions, carry_packets, tcp_listener, tcp_socket};

/// The most bytes that one [`UdpSocket::send_train`] may carry: the longest UDP payload over IPv4, which
/// segmentation offload may not exceed either.
pub const MAX_TRAIN: usize = 65_507;

/// The most datagrams in one train: what kernels before 6.9 take.
pub const MAX_TRAIN_SEGMENTS: usize = 64;

/// Socket buffers that hold a burst of 10 ms at 5 Gbit/s; Linux's default loses one in ten datagrams.
pub const DEFAULT_BUFFER: usize = 7 << 20;

/// How to make a socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UdpOptions {
    /// Linux firewall mark, by which routing rules tell the tunnel's own packets apart. Elsewhere ignored.
    pub mark: Option<u32>,
    /// Leave through this interface whatever the routes say.
    pub device: Option<String>,
    /// Send and receive buffer to ask for, in bytes.
    pub buffer: usize,
    /// Never let the system or a router fragment: too long a datagram is an error, or is lost.
    pub dont_fragment: bool,
    /// Use segmentation offload and coalesced reception where there are any.
    pub offload: bool,
}

impl Default for UdpOptions {
    fn default() -> Self {
        Self { mark: None, device: None, buffer: DEFAULT_BUFFER, dont_fragment: true, offload: true }
    }
}

/// What a socket came to have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UdpAbilities {
    /// Trains leave in one call.
    pub segmentation: bool,
    /// Trains may arrive as one.
    pub coalescing: bool,
    /// The receive buffer that the system granted, in bytes.
    pub receive_buffer: usize,
    /// The send buffer that the system granted, in bytes.
    pub send_buffer: usize,
}

/// A UDP socket that never blocks. Clones share it.
#[derive(Clone)]
pub struct UdpSocket(Arc<sys::Socket>);

impl UdpSocket {
    /// Binds a socket to `local`.
    ///
    /// # Errors
    /// When the address is in use or not ours, or an option is refused that changes where packets go.
    pub fn bind(local: SocketAddr, options: &UdpOptions) -> io::Result<Self> {
        sys::Socket::bind(local, options).map(|socket| Self(Arc::new(socket)))
    }

    /// Fixes the peer: datagrams from elsewhere are no longer received, and sending needs no address. May be
    /// called again, with another peer.
    ///
    /// # Errors
    /// When there is no route to `peer`.
    pub fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        self.0.std().connect(peer)
    }

    /// The address that it is bound to; once connected, the address that its packets carry.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.std().local_addr().map(canonical)
    }

    /// The peer it is connected to.
    ///
    /// # Errors
    /// When it is not connected.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.std().peer_addr().map(canonical)
    }

    /// What it can do, as far as is known by now.
    #[must_use]
    pub fn abilities(&self) -> UdpAbilities {
        self.0.abilities()
    }

    /// Changes [`UdpOptions::dont_fragment`]: an IKE message that cannot be fragmented by IKE itself has to be
    /// fragmented by IP.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn set_dont_fragment(&self, on: bool) -> io::Result<()> {
        self.0.set_dont_fragment(on)
    }

    /// Lets trains arrive as one. For the data plane, which cuts them; a reader of single datagrams must not
    /// ask for this. Where the system has nothing of the kind it does nothing.
    pub fn coalesce_received(&self) {
        self.0.coalesce_received();
    }

    /// The same socket as a standard one, non-blocking, to wait for in an event loop.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn try_clone_std(&self) -> io::Result<std::net::UdpSocket> {
        self.0.std().try_clone()
    }

    /// Sends one datagram, to the connected peer if `to` is `None`.
    ///
    /// # Errors
    /// As the system says; [`io::ErrorKind::WouldBlock`] when its buffer is full.
    pub fn send(&self, datagram: &[u8], to: Option<SocketAddr>) -> io::Result<()> {
        self.0.send(datagram, to)
    }

    /// Sends datagrams of `stride` bytes that stand back to back; the last may be shorter. At most
    /// [`MAX_TRAIN`] bytes and [`MAX_TRAIN_SEGMENTS`] datagrams. Waits while the send buffer is full, unless
    /// the wakeup is set.
    ///
    /// # Errors
    /// When a datagram was not accepted; those after it were not tried. See [`is_too_big`].
    pub fn send_train(
        &self,
        datagrams: &[u8],
        stride: usize,
        to: Option<SocketAddr>,
        wakeup: &Wakeup,
    ) -> io::Result<()> {
        self.0.send_train(datagrams, stride, to, wakeup)
    }

    /// The longest IP datagram, headers included, that the system believes to reach the connected peer: the MTU of the
    /// first link, or less after an ICMP message that anyone may have sent. `None` without a peer, or where the system
    /// does not say.
    #[must_use]
    pub fn path_mtu(&self) -> Option<u32> {
        self.0.path_mtu()
    }

    /// Keeps the ICMP messages about this socket's datagrams for [`take_icmp`](Self::take_icmp). Whoever asks for this
    /// must take them: a message that waits ends every [`wait_readable`](Self::wait_readable) and uses up the receive
    /// buffer. Where the system has nothing of the kind it does nothing.
    pub fn keep_icmp(&self) {
        self.0.keep_icmp();
    }

    /// The oldest ICMP message that was kept.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn take_icmp(&self) -> io::Result<Option<IcmpError>> {
        self.0.take_icmp()
    }

    /// Takes what has arrived, without waiting; the batch may come out empty.
    ///
    /// # Errors
    /// As the system says. What a peer or a router may provoke (a port unreachable) is not an error.
    pub fn try_receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        self.0.try_receive(batch)
    }

    /// Waits until something can be received, or an ICMP message taken: `true`; or until the wakeup is set: `false`.
    ///
    /// # Errors
    /// When the system cannot wait.
    pub fn wait_readable(&self, wakeup: &Wakeup) -> io::Result<bool> {
        self.0.wait_readable(wakeup)
    }
}

/// How much of a datagram an [`IcmpError`] quotes at most: the SPI and the sequence number of ESP, and some.
const QUOTED: usize = 16;

/// What an ICMP message says about a datagram that left this socket. The system has compared the addresses and ports
/// that the message quotes with the socket's; whoever knows or guesses those can still have made it up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IcmpError {
    /// The longest IP datagram that the next link takes, where the message is "fragmentation needed" (RFC 1191) or
    /// "packet too big" (RFC 4443). Other messages have none.
    pub mtu: Option<u32>,
    /// Where the datagram had been sent.
    pub to: SocketAddr,
    quoted: [u8; QUOTED],
    quoted_len: usize,
}

impl IcmpError {
    /// The first bytes of the datagram's UDP payload: none, if the message quotes the least that RFC 792 wants.
    #[must_use]
    pub fn quoted(&self) -> &[u8] {
        self.quoted.get(..self.quoted_len).unwrap_or_default()
    }
}

/// Was a datagram refused for being longer than the path takes?
#[must_use]
pub fn is_too_big(error: &io::Error) -> bool {
    quinn_udp::is_msg_size_err(error)
}

/// Room for the datagrams of one [`UdpSocket::try_receive`], used again and again.
pub struct ReceiveBatch {
    storage: Vec<u8>,
    received: Vec<Received>,
}

/// One received train in a [`ReceiveBatch`].
#[derive(Clone, Debug)]
pub struct Received {
    /// Where it lies in the batch's storage.
    pub range: Range<usize>,
    /// The length of each of its datagrams; the last may be shorter. Never 0.
    pub stride: usize,
    /// Who sent it.
    pub from: SocketAddr,
}

impl ReceiveBatch {
    /// A received train is never longer than this.
    const SLOT: usize = 65_536;

    /// Room for as many trains as one call can deliver.
    #[must_use]
    pub fn new() -> Self {
        // The pages behind slots that never get a long train are never touched.
        Self { storage: vec![0; sys::BATCH * Self::SLOT], received: Vec::with_capacity(sys::BATCH) }
    }

    /// How many trains there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.received.len()
    }

    /// Did nothing arrive?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.received.is_empty()
    }

    /// The trains, in order of arrival, and the bytes that their ranges point into.
    #[must_use]
    pub fn parts(&mut self) -> (&[Received], &mut [u8]) {
        (&self.received, &mut self.storage)
    }
}

impl Default for ReceiveBatch {
    fn default() -> Self {
        Self::new()
    }
}

fn send_one(socket: &std::net::UdpSocket, datagram: &[u8], to: Option<SocketAddr>) -> io::Result<()> {
    match to {
        Some(to) => socket.send_to(datagram, to),
        // macOS refuses an address on a connected socket.
        None => socket.send(datagram),
    }
    .map(|_| ())
}

/// IPv4 in the form that comes out of IPv6 sockets is IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(_) => address,
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => SocketAddr::new(ip.into(), address.port()),
            None => address,
        },
    }
}
