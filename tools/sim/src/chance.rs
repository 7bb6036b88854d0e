//! Chance: what a life draws, all of it from one seed.
//! Never asks the operating system.

use quar_base::rng::Rng;

/// A source of chance.
pub struct Chance(Rng);

impl Chance {
    /// The one of a seed, for one purpose.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Self {
        let name = format!("{seed} {purpose}");
        Self(Rng::from_seed(blake3::derive_key("quard simulator life", name.as_bytes())))
    }

    /// A number from 0 up to but not including `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// A number between these, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.below(high - low + 1)
    }

    /// An index into something of this length.
    pub fn index(&mut self, length: usize) -> usize {
        self.0.below(length as u64) as usize
    }

    /// One of them; `None` when there is none.
    pub fn pick<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        if all.is_empty() { None } else { Some(all[self.index(all.len())]) }
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, times: u64) -> bool {
        self.0.below(100) < times
    }

    /// Random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        self.0.bytes()
    }

    /// The generator itself, for whoever takes one.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.0
    }
}
