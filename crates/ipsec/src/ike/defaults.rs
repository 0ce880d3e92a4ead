//! Every duration and bound of the state machine, each with its reason.

use std::time::Duration;

/// First retransmission of a request. RFC 7296 §2.1 leaves the timer to the implementation; half a second
/// is above almost every round trip and keeps a single lost packet from being felt.
pub const RETRANSMIT_FIRST: Duration = Duration::from_millis(500);

/// Retransmission intervals double up to this: beyond it a longer wait only delays recovery.
pub const RETRANSMIT_MAX: Duration = Duration::from_secs(8);

/// Retransmissions of a request while connecting: gives up after 15.5 s, while a person still watches.
pub const RETRANSMITS_CONNECTING: u32 = 4;

/// Retransmissions once established: gives up after 31.5 s, so that a short outage costs no reconnect.
pub const RETRANSMITS_ESTABLISHED: u32 = 6;

/// First retransmission after a change of address: a roam is to be over within a second and a round trip,
/// and the first packets on a new link are often lost. The waits grow by half from there on.
pub const MIGRATION_RETRANSMIT_FIRST: Duration = Duration::from_millis(200);

/// Retransmissions after a change of address beyond the usual ones, so that the request lives as long as any
/// other (RFC 4555 §3.11 asks for patience): about 30 s.
pub const MIGRATION_EXTRA_RETRANSMITS: u32 = 4;

/// Time between the transmissions of a path test, above almost every round trip.
pub const PATH_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Retransmissions of a path test along its path. After them, 1.5 s after the start, it goes along the main
/// path, because an IKE request without an answer holds up all others (RFC 7296 §2.3).
pub const PATH_CHECK_RETRANSMITS: u32 = 2;

/// Path tests that may wait for their turn.
pub const MAX_PATH_CHECKS: usize = 4;

/// The peer is asked for the hash of our mapping this long after an IKE SA began, for DPD to compare with.
/// No NAT forgets a mapping in less (RFC 4787 §4.3 asks for two minutes, the worst have 15 s).
pub const MAPPING_CHECK_AFTER: Duration = Duration::from_secs(5);

/// The shortest delay of a check that a gateway grants: with one check at a time, this bounds what one client can have it
/// send.
pub const DELAYED_CHECK_MIN: Duration = Duration::from_secs(1);

/// The longest: beyond what any client has use for, and far below the lifetime of an IKE SA.
pub const DELAYED_CHECK_MAX: Duration = Duration::from_secs(310);

/// Least time between two UPDATE_SA_ADDRESSES that are sent because the mapping has changed.
pub const MAPPING_UPDATE_GAP: Duration = Duration::from_secs(10);

/// ADDITIONAL_IP4_ADDRESS and ADDITIONAL_IP6_ADDRESS that are kept of one peer (RFC 4555 §3.4); strongSwan
/// sends eight at most.
pub const MAX_ADDITIONAL_ADDRESSES: usize = 16;

/// Silence from the peer after which a DPD request is sent (RFC 7296 §2.4); any authenticated packet,
/// ESP included, defers it.
pub const DPD_AFTER: Duration = Duration::from_secs(30);

/// ESP that leaves so soon after something came in answers that, and asks nothing: TCP delays an acknowledgement by at most
/// half a second (RFC 1122 §4.2.3.2).
pub const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Lifetime of an IKE SA before it is rekeyed; gateways commonly use four to eight hours.
pub const IKE_REKEY: Duration = Duration::from_secs(4 * 3600);

/// Lifetime of a CHILD SA before it is rekeyed (RFC 7296 §2.8); gateways commonly use one hour.
pub const CHILD_REKEY: Duration = Duration::from_secs(3600);

/// Rekeying starts up to this share of the lifetime early, drawn anew for each SA, so that both ends
/// seldom rekey at once (RFC 7296 §2.8).
pub const REKEY_JITTER_PERCENT: u32 = 10;

/// How long after its rekey time an SA that could not be replaced goes on living, at the least.
pub const EXPIRY_MARGIN_MIN: Duration = Duration::from_secs(60);

/// Wait before a rekey is tried again after TEMPORARY_FAILURE (RFC 7296 §2.25), plus up to as much jitter.
pub const TEMPORARY_FAILURE_RETRY: Duration = Duration::from_millis(1500);

/// Wait before a rekey that was refused outright is tried again.
pub const REKEY_REFUSED_RETRY: Duration = Duration::from_secs(20);

/// A replaced CHILD SA receives for this long after its DELETE was acknowledged: packets that were under
/// way on the old SA may be overtaken by the IKE exchange that deletes it.
pub const OLD_CHILD_LINGER: Duration = Duration::from_secs(3);

/// A replaced IKE SA whose owner never deletes it is forgotten after this.
pub const OLD_IKE_EXPIRY: Duration = Duration::from_secs(60);

/// An unprotected error in answer to IKE_SA_INIT may be forged, so a good answer is awaited for this long
/// before the error is believed (RFC 7296 §2.21.1).
pub const INIT_ERROR_GRACE: Duration = Duration::from_millis(400);

/// How often IKE_SA_INIT may be started anew for COOKIE and INVALID_KE_PAYLOAD together.
pub const INIT_RESTARTS: u32 = 5;

/// EAP rounds inside one IKE_AUTH before the peer is taken to be stuck.
pub const EAP_ROUNDS: u32 = 32;

/// A responder forgets an IKE SA that has not authenticated after this; strongSwan does the same.
pub const HALF_OPEN_LIFETIME: Duration = Duration::from_secs(30);

/// Half-open IKE SAs from which on a responder asks for a COOKIE (RFC 7296 §2.6).
pub const COOKIE_THRESHOLD: usize = 30;

/// IP datagram size that IKE fragments fit into by default (RFC 7383 §2.5.1): the least MTU of IPv6.
pub const FRAGMENT_SIZE: usize = 1280;

/// Fragments of one message that are accepted. 64 of 1,200 octets hold a chain of any sane length.
pub const MAX_FRAGMENTS: u16 = 64;

/// Octets of one reassembled message that are accepted.
pub const MAX_MESSAGE: usize = 128 * 1024;

/// Nonce length. RFC 7296 §2.10 asks for at least half the PRF's key size; 32 suits all of ours.
pub const NONCE_LEN: usize = 32;

/// CHILD SAs of one session, replaced ones included, from which on the peer may open no more. It may rekey each of
/// these, and so there may be twice as many for a while; then a rekey is refused too.
pub const MAX_CHILDREN: usize = 32;

/// AUTH_LIFETIME (RFC 4478): re-authentication starts when this share of the lifetime has passed.
pub const REAUTH_AT_PERCENT: u32 = 85;

/// Re-authentication starts no sooner than this after the lifetime was announced: one of zero would have us
/// authenticate in an endless row.
pub const REAUTH_MIN: Duration = Duration::from_secs(10);
