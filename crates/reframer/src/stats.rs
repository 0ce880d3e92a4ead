//! What a relay has done.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters that the relay keeps and others read.
#[derive(Default, Debug)]
pub struct RelayCounters {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) congested: AtomicU64,
    pub(crate) unfit: AtomicU64,
    pub(crate) keepalives: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RelayStats {
    /// Datagrams that became frames.
    pub sent: u64,
    /// Frames that became datagrams.
    pub received: u64,
    /// Datagrams dropped because TCP did not take more.
    pub congested: u64,
    /// Frames dropped because no datagram is that long, or because the socket took none.
    pub unfit: u64,
    /// NAT keepalives dropped, of either direction.
    pub keepalives: u64,
}

impl RelayCounters {
    /// The counters at this moment.
    #[must_use]
    pub fn snapshot(&self) -> RelayStats {
        RelayStats {
            sent: self.sent.load(Relaxed),
            received: self.received.load(Relaxed),
            congested: self.congested.load(Relaxed),
            unfit: self.unfit.load(Relaxed),
            keepalives: self.keepalives.load(Relaxed),
        }
    }
}

/// Adds to a counter that only the relay writes.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Relaxed);
}
