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

#[cfg(test)]
mod tests {
    use super::*;

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
