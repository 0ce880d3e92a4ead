//! Every duration and bound of learning a network, each with its reason.

use std::time::Duration;

// The path MTU search.

/// Size in use until something is proven: what IPv6 asks of every link (RFC 8200 §5), and what nearly every IPv4 path
/// carries.
pub const CONSERVATIVE_PATH_MTU: u16 = 1280;

/// Nothing larger is tried: past the first link the Internet carries no more, and jumbo probes would only cost bytes.
pub const LARGEST_PATH_MTU: u16 = 1500;

/// No path over IPv4 is believed to carry less (RFC 791 §3.2's reassembly minimum, and near Linux' own `min_pmtu`).
pub const SMALLEST_IPV4_PATH_MTU: u16 = 576;

/// A size is taken to be lost for its size only when it went unanswered this often while a smaller probe of the same
/// round was answered. Four, because on a path that loses one packet in twenty each way, one size in a hundred is
/// unanswered twice by chance. The value in use does not wait for it.
pub const PROBES_BEFORE_TOO_LARGE: u8 = 4;

/// The same, in a search that has lost a probe of a size that fits.
pub const PROBES_BEFORE_TOO_LARGE_IF_LOSSY: u8 = 6;

/// From this many on the size in use gives way to the largest that was answered: being too small costs a little
/// throughput, being too large costs everything.
pub const PROBES_BEFORE_LOWERING: u8 = 2;

/// Sizes tried in one round at most. All arrive within one round trip, so they are also a burst: about twice the
/// initial window of TCP (RFC 6928).
pub const PROBES_PER_ROUND: usize = 27;

/// Probes of one search in one direction. A clean path needs 24 to 55, and one
/// narrower than 1024 bytes up to 80; the rest is for loss.
pub const PROBES_PER_SEARCH: u32 = 120;

/// Bytes on the path of one search in one direction.
pub const BYTES_PER_SEARCH: u64 = 128_000;

/// Rounds in a row in which nothing at all was answered before nothing is taken to answer. Four, because on a path
/// that only the smallest probe fits through, that one alone must not be lost each time.
pub const SILENT_ROUNDS: u32 = 4;

/// Where nothing answered, this is the first pause before two probes ask again; it quadruples up to [`RAISE_AFTER`]. A path
/// that was not usable yet is soon found out, a responder that does not exist costs little.
pub const FIRST_UNANSWERED_RETRY: Duration = Duration::from_secs(10);

/// Wait for a probe while no round trip has been measured (RFC 6298 §2.1's first timeout).
pub const FIRST_PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Least wait for a probe: schedulers and Wi-Fi power saving take this long on any path.
pub const LEAST_PROBE_TIMEOUT: Duration = Duration::from_millis(100);

/// Most wait for a probe.
pub const MOST_PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// After this long a larger size is tried again (RFC 8899 §5.1.1, PMTU_RAISE_TIMER).
pub const RAISE_AFTER: Duration = Duration::from_secs(600);

/// While packets flow, the size in use is confirmed this often: one second to notice that a path has shrunk, and two
/// round trips to act, keep a black hole well under three seconds.
pub const CONFIRM_EVERY: Duration = Duration::from_secs(1);

/// Pause before a false alarm may start a search again; it doubles with each false alarm, so that forged ICMP errors
/// cost next to nothing.
pub const ALARM_PAUSE: Duration = Duration::from_secs(1);

/// The pause after false alarms doubles this often at most, to about a minute.
pub const ALARM_DOUBLINGS: u32 = 6;

// The reachability ladder.

/// The second address family starts this much later (RFC 8305 §5, Connection Attempt Delay).
pub const FAMILY_STAGGER: Duration = Duration::from_millis(250);

/// Each fallback starts this much after the rung before it: longer than nearly every round trip, and short enough for
/// the third fallback to carry traffic within five seconds.
pub const RUNG_STAGGER: Duration = Duration::from_secs(1);

/// Head start of the fallback that worked here the last time.
pub const MEMORY_LEAD: Duration = Duration::from_millis(500);

/// No attempt comes later than this after the time that it would have without memory.
pub const MEMORY_COST: Duration = Duration::from_secs(1);

/// Silence shorter than this is not yet silence. It counts only beside an answer through something else over the same
/// family, so the round trip is known to be shorter, and a first retransmission (half a second) has had its time.
pub const SILENCE: Duration = Duration::from_millis(600);

/// Fewer requests than this may all have been lost by chance.
pub const REQUESTS_BEFORE_SILENCE: u32 = 2;

/// First pause before UDP is tried again while a fallback carries the tunnel; it doubles with each failure.
pub const FIRST_RETEST: Duration = Duration::from_secs(30);

/// The pauses grow to this.
pub const LAST_RETEST: Duration = Duration::from_secs(600);

const DAY: Duration = Duration::from_secs(86_400);

/// How long a block is remembered: filters are changed, and a block that is gone costs half a second each time.
pub const BLOCKED_VERDICT_LIVES: Duration = DAY.saturating_mul(7);

/// How long it is remembered that something worked.
pub const OPEN_VERDICT_LIVES: Duration = DAY.saturating_mul(90);

// The NAT mapping lifetime.

/// The interval while nothing is known (RFC 3948 §4).
pub const FIRST_INTERVAL: Duration = Duration::from_secs(20);

/// No NAT is served more often than this: one that forgets sooner can't be kept open at a bearable cost.
pub const SHORTEST_INTERVAL: Duration = Duration::from_secs(4);

/// Share of the proven lifetime that is used. The rest is for a late timer and a NAT whose clock is coarse.
pub const KEEP_PERCENT: u32 = 80;

/// After a mapping was lost in a silence, this share of the silence is used until the lifetime is measured: less than
/// half, so that one loss at the default 20 s is enough for a lifetime of 10 s.
pub const SHRINK_PERCENT: u32 = 40;

/// The silences that are tried in turn until a mapping dies.
pub const SILENCES: [Duration; 7] = [
    Duration::from_secs(30),
    Duration::from_secs(45),
    Duration::from_secs(60),
    Duration::from_secs(90),
    Duration::from_secs(120),
    Duration::from_secs(180),
    LONGEST_SILENCE,
];

/// The longest silence that is tried. Past it a keepalive every four minutes saves nothing that matters.
pub const LONGEST_SILENCE: Duration = Duration::from_secs(300);

/// The shortest silence that says something about a lifetime.
pub const SHORTEST_SILENCE: Duration = Duration::from_secs(5);

/// How long the tunnel carried nothing before a step begins: while it carries data no keepalive is sent, and nothing
/// is gained by knowing more.
pub const IDLE_BEFORE_SEARCH: Duration = Duration::from_secs(10);

/// Between the two uses of a fresh flow: Linux gives a flow its long timer only when it saw packets both ways for more
/// than two seconds (nf_conntrack_proto_udp).
pub const WARM_UP: Duration = Duration::from_secs(3);

/// A check that was not answered by then, with the owner's repetitions, is unreachable.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// An inbound probe that was not reported this long after its silence did not take place.
pub const INBOUND_TIMEOUT: Duration = Duration::from_secs(60);

/// A method that failed this often in a row is not used in this search.
pub const METHOD_FAILURES: u8 = 3;

/// A method that contradicted itself this often is not believed.
pub const CONTRADICTIONS: u8 = 2;

/// Deaths of a mapping that were seen once and not again, until a method is not believed: more than lost packets make.
pub const FLUKES: u8 = 8;

/// A mapping that is lost again this soon after its lifetime was confirmed on the second flow is not like that flow,
pub const LOST_AGAIN_WITHIN: Duration = Duration::from_secs(600);

/// and the second flow is not believed beyond what the live one survived for this long.
pub const CEILING_LIVES: Duration = Duration::from_secs(4 * 3600);

/// Silences that killed a live mapping and are remembered until something proves otherwise.
pub const SUSPICIONS: usize = 4;

/// Checks that one silence may need: base, warm-up, verdict.
pub const CHECKS_PER_SILENCE: u32 = 3;

/// Second-socket checks in an hour at most. A search needs 20 to 40.
pub const CHECKS_PER_HOUR: u32 = 60;

/// Bytes of one check on the path, request and response with their outer headers: an IKE header, an SK payload with
/// two hashes, its IV, padding and tag.
pub const BYTES_PER_CHECK: u64 = 400;

/// Inbound probes in an hour at most.
pub const INBOUND_PROBES_PER_HOUR: u32 = 30;

/// A settled lifetime is checked again after this long.
pub const RECHECK_AFTER: Duration = DAY;

/// And after this long where the search began with a lost mapping or met a contradiction, doubling back to a day: a NAT
/// that changes its mind must not leave us with a bad value for long.
pub const DOUBTFUL_RECHECK_AFTER: Duration = Duration::from_secs(3600);

/// What inbound packets have proven is proven again by one of them this often: where ports tell nothing, a lifetime that has
/// become shorter shows nowhere else.
pub const RECALL_AFTER: Duration = Duration::from_secs(3600);

/// First pause after a search that led to nothing; it doubles.
pub const FIRST_GIVE_UP_PAUSE: Duration = Duration::from_secs(600);

/// The pauses grow to this.
pub const LAST_GIVE_UP_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// Idle time after which the interval is learned, whatever the network. See docs/network-learning.md for the sum.
pub const LEARNING_TIME: Duration = Duration::from_secs(75 * 60);

// Memory.

/// Networks that are remembered: several years of travelling.
pub const REMEMBERED_NETWORKS: usize = 128;

/// The largest file of remembered networks that is read; a full one is smaller.
pub const REMEMBERED_BYTES: usize = 1 << 20;

/// Characters of a network's label. An SSID has at most 32 bytes.
pub const LABEL_CHARS: usize = 64;

/// Connect times that are kept for each network.
pub const CONNECT_TIMES: usize = 16;

/// A mapping lifetime keeps its full confidence this long,
pub const LIFETIME_FRESH: Duration = DAY.saturating_mul(7);

/// and is used at all this long. After that it is shown, and searched for anew.
pub const LIFETIME_STALE: Duration = DAY.saturating_mul(30);

/// A path MTU is remembered this long. A wrong one costs two round trips.
pub const MTU_LIVES: Duration = DAY.saturating_mul(30);
