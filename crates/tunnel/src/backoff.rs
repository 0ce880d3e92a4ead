//! Pauses between tries.

use std::time::Duration;

use evenkeel_ipsec::crypto::Rng;

use crate::defaults::{RETRY_FIRST, RETRY_JITTER_PERCENT, RETRY_MAX};

/// Doubling pauses with jitter.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    rounds: u32,
}

impl Backoff {
    /// Rounds that have failed since the last reset.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds
    }

    pub(crate) fn reset(&mut self) {
        self.rounds = 0;
    }

    /// The pause after one more failed round.
    pub(crate) fn next(&mut self, rng: &mut Rng) -> Duration {
        let doublings = self.rounds.min(16);
        self.rounds = self.rounds.saturating_add(1);
        let pause = RETRY_FIRST.saturating_mul(1 << doublings).min(RETRY_MAX);
        let jitter = pause * RETRY_JITTER_PERCENT / 100;
        pause + jitter * (rng.u32() % 1000) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_and_differ_between_clients() {
        let pauses = |seed| {
            let (mut rng, mut backoff) = (Rng::from_seed([seed; 32]), Backoff::default());
            (0..40).map(|_| backoff.next(&mut rng)).collect::<Vec<_>>()
        };
        let one = pauses(1);
        for (round, pause) in one.iter().enumerate() {
            let base = RETRY_FIRST.saturating_mul(1 << round.min(16)).min(RETRY_MAX);
            assert!(*pause >= base && *pause <= base + base / 4, "round {round}: {pause:?}");
        }
        assert_ne!(one, pauses(2));
    }

    #[test]
    fn a_reset_starts_anew() {
        let (mut rng, mut backoff) = (Rng::from_seed([0; 32]), Backoff::default());
        for _ in 0..10 {
            backoff.next(&mut rng);
        }
        assert_eq!(backoff.rounds(), 10);
        backoff.reset();
        assert!(backoff.next(&mut rng) < 2 * RETRY_FIRST);
    }
}
