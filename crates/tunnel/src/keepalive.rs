//! NAT keepalives (RFC 3948 §2.3, §4).

use std::time::{Duration, Instant};

/// When something was last sent on the path, and so when a keepalive is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keepalive {
    last_sent: Instant,
    last_gap: Duration,
}

/// Packets that follow one another faster than this belong together: the silence was before the first of them.
const TOGETHER: Duration = Duration::from_secs(2);

impl Keepalive {
    pub(crate) fn new(now: Instant) -> Self {
        Self { last_sent: now, last_gap: Duration::ZERO }
    }

    /// Something went out. Instants may come in any order: the data plane reports its own late.
    pub(crate) fn sent(&mut self, at: Instant) {
        let gap = at.saturating_duration_since(self.last_sent);
        if gap > TOGETHER {
            self.last_gap = gap;
        }
        self.last_sent = self.last_sent.max(at);
    }

    /// When a keepalive is due that follows `interval` of silence.
    pub(crate) fn due(&self, interval: Duration) -> Instant {
        self.last_sent + interval
    }

    /// The last silence that was one.
    pub(crate) fn last_gap(&self) -> Duration {
        self.last_gap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(20);

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a starting point for virtual time")]
    fn a_keepalive_is_due_an_interval_after_the_last_packet_of_any_kind() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(start);
        assert_eq!(keepalive.due(INTERVAL), start + INTERVAL);
        keepalive.sent(start + Duration::from_secs(15));
        assert_eq!(keepalive.due(INTERVAL), start + Duration::from_secs(35));
        keepalive.sent(start + Duration::from_secs(3));
        assert_eq!(
            keepalive.due(INTERVAL),
            start + Duration::from_secs(35),
            "a late report takes nothing back"
        );
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a starting point for virtual time")]
    fn the_last_silence_is_the_one_before_the_last_burst() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(start);
        for seconds in [12, 13, 14] {
            keepalive.sent(start + Duration::from_secs(seconds));
        }
        assert_eq!(keepalive.last_gap(), Duration::from_secs(12));
    }
}
