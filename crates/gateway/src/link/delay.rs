//! Datagrams on their way for longer than the real network takes.

use std::collections::BTreeMap;
use std::time::Instant;

/// Holds things until their time has come. At its bound it loses what comes next, as a full queue does.
pub struct DelayLine<T> {
    /// Ordered by time of arrival, then by order of departure.
    waiting: BTreeMap<(Instant, u64), T>,
    departures: u64,
}

impl<T> DelayLine<T> {
    const BOUND: usize = 16_384;

    /// A line with nothing on it.
    #[must_use]
    pub fn new() -> Self {
        Self { waiting: BTreeMap::new(), departures: 0 }
    }

    /// Lets `item` arrive at `at`.
    pub fn push(&mut self, at: Instant, item: T) {
        if self.waiting.len() < Self::BOUND {
            self.waiting.insert((at, self.departures), item);
            self.departures += 1;
        }
    }

    /// The next item that has arrived by `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<T> {
        let entry = self.waiting.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// When the next item arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }
}

impl<T> Default for DelayLine<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn items_arrive_in_the_order_of_their_times_and_equal_times_in_the_order_of_departure() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut line = DelayLine::new();
        for (ms, item) in [(30, 'd'), (10, 'a'), (20, 'b'), (20, 'c')] {
            line.push(at(ms), item);
        }
        assert_eq!(line.next_arrival(), Some(at(10)));
        assert_eq!(line.pop_due(at(9)), None);
        let due: String = std::iter::from_fn(|| line.pop_due(at(20))).collect();
        assert_eq!(due, "abc");
        assert_eq!(line.next_arrival(), Some(at(30)));
    }

    #[test]
    fn a_full_line_loses_what_comes_next() {
        let now = Instant::now();
        let mut line = DelayLine::new();
        for item in 0..DelayLine::<usize>::BOUND + 5 {
            line.push(now, item);
        }
        assert_eq!(std::iter::from_fn(|| line.pop_due(now)).count(), DelayLine::<usize>::BOUND);
    }
}
