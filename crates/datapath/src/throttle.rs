//! Keeps events rare that packets cause.

use std::time::{Duration, Instant};

/// Lets one through per interval.
pub(crate) struct Throttle {
    interval: Duration,
    last: Option<Instant>,
}

impl Throttle {
    pub(crate) const fn new(interval: Duration) -> Self {
        Self { interval, last: None }
    }

    /// May another one pass?
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        let allowed = self.last.is_none_or(|last| now.duration_since(last) >= self.interval);
        if allowed {
            self.last = Some(now);
        }
        allowed
    }
}

/// Lets a number of them through per interval.
pub(crate) struct Budget {
    interval: Throttle,
    each: u32,
    left: u32,
}

impl Budget {
    pub(crate) const fn new(each: u32, interval: Duration) -> Self {
        Self { interval: Throttle::new(interval), each, left: 0 }
    }

    /// May another one pass?
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        if self.left == 0 && self.interval.allows(now) {
            self.left = self.each;
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_used_up_and_filled_again_per_interval() {
        let start = Instant::now();
        let mut budget = Budget::new(3, Duration::from_millis(500));
        let passed: Vec<u64> = [0, 1, 2, 3, 499, 500, 501, 502, 503, 5000]
            .into_iter()
            .filter(|ms| budget.allows(start + Duration::from_millis(*ms)))
            .collect();
        assert_eq!(passed, [0, 1, 2, 500, 501, 502, 5000]);
    }

    #[test]
    fn one_passes_per_interval() {
        let start = Instant::now();
        let mut throttle = Throttle::new(Duration::from_millis(500));
        let passed: Vec<u64> = (0..12)
            .map(|n| n * 100)
            .filter(|ms| throttle.allows(start + Duration::from_millis(*ms)))
            .collect();
        assert_eq!(passed, [0, 500, 1000]);
    }
}
