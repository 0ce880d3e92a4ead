//! The anti-replay window (RFC 4303 §3.4.3) as a ring of words (RFC 6479).

const WORDS: usize = 64;
const WORD_BITS: u64 = u64::BITS as u64;

/// How many sequence numbers back from the highest a packet may arrive late. One word of the ring is always
/// in the course of being reused, so it does not count. At 7 Gbit/s this is about 6 ms of reordering.
pub(super) const WINDOW: u64 = (WORDS as u64 - 1) * WORD_BITS;

/// Why the window refuses a sequence number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// It was accepted before.
    Replay,
    /// Too far behind the highest to tell.
    TooOld,
}

/// The 64-bit sequence numbers that were seen, back to [`WINDOW`] behind the highest.
pub(super) struct ReplayWindow {
    highest: u64,
    seen: [u64; WORDS],
}

impl ReplayWindow {
    /// Nothing was received. Sequence numbers start at 1 (RFC 4303 §2.2), so 0 counts as seen.
    pub(super) const fn new() -> Self {
        let mut seen = [0; WORDS];
        seen[0] = 1;
        Self { highest: 0, seen }
    }

    /// The highest sequence number accepted.
    pub(super) const fn highest(&self) -> u64 {
        self.highest
    }

    /// Would `sequence` be accepted? Changes nothing, so it may be asked about a packet that is not yet
    /// authenticated.
    pub(super) const fn check(&self, sequence: u64) -> Result<(), Refusal> {
        if sequence > self.highest {
            return Ok(());
        }
        if self.highest - sequence >= WINDOW {
            return Err(Refusal::TooOld);
        }
        let (word, bit) = place(sequence);
        if self.seen[word] & bit != 0 { Err(Refusal::Replay) } else { Ok(()) }
    }

    /// Records an authenticated packet that [`check`](Self::check) allowed.
    pub(super) fn accept(&mut self, sequence: u64) {
        let (current, target) = (self.highest / WORD_BITS, sequence / WORD_BITS);
        if target > current {
            // A jump past the whole ring clears each word once.
            for step in 1..=(target - current).min(WORDS as u64) {
                self.seen[(current.wrapping_add(step) % WORDS as u64) as usize] = 0;
            }
        }
        let (word, bit) = place(sequence);
        self.seen[word] |= bit;
        self.highest = self.highest.max(sequence);
    }
}

const fn place(sequence: u64) -> (usize, u64) {
    ((sequence / WORD_BITS % WORDS as u64) as usize, 1 << (sequence % WORD_BITS))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// What the window must do, with no cleverness.
    #[derive(Default)]
    struct Model {
        seen: BTreeSet<u64>,
        highest: u64,
    }

    impl Model {
        fn check(&self, sequence: u64) -> Result<(), Refusal> {
            if sequence > self.highest {
                Ok(())
            } else if sequence + WINDOW <= self.highest {
                Err(Refusal::TooOld)
            } else if sequence == 0 || self.seen.contains(&sequence) {
                Err(Refusal::Replay)
            } else {
                Ok(())
            }
        }

        fn accept(&mut self, sequence: u64) {
            self.seen.insert(sequence);
            self.highest = self.highest.max(sequence);
        }
    }

    /// Steps relative to the highest number, which is where the edges are.
    fn steps() -> impl Strategy<Value = Vec<i64>> {
        let window = WINDOW.cast_signed();
        let step = prop_oneof![
            4 => -70i64..70,
            2 => -window - 70..window + 70,
            1 => (window - 2)..(window + 66),
            1 => (-window - 2)..(-window + 66),
            1 => 0i64..1 << 40,
        ];
        prop::collection::vec(step, 1..400)
    }

    proptest! {
        #[test]
        fn agrees_with_the_model_for_any_order_of_arrival(steps in steps()) {
            let (mut window, mut model) = (ReplayWindow::new(), Model::default());
            for step in steps {
                let sequence = model.highest.saturating_add_signed(step);
                let verdict = window.check(sequence);
                prop_assert_eq!(verdict, model.check(sequence), "{} behind {}", sequence, model.highest);
                if verdict.is_ok() {
                    window.accept(sequence);
                    model.accept(sequence);
                    prop_assert_eq!(window.check(sequence), Err(Refusal::Replay));
                }
                prop_assert_eq!(window.highest(), model.highest);
            }
        }
    }

    #[test]
    fn the_window_is_at_least_2048_wide() {
        const { assert!(WINDOW >= 2048) };
        let mut window = ReplayWindow::new();
        window.accept(10_000);
        assert_eq!(window.check(10_000 - WINDOW + 1), Ok(()));
        assert_eq!(window.check(10_000 - WINDOW), Err(Refusal::TooOld));
    }

    #[test]
    fn sequence_number_zero_is_never_accepted() {
        assert_eq!(ReplayWindow::new().check(0), Err(Refusal::Replay));
    }
}
