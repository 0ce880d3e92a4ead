//! What a tunnel tells its owner, and what its owner tells it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_ipsec::crypto::UnixTime;
use evenkeel_ipsec::ike::{self, ChildEnd, ChildInstalled, Path, SignRequest};
use evenkeel_ipsec::wire::EspSpi;
use evenkeel_netprofile::memory::NetworkProfile;
use evenkeel_netprofile::mtu::ProbeId;

use crate::cause::{ConfigureError, PathError, ResolveError};
use crate::inner::InnerNetwork;
use crate::sizes::SizeProbe;
use crate::state::Status;
use crate::way::{PathId, Way};

/// One of the IKE sessions that a tunnel has at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LinkId(pub(crate) u64);

/// Something to do, in order.
#[derive(Debug)]
pub enum Event {
    /// Wish or fact has changed.
    Status(Status),
    /// Look up the gateway's addresses; answer with [`Command::Resolved`].
    ResolveGateway,
    /// Look up the WireGuard peer's addresses; answer with [`Command::PeerResolved`].
    ResolvePeer,
    /// Open sockets along this way, beside those that are open; answer with [`Command::PathOpened`]. A way over WireGuard is
    /// open once the peer has answered our handshake.
    OpenPath {
        /// What to call them.
        path: PathId,
        /// Where to.
        way: Way,
    },
    /// ESP, or what is behind a WireGuard peer, travels along this path from here on.
    UsePath {
        /// An open one.
        path: PathId,
    },
    /// Give this path, which WireGuard goes along, a new socket in the place of the one that it has, and tell the peer by a
    /// handshake; answer with [`Command::Rebound`].
    RebindPath {
        /// The one in use.
        path: PathId,
    },
    /// Nothing is sent along this path any more.
    ClosePath {
        /// An open one, or one that is being opened.
        path: PathId,
    },
    /// Sign with the profile's private key; answer with [`Command::Signed`].
    SignAuth {
        /// Whose signature it is; comes back with the answer.
        link: LinkId,
        /// What to sign.
        request: SignRequest,
    },
    /// Send this through the data plane; answer with [`Command::ProbeAnswered`] if it is answered.
    SendProbe(SizeProbe),
    /// Give these SAs to the data plane.
    InstallChild(Box<ChildInstalled>),
    /// Send on this CHILD SA from here on.
    SendOn {
        /// Its inbound SPI.
        spi_in: EspSpi,
    },
    /// Take this CHILD SA from the data plane.
    RemoveChild {
        /// Its inbound SPI.
        spi_in: EspSpi,
        /// Why.
        reason: ChildEnd,
    },
    /// Give the interface its addresses and MTU, then set routes and DNS, in place of what an earlier event asked for;
    /// answer with [`Command::Configured`].
    Configure(Arc<InnerNetwork>),
    /// Restore routes and DNS; answer with [`Command::Unconfigured`].
    Unconfigure,
}

/// What the owner has to say.
#[derive(Debug)]
pub enum Command {
    /// Be connected. While pausing or after giving up: try at once.
    Connect,
    /// Be disconnected.
    Disconnect,
    /// Whether a wish outlasts attempts that nobody answers, though it has never been fulfilled: something in between is
    /// looked into, or is to be removed by a person. No longer so, what is pausing only for that gives up.
    Outlast(bool),
    /// What stood in between is gone: try at once, whatever is under way without an answer.
    StartOver,
    /// Answers [`Event::ResolveGateway`], in order of preference.
    Resolved(Result<Vec<IpAddr>, ResolveError>),
    /// Answers [`Event::ResolvePeer`], in order of preference.
    PeerResolved(Result<Vec<IpAddr>, ResolveError>),
    /// Answers [`Event::OpenPath`].
    PathOpened {
        /// From the event.
        path: PathId,
        /// The open path, or why there is none.
        result: Result<OpenedPath, PathError>,
    },
    /// Answers [`Event::RebindPath`].
    Rebound {
        /// From the event.
        path: PathId,
        /// The path as it is, or why it has no other socket; then it is as it was.
        result: Result<OpenedPath, PathError>,
    },
    /// The WireGuard peer does not answer, and is being asked again by a handshake.
    PeerSilent {
        /// The one in use.
        path: PathId,
    },
    /// The WireGuard peer has answered: a handshake, or something else authentic after a silence.
    PeerAnswers {
        /// The one in use.
        path: PathId,
    },
    /// An open path has come to its end: a stream was closed or reset.
    PathLost {
        /// Which.
        path: PathId,
        /// Why.
        error: PathError,
    },
    /// Answers [`Event::SignAuth`].
    Signed {
        /// From the event.
        link: LinkId,
        /// The AUTH payload's data; `None` when the key could not be used.
        signature: Option<Vec<u8>>,
    },
    /// Answers [`Event::Configure`].
    Configured(Result<(), ConfigureError>),
    /// Answers [`Event::Unconfigure`]. What could not be restored is the owner's to log: there is nobody to ask again.
    Unconfigured,
    /// A probe was answered by an authenticated packet.
    ProbeAnswered(ProbeId),
    /// ICMP says that a packet was too big for the path.
    TooBig {
        /// The MTU that it names.
        mtu: u16,
        /// Whether it quotes a packet that we have sent; without that it may come from anybody.
        quotes_our_packet: bool,
    },
    /// The machine is on another network, of which this is known. To be told before
    /// [`handle_path_event`](crate::Tunnel::handle_path_event).
    Network(Box<NetworkProfile>),
    /// A captive portal holds the connection back on this network.
    PortalSeen,
    /// The first packet on the path after so long has just left.
    SentAfterSilence(Duration),
    /// The data plane is gone: nothing can be carried any more.
    DataPlaneLost,
    /// The data plane is running out of sequence numbers on this CHILD SA.
    SequenceLow {
        /// Its inbound SPI.
        spi_in: EspSpi,
    },
}

/// Open sockets. Of a path over WireGuard `nat` counts alone, and of that the addresses.
#[derive(Clone, Copy, Debug)]
pub struct OpenedPath {
    /// Where IKE_SA_INIT starts.
    pub init: Path,
    /// Where everything else goes: IKE with the non-ESP marker, and ESP.
    pub nat: Path,
    /// The largest IP datagram that the way to the gateway is known to take.
    pub path_mtu: u16,
    /// The wall clock, for certificates.
    pub wall: UnixTime,
}

/// When the data plane last sent and received. Told before [`Tunnel::handle_timeout`](crate::Tunnel::handle_timeout),
/// it saves keepalives and DPD that traffic has made needless, without any wake-up while traffic flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Activity {
    /// When anything was last sent on the path.
    pub sent: Option<Instant>,
    /// When authenticated ESP was last received.
    pub received: Option<Instant>,
    /// Inner packets that came from or went to the system so far: what moves this is traffic, and nothing of our own.
    pub carried: u64,
}

/// A change of the network under the tunnel, as the system tells it. It says what to look at again, not what is true.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathEvent {
    /// Links, addresses or routes have changed.
    NetworkChanged,
    /// The machine has slept: mappings, and the gateway's memory of us, may be gone.
    Woke,
}

/// What the next [`Tunnel::handle_timeout`](crate::Tunnel::handle_timeout) will do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WakeReason {
    /// Something of the IKE session.
    Ike(ike::WakeReason),
    /// Keep the NAT's mapping.
    NatKeepalive,
    /// Ask the gateway along the next way.
    NextWay,
    /// Ask on UDP/500 as well.
    SecondPort,
    /// Go on with an answer that waited for a better one.
    HeldAnswer,
    /// Try to connect again.
    Retry,
    /// Try to re-authenticate again.
    Reauthentication,
    /// Try another path: the present move is not answered.
    Move,
    /// See whether ESP passes.
    EspCheck,
    /// Go on with the search for the lifetime of the NAT's mapping.
    Mapping,
    /// Go on with the search for the path MTU.
    Sizing,
    /// See whether UDP works again.
    Retest,
    /// Give up a WireGuard peer that does not answer.
    Peer,
    /// Leave without the gateway's answer to our DELETE.
    CloseGrace,
}
