//! What the control plane tells the data plane, and what it hears from it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use evenkeel_ipsec::esp::{InboundSa, OutboundSa};
use evenkeel_ipsec::wire::EspSpi;

use crate::mss::MssClamp;
use crate::probe::{ProbeError, ProbeId};

/// Takes events, from both threads. It is called in the packet path: it must not block.
pub type EventSink = Box<dyn Fn(PlaneEvent) + Send + Sync>;

/// How to start.
pub struct DataPlaneConfig {
    /// Limits for the MSS of TCP connections.
    pub mss: MssClamp,
    /// Where events go.
    pub events: EventSink,
}

/// Who is told of a limit for what leaves. Systems remember it for minutes, and take a larger one back only then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Telling {
    /// The senders of what is longer.
    Senders,
    /// Nobody, since the limit may be higher again in a moment.
    Nobody,
}

/// Both directions of a CHILD SA.
pub struct ChildSas {
    /// Receives.
    pub inbound: InboundSa,
    /// Sends.
    pub outbound: OutboundSa,
    /// Send on it at once. Else it only receives until [`DataPlane::send_on`](crate::DataPlane::send_on): the
    /// responder of a rekey waits for the initiator's first packet or its DELETE (RFC 7296 §2.8).
    pub send_now: bool,
    /// Where its packets go.
    pub peer: PeerAddress,
}

/// The address of a CHILD SA's peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerAddress {
    /// The one that the socket is connected to.
    Connected,
    /// This one, until the control plane says otherwise.
    Fixed(SocketAddr),
    /// This one, until an authenticated packet, newer than all before it, comes from elsewhere. Only without
    /// MOBIKE (RFC 7296 §2.23: a peer behind a NAT whose mapping changed).
    Following(SocketAddr),
}

/// What the control plane should know.
#[derive(Debug)]
pub enum PlaneEvent {
    /// An IKE message, its non-ESP marker removed, as it came: anyone may have sent it.
    Control {
        /// Its sender.
        from: SocketAddr,
        /// The socket's own address.
        to: SocketAddr,
        /// The message.
        message: Vec<u8>,
    },
    /// Authenticated ESP arrived: the peer is alive. At most two a second for each SA.
    EspSeen {
        /// The inbound SA.
        spi_in: EspSpi,
    },
    /// Less than 1/16 of the sequence numbers are left: the CHILD SA must be rekeyed. Once for each SA.
    SequenceLow {
        /// The inbound SPI that names the CHILD SA.
        spi_in: EspSpi,
    },
    /// ESP for no SA of ours, for example of a peer that missed a DELETE. At most one a second.
    UnknownSpi {
        /// The SPI.
        spi: EspSpi,
        /// Who sent it, unauthenticated.
        from: SocketAddr,
    },
    /// The peer of a [`PeerAddress::Following`] CHILD SA sends from another address; answers go there.
    PeerMoved {
        /// The inbound SPI that names the CHILD SA.
        spi_in: EspSpi,
        /// The new address.
        peer: SocketAddr,
    },
    /// The system refused to send a packet that is longer than the path's known MTU. At most one a second.
    TooBig {
        /// Length of the ESP packet: the UDP payload.
        esp_len: usize,
        /// The longest IP datagram that the system believes to reach the connected peer: a hint, for part of it may
        /// come from ICMP messages that anyone may have sent.
        path_mtu: Option<u16>,
    },
    /// ICMP says that a datagram of this socket was longer than a link on its way takes. At most one a second that is
    /// not ours, twenty that are.
    IcmpTooBig {
        /// The longest IP datagram that the link takes; 0 from routers older than RFC 1191.
        mtu: u16,
        /// The message quotes an ESP packet that was sent a short time ago, by SPI and sequence number. Else it may be
        /// forged, or be about an IKE message, or quote too little to tell (RFC 792 asks for the UDP header only).
        quoted_is_ours: bool,
    },
    /// The first packets after a silence have left; see
    /// [`DataPlane::report_sent_after`](crate::DataPlane::report_sent_after).
    SentAfterSilence {
        /// How long nothing was sent on the socket, by anybody who says so.
        silent_for: Duration,
    },
    /// A probe was sent.
    ProbeSent {
        /// Its name.
        id: ProbeId,
        /// Length of the outer IP datagram in bytes: what was wanted, or a little less for the cipher's alignment.
        outer_len: u16,
    },
    /// The system refused to send a probe that is longer than what the first link takes.
    ProbeTooBig {
        /// Its name.
        id: ProbeId,
        /// Length of the outer IP datagram in bytes.
        outer_len: u16,
    },
    /// A probe was not sent for another reason.
    ProbeFailed {
        /// Its name.
        id: ProbeId,
        /// Why.
        error: ProbeError,
    },
    /// An answer to a probe: a packet that the [`WatchSet`](crate::probe::WatchSet) knows, authenticated by ESP. At
    /// most 640 a second; more are dropped.
    ProbeReply {
        /// The inner packet, or its first 256 bytes; see [`Reply`](crate::probe::Reply).
        packet: Vec<u8>,
        /// Length in bytes of the outer IP datagram that it came in.
        outer_len: u16,
    },
    /// Sending or receiving failed in a way that may pass: no route for the moment, for example. At most one a
    /// second.
    Trouble(io::Error),
    /// A thread ended because its device or socket is gone. Nothing more will be carried.
    Stopped(io::Error),
}
