//! Seeded randomness: the same seed gives the same run.
//! Never asks the operating system; whoever owns the process hands the seed in.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A generator whose whole future is its seed.
#[derive(Clone, Debug)]
pub struct Rng(ChaCha12Rng);

impl Rng {
    /// A generator for a 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// Fresh random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A number from 0 up to but not including `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.next_u64() % bound }
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn one_seed_is_one_sequence() {
        let [mut a, mut b] = [Rng::from_seed([7; 32]), Rng::from_seed([7; 32])];
        assert_eq!(a.bytes::<64>(), b.bytes::<64>());
        assert_eq!(a.below(1000), b.below(1000));
        assert_ne!(Rng::from_seed([8; 32]).bytes::<64>(), Rng::from_seed([7; 32]).bytes::<64>());
    }
}
