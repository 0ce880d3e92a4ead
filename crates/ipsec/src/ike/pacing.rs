//! How soon and how often a request is sent again (RFC 7296 §2.1 leaves both to us).

use super::config::Timers;
use super::defaults;
use std::time::Duration;

/// The waits between the transmissions of one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pacing {
    retransmits_left: u32,
    interval: Duration,
    growth_percent: u32,
}

impl Pacing {
    /// For a path that has carried traffic: each wait is twice the one before.
    pub(super) fn usual(timers: &Timers, retransmits: u32) -> Self {
        Self { retransmits_left: retransmits, interval: timers.retransmit_first, growth_percent: 200 }
    }

    /// For a path that was just moved to: quick, because the first packets on a new link are often lost and
    /// somebody waits for the traffic to go on.
    pub(super) fn after_move(timers: &Timers) -> Self {
        Self {
            retransmits_left: timers.retransmits_established + defaults::MIGRATION_EXTRA_RETRANSMITS,
            interval: timers.retransmit_first.min(defaults::MIGRATION_RETRANSMIT_FIRST),
            growth_percent: 150,
        }
    }

    /// For a path that may lead nowhere: few, evenly spaced.
    pub(super) fn path_check() -> Self {
        Self {
            retransmits_left: defaults::PATH_CHECK_RETRANSMITS,
            interval: defaults::PATH_CHECK_INTERVAL,
            growth_percent: 100,
        }
    }

    /// How long to wait after the transmission that was just made.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Takes one retransmission; returns how long to wait after it, or `None` when none is left.
    pub(super) fn retransmit(&mut self) -> Option<Duration> {
        self.retransmits_left = self.retransmits_left.checked_sub(1)?;
        self.interval = (self.interval * self.growth_percent / 100).min(defaults::RETRANSMIT_MAX);
        Some(self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each transmission happens after the first, and when the request is given up.
    fn times(mut pacing: Pacing) -> (Vec<u128>, u128) {
        let (mut at, mut sent) = (pacing.interval(), Vec::new());
        while let Some(wait) = pacing.retransmit() {
            sent.push(at.as_millis());
            at += wait;
        }
        (sent, at.as_millis())
    }

    #[test]
    fn a_usual_request_is_given_up_after_half_a_minute() {
        let timers = Timers::default();
        let (sent, end) = times(Pacing::usual(&timers, timers.retransmits_established));
        assert_eq!(sent, [500, 1500, 3500, 7500, 15_500, 23_500]);
        assert_eq!(end, 31_500);
    }

    #[test]
    fn after_a_move_four_copies_leave_within_a_second_and_the_end_comes_as_late_as_ever() {
        let (sent, end) = times(Pacing::after_move(&Timers::default()));
        assert_eq!(&sent[..4], [200, 500, 950, 1625]);
        assert!((29_000..33_000).contains(&end), "given up after {end} ms");
    }
}
