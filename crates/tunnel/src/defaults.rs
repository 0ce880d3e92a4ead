//! Every duration and bound of a tunnel, each with its reason.

use std::time::Duration;

/// Silence towards the gateway after which a NAT keepalive is sent (RFC 3948 §4's default). NATs that forget a UDP
/// mapping after less than 30 s are rare; 20 s leaves room for one lost keepalive with few of them.
pub const NAT_KEEPALIVE: Duration = Duration::from_secs(20);

/// DPD waits for this much longer than the exchange that keeps the NAT's mapping, so that it is needed only when that goes
/// unanswered.
pub const DPD_SLACK: Duration = Duration::from_secs(5);

/// How long UDP/4500 has for an answer before UDP/500 is asked as well: longer than most round trips, so that most
/// connections leave no half-open IKE SA behind.
pub const SECOND_PORT_AFTER: Duration = Duration::from_millis(300);

/// How long an answer on UDP/500 waits for one on UDP/4500. With [`SECOND_PORT_AFTER`] that is longer than the first
/// retransmission takes, so that one lost datagram is not taken for a blocked port.
pub const HOLD_ANSWER: Duration = Duration::from_millis(300);

/// An inbound probe ends this much before the search gives it up.
pub const PROBE_SLACK: Duration = Duration::from_secs(10);

/// How much another silence than the one that was asked for may have been, for a probe to count: the fifth of the proven
/// lifetime that keepalives leave unused is several times that.
pub const PROBE_TOLERANCE_PERCENT: u32 = 5;

/// While the tunnel carries something, this often somebody looks whether it still does: a path that swallows everything
/// from one moment to the next brings nothing about by itself, and a person waits meanwhile.
pub const LOOK_AFTER: Duration = Duration::from_millis(500);

/// How long a stream may take to open while the connection moves: three round trips of TCP and TLS over a slow link.
pub const OPEN_PATIENCE: Duration = Duration::from_secs(2);

/// How long the gateway has for following to another path before the next is tried. The request is repeated several times
/// meanwhile, and a person notices a pause of a second.
pub const MOVE_PATIENCE: Duration = Duration::from_secs(1);

/// How long the ways to the gateway are gone again and again before the session is given up: a network that was just
/// joined may lose everything for a moment, and another session costs another sign-in, inner connections with an address
/// that the gateway gives to somebody else, and one-time codes.
pub const ROAM_PATIENCE: Duration = Duration::from_secs(3);

/// A stream that ends sooner after it was moved to leads nowhere: the other ways come first.
pub const STREAM_SETTLED: Duration = Duration::from_secs(1);

/// How long an answer along a path that is only being checked may take: nothing hangs on it.
pub const CHECK_PATIENCE: Duration = Duration::from_secs(5);

/// How long a second session has for taking over along another path, where the gateway has no MOBIKE: six round trips of
/// EAP over a slow link.
pub const SUCCESSOR_PATIENCE: Duration = Duration::from_secs(4);

/// How long nothing may come back through a new tunnel, with somebody inside being asked all the time, before a stream is
/// tried: two rounds of probes.
pub const ESP_SILENCE: Duration = Duration::from_millis(2500);

/// How often somebody inside is asked in a stream before he is taken to be silent himself.
pub const ESP_QUESTIONS: u32 = 4;

/// From one of these questions to the next.
pub const ESP_QUESTION_INTERVAL: Duration = Duration::from_millis(500);

/// Bytes of such a question.
pub const ESP_QUESTION_SIZE: u16 = 100;

/// How long a WireGuard peer that has fallen silent, or that we have moved away from, has for answering a handshake: it is
/// sent again after 5 s (WireGuard §6.1), and that one is to have its time as well.
pub const PEER_PATIENCE: Duration = Duration::from_secs(8);

/// First pause after every address of the gateway has failed.
pub const RETRY_FIRST: Duration = Duration::from_secs(1);

/// Pauses double up to this: a gateway that is back should not wait longer for us than a person would.
pub const RETRY_MAX: Duration = Duration::from_secs(60);

/// Each pause is lengthened by up to this share, so that all clients of a gateway that restarts do not return at once.
pub const RETRY_JITTER_PERCENT: u32 = 25;

/// A connection that lasted this long starts the pauses anew; one that keeps dying sooner does not.
pub const STABLE_AFTER: Duration = Duration::from_secs(60);

/// Rounds over the known addresses before the network is given back and the gateway's name is looked up again. Until
/// then inner connections survive and names resolve as they did; after that a machine whose gateway has moved must be
/// able to ask its own DNS servers.
pub const ROUNDS_ON_KNOWN_ADDRESSES: u32 = 3;

/// How long the gateway has for answering our DELETE before we leave without its word.
pub const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// Pause before a re-authentication that failed is tried again, while the old session still lives.
pub const REAUTHENTICATION_RETRY: Duration = Duration::from_secs(10);

/// Addresses that a gateway names of itself and that are tried beside those that its name has: each may cost a second.
pub const MAX_FURTHER_ADDRESSES: usize = 3;

/// Addresses of one gateway that are tried; a name with more is a mistake or an attack.
pub const MAX_ADDRESSES: usize = 16;
