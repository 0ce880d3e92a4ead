//! Probes: inner packets that the control plane makes up, to learn what the path does with a datagram of a certain
//! size, or with one after a certain silence.
//!
//! The control plane decides what to send and when. The outbound thread seals a [`Probe`] on the CHILD SA that would
//! carry any other packet with its addresses, pads it to the wanted outer size, and sends it alone. The inbound thread
//! knows the answers by a [`WatchSet`] and gives them to the control plane in place of the TUN device. Probes may
//! allocate: there are a handful of them in a search, and none in ordinary traffic.

mod packet;
mod reply;
mod watch;

use std::net::SocketAddr;

pub use packet::{Cookie, EchoRequest, PacketError, TcpSegment, dns_query};
pub use reply::Reply;
pub(crate) use watch::MAX_REPLY;
pub use watch::{MAX_WATCHES, TooManyWatches, Watch, WatchSet};

use crate::headers::{IPV4_HEADER, IPV6_HEADER, UDP_HEADER};

/// Names a probe in the events about it. The control plane's choice; nothing here looks at it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProbeId(pub u64);

/// One packet to be sent, alone in its datagram and with DF set (if the socket has
/// [`dont_fragment`](evenkeel_platform::socket::UdpOptions::dont_fragment), as it has by default).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    /// Its name.
    pub id: ProbeId,
    /// The inner packet: a whole IPv4 or IPv6 packet with right checksums. See [`EchoRequest`], [`dns_query`] and
    /// [`TcpSegment`].
    pub packet: Vec<u8>,
    /// Length of the outer IP datagram in bytes, reached by ESP TFC padding (RFC 4303 §2.7): exactly, or the greatest
    /// below it that the cipher's alignment allows. `None` pads nothing, for a peer that announced
    /// ESP_TFC_PADDING_NOT_SUPPORTED: then the packet itself has to be as long as it takes.
    pub outer_len: Option<u16>,
}

/// Why a probe was not sent, other than for its size.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No CHILD SA that sends carries this packet.
    #[error("no CHILD SA carries the probe")]
    NoSa,
    /// The inner packet does not fit into the wanted outer length, or into a datagram.
    #[error("the probe's packet is longer than what it was to be sent in")]
    DoesNotFit,
    /// The SA refused it: its sequence numbers are used up, or it is no whole packet.
    #[error("the CHILD SA refused the probe: {0}")]
    Seal(#[from] evenkeel_ipsec::esp::SealError),
    /// The system did not send it.
    #[error("the probe was not sent: {0}")]
    Send(#[from] std::io::Error),
}

/// What stands before the ESP packet in a datagram to or from `peer`: IP header without options, UDP header.
pub(crate) const fn outer_headers(peer: SocketAddr) -> usize {
    match peer {
        SocketAddr::V4(_) => IPV4_HEADER + UDP_HEADER,
        SocketAddr::V6(_) => IPV6_HEADER + UDP_HEADER,
    }
}
