//! What an SA has carried and refused.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a packet was not carried.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DropReason {
    /// A sequence number seen before.
    Replay,
    /// Left of the replay window.
    TooOld,
    /// The integrity check failed.
    Integrity,
    /// Not an ESP packet of this SA's shape, or wrong padding behind a valid ICV.
    Malformed,
    /// A dummy packet (next header 59): correct, and meant to be dropped.
    Dummy,
    /// The inner packet is not IPv4 or IPv6, or is shorter than it says.
    BadInner,
    /// The inner packet is outside the traffic selectors.
    Selector,
    /// The sequence numbers are used up.
    Exhausted,
}

impl DropReason {
    /// Every reason, in the order of [`CounterSnapshot::drops`].
    pub const ALL: [Self; 8] = [
        Self::Replay,
        Self::TooOld,
        Self::Integrity,
        Self::Malformed,
        Self::Dummy,
        Self::BadInner,
        Self::Selector,
        Self::Exhausted,
    ];

    /// A stable name for logs and for the status of a CHILD SA.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::TooOld => "too_old",
            Self::Integrity => "integrity",
            Self::Malformed => "malformed",
            Self::Dummy => "dummy",
            Self::BadInner => "bad_inner",
            Self::Selector => "selector",
            Self::Exhausted => "exhausted",
        }
    }
}

/// Counters of one direction of a CHILD SA: written by the SA that they were made for, read by anyone.
///
/// There is one writer, so a count is a relaxed load and store, not a locked read-modify-write. Give each SA
/// its own; two writers would lose counts, nothing worse.
#[derive(Default, Debug)]
pub struct SaCounters {
    packets: AtomicU64,
    bytes: AtomicU64,
    drops: [AtomicU64; DropReason::ALL.len()],
}

impl SaCounters {
    /// The counts at about this moment; fields may be a packet apart from each other.
    #[must_use]
    pub fn snapshot(&self) -> CounterSnapshot {
        CounterSnapshot {
            packets: self.packets.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            drops: std::array::from_fn(|reason| self.drops[reason].load(Relaxed)),
        }
    }

    pub(super) fn carried(&self, inner_len: usize) {
        add(&self.packets, 1);
        add(&self.bytes, inner_len as u64);
    }

    pub(super) fn dropped(&self, reason: DropReason) {
        add(&self.drops[reason as usize], 1);
    }
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(amount), Relaxed);
}

/// A copy of [`SaCounters`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CounterSnapshot {
    /// Packets carried.
    pub packets: u64,
    /// Bytes of inner packets carried.
    pub bytes: u64,
    /// Packets dropped, in the order of [`DropReason::ALL`].
    pub drops: [u64; DropReason::ALL.len()],
}

impl CounterSnapshot {
    /// How many packets were dropped for `reason`.
    #[must_use]
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// How many were dropped for each reason that occurred.
    pub fn dropped_by_reason(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL
            .into_iter()
            .map(|reason| (reason, self.dropped(reason)))
            .filter(|&(_, count)| count != 0)
    }
}
