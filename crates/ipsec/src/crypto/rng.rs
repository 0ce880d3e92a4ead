//! The random number generator that every secret of this crate is drawn from.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng};
use zeroize::Zeroizing;

/// ChaCha20 generator with fast key erasure.
///
/// Each call derives a fresh key and throws the old one away before it returns, so a later look into this
/// process's memory doesn't reveal earlier outputs: Diffie-Hellman secrets keep the forward secrecy that they
/// exist for. The seed comes from the caller; the same seed gives the same outputs, which is what lets a
/// simulation be replayed.
pub struct Rng {
    key: Zeroizing<[u8; 32]>,
}

impl Rng {
    /// A generator from 32 bytes of entropy.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self { key: Zeroizing::new(seed) }
    }

    /// Fills `out` with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        let mut stream = ChaCha20Rng::from_seed(*self.key);
        stream.fill_bytes(self.key.as_mut_slice());
        stream.fill_bytes(out);
    }

    /// A uniform 32-bit number.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// A uniform 64-bit number.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// The seed of an independent generator.
    #[must_use]
    pub fn fork(&mut self) -> [u8; 32] {
        self.array()
    }

    /// Random bytes by value.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_replay_and_different_seeds_do_not() {
        let draw = |seed: u8| {
            let mut rng = Rng::from_seed([seed; 32]);
            (rng.u32(), rng.u64(), rng.fork(), rng.array::<300>())
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn a_fork_is_independent_of_what_its_parent_draws_next() {
        let mut rng = Rng::from_seed([7; 32]);
        let mut child = Rng::from_seed(rng.fork());
        assert_ne!(child.array::<32>(), rng.array::<32>());
    }
}
