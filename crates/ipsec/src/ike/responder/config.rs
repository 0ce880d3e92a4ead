//! Configuration of the responder role.

use crate::crypto::{EspProposals, IkeProposals, Secret, SigningKey, TrustAnchors};
use crate::ike::Timers;
use crate::wire::{Id, NotifyType, TrafficSelector};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

/// Configuration of a responder.
pub struct ResponderConfig {
    /// IDr.
    pub local_id: Id,
    /// How we authenticate.
    pub auth: ResponderAuth,
    /// Whom we accept.
    pub peers: PeerPolicy,
    /// IKE proposals, in our order of preference.
    pub ike: IkeProposals,
    /// ESP proposals, in our order of preference.
    pub esp: EspProposals,
    /// What we protect: TSr is narrowed to it.
    pub ts_local: Vec<TrafficSelector>,
    /// Inner addresses and what goes with them.
    pub pool: Pool,
    /// Timers.
    pub timers: Timers,
    /// Half-open IKE SAs from which on a COOKIE is asked for.
    pub cookie_threshold: usize,
    /// IP datagram size that fragments must fit into.
    pub fragment_size: usize,
    /// Accept and announce SHA-1 signatures.
    pub legacy_sha1: bool,
}

/// How the responder authenticates.
pub enum ResponderAuth {
    /// With the pre-shared key of the peer.
    Psk,
    /// With a certificate.
    Certificate {
        /// DER certificates, leaf first.
        chain: Vec<Vec<u8>>,
        /// The leaf's private key.
        key: Arc<SigningKey>,
    },
}

/// Whom a responder accepts.
#[derive(Default)]
pub struct PeerPolicy {
    /// Pre-shared keys, by IDi or for anyone.
    pub psks: Vec<(Option<Id>, Secret)>,
    /// EAP-MSCHAPv2 users with their passwords.
    pub eap_users: Vec<(String, Secret)>,
    /// Trust anchors for client certificates.
    pub anchors: Option<Arc<TrustAnchors>>,
}

/// Inner addresses: each session has the one at its slot.
#[derive(Clone, Default)]
pub struct Pool {
    /// First IPv4 address and how many there are.
    pub v4: Option<(Ipv4Addr, u32)>,
    /// First IPv6 address and how many there are.
    pub v6: Option<(Ipv6Addr, u32)>,
    /// DNS servers.
    pub dns: Vec<IpAddr>,
    /// Networks to announce.
    pub subnets: Vec<(IpAddr, u8)>,
    /// DNS domains to announce.
    pub domains: Vec<String>,
}

impl Pool {
    pub(super) fn address_v4(&self, slot: u32) -> Option<Ipv4Addr> {
        let (first, count) = self.v4?;
        (slot < count).then(|| u32::from(first).checked_add(slot).map(Ipv4Addr::from)).flatten()
    }

    pub(super) fn address_v6(&self, slot: u32) -> Option<Ipv6Addr> {
        let (first, count) = self.v6?;
        (slot < count).then(|| u128::from(first).checked_add(slot.into()).map(Ipv6Addr::from)).flatten()
    }
}

/// Misbehaviour on purpose, for tests. The default misbehaves in nothing.
#[derive(Clone, Default, Debug)]
pub struct Faults {
    /// Answer IKE_AUTH with selectors wider than those offered.
    pub wrong_ts: bool,
    /// Send an AUTH payload with one bit turned.
    pub bad_auth: bool,
    /// Refuse to rekey CHILD SAs with this error.
    pub reject_child_rekey: Option<NotifyType>,
    /// Refuse to rekey the IKE SA with this error.
    pub reject_ike_rekey: Option<NotifyType>,
    /// Refuse the first CHILD SA with this error.
    pub reject_child: Option<NotifyType>,
    /// Leave INFORMATIONAL requests unanswered that are empty or hold nothing but NAT detection.
    pub ignore_dpd: bool,
    /// Leave every request of an established SA unanswered.
    pub ignore_requests: bool,
    /// Announce ESP_TFC_PADDING_NOT_SUPPORTED.
    pub no_tfc: bool,
    /// Announce AUTH_LIFETIME (RFC 4478).
    pub auth_lifetime: Option<Duration>,
    /// Never announce IKE fragmentation.
    pub no_fragmentation: bool,
    /// Never agree on MOBIKE.
    pub no_mobike: bool,
    /// Never agree on delayed checks, as every gateway that does not know them.
    pub no_delayed_checks: bool,
    /// Agree on delayed checks and promise them, and never send one.
    pub ignore_delayed_checks: bool,
    /// Answer UPDATE_SA_ADDRESSES with this error, and stay.
    pub reject_update: Option<NotifyType>,
    /// Never announce SIGNATURE_HASH_ALGORITHMS, as gateways older than RFC 7427.
    pub no_signature_hashes: bool,
}
