//! When to try UDP again while a fallback carries the tunnel.

use std::time::{Duration, Instant};

use crate::defaults;

/// The schedule of background attempts over UDP: soon after the fallback took over, then ever less often, and at once
/// after the network changed.
#[derive(Clone, Copy, Debug)]
pub struct Retest {
    pause: Duration,
    due: Instant,
}

impl Retest {
    /// A fallback carries the tunnel since `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { pause: defaults::FIRST_RETEST, due: now + defaults::FIRST_RETEST }
    }

    /// When the next attempt is due. After it, tell [`handle_failed`](Self::handle_failed), or drop the schedule when
    /// UDP carries the tunnel again.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.due
    }

    /// An attempt over UDP failed.
    pub fn handle_failed(&mut self, now: Instant) {
        self.pause = (self.pause * 2).min(defaults::LAST_RETEST);
        self.due = now + self.pause;
    }

    /// An address, a link or a route changed: what was blocked may not be.
    pub fn handle_network_change(&mut self, now: Instant) {
        *self = Self { pause: defaults::FIRST_RETEST, due: now };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a starting point for virtual time")]
    fn pauses_double_from_half_a_minute_to_ten_minutes_and_start_anew_on_another_network() {
        let mut now = Instant::now();
        let mut retest = Retest::new(now);
        for seconds in [30, 60, 120, 240, 480, 600, 600] {
            assert_eq!(retest.poll_timeout() - now, Duration::from_secs(seconds));
            now = retest.poll_timeout();
            retest.handle_failed(now);
        }
        retest.handle_network_change(now);
        assert_eq!(retest.poll_timeout(), now);
        retest.handle_failed(now);
        assert_eq!(retest.poll_timeout() - now, Duration::from_secs(60));
    }
}
