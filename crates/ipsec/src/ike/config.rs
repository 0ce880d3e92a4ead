//! What a client session needs to know before it starts.

use super::defaults;
use crate::crypto::{EspProposals, IkeProposals, KeyKind, Secret, TrustAnchors};
use crate::wire::{Id, TrafficSelector};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Configuration of the initiator.
#[derive(Clone)]
pub struct ClientConfig {
    /// IDi.
    pub local_id: Id,
    /// The IDr to ask for and to insist on. `None` accepts whatever the trusted certificate proves.
    pub remote_id: Option<Id>,
    /// How we authenticate.
    pub auth: LocalAuth,
    /// How the gateway must.
    pub peer_auth: PeerAuth,
    /// Proposals for the IKE SA.
    pub ike: IkeProposals,
    /// Proposals for CHILD SAs.
    pub esp: EspProposals,
    /// TSi to offer.
    pub ts_local: Vec<TrafficSelector>,
    /// TSr to offer.
    pub ts_remote: Vec<TrafficSelector>,
    /// Ask for an inner IPv4 address.
    pub request_ipv4: bool,
    /// Ask for an inner IPv6 address.
    pub request_ipv6: bool,
    /// Inner addresses to ask for by name: those that an earlier session had, so that what uses them lives on. The first
    /// of each family counts; the gateway may assign others (RFC 7296 §3.15.1).
    pub addresses: Vec<IpAddr>,
    /// Tell the gateway that earlier SAs of this identity are gone (RFC 7296 §2.4). This also ends the
    /// sessions of other devices that share the identity, so it is off unless asked for.
    pub initial_contact: bool,
    /// Offer MOBIKE (RFC 4555), without which a change of address costs a new connection.
    pub mobike: bool,
    /// Timers.
    pub timers: Timers,
    /// IP datagram size that fragments must fit into (RFC 7383).
    pub fragment_size: usize,
    /// Accept SHA-1 signatures from the gateway.
    pub legacy_sha1: bool,
}

/// How the client authenticates.
#[derive(Clone)]
pub enum LocalAuth {
    /// Pre-shared key.
    Psk(Secret),
    /// Certificate; the private key stays with whoever answers `Event::SignAuth`.
    Certificate {
        /// DER certificates, leaf first.
        chain: Vec<Vec<u8>>,
        /// What kind of key it is.
        key: KeyKind,
    },
    /// EAP-MSCHAPv2 after EAP-Identity.
    EapMschapv2 {
        /// EAP identity.
        identity: String,
        /// Password.
        password: Secret,
    },
}

/// How the gateway must authenticate.
#[derive(Clone)]
pub enum PeerAuth {
    /// Pre-shared key.
    Psk(Secret),
    /// Certificate that chains to one of these.
    Certificate {
        /// Trust anchors.
        anchors: Arc<TrustAnchors>,
    },
}

/// Timers of a session. `Default` is [`defaults`](super::defaults).
#[derive(Clone, Debug)]
pub struct Timers {
    /// First retransmission.
    pub retransmit_first: Duration,
    /// Retransmissions of each request while connecting.
    pub retransmits_connecting: u32,
    /// Retransmissions of each request once established.
    pub retransmits_established: u32,
    /// Silence before a DPD request; `None` never asks.
    pub dpd_after: Option<Duration>,
    /// Age at which the IKE SA is rekeyed; `None` leaves it to the peer.
    pub ike_rekey: Option<Duration>,
    /// Age at which a CHILD SA is rekeyed; `None` leaves it to the peer.
    pub child_rekey: Option<Duration>,
    /// Share of a lifetime by which rekeying may start early.
    pub jitter_percent: u32,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            retransmit_first: defaults::RETRANSMIT_FIRST,
            retransmits_connecting: defaults::RETRANSMITS_CONNECTING,
            retransmits_established: defaults::RETRANSMITS_ESTABLISHED,
            dpd_after: Some(defaults::DPD_AFTER),
            ike_rekey: Some(defaults::IKE_REKEY),
            child_rekey: Some(defaults::CHILD_REKEY),
            jitter_percent: defaults::REKEY_JITTER_PERCENT,
        }
    }
}
