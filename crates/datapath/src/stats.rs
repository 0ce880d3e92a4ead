//! What the data plane did. Each counter has one writer, the thread that it belongs to.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A counter with one writer: a relaxed load and store instead of a locked addition.
#[derive(Default, Debug)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    fn take_back(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(amount), Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// When something last happened, to the microsecond.
#[derive(Debug)]
pub(crate) struct Stamp {
    epoch: Instant,
    /// Since the epoch; 0 for never.
    micros: AtomicU64,
}

impl Default for Stamp {
    fn default() -> Self {
        Self { epoch: Instant::now(), micros: AtomicU64::new(0) }
    }
}

impl Stamp {
    #[inline]
    pub(crate) fn set(&self, at: Instant) {
        let micros = at.saturating_duration_since(self.epoch).as_micros();
        // 2^64 microseconds are half a million years.
        self.micros.store((micros as u64).max(1), Relaxed);
    }

    #[inline]
    pub(crate) fn read(&self) -> Option<Instant> {
        match self.micros.load(Relaxed) {
            0 => None,
            micros => self.epoch.checked_add(Duration::from_micros(micros)),
        }
    }
}

/// Why the data plane dropped a packet before or after the SA had it. What the SAs dropped is in their own
/// counters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PlaneDrop {
    /// Outbound: no SA carries it. Nothing leaves in the clear.
    NoSa,
    /// Outbound: the device's description does not fit the packet.
    Inconsistent,
    /// Outbound: longer than a datagram, than the path takes, or than the inner MTU where it can't be cut. The sender of
    /// the last was told.
    TooBig,
    /// Outbound: the SA refused it (see its counters).
    Seal,
    /// Outbound: the system did not take the datagram.
    Send,
    /// Inbound: ESP for no SA of ours. A packet that came a moment before its SA is counted until then.
    UnknownSpi,
    /// Inbound: neither ESP nor IKE nor a keepalive.
    Runt,
    /// Inbound: the SA refused it (see its counters).
    Open,
    /// Inbound: the device did not take the packet.
    Write,
    /// Inbound: more answers to probes than anybody asked for.
    Reply,
    /// Inbound: authentic, but from an inner address that a WireGuard peer may not use. (An SA counts that itself.)
    Source,
}

impl PlaneDrop {
    /// Every reason, in the order of [`PlaneStats::drops`].
    pub const ALL: [Self; 11] = [
        Self::NoSa,
        Self::Inconsistent,
        Self::TooBig,
        Self::Seal,
        Self::Send,
        Self::UnknownSpi,
        Self::Runt,
        Self::Open,
        Self::Write,
        Self::Reply,
        Self::Source,
    ];

    /// A stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSa => "no_sa",
            Self::Inconsistent => "inconsistent",
            Self::TooBig => "too_big",
            Self::Seal => "seal",
            Self::Send => "send",
            Self::UnknownSpi => "unknown_spi",
            Self::Runt => "runt",
            Self::Open => "open",
            Self::Write => "write",
            Self::Reply => "reply",
            Self::Source => "source",
        }
    }
}

/// One thread's counters.
#[derive(Default, Debug)]
pub(crate) struct ThreadStats {
    /// Reads from the device, or receive calls that brought something.
    pub(crate) reads: Counter,
    /// Packets in them.
    pub(crate) packets_read: Counter,
    /// Sends of trains, or writes to the device.
    pub(crate) writes: Counter,
    /// Packets in them.
    pub(crate) packets_written: Counter,
    /// IKE messages.
    pub(crate) control: Counter,
    /// NAT keepalives.
    pub(crate) keepalives: Counter,
    /// Probes sent, or answers to them.
    pub(crate) probes: Counter,
    /// Probes that the system refused for their size.
    pub(crate) probes_too_big: Counter,
    /// "Packet too big" written to the device.
    pub(crate) too_big_told: Counter,
    /// Connections whose far end was told that less comes back.
    pub(crate) far_told: Counter,
    /// The last train or probe sent, or authenticated packet received.
    pub(crate) last: Stamp,
    drops: [Counter; PlaneDrop::ALL.len()],
}

impl ThreadStats {
    #[inline]
    pub(crate) fn dropped(&self, reason: PlaneDrop, packets: u64) {
        self.drops[reason as usize].add(packets);
    }

    /// What had been counted as dropped has found its way after all.
    pub(crate) fn recovered(&self, reason: PlaneDrop, packets: u64) {
        self.drops[reason as usize].take_back(packets);
    }
}

/// From the device to the socket.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct OutboundStats {
    /// Reads from the device.
    pub reads: u64,
    /// Packets that they brought, superpackets counted by their segments.
    pub packets_read: u64,
    /// Trains handed to the socket.
    pub sends: u64,
    /// ESP packets in them.
    pub packets_sent: u64,
    /// Probes among them.
    pub probes_sent: u64,
    /// Probes that the system refused for their size; not among the drops.
    pub probes_too_big: u64,
    /// ICMP messages by which senders of this machine were told the inner MTU.
    pub too_big_told: u64,
    /// Connections whose far end was told a smaller size, each time that the MSS limit was lowered.
    pub far_told: u64,
    /// When something was last sent: ESP, or what [`DataPlane::note_sent`](crate::DataPlane::note_sent) told of.
    pub last_sent: Option<Instant>,
}

/// From the socket to the device.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct InboundStats {
    /// Receive calls that brought something.
    pub receives: u64,
    /// Datagrams that they brought.
    pub datagrams: u64,
    /// IKE messages among them.
    pub control: u64,
    /// NAT keepalives among them.
    pub keepalives: u64,
    /// Answers to probes among them.
    pub probe_replies: u64,
    /// When authenticated ESP last arrived.
    pub last_received: Option<Instant>,
    /// Writes to the device.
    pub writes: u64,
    /// Packets in them, superpackets counted by their segments.
    pub packets_written: u64,
}

/// A copy of all counters.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PlaneStats {
    /// From the device to the socket.
    pub outbound: OutboundStats,
    /// From the socket to the device.
    pub inbound: InboundStats,
    /// Packets dropped, in the order of [`PlaneDrop::ALL`].
    pub drops: [u64; PlaneDrop::ALL.len()],
}

impl PlaneStats {
    pub(crate) fn new(outbound: &ThreadStats, inbound: &ThreadStats) -> Self {
        Self {
            outbound: OutboundStats {
                reads: outbound.reads.read(),
                packets_read: outbound.packets_read.read(),
                sends: outbound.writes.read(),
                packets_sent: outbound.packets_written.read(),
                probes_sent: outbound.probes.read(),
                probes_too_big: outbound.probes_too_big.read(),
                too_big_told: outbound.too_big_told.read(),
                far_told: outbound.far_told.read(),
                last_sent: outbound.last.read(),
            },
            inbound: InboundStats {
                receives: inbound.reads.read(),
                datagrams: inbound.packets_read.read(),
                control: inbound.control.read(),
                keepalives: inbound.keepalives.read(),
                probe_replies: inbound.probes.read(),
                last_received: inbound.last.read(),
                writes: inbound.writes.read(),
                packets_written: inbound.packets_written.read(),
            },
            drops: std::array::from_fn(|reason| outbound.drops[reason].read() + inbound.drops[reason].read()),
        }
    }

    /// How many packets were dropped for `reason`.
    #[must_use]
    pub const fn dropped(&self, reason: PlaneDrop) -> u64 {
        self.drops[reason as usize]
    }
}
