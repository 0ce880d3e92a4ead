//! What a session tells its owner.

use super::failure::Failure;
use super::mapping::Mapping;
use super::path::Path;
use crate::crypto::{AuthChoice, EspSuite, Group, IkeSuite};
use crate::esp::{InboundSa, OutboundSa, SaCounters};
use crate::wire::{EspSpi, Id, IkeSpi, NotifyType, TrafficSelector};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Something that happened, in the order in which the owner must act on it.
#[derive(Debug)]
pub enum Event {
    /// The owner of the private key must sign and answer with `Session::provide_signature`.
    SignAuth(SignRequest),
    /// The IKE SA is authenticated, in both directions.
    Established(IkeSaInfo),
    /// What the peer assigned to us (as the initiator), or we to the peer (as the responder).
    Configured(Configuration),
    /// Install these two SAs.
    ChildInstalled(Box<ChildInstalled>),
    /// Send on this CHILD SA from here on; it was installed with `send_now` false.
    ChildSendOn {
        /// Its inbound SPI.
        spi_in: EspSpi,
    },
    /// Remove the CHILD SA.
    ChildRemoved {
        /// Its inbound SPI.
        spi_in: EspSpi,
        /// Why.
        reason: ChildEnd,
    },
    /// The IKE SA was replaced by this one; CHILD SAs have moved to it.
    IkeRekeyed(IkeSaInfo),
    /// A rekey was refused; the SA goes on and the rekey will be tried again.
    RekeyFailed(RekeyFailed),
    /// The peer refused an additional CHILD SA.
    ChildRefused(NotifyType),
    /// Packets for the peer, ESP included, go here: it was seen at this address, authenticated. With
    /// MOBIKE only the responder is told, whenever the initiator asks for it (RFC 4555 §3.5).
    PathChanged(Path),
    /// The peer has answered along the path that `Session::migrate` named last, and sends there from here on.
    Migrated {
        /// The path.
        path: Path,
    },
    /// The peer refused to follow to the path that `Session::migrate` named last. IKE messages go there all
    /// the same: the owner knows of a better path, or connects anew (RFC 4555 §3.5).
    MigrationRefused {
        /// The path.
        path: Path,
        /// Why.
        refusal: MigrationRefusal,
    },
    /// The peer sees our packets come from another address or port than it took down: a NAT has given us
    /// another mapping (RFC 4555 §3.8). The session tells the peer by itself; `Migrated` follows.
    MappingChanged,
    /// The peer has answered a test along the path that `Session::check_path` named. Nothing has moved.
    PathChecked {
        /// The path.
        path: Path,
        /// What the peer sees of our address on this path; `None` when it did not say, or when the answer came
        /// so late that it may speak of the main path.
        mapping: Option<Mapping>,
        /// From the first transmission to the answer, retransmissions included.
        rtt: Duration,
    },
    /// The test along this path was lost: the peer is there, but answered along the main path only.
    PathUnreachable {
        /// The path.
        path: Path,
    },
    /// What became of the check that `Session::ask_delayed_check` asked for along this path. Nothing has moved.
    DelayedCheck {
        /// The path.
        path: Path,
        /// Its outcome.
        outcome: DelayedCheck,
    },
    /// The peer wants re-authentication (RFC 4478); the session closes at the peer's hand after `by`.
    ReauthenticationDue {
        /// When the peer's lifetime ends.
        by: Instant,
    },
    /// The session is over. Nothing follows.
    Closed(Failure),
}

/// The outcome of a delayed check (docs/delayed-check.md).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DelayedCheck {
    /// It came in along the path that it was asked for.
    Arrived {
        /// For how long at least nothing had gone either way there, by our own clock.
        silence: Duration,
    },
    /// It came in along the main path, because there was no answer along the one that it was asked for.
    Elsewhere {
        /// How long after its promise the peer sent it first, by the peer's clock.
        after: Duration,
    },
    /// It shows nothing, or will not come: the peer refused, the request did not get through along its path, or addresses
    /// have changed since.
    Void,
}

/// What to sign.
#[derive(Debug)]
pub struct SignRequest {
    /// AUTH method and scheme, for `SigningKey::sign`.
    pub choice: AuthChoice,
    /// The octets to sign (RFC 7296 §2.15), not hashed.
    pub octets: Vec<u8>,
}

/// Facts about an IKE SA.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IkeSaInfo {
    /// SPI of its initiator.
    pub spi_i: IkeSpi,
    /// SPI of its responder.
    pub spi_r: IkeSpi,
    /// Whether we initiated it.
    pub initiator: bool,
    /// Where its messages go.
    pub path: Path,
    /// Negotiated algorithms.
    pub suite: IkeSuite,
    /// Whether our address is translated.
    pub nat_local: bool,
    /// Whether the peer's is, or the peer claims so to force encapsulation.
    pub nat_remote: bool,
    /// Who the peer proved to be.
    pub peer_id: Id,
    /// Request/response pairs from the first IKE_SA_INIT to the end of IKE_AUTH.
    pub round_trips: u32,
    /// When this IKE SA came into being.
    pub established: Instant,
    /// Whether both sides support MOBIKE (RFC 4555), so that `Session::migrate` is possible.
    pub mobike: bool,
    /// Whether `Session::ask_delayed_check` is possible.
    pub delayed_checks: bool,
    /// Further addresses that the peer can be reached at, as it said last (RFC 4555 §3.4, §3.6).
    pub additional_addresses: Vec<IpAddr>,
}

/// Addresses and names from the configuration payload (RFC 7296 §3.15).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Configuration {
    /// Inner addresses with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// DNS servers.
    pub dns: Vec<IpAddr>,
    /// Networks behind the gateway (INTERNAL_IP4_SUBNET, INTERNAL_IP6_SUBNET).
    pub subnets: Vec<(IpAddr, u8)>,
    /// DNS domains that the servers answer for (RFC 8598).
    pub domains: Vec<String>,
}

/// A new CHILD SA with its keys inside the two ESP SAs.
pub struct ChildInstalled {
    /// Facts.
    pub info: ChildSaInfo,
    /// For what the peer sends.
    pub inbound: InboundSa,
    /// For what we send.
    pub outbound: OutboundSa,
    /// Inbound SPI of the CHILD SA that it replaces; that one goes on receiving until it is removed.
    pub replaces: Option<EspSpi>,
    /// Send on it at once; otherwise wait for `ChildSendOn`: the peer may not have installed it yet.
    pub send_now: bool,
}

impl fmt::Debug for ChildInstalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildInstalled")
            .field("info", &self.info)
            .field("replaces", &self.replaces)
            .field("send_now", &self.send_now)
            .finish_non_exhaustive()
    }
}

/// Facts about a CHILD SA.
#[derive(Clone, Debug)]
pub struct ChildSaInfo {
    /// SPI of what we receive; chosen by us.
    pub spi_in: EspSpi,
    /// SPI of what we send; chosen by the peer.
    pub spi_out: EspSpi,
    /// Negotiated algorithms.
    pub suite: EspSuite,
    /// Group of its own key exchange, if it had one.
    pub group: Option<Group>,
    /// Our side's selectors.
    pub ts_local: Vec<TrafficSelector>,
    /// The peer's side's selectors.
    pub ts_remote: Vec<TrafficSelector>,
    /// Inbound counters, shared with the ESP SA.
    pub counters_in: Arc<SaCounters>,
    /// Outbound counters, shared with the ESP SA.
    pub counters_out: Arc<SaCounters>,
    /// When we will rekey it.
    pub rekey_at: Instant,
    /// Whether the peer accepts TFC padding (it did not send ESP_TFC_PADDING_NOT_SUPPORTED).
    pub tfc_supported: bool,
}

/// Why a CHILD SA ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChildEnd {
    /// Another one has replaced it.
    Replaced,
    /// It lost a simultaneous rekey.
    Redundant,
    /// The peer deleted it.
    PeerDeleted,
    /// We deleted it on request.
    LocalDeleted,
    /// The peer does not know it (CHILD_SA_NOT_FOUND).
    Lost,
    /// Its lifetime ended before it could be replaced.
    Expired,
}

/// Why the peer does not follow to another path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MigrationRefusal {
    /// UNACCEPTABLE_ADDRESSES: its policy does not allow these addresses.
    UnacceptableAddresses,
    /// UNEXPECTED_NAT_DETECTED: it wants no NAT on the way.
    UnexpectedNat,
    /// Any other error notification.
    Other(NotifyType),
}

impl MigrationRefusal {
    pub(super) fn from_notify(kind: NotifyType) -> Self {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "two of all types have a meaning of their own here"
        )]
        match kind {
            NotifyType::UnacceptableAddresses => Self::UnacceptableAddresses,
            NotifyType::UnexpectedNatDetected => Self::UnexpectedNat,
            other => Self::Other(other),
        }
    }
}

/// What could not be rekeyed, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RekeyFailed {
    /// Which SA.
    pub what: RekeyOf,
    /// The peer's answer.
    pub notify: NotifyType,
}

/// Which kind of SA a rekey concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RekeyOf {
    /// The IKE SA.
    Ike,
    /// The CHILD SA with this inbound SPI.
    Child(EspSpi),
}
